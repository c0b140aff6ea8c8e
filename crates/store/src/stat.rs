//! What the kernel says about one path: the fields that show whether it changed.

use std::os::fd::AsFd;

use kiln_oci::Mtime;
use rustix::fs::{AtFlags, FileType, Statx, StatxFlags, statx};
use rustix::io::Errno;

/// The type of what is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A character device.
    Char,
    /// A block device.
    Block,
    /// A named pipe.
    Fifo,
    /// A socket; layers cannot hold one.
    Socket,
}

/// One path's state. Two equal values mean that nobody changed it in between: `ctime` cannot be set by a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: FileKind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length in bytes.
    pub size: u64,
    /// Inode number.
    pub ino: u64,
    /// Number of names the inode has.
    pub nlink: u32,
    /// Major and minor number of a device.
    pub rdev: (u32, u32),
    /// Modification time.
    pub mtime: Mtime,
    /// Change time, kept by the kernel.
    pub ctime: Mtime,
}

impl Stat {
    /// The state of `name` in the directory `dir`, a symbolic link not followed.
    pub(crate) fn at(dir: impl AsFd, name: &[u8]) -> Result<Stat, Errno> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        statx(dir, name, flags, StatxFlags::BASIC_STATS).map(|found| Stat::from_statx(&found))
    }

    /// The state of an open file.
    pub(crate) fn of(file: impl AsFd) -> Result<Stat, Errno> {
        statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).map(|found| Stat::from_statx(&found))
    }

    fn from_statx(found: &Statx) -> Stat {
        let raw = u32::from(found.stx_mode);
        let kind = match FileType::from_raw_mode(raw) {
            FileType::Directory => FileKind::Dir,
            FileType::Symlink => FileKind::Symlink,
            FileType::CharacterDevice => FileKind::Char,
            FileType::BlockDevice => FileKind::Block,
            FileType::Fifo => FileKind::Fifo,
            FileType::Socket => FileKind::Socket,
            FileType::RegularFile | FileType::Unknown => FileKind::File,
        };
        Stat {
            kind,
            mode: raw & 0o7777,
            uid: found.stx_uid,
            gid: found.stx_gid,
            size: found.stx_size,
            ino: found.stx_ino,
            nlink: found.stx_nlink,
            rdev: (found.stx_rdev_major, found.stx_rdev_minor),
            mtime: Mtime { secs: found.stx_mtime.tv_sec, nanos: found.stx_mtime.tv_nsec },
            ctime: Mtime { secs: found.stx_ctime.tv_sec, nanos: found.stx_ctime.tv_nsec },
        }
    }

    /// Whether this is overlayfs's mark for a removed name.
    pub(crate) fn is_overlay_whiteout(&self) -> bool {
        self.kind == FileKind::Char && self.rdev == (0, 0)
    }
}
