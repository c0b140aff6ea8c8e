//! The ext4 file system: a writer and a reader, without a mount, a loop device or another tool.
//!
//! [`write`] one pass over the files; `e2fsck`, `resize2fs` and the kernel take what it makes for `mke2fs`'s
//! [`read`] ext2 to ext4, checked as it goes, with what the journal has
//! [`hash`] [`acl`] [`raw`] what both need to know of the format
//!
//! Adding a feature that is read: its bit in [`raw`], its row in the reader's list of what it knows.

pub(crate) mod acl;
pub(crate) mod hash;
pub(crate) mod raw;
pub mod read;
pub mod write;

pub use read::{Body, Image, Superblock};
pub use write::{InodeFlags, Options, Plan, Summary, Writer};
