//! What files carry: modes, owners, times, extended attributes.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{
    AtFlags, FileType, Timespec, Timestamps, UTIME_NOW, XattrFlags, fstat, getxattr, listxattr, removexattr, setxattr,
    utimensat,
};
use rustix::io::Errno;

use super::answer::Named;
use super::world::{Answer, Asking, DONE, Reply, Want, World, has_attributes, itself, kind, low};
use crate::init::owners::table::set_owner;

const SET_USER: u32 = 0o4000;
const SET_GROUP: u32 = 0o2000;
const GROUP_EXECUTES: u32 = 0o010;

/// Rights of a program, as programs name them, and as they are kept where nobody has the right to give any.
const CAPABILITY: &[u8] = b"security.capability";
const KEPT_CAPABILITY: &[u8] = b"user.kiln.capability";
/// What Kiln keeps for itself.
const OURS: [&[u8]; 2] = [b"user.kiln.", b"user.overlay."];

/// The largest value, and the longest list, that the kernel has.
const MAX_VALUE: usize = 65536;

/// Where the times of a file are.
pub enum When {
    Seconds(u64),
    Micros(u64),
    Nanos(u64),
}

/// A file whose attributes are meant.
pub enum Name {
    At(Named),
    Held(i32),
}

impl World {
    fn meant(&mut self, who: &Asking, name: Name) -> Result<OwnedFd, Errno> {
        match name {
            Name::At(named) => self.named(who, named),
            Name::Held(number) => self.held(who, number),
        }
    }

    /// `chmod`.
    pub fn chmod(&mut self, who: &Asking, named: Named, mode: u32) -> Answer {
        let fd = self.named(who, named)?;
        self.chmod_open(who, &fd, mode)
    }

    /// `fchmod`.
    pub fn chmod_held(&mut self, who: &Asking, number: i32, mode: u32) -> Answer {
        let fd = self.held(who, number)?;
        self.chmod_open(who, &fd, mode)
    }

    fn chmod_open(&mut self, who: &Asking, fd: &OwnedFd, mode: u32) -> Answer {
        let stat = fstat(fd)?;
        if kind(&stat) == FileType::Symlink {
            return Err(Errno::OPNOTSUPP);
        }
        let seen = self.seen(fd, &stat)?;
        self.owns(who, &seen)?;
        let person = &self.process(who)?.person;
        let in_group = seen.gid == person.group.files || person.groups.contains(&seen.gid);
        let mode = if person.privileged() || in_group { mode } else { mode & !SET_GROUP };
        self.set_mode(fd, &stat, mode)?;
        DONE
    }

    /// `chown`.
    pub fn chown(&mut self, who: &Asking, named: Named, to: (Option<u32>, Option<u32>)) -> Answer {
        let fd = self.named(who, named)?;
        self.chown_open(who, &fd, to)
    }

    /// `fchown`.
    pub fn chown_held(&mut self, who: &Asking, number: i32, to: (Option<u32>, Option<u32>)) -> Answer {
        let fd = self.held(who, number)?;
        self.chown_open(who, &fd, to)
    }

    fn chown_open(&mut self, who: &Asking, fd: &OwnedFd, to: (Option<u32>, Option<u32>)) -> Answer {
        let stat = fstat(fd)?;
        let seen = self.seen(fd, &stat)?;
        let owner = (to.0.unwrap_or(seen.uid), to.1.unwrap_or(seen.gid));
        let own = self.own;
        let person = &self.process(who)?.person;
        let in_group = owner.1 == person.group.files || person.groups.contains(&owner.1);
        let keeps = seen.uid == person.user.files && owner.0 == seen.uid && (owner.1 == seen.gid || in_group);
        // What is not the command's on the disk is the machine's: a device that it was given.
        let is_ours = stat.st_uid == own || owner == (seen.uid, seen.gid);
        if !is_ours || !(person.privileged() || keeps) {
            return Err(Errno::PERM);
        }
        if stat.st_uid != own {
            return DONE;
        }
        if !has_attributes(&stat) {
            self.table.give(fd, &stat, owner)?;
            return DONE;
        }
        set_owner(&itself(fd), owner)?;
        let is_file = kind(&stat) == FileType::RegularFile;
        if is_file {
            take_capabilities(fd)?;
        }
        // Also where nothing of it changes: the time of the change has to be new.
        self.set_mode(fd, &stat, if is_file { without_rights(seen.mode) } else { seen.mode })?;
        DONE
    }

    /// `utimensat` and its kin.
    pub fn date(&mut self, who: &Asking, named: Named, when: When) -> Answer {
        let fd = self.named(who, named)?;
        self.date_open(who, &fd, &when)
    }

    /// The same of what is open.
    pub fn date_held(&mut self, who: &Asking, number: i32, when: When) -> Answer {
        let fd = self.held(who, number)?;
        self.date_open(who, &fd, &when)
    }

    fn date_open(&mut self, who: &Asking, fd: &OwnedFd, when: &When) -> Answer {
        let times = times(who, when)?;
        let seen = self.seen(fd, &fstat(fd)?)?;
        let is_now = times.last_access.tv_nsec == UTIME_NOW && times.last_modification.tv_nsec == UTIME_NOW;
        let owns = self.owns(who, &seen);
        if is_now {
            owns.or_else(|_| self.may(who, &seen, Want::WRITE))?
        } else {
            owns?
        }
        utimensat(fd, "", &times, AtFlags::EMPTY_PATH)?;
        DONE
    }

