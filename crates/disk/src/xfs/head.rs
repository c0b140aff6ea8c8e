//! The superblock, the heads of a group, and the log.

use super::Features;
use super::geometry::{Geometry, KEPT, OWN};
use super::raw::{CHUNK_BLOCKS, NULL32, SECTOR, magic, put16, put32, put64, seal};
use super::read::{incompat, ro_compat};
use crate::files::{BLOCK, Options};

/// Counts of the whole file system.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub inodes: u64,
    pub free_inodes: u64,
    pub free_blocks: u64,
}

/// The superblock, as every group has it.
pub(crate) fn superblock(options: &Options, features: Features, geometry: &Geometry, totals: &Totals) -> [u8; SECTOR] {
    let mut b = [0; SECTOR];
    let log = geometry.number(geometry.block(geometry.log_group(), OWN));
    let wide = [
        (8, geometry.blocks),
        (48, log),
        (56, geometry.root),
        (64, geometry.root + 1),
        (72, geometry.root + 2),
        (128, totals.inodes),
        (136, totals.free_inodes),
        (144, totals.free_blocks),
    ];
    wide.into_iter().for_each(|(at, value)| put64(&mut b, at, value));
    let bit = |has: bool, bit: u32| if has { bit } else { 0 };
    let reflink = bit(features.reflink, ro_compat::REFLINK);
    let counts = bit(features.inode_counts, ro_compat::INODE_COUNTS);
    let sparse = bit(features.sparse_inodes, incompat::SPARSE_INODES);
    let bigtime = bit(features.bigtime, incompat::BIGTIME);
    let narrow = [
        (0, magic::SUPER),
        (4, BLOCK as u32),
        (80, 1),
        (84, geometry.group),
        (88, geometry.groups),
        (96, geometry.log),
        // As chunks are, or only as the blocks of inodes that are read together.
        (180, if features.sparse_inodes { CHUNK_BLOCKS } else { CHUNK_BLOCKS / 2 }),
        (196, 1),
        // Free blocks counted lazily, attributes of the second form, long project numbers, checksums; as a copy, too.
        (200, 0x18A),
        (204, 0x18A),
        (212, ro_compat::FREE_INODES | reflink | counts),
        (216, incompat::FTYPE | sparse | bigtime),
        (228, if features.sparse_inodes { CHUNK_BLOCKS / 2 } else { 0 }),
    ];
    narrow.into_iter().for_each(|(at, value)| put32(&mut b, at, value));
    for (at, value) in [(100, 0xB4A5), (102, SECTOR as u16), (104, 512), (106, 8)] {
        put16(&mut b, at, value);
    }
    b[32..48].copy_from_slice(&options.uuid);
    b[108..108 + options.label.len()].copy_from_slice(options.label.as_bytes());
    b[120..125].copy_from_slice(&[12, 9, 9, 3, geometry.bits as u8]);
    // The part of the blocks that may become inodes.
    let taken = totals.inodes / 8 * 100 / geometry.blocks;
    b[127] = if taken < 20 { 25 } else { 100 };
    seal(&mut b, 224);
    b
}

/// A tree of a group: where its root is, its levels, its blocks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rooted {
    pub block: u32,
    pub levels: u32,
    pub blocks: u32,
}

/// What the heads of a group say.
#[derive(Debug)]
pub(crate) struct Heads {
    pub number: u32,
    pub len: u32,
    pub by_start: Rooted,
    pub by_len: Rooted,
    pub inodes: Rooted,
    pub free_inodes: Rooted,
    /// Nothing of it where blocks cannot be shared.
    pub shared: Rooted,
    /// Whether the blocks of trees of inodes are counted.
    pub counts: bool,
    pub free: u32,
    pub longest: u32,
    pub inode_count: u32,
    pub inode_free: u32,
    /// The first inode of the chunk that was made last.
    pub newest: u32,
}

/// Blocks of the trees of free space without their roots.
pub(crate) fn tree_blocks(heads: &Heads) -> u32 {
    heads.by_start.blocks + heads.by_len.blocks - 2
}

impl Heads {
    /// The first block of the group.
    pub fn block(&self, superblock: &[u8; SECTOR], uuid: [u8; 16]) -> Vec<u8> {
        let mut b = vec![0; BLOCK];
        b[..SECTOR].copy_from_slice(superblock);
        self.space(&mut b[SECTOR..2 * SECTOR], uuid);
        self.files(&mut b[2 * SECTOR..3 * SECTOR], uuid);
        self.kept(&mut b[3 * SECTOR..4 * SECTOR], uuid);
        b
    }

    fn space(&self, b: &mut [u8], uuid: [u8; 16]) {
        let count = KEPT.end - KEPT.start;
        let fields = [
            (0, magic::AGF),
            (4, 1),
            (8, self.number),
            (12, self.len),
            (16, self.by_start.block),
            (20, self.by_len.block),
            (28, self.by_start.levels),
            (32, self.by_len.levels),
            (40, 0),
            (44, count - 1),
            (48, count),
            (52, self.free),
            (56, self.longest),
            (60, tree_blocks(self)),
            (84, self.shared.blocks),
            (88, self.shared.block),
            (92, self.shared.levels),
        ];
        fields.into_iter().for_each(|(at, value)| put32(b, at, value));
        b[64..80].copy_from_slice(&uuid);
        seal(b, 216);
    }

    fn files(&self, b: &mut [u8], uuid: [u8; 16]) {
        let fields = [
            (0, magic::AGI),
            (4, 1),
            (8, self.number),
            (12, self.len),
            (16, self.inode_count),
            (20, self.inodes.block),
            (24, self.inodes.levels),
            (28, self.inode_free),
            (32, self.newest),
            (36, NULL32),
            (328, self.free_inodes.block),
            (332, self.free_inodes.levels),
            (336, if self.counts { self.inodes.blocks } else { 0 }),
            (340, if self.counts { self.free_inodes.blocks } else { 0 }),
        ];
        fields.into_iter().for_each(|(at, value)| put32(b, at, value));
        b[40..296].fill(0xFF);
        b[296..312].copy_from_slice(&uuid);
        seal(b, 312);
    }

    fn kept(&self, b: &mut [u8], uuid: [u8; 16]) {
        put32(b, 0, magic::AGFL);
        put32(b, 4, self.number);
        b[8..24].copy_from_slice(&uuid);
        b[36..].fill(0xFF);
        KEPT.enumerate().for_each(|(n, block)| put32(b, 36 + n * 4, block));
        seal(b, 32);
    }
}

/// The start of a log that says the file system was left in order; all behind it is zeros.
pub(crate) fn log(uuid: [u8; 16]) -> Vec<u8> {
    let mut b = vec![0; BLOCK];
    let fields = [
        (0, 0xFEED_BABE),
        // The first round, in the second version, 512 bytes long.
        (4, 1),
        (8, 2),
        (12, SECTOR as u32),
        (16, 1),
        (24, 1),
        (36, NULL32),
        (40, 1),
        // The first word of what follows, which has the round's number in its place.
        (44, 0xB0C0_D0D0),
        (300, 1),
        (320, 32 << 10),
        (512, 1),
        (516, 8),
    ];
    fields.into_iter().for_each(|(at, value)| put32(&mut b, at, value));
    b[304..320].copy_from_slice(&uuid);
    // It was unmounted.
    b[520..522].copy_from_slice(&[0xAA, 0x20]);
    b[524..526].copy_from_slice(b"nU");
    b
}
