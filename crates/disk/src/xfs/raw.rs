//! Numbers as xfs has them on disk, which is big-endian but for checksums, and the bits and magic words it knows.

use crate::crc::crc32c;

/// The name errors use for this file system.
pub(crate) const FORMAT: &str = "xfs file system";

/// Bytes of a sector: each of the four headers of an allocation group has one.
pub(crate) const SECTOR: usize = 512;
/// Bytes of an inode.
pub(crate) const INODE: usize = 512;
/// Inodes in a block.
pub(crate) const PER_BLOCK: u64 = 8;
/// Inodes that are made and counted together.
pub(crate) const CHUNK: u64 = 64;
/// Blocks of as many inodes.
pub(crate) const CHUNK_BLOCKS: u32 = 8;
/// No block.
pub(crate) const NULL32: u32 = u32::MAX;

/// The inode of the root directory, which tools calculate from what a group's own blocks are and how inodes are aligned:
/// with and without sparse inodes. Those of the bitmap and the summary of a realtime device follow it.
pub(crate) const ROOT_INO: u64 = 128;
pub(crate) const DENSE_ROOT_INO: u64 = 96;

/// Magic words.
pub(crate) mod magic {
    pub const SUPER: u32 = 0x5846_5342;
    pub const AGF: u32 = 0x5841_4746;
    pub const AGI: u32 = 0x5841_4749;
    pub const AGFL: u32 = 0x5841_464C;
    pub const BY_START: u32 = 0x4142_3342;
    pub const BY_LEN: u32 = 0x4142_3343;
    pub const INODES: u32 = 0x4941_4233;
    pub const FREE_INODES: u32 = 0x4649_4233;
    pub const REFCOUNT: u32 = 0x5233_4643;
    pub const EXTENTS: u32 = 0x424D_4133;
    pub const DIR_BLOCK: u32 = 0x5844_4233;
    pub const DIR_DATA: u32 = 0x5844_4433;
    pub const DIR_FREE: u32 = 0x5844_4633;
    pub const DIR_LEAF: u16 = 0x3DF1;
    pub const DIR_LEAVES: u16 = 0x3DFF;
    pub const NODE: u16 = 0x3EBE;
    pub const ATTR_LEAF: u16 = 0x3BEE;
    pub const ATTR_VALUE: u32 = 0x5841_524D;
    pub const SYMLINK: u32 = 0x5853_4C4D;
    pub const INODE: u16 = 0x494E;

    /// What is only read: the same in version 4, which has no checksums.
    pub const OLD_EXTENTS: u32 = 0x424D_4150;
    pub const OLD_DIR_BLOCK: u32 = 0x5844_3242;
    pub const OLD_DIR_DATA: u32 = 0x5844_3244;
    pub const OLD_NODE: u16 = 0xFEBE;
    pub const OLD_ATTR_LEAF: u16 = 0xFBEE;
    pub const LOG_RECORD: u32 = 0xFEED_BABE;
}

pub(crate) fn put16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

pub(crate) fn put32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

pub(crate) fn put64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_be_bytes());
}

/// A field of a structure; zero where the structure ends before it.
pub(crate) fn be16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]))
}

/// A field of a structure; zero where the structure ends before it.
pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from(be16(bytes, at)) << 16 | u32::from(be16(bytes, at + 2))
}

/// A field of a structure; zero where the structure ends before it.
pub(crate) fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from(be32(bytes, at)) << 32 | u64::from(be32(bytes, at + 4))
}

/// Whether the checksum of a structure, which is at a place in it, is right.
pub(crate) fn is_sealed(bytes: &[u8], at: usize) -> bool {
    let (Some(before), Some(behind)) = (bytes.get(..at), bytes.get(at + 4..)) else { return false };
    let sum = !crc32c(crc32c(crc32c(!0, before), &[0; 4]), behind);
    bytes[at..at + 4] == sum.to_le_bytes()
}

/// Writes the checksum of a structure, which is zeros there so far, to its place.
pub(crate) fn seal(bytes: &mut [u8], at: usize) {
    let sum = !crc32c(!0, bytes);
    bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
}

/// What every block of metadata that belongs to an inode says of itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner {
    pub ino: u64,
    pub uuid: [u8; 16],
}

/// The sum of a name, by which directories and attributes find it.
pub(crate) fn hash(name: &[u8]) -> u32 {
    let (fours, rest) = name.as_chunks::<4>();
    let word = |c: &[u8], at: usize, shift: u32| u32::from(c[at]) << shift;
    let hash = fours
        .iter()
        .fold(0u32, |hash, c| word(c, 0, 21) ^ word(c, 1, 14) ^ word(c, 2, 7) ^ word(c, 3, 0) ^ hash.rotate_left(28));
    match rest.len() {
        3 => word(rest, 0, 14) ^ word(rest, 1, 7) ^ word(rest, 2, 0) ^ hash.rotate_left(21),
        2 => word(rest, 0, 7) ^ word(rest, 1, 0) ^ hash.rotate_left(14),
        1 => word(rest, 0, 0) ^ hash.rotate_left(7),
        _ => hash,
    }
}
