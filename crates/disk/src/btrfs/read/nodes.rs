//! The nodes of trees, and items in their order.
//!
//! A node is believed when its checksum is right, it says that it is where it was looked for, and all its keys lie
//! between those that its parent gives it: so no node is in a tree twice, and going through one has an end.

use std::ops::Range;
use std::sync::Arc;

use super::chunks::Chunks;
use super::damaged;
use super::superblock::Superblock;
use crate::btrfs::items::{HEAD, ITEM, POINTER};
use crate::btrfs::raw::{Key, get64};
use crate::cache::Cache;
use crate::error::Result;
use crate::ext4::raw::get32;
use crate::io::ReadAt;

/// Nodes kept in memory.
const CACHED: usize = 1024;
/// No tree is higher.
const MAX_LEVEL: u8 = 7;

/// Where a tree starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Root {
    pub at: u64,
    pub level: u8,
    pub generation: u64,
}

impl From<(u64, u8, u64)> for Root {
    fn from((at, level, generation): (u64, u8, u64)) -> Root {
        Root { at, level, generation }
    }
}

/// All nodes of a file system.
pub(crate) struct Nodes<R> {
    pub chunks: Chunks<R>,
    pub superblock: Superblock,
    cache: Cache,
}

/// An item of a tree.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub key: Key,
    node: Arc<Vec<u8>>,
    place: Range<usize>,
}

impl Item {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        self.node.get(self.place.clone()).unwrap_or_default()
    }
}

/// A node on the way down, and which of its children comes next.
struct Level {
    node: Arc<Vec<u8>>,
    next: usize,
    /// What is above all its keys.
    end: Option<Key>,
}

/// Goes through items in their order.
pub(crate) struct Cursor<'a, R> {
    nodes: &'a Nodes<R>,
    levels: Vec<Level>,
}

impl<R: ReadAt> Nodes<R> {
    pub fn new(chunks: Chunks<R>, superblock: Superblock) -> Nodes<R> {
        Nodes { chunks, superblock, cache: Cache::new(CACHED) }
    }

    /// The node at an address, checked.
    fn get(&self, root: Root) -> Result<Arc<Vec<u8>>> {
        let bytes = self.cache.get(root.at, root.at / self.superblock.node_size as u64, || self.load(root))?;
        // What is the node's own was checked; how it fits in here may be another than before.
        if bytes[100] != root.level || get64(&bytes, 80) != root.generation {
            return Err(wrong(root.at, "it is another one than its parent says"));
        }
        Ok(bytes)
    }

    /// Reads a node from the first of its copies that is whole.
    fn load(&self, root: Root) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.superblock.node_size];
        let mut found = Err(wrong(root.at, "no chunk has it"));
        for copy in 0..self.chunks.copies(root.at) {
            found = self.chunks.read(root.at, copy, &mut bytes);
            let checked = found.is_ok().then(|| self.check(&bytes, root));
            match checked {
                Some(Ok(())) => return Ok(bytes),
                Some(Err(why)) => found = Err(wrong(root.at, why)),
                None => {}
            }
        }
        found.map(|()| bytes)
    }

    /// What a node says of itself, and that its items lie in it in their order.
    fn check(&self, b: &[u8], root: Root) -> Result<(), &'static str> {
        if !self.superblock.sum.is(&b[..32], &b[32..]) {
            return Err("its checksum is wrong");
        }
        if b[32..48] != self.superblock.metadata_uuid || get64(b, 48) != root.at {
            return Err("it belongs to another place");
        }
        if get64(b, 80) != root.generation {
            return Err("it is older or newer than its parent says");
        }
        let (count, level) = (get32(b, 96) as usize, b[100]);
        if level > MAX_LEVEL || level != root.level {
            return Err("it is at the wrong level");
        }
        let size = if level == 0 { ITEM } else { POINTER };
        if count > (b.len() - HEAD) / size || (level > 0 && count == 0) {
            return Err("it has more items than it can");
        }
        let mut last = None;
        for n in 0..count {
            let at = HEAD + n * size;
            let key = Key::read(&b[at..]);
            if key <= last {
                return Err("its keys are not in order");
            }
            last = key;
            let (from, len) = (get32(b, at + Key::LEN) as usize, get32(b, at + Key::LEN + 4) as usize);
            if level == 0 && (from < count * size || from.saturating_add(len) > b.len() - HEAD) {
                return Err("an item is outside of it");
            }
        }
        Ok(())
    }

    /// The items of a tree from a key on.
    pub fn from(&self, root: Root, key: Key) -> Result<Cursor<'_, R>> {
        let mut cursor = Cursor { nodes: self, levels: Vec::new() };
        cursor.down(root, None, None, Some(key))?;
        Ok(cursor)
    }

    /// The item of a key.
    pub fn item(&self, root: Root, key: Key) -> Result<Option<Item>> {
        Ok(self.from(root, key)?.next().transpose()?.filter(|item| item.key == key))
    }

    /// The last item that is not behind a key.
    pub fn last(&self, root: Root, key: Key) -> Result<Option<Item>> {
        let mut cursor = self.from(root, key)?;
        cursor.back(key)
    }
}

