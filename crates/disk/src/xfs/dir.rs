//! Directories: in the inode, in one block, or in blocks of names with an index by the sums of the names.
//!
//! ```text
//! from byte 0         names
//! from 32 GiB on      the index: one block, or a tree whose leaves have 504 names each
//! from 64 GiB on      how much is free in the blocks of names, where the index is a tree
//! ```

use super::raw::{Owner, hash, magic, put16, put32, put64, seal};
use crate::files::{BLOCK, BLOCK64};

/// One name in a directory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dirent<'a> {
    pub name: &'a [u8],
    pub ino: u64,
    pub kind: u8,
}

/// Where names start in a block of names.
const NAMES: usize = 64;
/// Where entries start in a block of the index, and how many there can be.
const ENTRIES: usize = 64;
const MOST: usize = (BLOCK - ENTRIES) / 8;
/// The first block of the index, and of what is free.
const INDEX: u64 = (32 << 30) / BLOCK64;
const FREE: u64 = (64 << 30) / BLOCK64;
/// Blocks of names of which one block says what is free.
const FREE_MOST: usize = (BLOCK - ENTRIES) / 2;
/// The longest entry.
const LONGEST: usize = 272;

/// A block of a directory that still has to be told where it lies.
#[derive(Debug)]
pub(crate) struct Block {
    /// Its number in the directory.
    pub number: u64,
    bytes: Vec<u8>,
    /// Whether it is of the index.
    index: bool,
}

impl Block {
    /// The bytes for the block at `place` of the disk.
    pub fn sealed(mut self, place: u64, owner: Owner) -> Vec<u8> {
        let b = &mut self.bytes;
        let (sum, at) = if self.index { (12, 16) } else { (4, 8) };
        put64(b, at, place * (BLOCK64 / 512));
        b[at + 16..at + 32].copy_from_slice(&owner.uuid);
        put64(b, at + 32, owner.ino);
        seal(b, sum);
        self.bytes
    }
}

/// How many bytes an entry takes in a block of names.
pub(crate) fn entry_len(name: &[u8]) -> usize {
    (8 + 1 + name.len() + 1 + 2).next_multiple_of(8)
}

/// How many blocks a directory with `names` that take `bytes` in total has at the most.
pub(crate) fn most_blocks(bytes: u64, names: u64) -> u64 {
    let data = (bytes + 32).div_ceil((BLOCK - NAMES - LONGEST) as u64);
    let leaves = (names + 2).div_ceil(MOST as u64 / 2);
    data + leaves + leaves.div_ceil(MOST as u64 / 2) + data.div_ceil(FREE_MOST as u64) + 2
}

/// A directory in an inode of `room` bytes; `None` when it does not fit.
pub(crate) fn short(parent: u64, entries: &[Dirent], room: usize) -> Option<Vec<u8>> {
    let long = entries.iter().map(|entry| entry.ino).chain([parent]).filter(|ino| *ino > u64::from(u32::MAX)).count();
    let size = if long > 0 { 8 } else { 4 };
    let need = 2 + size + entries.iter().map(|entry| 3 + entry.name.len() + 1 + size).sum::<usize>();
    if need > room || entries.len() > 255 {
        return None;
    }
    let mut out = vec![entries.len() as u8, long as u8];
    out.extend(&parent.to_be_bytes()[8 - size..]);
    // Where the entry would be in a block.
    let mut offset = NAMES + entry_len(b".") + entry_len(b"..");
    for entry in entries {
        out.push(entry.name.len() as u8);
        out.extend((offset as u16).to_be_bytes());
        out.extend(entry.name);
        out.push(entry.kind);
        out.extend(&entry.ino.to_be_bytes()[8 - size..]);
        offset += entry_len(entry.name);
    }
    Some(out)
}

/// An entry of the index: the sum of a name and where the name is.
type Hashed = (u32, u32);

/// The blocks of a directory, in order, and how many of them have names.
pub(crate) fn blocks(own: u64, parent: u64, entries: &[Dirent]) -> (Vec<Block>, u64) {
    let dir = crate::files::names::kind::DIR;
    let dots = [Dirent { name: b".", ino: own, kind: dir }, Dirent { name: b"..", ino: parent, kind: dir }];
    let bytes: usize = dots.iter().chain(entries).map(|entry| entry_len(entry.name)).sum();
    let single = NAMES + bytes + 8 * (entries.len() + 2) + 8 <= BLOCK;
    let mut names = Names { blocks: Vec::new(), at: BLOCK, index: Vec::with_capacity(entries.len() + 2) };
    dots.iter().chain(entries).for_each(|entry| names.add(entry));
    let Names { mut blocks, at, mut index } = names;
    index.sort_unstable();
    if single {
        let block = blocks.pop().unwrap_or_default();
        return (vec![Block { number: 0, bytes: alone(block, at, &index), index: false }], 1);
    }
    let count = blocks.len();
    let mut free: Vec<u16> = Vec::with_capacity(count);
    let mut all = Vec::with_capacity(count);
    for (number, (mut bytes, end)) in blocks.into_iter().enumerate() {
        put32(&mut bytes, 0, magic::DIR_DATA);
        rest(&mut bytes, end, BLOCK);
        free.push((BLOCK - end) as u16);
        all.push(Block { number: number as u64, bytes, index: false });
    }
    if ENTRIES + index.len() * 8 + free.len() * 2 + 4 <= BLOCK {
        all.push(one_leaf(&index, &free));
    } else {
        all.extend(tree(&index));
        all.extend(free.chunks(FREE_MOST).enumerate().map(|(n, part)| free_block(n, part)));
    }
    (all, count as u64)
}

