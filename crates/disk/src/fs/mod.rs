//! File systems that are read, whatever they are: files of a root, or of what is mounted beside it.
//!
//! [`Fs`] is one of them. What its inodes are, and the bytes of its files, is told by each reader ([`Inodes`], [`Files`]);
//! going through all of them and following a path to one of them is the same for all. Nothing that is read is believed: a directory is in one place, paths are
//! not longer than they can be, links lead nowhere out of the file system.
//!
//! [`walk`] all that is there     [`lookup`] one of them, by its path
//!
//! Adding a file system that is read: a reader beside its writer that is [`Files`], a variant of [`Fs`], and no
//! obstacle any more in [`Content`].

mod lookup;
mod walk;

use std::collections::BTreeMap;
use std::io::Read;

use kiln_oci::entry::Xattrs;
use kiln_oci::name::escape;
use kiln_oci::{Entry, EntryKind, Mtime};

pub use self::walk::Walk;
pub(crate) use self::walk::{found, inode_at};
use crate::btrfs;
use crate::error::{DiskError, Result};
use crate::ext4::raw::mode;
use crate::ext4::{self, InodeFlags};
use crate::io::ReadAt;
use crate::root::Content;
use crate::xfs;

/// Something in a file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its path and what is there. The other names of a file are [`Hardlink`](kiln_oci::EntryKind::Hardlink)s in a [`Walk`] only.
    pub entry: Entry,
    /// Its inode: equal for all names of a file.
    pub ino: u64,
    /// Its marks, such as [`InodeFlags::IMMUTABLE`].
    pub flags: InodeFlags,
}

/// Inodes by name, sorted.
pub type Names = BTreeMap<Vec<u8>, u64>;

/// What an inode says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// The kind of file, and who may do what.
    pub mode: u16,
    /// How many names it has.
    pub links: u64,
    /// The owner.
    pub uid: u32,
    /// The owning group.
    pub gid: u32,
    /// When it was changed last.
    pub mtime: Mtime,
    /// Its bytes.
    pub size: u64,
    /// The numbers of a device; zeros in anything else.
    pub device: (u32, u32),
    /// Its marks.
    pub flags: InodeFlags,
}

impl About {
    /// The kind of file, as the bits of its mode.
    pub(crate) fn kind(&self) -> u16 {
        self.mode & mode::TYPE
    }
}

/// What a reader tells of the inodes of a file system.
pub trait Inodes {
    /// The name errors use for the file system.
    const FORMAT: &'static str;
    /// An inode as it was read.
    type Inode;

    /// The inode of the root directory.
    fn root(&self) -> u64;

    /// The bytes of the whole file system.
    fn bytes(&self) -> u64;

    /// Reads an inode.
    ///
    /// # Errors
    /// When there is none with this number, or it is damaged.
    fn inode(&self, ino: u64) -> Result<Self::Inode>;

    /// What an inode says of itself.
    ///
    /// # Errors
    /// When that cannot be.
    fn about(&self, inode: &Self::Inode) -> Result<About>;

    /// What a directory holds, but for `.` and `..`.
    ///
    /// # Errors
    /// When it is damaged or cannot be read.
    fn names(&self, dir: &Self::Inode) -> Result<Names>;

    /// Where a link points.
    ///
    /// # Errors
    /// When it is damaged or cannot be read.
    fn target(&self, link: &Self::Inode) -> Result<Vec<u8>>;

    /// The extended attributes of an inode, as system calls have them.
    ///
    /// # Errors
    /// When they are damaged or cannot be read.
    fn xattrs(&self, inode: &Self::Inode) -> Result<Xattrs>;
}

/// A file system whose files are read.
pub trait Files: Inodes + Sized {
    /// What errors of the disk call an inode.
    const INODE: &'static str;
    /// The bytes of a file, from its start to its end. Holes read as zeros without the disk being asked.
    type Body<'a>: Read
    where
        Self: 'a;

    /// The bytes of a regular file with an inode, which a path leads to.
    ///
    /// # Errors
    /// For what is not read of files, and what reading may say.
    fn body_of(&self, path: &[u8], inode: Self::Inode) -> Result<Self::Body<'_>>;

