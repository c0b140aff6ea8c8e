//! What is written when all files are there: directories, inodes, trees, the heads of the groups.

use super::btree::{Item, Shape, build};
use super::dir::{self, Dirent};
use super::geometry::{Chunk, OWN};
use super::head::{self, Heads, Rooted, Totals, tree_blocks};
use super::inode::{self, Format, Inode};
use super::raw::{CHUNK, FORMAT, INODE, NULL32, PER_BLOCK, magic, put32, put64};
use super::{Summary, Writer};
use crate::error::{DiskError, Result};
use crate::ext4::raw::mode;
use crate::files::{BLOCK, BLOCK64};
use crate::io::WriteAt;

/// The blocks of a group that have the roots of its trees.
const BY_START: u32 = 1;
const BY_LEN: u32 = 2;
const INODES: u32 = 3;
const FREE_INODES: u32 = 4;
const SHARED: u32 = 5;

impl<W: WriteAt> Writer<W> {
    /// Writes all that is still missing, the superblock last.
    ///
    /// # Errors
    /// [`DiskError::Full`], [`DiskError::Write`], and [`DiskError::Entry`] for marks of a path that never came.
    pub fn finish(mut self) -> Result<Summary> {
        self.options.used(FORMAT)?;
        let dirs: Vec<u64> = self.intake.names.dirs.keys().copied().collect();
        dirs.into_iter().try_for_each(|ino| self.write_dir(ino))?;
        self.space.no_more_inodes();
        self.write_inodes()?;
        let geometry = self.space.geometry.clone();
        let log = geometry.block(geometry.log_group(), OWN);
        self.sink.write(log, &head::log(self.options.uuid))?;
        let heads = (0..geometry.groups).map(|number| self.trees(number)).collect::<Result<Vec<_>>>()?;
        let sum = |count: &dyn Fn(&Heads) -> u32| heads.iter().map(|heads| u64::from(count(heads))).sum::<u64>();
        let totals = Totals {
            inodes: sum(&|heads| heads.inode_count),
            free_inodes: sum(&|heads| heads.inode_free),
            // What is kept for trees, and what trees of free space have, counts as free.
            free_blocks: sum(&|heads| heads.free + tree_blocks(heads) + 4),
        };
        let superblock = head::superblock(&self.options, self.features, &geometry, &totals);
        for heads in heads.iter().rev() {
            let block = heads.block(&superblock, self.options.uuid);
            if heads.number == 0 {
                self.sink.flush()?;
            }
            self.sink.write(geometry.block(heads.number, 0), &block)?;
        }
        self.sink.flush()?;
        Ok(Summary { size: geometry.blocks * BLOCK64, free: sum(&|heads| heads.free) * BLOCK64 })
    }

    fn write_dir(&mut self, ino: u64) -> Result<()> {
        let path = self.intake.names.path(ino);
        let links = self.intake.names.subdirs(ino) + 2;
        let implied = Inode::new(mode::DIR, &self.options.implied(0o755));
        let mut inode = Inode { links, ..self.inodes.remove(&ino).unwrap_or(implied) };
        let Some(dir) = self.intake.names.dirs.get(&ino) else { return Ok(()) };
        let entries: Vec<Dirent> =
            dir.children.iter().map(|(name, child)| Dirent { name, ino: child.ino, kind: child.kind }).collect();
        if let Some(bytes) = dir::short(dir.parent, &entries, inode.room()) {
            inode.format = Format::Local;
            inode.size = bytes.len() as u64;
            inode.data = bytes;
            self.inodes.insert(ino, inode);
            return Ok(());
        }
        let (blocks, names) = dir::blocks(ino, dir.parent, &entries);
        let owner = self.owner(ino);
        let mut found = Vec::new();
        for block in blocks {
            let (logical, place) = (block.number, self.space.take(&path, 1)?);
            self.sink.write(place.start, &block.sealed(place.start, owner))?;
            self.extend(&mut found, logical, place);
        }
        found.sort_by_key(|extent| extent.logical);
        inode.size = names * BLOCK64;
        self.map(&path, ino, &mut inode, &found)?;
        self.inodes.insert(ino, inode);
        Ok(())
    }

    /// Writes all inodes there are, also those that are free.
    fn write_inodes(&mut self) -> Result<()> {
        let geometry = &self.space.geometry;
        for (number, group) in self.space.groups.iter().enumerate() {
            for chunk in &group.chunks {
                let mut bytes = Vec::with_capacity(CHUNK as usize * INODE);
                let first = (u64::from(chunk.block) | (number as u64) << geometry.bits) * PER_BLOCK;
                for ino in first..first + CHUNK {
                    bytes.extend(match self.inodes.get(&ino) {
                        Some(inode) => inode.bytes(ino, self.options.uuid, self.options.made(), self.features.bigtime),
                        None => inode::unused(ino, self.options.uuid),
                    });
                }
                self.sink.write(geometry.block(number as u32, chunk.block), &bytes)?;
            }
        }
        Ok(())
    }

