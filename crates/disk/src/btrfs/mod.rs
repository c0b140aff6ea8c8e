//! The btrfs file system: a writer and a reader, without a mount, a loop device or another tool.
//!
//! It is what `mkfs.btrfs` makes of one device since 5.15: metadata twice and data once, checksums (crc32c) of both, a
//! tree of free space, no items for holes, nothing compressed, and one subvolume, the fifth tree, unless it is to have
//! others. Data goes to the disk as it comes; the trees follow when everything is known, the superblocks at the very end.
//!
//! [`space`] where what lies     [`items`] how trees are stored     [`names`] names and attributes as items
//! [`plan`] how much a tree of files needs     [`finish`] what is written last     [`head`] the superblock
//! [`subvolumes`] trees of files in others     [`read`] what others wrote, with all its ways to store it
//!
//! Every name is an item of its directory, by its sum and by its place, and one of its file.

mod finish;
mod head;
mod items;
mod names;
mod plan;
pub(crate) mod raw;
pub mod read;
mod space;
mod subvolumes;

use std::collections::BTreeMap;
use std::io::Read;

use kiln_oci::name::escape;
use kiln_oci::{Entry, EntryKind, Meta, Mtime};

use self::finish::Join;
use self::items::Items;
pub use self::plan::Plan;
use self::raw::{Bytes, FIRST_INO, FORMAT, GENERATION, Ids, Key, NODE64, item, tree};
pub use self::read::{Body, Image, Layout, Part, Superblock};
use self::space::Space;
pub use self::subvolumes::Subvolume;
use self::subvolumes::Subvolumes;
use crate::crc::crc32c;
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
const MAX_TARGET: usize = 4095;
/// Files that are not longer are in the tree.
const INLINE: u64 = 2048;
/// The largest file.
const MAX_SIZE: u64 = i64::MAX as u64 - BLOCK64;
/// The longest extent.
const MAX_EXTENT: u64 = 128 << 20;
/// The most names a file can have.
const MAX_LINKS: u32 = 65_535;
/// Marks that btrfs has, and where.
pub(crate) const MARKS: [(InodeFlags, u32); 6] = [
    (InodeFlags::SYNC, 1 << 5),
    (InodeFlags::IMMUTABLE, 1 << 6),
    (InodeFlags::APPEND, 1 << 7),
    (InodeFlags::NODUMP, 1 << 8),
    (InodeFlags::NOATIME, 1 << 9),
    (InodeFlags::DIRSYNC, 1 << 10),
];

/// An inode until its item is made.
#[derive(Debug, Clone, Copy)]
struct Inode {
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: Mtime,
    size: u64,
    /// Bytes its data takes.
    bytes: u64,
    links: u32,
    device: u64,
    flags: u32,
}

impl Inode {
    fn new(kind: u16, meta: &Meta) -> Inode {
        let mode = u32::from(kind) | (meta.mode & 0o7777);
        let (uid, gid, mtime) = (meta.uid, meta.gid, meta.mtime);
        Inode { mode, uid, gid, mtime, size: 0, bytes: 0, links: 1, device: 0, flags: 0 }
    }

    fn item(&self, made: Mtime) -> Bytes {
        let start = Bytes::default().many(&[GENERATION, GENERATION, self.size, self.bytes, 0]);
        let owner = start.u32(self.links).u32(self.uid).u32(self.gid).u32(self.mode);
        let end = owner.many(&[self.device, u64::from(self.flags), 0]).zeros(32);
        end.time(self.mtime).time(made).time(self.mtime).time(made)
    }
}

/// A part of a file on disk.
#[derive(Debug, Clone, Copy)]
struct Extent {
    /// Its first byte in the file, its address, its length.
    from: u64,
    at: u64,
    len: u64,
}

