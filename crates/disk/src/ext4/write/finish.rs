//! What is written when all files are there: directories, the file system's own inodes, tables and superblocks.

use std::ops::Range;

use kiln_oci::{Meta, Mtime};

use super::dir::{self, Dirent, Seeds};
use super::extents;
use super::geometry::{BLOCK, BLOCK64, GROUP, INODE, has_super};
use super::inode::{Inode, MAX_LINKS};
use super::superblock::{self, BLOCK_UNINIT, Group, INODE_UNINIT, INODE_ZEROED, Totals};
use super::{Summary, Writer, refuse};
use crate::crc::crc32c;
use crate::error::Result;
use crate::ext4::raw::{JOURNAL_INO, LOST_FOUND_INO, RESIZE_INO};
use crate::ext4::raw::{SUPER_OFFSET, get32, iflags, mode, put32};
use crate::io::WriteAt;

/// Blocks that `lost+found` has from the start: `e2fsck` may find no free ones when it needs them.
const LOST_FOUND_BLOCKS: usize = 4;
const POINTERS: u64 = BLOCK64 / 4;

impl<W: WriteAt> Writer<W> {
    /// Writes all that is still missing, the superblocks last.
    ///
    /// # Errors
    /// [`DiskError::Full`](crate::DiskError::Full), [`DiskError::Write`](crate::DiskError::Write), and
    /// [`DiskError::Entry`](crate::DiskError::Entry) for marks of a path that never came.
    pub fn finish(mut self) -> Result<Summary> {
        if let Some(path) = self.options.flags.keys().next() {
            return Err(refuse(path, "it is to be marked, but was not among the files"));
        }
        let dirs: Vec<u32> = self.names.dirs.keys().copied().collect();
        dirs.into_iter().try_for_each(|ino| self.write_dir(ino))?;
        self.resize_inode()?;
        let journal = self.journal_inode()?;
        self.inode_tables()?;
        let groups = self.groups()?;
        let free_blocks = self.geometry.free() - self.allocator.taken();
        let free_inodes = self.geometry.inodes() + 1 - u64::from(self.next_inode);
        let journal_blocks: u64 = self.journal.iter().map(|range| range.end - range.start).sum();
        let overhead = self.geometry.blocks - self.geometry.free() + journal_blocks;
        self.superblocks(&groups, &Totals { free_blocks, free_inodes, journal, overhead })?;
        Ok(Summary {
            size: self.geometry.blocks * BLOCK64,
            free: free_blocks * BLOCK64,
            inodes: self.geometry.inodes(),
            free_inodes,
        })
    }

