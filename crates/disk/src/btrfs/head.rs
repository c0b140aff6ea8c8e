//! The superblock, chunks, and the roots of trees, as bytes.

use kiln_oci::Mtime;

use super::items::{Node, seal};
use super::raw::{Bytes, CHUNKS, DEVICE, FIRST_INO, GENERATION, Ids, Key, NODE, NODE64, STRIPE, item, tree};
use super::space::{Chunk, Space};
use crate::files::{BLOCK, Options};

/// References to trees in extents, extended references to inodes, short items of metadata, no items for holes.
const INCOMPAT: u64 = 1 | 1 << 6 | 1 << 8 | 1 << 9;
/// Another subvolume than the top is mounted when nothing else is said.
const DEFAULT_SUBVOL: u64 = 1 << 1;
/// A tree of free space, which is right.
const COMPAT_RO: u64 = 1 | 2;
/// The flag that says that a root's flags mean something.
const ROOT_INIT: u64 = 1 << 31;

/// A chunk as its item has it.
pub(crate) fn chunk(chunk: &Chunk, ids: &Ids) -> Bytes {
    let stripes = chunk.stripes();
    let head = Bytes::default().many(&[chunk.len, tree::EXTENT, STRIPE, chunk.kind]);
    let head = head.u32(STRIPE as u32).u32(STRIPE as u32).u32(BLOCK as u32).u16(stripes.len() as u16).u16(1);
    stripes.iter().fold(head, |bytes, at| bytes.u64(DEVICE).u64(*at).bytes(&ids.device))
}

/// The device, of which chunks have `used` bytes.
pub(crate) fn device(size: u64, used: u64, ids: &Ids) -> Bytes {
    let head = Bytes::default().many(&[DEVICE, size, used]).u32(BLOCK as u32).u32(BLOCK as u32).u32(BLOCK as u32);
    head.many(&[0, 0, 0]).u32(0).u8(0).u8(0).bytes(&ids.device).bytes(&ids.fs)
}

/// Where a tree is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Root {
    pub owner: u64,
    pub node: Node,
    pub nodes: u64,
}

/// A tree's root as its item has it. Trees of files have an identifier and times.
pub(crate) fn root(root: &Root, read_only: bool, ids: &Ids, made: Mtime) -> Bytes {
    let shown = root.owner == tree::FS || (FIRST_INO..1 << 63).contains(&root.owner);
    let files = shown || root.owner == tree::RELOCATION;
    let inode = Bytes::default().many(&[1, 0, 3, NODE64, 0]).u32(1).u32(0).u32(0).u32(0o40755);
    let inode = inode.many(&[0, ROOT_INIT, 0]).zeros(32 + 4 * 12);
    let dir = if files { FIRST_INO } else { 0 };
    let bytes = inode.many(&[GENERATION, dir, root.node.0, 0, root.nodes * NODE64, 0, u64::from(read_only)]).u32(1);
    let bytes = bytes.zeros(Key::LEN).u8(0).u8(root.node.1).u64(GENERATION);
    if !shown {
        return bytes.zeros(3 * 16 + 4 * 8 + 4 * 12 + 64);
    }
    bytes.bytes(&ids.of_files(root.owner)).zeros(2 * 16 + 4 * 8).time(made).time(made).zeros(2 * 12 + 64)
}

/// The superblock at `at`.
pub(crate) fn superblock(
    at: u64,
    (options, ids, space, default): (&Options, &Ids, &Space, bool),
    [root, chunks]: [&Root; 2],
    system: &Chunk,
    (used, allocated): (u64, u64),
) -> Vec<u8> {
    let mut label = options.label.clone().into_bytes();
    label.resize(256, 0);
    let listed = Bytes::default().bytes(&Key(CHUNKS, item::CHUNK, system.start).bytes());
    let listed = listed.bytes(&chunk(system, ids).0);
    let b = Bytes::default().zeros(32).bytes(&ids.fs).u64(at).u64(1).bytes(b"_BHRfS_M");
    let b = b.many(&[GENERATION, root.node.0, chunks.node.0, 0, 0, space.size, used, tree::DIR, 1]);
    let b = b.u32(BLOCK as u32).u32(NODE as u32).u32(NODE as u32).u32(BLOCK as u32).u32(listed.0.len() as u32);
    let incompat = INCOMPAT | if default { DEFAULT_SUBVOL } else { 0 };
    let b = b.many(&[GENERATION, 0, COMPAT_RO, incompat]).u16(0).u8(root.node.1).u8(chunks.node.1).u8(0);
    let b = b.bytes(&device(space.size, allocated, ids).0).bytes(&label);
    // No cache of the old kind; the tree of identifiers is right.
    let b = b.many(&[0, GENERATION]).zeros(16 + 28 * 8).bytes(&listed.0);
    let mut bytes = b.0;
    bytes.resize(BLOCK, 0);
    seal(&mut bytes);
    bytes
}
