//! Where everything that is not data lies: superblocks, descriptors, bitmaps, inode tables.
//!
//! Blocks have 4096 bytes, groups 32,768 blocks. The bitmaps and inode tables of 16 groups lie together at the start of
//! the first of them, so that a small tree in a big file system is in one place.

use std::ops::Range;

use super::options::Options;
use crate::error::{DiskError, Result};
use crate::ext4::raw::FORMAT;

pub(crate) use crate::files::{BLOCK, BLOCK64};

pub(crate) const GROUP: u64 = 32_768;
pub(crate) const INODE: usize = 256;
pub(crate) const DESC: usize = 64;
const DESCS_PER_BLOCK: u64 = (BLOCK / DESC) as u64;
const INODES_PER_BLOCK: u64 = (BLOCK / INODE) as u64;
/// Groups whose tables lie together: 2 to the power of this.
pub(crate) const FLEX_LOG: u8 = 4;
/// Block numbers in a `resize_inode` have 32 bits.
const MAX_BLOCKS: u64 = u32::MAX as u64;
/// Fewer blocks in the last group than this beyond its tables are not worth having it.
const WORTH_A_GROUP: u64 = 50;

/// The tables of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tables {
    pub block_bitmap: u64,
    pub inode_bitmap: u64,
    pub inode_table: u64,
}

/// Where everything that is not data lies.
#[derive(Debug, Clone)]
pub(crate) struct Geometry {
    /// Blocks of the whole file system.
    pub blocks: u64,
    pub inodes_per_group: u32,
    /// Blocks of the descriptors.
    pub desc_blocks: u64,
    /// Blocks kept for descriptors of a bigger file system.
    pub reserved_desc: u64,
    /// By group.
    pub tables: Vec<Tables>,
    /// Sorted, apart from each other.
    pub used: Vec<Range<u64>>,
}

/// Whether a group has a copy of the superblock.
pub(crate) fn has_super(group: u64) -> bool {
    let power = |base: u64| {
        let mut n = base;
        while n < group {
            n *= base;
        }
        n == group
    };
    group <= 1 || power(3) || power(5) || power(7)
}

/// How many inodes `mke2fs` would make at least.
fn usual_inodes(blocks: u64) -> u64 {
    let bytes = blocks * BLOCK64;
    bytes / if bytes < 512 << 20 { 4096 } else { 16_384 }
}

/// Blocks of the journal, by the blocks of the file system, as `mke2fs` chooses.
pub(crate) fn journal_blocks(blocks: u64) -> u64 {
    const K: u64 = 1024;
    match blocks {
        0..2048 => 0,
        2048..32_768 => 1024,
        32_768..262_144 => 4096,
        262_144..524_288 => 8192,
        n if n < 4096 * K => 16_384,
        n if n < 8192 * K => 32_768,
        n if n < 16_384 * K => 65_536,
        n if n < 32_768 * K => 131_072,
        _ => 262_144,
    }
}

impl Geometry {
    /// For at most `blocks` blocks with the inodes that the options say.
    ///
    /// # Errors
    /// [`DiskError::Options`] when that is too small or too big.
    pub fn new(blocks: u64, options: &Options) -> Result<Geometry> {
        let refuse = |why: String| DiskError::Options { format: FORMAT, why };
        if blocks > MAX_BLOCKS {
            return Err(refuse(format!("{} bytes are more than 16 TiB", options.size)));
        }
        let inodes = usual_inodes(blocks).max(u64::from(options.inodes.unwrap_or(0))).max(16);
        let groups = blocks.div_ceil(GROUP).max(1);
        let per_group = inodes.div_ceil(groups).next_multiple_of(INODES_PER_BLOCK);
        let Some(per_group) = u32::try_from(per_group).ok().filter(|n| u64::from(*n) <= GROUP) else {
            let most = groups * GROUP;
            return Err(refuse(format!("{inodes} files are more than the {most} for which its size has room")));
        };
        let desc_blocks = groups.div_ceil(DESCS_PER_BLOCK);
        let reserved_desc = reserved_desc(blocks, desc_blocks);
        let mut geometry = Geometry {
            blocks,
            inodes_per_group: per_group,
            desc_blocks,
            reserved_desc,
            tables: Vec::new(),
            used: Vec::new(),
        };
        let last = if blocks == 0 { 1 } else { blocks % GROUP };
        let least = geometry.super_len(groups - 1) + 2 + geometry.inode_table_blocks() + WORTH_A_GROUP;
        if last > 0 && last < least {
            if groups == 1 {
                return Err(refuse(format!(
                    "{} bytes are too small, it needs {} for itself",
                    blocks * BLOCK64,
                    least * BLOCK64
                )));
            }
            return Geometry::new(blocks - last, options);
        }
        geometry.place()?;
        Ok(geometry)
    }

    pub fn groups(&self) -> u64 {
        self.blocks.div_ceil(GROUP)
    }

    pub fn inodes(&self) -> u64 {
        self.groups() * u64::from(self.inodes_per_group)
    }

    pub fn inode_table_blocks(&self) -> u64 {
        u64::from(self.inodes_per_group) / INODES_PER_BLOCK
    }

    /// The blocks that the superblock with what belongs to it takes at the start of a group.
    pub fn super_len(&self, group: u64) -> u64 {
        if has_super(group) { 1 + self.desc_blocks + self.reserved_desc } else { 0 }
    }

    /// The blocks of a group.
    pub fn group(&self, group: u64) -> Range<u64> {
        group * GROUP..((group + 1) * GROUP).min(self.blocks)
    }

    /// The blocks that are left for data.
    pub fn free(&self) -> u64 {
        self.blocks - self.used.iter().map(|r| r.end - r.start).sum::<u64>()
    }

