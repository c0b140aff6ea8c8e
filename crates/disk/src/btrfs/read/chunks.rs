//! Where addresses are on the device: chunks, of which each has its place once or twice.

use std::collections::BTreeMap;

use super::damaged;
use super::superblock::Superblock;
use crate::btrfs::raw::{FORMAT, Key, get64, group, item};
use crate::error::{DiskError, Result};
use crate::ext4::raw::get16;
use crate::io::ReadAt;

/// Bytes of a chunk's item before its stripes, and of a stripe.
const HEAD: usize = 48;
const STRIPE: usize = 32;
/// The most chunks. A device of 1 PiB has about as many.
const MAX_CHUNKS: usize = 1 << 20;

/// Bits of a chunk's kind that say how it is spread over devices, and what that is called.
const PROFILES: [(u64, &str); 7] = [
    (1 << 3, "RAID0"),
    (1 << 4, "RAID1"),
    (1 << 6, "RAID10"),
    (1 << 7, "RAID5"),
    (1 << 8, "RAID6"),
    (1 << 9, "RAID1C3"),
    (1 << 10, "RAID1C4"),
];

/// Addresses that lie together.
#[derive(Debug, Clone, Copy)]
struct Chunk {
    len: u64,
    /// Where it is, and where once more.
    at: u64,
    again: Option<u64>,
}

/// The device by addresses.
pub(crate) struct Chunks<R> {
    source: R,
    size: u64,
    device: u64,
    map: BTreeMap<u64, Chunk>,
}

impl<R: ReadAt> Chunks<R> {
    /// With the chunks that the superblock lists: those of the tree of chunks.
    pub fn new(source: R, superblock: &Superblock) -> Result<Chunks<R>> {
        let mut chunks = Chunks { source, size: superblock.size, device: superblock.device, map: BTreeMap::new() };
        let list = &superblock.list;
        let mut at = 0;
        while at < list.len() {
            let wrong = || damaged("its superblock", "its list of chunks makes no sense".to_owned());
            let rest = &list[at..];
            let key = Key::read(rest).ok_or_else(wrong)?;
            let stripes = usize::from(get16(rest, Key::LEN + 44));
            let len = Key::LEN + HEAD + STRIPE * stripes;
            if key.1 != item::CHUNK || rest.len() < len {
                return Err(wrong());
            }
            chunks.add(key.2, &rest[Key::LEN..len])?;
            at += len;
        }
        Ok(chunks)
    }

    /// Adds a chunk by its item. One that is known already is the same.
    pub fn add(&mut self, start: u64, bytes: &[u8]) -> Result<()> {
        let wrong = |why: &str| damaged(&format!("the chunk of address {start}"), why.to_owned());
        let (len, kind, stripes) = (get64(bytes, 0), get64(bytes, 24), usize::from(get16(bytes, 44)));
        if bytes.len() < HEAD + STRIPE || bytes.len() != HEAD + STRIPE * stripes {
            return Err(wrong("its item is cut off"));
        }
        if let Some((_, name)) = PROFILES.iter().find(|(bit, _)| kind & bit != 0) {
            let what = format!("the profile {name}, which is for several devices");
            return Err(DiskError::Unsupported { format: FORMAT, what });
        }
        if stripes != if kind & group::DUP == 0 { 1 } else { 2 } {
            return Err(wrong("it has more or fewer places than its kind"));
        }
        let mut places = Vec::new();
        for stripe in bytes[HEAD..].chunks(STRIPE) {
            let (device, at) = (get64(stripe, 0), get64(stripe, 8));
            if device != self.device {
                let what = format!("the device {device}, which is another one");
                return Err(DiskError::Unsupported { format: FORMAT, what });
            }
            if len == 0 || at.checked_add(len).is_none_or(|end| end > self.size) {
                return Err(wrong("it is beyond the end of the device"));
            }
            places.push(at);
        }
        let end = start.checked_add(len).ok_or_else(|| wrong("it has no end"))?;
        let chunk = Chunk { len, at: places[0], again: places.get(1).copied() };
        if let Some(known) = self.map.get(&start) {
            let same = (known.len, known.at, known.again) == (chunk.len, chunk.at, chunk.again);
            return if same { Ok(()) } else { Err(wrong("it is there twice")) };
        }
        let before = self.map.range(..start).next_back().is_some_and(|(at, chunk)| at + chunk.len > start);
        if before || self.map.range(start..end).next().is_some() {
            return Err(wrong("another one has the same addresses"));
        }
        if self.map.len() >= MAX_CHUNKS {
            return Err(wrong("there are too many"));
        }
        self.map.insert(start, chunk);
        Ok(())
    }

    /// Bytes of the device that no chunk has; `None` when one has some of them.
    pub fn outside(&self, offset: u64, len: usize) -> Result<Option<Vec<u8>>> {
        let end = offset.saturating_add(len as u64);
        let has = |at: u64, chunk: &Chunk| at < end && at + chunk.len > offset;
        if end > self.size || self.map.values().any(|c| has(c.at, c) || c.again.is_some_and(|at| has(at, c))) {
            return Ok(None);
        }
        let mut bytes = vec![0; len];
        let read = self.source.read_exact_at(&mut bytes, offset);
        read.map_err(|source| DiskError::Read { what: "btrfs file system", offset, source })?;
        Ok(Some(bytes))
    }

    /// How many bytes follow an address in its chunk; none where there is no chunk.
    pub fn room(&self, address: u64) -> u64 {
        let chunk = self.map.range(..=address).next_back();
        chunk.map_or(0, |(start, chunk)| (start + chunk.len).saturating_sub(address))
    }

    /// How many copies there are of an address.
    pub fn copies(&self, address: u64) -> usize {
        let chunk = self.map.range(..=address).next_back();
        chunk.map_or(0, |(_, chunk)| 1 + usize::from(chunk.again.is_some()))
    }

    /// Reads what is at an address, from its first or its second copy. It lies in one chunk.
    pub fn read(&self, address: u64, copy: usize, buf: &mut [u8]) -> Result<()> {
        if self.room(address) < buf.len() as u64 {
            return Err(damaged(&format!("address {address}"), "no chunk has it".to_owned()));
        }
        let place = self.map.range(..=address).next_back().map(|(start, chunk)| {
            let at = if copy == 0 { chunk.at } else { chunk.again.unwrap_or(chunk.at) };
            at + (address - start)
        });
        let offset = place.unwrap_or_default();
        let read = self.source.read_exact_at(buf, offset);
        read.map_err(|source| DiskError::Read { what: "btrfs file system", offset, source })
    }
}
