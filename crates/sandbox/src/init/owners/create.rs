//! New files: they belong to who makes them, or to the group of a directory that has the set-group-id bit.
//!
//! What belongs to root is left to the kernel. All else is made here, so that nobody sees it without its owner.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, mknodat, openat, readlinkat, statat, symlinkat,
};
use rustix::io::Errno;

use super::answer::{Desk, Reply};
use super::place::Place;
use super::who::{Person, umask};

/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;

/// Where something new goes, and whose it is.
struct Spot {
    dir: OwnedFd,
    name: Vec<u8>,
    owner: (u32, u32),
}

impl Spot {
    fn name(&self) -> &OsStr {
        OsStr::from_bytes(&self.name)
    }

    /// A handle on what was made.
    fn made(&self) -> Result<OwnedFd, Errno> {
        openat(&self.dir, self.name(), OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    }
}

impl Desk {
    fn owner_in(&self, dir: &OwnedFd, person: &Person) -> Result<(u32, u32), Errno> {
        let stat = fstat(dir)?;
        let inherits = Mode::from_raw_mode(stat.st_mode & 0o7777).contains(Mode::SGID);
        let gid = if inherits { self.table.of(dir, &stat)?.gid } else { person.group.files };
        Ok((person.user.files, gid))
    }

    /// `None` where the kernel can do it, or has the better word for why it cannot be done.
    fn spot(&mut self, place: &Place) -> Option<Spot> {
        let person = self.people.of(place.thread);
        let (dir, name) = place.parent().ok()??;
        let owner = self.owner_in(&dir, &person).ok()?;
        Some(Spot { dir, name, owner })
    }

    /// `open` with `O_CREAT` or `O_TMPFILE`.
    pub fn open(&mut self, mut place: Place, flags: OFlags, mode: u32, resolve: ResolveFlags) -> Reply {
        if flags.contains(OFlags::TMPFILE) {
            return self.open_nameless(&place, flags, mode);
        }
        for _ in 0..MAX_LINKS {
            let Some(spot) = self.spot(&place) else { return Reply::GoOn };
            match statat(&spot.dir, spot.name(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                    let stays = OFlags::EXCL | OFlags::NOFOLLOW;
                    let Ok(link) = readlinkat(&spot.dir, spot.name(), Vec::new()) else { return Reply::GoOn };
                    if flags.intersects(stays) || !resolve.is_empty() {
                        return Reply::GoOn;
                    }
                    place = place.followed(link.to_bytes());
                }
                Err(Errno::NOENT) if spot.owner != (0, 0) => {
                    return self.make_file(&spot, &place, flags, mode, resolve);
                }
                // It is there already, or is root's.
                _ => return Reply::GoOn,
            }
        }
        Reply::GoOn
    }

    fn make_file(&mut self, spot: &Spot, place: &Place, flags: OFlags, mode: u32, resolve: ResolveFlags) -> Reply {
        if !resolve.is_empty() {
            // How it may get there is checked by the kernel's own walk, which comes too late to be of use here.
            return Reply::Error(Errno::NOSYS);
        }
        let mode = Mode::from_raw_mode(mode & 0o7777 & !umask(place.thread));
        let how = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match openat(&spot.dir, spot.name(), how, mode) {
            Ok(fd) => fd,
            // Somebody was faster.
            Err(Errno::EXIST) => return Reply::GoOn,
            Err(errno) => return Reply::Error(errno),
        };
        match self.table.give_new(&fd, spot.owner) {
            Ok(()) => Reply::Descriptor(fd, flags.contains(OFlags::CLOEXEC)),
            Err(errno) => Reply::Error(errno),
        }
    }

    fn open_nameless(&mut self, place: &Place, flags: OFlags, mode: u32) -> Reply {
        let person = self.people.of(place.thread);
        let Ok(dir) = place.open(true) else { return Reply::GoOn };
        let Ok(owner) = self.owner_in(&dir, &person) else { return Reply::GoOn };
        if owner == (0, 0) {
            return Reply::GoOn;
        }
        let mode = Mode::from_raw_mode(mode & 0o7777 & !umask(place.thread));
        let made = openat(&dir, ".", flags | OFlags::CLOEXEC, mode);
        match made.and_then(|fd| self.table.give_new(&fd, owner).map(|()| fd)) {
            Ok(fd) => Reply::Descriptor(fd, flags.contains(OFlags::CLOEXEC)),
            Err(errno) => Reply::Error(errno),
        }
    }

    /// `mkdir`.
    pub fn make_dir(&mut self, mut place: Place, mode: u32) -> Reply {
        while place.path.len() > 1 && place.path.ends_with(b"/") {
            place.path.pop();
        }
        let Some(spot) = self.spot(&place).filter(|spot| spot.owner != (0, 0)) else { return Reply::GoOn };
        let mode = Mode::from_raw_mode(mode & 0o1777 & !umask(place.thread));
        let made = mkdirat(&spot.dir, spot.name(), mode);
        self.given(made, &spot)
    }

    /// `symlink`.
    pub fn make_link(&mut self, place: &Place, to: &[u8]) -> Reply {
        let Some(spot) = self.spot(place).filter(|spot| spot.owner != (0, 0)) else { return Reply::GoOn };
        let made = symlinkat(OsStr::from_bytes(to), &spot.dir, spot.name());
        self.given(made, &spot)
    }

    /// `mknod`: a device becomes a file that stands for one.
    pub fn make_node(&mut self, place: &Place, mode: u32, device: u64) -> Reply {
        let Some(spot) = self.spot(place) else { return Reply::GoOn };
        let kind = FileType::from_raw_mode(mode);
        let is_device = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice);
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        if (!is_device && spot.owner == (0, 0)) || (is_device && (major, minor) == (0, 0)) {
            return Reply::GoOn;
        }
        if is_device && !self.people.of(place.thread).privileged() {
            return Reply::Error(Errno::PERM);
        }
        let access = Mode::from_raw_mode(mode & 0o7777 & !umask(place.thread));
        if !is_device {
            let made = mknodat(&spot.dir, spot.name(), kind, access, 0);
            return self.given(made, &spot);
        }
        let how = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(&spot.dir, spot.name(), how, access)
            .and_then(|fd| self.table.make_node(&fd, kind == FileType::BlockDevice, (major, minor)));
        self.given(made, &spot)
    }

    fn given(&mut self, made: Result<(), Errno>, spot: &Spot) -> Reply {
        let given = made.and_then(|()| match spot.owner {
            (0, 0) => Ok(()),
            owner => self.table.give_new(&spot.made()?, owner),
        });
        given.map_or_else(Reply::Error, |()| Reply::Value(0))
    }

    /// `openat2`, whose flags lie in memory.
    pub fn open_how(&mut self, place: Place, how: [u64; 3]) -> Reply {
        let [flags, mode, resolve] = how;
        let flags = OFlags::from_bits_retain(u32::try_from(flags).unwrap_or(0));
        if !flags.intersects(OFlags::CREATE | OFlags::from_bits_retain(0x40_0000)) {
            return Reply::GoOn;
        }
        let resolve = ResolveFlags::from_bits_retain(resolve);
        self.open(place, flags, u32::try_from(mode & 0o7777).unwrap_or(0), resolve)
    }
}
