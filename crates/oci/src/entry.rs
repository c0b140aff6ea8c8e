//! One line of a layer: a path and what is there.

use std::collections::BTreeMap;

/// Extended attributes by name.
pub type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// A modification time. Layers that Kiln writes hold whole seconds; layers it reads may hold nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mtime {
    /// Seconds since the epoch; negative before 1970.
    pub secs: i64,
    /// Nanoseconds within the second, below 10⁹.
    pub nanos: u32,
}

impl Mtime {
    /// A time of whole seconds.
    pub fn secs(secs: i64) -> Mtime {
        Mtime { secs, nanos: 0 }
    }
}

/// What every entry has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meta {
    /// Permission bits with setuid, setgid and sticky: `0o7777` at the most.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time.
    pub mtime: Mtime,
    /// Extended attributes. Writers of layers keep only those listed in [`KEPT_XATTRS`].
    pub xattrs: Xattrs,
}

impl Meta {
    /// Metadata of a new entry owned by root, dated at the epoch.
    pub fn mode(mode: u32) -> Meta {
        Meta { mode, ..Meta::default() }
    }
}

/// The extended attributes a layer carries: file capabilities, as BuildKit's layers do.
pub const KEPT_XATTRS: [&[u8]; 1] = [b"security.capability"];

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file of `size` bytes; its body follows in the tar.
    File {
        /// Length in bytes.
        size: u64,
    },
    /// A directory.
    Dir,
    /// A symbolic link, its target stored verbatim.
    Symlink {
        /// Where it points, unresolved.
        target: Vec<u8>,
    },
    /// A hard link to an entry of the same root.
    Hardlink {
        /// Path from the root, without a leading slash.
        target: Vec<u8>,
    },
    /// A character device.
    Char {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    Block {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// The lower layers' entry at this path is gone (`.wh.NAME` in the tar).
    Whiteout,
    /// The lower layers' children of the directory at this path are gone (`.wh..wh..opq` in the tar).
    Opaque,
}

/// One entry of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path from the root: no leading or trailing slash, no `.` or `..` component; empty for the root itself.
    pub path: Vec<u8>,
    /// What is there. For [`EntryKind::Whiteout`] and [`EntryKind::Opaque`], `path` names what is hidden, without the
    /// `.wh.` prefix.
    pub kind: EntryKind,
    /// Owner, mode, times.
    pub meta: Meta,
}