    fn write_dir(&mut self, ino: u32) -> Result<()> {
        let path = self.names.path(ino);
        let Some(dir) = self.names.dirs.get(&ino) else { return Ok(()) };
        let entries: Vec<Dirent> =
            dir.children.iter().map(|(name, child)| Dirent { name, ino: child.ino, kind: child.kind }).collect();
        let hash = superblock::hash_seed(&self.options);
        let hash = [0, 4, 8, 12].map(|at| get32(&hash, at));
        let seeds = Seeds { sums: self.options.checksums, sum: Inode::seed(ino, self.seed), hash };
        let Some((mut bytes, tree)) = dir::blocks(ino, dir.parent, &entries, seeds) else {
            return Err(refuse(&path, "it has more names than a directory can"));
        };
        if ino == LOST_FOUND_INO && bytes.len() < LOST_FOUND_BLOCKS * BLOCK {
            bytes.extend(dir::empty(LOST_FOUND_BLOCKS - bytes.len() / BLOCK, seeds));
        }
        let mut found = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let place = self.take(&path, (rest.len() / BLOCK) as u64)?;
            let len = place.end - place.start;
            for (block, data) in (place.start..).zip(rest[..len as usize * BLOCK].chunks(BLOCK)) {
                self.sink.write(block, data)?;
            }
            let logical = ((bytes.len() - rest.len()) / BLOCK) as u32;
            extents::push(&mut found, logical, place.start, len);
            rest = &rest[len as usize * BLOCK..];
        }
        let subdirs = self.names.subdirs(ino);
        let Some(mut inode) = self.inodes.remove(&ino) else { return Ok(()) };
        inode.size = bytes.len() as u64;
        // One stands for more than can be counted.
        inode.links = if subdirs + 2 > MAX_LINKS { 1 } else { subdirs + 2 };
        inode.flags |= if tree { iflags::INDEX } else { 0 };
        self.map(&path, ino, &mut inode, &found)?;
        self.inodes.insert(ino, inode);
        Ok(())
    }

    /// An own inode: the file system's, not the tree's.
    fn own_inode(&self) -> Inode {
        let mtime = Mtime::secs(i64::from(self.options.time));
        Inode::new(mode::FILE, &Meta { mtime, ..Meta::mode(0o600) })
    }

    /// The inode that holds the blocks kept for more descriptors: each of the first copy points to its other copies.
    fn resize_inode(&mut self) -> Result<()> {
        let geometry = &self.geometry;
        if geometry.reserved_desc == 0 {
            return Ok(());
        }
        let backups: Vec<u64> = (1..geometry.groups()).filter(|group| has_super(*group)).collect();
        let mut top = vec![0; BLOCK];
        for n in geometry.desc_blocks..geometry.desc_blocks + geometry.reserved_desc {
            let block = 1 + n;
            put32(&mut top, (n % POINTERS) as usize * 4, block as u32);
            let mut copies = vec![0; BLOCK];
            for (place, group) in backups.iter().enumerate() {
                put32(&mut copies, place * 4, (group * GROUP + block) as u32);
            }
            self.sink.write(block, &copies)?;
        }
        let mut inode = self.own_inode();
        inode.size = (POINTERS * POINTERS + POINTERS + 12) * BLOCK64;
        inode.blocks = 1 + self.geometry.reserved_desc * (1 + backups.len() as u64);
        put32(&mut inode.map, 13 * 4, self.resize_block as u32);
        self.sink.write(self.resize_block, &top)?;
        self.inodes.insert(RESIZE_INO, inode);
        Ok(())
    }

    /// The journal, empty.
    fn journal_inode(&mut self) -> Result<Option<([u8; 60], u64)>> {
        let Some(first) = self.journal.first().map(|range| range.start) else { return Ok(None) };
        let mut found = Vec::new();
        let mut blocks = 0;
        for range in &self.journal {
            extents::push(&mut found, blocks as u32, range.start, range.end - range.start);
            blocks += range.end - range.start;
        }
        let mut head = vec![0; BLOCK];
        // Magic, a superblock of the second version, block size, blocks, the first of them, the first sequence number.
        let fields = [(0, 0xC03B_3998), (4, 4), (12, BLOCK as u32), (16, blocks as u32), (20, 1), (24, 1), (64, 1)];
        fields.into_iter().for_each(|(at, value)| put32(&mut head, at, u32::swap_bytes(value)));
        head[48..64].copy_from_slice(&self.options.uuid);
        self.sink.write(first, &head)?;
        let mut inode = self.own_inode();
        inode.size = blocks * BLOCK64;
        self.map(b"", JOURNAL_INO, &mut inode, &found)?;
        let backup = (inode.map, inode.size);
        self.inodes.insert(JOURNAL_INO, inode);
        Ok(Some(backup))
    }

    fn inode_tables(&mut self) -> Result<()> {
        let per_group = self.geometry.inodes_per_group;
        let mut held: Option<(u64, Vec<u8>)> = None;
        for (ino, inode) in &self.inodes {
            let tables = &self.geometry.tables[((ino - 1) / per_group) as usize];
            let at = ((ino - 1) % per_group) as usize * INODE;
            let (block, within) = (tables.inode_table + (at / BLOCK) as u64, at % BLOCK);
            if held.as_ref().is_none_or(|(at, _)| *at != block) {
                if let Some((at, bytes)) = held.take() {
                    self.sink.write(at, &bytes)?;
                }
                held = Some((block, vec![0; BLOCK]));
            }
            if let Some((_, bytes)) = &mut held {
                bytes[within..within + INODE].copy_from_slice(&inode.bytes(*ino, self.seed, self.options.time));
            }
        }
        held.map_or(Ok(()), |(at, bytes)| self.sink.write(at, &bytes))
    }

    /// Writes the bitmaps; the descriptors say what is in them.
    fn groups(&mut self) -> Result<Vec<u8>> {
        let per_group = self.geometry.inodes_per_group;
        let mut dirs = vec![0u32; self.geometry.tables.len()];
        self.names.dirs.keys().for_each(|ino| dirs[((ino - 1) / per_group) as usize] += 1);
        let mut out = Vec::new();
        for (number, dirs) in (0u32..).zip(dirs) {
            // Without checksums nothing tells which bitmaps are there: all are.
            let flags = if self.options.checksums { INODE_ZEROED } else { 0 };
            let mut group = Group { dirs, flags, ..Group::default() };
            self.block_bitmap(number, &mut group)?;
            self.inode_bitmap(number, &mut group)?;
            let tables = &self.geometry.tables[number as usize];
            out.extend(superblock::descriptor(number, tables, &group, self.seed));
        }
        Ok(out)
    }

    fn block_bitmap(&mut self, number: u32, group: &mut Group) -> Result<()> {
        let range = self.geometry.group(u64::from(number));
        let mut bits = vec![0; BLOCK];
        let mut set = |part: Range<u64>| {
            let inside = part.start.max(range.start)..part.end.min(range.end);
            inside.for_each(|block| set_bit(&mut bits, (block - range.start) as usize));
        };
        set(0..self.allocator.next());
        let first = self.geometry.used.partition_point(|part| part.end <= range.start);
        let used = self.geometry.used[first..].iter().take_while(|part| part.start < range.end);
        used.for_each(|part| set(part.clone()));
        let taken: u32 = bits.iter().map(|b| b.count_ones()).sum();
        group.free_blocks = (range.end - range.start) as u32 - taken;
        let last = u64::from(number) + 1 == self.geometry.groups();
        if self.options.checksums && !last && u64::from(taken) == self.geometry.super_len(u64::from(number)) {
            group.flags |= BLOCK_UNINIT;
            return Ok(());
        }
        ((range.end - range.start)..GROUP).for_each(|bit| set_bit(&mut bits, bit as usize));
        group.block_sum = crc32c(self.seed, &bits);
        self.sink.write(self.geometry.tables[number as usize].block_bitmap, &bits)
    }

    fn inode_bitmap(&mut self, number: u32, group: &mut Group) -> Result<()> {
        let per_group = self.geometry.inodes_per_group;
        let used = (self.next_inode - 1).saturating_sub(number * per_group).min(per_group);
        group.free_inodes = per_group - used;
        group.unused_inodes = if self.options.checksums { per_group - used } else { 0 };
        if used == 0 && self.options.checksums {
            group.flags |= INODE_UNINIT;
            return Ok(());
        }
        let mut bits = vec![0; BLOCK];
        (0..used as usize).for_each(|bit| set_bit(&mut bits, bit));
        group.inode_sum = crc32c(self.seed, &bits[..per_group as usize / 8]);
        (per_group as usize..BLOCK * 8).for_each(|bit| set_bit(&mut bits, bit));
        self.sink.write(self.geometry.tables[number as usize].inode_bitmap, &bits)
    }

    /// The descriptors and the superblock, and their copies; what makes it a file system comes last.
    fn superblocks(&mut self, groups: &[u8], totals: &Totals) -> Result<()> {
        let mut bytes = superblock::superblock(&self.options, &self.geometry, totals);
        for group in (0..self.geometry.groups()).rev().filter(|group| has_super(*group)) {
            for (block, part) in (group * GROUP + 1..).zip(groups.chunks(BLOCK)) {
                self.sink.write(block, part)?;
            }
            self.sink.flush()?;
            superblock::seal(&mut bytes, group);
            let mut block = vec![0; BLOCK];
            let from = if group == 0 { SUPER_OFFSET as usize } else { 0 };
            block[from..from + bytes.len()].copy_from_slice(&bytes);
            self.sink.write(group * GROUP, &block)?;
        }
        self.sink.flush()
    }
}

fn set_bit(bits: &mut [u8], bit: usize) {
    bits[bit / 8] |= 1 << (bit % 8);
}
