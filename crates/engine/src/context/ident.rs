//! What tells whether a file on disk is still the one that was seen.

use std::os::fd::AsFd;

use kiln_oci::{Meta, Mtime};
use rustix::fs::{AtFlags, FileType, Statx, StatxFlags, statx};
use rustix::io::Errno;

/// A file's times and place. `ctime` cannot be set by a process, so equal values mean equal content, except within the
/// clock's grain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ident {
    /// Device.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Length in bytes.
    pub size: u64,
    /// Modification time.
    pub mtime: Mtime,
    /// Change time.
    pub ctime: Mtime,
}

/// All that one call says about a path.
pub(super) struct Seen {
    pub ident: Ident,
    pub kind: FileType,
    pub nlink: u32,
    pub rdev: (u32, u32),
    /// As a context has it: owned by root, without attributes.
    pub meta: Meta,
}

impl Seen {
    /// What `name` in the directory `dir` is, a link not followed.
    pub(super) fn at(dir: impl AsFd, name: &[u8]) -> Result<Seen, Errno> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        statx(dir, name, flags, StatxFlags::BASIC_STATS).map(|found| Seen::from(&found))
    }

    /// What is open.
    pub(super) fn of(file: impl AsFd) -> Result<Seen, Errno> {
        statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).map(|found| Seen::from(&found))
    }
}

impl From<&Statx> for Seen {
    fn from(x: &Statx) -> Seen {
        let mode = u32::from(x.stx_mode);
        let mtime = Mtime { secs: x.stx_mtime.tv_sec, nanos: x.stx_mtime.tv_nsec };
        let ctime = Mtime { secs: x.stx_ctime.tv_sec, nanos: x.stx_ctime.tv_nsec };
        let dev = u64::from(x.stx_dev_major) << 32 | u64::from(x.stx_dev_minor);
        Seen {
            ident: Ident { dev, ino: x.stx_ino, size: x.stx_size, mtime, ctime },
            kind: FileType::from_raw_mode(mode),
            nlink: x.stx_nlink,
            rdev: (x.stx_rdev_major, x.stx_rdev_minor),
            meta: Meta { mtime, ..Meta::mode(mode & 0o7777) },
        }
    }
}
