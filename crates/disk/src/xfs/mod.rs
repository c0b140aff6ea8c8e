//! The xfs file system: a writer and a reader, without a mount, a loop device or another tool.
//!
//! What is written is what Debian 12's `mkfs.xfs` makes: version 5 with checksums, names with types, trees of free inodes and of
//! shared blocks, counts of their blocks, sparse inodes, times beyond 2038; no large extent counters, which GRUB 2.06
//! cannot read. Data goes to the first free blocks as it comes; directories follow when all names are known; inodes,
//! trees and the heads of the groups are last, the superblock at the very end.
//!
//! [`geometry`] where what lies     [`plan`] how much a tree needs     [`finish`] what is written last
//! [`dir`] [`inode`] [`extents`] [`attr`] [`btree`] [`head`] how they are stored     [`read`] all that others make, too

mod attr;
mod btree;
mod dir;
mod extents;
mod finish;
mod geometry;
mod head;
mod inode;
mod plan;
mod raw;
pub mod read;

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;

use kiln_oci::{Entry, EntryKind, Meta};

use self::attr::Placed;
use self::extents::Extent;
use self::geometry::{Geometry, Space};
use self::inode::{Attrs, Format, Inode, MAX_LINKS};
pub use self::plan::Plan;
use self::raw::{DENSE_ROOT_INO, FORMAT, Owner, ROOT_INO, magic, put32, put64, seal};
pub use self::read::{Body, Image, Superblock};
use crate::error::{DiskError, Result};
use crate::ext4::InodeFlags;
use crate::ext4::raw::mode;
use crate::files::body::{PIECE, pour};
use crate::files::intake::Intake;
use crate::files::names::kind;
use crate::files::sink::Sink;
use crate::files::{BLOCK, BLOCK64, refuse};
pub use crate::files::{Fill, Options, Summary};
use crate::io::WriteAt;

/// The longest target of a link.
const MAX_TARGET: usize = 1023;
/// The largest file.
const MAX_SIZE: u64 = i64::MAX as u64 - BLOCK64;
/// Marks that xfs has, and where.
const MARKS: [(InodeFlags, u32); 5] = [
    (InodeFlags::IMMUTABLE, 1 << 3),
    (InodeFlags::APPEND, 1 << 4),
    (InodeFlags::SYNC, 1 << 5),
    (InodeFlags::NOATIME, 1 << 6),
    (InodeFlags::NODUMP, 1 << 7),
];

/// What of the format is used that not every system knows which knows version 5. By default all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// Times beyond 2038: kernels from 5.10 on.
    pub bigtime: bool,
    /// Counts of the blocks of trees of inodes: kernels from 5.10 on.
    pub inode_counts: bool,
    /// Blocks that files share: kernels from 4.9 on.
    pub reflink: bool,
    /// Inodes where there is no room for 64 of them: kernels from 4.2 on.
    pub sparse_inodes: bool,
}

impl Default for Features {
    fn default() -> Features {
        Features { bigtime: true, inode_counts: true, reflink: true, sparse_inodes: true }
    }
}

/// Writes a file system: [`append`](Writer::append) what it is to hold, then [`finish`](Writer::finish).
pub struct Writer<W> {
    sink: Sink<W>,
    options: Options,
    features: Features,
    space: Space,
    intake: Intake,
    inodes: BTreeMap<u64, Inode>,
    scratch: Vec<u8>,
}

impl<W: WriteAt> Writer<W> {
    /// Starts on `target`, whose first `options.size` bytes it takes. With the plan of what will come its inodes lie
    /// together, and it knows how much would have been enough should it get full.
    ///
    /// # Errors
    /// When no such file system can be, or the target cannot be cleared.
    pub fn new(target: W, options: Options, plan: Option<&Plan>) -> Result<Writer<W>> {
        Writer::with(target, options, Features::default(), plan)
    }

