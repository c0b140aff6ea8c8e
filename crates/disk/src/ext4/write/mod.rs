//! Writes a file system in one pass over the bytes of its files.
//!
//! Data goes to the first free blocks as it comes; directories follow when all names are known; inode tables, bitmaps,
//! descriptors and the superblocks are last. What was not finished is no file system.
//!
//! [`options`] what it is to be like       [`plan`] how much a tree needs       [`geometry`] where what lies
//! [`file`] bodies, with their holes       [`finish`] what is written last
//! [`dir`] [`inode`] [`extents`] [`xattr`] how they are stored

pub(crate) mod dir;
mod extents;
mod file;
mod finish;
mod geometry;
mod inode;
mod options;
mod plan;
mod superblock;
mod xattr;

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;

use kiln_oci::name::{escape, is_normal, split};
use kiln_oci::{Entry, EntryKind, Meta, Mtime};

use self::extents::Extent;
pub(crate) use self::geometry::has_super;
use self::geometry::{Allocator, BLOCK, BLOCK64, Geometry, journal_blocks};
use self::inode::{Inode, MAX_LINKS};
pub use self::options::{InodeFlags, Options};
pub use self::plan::Plan;
use super::raw::{FORMAT, LOST_FOUND_INO, ROOT_INO, iflags, mode, put32};
use crate::crc::crc32c;
use crate::error::{DiskError, Result};
use crate::files::Fill;
use crate::files::body::PIECE;
use crate::files::names::{Child, Names, kind};
use crate::files::sink::Sink;
use crate::io::WriteAt;

/// The longest name in a directory.
const MAX_NAME: usize = 255;

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The size of the file system in bytes; the target may be longer.
    pub size: u64,
    /// Bytes that are free.
    pub free: u64,
    /// Inodes there are.
    pub inodes: u64,
    /// Inodes that are free.
    pub free_inodes: u64,
}

/// Writes a file system: [`append`](Writer::append) what it is to hold, then [`finish`](Writer::finish).
pub struct Writer<W> {
    sink: Sink<W>,
    options: Options,
    geometry: Geometry,
    allocator: Allocator,
    /// What all checksums start with.
    seed: u32,
    names: Names<u32>,
    inodes: BTreeMap<u32, Inode>,
    next_inode: u32,
    journal: Vec<Range<u64>>,
    resize_block: u64,
    /// The bytes a plan says are needed.
    planned: Option<u64>,
    scratch: Vec<u8>,
}

impl<W: WriteAt> Writer<W> {
    /// Starts on `target`, whose first `options.size` bytes it takes. With the plan of what will come it has enough
    /// inodes for it, and knows how much would have been enough should it get full.
    ///
    /// # Errors
    /// When no such file system can be, or the target cannot be cleared.
    pub fn new(target: W, mut options: Options, plan: Option<&Plan>) -> Result<Writer<W>> {
        let refuse = |why: String| Err(DiskError::Options { format: FORMAT, why });
        if options.label.len() > 16 || options.label.contains('\0') {
            return refuse(format!("its label `{}` is longer than 16 bytes", options.label.escape_debug()));
        }
        if options.reserved_percent > 50 {
            return refuse(format!("{} % cannot be reserved, 50 % can", options.reserved_percent));
        }
        if let Some(plan) = plan {
            options.inodes = Some(options.inodes.unwrap_or(0).max(plan.inodes()));
        }
        let geometry = Geometry::new(options.size / BLOCK64, &options)?;
        let mut sink = Sink::new(target);
        let size = geometry.blocks * BLOCK64;
        if !options.blank || sink.len()? < size {
            sink.clear(size)?;
        }
        let planned = plan.and_then(|plan| plan.minimum(&options, 0).ok());
        let mut writer = Writer {
            seed: crc32c(!0, &options.uuid),
            allocator: Allocator::new(&geometry),
            names: Names::new(ROOT_INO),
            inodes: BTreeMap::new(),
            next_inode: LOST_FOUND_INO + 1,
            journal: Vec::new(),
            resize_block: 0,
            planned,
            scratch: vec![0; PIECE],
            sink,
            options,
            geometry,
        };
        writer.own_files()?;
        Ok(writer)
    }

    /// The root, `lost+found`, the journal's place, and the block of the inode that lets the file system grow.
    fn own_files(&mut self) -> Result<()> {
        let mtime = Mtime::secs(i64::from(self.options.time));
        let meta = |mode| Meta { mtime, ..Meta::mode(mode) };
        self.inodes.insert(ROOT_INO, Inode::new(mode::DIR, &meta(0o755)));
        self.inodes.insert(LOST_FOUND_INO, Inode::new(mode::DIR, &meta(0o700)));
        self.names.add(ROOT_INO, b"lost+found", Child { ino: LOST_FOUND_INO, kind: kind::DIR });
        if self.geometry.reserved_desc > 0 {
            self.resize_block = self.take(b"", 1)?.start;
        }
        let mut left = journal_blocks(self.geometry.blocks);
        while left > 0 {
            let part = self.take(b"", left)?;
            left -= part.end - part.start;
            self.journal.push(part);
        }
        Ok(())
    }

