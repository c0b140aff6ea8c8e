//! What the writers of all file systems have in common: how they are filled, and the rules for names.
//!
//! [`Fill`] a writer to whoever has files      [`intake`] which paths can be      [`names`] the tree of names
//! [`body`] bodies without their holes     [`sink`] blocks that follow each other are written together

use std::collections::BTreeMap;
use std::io::Read;

use kiln_oci::{Entry, Meta, Mtime};

use crate::error::{DiskError, Result};
use crate::ext4::InodeFlags;

pub(crate) mod body;
pub(crate) mod intake;
pub(crate) mod names;
pub(crate) mod sink;

/// The bytes of a block.
pub(crate) const BLOCK: usize = 4096;
/// The same.
pub(crate) const BLOCK64: u64 = 4096;

/// A file system that is being written: [`append`](Fill::append) what it is to hold, then [`finish`](Fill::finish).
pub trait Fill {
    /// Adds an entry; for a regular file exactly its size is read from `body`.
    ///
    /// # Errors
    /// [`DiskError::Full`], [`DiskError::Entry`] for what the file system cannot have, [`DiskError::Body`],
    /// [`DiskError::Write`].
    fn append(&mut self, entry: &Entry, body: &mut dyn Read) -> Result<()>;

    /// Writes all that is still missing. What was not finished is no file system.
    ///
    /// # Errors
    /// [`DiskError::Full`], [`DiskError::Write`], and [`DiskError::Entry`] for marks of a path that never came.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// What an xfs or a btrfs is to be like. Equal options and entries give equal bytes.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many bytes it may take.
    pub size: u64,
    /// Its name.
    pub label: String,
    /// What `/etc/fstab` and boot loaders find it by.
    pub uuid: [u8; 16],
    /// When it was made, in seconds since the epoch. Times of change of all inodes are this, too.
    pub time: u32,
    /// Marks of paths, such as [`InodeFlags::IMMUTABLE`]. A path that never comes is an error.
    pub flags: BTreeMap<Vec<u8>, InodeFlags>,
    /// The target reads as zeros already, as a new file does; otherwise it is made to.
    pub blank: bool,
}

impl Options {
    /// A file system of `size` bytes, for a target that may hold anything.
    pub fn new(size: u64, uuid: [u8; 16]) -> Options {
        Options { size, label: String::new(), uuid, time: 0, flags: BTreeMap::new(), blank: false }
    }

    /// What a directory is like that never came itself.
    pub(crate) fn implied(&self, mode: u32) -> Meta {
        Meta { mtime: self.made(), ..Meta::mode(mode) }
    }

    /// When it was made.
    pub(crate) fn made(&self) -> Mtime {
        Mtime::secs(i64::from(self.time))
    }

    /// An error when a path that is to be marked never came.
    pub(crate) fn used(&self, format: &'static str) -> Result<()> {
        let why = || "it is to be marked, but was not among the files".to_owned();
        self.flags.keys().next().map_or(Ok(()), |path| Err(refuse(format, path, why())))
    }

    /// The marks of a path as bits of `known`; other marks cannot be.
    pub(crate) fn marks(&mut self, format: &'static str, path: &[u8], known: &[(InodeFlags, u32)]) -> Result<u32> {
        let mut left = self.flags.remove(path).unwrap_or_default();
        let mut bits = 0;
        for (flag, bit) in known.iter().filter(|(flag, _)| left.has(*flag)).collect::<Vec<_>>() {
            left = left.without(*flag);
            bits |= bit;
        }
        if left.is_empty() {
            return Ok(bits);
        }
        Err(refuse(format, path, "it has a mark (chattr) that this file system does not know".to_owned()))
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The size of the file system in bytes; the target may be longer.
    pub size: u64,
    /// Bytes that are free.
    pub free: u64,
}

/// The error for what a file system cannot have.
pub(crate) fn refuse(format: &'static str, path: &[u8], why: String) -> DiskError {
    DiskError::Entry { format, path: kiln_oci::name::escape(path), why }
}
