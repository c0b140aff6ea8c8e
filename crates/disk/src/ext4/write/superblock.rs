//! The superblock and the descriptors of the groups.

use super::geometry::{DESC, FLEX_LOG, GROUP, Geometry, INODE, Tables};
use super::options::Options;
use crate::crc::crc32c;
use crate::ext4::raw::{JOURNAL_INO, LOST_FOUND_INO, SUPER_MAGIC, SUPER_SIZE};
use crate::ext4::raw::{compat, halves, halves32, incompat, put16, put32, ro_compat};

/// Where the sum of the superblock is, over all before it.
const SUM_AT: usize = 0x3FC;

/// What is known at the end.
pub(crate) struct Totals {
    pub free_blocks: u64,
    pub free_inodes: u64,
    /// `i_block` and the size of the journal, for when its inode gets lost.
    pub journal: Option<([u8; 60], u64)>,
    pub overhead: u64,
}

/// The superblock, without its sum.
pub(crate) fn superblock(options: &Options, geometry: &Geometry, totals: &Totals) -> [u8; SUPER_SIZE] {
    let mut b = [0; SUPER_SIZE];
    let (blocks, blocks_hi) = halves(geometry.blocks);
    let (reserved, reserved_hi) = halves(geometry.blocks * u64::from(options.reserved_percent) / 100);
    let (free, free_hi) = halves(totals.free_blocks);
    let time = options.time;
    for (at, value) in [
        (0x00, geometry.inodes() as u32),
        (0x04, blocks),
        (0x08, reserved),
        (0x0C, free),
        (0x10, totals.free_inodes as u32),
        (0x18, 2),
        (0x1C, 2),
        (0x20, GROUP as u32),
        (0x24, GROUP as u32),
        (0x28, geometry.inodes_per_group),
        (0x30, time),
        (0x40, time),
        (0x4C, 1),
        (0x54, LOST_FOUND_INO),
        (0x100, 0xC),
        (0x108, time),
        (0x150, blocks_hi),
        (0x154, reserved_hi),
        (0x158, free_hi),
        (0x160, 1),
        (0x248, totals.overhead as u32),
    ] {
        put32(&mut b, at, value);
    }
    let values = [
        (0x36, u16::MAX),
        (0x38, SUPER_MAGIC),
        (0x3A, 1),
        (0x3C, 1),
        (0x58, INODE as u16),
        (0xCE, geometry.reserved_desc as u16),
        (0xFE, DESC as u16),
        (0x15C, 32),
        (0x15E, 32),
    ];
    values.into_iter().for_each(|(at, value)| put16(&mut b, at, value));
    features(&mut b, options, geometry, totals);
    b[0x68..0x78].copy_from_slice(&options.uuid);
    b[0x78..0x78 + options.label.len()].copy_from_slice(options.label.as_bytes());
    b[0xEC..0xFC].copy_from_slice(&hash_seed(options));
    b[0xFC] = 1;
    b[0x174] = FLEX_LOG;
    b[0x175] = u8::from(options.checksums);
    if let Some((map, size)) = &totals.journal {
        let (size, size_hi) = halves(*size);
        put32(&mut b, 0xE0, JOURNAL_INO);
        b[0xFD] = 1;
        b[0x10C..0x148].copy_from_slice(map);
        put32(&mut b, 0x148, size_hi);
        put32(&mut b, 0x14C, size);
    }
    b
}

fn features(b: &mut [u8], options: &Options, geometry: &Geometry, totals: &Totals) {
    let journal = if totals.journal.is_some() { compat::HAS_JOURNAL } else { 0 };
    let resize = if geometry.reserved_desc > 0 { compat::RESIZE_INODE } else { 0 };
    put32(b, 0x5C, journal | resize | compat::EXT_ATTR | compat::DIR_INDEX);
    put32(b, 0x60, incompat::FILETYPE | incompat::EXTENTS | incompat::BIT64 | incompat::FLEX_BG);
    use ro_compat::{DIR_NLINK, EXTRA_ISIZE, HUGE_FILE, LARGE_FILE, METADATA_CSUM, SPARSE_SUPER};
    let sums = if options.checksums { METADATA_CSUM } else { 0 };
    put32(b, 0x64, SPARSE_SUPER | LARGE_FILE | HUGE_FILE | DIR_NLINK | EXTRA_ISIZE | sums);
}

/// What the hashes of names depend on: something that differs between file systems, but not between builds.
pub(crate) fn hash_seed(options: &Options) -> [u8; 16] {
    options.uuid.map(|b| b.rotate_left(3) ^ 0x5A)
}

/// Writes the group that has this copy, and the sum.
pub(crate) fn seal(superblock: &mut [u8; SUPER_SIZE], group: u64) {
    put16(superblock, 0x5A, group as u16);
    let sum = crc32c(!0, &superblock[..SUM_AT]);
    put32(superblock, SUM_AT, sum);
}

/// What a group's descriptor says besides where its tables are.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub free_blocks: u32,
    pub free_inodes: u32,
    pub dirs: u32,
    pub unused_inodes: u32,
    pub flags: u16,
    pub block_sum: u32,
    pub inode_sum: u32,
}

/// The inode bitmap is not there: no inode is in use.
pub(crate) const INODE_UNINIT: u16 = 1;
/// The block bitmap is not there: nothing but the group's own copy of the superblock is in use.
pub(crate) const BLOCK_UNINIT: u16 = 2;
/// Unused inodes read as zeros.
pub(crate) const INODE_ZEROED: u16 = 4;

/// A group's descriptor.
pub(crate) fn descriptor(number: u32, tables: &Tables, group: &Group, seed: u32) -> [u8; DESC] {
    let mut b = [0; DESC];
    for (at, value) in [(0, tables.block_bitmap), (4, tables.inode_bitmap), (8, tables.inode_table)] {
        let (lo, hi) = halves(value);
        put32(&mut b, at, lo);
        put32(&mut b, 0x20 + at, hi);
    }
    let pairs = [
        (0x0C, 0x2C, group.free_blocks),
        (0x0E, 0x2E, group.free_inodes),
        (0x10, 0x30, group.dirs),
        (0x1C, 0x32, group.unused_inodes),
        (0x18, 0x38, group.block_sum),
        (0x1A, 0x3A, group.inode_sum),
    ];
    for (lo_at, hi_at, value) in pairs {
        let (lo, hi) = halves32(value);
        put16(&mut b, lo_at, lo);
        put16(&mut b, hi_at, hi);
    }
    put16(&mut b, 0x12, group.flags);
    let sum = crc32c(crc32c(seed, &number.to_le_bytes()), &b);
    put16(&mut b, 0x1E, (sum & 0xFFFF) as u16);
    b
}
