//! Allocation groups, and the blocks and inodes that are given out of them, from the first to the last.
//!
//! ```text
//! block 0        the superblock, the heads of free space, of inodes, of the list of blocks kept for trees
//! blocks 1 - 5   the roots of the five trees of a group
//! blocks 6 - 9   blocks kept for trees
//! the log, in the third group; the first inodes, from block 16 (or 12) of the first
//! ```
//! A hundredth of each group is left free: trees that grow need it, and the kernel wants as much for itself.

use std::ops::Range;

use kiln_oci::name::escape;

use super::raw::{CHUNK, CHUNK_BLOCKS, FORMAT, PER_BLOCK, ROOT_INO};
use crate::error::{DiskError, Result};
use crate::files::BLOCK64;

/// Groups there are, unless they would be larger than can be.
const GROUPS: u64 = 4;
const MAX_GROUP: u64 = (1 << 28) - 1;
/// Fewer blocks are no group, and four such groups are the smallest file system.
const MIN_GROUP: u64 = 4096;
/// The last size at which the log is small.
const SMALL: u64 = (300 << 20) / BLOCK64;
/// Where in a group the first block lies that is not the group's own.
pub(crate) const OWN: u32 = 10;
/// The blocks that are kept for trees.
pub(crate) const KEPT: Range<u32> = 6..OWN;
/// Chunks of inodes that are kept together when nobody said how many will be needed.
const UNPLANNED: u64 = 32;

/// Where everything is.
#[derive(Debug, Clone)]
pub(crate) struct Geometry {
    /// Blocks of the whole file system.
    pub blocks: u64,
    /// Blocks of a group; the last may have fewer.
    pub group: u32,
    pub groups: u32,
    pub log: u32,
    /// Bits of a block's number in its group.
    pub bits: u32,
    /// The inode of the root directory.
    pub root: u64,
}

impl Geometry {
    /// For at most `size` bytes.
    ///
    /// # Errors
    /// [`DiskError::Options`] when that is too small or too big.
    pub fn new(size: u64) -> Result<Geometry> {
        let refuse = |why: String| Err(DiskError::Options { format: FORMAT, why });
        let mut blocks = size / BLOCK64;
        if blocks < GROUPS * MIN_GROUP {
            return refuse(format!("{size} bytes are too small, {} are the least", GROUPS * MIN_GROUP * BLOCK64));
        }
        if blocks > 1 << 40 {
            return refuse(format!("{size} bytes are more than 4 PiB"));
        }
        let group = blocks.div_ceil(GROUPS).min(MAX_GROUP);
        let last = blocks % group;
        if last > 0 && last < MIN_GROUP {
            blocks -= last;
        }
        // As `mkfs.xfs` chooses; for small ones, of which it makes none, a little more than the kernel demands.
        let log = if blocks < SMALL { 2560 } else { (blocks / 2048).clamp(16_384, 521_728) };
        let bits = 64 - (group - 1).leading_zeros();
        let groups = blocks.div_ceil(group) as u32;
        Ok(Geometry { blocks, group: group as u32, groups, log: log as u32, bits, root: ROOT_INO })
    }

    /// Blocks of a group.
    pub fn len(&self, group: u32) -> u32 {
        (self.blocks - u64::from(group) * u64::from(self.group)).min(u64::from(self.group)) as u32
    }

    /// The group that has the log.
    pub fn log_group(&self) -> u32 {
        self.groups / 2
    }

    /// The block's number as it is stored in files, by where it is on disk.
    pub fn number(&self, block: u64) -> u64 {
        let group = u64::from(self.group);
        (block / group) << self.bits | (block % group)
    }

    /// Where a block of a group is on disk.
    pub fn block(&self, group: u32, block: u32) -> u64 {
        u64::from(group) * u64::from(self.group) + u64::from(block)
    }

    /// The first block of a group that can be given out.
    fn first(&self, group: u32) -> u32 {
        match group {
            0 => (self.root / PER_BLOCK) as u32 + CHUNK_BLOCKS,
            group if group == self.log_group() => OWN + self.log,
            _ => OWN,
        }
    }

    /// Where giving out blocks of a group ends.
    fn limit(&self, group: u32) -> u32 {
        let len = self.len(group);
        (len - len / 100 - 32).max(self.first(group))
    }

    /// The blocks that can be given out.
    pub fn room(&self) -> u64 {
        (0..self.groups).map(|group| u64::from(self.limit(group) - self.first(group))).sum()
    }
}

/// 64 inodes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chunk {
    /// The block of the group in which it starts.
    pub block: u32,
    /// How many of them are used, the first ones.
    pub used: u64,
}

/// What was given out of a group.
#[derive(Debug)]
pub(crate) struct Group {
    /// Every block from this one on is free.
    pub next: u32,
    pub len: u32,
    /// What is free before it.
    pub gaps: Vec<Range<u32>>,
    pub chunks: Vec<Chunk>,
}

impl Group {
    /// What is free, from the first block on.
    pub fn free(&self) -> Vec<Range<u32>> {
        let mut free: Vec<Range<u32>> = self.gaps.iter().chain([&(self.next..self.len)]).cloned().collect();
        free.retain(|range| !range.is_empty());
        free.sort_by_key(|range| range.start);
        free.dedup_by(|next, before| {
            let together = before.end == next.start;
            before.end = if together { next.end } else { before.end };
            together
        });
        free
    }

    /// One more block of this group, also of those that are kept back.
    pub fn one(&mut self) -> Option<u32> {
        (self.next < self.len).then(|| {
            self.next += 1;
            self.next - 1
        })
    }
}

