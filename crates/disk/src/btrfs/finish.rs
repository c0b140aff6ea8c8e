//! What is written when all files are there: the trees, and the superblocks.

use std::collections::BTreeMap;

use kiln_oci::Meta;

use super::head::{self, Root};
use super::items::{Items, Node};
use super::names::{Refs, dir_item, hash};
use super::raw::{
    Bytes, CHUNKS, CSUMS, DEVICE, FIRST_INO, FORMAT, GENERATION, Key, NODE64, SUPERS, get64, group, item, tree,
};
use super::space::Chunk;
use super::{Inode, Summary, Writer};
use crate::error::Result;
use crate::ext4::raw::mode;
use crate::files::BLOCK64;
use crate::files::names::kind;
use crate::io::WriteAt;

/// Checksums in one item.
const SUMS: usize = 3000;
/// The first place of a name in a directory.
const FIRST_INDEX: u64 = 2;
const DEFAULT: &[u8] = b"default";

impl<W: WriteAt> Writer<W> {
    /// Writes all that is still missing, the superblocks last.
    ///
    /// # Errors
    /// [`DiskError::Full`](crate::DiskError::Full), [`DiskError::Write`](crate::DiskError::Write), and
    /// [`DiskError::Entry`](crate::DiskError::Entry) for marks of a path that never came.
    pub fn finish(mut self) -> Result<Summary> {
        self.options.used(FORMAT)?;
        self.directories()?;
        self.inode_items();
        let mut fixed: Vec<Items> = std::mem::take(&mut self.files).into_values().collect();
        fixed.iter_mut().for_each(Items::sort);
        fixed.extend([self.sum_items(), self.relocation(), self.identifiers()]);
        // What the chunks of the system and of metadata will be like is not known yet, but how many there are.
        let guess = |kind, start| Chunk { kind: kind | group::DUP, start, len: 1, used: 0 };
        let data = self.space.data.clone();
        let mut chunks = [vec![guess(group::SYSTEM, 0)], data, vec![guess(group::METADATA, 1 << 60)]].concat();
        let first = self.arrange(&fixed, &chunks);
        let [system, metadata] = self.space.close(first.system, first.metadata)?;
        chunks = [vec![system], self.space.data.clone(), vec![metadata]].concat();
        // Where chunks turn out to be full, less has to be said of them.
        let second = self.arrange(&fixed, &chunks);
        for (chunk, used) in [(0, second.system), (chunks.len() - 1, second.metadata)] {
            chunks[chunk].used = used;
            if used >= chunks[chunk].len {
                return Err(self.space.full(b"", used));
            }
        }
        let arranged = self.arrange(&fixed, &chunks);
        self.write(&fixed, &chunks, arranged)
    }