    /// All that it holds: a directory before what is in it, names sorted by their bytes.
    fn walk(&self) -> Walk<'_, Self> {
        Walk::new(self)
    }

    /// The bytes of a regular file that was found.
    ///
    /// # Errors
    /// [`DiskError::Path`] for what is none, and what reading may say.
    fn open_file(&self, file: &Found) -> Result<Self::Body<'_>> {
        let (inode, about) = inode_at(self, &file.entry.path, file.ino)?;
        match about.kind() {
            mode::FILE => self.body_of(&file.entry.path, inode),
            _ => Err(refuse::<Self>(&file.entry.path, "it is not a regular file")),
        }
    }

    /// All bytes of the file at a path, links followed; `None` if nothing is there.
    ///
    /// # Errors
    /// [`DiskError::Path`] for what is no regular file or longer than `limit`, and what reading may say.
    fn read(&self, path: &[u8], limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(found) = self.lookup(path)? else { return Ok(None) };
        let body = self.open_file(&found)?;
        match found.entry.kind {
            EntryKind::File { size } if size > limit => {
                Err(refuse::<Self>(path, format!("it has {size} bytes, {limit} are the most that is read of it")))
            }
            _ => all(body, limit, Self::INODE, found.ino).map(Some),
        }
    }

    /// What is at a path, links followed, also a last one. They lead nowhere out of the file system: an absolute target
    /// starts at its root, and `..` stops there. The entry's path is the one without links. `None` if nothing is there.
    ///
    /// # Errors
    /// [`DiskError::Path`] for links in circles and for what is below something that is no directory, and what reading
    /// may say.
    fn lookup(&self, path: &[u8]) -> Result<Option<Found>> {
        lookup::resolve(self, path, true)
    }

    /// As [`Files::lookup`], but a link at the end of the path is what is found.
    ///
    /// # Errors
    /// As [`Files::lookup`].
    fn lookup_link(&self, path: &[u8]) -> Result<Option<Found>> {
        lookup::resolve(self, path, false)
    }

    /// The names in a directory that was found, sorted; none in anything else.
    ///
    /// # Errors
    /// What reading may say.
    fn list(&self, dir: &Found) -> Result<Vec<Vec<u8>>> {
        lookup::list(self, dir)
    }
}

/// A file system that is read.
pub enum Fs<R> {
    /// ext2, ext3 or ext4.
    Ext4(Box<ext4::Image<R>>),
    /// XFS.
    Xfs(Box<xfs::Image<R>>),
    /// btrfs.
    Btrfs(Box<btrfs::Image<R>>),
}

/// The same for every variant of [`Fs`].
macro_rules! each {
    ($fs:expr, $image:ident => $do:expr) => {
        match $fs {
            Fs::Ext4($image) => $do,
            Fs::Xfs($image) => $do,
            Fs::Btrfs($image) => $do,
        }
    };
}

impl<R> From<ext4::Image<R>> for Fs<R> {
    fn from(image: ext4::Image<R>) -> Fs<R> {
        Fs::Ext4(Box::new(image))
    }
}

impl<R> From<xfs::Image<R>> for Fs<R> {
    fn from(image: xfs::Image<R>) -> Fs<R> {
        Fs::Xfs(Box::new(image))
    }
}

impl<R> From<btrfs::Image<R>> for Fs<R> {
    fn from(image: btrfs::Image<R>) -> Fs<R> {
        Fs::Btrfs(Box::new(image))
    }
}

impl<R: ReadAt> Fs<R> {
    /// Opens the file system at the first byte of `source`, of which it is known what it is; `None` for what is not read.
    ///
    /// # Errors
    /// [`DiskError::Read`], [`DiskError::Damaged`] if it makes no sense, and [`DiskError::Unsupported`] with the names of
    /// what it has that cannot be read.
    pub fn open(content: Content, source: R) -> Result<Option<Fs<R>>> {
        match content {
            Content::Ext => ext4::Image::open(source).map(|image| Some(image.into())),
            Content::Xfs => xfs::Image::open(source).map(|image| Some(image.into())),
            Content::Btrfs => btrfs::Image::open(source).map(|image| Some(image.into())),
            _ => Ok(None),
        }
    }