    fn place(&mut self) -> Result<()> {
        let groups = self.groups();
        let mut used: Vec<Range<u64>> = (0..groups).map(|g| g * GROUP..g * GROUP + self.super_len(g)).collect();
        used.retain(|range| !range.is_empty());
        let table = self.inode_table_blocks();
        for first in (0..groups).step_by(1 << FLEX_LOG) {
            let members = (groups - first).min(1 << FLEX_LOG) as usize;
            let mut next = first * GROUP;
            let mut runs: [Vec<u64>; 3] = Default::default();
            for (run, len) in runs.iter_mut().zip([1, 1, table]) {
                for _ in 0..members {
                    let at = self.run_from(next, len)?;
                    next = at + len;
                    run.push(at);
                    used.push(at..next);
                }
            }
            let [block, inode, tables] = runs;
            self.tables.extend(block.iter().zip(&inode).zip(&tables).map(|((b, i), t)| Tables {
                block_bitmap: *b,
                inode_bitmap: *i,
                inode_table: *t,
            }));
        }
        used.sort_by_key(|range| range.start);
        for range in used {
            match self.used.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => self.used.push(range),
            }
        }
        Ok(())
    }

    /// The first place at or after `from` with `len` blocks that no superblock takes.
    fn run_from(&self, mut from: u64, len: u64) -> Result<u64> {
        while let Some(end) =
            (from / GROUP..=(from + len - 1) / GROUP).map(|g| g * GROUP + self.super_len(g)).find(|end| {
                self.super_len(*end / GROUP) > 0 && *end > from && *end - self.super_len(*end / GROUP) < from + len
            })
        {
            from = end;
        }
        if from + len > self.blocks {
            let why = format!("{} bytes have no room for its tables", self.blocks * BLOCK64);
            return Err(DiskError::Options { format: FORMAT, why });
        }
        Ok(from)
    }
}

/// How many blocks are kept so that the file system can grow while it is mounted, to 1024 times its size.
fn reserved_desc(blocks: u64, desc_blocks: u64) -> u64 {
    let most = if blocks < MAX_BLOCKS / 1024 { blocks * 1024 } else { MAX_BLOCKS };
    let descs = most.div_ceil(GROUP).div_ceil(DESCS_PER_BLOCK);
    descs.saturating_sub(desc_blocks).min(BLOCK64 / 4)
}

/// Gives out blocks for data, from the first to the last, around what is used already.
#[derive(Debug)]
pub(crate) struct Allocator {
    used: Vec<Range<u64>>,
    /// The first range of `used` that may lie ahead.
    ahead: usize,
    next: u64,
    end: u64,
    taken: u64,
}

impl Allocator {
    pub fn new(geometry: &Geometry) -> Allocator {
        Allocator { used: geometry.used.clone(), ahead: 0, next: 0, end: geometry.blocks, taken: 0 }
    }

    /// Up to `want` blocks that lie together; `None` when there are none left.
    pub fn take(&mut self, want: u64) -> Option<Range<u64>> {
        while self.used.get(self.ahead).is_some_and(|range| range.start <= self.next) {
            self.next = self.next.max(self.used[self.ahead].end);
            self.ahead += 1;
        }
        let limit = self.used.get(self.ahead).map_or(self.end, |range| range.start);
        let len = want.min(limit.saturating_sub(self.next));
        if len == 0 {
            return None;
        }
        let from = self.next;
        self.next += len;
        self.taken += len;
        Some(from..self.next)
    }

    /// Blocks given out.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Every block before this one is in use.
    pub fn next(&self) -> u64 {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn superblocks_are_at_powers() {
        let found: Vec<u64> = (0..130).filter(|g| has_super(*g)).collect();
        assert_eq!(found, [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125]);
    }

    #[test]
    fn a_gigabyte_is_laid_out_as_mke2fs_does_it() {
        let geometry = Geometry::new(262_144, &Options::new(0, [0; 16])).unwrap();
        assert_eq!((geometry.desc_blocks, geometry.reserved_desc, geometry.inodes_per_group), (1, 127, 8192));
        assert_eq!(geometry.tables[0], Tables { block_bitmap: 129, inode_bitmap: 137, inode_table: 145 });
        assert_eq!(geometry.tables[2].inode_table, 1169);
    }

    #[test]
    fn nothing_overlaps_at_any_size() {
        let mut options = Options::new(0, [0; 16]);
        for (blocks, inodes) in [
            (256, 0),
            (40_000, 0),
            (65_537, 0),
            (1_000_000, 900_000),
            (33_000, 32_000),
            (70_000_000, 0),
            (524_288, 524_288),
        ] {
            options.inodes = Some(inodes);
            let geometry = Geometry::new(blocks, &options).unwrap();
            let ranges = geometry.used.iter().zip(geometry.used.iter().skip(1));
            assert!(ranges.clone().all(|(a, b)| a.end < b.start), "{blocks}");
            assert!(geometry.used.last().unwrap().end <= geometry.blocks);
            let tables = geometry.groups() * (2 + geometry.inode_table_blocks());
            let supers: u64 = (0..geometry.groups()).map(|g| geometry.super_len(g)).sum();
            assert_eq!(geometry.blocks - geometry.free(), tables + supers, "{blocks}: something lies on something");
            let mut blocks = Allocator::new(&geometry);
            while blocks.take(10_000).is_some() {}
            assert_eq!((blocks.taken(), blocks.next()), (geometry.free(), geometry.blocks));
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let mut options = Options::new(0, [0; 16]);
        assert!(Geometry::new(0, &options).is_err());
        assert!(Geometry::new(20, &options).is_err());
        assert!(Geometry::new(1 << 33, &options).is_err());
        options.inodes = Some(u32::MAX);
        assert!(Geometry::new(262_144, &options).is_err());
    }
}
