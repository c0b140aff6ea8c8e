//! Making one thing in a directory that is held open: the system calls behind an entry.
//!
//! Nothing here decides what to make. Names are single components, nothing is followed, and whatever is made is made
//! new (`O_EXCL`, `mknod`, `symlink`), so what a handle or a name refers to is what this call created.
//! The order matters: owner, then mode (a change of owner clears setuid), then capability (so does it), then time.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use kiln_oci::entry::{KEPT_XATTRS, Meta, Mtime};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, fchmod, fchown,
    fsetxattr, futimens, linkat, makedev, mkdirat, mknodat, openat, symlinkat, utimensat,
};
use rustix::io::Errno;

use super::error::{UnpackError, at, create, set_mode, set_time};
use super::{Devices, Owners};
use crate::beneath::shown;
use crate::capability;
use crate::form;
use crate::stat::{FileKind, Stat};

/// The bytes moved at once.
const CHUNK: usize = 128 * 1024;

/// Where a new thing goes: an open directory, a name in it, and the whole path for errors.
#[derive(Clone, Copy)]
pub(super) struct Spot<'a> {
    pub(super) dir: BorrowedFd<'a>,
    pub(super) name: &'a [u8],
    pub(super) path: &'a [u8],
}

/// Makes things with the owners the caller wants; holds the copy buffer.
pub(super) struct Maker {
    owners: Owners,
    devices: Devices,
    buffer: Vec<u8>,
}

impl Maker {
    pub(super) fn new(owners: Owners, devices: Devices) -> Maker {
        Maker { owners, devices, buffer: vec![0; CHUNK] }
    }

    /// A new empty file to write; `Ok(None)` when the name is taken.
    pub(super) fn create_file(&self, spot: Spot<'_>) -> Result<Option<OwnedFd>, UnpackError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        free(openat(spot.dir, spot.name, flags, Mode::RUSR | Mode::WUSR), spot.path)
    }

    /// Writes exactly `size` bytes of `body` to `file`, then the metadata.
    pub(super) fn fill_file(
        &mut self,
        file: &OwnedFd,
        path: &[u8],
        size: u64,
        body: &mut dyn Read,
        meta: &Meta,
    ) -> Result<(), UnpackError> {
        self.copy(file, path, size, body)?;
        self.own_open(file, path, meta)?;
        self.mode_open(file, path, false, meta.mode)?;
        for name in KEPT_XATTRS {
            if let Some(value) = meta.xattrs.get(name).filter(|_| self.owners != Owners::Ignore) {
                let is_capability = name == capability::NAME && self.owners == Owners::Bare;
                let kept = if is_capability { form::CAPABILITY } else { name };
                fsetxattr(file, kept, value, XattrFlags::empty()).map_err(set_xattr(path, name))?;
            }
        }
        futimens(file, &times(meta.mtime)).map_err(set_time(path))
    }

    fn copy(&mut self, file: &OwnedFd, path: &[u8], size: u64, body: &mut dyn Read) -> Result<(), UnpackError> {
        let mut left = size;
        while left > 0 {
            let want = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
            let got = match body.read(&mut self.buffer[..want]) {
                Ok(0) => {
                    let actual = size - left;
                    return Err(UnpackError::Size { path: shown(path), expected: size, actual });
                }
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(UnpackError::ReadBody { path: shown(path), source }),
            };
            write_all(file, &self.buffer[..got])
                .map_err(at(path, |path, source| UnpackError::Write { path, source }))?;
            left -= got as u64;
        }
        Ok(())
    }

    /// A new directory, for its owner only until the unpacking ends; `false` when the name is taken.
    pub(super) fn create_dir(&self, spot: Spot<'_>) -> Result<bool, UnpackError> {
        Ok(free(mkdirat(spot.dir, spot.name, Mode::RWXU), spot.path)?.is_some())
    }

    /// A new symbolic link with its owner and time; `false` when the name is taken.
    pub(super) fn symlink(&self, spot: Spot<'_>, target: &[u8], meta: &Meta) -> Result<bool, UnpackError> {
        if free(symlinkat(target, spot.dir, spot.name), spot.path)?.is_none() {
            return Ok(false);
        }
        self.own_at(spot, meta)?;
        self.date_at(spot, meta.mtime)?;
        Ok(true)
    }