    /// Writes the trees of a group.
    fn trees(&mut self, number: u32) -> Result<Heads> {
        let chunks = std::mem::take(&mut self.space.groups[number as usize].chunks);
        let sparse = self.features.sparse_inodes;
        let items: Vec<Item> = chunks.iter().map(|chunk| chunk_item(chunk, sparse)).collect();
        let open = chunks.iter().filter(|chunk| chunk.used < CHUNK);
        let open: Vec<Item> = open.map(|chunk| chunk_item(chunk, sparse)).collect();
        let inodes = self.tree(number, (INODES, magic::INODES, [4, 16]), items)?;
        let free_inodes = self.tree(number, (FREE_INODES, magic::FREE_INODES, [4, 16]), open)?;
        let shared = match self.features.reflink {
            true => self.tree(number, (SHARED, magic::REFCOUNT, [4, 12]), Vec::new())?,
            false => {
                self.space.groups[number as usize].gaps.push(SHARED..SHARED + 1);
                Rooted::default()
            }
        };
        let [by_start, by_len] = self.free_trees(number)?;
        let group = &self.space.groups[number as usize];
        let lens: Vec<u32> = group.free().iter().map(|range| range.end - range.start).collect();
        Ok(Heads {
            number,
            len: group.len,
            by_start,
            by_len,
            inodes,
            free_inodes,
            shared,
            counts: self.features.inode_counts,
            free: lens.iter().sum(),
            longest: lens.iter().copied().max().unwrap_or(0),
            inode_count: chunks.len() as u32 * CHUNK as u32,
            inode_free: chunks.iter().map(|chunk| (CHUNK - chunk.used) as u32).sum(),
            newest: chunks.last().map_or(NULL32, |chunk| chunk.block * PER_BLOCK as u32),
        })
    }

    /// Writes the trees of what is free. They take from it themselves, so their blocks come first.
    fn free_trees(&mut self, number: u32) -> Result<[Rooted; 2]> {
        let most = (BLOCK - 56) / 8;
        let group = &mut self.space.groups[number as usize];
        let mut kept = Vec::new();
        // Each block that is taken may change how many parts are free, by one at the most.
        for _ in 0..8 {
            let count = group.free().len();
            let need = if count > most { 2 * count.div_ceil(most) } else { 0 };
            while kept.len() < need {
                kept.push(group.one().ok_or_else(|| no_room(number))?);
            }
            let over = kept.drain(need..).collect::<Vec<_>>();
            if over.is_empty() {
                break;
            }
            group.gaps.extend(over.into_iter().map(|block| block..block + 1));
        }
        let mut free = group.free();
        let item = |range: &std::ops::Range<u32>| {
            let mut item = Item::default();
            put32(&mut item.data, 0, range.start);
            put32(&mut item.data, 4, range.end - range.start);
            Item { key: std::array::from_fn(|n| item.data[n]), ..item }
        };
        let items = free.iter().map(item).collect();
        let by_start = self.tree_in(number, (BY_START, magic::BY_START, [8, 8]), items, &mut kept)?;
        free.sort_by_key(|range| (range.end - range.start, range.start));
        let items = free.iter().map(item).collect();
        let by_len = self.tree_in(number, (BY_LEN, magic::BY_LEN, [8, 8]), items, &mut kept)?;
        if !kept.is_empty() {
            return Err(no_room(number));
        }
        Ok([by_start, by_len])
    }

    /// Writes a tree of a group: its root block, its magic word, the bytes of a key and of a record.
    fn tree(&mut self, number: u32, kind: (u32, u32, [usize; 2]), items: Vec<Item>) -> Result<Rooted> {
        let most = (BLOCK - 56) / kind.2[1];
        let group = &mut self.space.groups[number as usize];
        let count = if items.len() > most { items.len().div_ceil(most) * 101 / 100 + 1 } else { 0 };
        let mut kept = (0..count).map(|_| group.one().ok_or_else(|| no_room(number))).collect::<Result<Vec<_>>>()?;
        let rooted = self.tree_in(number, kind, items, &mut kept)?;
        self.space.groups[number as usize].gaps.extend(kept.into_iter().map(|block| block..block + 1));
        Ok(rooted)
    }

    fn tree_in(
        &mut self,
        number: u32,
        (root, magic, [key, record]): (u32, u32, [usize; 2]),
        items: Vec<Item>,
        kept: &mut Vec<u32>,
    ) -> Result<Rooted> {
        let geometry = &self.space.geometry;
        let shape = Shape { magic, long: false, key, record, owner: u64::from(number), uuid: self.options.uuid };
        let new = || {
            let block = kept.pop().ok_or_else(|| no_room(number))?;
            Ok::<_, DiskError>((geometry.block(number, block), u64::from(block)))
        };
        let tree = build(&shape, items, |level| shape.most(level), new)?;
        let place = geometry.block(number, root);
        let block = shape.block(tree.level, &tree.root, place, [None, None]);
        self.sink.write(place, &block)?;
        tree.blocks.iter().try_for_each(|(at, bytes)| self.sink.write(*at, bytes))?;
        Ok(Rooted { block: root, levels: u32::from(tree.level) + 1, blocks: tree.blocks.len() as u32 + 1 })
    }
}

fn no_room(group: u32) -> DiskError {
    let why = format!("group {group} has no block left for its own trees");
    DiskError::Options { format: FORMAT, why }
}

/// A chunk in the trees of inodes; `sparse` ones could have holes.
fn chunk_item(chunk: &Chunk, sparse: bool) -> Item {
    let mut item = Item::default();
    put32(&mut item.key, 0, chunk.block * PER_BLOCK as u32);
    put32(&mut item.data, 0, chunk.block * PER_BLOCK as u32);
    // No hole in it, and how many inodes there are; or room for more free ones than there can be.
    put32(&mut item.data, 4, (CHUNK - chunk.used) as u32);
    if sparse {
        item.data[6] = CHUNK as u8;
    }
    put64(&mut item.data, 8, u64::MAX.checked_shl(chunk.used as u32).unwrap_or(0));
    item
}