    /// Adds an entry; for a regular file exactly its size is read from `body`. Parents that were not there are made,
    /// `0755` and owned by root; if they come later, they become what they are.
    ///
    /// # Errors
    /// [`DiskError::Full`], [`DiskError::Entry`] for what ext4 cannot have, [`DiskError::Body`], [`DiskError::Write`].
    pub fn append(&mut self, entry: &Entry, body: &mut dyn Read) -> Result<()> {
        let path = entry.path.as_slice();
        if !is_normal(path) || path.contains(&0) {
            return Err(refuse(path, "that is not a path from the root"));
        }
        if path.is_empty() {
            return match entry.kind {
                EntryKind::Dir => self.directory(path, &entry.meta),
                _ => Err(refuse(path, "the root must be a directory")),
            };
        }
        match &entry.kind {
            EntryKind::Dir => self.directory(path, &entry.meta),
            EntryKind::File { size } => {
                let dir = self.place_for(path)?;
                let mut inode = Inode::new(mode::FILE, &entry.meta);
                let ino = self.inode_for(path)?;
                self.body(path, ino, &mut inode, *size, body)?;
                self.add(path, dir, ino, kind::FILE, inode, &entry.meta)
            }
            EntryKind::Symlink { target } => self.symlink(path, target, &entry.meta),
            EntryKind::Hardlink { target } => self.hardlink(path, target),
            EntryKind::Char { major, minor } => self.device(path, [*major, *minor], kind::CHAR, &entry.meta),
            EntryKind::Block { major, minor } => self.device(path, [*major, *minor], kind::BLOCK, &entry.meta),
            EntryKind::Fifo => self.node(path, kind::FIFO, Inode::new(mode::FIFO, &entry.meta), &entry.meta),
            EntryKind::Whiteout | EntryKind::Opaque => {
                Err(refuse(path, "it hides something of a layer below, and a file system has none"))
            }
        }
    }

    fn directory(&mut self, path: &[u8], meta: &Meta) -> Result<()> {
        let ino = match self.names.find(path) {
            Some(Child { ino, kind: kind::DIR }) => ino,
            Some(_) => return Err(twice(path)),
            None => self.make_dir(path)?,
        };
        match self.names.dirs.get_mut(&ino) {
            Some(dir) if !dir.came => dir.came = true,
            _ => return Err(twice(path)),
        }
        let mut inode = Inode::new(mode::DIR, meta);
        self.xattrs(path, &mut inode, meta)?;
        self.mark(path, &mut inode);
        self.inodes.insert(ino, inode);
        Ok(())
    }

    /// Makes a directory of which nothing but the name is known.
    fn make_dir(&mut self, path: &[u8]) -> Result<u32> {
        let dir = self.place_for(path)?;
        let ino = self.inode_for(path)?;
        let mtime = Mtime::secs(i64::from(self.options.time));
        self.inodes.insert(ino, Inode::new(mode::DIR, &Meta { mtime, ..Meta::mode(0o755) }));
        self.names.add(dir, split(path).1, Child { ino, kind: kind::DIR });
        Ok(ino)
    }

    /// The directory in which `path` can be: its name is valid and free.
    fn place_for(&mut self, path: &[u8]) -> Result<u32> {
        let (parent, base) = split(path);
        if base.len() > MAX_NAME {
            return Err(refuse(path, &format!("its name has {} bytes, {MAX_NAME} are the most", base.len())));
        }
        if self.names.find(path).is_some() {
            return Err(twice(path));
        }
        match self.names.find(parent) {
            Some(Child { ino, kind: kind::DIR }) => Ok(ino),
            Some(_) => Err(refuse(path, &format!("`/{}` is not a directory", escape(parent)))),
            None => self.make_dir(parent),
        }
    }

    fn symlink(&mut self, path: &[u8], target: &[u8], meta: &Meta) -> Result<()> {
        if target.is_empty() || target.len() >= BLOCK || target.contains(&0) {
            return Err(refuse(path, &format!("its target has {} bytes, 1 to {} can be", target.len(), BLOCK - 1)));
        }
        let mut inode = Inode::new(mode::SYMLINK, meta);
        inode.mode = mode::SYMLINK | 0o777;
        let dir = self.place_for(path)?;
        let ino = self.inode_for(path)?;
        if target.len() < inode.map.len() {
            inode.map[..target.len()].copy_from_slice(target);
            inode.size = target.len() as u64;
        } else {
            // As a file's body, but never a hole: the target of a link has no zero block.
            self.body(path, ino, &mut inode, target.len() as u64, &mut &target[..])?;
        }
        self.add(path, dir, ino, kind::SYMLINK, inode, meta)
    }

