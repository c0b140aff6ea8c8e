//! Which block of the disk is a block of a file: by extents, or by the older trees of block numbers.
//!
//! Every step goes one level down, so that nothing a disk says can make it run in circles.

use super::inode::Inode;
use super::{Image, damaged};
use crate::crc::crc32c;
use crate::error::Result;
use crate::ext4::raw::{EXTENT_MAGIC, get16, get32, iflags};
use crate::io::ReadAt;

/// The deepest tree of extents there can be.
const MAX_DEPTH: u16 = 5;
/// Extents longer than this are reserved only: they read as zeros.
const MAX_LEN: u64 = 32_768;

/// Blocks of a file that lie together, or a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// The first block on the disk; `None` for a hole.
    pub at: Option<u64>,
    /// How many blocks, at least one.
    pub len: u64,
}

/// One level of a tree of extents, checked.
struct Level<'a> {
    entries: &'a [[u8; 12]],
    depth: u16,
}

impl<R: ReadAt> Image<R> {
    /// What is at a block of a file, and how far that goes on.
    pub(super) fn run(&self, inode: &Inode, block: u64) -> Result<Run> {
        let run = if inode.has(iflags::EXTENTS) { self.in_extents(inode, block)? } else { self.in_tree(inode, block)? };
        if let Some(at) = run.at {
            let end = at.checked_add(run.len).filter(|end| *end <= self.superblock.blocks);
            if at <= self.superblock.first_block || end.is_none() {
                return Err(wrong(inode, "its data is beyond the end of the disk"));
            }
        }
        Ok(run)
    }

    fn in_extents(&self, inode: &Inode, block: u64) -> Result<Run> {
        let mut end = 1 << 32;
        let mut level_bytes: std::sync::Arc<Vec<u8>>;
        let mut level = Level::parse(&inode.map).map_err(|why| wrong(inode, why))?;
        loop {
            let next = level.entries.partition_point(|entry| u64::from(get32(entry, 0)) <= block);
            end = level.entries.get(next).map_or(end, |entry| u64::from(get32(entry, 0)).min(end));
            let hole = Run { at: None, len: end.saturating_sub(block).max(1) };
            let Some(entry) = next.checked_sub(1).and_then(|n| level.entries.get(n)) else { return Ok(hole) };
            if level.depth == 0 {
                return extent(entry, block, hole).ok_or_else(|| wrong(inode, "one of its extents has no blocks"));
            }
            let child = u64::from(get32(entry, 4)) | u64::from(get16(entry, 8)) << 32;
            let depth = level.depth - 1;
            level_bytes = self.tree_block(inode, child)?;
            level = Level::parse(&level_bytes).map_err(|why| wrong(inode, why))?;
            if level.depth != depth {
                return Err(wrong(inode, "the levels of its extents are not one above the other"));
            }
            let bytes: &[u8] = &level_bytes;
            let tail = 12 + usize::from(get16(bytes, 4)) * 12;
            let sum = || crc32c(inode.seed, &bytes[..tail]);
            if self.superblock.sums() && (tail + 4 > bytes.len() || get32(bytes, tail) != sum()) {
                return Err(wrong(inode, "the checksum of its extents is wrong"));
            }
        }
    }

    /// A block of the tree that says where a file is.
    fn tree_block(&self, inode: &Inode, block: u64) -> Result<std::sync::Arc<Vec<u8>>> {
        if block <= self.superblock.first_block || block >= self.superblock.blocks {
            return Err(wrong(inode, "it continues beyond the end of the disk"));
        }
        self.blocks.get(block)
    }

    fn in_tree(&self, inode: &Inode, block: u64) -> Result<Run> {
        let per = self.superblock.block_size / 4;
        if block < 12 {
            return Ok(pointers(&inode.map[..48], block as usize));
        }
        let mut within = block - 12;
        let mut span = per;
        for root in 12..15 {
            if within < span {
                return self.down(inode, get32(&inode.map, root * 4), within, span);
            }
            within -= span;
            span = span.saturating_mul(per);
        }
        Err(wrong(inode, "it is longer than it can be"))
    }

    /// Down a tree of block numbers that stands for `span` blocks, to one of them.
    fn down(&self, inode: &Inode, top: u32, mut within: u64, mut span: u64) -> Result<Run> {
        let per = self.superblock.block_size / 4;
        let mut at = top;
        loop {
            if at == 0 {
                return Ok(Run { at: None, len: span - within });
            }
            let bytes = self.tree_block(inode, u64::from(at))?;
            if span == per {
                return Ok(pointers(&bytes, within as usize));
            }
            span /= per;
            at = get32(&bytes, (within / span) as usize * 4);
            within %= span;
        }
    }
}

impl Level<'_> {
    fn parse(bytes: &[u8]) -> Result<Level<'_>, &'static str> {
        let (count, max, depth) = (get16(bytes, 2), get16(bytes, 4), get16(bytes, 6));
        let entries = bytes.get(12..).unwrap_or_default().as_chunks::<12>().0;
        if get16(bytes, 0) != EXTENT_MAGIC || count > max || usize::from(max) > entries.len() || depth > MAX_DEPTH {
            return Err("its extents make no sense");
        }
        let entries = &entries[..usize::from(count)];
        let sorted = entries.is_sorted_by(|a, b| get32(a, 0) < get32(b, 0));
        if sorted { Ok(Level { entries, depth }) } else { Err("its extents are out of order") }
    }
}

/// What an extent has for a block; `hole` if it ends before.
fn extent(entry: &[u8; 12], block: u64, hole: Run) -> Option<Run> {
    let len = u64::from(get16(entry, 4));
    let (len, reserved) = if len > MAX_LEN { (len - MAX_LEN, true) } else { (len, false) };
    if len == 0 {
        return None;
    }
    let within = block - u64::from(get32(entry, 0));
    if within >= len {
        return Some(hole);
    }
    let at = (u64::from(get32(entry, 8)) | u64::from(get16(entry, 6)) << 32) + within;
    Some(Run { at: (!reserved).then_some(at), len: (len - within).min(hole.len) })
}

/// Block numbers that follow each other, from the `n`th on.
fn pointers(bytes: &[u8], n: usize) -> Run {
    let pointers = bytes[n * 4..].as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b));
    let first = bytes.get(n * 4..).map_or(0, |rest| get32(rest, 0));
    let follows =
        |(at, pointer): (u32, u32)| if first == 0 { pointer == 0 } else { pointer.checked_sub(at) == Some(first) };
    let len = (0u32..).zip(pointers).take_while(|pair| follows(*pair)).count().max(1) as u64;
    Run { at: (first != 0).then_some(u64::from(first)), len }
}

fn wrong(inode: &Inode, why: &str) -> crate::DiskError {
    damaged(&format!("inode {}", inode.ino), why.to_owned())
}