    /// The items of names.
    fn directories(&mut self) -> Result<()> {
        let mut refs: BTreeMap<u64, Refs> = BTreeMap::new();
        let trees: Vec<u64> = self.files.keys().copied().collect();
        for tree in trees {
            refs.entry(tree).or_default().add(FIRST_INO, FIRST_INO, 0, b"..");
        }
        let dirs = std::mem::take(&mut self.intake.names.dirs);
        for (ino, dir) in &dirs {
            let implied = Inode::new(mode::DIR, &self.options.implied(0o755));
            let inode = self.inodes.entry(*ino).or_insert(implied);
            inode.size = dir.children.keys().map(|name| 2 * name.len() as u64).sum();
            // One that never came is in the tree of the directory it is in, which was made before it.
            let above = self.subvolumes.place(dir.parent).0;
            self.subvolumes.inherit(*ino, above);
            let at = self.subvolumes.place(*ino);
            let names = refs.entry(at.0).or_default();
            let mut by_sum: Vec<(u64, Bytes)> = Vec::with_capacity(dir.children.len());
            for (index, (name, child)) in (FIRST_INDEX..).zip(&dir.children) {
                let location = match self.subvolumes.roots.get(&child.ino) {
                    Some(subvolume) => {
                        self.joins.push(Join { above: at.0, id: subvolume.id, dir: at.1, index, name: name.to_vec() });
                        Key(subvolume.id, item::ROOT, u64::MAX)
                    }
                    None => {
                        names.add(child.ino, at.1, index, name);
                        Key(child.ino, item::INODE, 0)
                    }
                };
                let bytes = dir_item(location, name, b"", child.kind, GENERATION);
                self.put(at, item::DIR_INDEX, index, bytes.clone());
                by_sum.push((hash(name), bytes));
            }
            by_sum.sort_by_key(|(sum, _)| *sum);
            for same in by_sum.chunk_by(|a, b| a.0 == b.0) {
                let bytes: Vec<u8> = same.iter().flat_map(|(_, bytes)| &bytes.0).copied().collect();
                if bytes.len() > super::items::LARGEST {
                    let ino = *ino;
                    self.intake.names.dirs = dirs;
                    let path = self.intake.names.path(ino);
                    return Err(self.intake.refuse(&path, "too many of its names have the same sum".to_owned()));
                }
                self.put(at, item::DIR, same[0].0, Bytes(bytes));
            }
        }
        for (tree, refs) in refs {
            refs.items().for_each(|(key, bytes)| self.put((tree, key.0), key.1, key.2, bytes));
        }
        Ok(())
    }

    fn inode_items(&mut self) {
        let made = self.options.made();
        for (ino, inode) in std::mem::take(&mut self.inodes) {
            self.put(self.subvolumes.place(ino), item::INODE, 0, inode.item(made));
        }
    }

    fn sum_items(&self) -> Items {
        let mut items = Items::new(tree::CSUM);
        for (start, sums) in &self.sums {
            for (n, part) in sums.chunks(SUMS).enumerate() {
                let at = start + (n * SUMS) as u64 * BLOCK64;
                let bytes: Vec<u8> = part.iter().flat_map(|sum| sum.to_le_bytes()).collect();
                items.add(Key(CSUMS, item::CSUM, at), &bytes);
            }
        }
        items
    }

    /// The tree that the kernel moves data by, with nothing but its root.
    fn relocation(&self) -> Items {
        let mut items = Items::new(tree::RELOCATION);
        let meta = Meta { mtime: self.options.made(), ..Meta::mode(0o755) };
        let inode = Inode::new(mode::DIR, &meta);
        items.put(Key(FIRST_INO, item::INODE, 0), inode.item(self.options.made()));
        let parent = Bytes::default().u64(0).u16(2).bytes(b"..");
        items.put(Key(FIRST_INO, item::INODE_REF, FIRST_INO), parent);
        items
    }

    fn identifiers(&self) -> Items {
        let mut items = Items::new(tree::UUID);
        let trees = [tree::FS].into_iter().chain(self.subvolumes.roots.values().map(|one| one.id));
        for tree in trees {
            let id = self.ids.of_files(tree);
            items.put(Key(get64(&id, 0), item::UUID, get64(&id, 8)), Bytes::default().u64(tree));
        }
        items.sort();
        items
    }

    fn chunk_items(&self, chunks: &[Chunk]) -> Items {
        let mut items = Items::new(tree::CHUNK);
        let device = head::device(self.space.size, allocated(chunks), &self.ids);
        items.put(Key(1, item::DEV, DEVICE), device);
        chunks.iter().for_each(|chunk| {
            items.put(Key(CHUNKS, item::CHUNK, chunk.start), head::chunk(chunk, &self.ids));
        });
        items
    }

    fn device_items(&self, chunks: &[Chunk]) -> Items {
        let mut items = Items::new(tree::DEV);
        for chunk in chunks {
            for at in chunk.stripes() {
                let bytes = Bytes::default().many(&[tree::CHUNK, CHUNKS, chunk.start, chunk.len]);
                items.put(Key(DEVICE, item::DEV_EXTENT, at), bytes.bytes(&self.ids.chunks));
            }
        }
        items.sort();
        items
    }

