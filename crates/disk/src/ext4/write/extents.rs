//! Which blocks of the disk are which blocks of a file.

use super::geometry::BLOCK;
use crate::crc::crc32c;
use crate::ext4::raw::{EXTENT_MAGIC, halves, put16, put32};

/// The most blocks one extent can have.
const MAX_LEN: u64 = 32_768;
/// Extents that fit into the inode.
const IN_INODE: usize = 4;
/// Extents that fit into a block, before its checksum.
pub(crate) const PER_BLOCK: usize = (BLOCK - 16) / 12;

/// Blocks of a file that lie together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub logical: u32,
    pub physical: u64,
    pub len: u16,
}

/// Adds `len` blocks to the end of a file's extents.
pub(crate) fn push(extents: &mut Vec<Extent>, mut logical: u32, mut physical: u64, mut len: u64) {
    if let Some(last) = extents.last_mut() {
        let follows = last.logical + u32::from(last.len) == logical && last.physical + u64::from(last.len) == physical;
        if follows {
            let more = len.min(MAX_LEN - u64::from(last.len));
            last.len += more as u16;
            (logical, physical, len) = (logical + more as u32, physical + more, len - more);
        }
    }
    while len > 0 {
        let part = len.min(MAX_LEN);
        extents.push(Extent { logical, physical, len: part as u16 });
        (logical, physical, len) = (logical.wrapping_add(part as u32), physical + part, len - part);
    }
}

/// What is in an inode, and the blocks below it with their places.
pub(crate) type Stored = ([u8; 60], Vec<(u64, Vec<u8>)>);

/// The tree of extents: what is in the inode, and the blocks below it. `block` gives a new block.
pub(crate) fn tree<E>(extents: &[Extent], seed: u32, mut block: impl FnMut() -> Result<u64, E>) -> Result<Stored, E> {
    let mut level: Vec<[u8; 12]> = extents.iter().map(leaf).collect();
    let mut blocks = Vec::new();
    let mut depth = 0;
    while level.len() > IN_INODE {
        let mut above = Vec::new();
        for entries in level.chunks(PER_BLOCK) {
            let at = block()?;
            let mut bytes = vec![0; BLOCK];
            node(&mut bytes[..BLOCK - 4], entries, PER_BLOCK as u16, depth);
            let sum = crc32c(seed, &bytes[..BLOCK - 4]);
            put32(&mut bytes, BLOCK - 4, sum);
            blocks.push((at, bytes));
            above.push(index(&entries[0], at));
        }
        level = above;
        depth += 1;
    }
    let mut root = [0; 60];
    node(&mut root, &level, IN_INODE as u16, depth);
    Ok((root, blocks))
}

fn node(bytes: &mut [u8], entries: &[[u8; 12]], max: u16, depth: u16) {
    put16(bytes, 0, EXTENT_MAGIC);
    put16(bytes, 2, entries.len() as u16);
    put16(bytes, 4, max);
    put16(bytes, 6, depth);
    for (place, entry) in bytes[12..].chunks_exact_mut(12).zip(entries) {
        place.copy_from_slice(entry);
    }
}

fn leaf(extent: &Extent) -> [u8; 12] {
    let mut entry = [0; 12];
    let (lo, hi) = halves(extent.physical);
    put32(&mut entry, 0, extent.logical);
    put16(&mut entry, 4, extent.len);
    put16(&mut entry, 6, hi as u16);
    put32(&mut entry, 8, lo);
    entry
}

fn index(first: &[u8; 12], block: u64) -> [u8; 12] {
    let mut entry = [0; 12];
    let (lo, hi) = halves(block);
    entry[..4].copy_from_slice(&first[..4]);
    put32(&mut entry, 4, lo);
    put16(&mut entry, 8, hi as u16);
    entry
}
