//! Names of files: made, removed, moved.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, fstat, linkat, mkdirat, mknodat, openat, renameat_with,
    symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::answer::Named;
use super::find::Spot;
use super::world::{Answer, Asking, DONE, World, itself, kind};
use crate::init::owners::table::mode_on_disk;

const STICKY: u32 = 0o1000;

impl World {
    /// `mkdir`.
    pub fn make_dir(&mut self, who: &Asking, from: i32, path: &[u8], mode: u32) -> Answer {
        let spot = self.spot(who, from, path)?;
        if !spot.is_plain() {
            return Err(Errno::EXIST);
        }
        self.may_make(who, &spot.dir)?;
        let (mode, group) = self.new_mode(who, &spot.dir, mode & 0o1777, FileType::Directory)?;
        mkdirat(&spot.dir, spot.name(), Mode::from_raw_mode(mode_on_disk(FileType::Directory, mode)))?;
        self.dress(who, spot.there()?, mode, group)?;
        DONE
    }

    /// `symlink`.
    pub fn make_link(&mut self, who: &Asking, to: &[u8], from: i32, path: &[u8]) -> Answer {
        let spot = self.new_spot(who, from, path)?;
        let (_, group) = self.new_mode(who, &spot.dir, 0o777, FileType::Symlink)?;
        symlinkat(OsStr::from_bytes(to), &spot.dir, spot.name())?;
        self.dress(who, spot.there()?, 0o777, group)?;
        DONE
    }

    /// A place for something that is no directory.
    fn new_spot(&mut self, who: &Asking, from: i32, path: &[u8]) -> Result<Spot, Errno> {
        let spot = self.spot(who, from, path)?;
        if !spot.is_plain() || spot.there().is_ok() {
            return Err(Errno::EXIST);
        }
        if spot.slash {
            return Err(Errno::NOENT);
        }
        self.may_make(who, &spot.dir)?;
        Ok(spot)
    }

    /// `mknod`: a device becomes a file that stands for one.
    pub fn make_node(&mut self, who: &Asking, from: i32, path: &[u8], mode: u32, device: u64) -> Answer {
        let kind = match mode & 0o170_000 {
            0 => FileType::RegularFile,
            _ => FileType::from_raw_mode(mode),
        };
        let spot = self.new_spot(who, from, path)?;
        let (mode, group) = self.new_mode(who, &spot.dir, mode, kind)?;
        let access = Mode::from_raw_mode(mode_on_disk(kind, mode));
        let how = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match kind {
            FileType::RegularFile => drop(openat(&spot.dir, spot.name(), how, access)?),
            FileType::Fifo | FileType::Socket => {
                mknodat(&spot.dir, spot.name(), kind, Mode::from_raw_mode(mode & 0o777), 0)?;
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                if !self.process(who)?.person.privileged() {
                    return Err(Errno::PERM);
                }
                let numbers = (rustix::fs::major(device), rustix::fs::minor(device));
                let fd = openat(&spot.dir, spot.name(), how, access)?;
                self.table.make_node(&fd, kind == FileType::BlockDevice, numbers)?;
            }
            _ => return Err(Errno::INVAL),
        }
        self.dress(who, spot.there()?, mode, group)?;
        DONE
    }

    /// `link`.
    pub fn link(&mut self, who: &Asking, named: Named, to: i32, path: &[u8]) -> Answer {
        let source = self.named(who, named)?;
        if kind(&fstat(&source)?) == FileType::Directory {
            return Err(Errno::PERM);
        }
        let spot = self.new_spot(who, to, path)?;
        // By its own name in `/proc`, which needs no right, and brings back what has no name any more.
        linkat(CWD, itself(&source), &spot.dir, spot.name(), AtFlags::SYMLINK_FOLLOW)?;
        DONE
    }

    /// `unlink` and `rmdir`.
    pub fn remove(&mut self, who: &Asking, from: i32, path: &[u8], dir: bool) -> Answer {
        let spot = self.spot(who, from, path)?;
        match (&spot.name[..], dir) {
            (b".", true) => return Err(Errno::INVAL),
            (b"..", true) => return Err(Errno::NOTEMPTY),
            (b"." | b"..", false) => return Err(Errno::ISDIR),
            _ => {}
        }
        if spot.slash && !dir {
            let is_dir = kind(&fstat(spot.there()?)?) == FileType::Directory;
            return Err(if is_dir { Errno::ISDIR } else { Errno::NOTDIR });
        }
        self.may_take(who, &spot)?;
        unlinkat(&spot.dir, spot.name(), if dir { AtFlags::REMOVEDIR } else { AtFlags::empty() })?;
        DONE
    }

    /// Whether whoever asks may take a name away.
    fn may_take(&mut self, who: &Asking, spot: &Spot) -> Result<(), Errno> {
        if self.process(who)?.person.privileged() {
            return Ok(());
        }
        self.may_make(who, &spot.dir)?;
        let dir = self.seen(&spot.dir, &fstat(&spot.dir)?)?;
        if dir.mode & STICKY == 0 || self.owns(who, &dir).is_ok() {
            return Ok(());
        }
        let there: OwnedFd = spot.there()?;
        let seen = self.seen(&there, &fstat(&there)?)?;
        self.owns(who, &seen)
    }

    /// `rename`.
    pub fn rename(&mut self, who: &Asking, from: (i32, &[u8]), to: (i32, &[u8]), flags: u32) -> Answer {
        let (from, to) = (self.spot(who, from.0, from.1)?, self.spot(who, to.0, to.1)?);
        if !from.is_plain() || !to.is_plain() {
            return Err(Errno::BUSY);
        }
        let source = from.there()?;
        let is_dir = kind(&fstat(&source)?) == FileType::Directory;
        if !is_dir && (from.slash || to.slash) {
            return Err(Errno::NOTDIR);
        }
        self.may_take(who, &from)?;
        match to.there() {
            Ok(_) => self.may_take(who, &to)?,
            Err(_) => self.may_make(who, &to.dir)?,
        }
        let flags = RenameFlags::from_bits(flags).ok_or(Errno::INVAL)?;
        if flags.contains(RenameFlags::WHITEOUT) {
            return Err(Errno::INVAL);
        }
        renameat_with(&from.dir, from.name(), &to.dir, to.name(), flags)?;
        DONE
    }
}