/// Names in blocks, as they come.
struct Names {
    /// Blocks, and where what is used of them ends.
    blocks: Vec<(Vec<u8>, usize)>,
    at: usize,
    index: Vec<Hashed>,
}

impl Names {
    fn add(&mut self, entry: &Dirent) {
        let len = entry_len(entry.name);
        if self.at + len > BLOCK {
            self.blocks.push((vec![0; BLOCK], NAMES));
            self.at = NAMES;
        }
        let number = self.blocks.len() - 1;
        if let Some((block, end)) = self.blocks.last_mut() {
            let at = self.at;
            put64(block, at, entry.ino);
            block[at + 8] = entry.name.len() as u8;
            block[at + 9..at + 9 + entry.name.len()].copy_from_slice(entry.name);
            block[at + 9 + entry.name.len()] = entry.kind;
            put16(block, at + len - 2, at as u16);
            *end = at + len;
        }
        self.index.push((hash(entry.name), ((number * BLOCK + self.at) / 8) as u32));
        self.at += len;
    }
}

/// Marks what is free from `from` to `to` of a block of names.
fn rest(block: &mut [u8], from: usize, to: usize) {
    if from < to {
        put16(block, from, 0xFFFF);
        put16(block, from + 2, (to - from) as u16);
        put16(block, to - 2, from as u16);
        put16(block, 48, from as u16);
        put16(block, 50, (to - from) as u16);
    }
}

fn put_index(block: &mut [u8], at: usize, index: &[Hashed]) {
    for (n, (hash, address)) in index.iter().enumerate() {
        put32(block, at + n * 8, *hash);
        put32(block, at + n * 8 + 4, *address);
    }
}

/// The only block of a directory: names from the start, the index at the end.
fn alone((mut block, _): (Vec<u8>, usize), end: usize, index: &[Hashed]) -> Vec<u8> {
    put32(&mut block, 0, magic::DIR_BLOCK);
    let from = BLOCK - 8 - index.len() * 8;
    rest(&mut block, end, from);
    put_index(&mut block, from, index);
    put32(&mut block, BLOCK - 8, index.len() as u32);
    block
}

/// A block of the index, with the blocks before and behind it.
fn index_block(number: u64, magic: u16, siblings: [u64; 2], count: usize) -> Block {
    let mut bytes = vec![0; BLOCK];
    put32(&mut bytes, 0, siblings[1] as u32);
    put32(&mut bytes, 4, siblings[0] as u32);
    put16(&mut bytes, 8, magic);
    put16(&mut bytes, 56, count as u16);
    Block { number, bytes, index: true }
}

fn one_leaf(index: &[Hashed], free: &[u16]) -> Block {
    let mut block = index_block(INDEX, magic::DIR_LEAF, [0, 0], index.len());
    put_index(&mut block.bytes, ENTRIES, index);
    let at = BLOCK - 4 - free.len() * 2;
    free.iter().enumerate().for_each(|(n, free)| put16(&mut block.bytes, at + n * 2, *free));
    put32(&mut block.bytes, BLOCK - 4, free.len() as u32);
    block
}

/// The index as a tree: its root is the first block of the index, then leaves, then what is between.
fn tree(index: &[Hashed]) -> Vec<Block> {
    let mut next = INDEX + 1;
    let mut out = Vec::new();
    let mut entries = index.to_vec();
    let mut level: u16 = 0;
    while level == 0 || entries.len() > MOST {
        let count = entries.len().div_ceil(MOST) as u64;
        let mut above = Vec::with_capacity(count as usize);
        let mut rest = &entries[..];
        for n in 0..count {
            let (now, later) = rest.split_at(rest.len().div_ceil((count - n) as usize));
            let before = if n == 0 { 0 } else { next + n - 1 };
            let behind = if n + 1 == count { 0 } else { next + n + 1 };
            let kind = if level == 0 { magic::DIR_LEAVES } else { magic::NODE };
            let mut block = index_block(next + n, kind, [before, behind], now.len());
            put16(&mut block.bytes, 58, level);
            put_index(&mut block.bytes, ENTRIES, now);
            // A block is found by its last sum.
            above.push((now.last().map_or(0, |last| last.0), (next + n) as u32));
            out.push(block);
            rest = later;
        }
        next += count;
        entries = above;
        level += 1;
    }
    let mut root = index_block(INDEX, magic::NODE, [0, 0], entries.len());
    put16(&mut root.bytes, 58, level);
    put_index(&mut root.bytes, ENTRIES, &entries);
    out.insert(0, root);
    out
}

fn free_block(number: usize, free: &[u16]) -> Block {
    let mut bytes = vec![0; BLOCK];
    put32(&mut bytes, 0, magic::DIR_FREE);
    put32(&mut bytes, 48, (number * FREE_MOST) as u32);
    put32(&mut bytes, 52, free.len() as u32);
    put32(&mut bytes, 56, free.len() as u32);
    free.iter().enumerate().for_each(|(n, free)| put16(&mut bytes, ENTRIES + n * 2, *free));
    Block { number: FREE + number as u64, bytes, index: false }
}
