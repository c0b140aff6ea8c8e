//! Where the bytes of a file are: in its tree, on the device, packed or as they are, or nowhere.

use super::inode::Inode;
use super::nodes::Item;
use super::unpack::Packing;
use super::{Image, Node, damaged};
use crate::btrfs::raw::{CSUMS, FORMAT, Key, get64, item};
use crate::error::{DiskError, Result};
use crate::ext4::raw::get16;
use crate::io::ReadAt;

/// Bytes of an extent's item before data that is in it, and of one whose data is elsewhere.
pub(crate) const HEAD: usize = 21;
const FAR: usize = 53;
/// Packed data is unpacked as a whole: it is never more.
pub(crate) const MAX_UNPACKED: u64 = 128 << 10;
/// The longest extent, packed or not: what the kernel makes is shorter.
const MAX_EXTENT: u64 = 1 << 40;

/// Bytes of a file that follow each other and are stored in the same way.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// The first of them, and the first one behind.
    pub from: u64,
    pub end: u64,
    pub at: Place,
}

/// Where bytes are.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// Nowhere: they are zeros.
    Hole,
    /// In the tree.
    Inline { item: Item, packing: Packing, unpacked: u64 },
    /// At this address.
    Plain(u64),
    /// Packed, at an address; unpacked they start `skip` bytes behind the first one.
    Packed { at: u64, len: u64, packing: Packing, unpacked: u64, skip: u64 },
}

impl<R: ReadAt> Image<R> {
    /// The run in which the byte `at` of a file is, which is before its end.
    pub(super) fn run(&self, inode: &Inode, at: u64) -> Result<Run> {
        let node = inode.node;
        let key = Key(node.ino, item::EXTENT_DATA, at);
        let root = self.root(node);
        let is = |found: &Item| (found.key.0, found.key.1) == (node.ino, item::EXTENT_DATA);
        let before = self.nodes.last(root, key)?.filter(is);
        let from = match before {
            None => 0,
            Some(found) => {
                let run = self.extent(node, found)?;
                if at < run.end {
                    return Ok(Run { end: run.end.min(inode.size), ..run });
                }
                run.end
            }
        };
        // Up to the next one, if there is one, nothing is stored.
        let next = self.nodes.from(root, Key(node.ino, item::EXTENT_DATA, at))?.next().transpose()?.filter(is);
        let end = next.map_or(inode.size, |next| next.key.2.min(inode.size));
        Ok(Run { from, end, at: Place::Hole })
    }

    /// The run of an extent's item.
    fn extent(&self, node: Node, found: Item) -> Result<Run> {
        let from = found.key.2;
        let wrong =
            |why: &str| damaged(&format!("{} at byte {from}", self.title("inode", node)), format!("its extent {why}"));
        let b = found.bytes();
        if b.len() < HEAD {
            return Err(wrong("is cut off"));
        }
        if b[17] != 0 || get16(b, 18) != 0 {
            return Err(DiskError::Unsupported { format: FORMAT, what: "encrypted files".to_owned() });
        }
        let packing = Packing::of(b[16]).ok_or_else(|| DiskError::Unsupported {
            format: FORMAT,
            what: format!("files of the unknown compression {}", b[16]),
        })?;
        let unpacked = get64(b, 8);
        if packing != Packing::None && unpacked > MAX_UNPACKED {
            return Err(wrong("is larger than it can be"));
        }
        if b[20] == 0 {
            let len = if packing == Packing::None { (b.len() - HEAD) as u64 } else { unpacked };
            let at = Place::Inline { item: found, packing, unpacked: len };
            let end = from.checked_add(len).filter(|_| len <= MAX_UNPACKED);
            let end = end.ok_or_else(|| wrong("is larger than it can be"))?;
            return Ok(Run { from, end, at });
        }
        if b.len() != FAR || b[20] > 2 {
            return Err(wrong("is of a kind that cannot be"));
        }
        let (address, stored, skip, len) = (get64(b, 21), get64(b, 29), get64(b, 37), get64(b, 45));
        let sector = self.superblock().sector_size;
        let end = from.checked_add(len).ok_or_else(|| wrong("has no end"))?;
        if len == 0 || [from, len, skip, stored, address].iter().any(|n| !n.is_multiple_of(sector)) {
            return Err(wrong("has a length or a place that makes no sense"));
        }
        // What was only reserved (2) has no data yet.
        if address == 0 || b[20] == 2 {
            return Ok(Run { from, end, at: Place::Hole });
        }
        let whole = if packing == Packing::None { stored } else { unpacked };
        if stored == 0 || stored > MAX_EXTENT || skip.checked_add(len).is_none_or(|end| end > whole) {
            return Err(wrong("is shorter than its part of the file"));
        }
        let at = match packing {
            Packing::None => Place::Plain(address.checked_add(skip).ok_or_else(|| wrong("has no end"))?),
            _ if stored > MAX_UNPACKED => return Err(wrong("is larger than it can be")),
            _ => Place::Packed { at: address, len: stored, packing, unpacked, skip },
        };
        Ok(Run { from, end, at })
    }

    /// Bytes of data at an address, whole blocks, from the first of their copies whose checksums are right.
    pub(super) fn data(&self, address: u64, len: usize, sums: bool) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let mut at = 0;
        // An extent lies in one chunk, but nothing depends on that.
        while at < len {
            let room = self.nodes.chunks.room(address + at as u64);
            let part = usize::try_from(room).unwrap_or(usize::MAX).min(len - at);
            let mut found = Err(damaged(&format!("address {address}"), "no chunk has it".to_owned()));
            for copy in 0..if part == 0 { 0 } else { self.nodes.chunks.copies(address + at as u64) } {
                let piece = &mut bytes[at..at + part];
                found = self.nodes.chunks.read(address + at as u64, copy, piece);
                if found.is_ok() && sums {
                    found = self.check(address + at as u64, &bytes[at..at + part]);
                }
                if found.is_ok() {
                    break;
                }
            }
            found?;
            at += part;
        }
        Ok(bytes)
    }

    /// Compares data with its checksums. Blocks that have none are taken as they are.
    fn check(&self, address: u64, bytes: &[u8]) -> Result<()> {
        let Some(root) = self.roots.sums else { return Ok(()) };
        let (sector, sum) = (self.superblock().sector_size, self.superblock().sum);
        let mut held: Option<Item> = None;
        for (n, block) in bytes.chunks(sector as usize).enumerate() {
            let at = address + n as u64 * sector;
            if held.as_ref().is_none_or(|item| sum_at(item, at, sector, sum.len()).is_none()) {
                held = self.nodes.last(root, Key(CSUMS, item::CSUM, at))?.filter(|item| item.key.1 == item::CSUM);
            }
            let stored = held.as_ref().and_then(|item| sum_at(item, at, sector, sum.len()));
            if stored.is_some_and(|stored| !sum.is(stored, block)) {
                return Err(damaged(&format!("the block at address {at}"), "its checksum is wrong".to_owned()));
            }
        }
        Ok(())
    }
}

/// The checksum of the block at an address, if an item has it.
fn sum_at(item: &Item, at: u64, sector: u64, len: usize) -> Option<&[u8]> {
    let n = usize::try_from(at.checked_sub(item.key.2)? / sector).ok()?;
    item.bytes().get(n.checked_mul(len)?..)?.get(..len)
}