    /// The same, with these features instead of all: those that the systems know that are to read it.
    ///
    /// # Errors
    /// As [`Writer::new`].
    pub fn with(target: W, options: Options, features: Features, plan: Option<&Plan>) -> Result<Writer<W>> {
        if options.label.len() > 12 || options.label.contains('\0') {
            let why = format!("its label `{}` is longer than 12 bytes", options.label.escape_debug());
            return Err(DiskError::Options { format: FORMAT, why });
        }
        let root = if features.sparse_inodes { ROOT_INO } else { DENSE_ROOT_INO };
        let geometry = Geometry { root, ..Geometry::new(options.size)? };
        let mut sink = Sink::new(target);
        let size = geometry.blocks * BLOCK64;
        if !options.blank || sink.len()? < size {
            sink.clear(size)?;
        }
        let enough = plan.and_then(|plan| plan.minimum(0).ok());
        let mut writer = Writer {
            sink,
            space: Space::new(geometry, plan.map_or(0, Plan::inodes), enough),
            intake: Intake::new(FORMAT, root),
            inodes: BTreeMap::new(),
            scratch: vec![0; PIECE],
            features,
            options,
        };
        let inode = Inode::new(mode::DIR, &writer.options.implied(0o755));
        writer.inodes.insert(root, inode);
        for (ino, flags) in [(root + 1, 1 << 2), (root + 2, 0)] {
            let inode = Inode::new(mode::FILE, &writer.options.implied(0));
            writer.inodes.insert(ino, Inode { flags, ..inode });
        }
        Ok(writer)
    }

    /// Adds an entry; for a regular file exactly its size is read from `body`. Parents that were not there are made,
    /// `0755` and owned by root; if they come later, they become what they are.
    ///
    /// # Errors
    /// [`DiskError::Full`], [`DiskError::Entry`] for what xfs cannot have, [`DiskError::Body`], [`DiskError::Write`].
    pub fn append(&mut self, entry: &Entry, body: &mut dyn Read) -> Result<()> {
        let (path, meta) = (entry.path.as_slice(), &entry.meta);
        self.intake.check(path, entry.kind == EntryKind::Dir)?;
        match &entry.kind {
            EntryKind::Dir => {
                let ino = self.intake.directory(path, &mut || self.space.inode(path))?;
                let inode = Inode::new(mode::DIR, meta);
                self.keep(path, ino, inode, meta)
            }
            EntryKind::File { size } => self.file(path, *size, body, meta),
            EntryKind::Symlink { target } => self.symlink(path, target, meta),
            EntryKind::Hardlink { target } => self.hardlink(path, target),
            EntryKind::Char { major, minor } => self.device(path, [*major, *minor], kind::CHAR, meta),
            EntryKind::Block { major, minor } => self.device(path, [*major, *minor], kind::BLOCK, meta),
            EntryKind::Fifo => {
                let inode = Inode { format: Format::Device, data: vec![0; 4], ..Inode::new(mode::FIFO, meta) };
                let (dir, ino) = self.place(path)?;
                self.keep(path, ino, inode, meta)?;
                self.intake.add(dir, path, ino, kind::FIFO);
                Ok(())
            }
            EntryKind::Whiteout | EntryKind::Opaque => {
                let why = "it hides something of a layer below, and a file system has none";
                Err(self.intake.refuse(path, why.to_owned()))
            }
        }
    }

    /// The directory for a new name, and a new inode.
    fn place(&mut self, path: &[u8]) -> Result<(u64, u64)> {
        let dir = self.intake.place(path, &mut || self.space.inode(path))?;
        Ok((dir, self.space.inode(path)?))
    }

    /// Notes an inode of which all but its data is known.
    fn keep(&mut self, path: &[u8], ino: u64, mut inode: Inode, meta: &Meta) -> Result<()> {
        self.dress(path, ino, &mut inode, meta)?;
        self.inodes.insert(ino, inode);
        Ok(())
    }