    /// A new device or pipe with its metadata; `false` when the name is taken.
    pub(super) fn node(
        &self,
        spot: Spot<'_>,
        kind: FileType,
        (major, minor): (u32, u32),
        meta: &Meta,
    ) -> Result<bool, UnpackError> {
        if self.devices == Devices::Virtual && kind != FileType::Fifo {
            return self.stand_in(spot, kind == FileType::BlockDevice, (major, minor), meta);
        }
        let made = mknodat(spot.dir, spot.name, kind, Mode::RUSR | Mode::WUSR, makedev(major, minor));
        let made = match made {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) if kind == FileType::Fifo => return Err(create(spot.path)(errno)),
            Err(errno) => {
                return Err(at(spot.path, |path, source| UnpackError::CreateDevice { path, source })(errno));
            }
        };
        if made {
            self.own_at(spot, meta)?;
            // No link can be here: the node was made by the call above, and no other process writes to this tree.
            chmodat(spot.dir, spot.name, Mode::from_raw_mode(meta.mode), AtFlags::empty())
                .map_err(set_mode(spot.path))?;
            self.date_at(spot, meta.mtime)?;
        }
        Ok(made)
    }

    /// A file that stands for a device; `false` when the name is taken.
    fn stand_in(&self, spot: Spot<'_>, block: bool, numbers: (u32, u32), meta: &Meta) -> Result<bool, UnpackError> {
        let Some(file) = self.create_file(spot)? else { return Ok(false) };
        form::set_node(&file, block, numbers).map_err(set_xattr(spot.path, form::NODE))?;
        self.own_open(&file, spot.path, meta)?;
        self.mode_open(&file, spot.path, false, meta.mode)?;
        futimens(&file, &times(meta.mtime)).map_err(set_time(spot.path))?;
        Ok(true)
    }

    /// Owner and mode of a directory.
    pub(super) fn dress(&self, dir: impl AsFd, meta: &Meta) -> Result<(), UnpackError> {
        self.own_open(&dir, b"", meta)?;
        self.mode_open(dir, b"", true, meta.mode & 0o7777)
    }

    /// Mode of an open file or directory.
    pub(super) fn mode_open(&self, file: impl AsFd, path: &[u8], is_dir: bool, mode: u32) -> Result<(), UnpackError> {
        match self.owners {
            Owners::Bare => form::set_mode(file, is_dir, mode),
            _ => fchmod(file, Mode::from_raw_mode(mode)),
        }
        .map_err(set_mode(path))
    }

    /// What an open file has that its [`Stat`] does not tell.
    pub(super) fn undressed(&self, file: impl AsFd, meta: &mut Meta) -> Result<(), Errno> {
        if matches!(self.owners, Owners::Virtual | Owners::Bare) {
            (meta.uid, meta.gid) = form::owner_of(&file)?;
        }
        let kept = if self.owners == Owners::Bare { form::CAPABILITY } else { capability::NAME };
        if self.owners == Owners::Bare {
            meta.mode = form::mode_of(&file, meta.mode)?;
        }
        if let Some(value) = capability::under(kept, file)? {
            meta.xattrs.insert(capability::NAME.to_vec(), value);
        }
        Ok(())
    }

    /// overlayfs's mark for a removed name; `false` when the name is taken.
    pub(super) fn whiteout(&self, spot: Spot<'_>) -> Result<bool, UnpackError> {
        let made = mknodat(spot.dir, spot.name, FileType::CharacterDevice, Mode::empty(), makedev(0, 0));
        Ok(free(made, spot.path)?.is_some())
    }

    /// A second name for an existing file; `Ok(false)` when the name is taken.
    pub(super) fn link(&self, spot: Spot<'_>, target: Spot<'_>) -> Result<bool, UnpackError> {
        match linkat(target.dir, target.name, spot.dir, spot.name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(errno) => {
                let (path, target) = (shown(spot.path), shown(target.path));
                Err(UnpackError::Link { path, target, source: errno.into() })
            }
        }
    }

    pub(super) fn own_at(&self, spot: Spot<'_>, meta: &Meta) -> Result<(), UnpackError> {
        if matches!(self.owners, Owners::Virtual | Owners::Bare) {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let may_have = Stat::at(spot.dir, spot.name).map_err(create(spot.path))?.kind;
            return match may_have {
                FileKind::File | FileKind::Dir => {
                    let file = openat(spot.dir, spot.name, flags, Mode::empty()).map_err(create(spot.path))?;
                    self.own_open(file, spot.path, meta)
                }
                _ => Ok(()),
            };
        }
        self.own(spot.path, meta, |uid, gid| chownat(spot.dir, spot.name, uid, gid, AtFlags::SYMLINK_NOFOLLOW))
    }

    pub(super) fn own_open(&self, file: impl AsFd, path: &[u8], meta: &Meta) -> Result<(), UnpackError> {
        self.own(path, meta, |uid, gid| match (self.owners, uid, gid) {
            (Owners::Virtual | Owners::Bare, Some(uid), Some(gid)) => form::set_owner(file, uid.as_raw(), gid.as_raw()),
            (_, uid, gid) => fchown(file, uid, gid),
        })
    }

    fn own(
        &self,
        path: &[u8],
        meta: &Meta,
        set: impl FnOnce(Option<Uid>, Option<Gid>) -> Result<(), Errno>,
    ) -> Result<(), UnpackError> {
        if self.owners == Owners::Ignore {
            return Ok(());
        }
        let (uid, gid) = (meta.uid, meta.gid);
        if uid == u32::MAX || gid == u32::MAX {
            return Err(UnpackError::BadEntry { path: shown(path), why: "4294967295 is not an owner" });
        }
        set(Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(|errno| match errno {
            Errno::INVAL => UnpackError::NoSuchId { path: shown(path), uid, gid },
            errno => UnpackError::SetOwner { path: shown(path), uid, gid, source: errno.into() },
        })
    }

    pub(super) fn date_at(&self, spot: Spot<'_>, mtime: Mtime) -> Result<(), UnpackError> {
        utimensat(spot.dir, spot.name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW).map_err(set_time(spot.path))
    }
}

/// `None` when the name is taken.
fn free<T>(made: Result<T, Errno>, path: &[u8]) -> Result<Option<T>, UnpackError> {
    match made {
        Ok(made) => Ok(Some(made)),
        Err(Errno::EXIST) => Ok(None),
        Err(errno) => Err(create(path)(errno)),
    }
}

pub(super) fn set_xattr<'a>(path: &'a [u8], name: &'a [u8]) -> impl FnOnce(Errno) -> UnpackError + 'a {
    move |errno| UnpackError::SetXattr {
        path: shown(path),
        name: name.escape_ascii().to_string(),
        source: errno.into(),
    }
}

pub(super) fn times(mtime: Mtime) -> Timestamps {
    let at = Timespec { tv_sec: mtime.secs, tv_nsec: i64::from(mtime.nanos.min(999_999_999)) };
    Timestamps { last_access: at, last_modification: at }
}

fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(0) => return Err(Errno::IO),
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
