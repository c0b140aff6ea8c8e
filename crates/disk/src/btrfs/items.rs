//! The items of a tree, and the tree they become.

use super::raw::{Bytes, GENERATION, Ids, Key, NODE, NODE64};
use crate::crc::crc32c;
use crate::error::Result;

/// Bytes of what a node says of itself.
pub(crate) const HEAD: usize = 101;
/// Bytes of a node for what it holds.
pub(crate) const ROOM: usize = NODE - HEAD;
/// Bytes that an item takes besides its own.
pub(crate) const ITEM: usize = Key::LEN + 8;
/// The most bytes of one item.
pub(crate) const LARGEST: usize = ROOM - ITEM;
/// Bytes of a pointer to a node below, and how many there can be.
pub(crate) const POINTER: usize = Key::LEN + 16;
const POINTERS: usize = ROOM / POINTER;

/// The items of one tree.
#[derive(Debug, Clone)]
pub(crate) struct Items {
    owner: u64,
    /// By each item where its bytes are.
    index: Vec<(Key, usize, u32)>,
    bytes: Vec<u8>,
}

/// Where a node of a tree is, and its level.
pub(crate) type Node = (u64, u8);

impl Items {
    pub fn new(owner: u64) -> Items {
        Items { owner, index: Vec::new(), bytes: Vec::new() }
    }

    pub fn owner(&self) -> u64 {
        self.owner
    }

    pub fn add(&mut self, key: Key, bytes: &[u8]) {
        self.index.push((key, self.bytes.len(), bytes.len() as u32));
        self.bytes.extend(bytes);
    }

    pub fn put(&mut self, key: Key, bytes: Bytes) {
        self.add(key, &bytes.0);
    }

    /// About how many bytes the items take in nodes.
    pub fn size(&self) -> u64 {
        (self.bytes.len() + self.index.len() * ITEM) as u64
    }

    pub fn sort(&mut self) {
        self.index.sort_unstable_by_key(|(key, _, _)| *key);
    }

    /// The items of each leaf.
    fn leaves(&self) -> Vec<&[(Key, usize, u32)]> {
        let mut found = Vec::new();
        let mut rest = &self.index[..];
        while !rest.is_empty() {
            let mut room = ROOM;
            let fit = rest.iter().take_while(|(_, _, len)| {
                let need = ITEM + *len as usize;
                let fits = need <= room;
                room = room.saturating_sub(need);
                fits
            });
            // An item is never larger than a leaf.
            let (now, later) = rest.split_at(fit.count().max(1));
            found.push(now);
            rest = later;
        }
        if found.is_empty() {
            found.push(&[]);
        }
        found
    }

    /// Where the nodes of the tree are, the root last, when the first is at `place` and the others behind it.
    pub fn places(&self, place: u64) -> Vec<Node> {
        let mut found = Vec::new();
        let (mut count, mut level) = (self.leaves().len(), 0);
        loop {
            found.extend((0..count).map(|n| (place + (found.len() + n) as u64 * NODE64, level)).collect::<Vec<_>>());
            if count == 1 {
                return found;
            }
            (count, level) = (count.div_ceil(POINTERS), level + 1);
        }
    }

    /// Hands out the nodes of the tree with their places, in the order of [`places`](Self::places).
    pub fn nodes(&self, place: u64, ids: &Ids, out: &mut dyn FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        let mut next = place;
        let mut below: Vec<(Key, u64)> = Vec::new();
        for leaf in self.leaves() {
            below.push((leaf.first().map_or(Key(0, 0, 0), |(key, _, _)| *key), next));
            out(next, &self.leaf(leaf, next, ids))?;
            next += NODE64;
        }
        let mut level = 0;
        while below.len() > 1 {
            level += 1;
            let mut above = Vec::new();
            for part in below.chunks(POINTERS) {
                let mut b = self.head(next, part.len(), level, ids);
                for (n, (key, child)) in part.iter().enumerate() {
                    let pointer = Bytes::default().bytes(&key.bytes()).u64(*child).u64(GENERATION);
                    b[HEAD + n * POINTER..][..POINTER].copy_from_slice(&pointer.0);
                }
                seal(&mut b);
                above.push((part[0].0, next));
                out(next, &b)?;
                next += NODE64;
            }
            below = above;
        }
        Ok(())
    }

    fn head(&self, place: u64, count: usize, level: u8, ids: &Ids) -> Vec<u8> {
        // Written, and with references of the kind that knows trees.
        let flags = 1 | 1 << 56;
        let head = Bytes::default().zeros(32).bytes(&ids.fs).u64(place).u64(flags).bytes(&ids.chunks);
        let mut bytes = head.u64(GENERATION).u64(self.owner).u32(count as u32).u8(level).0;
        bytes.resize(NODE, 0);
        bytes
    }

    fn leaf(&self, items: &[(Key, usize, u32)], place: u64, ids: &Ids) -> Vec<u8> {
        let mut b = self.head(place, items.len(), 0, ids);
        let mut end = NODE;
        for (n, (key, from, len)) in items.iter().enumerate() {
            let len_here = *len as usize;
            end -= len_here;
            b[end..end + len_here].copy_from_slice(&self.bytes[*from..from + len_here]);
            let item = Bytes::default().bytes(&key.bytes()).u32((end - HEAD) as u32).u32(*len);
            b[HEAD + n * ITEM..][..ITEM].copy_from_slice(&item.0);
        }
        seal(&mut b);
        b
    }
}

/// Writes the checksum of a node or a superblock.
pub(crate) fn seal(bytes: &mut [u8]) {
    let sum = !crc32c(!0, &bytes[32..]);
    bytes[..4].copy_from_slice(&sum.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_nodes_come_as_were_counted() {
        let ids = Ids::new([1; 16]);
        for count in [0, 1, 500, 90_000] {
            let mut items = Items::new(5);
            for n in (0..count).rev() {
                items.add(Key(n, 1, 0), &[7; 100]);
            }
            items.sort();
            let places = items.places(1 << 20);
            let mut seen = Vec::new();
            let mut out = |place, bytes: &[u8]| {
                seen.push((place, bytes[HEAD - 1]));
                Ok(())
            };
            items.nodes(1 << 20, &ids, &mut out).unwrap();
            assert_eq!(seen, places);
            assert!(places.iter().filter(|(_, level)| *level == places.last().unwrap().1).count() == 1);
        }
    }
}