/// Writes a file system: [`append`](Writer::append) what it is to hold, then [`finish`](Writer::finish).
pub struct Writer<W> {
    sink: Sink<W>,
    options: Options,
    ids: Ids,
    space: Space,
    intake: Intake,
    inodes: BTreeMap<u64, Inode>,
    next_ino: u64,
    /// The items of all trees of files.
    files: BTreeMap<u64, Items>,
    subvolumes: Subvolumes,
    /// Where subvolumes are, once that is known.
    joins: Vec<Join>,
    extents: Items,
    /// By the address at which they start, checksums of blocks that follow each other.
    sums: Vec<(u64, Vec<u32>)>,
    /// Bytes that names will take in the tree of files.
    names: u64,
    scratch: Vec<u8>,
}

impl<W: WriteAt> Writer<W> {
    /// Starts on `target`, whose first `options.size` bytes it takes. With the plan of what will come it knows how much
    /// would have been enough should it get full.
    ///
    /// # Errors
    /// When no such file system can be, or the target cannot be cleared.
    pub fn new(target: W, options: Options, plan: Option<&Plan>) -> Result<Writer<W>> {
        if options.label.len() > 255 || options.label.contains(['\0', '\n']) {
            let why = format!("its label `{}` is longer than 255 bytes", options.label.escape_debug());
            return Err(DiskError::Options { format: FORMAT, why });
        }
        let space = Space::new(options.size, plan.and_then(|plan| plan.minimum(0).ok()))?;
        let mut sink = Sink::new(target);
        if !options.blank || sink.len()? < space.size {
            sink.clear(space.size)?;
        }
        Ok(Writer {
            sink,
            ids: Ids::new(options.uuid),
            space,
            intake: Intake::new(FORMAT, FIRST_INO),
            inodes: BTreeMap::new(),
            next_ino: FIRST_INO + 1,
            files: BTreeMap::from([(tree::FS, Items::new(tree::FS))]),
            subvolumes: Subvolumes::default(),
            joins: Vec::new(),
            extents: Items::new(tree::EXTENT),
            sums: Vec::new(),
            names: 0,
            scratch: vec![0; PIECE],
            options,
        })
    }

    /// Adds an entry; for a regular file exactly its size is read from `body`. Parents that were not there are made,
    /// `0755` and owned by root; if they come later, they become what they are.
    ///
    /// # Errors
    /// [`DiskError::Full`], [`DiskError::Entry`] for what btrfs cannot have, [`DiskError::Body`],
    /// [`DiskError::Write`].
    pub fn append(&mut self, entry: &Entry, body: &mut dyn Read) -> Result<()> {
        let (path, meta) = (entry.path.as_slice(), &entry.meta);
        self.intake.check(path, entry.kind == EntryKind::Dir)?;
        let new = Inode::new;
        match &entry.kind {
            EntryKind::Dir => {
                let next = &mut self.next_ino;
                let ino = self.intake.directory(path, &mut || fresh(next))?;
                self.names += 200 + path.len() as u64;
                self.keep(path, ino, new(mode::DIR, meta), meta)
            }
            EntryKind::File { size } => self.file(path, *size, body, meta),
            EntryKind::Symlink { target } => self.symlink(path, target, meta),
            EntryKind::Hardlink { target } => self.hardlink(path, target),
            EntryKind::Char { major, minor } => self.device(path, [*major, *minor], kind::CHAR, meta),
            EntryKind::Block { major, minor } => self.device(path, [*major, *minor], kind::BLOCK, meta),
            EntryKind::Fifo => self.node(path, kind::FIFO, new(mode::FIFO, meta), meta),
            EntryKind::Whiteout | EntryKind::Opaque => {
                let why = "it hides something of a layer below, and a file system has none";
                Err(self.intake.refuse(path, why.to_owned()))
            }
        }
    }

    /// The directory for a new name, and a new inode.
    fn place(&mut self, path: &[u8]) -> Result<(u64, u64)> {
        let next = &mut self.next_ino;
        let dir = self.intake.place(path, &mut || fresh(next))?;
        self.names += 400 + 3 * path.len() as u64;
        Ok((dir, fresh(&mut self.next_ino)?))
    }

