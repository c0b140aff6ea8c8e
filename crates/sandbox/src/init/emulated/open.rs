//! Opening files, and making them.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, makedev, openat, readlinkat};
use rustix::io::Errno;

use super::find::Spot;
use super::world::{Answer, Asking, Reply, Want, World, itself, kind};
use crate::init::owners::table::mode_on_disk;

/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;

/// Devices that every command may use, by the path at which the machine has them.
const DEVICES: [(u32, u32, &str); 6] = [
    (1, 3, "/dev/null"),
    (1, 5, "/dev/zero"),
    (1, 7, "/dev/full"),
    (1, 8, "/dev/random"),
    (1, 9, "/dev/urandom"),
    (5, 0, "/dev/tty"),
];

/// What says where and how something new is made, and not how it is used.
const MAKING: OFlags = OFlags::CREATE.union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::DIRECTORY);

fn wanted(flags: OFlags) -> Want {
    let access = match flags & OFlags::RWMODE {
        OFlags::WRONLY => Want::WRITE.0,
        OFlags::RDWR => Want::READ.0 | Want::WRITE.0,
        _ => Want::READ.0,
    };
    Want(if flags.contains(OFlags::TRUNC) { access | Want::WRITE.0 } else { access })
}

impl World {
    /// `open`.
    pub fn open(&mut self, who: &Asking, from: i32, path: &[u8], flags: u32, mode: u32) -> Answer {
        let flags = OFlags::from_bits_retain(flags);
        if flags.contains(OFlags::TMPFILE) {
            return self.open_nameless(who, from, path, flags, mode);
        }
        if flags.contains(OFlags::PATH) {
            let fd = self.find(who, from, path, !flags.contains(OFlags::NOFOLLOW))?;
            return self.hand_out(fd, flags);
        }
        if flags.contains(OFlags::CREATE | OFlags::EXCL) {
            let spot = self.spot(who, from, path)?;
            return self.make_file(who, &spot, flags, mode);
        }
        match self.find(who, from, path, !flags.contains(OFlags::NOFOLLOW)) {
            Err(Errno::NOENT) if flags.contains(OFlags::CREATE) => self.open_new(who, from, path, flags, mode),
            found => self.open_found(who, found?, flags),
        }
    }

    fn hand_out(&self, fd: OwnedFd, flags: OFlags) -> Answer {
        if flags.contains(OFlags::DIRECTORY) && kind(&fstat(&fd)?) != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        Ok(Reply::Descriptor(fd, flags.contains(OFlags::CLOEXEC)))
    }

    /// Opens what is there.
    fn open_found(&mut self, who: &Asking, fd: OwnedFd, flags: OFlags) -> Answer {
        let stat = fstat(&fd)?;
        let kind = kind(&stat);
        match kind {
            FileType::Symlink => return Err(Errno::LOOP),
            FileType::Directory if flags.contains(OFlags::CREATE) => return Err(Errno::ISDIR),
            FileType::Directory => {}
            _ if flags.contains(OFlags::DIRECTORY) => return Err(Errno::NOTDIR),
            _ => {}
        }
        let is_root = self.process(who)?.person.privileged();
        let seen = match is_root && !(kind == FileType::RegularFile && stat.st_size == 0) {
            true => None,
            false => Some(self.seen(&fd, &stat)?),
        };
        if let Some(seen) = seen {
            self.may(who, &seen, wanted(flags))?;
            if let Some((block, major, minor)) = seen.node {
                return open_device(block, (major, minor), flags);
            }
        }
        let how = flags.difference(MAKING) | OFlags::NOCTTY;
        if kind == FileType::Fifo && !flags.contains(OFlags::NONBLOCK) {
            // Reading and writing at once waits for nobody.
            return Ok(Reply::Opens(fd, how.bits()));
        }
        let opened = openat(CWD, itself(&fd), how | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Reply::Descriptor(opened, flags.contains(OFlags::CLOEXEC)))
    }

    /// Makes what is not there, at the end of links that lead there.
    fn open_new(&mut self, who: &Asking, from: i32, path: &[u8], flags: OFlags, mode: u32) -> Answer {
        let mut path = path.to_vec();
        for _ in 0..MAX_LINKS {
            let spot = self.spot(who, from, &path)?;
            if spot.slash {
                return Err(Errno::ISDIR);
            }
            match readlinkat(&spot.dir, spot.name(), Vec::new()) {
                Ok(_) if flags.contains(OFlags::NOFOLLOW) => return Err(Errno::LOOP),
                Ok(link) => path = followed(&path, link.to_bytes()),
                Err(_) => {
                    return match self.make_file(who, &spot, flags, mode) {
                        // Somebody was faster.
                        Err(Errno::EXIST) => {
                            let found = self.find(who, from, &path, true)?;
                            self.open_found(who, found, flags)
                        }
                        made => made,
                    };
                }
            }
        }
        Err(Errno::LOOP)
    }

