//! What a file system is to be like.

use std::collections::BTreeMap;

/// Marks of a file beyond its mode, as `lsattr` shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct InodeFlags(u32);

impl InodeFlags {
    /// Writes to the file are synchronous (`S`).
    pub const SYNC: InodeFlags = InodeFlags(0x8);
    /// Nobody may change, rename or remove it (`i`).
    pub const IMMUTABLE: InodeFlags = InodeFlags(0x10);
    /// It may only be appended to (`a`).
    pub const APPEND: InodeFlags = InodeFlags(0x20);
    /// `dump` leaves it out (`d`).
    pub const NODUMP: InodeFlags = InodeFlags(0x40);
    /// Reading it does not change its access time (`A`).
    pub const NOATIME: InodeFlags = InodeFlags(0x80);
    /// Data goes through the journal (`j`).
    pub const JOURNAL_DATA: InodeFlags = InodeFlags(0x4000);
    /// Changes of the directory are synchronous (`D`).
    pub const DIRSYNC: InodeFlags = InodeFlags(0x1_0000);
    /// The directories in it are to be kept apart (`T`).
    pub const TOPDIR: InodeFlags = InodeFlags(0x2_0000);

    const ALL: u32 = 0x8 | 0x10 | 0x20 | 0x40 | 0x80 | 0x4000 | 0x1_0000 | 0x2_0000;

    /// The marks among what an inode's flags say; what only tells how the inode is stored is left out.
    pub fn from_inode(flags: u32) -> InodeFlags {
        InodeFlags(flags & Self::ALL)
    }

    /// As an inode has them, and as `FS_IOC_GETFLAGS` tells them.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Both.
    #[must_use]
    pub fn with(self, other: InodeFlags) -> InodeFlags {
        InodeFlags(self.0 | other.0)
    }

    /// Without those of `other`.
    #[must_use]
    pub fn without(self, other: InodeFlags) -> InodeFlags {
        InodeFlags(self.0 & !other.0)
    }

    /// The mark that `lsattr` shows as, and `chattr` takes by, this letter; `None` for letters of marks that tell how
    /// an inode is stored.
    pub fn by_letter(letter: char) -> Option<InodeFlags> {
        Some(match letter {
            'S' => InodeFlags::SYNC,
            'i' => InodeFlags::IMMUTABLE,
            'a' => InodeFlags::APPEND,
            'd' => InodeFlags::NODUMP,
            'A' => InodeFlags::NOATIME,
            'j' => InodeFlags::JOURNAL_DATA,
            'D' => InodeFlags::DIRSYNC,
            'T' => InodeFlags::TOPDIR,
            _ => return None,
        })
    }

    /// All marks.
    pub fn all() -> InodeFlags {
        InodeFlags(Self::ALL)
    }

    /// Whether all of `other` is set.
    pub fn has(self, other: InodeFlags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether nothing is set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What a file system is to be like. Equal options and entries give equal bytes.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many bytes it may take. Up to a block group's worth at the end stays unused where it is too small for one.
    pub size: u64,
    /// Its name, at most 16 bytes.
    pub label: String,
    /// What `/etc/fstab` and boot loaders find it by.
    pub uuid: [u8; 16],
    /// When it was made, in seconds since the epoch. Times of change of all inodes are this, too.
    pub time: u32,
    /// How many inodes there are at least; otherwise as many as `mke2fs` makes for its size.
    pub inodes: Option<u32>,
    /// Per cent of the blocks that only root can use.
    pub reserved_percent: u8,
    /// Marks of paths, such as [`InodeFlags::IMMUTABLE`]. A path that never comes is an error.
    pub flags: BTreeMap<Vec<u8>, InodeFlags>,
    /// Whether metadata has checksums (`metadata_csum`). e2fsprogs before 1.43 and GRUB before 2.02 do not know them; a
    /// system that old does not check such a file system, and does not start for it.
    pub checksums: bool,
    /// The target reads as zeros already, as a new file does; otherwise it is made to.
    pub blank: bool,
}

impl Options {
    /// A file system of `size` bytes with Debian's defaults, for a target that may hold anything.
    pub fn new(size: u64, uuid: [u8; 16]) -> Options {
        Options {
            size,
            label: String::new(),
            uuid,
            time: 0,
            inodes: None,
            reserved_percent: 5,
            flags: BTreeMap::new(),
            checksums: true,
            blank: false,
        }
    }
}