    /// Adds an item of an inode to the tree that it is in.
    fn put(&mut self, (tree, ino): (u64, u64), kind: u8, number: u64, bytes: Bytes) {
        self.files.entry(tree).or_insert_with(|| Items::new(tree)).put(Key(ino, kind, number), bytes);
    }

    /// Notes an inode with its attributes and marks.
    fn keep(&mut self, path: &[u8], ino: u64, mut inode: Inode, meta: &Meta) -> Result<()> {
        inode.flags |= self.options.marks(FORMAT, path, &MARKS)?;
        let attrs = names::attributes(&meta.xattrs).map_err(|why| self.intake.refuse(path, why))?;
        self.subvolumes.keep(path, ino);
        let at = self.subvolumes.place(ino);
        attrs.into_iter().for_each(|(sum, bytes)| self.put(at, item::XATTR, sum, bytes));
        self.inodes.insert(ino, inode);
        Ok(())
    }

    fn file(&mut self, path: &[u8], size: u64, body: &mut dyn Read, meta: &Meta) -> Result<()> {
        if size > MAX_SIZE {
            return Err(self.intake.refuse(path, format!("it has {size} bytes, {MAX_SIZE} are the most")));
        }
        let (dir, ino) = self.place(path)?;
        self.subvolumes.keep(path, ino);
        let mut inode = Inode { size, ..Inode::new(mode::FILE, meta) };
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut found = Vec::new();
        let mut inline = Vec::new();
        let mut put = |block: u64, bytes: &[u8]| {
            if size <= INLINE {
                inline = bytes.to_vec();
                return Ok(());
            }
            self.data(path, &mut found, block * BLOCK64, bytes)
        };
        let done = pour(path, size, body, &mut scratch, &mut put);
        self.scratch = scratch;
        done?;
        if size > 0 && size <= INLINE {
            inline.truncate(size as usize);
            inode.bytes = size;
            self.inline(ino, &inline);
        }
        inode.bytes += found.iter().map(|extent| extent.len).sum::<u64>();
        found.iter().for_each(|extent| self.refer(ino, extent));
        self.keep(path, ino, inode, meta)?;
        self.intake.add(dir, path, ino, kind::FILE);
        Ok(())
    }

    /// Data that is in the tree.
    fn inline(&mut self, ino: u64, bytes: &[u8]) {
        let head = Bytes::default().u64(GENERATION).u64(bytes.len() as u64).u32(0).u8(0);
        self.put(self.subvolumes.place(ino), item::EXTENT_DATA, 0, head.bytes(bytes));
    }

