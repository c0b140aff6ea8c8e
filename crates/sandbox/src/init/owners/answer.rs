//! What each call gets: from the kernel where nothing about it is virtual, from here where something is.

use std::os::fd::OwnedFd;

use rustix::fs::{
    AtFlags, FileType, OFlags, PROC_SUPER_MAGIC, ResolveFlags, StatxFlags, fstat, fstatfs, makedev, statx,
};
use rustix::io::Errno;

use super::place::{self, HERE, Place};
use super::table::{Table, Virtual};
use super::who::{Ids, People, Person};
use crate::seccomp::told::{Told, told};
use crate::sys::notify::{self, Call};

/// The answer to a call.
pub enum Reply {
    /// The kernel does it.
    GoOn,
    /// It returns this.
    Value(i64),
    /// It fails.
    Error(Errno),
    /// It returns a copy of this descriptor; whether that one is closed by an exec.
    Descriptor(OwnedFd, bool),
}

/// What is known of users and owners.
pub struct Desk {
    pub table: Table,
    pub people: People,
}

/// The lower half of an argument: what the kernel takes of an `int`.
fn low(argument: u64) -> u32 {
    u32::try_from(argument & 0xffff_ffff).unwrap_or(0)
}

fn descriptor(argument: u64) -> i32 {
    low(argument).cast_signed()
}

/// An id; the largest number means "as it is".
fn id(argument: u64) -> Option<u32> {
    Some(low(argument)).filter(|id| *id != u32::MAX)
}

fn done(result: Result<(), Errno>) -> Reply {
    result.map_or_else(Reply::Error, |()| Reply::Value(0))
}

fn value(id: u32) -> Reply {
    Reply::Value(i64::from(id))
}

impl Desk {
    /// The answer to `call`; what it points to is changed if that is part of it.
    pub fn reply(&mut self, call: &Call, listener: &OwnedFd) -> Reply {
        let Some(what) = told(call.number) else { return Reply::GoOn };
        let a = call.arguments;
        let named = |from: u64, path: u64, may_be_empty: bool| {
            let path = place::text(call.thread, path)?;
            if path.is_empty() && !may_be_empty {
                return Err(Errno::NOENT);
            }
            // Now that it was read, is it still the caller's memory that was?
            if !notify::waits(listener, call.id) {
                return Err(Errno::NOENT);
            }
            Ok(Place { thread: call.thread, from: descriptor(from), path })
        };
        let at = |from: u64, path: u64| named(from, path, false);
        let or_itself = |from, path, flags| named(from, path, low(flags) & AtFlags::EMPTY_PATH.bits() != 0);
        let here = u64::from(HERE.cast_unsigned());
        let held = |fd: u64| Ok(Place { thread: call.thread, from: descriptor(fd), path: Vec::new() });
        let link = |flags: u64| low(flags) & AtFlags::SYMLINK_NOFOLLOW.bits() == 0;
        match what {
            Told::Stat => self.stat(at(here, a[0]), true, a[1]),
            Told::Lstat => self.stat(at(here, a[0]), false, a[1]),
            Told::Fstat => self.stat(held(a[0]), true, a[1]),
            Told::StatAt => self.stat(or_itself(a[0], a[1], a[3]), link(a[3]), a[2]),
            Told::Statx => self.statx(or_itself(a[0], a[1], a[2]), link(a[2]), low(a[3]), a[4]),
            Told::Chown => self.chown(at(here, a[0]), true, (id(a[1]), id(a[2]))),
            Told::Lchown => self.chown(at(here, a[0]), false, (id(a[1]), id(a[2]))),
            Told::Fchown => self.chown(held(a[0]), true, (id(a[1]), id(a[2]))),
            Told::ChownAt => self.chown(or_itself(a[0], a[1], a[4]), link(a[4]), (id(a[2]), id(a[3]))),
            Told::Open => self.create(at(here, a[0]), low(a[1]), low(a[2])),
            Told::Creat => {
                let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::TRUNC;
                self.create(at(here, a[0]), flags.bits(), low(a[1]))
            }
            Told::OpenAt => self.create(at(a[0], a[1]), low(a[2]), low(a[3])),
            Told::OpenAt2 => self.create_how(at(a[0], a[1]), call.thread, a[2], a[3]),
            Told::Mkdir => at(here, a[0]).map_or(Reply::GoOn, |place| self.make_dir(place, low(a[1]))),
            Told::MkdirAt => at(a[0], a[1]).map_or(Reply::GoOn, |place| self.make_dir(place, low(a[2]))),
            Told::Mknod => at(here, a[0]).map_or(Reply::GoOn, |place| self.make_node(&place, low(a[1]), a[2])),
            Told::MknodAt => at(a[0], a[1]).map_or(Reply::GoOn, |place| self.make_node(&place, low(a[2]), a[3])),
            Told::Symlink => self.link(at(here, a[1]), call.thread, a[0]),
            Told::SymlinkAt => self.link(at(a[1], a[2]), call.thread, a[0]),
            _ => self.identity(what, call),
        }
    }