    fn hardlink(&mut self, path: &[u8], target: &[u8]) -> Result<()> {
        let place = self.place_for(path)?;
        let shown = escape(target);
        let child = match self.names.find(target) {
            None => return Err(refuse(path, &format!("it links to `/{shown}`, which was not there before"))),
            Some(Child { kind: kind::DIR, .. }) => {
                return Err(refuse(path, &format!("it links to `/{shown}`, which is a directory")));
            }
            Some(child) => child,
        };
        if let Some(inode) = self.inodes.get_mut(&child.ino) {
            if inode.links >= MAX_LINKS {
                return Err(refuse(path, &format!("`/{shown}` has {MAX_LINKS} names already, no more can be")));
            }
            inode.links += 1;
        }
        let flags = self.options.flags.remove(path).unwrap_or_default();
        if let Some(inode) = self.inodes.get_mut(&child.ino) {
            inode.flags |= flags.bits();
        }
        self.names.add(place, split(path).1, child);
        Ok(())
    }

    fn device(&mut self, path: &[u8], [major, minor]: [u32; 2], kind: u8, meta: &Meta) -> Result<()> {
        if major >= 1 << 12 || minor >= 1 << 20 {
            return Err(refuse(path, &format!("Linux has no device {major}:{minor}")));
        }
        let mut inode = Inode::new(if kind == kind::CHAR { mode::CHAR } else { mode::BLOCK }, meta);
        if major < 256 && minor < 256 {
            put32(&mut inode.map, 0, major << 8 | minor);
        } else {
            put32(&mut inode.map, 4, (minor & 0xFF) | major << 8 | (minor & !0xFF) << 12);
        }
        self.node(path, kind, inode, meta)
    }

    fn node(&mut self, path: &[u8], kind: u8, inode: Inode, meta: &Meta) -> Result<()> {
        let dir = self.place_for(path)?;
        let ino = self.inode_for(path)?;
        self.add(path, dir, ino, kind, inode, meta)
    }

    fn add(&mut self, path: &[u8], dir: u32, ino: u32, kind: u8, mut inode: Inode, meta: &Meta) -> Result<()> {
        self.xattrs(path, &mut inode, meta)?;
        self.mark(path, &mut inode);
        self.inodes.insert(ino, inode);
        self.names.add(dir, split(path).1, Child { ino, kind });
        Ok(())
    }

    fn mark(&mut self, path: &[u8], inode: &mut Inode) {
        inode.flags |= self.options.flags.remove(path).unwrap_or_default().bits();
    }

    fn xattrs(&mut self, path: &[u8], inode: &mut Inode, meta: &Meta) -> Result<()> {
        let placed = xattr::place(&meta.xattrs).map_err(|why| refuse(path, &why))?;
        inode.xattrs = placed.inode;
        if let Some(mut block) = placed.block {
            inode.xattr_block = self.take(path, 1)?.start;
            inode.blocks += 1;
            xattr::seal(&mut block, inode.xattr_block, self.seed);
            self.sink.write(inode.xattr_block, &block)?;
        }
        Ok(())
    }

    /// Gives an inode the extents of its data.
    fn map(&mut self, path: &[u8], ino: u32, inode: &mut Inode, found: &[Extent]) -> Result<()> {
        inode.flags |= iflags::EXTENTS;
        inode.blocks += found.iter().map(|extent| u64::from(extent.len)).sum::<u64>();
        let seed = Inode::seed(ino, self.seed);
        let (map, blocks) = extents::tree(found, seed, || self.take(path, 1).map(|range| range.start))?;
        inode.map = map;
        inode.blocks += blocks.len() as u64;
        blocks.iter().try_for_each(|(at, bytes)| self.sink.write(*at, bytes))
    }

    /// Up to `want` blocks for what is at `path`.
    fn take(&mut self, path: &[u8], want: u64) -> Result<Range<u64>> {
        self.allocator.take(want).ok_or_else(|| {
            let what = match self.planned {
                Some(bytes) => format!("{bytes} bytes are enough"),
                None => format!("at least {} bytes more are needed", want * BLOCK64),
            };
            self.full(path, what)
        })
    }

    fn inode_for(&mut self, path: &[u8]) -> Result<u32> {
        if u64::from(self.next_inode) > self.geometry.inodes() {
            let what = format!("it has {} inodes and needs one for each file", self.geometry.inodes());
            return Err(self.full(path, what));
        }
        self.next_inode += 1;
        Ok(self.next_inode - 1)
    }

    fn full(&self, path: &[u8], what: String) -> DiskError {
        DiskError::Full { format: FORMAT, has: self.geometry.blocks * BLOCK64, path: escape(path), what }
    }
}

impl<W: WriteAt> Fill for Writer<W> {
    fn append(&mut self, entry: &Entry, body: &mut dyn Read) -> Result<()> {
        Writer::append(self, entry, body)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        Writer::finish(*self).map(drop)
    }
}

fn refuse(path: &[u8], why: &str) -> DiskError {
    DiskError::Entry { format: FORMAT, path: escape(path), why: why.to_owned() }
}

fn twice(path: &[u8]) -> DiskError {
    refuse(path, "something is there already")
}