    /// Gives an inode its attributes and marks.
    fn dress(&mut self, path: &[u8], ino: u64, inode: &mut Inode, meta: &Meta) -> Result<()> {
        inode.flags |= self.options.marks(FORMAT, path, &MARKS)? as u16;
        match attr::place(&meta.xattrs).map_err(|why| self.intake.refuse(path, why))? {
            Placed::None => {}
            Placed::Near(attrs) => inode.attrs = attrs,
            Placed::Far(block, values) => self.far(path, ino, inode, block, &values)?,
        }
        Ok(())
    }

    /// Writes attributes that have blocks of their own.
    fn far(&mut self, path: &[u8], ino: u64, inode: &mut Inode, mut block: Vec<u8>, values: &[Vec<u8>]) -> Result<()> {
        let owner = self.owner(ino);
        let mut found = Vec::new();
        let place = self.space.take(path, 1)?.start;
        put64(&mut block, 16, place * (BLOCK64 / 512));
        block[32..48].copy_from_slice(&owner.uuid);
        put64(&mut block, 48, ino);
        seal(&mut block, 12);
        self.sink.write(place, &block)?;
        self.extend(&mut found, 0, place..place + 1);
        let mut logical = 1;
        for value in values {
            for (n, part) in value.chunks(attr::VALUE).enumerate() {
                let place = self.space.take(path, 1)?;
                let block = remote(magic::ATTR_VALUE, owner, place.start, (n * attr::VALUE, part), u64::MAX);
                self.sink.write(place.start, &block)?;
                self.extend(&mut found, logical, place);
                logical += 1;
            }
        }
        let none = || Ok::<u64, DiskError>(0);
        let fork = extents::fork(&found, Attrs::MOST, (owner, &self.space.geometry), none)?;
        if fork.tree {
            return Err(self.intake.refuse(path, "its extended attributes are in too many pieces".to_owned()));
        }
        inode.attrs = Attrs { bytes: fork.bytes, extents: found.len() as u16 };
        inode.blocks += logical;
        Ok(())
    }

    fn file(&mut self, path: &[u8], size: u64, body: &mut dyn Read, meta: &Meta) -> Result<()> {
        if size > MAX_SIZE {
            return Err(self.intake.refuse(path, format!("it has {size} bytes, {MAX_SIZE} are the most")));
        }
        let (dir, ino) = self.place(path)?;
        let mut inode = Inode { size, ..Inode::new(mode::FILE, meta) };
        self.dress(path, ino, &mut inode, meta)?;
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut found = Vec::new();
        let mut put = |block: u64, bytes: &[u8]| self.data(path, &mut found, block, bytes);
        let done = pour(path, size, body, &mut scratch, &mut put);
        self.scratch = scratch;
        done?;
        self.map(path, ino, &mut inode, &found)?;
        self.inodes.insert(ino, inode);
        self.intake.add(dir, path, ino, kind::FILE);
        Ok(())
    }