    /// The items of extents: of data, of nodes with their trees, and of chunks.
    fn extent_items<'a>(&self, nodes: impl Iterator<Item = &'a (Node, u64)>, chunks: &[Chunk]) -> Items {
        let mut items = self.extents.clone();
        for ((place, level), owner) in nodes {
            let counted = Bytes::default().many(&[1, GENERATION, 2]).u8(item::TREE_BLOCK_REF).u64(*owner);
            items.put(Key(*place, item::METADATA, u64::from(*level)), counted);
        }
        for chunk in chunks {
            let bytes = Bytes::default().many(&[chunk.used, CHUNKS, chunk.kind]);
            items.put(Key(chunk.start, item::BLOCK_GROUP, chunk.len), bytes);
        }
        items.sort();
        items
    }

    /// The tree of trees.
    fn root_items(&self, roots: &[Root]) -> Items {
        let mut items = Items::new(tree::ROOT);
        let made = self.options.made();
        for root in roots {
            let read_only = self.subvolumes.roots.values().any(|one| one.id == root.owner && one.read_only);
            items.put(Key(root.owner, item::ROOT, 0), head::root(root, read_only, &self.ids, made));
        }
        for join in &self.joins {
            let name = Bytes::default().many(&[join.dir, join.index]).u16(join.name.len() as u16).bytes(&join.name);
            items.put(Key(join.above, item::ROOT_REF, join.id), name.clone());
            items.put(Key(join.id, item::ROOT_BACKREF, join.above), name);
        }
        let name = Bytes::default().u64(0).u16(DEFAULT.len() as u16).bytes(DEFAULT);
        items.put(Key(tree::FS, item::INODE_REF, tree::DIR), name);
        let meta = Meta { mtime: made, ..Meta::mode(0o755) };
        items.put(Key(tree::DIR, item::INODE, 0), Inode::new(mode::DIR, &meta).item(made));
        let parent = Bytes::default().u64(0).u16(2).bytes(b"..");
        items.put(Key(tree::DIR, item::INODE_REF, tree::DIR), parent);
        let location = Key(self.default(), item::ROOT, u64::MAX);
        let default = dir_item(location, DEFAULT, b"", kind::DIR, 0);
        items.put(Key(tree::DIR, item::DIR, hash(DEFAULT)), default);
        items.sort();
        items
    }

    /// The number of the subvolume that is mounted when nothing else is said.
    fn default(&self) -> u64 {
        self.subvolumes.default.max(tree::FS)
    }

    /// Decides where all nodes go: those of the tree of chunks to the first chunk, all others to the last.
    fn arrange(&self, fixed: &[Items], chunks: &[Chunk]) -> Arranged {
        let start = |chunk: Option<&Chunk>| chunk.map_or(0, |chunk| chunk.start);
        let mut own = vec![self.chunk_items(chunks), self.device_items(chunks), free_items(chunks)];
        let mut noted: Vec<(Node, u64)> = Vec::new();
        let mut roots = Vec::new();
        let mut next = start(chunks.first());
        for (n, items) in own.iter().chain(fixed).enumerate() {
            let places = items.places(next);
            noted.extend(places.iter().map(|node| (*node, items.owner())));
            let node = places.last().copied().unwrap_or_default();
            roots.push(Root { owner: items.owner(), node, nodes: places.len() as u64 });
            next = if n == 0 { start(chunks.last()) } else { next + places.len() as u64 * NODE64 };
        }
        let chunk_root = roots.remove(0);
        let top = Root { owner: tree::ROOT, node: (next, 0), nodes: 1 };
        noted.push((top.node, tree::ROOT));
        next += NODE64;
        // The tree of extents has an item for each of its own nodes, too.
        let mut places: Vec<Node> = vec![(next, 0)];
        let extents = loop {
            let mine: Vec<(Node, u64)> = places.iter().map(|node| (*node, tree::EXTENT)).collect();
            let items = self.extent_items(noted.iter().chain(&mine), chunks);
            let now = items.places(next);
            if now == places {
                break items;
            }
            places = now;
        };
        let node = places.last().copied().unwrap_or_default();
        roots.push(Root { owner: tree::EXTENT, node, nodes: places.len() as u64 });
        next += places.len() as u64 * NODE64;
        own.push(self.root_items(&roots));
        own.push(extents);
        let (system, metadata) = (chunk_root.nodes * NODE64, next - start(chunks.last()));
        Arranged { own, chunk_root, top, system, metadata }
    }

    /// Writes the trees and then the superblocks.
    fn write(mut self, fixed: &[Items], chunks: &[Chunk], arranged: Arranged) -> Result<Summary> {
        let [system, .., metadata] = chunks else { return Err(self.space.full(b"", 0)) };
        let (ids, sink) = (&self.ids, &mut self.sink);
        let [first, between @ .., top, extents] = &arranged.own[..] else { return Err(self.space.full(b"", 0)) };
        let all = between.iter().chain(fixed).chain([top, extents]);
        let mut next = metadata.start;
        for (n, items) in [first].into_iter().chain(all).enumerate() {
            let (place, chunk) = if n == 0 { (system.start, system) } else { (next, metadata) };
            let mut end = place;
            items.nodes(place, ids, &mut |at, bytes| {
                end = at + NODE64;
                let stripes = chunk.stripes().into_iter();
                stripes.map(|stripe| stripe + at - chunk.start).try_for_each(|at| sink.write(at / BLOCK64, bytes))
            })?;
            next = if n == 0 { next } else { end };
        }
        let used = chunks.iter().map(|chunk| chunk.used).sum();
        for at in SUPERS.into_iter().rev().filter(|at| at + BLOCK64 <= self.space.size) {
            self.sink.flush()?;
            let with = (&self.options, &self.ids, &self.space, self.subvolumes.default > tree::FS);
            let roots = [&arranged.top, &arranged.chunk_root];
            let bytes = head::superblock(at, with, roots, system, (used, allocated(chunks)));
            self.sink.write(at / BLOCK64, &bytes)?;
        }
        self.sink.flush()?;
        let taken: u64 = chunks.iter().map(|chunk| chunk.used * chunk.stripes().len() as u64).sum();
        Ok(Summary { size: self.space.size, free: self.space.size - taken })
    }
}