    /// `setxattr`.
    pub fn set_attribute(&mut self, who: &Asking, name: Name) -> Answer {
        let fd = self.meant(who, name)?;
        let name = who.memory.text(who.a[1])?;
        let size = usize::try_from(who.a[3]).ok().filter(|size| *size <= MAX_VALUE).ok_or(Errno::TOOBIG)?;
        let mut value = vec![0; size];
        if size > 0 {
            who.memory.read(who.a[2], &mut value)?;
        }
        let flags = XattrFlags::from_bits(low(who.a[4])).ok_or(Errno::INVAL)?;
        let kept = self.kept_name(who, &fd, &name, Want::WRITE)?.ok_or(Errno::PERM)?;
        setxattr(itself(&fd), OsStr::from_bytes(&kept), &value, flags)?;
        DONE
    }

    /// `removexattr`.
    pub fn remove_attribute(&mut self, who: &Asking, name: Name) -> Answer {
        let fd = self.meant(who, name)?;
        let name = who.memory.text(who.a[1])?;
        let kept = self.kept_name(who, &fd, &name, Want::WRITE)?.ok_or(Errno::NODATA)?;
        removexattr(itself(&fd), OsStr::from_bytes(&kept))?;
        DONE
    }

    /// `getxattr`.
    pub fn get_attribute(&mut self, who: &Asking, name: Name) -> Answer {
        let fd = self.meant(who, name)?;
        let name = who.memory.text(who.a[1])?;
        let kept = self.kept_name(who, &fd, &name, Want::READ)?.ok_or(Errno::NODATA)?;
        let mut value = vec![0; MAX_VALUE];
        let length = getxattr(itself(&fd), OsStr::from_bytes(&kept), &mut value[..])?;
        hand_over(who, (who.a[2], who.a[3]), &value[..length])
    }

    /// `listxattr`.
    pub fn list_attributes(&mut self, who: &Asking, name: Name) -> Answer {
        let fd = self.meant(who, name)?;
        let mut list = vec![0; MAX_VALUE];
        let length = listxattr(itself(&fd), &mut list[..])?;
        let mut told = Vec::new();
        for name in list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            let name = if name == KEPT_CAPABILITY { CAPABILITY } else { name };
            if !OURS.iter().any(|ours| name.starts_with(ours)) {
                told.extend_from_slice(name);
                told.push(0);
            }
        }
        hand_over(who, (who.a[1], who.a[2]), &told)
    }

    /// The name under which an attribute is kept; `None` where it cannot be.
    fn kept_name(&mut self, who: &Asking, fd: &OwnedFd, name: &[u8], want: Want) -> Result<Option<Vec<u8>>, Errno> {
        if name.is_empty() || name.len() > 255 {
            return Err(Errno::RANGE);
        }
        if name.starts_with(b"system.") {
            return Err(Errno::OPNOTSUPP);
        }
        if name == CAPABILITY {
            let may = want == Want::READ || self.process(who)?.person.privileged();
            return may.then(|| Some(KEPT_CAPABILITY.to_vec())).ok_or(Errno::PERM);
        }
        if OURS.iter().any(|ours| name.starts_with(ours)) || !name.starts_with(b"user.") {
            return Ok(None);
        }
        self.may_at(who, fd, want)?;
        Ok(Some(name.to_vec()))
    }
}

/// What a change of owner leaves of a program's mode.
fn without_rights(mode: u32) -> u32 {
    let kept = mode & !SET_USER;
    if mode & GROUP_EXECUTES == 0 { kept } else { kept & !SET_GROUP }
}

fn take_capabilities(fd: &OwnedFd) -> Result<(), Errno> {
    match removexattr(itself(fd), OsStr::from_bytes(KEPT_CAPABILITY)) {
        Ok(()) | Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Writes what fits, or says how much there is.
fn hand_over(who: &Asking, (to, size): (u64, u64), bytes: &[u8]) -> Answer {
    if size > 0 {
        if (bytes.len() as u64) > size {
            return Err(Errno::RANGE);
        }
        who.memory.write(to, bytes)?;
    }
    Ok(Reply::Value(bytes.len() as i64))
}

fn times(who: &Asking, when: &When) -> Result<Timestamps, Errno> {
    let address = match when {
        When::Seconds(address) | When::Micros(address) | When::Nanos(address) => *address,
    };
    let time = |seconds: u64, nanoseconds: i64| Timespec { tv_sec: seconds.cast_signed(), tv_nsec: nanoseconds };
    if address == 0 {
        let now = time(0, UTIME_NOW);
        return Ok(Timestamps { last_access: now, last_modification: now });
    }
    if let When::Seconds(_) = when {
        let [read, changed] = who.memory.words::<2>(address)?;
        return Ok(Timestamps { last_access: time(read, 0), last_modification: time(changed, 0) });
    }
    let [read, read_part, changed, changed_part] = who.memory.words::<4>(address)?;
    let part = |part: u64| match when {
        When::Micros(_) if part >= 1_000_000 => Err(Errno::INVAL),
        When::Micros(_) => Ok(part.cast_signed() * 1000),
        _ => Ok(part.cast_signed()),
    };
    Ok(Timestamps { last_access: time(read, part(read_part)?), last_modification: time(changed, part(changed_part)?) })
}
