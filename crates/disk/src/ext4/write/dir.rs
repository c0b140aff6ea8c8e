//! The blocks of a directory: one that is read through, or a tree by the hashes of the names.

use super::geometry::BLOCK;
use crate::crc::crc32c;
use crate::ext4::hash::half_md4;
use crate::ext4::raw::{put16, put32};
use crate::files::names::kind;

/// Bytes for entries in a block; its checksum takes the others.
const ROOM: usize = BLOCK - TAIL;
const TAIL: usize = 12;
/// The places that are used for entries in the first block of a tree, and in those below it: as many as there are beside
/// a checksum.
const ROOT_LIMIT: usize = (BLOCK - 0x20 - 8) / 8;
const NODE_LIMIT: usize = (BLOCK - 8 - 8) / 8;
/// The longest entry.
const LONGEST: usize = 264;

/// One name in a directory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dirent<'a> {
    pub name: &'a [u8],
    pub ino: u32,
    pub kind: u8,
}

/// What a directory's checksums and hashes depend on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seeds {
    /// Whether blocks have checksums.
    pub sums: bool,
    /// Of the directory's checksums.
    pub sum: u32,
    /// Of the names' hashes.
    pub hash: [u32; 4],
}

/// How many bytes an entry takes.
pub(crate) fn entry_len(name: &[u8]) -> usize {
    8 + name.len().next_multiple_of(4)
}

/// How many blocks a directory with entries of `bytes` in total takes at the most.
pub(crate) fn most_blocks(bytes: u64) -> u64 {
    if bytes + 24 <= ROOM as u64 {
        return 1;
    }
    let leaves = bytes.div_ceil((ROOM - LONGEST) as u64);
    1 + leaves + if leaves > ROOT_LIMIT as u64 { leaves.div_ceil(NODE_LIMIT as u64) } else { 0 }
}

/// The blocks of a directory, and whether they are a tree. `None` when there are more names than a tree can have.
pub(crate) fn blocks(own: u32, parent: u32, entries: &[Dirent], seeds: Seeds) -> Option<(Vec<u8>, bool)> {
    let dots = [Dirent { name: b".", ino: own, kind: kind::DIR }, Dirent { name: b"..", ino: parent, kind: kind::DIR }];
    let need: usize = dots.iter().chain(entries).map(|entry| entry_len(entry.name)).sum();
    if need <= ROOM {
        let all: Vec<Dirent> = dots.iter().chain(entries).copied().collect();
        return Some((leaf(&all, seeds), false));
    }
    Some((tree(dots, entries, seeds)?, true))
}

/// Blocks without entries.
pub(crate) fn empty(count: usize, seeds: Seeds) -> Vec<u8> {
    (0..count).flat_map(|_| leaf(&[], seeds)).collect()
}

fn put(block: &mut [u8], at: usize, entry: Dirent, len: usize) {
    put32(block, at, entry.ino);
    put16(block, at + 4, len as u16);
    block[at + 6] = entry.name.len() as u8;
    block[at + 7] = entry.kind;
    block[at + 8..at + 8 + entry.name.len()].copy_from_slice(entry.name);
}

fn leaf(entries: &[Dirent], seeds: Seeds) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    let end = if seeds.sums { ROOM } else { BLOCK };
    let mut at = 0;
    for (n, entry) in entries.iter().enumerate() {
        let len = if n + 1 == entries.len() { end - at } else { entry_len(entry.name) };
        put(&mut block, at, *entry, len);
        at += len;
    }
    if entries.is_empty() {
        put16(&mut block, 4, end as u16);
    }
    if !seeds.sums {
        return block;
    }
    put16(&mut block, ROOM + 4, TAIL as u16);
    block[ROOM + 7] = 0xDE;
    let sum = crc32c(seeds.sum, &block[..ROOM]);
    put32(&mut block, ROOM + 8, sum);
    block
}

/// Names sorted by hash into leaves; by each leaf the hash at which it starts.
fn leaves(entries: &[Dirent], seeds: Seeds) -> Vec<(u32, Vec<u8>)> {
    let mut sorted: Vec<((u32, u32), Dirent)> =
        entries.iter().map(|entry| (half_md4(entry.name, seeds.hash), *entry)).collect();
    sorted.sort_by(|a, b| (a.0, a.1.name).cmp(&(b.0, b.1.name)));
    let mut found = Vec::new();
    let mut rest = &sorted[..];
    let mut before = None;
    while !rest.is_empty() {
        let mut room = ROOM;
        let fit = rest.iter().take_while(|(_, entry)| {
            let fits = entry_len(entry.name) <= room;
            room = room.saturating_sub(entry_len(entry.name));
            fits
        });
        let (now, later) = rest.split_at(fit.count());
        let first = now[0].0.0;
        // An odd hash says that names with this hash are in the leaf before, too.
        let mark = first | u32::from(before == Some(first));
        let names: Vec<Dirent> = now.iter().map(|(_, entry)| *entry).collect();
        found.push((mark, leaf(&names, seeds)));
        before = now.last().map(|(hash, _)| hash.0);
        rest = later;
    }
    found
}

fn tree(dots: [Dirent; 2], entries: &[Dirent], seeds: Seeds) -> Option<Vec<u8>> {
    let leaves = leaves(entries, seeds);
    let nodes = if leaves.len() <= ROOT_LIMIT { 0 } else { leaves.len().div_ceil(NODE_LIMIT) };
    if nodes > ROOT_LIMIT {
        return None;
    }
    let places: Vec<(u32, u32)> =
        leaves.iter().zip(1 + nodes as u32..).map(|((hash, _), block)| (*hash, block)).collect();
    let mut root = vec![0; BLOCK];
    put(&mut root, 0, dots[0], 12);
    put(&mut root, 12, dots[1], BLOCK - 12);
    // 24: reserved; half MD4; 8 bytes of this; levels between the first block and the leaves.
    root[28] = 1;
    root[29] = 8;
    root[30] = u8::from(nodes > 0);
    let mut out = Vec::with_capacity((1 + nodes + leaves.len()) * BLOCK);
    if nodes == 0 {
        index(&mut root, 0x20, ROOT_LIMIT, &places, seeds);
        out.extend(root);
    } else {
        let parts = places.chunks(NODE_LIMIT);
        let tops: Vec<(u32, u32)> = parts.clone().zip(1..).map(|(part, block)| (part[0].0, block)).collect();
        index(&mut root, 0x20, ROOT_LIMIT, &tops, seeds);
        out.extend(root);
        for part in parts {
            let mut node = vec![0; BLOCK];
            put16(&mut node, 4, BLOCK as u16);
            index(&mut node, 8, NODE_LIMIT, part, seeds);
            out.extend(node);
        }
    }
    leaves.iter().for_each(|(_, leaf)| out.extend_from_slice(leaf));
    Some(out)
}

/// Hashes with their blocks, from `at` on. The first hash is not stored: the counts are in its place.
fn index(block: &mut [u8], at: usize, limit: usize, places: &[(u32, u32)], seeds: Seeds) {
    for (n, (hash, child)) in places.iter().enumerate() {
        put32(block, at + n * 8, *hash);
        put32(block, at + n * 8 + 4, *child);
    }
    // Where there is no checksum, there is one place more.
    put16(block, at, (limit + usize::from(!seeds.sums)) as u16);
    put16(block, at + 2, places.len() as u16);
    if !seeds.sums {
        return;
    }
    let sum = crc32c(crc32c(seeds.sum, &block[..at + places.len() * 8]), &[0; 8]);
    put32(block, at + limit * 8 + 4, sum);
}