/// A name of a subvolume in another one.
#[derive(Debug)]
pub(crate) struct Join {
    above: u64,
    id: u64,
    dir: u64,
    index: u64,
    name: Vec<u8>,
}

/// Trees that depend on where everything is, and where their nodes go.
struct Arranged {
    /// Of chunks, of the device, of free space, of trees, of extents.
    own: Vec<Items>,
    chunk_root: Root,
    top: Root,
    /// Bytes of the nodes of the tree of chunks, and of all others.
    system: u64,
    metadata: u64,
}

/// What is free in each chunk.
fn free_items(chunks: &[Chunk]) -> Items {
    let mut items = Items::new(tree::FREE_SPACE);
    for chunk in chunks {
        let free = chunk.len.saturating_sub(chunk.used);
        let info = Bytes::default().u32(u32::from(free > 0)).u32(0);
        items.put(Key(chunk.start, item::FREE_SPACE_INFO, chunk.len), info);
        if free > 0 {
            items.add(Key(chunk.start + chunk.used, item::FREE_SPACE_EXTENT, free), &[]);
        }
    }
    items.sort();
    items
}

/// Bytes of the device that chunks have.
fn allocated(chunks: &[Chunk]) -> u64 {
    chunks.iter().map(|chunk| chunk.len * chunk.stripes().len() as u64).sum()
}