    /// Writes blocks of a file, and notes their checksums.
    fn data(&mut self, path: &[u8], found: &mut Vec<Extent>, mut from: u64, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let metadata = self.metadata();
            let place = self.space.take(path, bytes.len().next_multiple_of(BLOCK) as u64, metadata)?;
            let len = place.end - place.start;
            let (now, later) = bytes.split_at(bytes.len().min(len as usize));
            self.sink.write(place.start / BLOCK64, now)?;
            self.sum(place.start, now);
            match found.last_mut() {
                Some(last)
                    if last.from + last.len == from
                        && last.at + last.len == place.start
                        && last.len + len <= MAX_EXTENT
                        && self.space.data.last().is_some_and(|chunk| chunk.start < place.start) =>
                {
                    last.len += len;
                }
                _ => found.push(Extent { from, at: place.start, len }),
            }
            from += len;
            bytes = later;
        }
        Ok(())
    }

    fn sum(&mut self, at: u64, bytes: &[u8]) {
        let follows = |(start, sums): &&mut (u64, Vec<u32>)| *start + sums.len() as u64 * BLOCK64 == at;
        let of = |block: &[u8]| !crc32c(crc32c(!0, block), &[0; BLOCK][block.len()..]);
        let sums = bytes.chunks(BLOCK).map(of);
        match self.sums.last_mut().filter(follows) {
            Some((_, known)) => known.extend(sums),
            None => self.sums.push((at, sums.collect())),
        }
    }

    /// Notes an extent with its file, and the file with its extent.
    fn refer(&mut self, ino: u64, extent: &Extent) {
        let Extent { from, at, len } = *extent;
        let head = Bytes::default().u64(GENERATION).u64(len).u32(0).u8(1);
        let place = self.subvolumes.place(ino);
        self.put(place, item::EXTENT_DATA, from, head.many(&[at, len, 0, len]));
        let counted = Bytes::default().many(&[1, GENERATION, 1]).u8(item::EXTENT_DATA_REF);
        self.extents.put(Key(at, item::EXTENT, len), counted.many(&[place.0, place.1, from]).u32(1));
    }

    /// About how many bytes of metadata what came so far will be.
    fn metadata(&self) -> u64 {
        let sums = self.sums.iter().map(|(_, sums)| sums.len() as u64 * 4).sum::<u64>();
        let files: u64 = self.files.values().map(Items::size).sum();
        let bytes = files + self.extents.size() + self.names + sums;
        bytes + bytes / 8 + (24 + self.files.len() as u64) * NODE64
    }

    fn symlink(&mut self, path: &[u8], target: &[u8], meta: &Meta) -> Result<()> {
        if target.is_empty() || target.len() > MAX_TARGET || target.contains(&0) {
            let why = format!("its target has {} bytes, 1 to {MAX_TARGET} can be", target.len());
            return Err(self.intake.refuse(path, why));
        }
        let (dir, ino) = self.place(path)?;
        self.subvolumes.keep(path, ino);
        let len = target.len() as u64;
        let mut inode = Inode { size: len, bytes: len, ..Inode::new(mode::SYMLINK, meta) };
        inode.mode = u32::from(mode::SYMLINK) | 0o777;
        self.inline(ino, target);
        self.keep(path, ino, inode, meta)?;
        self.intake.add(dir, path, ino, kind::SYMLINK);
        Ok(())
    }

    fn hardlink(&mut self, path: &[u8], target: &[u8]) -> Result<()> {
        let next = &mut self.next_ino;
        let (dir, child) = self.intake.link(path, target, &mut || fresh(next))?;
        self.names += 200 + 3 * path.len() as u64;
        if self.subvolumes.tree_at(path) != self.subvolumes.place(child.ino).0 {
            let why = format!("`/{}`, which it links to, is in another subvolume", escape(target));
            return Err(self.intake.refuse(path, why));
        }
        let flags = self.options.marks(FORMAT, path, &MARKS)?;
        if let Some(inode) = self.inodes.get_mut(&child.ino) {
            if inode.links >= MAX_LINKS {
                let why = format!("`/{}` has {MAX_LINKS} names already, no more can be", target.escape_ascii());
                return Err(refuse(FORMAT, path, why));
            }
            inode.links += 1;
            inode.flags |= flags;
        }
        self.intake.add(dir, path, child.ino, child.kind);
        Ok(())
    }

    fn device(&mut self, path: &[u8], [major, minor]: [u32; 2], kind: u8, meta: &Meta) -> Result<()> {
        if major >= 1 << 12 || minor >= 1 << 20 {
            return Err(self.intake.refuse(path, format!("Linux has no device {major}:{minor}")));
        }
        let bits = if kind == kind::CHAR { mode::CHAR } else { mode::BLOCK };
        let device = u64::from(major << 20 | minor);
        self.node(path, kind, Inode { device, ..Inode::new(bits, meta) }, meta)
    }

    fn node(&mut self, path: &[u8], kind: u8, inode: Inode, meta: &Meta) -> Result<()> {
        let (dir, ino) = self.place(path)?;
        self.keep(path, ino, inode, meta)?;
        self.intake.add(dir, path, ino, kind);
        Ok(())
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

/// The next inode.
fn fresh(next: &mut u64) -> Result<u64> {
    *next += 1;
    Ok(*next - 1)
}