    fn link(&mut self, place: Result<Place, Errno>, thread: u32, to: u64) -> Reply {
        match (place, place::text(thread, to)) {
            (Ok(place), Ok(to)) => self.make_link(&place, &to),
            _ => Reply::GoOn,
        }
    }

    fn create(&mut self, place: Result<Place, Errno>, flags: u32, mode: u32) -> Reply {
        let flags = OFlags::from_bits_retain(flags);
        place.map_or(Reply::GoOn, |place| self.open(place, flags, mode, ResolveFlags::empty()))
    }

    fn create_how(&mut self, place: Result<Place, Errno>, thread: u32, how: u64, size: u64) -> Reply {
        let mut bytes = [0; 24];
        if size < 24 || notify::read_memory(thread, how, &mut bytes).is_err() {
            return Reply::GoOn;
        }
        let word = |at: usize| bytes[at * 8..][..8].try_into().map_or(0, u64::from_ne_bytes);
        place.map_or(Reply::GoOn, |place| self.open_how(place, [word(0), word(1), word(2)]))
    }

    /// What is virtual at a place; `None` where the kernel's word is all there is.
    fn look(&self, place: Result<Place, Errno>, follow: bool) -> Option<(OwnedFd, u32, Virtual)> {
        let place = place.ok()?;
        let fd = place.open(follow).ok()?;
        let stat = fstat(&fd).ok()?;
        let found = self.table.of(&fd, &stat).ok().filter(|found| *found != Virtual::default())?;
        Some((fd, place.thread, found))
    }

    fn stat(&self, place: Result<Place, Errno>, follow: bool, to: u64) -> Reply {
        let Some((fd, thread, found)) = self.look(place, follow) else { return Reply::GoOn };
        let Ok(mut stat) = fstat(&fd) else { return Reply::GoOn };
        (stat.st_uid, stat.st_gid) = (found.uid, found.gid);
        if let Some((block, major, minor)) = found.node {
            let kind = if block { FileType::BlockDevice } else { FileType::CharacterDevice };
            stat.st_mode = stat.st_mode & 0o7777 | kind.as_raw_mode();
            stat.st_rdev = makedev(major, minor);
        }
        done(notify::write_memory(thread, to, &notify::bytes_of_stat(&stat)))
    }

    fn statx(&self, place: Result<Place, Errno>, follow: bool, mask: u32, to: u64) -> Reply {
        let Some((fd, thread, found)) = self.look(place, follow) else { return Reply::GoOn };
        let Ok(mut stat) = statx(&fd, "", AtFlags::EMPTY_PATH, StatxFlags::from_bits_retain(mask)) else {
            return Reply::GoOn;
        };
        (stat.stx_uid, stat.stx_gid) = (found.uid, found.gid);
        if let Some((block, major, minor)) = found.node {
            let kind = if block { FileType::BlockDevice } else { FileType::CharacterDevice };
            let kind = u16::try_from(kind.as_raw_mode()).unwrap_or(0);
            stat.stx_mode = stat.stx_mode & 0o7777 | kind;
            (stat.stx_rdev_major, stat.stx_rdev_minor) = (major, minor);
        }
        done(notify::write_memory(thread, to, &notify::bytes_of_statx(&stat)))
    }

