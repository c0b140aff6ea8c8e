//! Where what lies: the chunks of the system, of data, and of metadata.
//!
//! ```text
//! 1 MiB      what chunks there are, twice
//! 17 MiB     data as it comes, in chunks of 1 GiB at the most
//! behind it  all other metadata, twice, when it is known how much it is
//! ```
//! An address is where it is on disk; of what is there twice, where the first one is. No chunk has a place that a copy of
//! the superblock has, so nothing has to be left out of one.

use std::ops::Range;

use kiln_oci::name::escape;

use super::raw::{FORMAT, NODE64, STRIPE, SUPERS, group};
use crate::error::{DiskError, Result};

const MIB: u64 = 1 << 20;
/// The smallest file system: the kernel needs room to work.
pub(crate) const LEAST: u64 = 96 * MIB;
/// Bytes of the system's chunk.
const SYSTEM: u64 = 8 * MIB;
/// Where data starts.
const DATA: u64 = MIB + 2 * SYSTEM;
/// The longest chunk of data.
const LONGEST: u64 = 1 << 30;
/// A chunk of metadata has this at the least, where there is room.
const METADATA: u64 = 32 * MIB;
/// What the last chunk of data is a multiple of, where there is room.
const ROUND: u64 = 16 * MIB;

/// Bytes that have one use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub kind: u64,
    /// Its address, and where it is on disk.
    pub start: u64,
    pub len: u64,
    /// How much of it is used, from its start.
    pub used: u64,
}

impl Chunk {
    /// Where it is on disk: once or twice.
    pub fn stripes(&self) -> Vec<u64> {
        let second = (self.kind & group::DUP != 0).then(|| self.start + self.len);
        [self.start].into_iter().chain(second).collect()
    }
}

/// Gives out bytes for data.
#[derive(Debug)]
pub(crate) struct Space {
    /// Bytes of the whole file system.
    pub size: u64,
    pub data: Vec<Chunk>,
    /// The bytes that would be enough, if that is known.
    pub enough: Option<u64>,
}

impl Space {
    /// For at most `size` bytes.
    ///
    /// # Errors
    /// [`DiskError::Options`] when that is too small or too big.
    pub fn new(size: u64, enough: Option<u64>) -> Result<Space> {
        let size = size / 4096 * 4096;
        if !(LEAST..1 << 60).contains(&size) {
            let why = format!("{size} bytes are too small or too big, {LEAST} are the least");
            return Err(DiskError::Options { format: FORMAT, why });
        }
        Ok(Space { size, data: Vec::new(), enough })
    }

    /// What is free behind `from`, up to the next copy of the superblock or the end.
    fn free(&self, from: u64) -> Range<u64> {
        let end = SUPERS.into_iter().find(|at| *at >= from).unwrap_or(u64::MAX);
        from..end.min(self.size / STRIPE * STRIPE).max(from)
    }

    /// Where the next chunk can start.
    fn next(&self) -> u64 {
        let at = self.data.last().map_or(DATA, |chunk| chunk.start + chunk.len);
        if SUPERS.contains(&at) { at + STRIPE } else { at }
    }

    /// Up to `want` bytes that lie together, whole blocks, for what is at `path`. Bytes that `metadata` will need stay
    /// free.
    pub fn take(&mut self, path: &[u8], want: u64, metadata: u64) -> Result<Range<u64>> {
        let last = self.data.last().is_none_or(|chunk| chunk.used == chunk.len);
        if last {
            let start = self.next();
            let free = self.free(start);
            let len = (free.end - free.start).min(LONGEST);
            self.data.push(Chunk { kind: group::DATA, start, len, used: 0 });
        }
        let left = self.size.saturating_sub(2 * metadata + 2 * STRIPE);
        if let Some(chunk) = self.data.last_mut() {
            let from = chunk.start + chunk.used;
            let len = want.min(chunk.len - chunk.used).min(left.saturating_sub(from)) / 4096 * 4096;
            if len > 0 {
                chunk.used += len;
                return Ok(from..from + len);
            }
        }
        Err(self.full(path, want))
    }

    /// The chunks of the system and of metadata, of which it is known now how much they hold. The last chunk of data
    /// becomes as short as it can.
    pub fn close(&mut self, system: u64, metadata: u64) -> Result<[Chunk; 2]> {
        let need = (metadata + NODE64).next_multiple_of(STRIPE);
        let mut place = None;
        for round in [ROUND, STRIPE] {
            if let Some(last) = self.data.last_mut() {
                let longest = last.len;
                last.len = last.used.next_multiple_of(round).min(longest);
            }
            place = self.twice(need);
            if place.is_some() {
                break;
            }
        }
        self.data.retain(|chunk| chunk.used > 0);
        let Some((start, len)) = place.filter(|_| system < SYSTEM) else {
            return Err(self.full(b"", 2 * need));
        };
        let metadata = Chunk { kind: group::METADATA | group::DUP, start, len, used: metadata };
        let system = Chunk { kind: group::SYSTEM | group::DUP, start: MIB, len: SYSTEM, used: system };
        Ok([system, metadata])
    }

    /// Where `need` bytes are free twice, with some more.
    fn twice(&self, need: u64) -> Option<(u64, u64)> {
        let mut at = self.next();
        loop {
            let free = self.free(at);
            let most = (free.end - free.start) / 2 / STRIPE * STRIPE;
            if most >= need {
                return Some((at, most.min((need + need / 4).max(METADATA).next_multiple_of(STRIPE))));
            }
            at = SUPERS.into_iter().find(|copy| *copy == free.end)? + STRIPE;
        }
    }

    pub fn full(&self, path: &[u8], want: u64) -> DiskError {
        let what = match self.enough {
            Some(bytes) => format!("{bytes} bytes are enough"),
            None => format!("at least {want} bytes more are needed"),
        };
        DiskError::Full { format: FORMAT, has: self.size, path: escape(path), what }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_chunk_lies_on_a_superblock_or_another() {
        for (size, want) in [(LEAST, 10 * MIB), (200 * MIB, 46 * MIB), (5 << 30, 3 << 30), (300 << 30, 255 << 30)] {
            let mut space = Space::new(size, None).unwrap();
            let mut got = 0;
            while got < want {
                let part = space.take(b"x", want - got, MIB).unwrap();
                got += part.end - part.start;
            }
            let mut all = space.close(NODE64, 3 * MIB).unwrap().to_vec();
            all.extend(&space.data);
            let mut ranges: Vec<Range<u64>> = all
                .iter()
                .flat_map(|chunk| chunk.stripes().into_iter().map(|at| at..at + chunk.len))
                .chain(SUPERS.map(|at| at..at + 4096))
                .collect();
            ranges.sort_by_key(|range| range.start);
            assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start), "{ranges:?}");
            assert!(all.iter().all(|chunk| chunk.used <= chunk.len && chunk.len % STRIPE == 0));
            assert!(all.iter().all(|chunk| chunk.start + chunk.len * chunk.stripes().len() as u64 <= size), "{all:?}");
        }
        assert!(Space::new(1 << 20, None).is_err());
    }

    #[test]
    fn metadata_keeps_its_room() {
        let mut space = Space::new(LEAST, None).unwrap();
        while space.take(b"x", 1 << 20, 10 * MIB).is_ok() {}
        assert!(space.close(NODE64, 9 * MIB).is_ok());
        let mut space = Space::new(LEAST, None).unwrap();
        while space.take(b"x", 1 << 20, 0).is_ok() {}
        assert!(space.close(NODE64, 9 * MIB).unwrap_err().to_string().contains("full"));
    }
}