    fn data(&mut self, path: &[u8], found: &mut Vec<Extent>, mut block: u64, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let place = self.space.take(path, bytes.len().div_ceil(BLOCK) as u64)?;
            let len = place.end - place.start;
            let (now, later) = bytes.split_at(bytes.len().min(len as usize * BLOCK));
            self.sink.write(place.start, now)?;
            self.extend(found, block, place);
            block += len;
            bytes = later;
        }
        Ok(())
    }

    fn extend(&self, found: &mut Vec<Extent>, logical: u64, place: Range<u64>) {
        extents::push(found, self.space.geometry.group, logical, place.start, place.end - place.start);
    }

    /// Gives an inode the extents of its data.
    fn map(&mut self, path: &[u8], ino: u64, inode: &mut Inode, found: &[Extent]) -> Result<()> {
        let owner = self.owner(ino);
        let geometry = self.space.geometry.clone();
        let new = || self.space.take(path, 1).map(|range| range.start);
        let fork = extents::fork(found, inode.room(), (owner, &geometry), new)?;
        inode.format = if fork.tree { Format::Tree } else { Format::Extents };
        inode.extents = found.len() as u32;
        inode.blocks += found.iter().map(|extent| extent.len).sum::<u64>() + fork.blocks.len() as u64;
        inode.data = fork.bytes;
        fork.blocks.iter().try_for_each(|(at, bytes)| self.sink.write(*at, bytes))
    }

    fn symlink(&mut self, path: &[u8], target: &[u8], meta: &Meta) -> Result<()> {
        if target.is_empty() || target.len() > MAX_TARGET || target.contains(&0) {
            let why = format!("its target has {} bytes, 1 to {MAX_TARGET} can be", target.len());
            return Err(self.intake.refuse(path, why));
        }
        let (dir, ino) = self.place(path)?;
        let mut inode = Inode { size: target.len() as u64, ..Inode::new(mode::SYMLINK, meta) };
        inode.mode = mode::SYMLINK | 0o777;
        self.dress(path, ino, &mut inode, meta)?;
        if target.len() <= inode.room() {
            inode.format = Format::Local;
            inode.data = target.to_vec();
        } else {
            let place = self.space.take(path, 1)?;
            let block = remote(magic::SYMLINK, self.owner(ino), place.start, (0, target), 0);
            self.sink.write(place.start, &block)?;
            let extent = Extent { logical: 0, physical: place.start, len: 1 };
            self.map(path, ino, &mut inode, &[extent])?;
        }
        self.inodes.insert(ino, inode);
        self.intake.add(dir, path, ino, kind::SYMLINK);
        Ok(())
    }

    fn hardlink(&mut self, path: &[u8], target: &[u8]) -> Result<()> {
        let (dir, child) = self.intake.link(path, target, &mut || self.space.inode(path))?;
        let flags = self.options.marks(FORMAT, path, &MARKS)? as u16;
        if let Some(inode) = self.inodes.get_mut(&child.ino) {
            if inode.links >= MAX_LINKS {
                return Err(refuse(FORMAT, path, format!("it would be name {MAX_LINKS} of a file, no more can be")));
            }
            inode.links += 1;
            inode.flags |= flags;
        }
        self.intake.add(dir, path, child.ino, child.kind);
        Ok(())
    }

    fn device(&mut self, path: &[u8], [major, minor]: [u32; 2], kind: u8, meta: &Meta) -> Result<()> {
        if major >= 1 << 9 || minor >= 1 << 18 {
            return Err(self.intake.refuse(path, format!("xfs has no device {major}:{minor}")));
        }
        let mut data = vec![0; 4];
        put32(&mut data, 0, major << 18 | minor);
        let bits = if kind == kind::CHAR { mode::CHAR } else { mode::BLOCK };
        let inode = Inode { format: Format::Device, data, ..Inode::new(bits, meta) };
        let (dir, ino) = self.place(path)?;
        self.keep(path, ino, inode, meta)?;
        self.intake.add(dir, path, ino, kind);
        Ok(())
    }

    fn owner(&self, ino: u64) -> Owner {
        Owner { ino, uuid: self.options.uuid }
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

/// A block at `place` with a part of a value, or of the target of a link: `bytes` from byte `offset` on.
fn remote(magic: u32, owner: Owner, place: u64, (offset, bytes): (usize, &[u8]), change: u64) -> Vec<u8> {
    let mut b = vec![0; BLOCK];
    put32(&mut b, 0, magic);
    put32(&mut b, 4, offset as u32);
    put32(&mut b, 8, bytes.len() as u32);
    b[16..32].copy_from_slice(&owner.uuid);
    put64(&mut b, 32, owner.ino);
    put64(&mut b, 40, place * (BLOCK64 / 512));
    put64(&mut b, 48, change);
    b[56..56 + bytes.len()].copy_from_slice(bytes);
    seal(&mut b, 12);
    b
}