    fn make_file(&mut self, who: &Asking, spot: &Spot, flags: OFlags, mode: u32) -> Answer {
        if spot.slash || !spot.is_plain() {
            return Err(Errno::ISDIR);
        }
        self.may_make(who, &spot.dir)?;
        let (mode, group) = self.new_mode(who, &spot.dir, mode, FileType::RegularFile)?;
        let how = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
        let on_disk = Mode::from_raw_mode(mode_on_disk(FileType::RegularFile, mode));
        let fd = openat(&spot.dir, spot.name(), how, on_disk)?;
        self.dress(who, &fd, mode, group)?;
        Ok(Reply::Descriptor(fd, flags.contains(OFlags::CLOEXEC)))
    }

    fn open_nameless(&mut self, who: &Asking, from: i32, path: &[u8], flags: OFlags, mode: u32) -> Answer {
        let dir = self.find(who, from, path, true)?;
        self.may_make(who, &dir)?;
        let (mode, group) = self.new_mode(who, &dir, mode, FileType::RegularFile)?;
        let on_disk = Mode::from_raw_mode(mode_on_disk(FileType::RegularFile, mode));
        let fd = openat(&dir, ".", flags | OFlags::CLOEXEC, on_disk)?;
        self.dress(who, &fd, mode, group)?;
        Ok(Reply::Descriptor(fd, flags.contains(OFlags::CLOEXEC)))
    }

    /// Whether whoever asks may put something into a directory, or take it out.
    pub fn may_make(&mut self, who: &Asking, dir: &OwnedFd) -> Result<(), Errno> {
        self.may_at(who, dir, Want(Want::WRITE.0 | Want::EXECUTE.0))
    }

    /// The mode of something new, and its group where it is that of the directory.
    pub fn new_mode(
        &mut self,
        who: &Asking,
        dir: &OwnedFd,
        mode: u32,
        kind: FileType,
    ) -> Result<(u32, Option<u32>), Errno> {
        const SET_GROUP: u32 = 0o2000;
        let above = self.seen(dir, &fstat(dir)?)?;
        let mode = mode & 0o7777 & !self.process(who)?.umask;
        if above.mode & SET_GROUP == 0 {
            return Ok((mode, None));
        }
        let passed_on = if kind == FileType::Directory { SET_GROUP } else { 0 };
        Ok((mode | passed_on, Some(above.gid)))
    }

    /// Gives something new its mode and its owner.
    pub fn dress(&mut self, who: &Asking, fd: impl AsFd, mode: u32, group: Option<u32>) -> Result<(), Errno> {
        let person = &self.process(who)?.person;
        let owner = (person.user.files, group.unwrap_or(person.group.files));
        let stat = fstat(&fd)?;
        if stat.st_mode & 0o7777 != mode && kind(&stat) != FileType::Symlink {
            self.set_mode(&fd, &stat, mode)?;
        }
        if owner == (0, 0) {
            return Ok(());
        }
        let fd = fd.as_fd().try_clone_to_owned().map_err(|_| Errno::MFILE)?;
        self.table.give_new(&fd, owner)
    }

    /// `truncate`.
    pub fn truncate(&mut self, who: &Asking, named: super::answer::Named, length: u64) -> Answer {
        let fd = self.named(who, named)?;
        self.may_at(who, &fd, Want::WRITE)?;
        let file = openat(CWD, itself(&fd), OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
        if length.cast_signed() < 0 {
            return Err(Errno::INVAL);
        }
        rustix::fs::ftruncate(file, length)?;
        super::world::DONE
    }
}

/// Opens a device of the machine that stands behind a file.
fn open_device(block: bool, (major, minor): (u32, u32), flags: OFlags) -> Answer {
    let known = DEVICES.iter().find(|device| !block && (device.0, device.1) == (major, minor));
    // What is not in a container's list of devices may not be opened there either.
    let (_, _, path) = known.ok_or(Errno::PERM)?;
    let fd = openat(CWD, *path, flags.difference(MAKING) | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty())?;
    let stat = fstat(&fd)?;
    if kind(&stat) != FileType::CharacterDevice || stat.st_rdev != makedev(major, minor) {
        return Err(Errno::NODEV);
    }
    Ok(Reply::Descriptor(fd, flags.contains(OFlags::CLOEXEC)))
}

/// Where a link at this path leads.
fn followed(path: &[u8], link: &[u8]) -> Vec<u8> {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) if !link.starts_with(b"/") => [&path[..=at], link].concat(),
        _ => link.to_vec(),
    }
}
