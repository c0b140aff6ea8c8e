//! qcow2, QEMU's format: tables of clusters that grow with what is on the disk.
//!
//! ```text
//! guest offset → L1 table → L2 table → cluster: nowhere | zeros | at a place of the file | compressed at any byte of it
//! ```
//! Every cluster of the file has a count of its users; readers need none of them, checkers want them right.
//!
//! [`write`] version 3, plain or compressed     [`open`] versions 2 and 3

mod read;
mod write;

pub use read::{Backing, Qcow2, open};
pub use write::{Compression, Options, write};

/// The first four bytes.
pub(super) const MAGIC: [u8; 4] = *b"QFI\xfb";
const NAME: &str = "qcow2 image";
/// An L1 or L2 entry whose cluster has one user only.
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
/// Where a table or a cluster is, in an L1 or L2 entry.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// An incompatible feature: the kind of compression is named in the header.
const FEATURE_COMPRESSION: u64 = 1 << 3;