/// The key of an item or a pointer; keys behind the last one have none.
fn key_of(node: &[u8], n: usize) -> Option<Key> {
    let size = if node[100] == 0 { ITEM } else { POINTER };
    if n >= count(node) { None } else { Key::read(&node[HEAD + n * size..]) }
}

fn count(node: &[u8]) -> usize {
    get32(node, 96) as usize
}

/// How many of a node's keys are before `key`.
fn before(node: &[u8], key: Key) -> usize {
    let (mut low, mut high) = (0, count(node));
    while low < high {
        let middle = usize::midpoint(low, high);
        if key_of(node, middle) < Some(key) { low = middle + 1 } else { high = middle }
    }
    low
}

impl<R: ReadAt> Cursor<'_, R> {
    /// Goes down to a leaf: to the place of `to`, or to the first one. The node's first key is `first`, if that is
    /// known, and all are before `end`.
    fn down(&mut self, root: Root, first: Option<Key>, end: Option<Key>, to: Option<Key>) -> Result<()> {
        let (mut root, mut first, mut end) = (root, first, end);
        loop {
            let node = self.nodes.get(root)?;
            let last = count(&node).checked_sub(1).and_then(|n| key_of(&node, n));
            if (first.is_some() && key_of(&node, 0) != first) || (end.is_some() && last >= end) {
                return Err(wrong(root.at, "its keys are outside of those that its parent says"));
            }
            let at = to.map_or(0, |key| before(&node, key));
            if node[100] == 0 {
                self.levels.push(Level { node, next: at, end });
                return Ok(());
            }
            // The child before the first key that is not smaller may have it, unless that is the key itself.
            let exact = to.is_some() && key_of(&node, at) == to;
            let child = if exact || to.is_none() { at } else { at.saturating_sub(1) };
            root = pointer(&node, child, root.level);
            let above = end;
            (first, end) = (key_of(&node, child), key_of(&node, child + 1).or(end));
            self.levels.push(Level { node, next: child + 1, end: above });
        }
    }

    fn step(&mut self) -> Result<Option<Item>> {
        while let Some(level) = self.levels.last_mut() {
            let (node, at, end) = (Arc::clone(&level.node), level.next, level.end);
            let Some(key) = key_of(&node, at) else {
                self.levels.pop();
                continue;
            };
            level.next += 1;
            if node[100] == 0 {
                return Ok(Some(item(node, at, key)));
            }
            self.down(pointer(&node, at, node[100]), Some(key), key_of(&node, at + 1).or(end), None)?;
        }
        Ok(None)
    }

    /// The item at the cursor if it has the key it was made for, otherwise the one before it.
    fn back(&mut self, key: Key) -> Result<Option<Item>> {
        let Some(leaf) = self.levels.last() else { return Ok(None) };
        if key_of(&leaf.node, leaf.next) == Some(key) {
            return Ok(Some(item(Arc::clone(&leaf.node), leaf.next, key)));
        }
        // A leaf's first key is its parent's: only a key in front of the whole tree has nothing before it in its leaf.
        // One that is the next leaf's first was found above.
        let found = leaf.next.checked_sub(1).and_then(|n| Some((n, key_of(&leaf.node, n)?)));
        Ok(found.map(|(n, key)| item(Arc::clone(&leaf.node), n, key)))
    }
}

/// The child that a node points to.
fn pointer(node: &[u8], n: usize, level: u8) -> Root {
    let at = HEAD + n * POINTER + Key::LEN;
    Root { at: get64(node, at), level: level.saturating_sub(1), generation: get64(node, at + 8) }
}

fn item(node: Arc<Vec<u8>>, n: usize, key: Key) -> Item {
    let at = HEAD + n * ITEM + Key::LEN;
    let from = HEAD + get32(&node, at) as usize;
    let place = from..from + get32(&node, at + 4) as usize;
    Item { key, node, place }
}

impl<R: ReadAt> Iterator for Cursor<'_, R> {
    type Item = Result<Item>;

    /// The next item. After an error there is none.
    fn next(&mut self) -> Option<Result<Item>> {
        let step = self.step();
        if step.is_err() {
            self.levels.clear();
        }
        step.transpose()
    }
}

fn wrong(at: u64, why: &str) -> crate::DiskError {
    damaged(&format!("the node at address {at}"), why.to_owned())
}
