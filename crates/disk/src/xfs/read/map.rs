//! Which block of the disk is a block of a fork.
//!
//! Every step goes one level down, so that nothing a disk says can make it run in circles.

use std::sync::Arc;

use super::inode::{Fork, Inode};
use super::{Image, damaged};
use crate::error::{DiskError, Result};
use crate::io::ReadAt;
use crate::xfs::inode::Format;
use crate::xfs::raw::{be16, be32, be64, is_sealed, magic};

/// The deepest tree of extents there can be.
const MAX_LEVELS: u16 = 9;
/// No fork has a block with this number.
const END: u64 = 1 << 54;

/// Blocks of a fork that lie together, or a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// The first block on the disk; `None` for a hole, and for what is reserved only.
    pub at: Option<u64>,
    /// How many blocks, at least one.
    pub len: u64,
}

/// One extent as it is stored.
struct Extent {
    from: u64,
    number: u64,
    len: u64,
    /// It is reserved, and reads as zeros.
    reserved: bool,
}

impl Extent {
    fn parse(b: &[u8; 16]) -> Extent {
        let (high, low) = (be64(b, 0), be64(b, 8));
        let (from, number) = ((high << 1) >> 10, (high & 0x1FF) << 43 | low >> 21);
        Extent { from, number, len: low & 0x1F_FFFF, reserved: high >> 63 == 1 }
    }
}

impl<R: ReadAt> Image<R> {
    /// What is at a block of a fork, and how far that goes on.
    pub(super) fn run(&self, inode: &Inode, fork: &Fork, block: u64) -> Result<Run> {
        match fork.format {
            Format::Extents => {
                let len = usize::try_from(fork.extents).unwrap_or(usize::MAX).saturating_mul(16);
                let records = fork.bytes.get(..len).unwrap_or_default();
                self.in_extents(inode, records, block, END)
            }
            Format::Tree => self.in_tree(inode, fork, block),
            Format::Device | Format::Local => Err(wrong(inode, "it has no blocks")),
        }
    }

    fn in_extents(&self, inode: &Inode, records: &[u8], block: u64, end: u64) -> Result<Run> {
        let (records, _) = records.as_chunks::<16>();
        let next = records.partition_point(|record| Extent::parse(record).from <= block);
        let end = records.get(next).map_or(end, |record| Extent::parse(record).from.min(end));
        let hole = Run { at: None, len: end.saturating_sub(block).max(1) };
        let Some(extent) = next.checked_sub(1).and_then(|n| records.get(n)).map(Extent::parse) else { return Ok(hole) };
        let within = block.checked_sub(extent.from).ok_or_else(|| wrong(inode, "its extents are in no order"))?;
        if within >= extent.len {
            return Ok(hole);
        }
        let place = self.superblock.place(extent.number, extent.len);
        let place = place.ok_or_else(|| wrong(inode, "its blocks are where none of a file can be"))?;
        let len = extent.len - within;
        Ok(Run { at: (!extent.reserved).then_some(place + within), len })
    }

    fn in_tree(&self, inode: &Inode, fork: &Fork, block: u64) -> Result<Run> {
        let (mut level, count) = (be16(&fork.bytes, 0), usize::from(be16(&fork.bytes, 2)));
        let most = fork.bytes.len().saturating_sub(4) / 16;
        if !(1..=MAX_LEVELS).contains(&level) || !(1..=most).contains(&count) {
            return Err(wrong(inode, "the root of its extents makes no sense"));
        }
        let mut end = END;
        let mut next = below(&fork.bytes[4..], most, count, block, &mut end);
        loop {
            // What is in front of the first key is a hole.
            let Some(number) = next else { return Ok(Run { at: None, len: end.saturating_sub(block).max(1) }) };
            level -= 1;
            let bytes = self.tree_block(inode, number, level)?;
            let head = self.tree_head();
            let count = usize::from(be16(&bytes, 6));
            let most = bytes[head..].len() / 16;
            if count > most {
                return Err(wrong(inode, "a block of its extents has more than fits"));
            }
            if level == 0 {
                return self.in_extents(inode, &bytes[head..head + count * 16], block, end);
            }
            next = below(&bytes[head..], most, count, block, &mut end);
        }
    }

    /// Bytes in front of what a block of a tree has.
    fn tree_head(&self) -> usize {
        if self.superblock.sums() { 72 } else { 24 }
    }

    fn tree_block(&self, inode: &Inode, number: u64, level: u16) -> Result<Arc<Vec<u8>>> {
        let place = self.superblock.place(number, 1);
        let place = place.ok_or_else(|| wrong(inode, "a block of its extents is where none can be"))?;
        let bytes = self.blocks.get(place)?;
        let sums = self.superblock.sums();
        let kind = if sums { magic::EXTENTS } else { magic::OLD_EXTENTS };
        if be32(&bytes, 0) != kind || be16(&bytes, 4) != level {
            return Err(wrong(inode, "a block of its extents has something else"));
        }
        if sums {
            self.owned(&bytes, place, inode.ino, [24, 40, 56, 64]).map_err(|why| wrong(inode, why))?;
        }
        Ok(bytes)
    }

    /// Checks what a block of version 5 says of itself: where it is, of which file system and which inode, and its sum;
    /// those are at `[place, uuid, owner, sum]`.
    pub(super) fn owned(&self, b: &[u8], block: u64, ino: u64, at: [usize; 4]) -> Result<(), &'static str> {
        if !is_sealed(b, at[3]) {
            return Err("the checksum of one of its blocks is wrong");
        }
        let uuid = b.get(at[1]..at[1] + 16) == Some(&self.superblock.meta_uuid[..]);
        if !uuid || be64(b, at[0]) != block * (self.superblock.block_size / 512) || be64(b, at[2]) != ino {
            return Err("one of its blocks is another's");
        }
        Ok(())
    }
}

/// The number of the block below which `block` is; what it has ends before `end`. Pointers are behind the room for `most`
/// keys.
fn below(area: &[u8], most: usize, count: usize, block: u64, end: &mut u64) -> Option<u64> {
    let (keys, _) = area.get(..count * 8)?.as_chunks::<8>();
    let next = keys.partition_point(|key| u64::from_be_bytes(*key) <= block);
    *end = keys.get(next).map_or(*end, |key| u64::from_be_bytes(*key).min(*end));
    Some(be64(area, most * 8 + next.checked_sub(1)? * 8))
}

fn wrong(inode: &Inode, why: &str) -> DiskError {
    damaged(&format!("inode {}", inode.ino), why.to_owned())
}