/// Gives out blocks and inodes.
#[derive(Debug)]
pub(crate) struct Space {
    pub geometry: Geometry,
    pub groups: Vec<Group>,
    /// The group of which blocks are given out.
    at: u32,
    /// The group of which inodes are, and the blocks kept for more of them.
    inodes: (u32, Range<u32>),
    /// Inodes of which it is known that they will be needed.
    planned: u64,
    /// The bytes that would be enough, if that is known.
    pub enough: Option<u64>,
}

impl Space {
    pub fn new(geometry: Geometry, planned: u64, enough: Option<u64>) -> Space {
        let groups = (0..geometry.groups).map(|group| {
            let (next, len) = (geometry.first(group), geometry.len(group));
            Group { next, len, gaps: Vec::new(), chunks: Vec::new() }
        });
        let mut groups: Vec<Group> = groups.collect();
        // The root's chunk is where tools look for it, and what is before it is free.
        if let Some(first) = groups.first_mut() {
            let block = (geometry.root / PER_BLOCK) as u32;
            first.gaps.push(OWN..block);
            first.chunks.push(Chunk { block, used: 3 });
        }
        Space { geometry, groups, at: 0, inodes: (0, 0..0), planned: planned.saturating_sub(CHUNK - 3), enough }
    }

    /// Up to `want` blocks that lie together, where they are on disk, for what is at `path`.
    pub fn take(&mut self, path: &[u8], want: u64) -> Result<Range<u64>> {
        while self.at < self.geometry.groups {
            let group = &mut self.groups[self.at as usize];
            let room = self.geometry.limit(self.at).saturating_sub(group.next);
            if room > 0 {
                let len = want.min(u64::from(room)) as u32;
                let from = self.geometry.block(self.at, group.next);
                group.next += len;
                return Ok(from..from + u64::from(len));
            }
            self.at += 1;
        }
        Err(self.full(path, want))
    }

    /// A new inode.
    pub fn inode(&mut self, path: &[u8]) -> Result<u64> {
        let group = self.inodes.0;
        if let Some(chunk) = self.groups[group as usize].chunks.last_mut().filter(|chunk| chunk.used < CHUNK) {
            chunk.used += 1;
            let number = u64::from(group) << self.geometry.bits | u64::from(chunk.block);
            return Ok(number * PER_BLOCK + chunk.used - 1);
        }
        if self.inodes.1.is_empty() {
            self.keep(path)?;
        }
        let (group, kept) = &mut self.inodes;
        self.groups[*group as usize].chunks.push(Chunk { block: kept.start, used: 0 });
        kept.start += CHUNK_BLOCKS;
        self.inode(path)
    }

    /// Keeps blocks for more inodes: all that will be needed, as far as one group has them.
    fn keep(&mut self, path: &[u8]) -> Result<()> {
        let want = if self.planned > 0 { self.planned.div_ceil(CHUNK) } else { UNPLANNED };
        while self.at < self.geometry.groups {
            let group = &mut self.groups[self.at as usize];
            let start = group.next.next_multiple_of(CHUNK_BLOCKS);
            let most = self.geometry.limit(self.at).saturating_sub(start) / CHUNK_BLOCKS;
            let chunks = want.min(u64::from(most));
            if chunks > 0 {
                group.gaps.push(group.next..start);
                group.next = start + chunks as u32 * CHUNK_BLOCKS;
                self.inodes = (self.at, start..group.next);
                self.planned = self.planned.saturating_sub(chunks * CHUNK);
                return Ok(());
            }
            self.at += 1;
        }
        Err(self.full(path, u64::from(CHUNK_BLOCKS)))
    }

    /// No more inodes come: what is kept for them is free.
    pub fn no_more_inodes(&mut self) {
        let (group, kept) = std::mem::take(&mut self.inodes);
        self.groups[group as usize].gaps.push(kept);
    }

    fn full(&self, path: &[u8], want: u64) -> DiskError {
        let what = match self.enough {
            Some(bytes) => format!("{bytes} bytes are enough"),
            None => format!("at least {} bytes more are needed", want * BLOCK64),
        };
        DiskError::Full { format: FORMAT, has: self.geometry.blocks * BLOCK64, path: escape(path), what }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gigabyte_is_laid_out_as_mkfs_does_it() {
        let geometry = Geometry::new(1 << 30).unwrap();
        assert_eq!((geometry.group, geometry.groups, geometry.log, geometry.bits), (65_536, 4, 16_384, 16));
        assert_eq!(geometry.number(65_536 * 2 + 7), 2 << 16 | 7);
        assert!(Geometry::new(60 << 20).is_err() && Geometry::new(u64::MAX).is_err());
        let huge = Geometry::new((9 << 40) + (1 << 30)).unwrap();
        assert!(huge.groups == 10 && huge.len(9) < huge.group);
    }

    #[test]
    fn nothing_is_given_out_twice() {
        let geometry = Geometry::new(64 << 20).unwrap();
        let room = geometry.room();
        let mut space = Space::new(geometry.clone(), 0, None);
        let mut seen = std::collections::BTreeSet::new();
        let mut blocks = 0;
        while let Ok(range) = space.take(b"x", 100) {
            range.for_each(|block| assert!(seen.insert(block)));
            let Ok(ino) = space.inode(b"x") else { break };
            let number = ino / PER_BLOCK;
            let block = (number & ((1 << geometry.bits) - 1)) as u32;
            seen.insert(geometry.block((number >> geometry.bits) as u32, block));
            blocks += 1;
        }
        space.no_more_inodes();
        assert!(blocks > 100 && seen.len() as u64 <= room, "{blocks} {} {room}", seen.len());
        for (number, group) in space.groups.iter().enumerate() {
            for free in group.free() {
                free.for_each(|block| assert!(!seen.contains(&geometry.block(number as u32, block))));
            }
        }
        assert!(space.take(b"x", 1).unwrap_err().to_string().contains("full"));
    }
}
