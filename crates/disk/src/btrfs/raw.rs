//! Numbers as btrfs has them on disk: keys, kinds of items, well-known objects, and structures as bytes.

use kiln_oci::Mtime;

use crate::ext4::raw::get_split;

/// The name errors use for this file system.
pub(crate) const FORMAT: &str = "btrfs file system";

/// Bytes of a node of a tree.
pub(crate) const NODE: usize = 16 << 10;
pub(crate) const NODE64: u64 = 16 << 10;
/// What lengths of chunks are multiples of.
pub(crate) const STRIPE: u64 = 64 << 10;
/// Where the superblock is, and its copies.
pub(crate) const SUPERS: [u64; 3] = [64 << 10, 64 << 20, 256 << 30];
/// Everything is made in one transaction.
pub(crate) const GENERATION: u64 = 1;
/// The first inode of a tree of files: its root directory.
pub(crate) const FIRST_INO: u64 = 256;
pub(crate) const DEVICE: u64 = 1;

/// Trees.
pub(crate) mod tree {
    pub const ROOT: u64 = 1;
    pub const EXTENT: u64 = 2;
    pub const CHUNK: u64 = 3;
    pub const DEV: u64 = 4;
    pub const FS: u64 = 5;
    /// No tree, but the directory of them.
    pub const DIR: u64 = 6;
    pub const CSUM: u64 = 7;
    pub const QUOTA: u64 = 8;
    pub const UUID: u64 = 9;
    pub const FREE_SPACE: u64 = 10;
    pub const RELOCATION: u64 = -9i64 as u64;
}

/// The object of all checksums.
pub(crate) const CSUMS: u64 = -10i64 as u64;
/// The object of all chunks.
pub(crate) const CHUNKS: u64 = 256;

/// Kinds of items.
pub(crate) mod item {
    pub const INODE: u8 = 1;
    pub const INODE_REF: u8 = 12;
    pub const INODE_EXTREF: u8 = 13;
    pub const XATTR: u8 = 24;
    pub const DIR: u8 = 84;
    pub const DIR_INDEX: u8 = 96;
    pub const EXTENT_DATA: u8 = 108;
    pub const CSUM: u8 = 128;
    pub const ROOT: u8 = 132;
    pub const ROOT_BACKREF: u8 = 144;
    pub const ROOT_REF: u8 = 156;
    pub const EXTENT: u8 = 168;
    pub const METADATA: u8 = 169;
    pub const TREE_BLOCK_REF: u8 = 176;
    pub const EXTENT_DATA_REF: u8 = 178;
    pub const BLOCK_GROUP: u8 = 192;
    pub const FREE_SPACE_INFO: u8 = 198;
    pub const FREE_SPACE_EXTENT: u8 = 199;
    pub const DEV_EXTENT: u8 = 204;
    pub const DEV: u8 = 216;
    pub const CHUNK: u8 = 228;
    pub const UUID: u8 = 251;
}

/// What chunks hold.
pub(crate) mod group {
    pub const DATA: u64 = 1;
    pub const SYSTEM: u64 = 2;
    pub const METADATA: u64 = 4;
    /// All of it is there twice.
    pub const DUP: u64 = 1 << 5;
}

/// What an item is found by: object, kind, and a number that the kind gives its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(pub u64, pub u8, pub u64);

impl Key {
    pub const LEN: usize = 17;

    pub fn bytes(self) -> [u8; Key::LEN] {
        let mut b = [0; Key::LEN];
        b[..8].copy_from_slice(&self.0.to_le_bytes());
        b[8] = self.1;
        b[9..].copy_from_slice(&self.2.to_le_bytes());
        b
    }

    /// The key that `bytes` start with, if there are enough of them.
    pub fn read(bytes: &[u8]) -> Option<Key> {
        let kind = *bytes.get(8)?;
        (bytes.len() >= Key::LEN).then(|| Key(get64(bytes, 0), kind, get64(bytes, 9)))
    }
}

/// A field of a structure; zero where the structure ends before it.
pub(crate) fn get64(bytes: &[u8], at: usize) -> u64 {
    get_split(bytes, at, at + 4)
}

/// A structure as it grows.
#[derive(Debug, Default, Clone)]
pub(crate) struct Bytes(pub Vec<u8>);

impl Bytes {
    pub fn u8(mut self, value: u8) -> Bytes {
        self.0.push(value);
        self
    }

    pub fn u16(mut self, value: u16) -> Bytes {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub fn u32(mut self, value: u32) -> Bytes {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub fn u64(mut self, value: u64) -> Bytes {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub fn many(self, values: &[u64]) -> Bytes {
        values.iter().fold(self, |bytes, value| bytes.u64(*value))
    }

    pub fn bytes(mut self, value: &[u8]) -> Bytes {
        self.0.extend(value);
        self
    }

    pub fn zeros(mut self, count: usize) -> Bytes {
        self.0.resize(self.0.len() + count, 0);
        self
    }

    pub fn time(self, time: Mtime) -> Bytes {
        self.u64(time.secs as u64).u32(time.nanos)
    }
}

/// Identifiers that the file system has besides its own: made of that, so that the same seed gives the same disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ids {
    pub fs: [u8; 16],
    pub device: [u8; 16],
    pub chunks: [u8; 16],
    /// Of the top tree of files.
    pub files: [u8; 16],
}

impl Ids {
    pub fn new(fs: [u8; 16]) -> Ids {
        let other = |by: u32, mask: u8| fs.map(|b| b.rotate_left(by) ^ mask);
        Ids { fs, device: other(3, 0x5A), chunks: other(5, 0xC3), files: other(1, 0x96) }
    }

    /// Of a tree of files: the top, or a subvolume.
    pub fn of_files(&self, tree: u64) -> [u8; 16] {
        let mut id = self.files;
        let number = if tree == self::tree::FS { 0 } else { tree };
        id.iter_mut().zip(number.to_le_bytes()).for_each(|(b, n)| *b ^= n);
        id
    }
}