    fn chown(&mut self, place: Result<Place, Errno>, follow: bool, to: (Option<u32>, Option<u32>)) -> Reply {
        let change = || {
            let place = place?;
            let fd = place.open(follow)?;
            if fstatfs(&fd)?.f_type == PROC_SUPER_MAGIC {
                return Ok(Reply::GoOn);
            }
            let stat = fstat(&fd)?;
            let now = self.table.of(&fd, &stat)?;
            let person = self.people.of(place.thread);
            may_give(&person, now, to)?;
            self.table.give(&fd, &stat, (to.0.unwrap_or(now.uid), to.1.unwrap_or(now.gid)))?;
            Ok(Reply::Value(0))
        };
        change().unwrap_or_else(Reply::Error)
    }

    fn identity(&mut self, what: Told, call: &Call) -> Reply {
        let (thread, a) = (call.thread, call.arguments);
        let mut person = self.people.of(thread);
        let three = |ids: Ids| {
            let ids = [ids.real, ids.effective, ids.saved];
            done(ids.iter().zip(a).try_for_each(|(id, to)| notify::write_memory(thread, to, &id.to_ne_bytes())))
        };
        let may = person.privileged();
        let changed = match what {
            Told::GetUid => return value(person.user.real),
            Told::GetEuid => return value(person.user.effective),
            Told::GetGid => return value(person.group.real),
            Told::GetEgid => return value(person.group.effective),
            Told::GetResUid => return three(person.user),
            Told::GetResGid => return three(person.group),
            Told::GetGroups => return groups(&person, thread, descriptor(a[0]), a[1]),
            Told::SetFsUid => {
                let old = person.user.set_files(may, low(a[0]));
                self.people.become_other(thread, person);
                return value(old);
            }
            Told::SetFsGid => {
                let old = person.group.set_files(may, low(a[0]));
                self.people.become_other(thread, person);
                return value(old);
            }
            Told::SetUid => person.user.set(may, low(a[0])),
            Told::SetGid => person.group.set(may, low(a[0])),
            Told::SetReUid => person.user.set_two(may, id(a[0]), id(a[1])),
            Told::SetReGid => person.group.set_two(may, id(a[0]), id(a[1])),
            Told::SetResUid => person.user.set_three(may, [id(a[0]), id(a[1]), id(a[2])]),
            Told::SetResGid => person.group.set_three(may, [id(a[0]), id(a[1]), id(a[2])]),
            Told::SetGroups if may => read_groups(thread, low(a[0]), a[1]).map(|mut groups| {
                groups.sort_unstable();
                person.groups = groups;
            }),
            Told::SetGroups => Err(Errno::PERM),
            _ => return Reply::GoOn,
        };
        done(changed.map(|()| self.people.become_other(thread, person)))
    }
}

/// Root may give anything to anybody; others their own to a group they are in.
fn may_give(person: &Person, now: Virtual, (uid, gid): (Option<u32>, Option<u32>)) -> Result<(), Errno> {
    let own = now.uid == person.user.files && uid.is_none_or(|uid| uid == now.uid);
    let group = gid.is_none_or(|gid| gid == now.gid || gid == person.group.files || person.groups.contains(&gid));
    if person.privileged() || (own && group) { Ok(()) } else { Err(Errno::PERM) }
}

/// As many groups as the kernel lets one have.
const MAX_GROUPS: u32 = 65536;

fn groups(person: &Person, thread: u32, room: i32, to: u64) -> Reply {
    let count = i32::try_from(person.groups.len()).unwrap_or(i32::MAX);
    if room < 0 || (room > 0 && room < count) {
        return Reply::Error(Errno::INVAL);
    }
    let bytes: Vec<u8> = person.groups.iter().flat_map(|gid| gid.to_ne_bytes()).collect();
    if room > 0
        && !bytes.is_empty()
        && let Err(errno) = notify::write_memory(thread, to, &bytes)
    {
        return Reply::Error(errno);
    }
    Reply::Value(i64::from(count))
}

fn read_groups(thread: u32, count: u32, from: u64) -> Result<Vec<u32>, Errno> {
    if count > MAX_GROUPS {
        return Err(Errno::INVAL);
    }
    let mut bytes = vec![0; count as usize * 4];
    if count > 0 {
        notify::read_memory(thread, from, &mut bytes)?;
    }
    Ok(bytes.as_chunks::<4>().0.iter().map(|word| u32::from_ne_bytes(*word)).collect())
}