    /// The name errors use for it.
    pub fn format(&self) -> &'static str {
        fn of<I: Inodes>(_: &I) -> &'static str {
            I::FORMAT
        }
        each!(self, image => of(&**image))
    }

    /// What `/etc/fstab` and boot loaders find it by.
    pub fn uuid(&self) -> [u8; 16] {
        each!(self, image => image.superblock().uuid)
    }

    /// Its name, without the zeros at its end.
    pub fn label(&self) -> &[u8] {
        each!(self, image => &image.superblock().label)
    }

    /// Whether what a crash left in its journal is part of what is read.
    pub fn recovered(&self) -> bool {
        match self {
            Fs::Ext4(image) => image.superblock().needs_recovery,
            // One whose log is needed is not read.
            Fs::Xfs(_) | Fs::Btrfs(_) => false,
        }
    }

    /// What it has and one that Kiln writes in its place has not, for people.
    pub fn features_lost(&self) -> Vec<&'static str> {
        each!(self, image => image.superblock().features_lost())
    }

    /// The bytes at its start that are not its own: a boot loader may be there.
    pub fn boot_area(&self) -> u64 {
        match self {
            Fs::Ext4(_) => ext4::raw::SUPER_OFFSET,
            Fs::Xfs(_) => 0,
            Fs::Btrfs(_) => btrfs::raw::SUPERS[0],
        }
    }

    /// All that it holds: a directory before what is in it, names sorted by their bytes.
    pub fn walk(&self) -> Box<dyn Iterator<Item = Result<Found>> + '_> {
        each!(self, image => Box::new(image.walk()))
    }

    /// The bytes of a regular file that was found.
    ///
    /// # Errors
    /// [`DiskError::Path`] for what is none, and what reading may say.
    pub fn open_file(&self, file: &Found) -> Result<Box<dyn Read + '_>> {
        each!(self, image => Ok(Box::new(image.open_file(file)?)))
    }

    /// All bytes of the file at a path, links followed; `None` if nothing is there.
    ///
    /// # Errors
    /// [`DiskError::Path`] for what is no regular file or longer than `limit`, and what reading may say.
    pub fn read(&self, path: &[u8], limit: u64) -> Result<Option<Vec<u8>>> {
        each!(self, image => image.read(path, limit))
    }

    /// What is at a path, links followed, also a last one. They lead nowhere out of the file system: an absolute target
    /// starts at its root, and `..` stops there. The entry's path is the one without links. `None` if nothing is there.
    ///
    /// # Errors
    /// [`DiskError::Path`] for links in circles and for what is below something that is no directory, and what reading
    /// may say.
    pub fn lookup(&self, path: &[u8]) -> Result<Option<Found>> {
        each!(self, image => image.lookup(path))
    }

    /// As [`Fs::lookup`], but a link at the end of the path is what is found.
    ///
    /// # Errors
    /// As [`Fs::lookup`].
    pub fn lookup_link(&self, path: &[u8]) -> Result<Option<Found>> {
        each!(self, image => image.lookup_link(path))
    }

    /// The names in a directory that was found, sorted; none in anything else.
    ///
    /// # Errors
    /// What reading may say.
    pub fn list(&self, dir: &Found) -> Result<Vec<Vec<u8>>> {
        each!(self, image => image.list(dir))
    }
}

/// That a file system makes no sense, and where.
pub(crate) fn damaged<I: Inodes>(what: &str, why: impl Into<String>) -> DiskError {
    DiskError::Damaged { format: I::FORMAT, what: what.to_owned(), why: why.into() }
}

/// That a path cannot be followed.
pub(crate) fn refuse<I: Inodes>(path: &[u8], why: impl Into<String>) -> DiskError {
    DiskError::Path { format: I::FORMAT, path: escape(path), why: why.into() }
}

/// All bytes of a file, at most `limit`. `what` and `ino` say where reading failed.
pub(crate) fn all(body: impl Read, limit: u64, what: &'static str, ino: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match body.take(limit).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        // What went wrong below came through an interface that has only this kind of error.
        Err(e) => Err(match e.downcast::<DiskError>() {
            Ok(error) => error,
            Err(source) => DiskError::Read { what, offset: ino, source },
        }),
    }
}
