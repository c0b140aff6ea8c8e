//! What is told of files, and where processes are.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Stat, StatxFlags, fstat, fstatfs, makedev, statx};
use rustix::io::Errno;

use super::answer::Named;
use super::world::{Answer, Asking, DONE, Reply, Seen, Want, World, kind};
use crate::sys::notify::{bytes_of_stat, bytes_of_statfs, bytes_of_statx};

/// The type of what stands for a device.
fn device_type(block: bool) -> u32 {
    if block { FileType::BlockDevice.as_raw_mode() } else { FileType::CharacterDevice.as_raw_mode() }
}

fn told(stat: &Stat, seen: &Seen) -> Stat {
    let mut told = *stat;
    (told.st_uid, told.st_gid) = (seen.uid, seen.gid);
    told.st_mode = stat.st_mode & !0o7777 | seen.mode;
    if let Some((block, major, minor)) = seen.node {
        told.st_mode = device_type(block) | seen.mode;
        told.st_rdev = makedev(major, minor);
    }
    told
}

impl World {
    /// `stat`.
    pub fn stat(&mut self, who: &Asking, named: Named, to: u64) -> Answer {
        let fd = self.named(who, named)?;
        self.stat_open(who, &fd, to)
    }

    /// `fstat`.
    pub fn stat_held(&mut self, who: &Asking, number: i32, to: u64) -> Answer {
        let fd = self.held(who, number)?;
        self.stat_open(who, &fd, to)
    }

    fn stat_open(&mut self, who: &Asking, fd: &OwnedFd, to: u64) -> Answer {
        let stat = fstat(fd)?;
        let seen = self.seen(fd, &stat)?;
        who.memory.write(to, &bytes_of_stat(&told(&stat, &seen)))?;
        DONE
    }

    /// `statx`.
    pub fn statx(&mut self, who: &Asking, named: Named, mask: u32, to: u64) -> Answer {
        let fd = self.named(who, named)?;
        let seen = self.seen(&fd, &fstat(&fd)?)?;
        let mask = StatxFlags::from_bits_retain(mask);
        let mut stat = statx(&fd, "", AtFlags::EMPTY_PATH, mask)?;
        (stat.stx_uid, stat.stx_gid) = (seen.uid, seen.gid);
        let mode = u16::try_from(seen.mode).unwrap_or(0);
        stat.stx_mode = stat.stx_mode & !0o7777 | mode;
        if let Some((block, major, minor)) = seen.node {
            stat.stx_mode = u16::try_from(device_type(block)).unwrap_or(0) | mode;
            (stat.stx_rdev_major, stat.stx_rdev_minor) = (major, minor);
        }
        who.memory.write(to, &bytes_of_statx(&stat))?;
        DONE
    }

    /// `access`: by the real ids, which are seldom others than the effective ones.
    pub fn access(&mut self, who: &Asking, named: Named, want: u32) -> Answer {
        let fd = self.named(who, named)?;
        let stat = fstat(&fd)?;
        let seen = self.seen(&fd, &stat)?;
        if want & !7 != 0 {
            return Err(Errno::INVAL);
        }
        let runs_for_nobody = seen.mode & 0o111 == 0 && kind(&stat) != FileType::Directory;
        if want & Want::EXECUTE.0 != 0 && runs_for_nobody {
            return Err(Errno::ACCESS);
        }
        self.may(who, &seen, Want(want))?;
        DONE
    }

    /// `readlink`.
    pub fn readlink(&mut self, who: &Asking, named: Named, to: u64, size: u64) -> Answer {
        let size = usize::try_from(size & 0xffff_ffff).ok().filter(|size| *size > 0).ok_or(Errno::INVAL)?;
        let fd = self.named(who, named)?;
        let mut text = self.link_text(&fd)?;
        text.truncate(size);
        who.memory.write(to, &text)?;
        Ok(Reply::Value(text.len() as i64))
    }

    /// `statfs`.
    pub fn statfs(&mut self, who: &Asking, named: Named, to: u64) -> Answer {
        let fd = self.named(who, named)?;
        who.memory.write(to, &bytes_of_statfs(&fstatfs(&fd)?))?;
        DONE
    }

    /// `chdir`.
    pub fn chdir(&mut self, who: &Asking, named: Named) -> Answer {
        let fd = self.named(who, named)?;
        self.enter(who, fd)
    }

    /// `fchdir`.
    pub fn fchdir(&mut self, who: &Asking, number: i32) -> Answer {
        let fd = self.held(who, number)?;
        self.enter(who, fd)
    }

    fn enter(&mut self, who: &Asking, fd: OwnedFd) -> Answer {
        if kind(&fstat(&fd)?) != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        self.may_at(who, &fd, Want::EXECUTE)?;
        self.process(who)?.cwd = Rc::new(fd);
        DONE
    }

    /// `getcwd`.
    pub fn getcwd(&mut self, who: &Asking, to: u64, size: u64) -> Answer {
        let cwd = self.process(who)?.cwd.clone();
        let mut path = self.root.path_of(&*cwd)?;
        path.push(0);
        if (path.len() as u64) > size {
            return Err(Errno::RANGE);
        }
        who.memory.write(to, &path)?;
        Ok(Reply::Value(path.len() as i64))
    }

    /// `uname`, with the job's host name.
    pub fn uname(&mut self, who: &Asking) -> Answer {
        const FIELD: usize = 65;
        let ours = rustix::system::uname();
        let fields = [
            ours.sysname().to_bytes(),
            self.hostname.as_bytes(),
            ours.release().to_bytes(),
            ours.version().to_bytes(),
            ours.machine().to_bytes(),
            ours.domainname().to_bytes(),
        ];
        let mut bytes = [0; 6 * FIELD];
        for (to, from) in bytes.chunks_exact_mut(FIELD).zip(fields) {
            let length = from.len().min(FIELD - 1);
            to[..length].copy_from_slice(&from[..length]);
        }
        who.memory.write(who.a[0], &bytes)?;
        DONE
    }

    /// `umask`.
    pub fn umask(&mut self, who: &Asking, mask: u32) -> Answer {
        let process = self.process(who)?;
        let before = std::mem::replace(&mut process.umask, mask & 0o777);
        Ok(Reply::Value(i64::from(before)))
    }
}
