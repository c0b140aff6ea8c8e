//! Which call gets what: the arguments of each, taken apart.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::find::HERE;
use super::marks::{Name, When};
use super::world::{Answer, Asking, Reply, World, descriptor, low};
use crate::seccomp::asked::Asked;

const EMPTY_PATH: u32 = AtFlags::EMPTY_PATH.bits();
const NOFOLLOW: u32 = AtFlags::SYMLINK_NOFOLLOW.bits();
const FOLLOW: u32 = AtFlags::SYMLINK_FOLLOW.bits();
const REMOVEDIR: u32 = AtFlags::REMOVEDIR.bits();

/// An argument that names a file: by a path from a directory, or by a descriptor.
#[derive(Clone, Copy)]
pub struct Named {
    from: i32,
    path: u64,
    follow: bool,
    may_be_empty: bool,
}

impl Named {
    fn at(from: u64, path: u64) -> Named {
        Named { from: descriptor(from), path, follow: true, may_be_empty: false }
    }

    fn here(path: u64) -> Named {
        Named { from: HERE, path, follow: true, may_be_empty: false }
    }

    fn itself(self) -> Named {
        Named { follow: false, ..self }
    }

    fn with(self, flags: u64) -> Named {
        let flags = low(flags);
        Named { follow: flags & NOFOLLOW == 0, may_be_empty: flags & EMPTY_PATH != 0, ..self }
    }
}

impl World {
    /// What is named.
    pub fn named(&mut self, who: &Asking, named: Named) -> Result<OwnedFd, Errno> {
        let path = if named.path == 0 && named.may_be_empty { Vec::new() } else { who.memory.text(named.path)? };
        if !path.is_empty() || !named.may_be_empty {
            return self.find(who, named.from, &path, named.follow);
        }
        match named.from {
            HERE => self.find(who, HERE, b".", true),
            number => self.held(who, number),
        }
    }

    /// The answer to a call.
    pub fn answer(&mut self, asked: Asked, who: &Asking) -> Answer {
        let a = who.a;
        let text = |address: u64| who.memory.text(address);
        match asked {
            Asked::Open => self.open(who, HERE, &text(a[0])?, low(a[1]), low(a[2])),
            Asked::Creat => {
                let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::TRUNC;
                self.open(who, HERE, &text(a[0])?, flags.bits(), low(a[1]))
            }
            Asked::OpenAt => self.open_at(who),
            Asked::OpenAt2 => self.open_how(who),
            Asked::Stat => self.stat(who, Named::here(a[0]), a[1]),
            Asked::Lstat => self.stat(who, Named::here(a[0]).itself(), a[1]),
            Asked::Fstat => self.stat_held(who, descriptor(a[0]), a[1]),
            Asked::StatAt => self.stat(who, Named::at(a[0], a[1]).with(a[3]), a[2]),
            Asked::Statx => self.statx(who, Named::at(a[0], a[1]).with(a[2]), low(a[3]), a[4]),
            Asked::Access => self.access(who, Named::here(a[0]), low(a[1])),
            Asked::AccessAt => self.access(who, Named::at(a[0], a[1]), low(a[2])),
            Asked::AccessAt2 => self.access(who, Named::at(a[0], a[1]).with(a[3]), low(a[2])),
            Asked::Truncate => self.truncate(who, Named::here(a[0]), a[1]),
            Asked::Readlink => self.readlink(who, Named::here(a[0]).itself(), a[1], a[2]),
            Asked::ReadlinkAt => {
                let named = Named { may_be_empty: true, ..Named::at(a[0], a[1]).itself() };
                self.readlink(who, named, a[2], a[3])
            }
            Asked::Statfs => self.statfs(who, Named::here(a[0]), a[1]),
            Asked::Chdir => self.chdir(who, Named::here(a[0])),
            Asked::Fchdir => self.fchdir(who, descriptor(a[0])),
            Asked::Getcwd => self.getcwd(who, a[0], a[1]),
            Asked::Umask => self.umask(who, low(a[0])),
            Asked::Uname => self.uname(who),
            Asked::Bind => self.bind(who),
            Asked::Connect => self.connect(who),
            Asked::SendTo => self.send_to(who),
            _ => self.answer_about_names(asked, who),
        }
    }

    fn answer_about_names(&mut self, asked: Asked, who: &Asking) -> Answer {
        let a = who.a;
        let text = |address: u64| who.memory.text(address);
        match asked {
            Asked::Rename => self.rename(who, (HERE, &text(a[0])?), (HERE, &text(a[1])?), 0),
            Asked::RenameAt => self.rename(who, (descriptor(a[0]), &text(a[1])?), (descriptor(a[2]), &text(a[3])?), 0),
            Asked::RenameAt2 => {
                self.rename(who, (descriptor(a[0]), &text(a[1])?), (descriptor(a[2]), &text(a[3])?), low(a[4]))
            }
            Asked::Mkdir => self.make_dir(who, HERE, &text(a[0])?, low(a[1])),
            Asked::MkdirAt => self.make_dir(who, descriptor(a[0]), &text(a[1])?, low(a[2])),
            Asked::Rmdir => self.remove(who, HERE, &text(a[0])?, true),
            Asked::Unlink => self.remove(who, HERE, &text(a[0])?, false),
            Asked::UnlinkAt if low(a[2]) & !REMOVEDIR != 0 => Err(Errno::INVAL),
            Asked::UnlinkAt => self.remove(who, descriptor(a[0]), &text(a[1])?, low(a[2]) == REMOVEDIR),
            Asked::Link => self.link(who, Named::here(a[0]).itself(), HERE, &text(a[1])?),
            Asked::LinkAt => {
                let (follow, may_be_empty) = (low(a[4]) & FOLLOW != 0, low(a[4]) & EMPTY_PATH != 0);
                let from = Named { follow, may_be_empty, ..Named::at(a[0], a[1]) };
                self.link(who, from, descriptor(a[2]), &text(a[3])?)
            }
            Asked::Symlink => self.make_link(who, &text(a[0])?, HERE, &text(a[1])?),
            Asked::SymlinkAt => self.make_link(who, &text(a[0])?, descriptor(a[1]), &text(a[2])?),
            Asked::Mknod => self.make_node(who, HERE, &text(a[0])?, low(a[1]), a[2]),
            Asked::MknodAt => self.make_node(who, descriptor(a[0]), &text(a[1])?, low(a[2]), a[3]),
            _ => self.answer_about_marks(asked, who),
        }
    }

    fn answer_about_marks(&mut self, asked: Asked, who: &Asking) -> Answer {
        let a = who.a;
        let to = |uid: u64, gid: u64| (id(uid), id(gid));
        match asked {
            Asked::Chmod => self.chmod(who, Named::here(a[0]), low(a[1])),
            Asked::Fchmod => self.chmod_held(who, descriptor(a[0]), low(a[1])),
            Asked::ChmodAt => self.chmod(who, Named::at(a[0], a[1]), low(a[2])),
            Asked::ChmodAt2 => self.chmod(who, Named::at(a[0], a[1]).with(a[3]), low(a[2])),
            Asked::Chown => self.chown(who, Named::here(a[0]), to(a[1], a[2])),
            Asked::Lchown => self.chown(who, Named::here(a[0]).itself(), to(a[1], a[2])),
            Asked::ChownAt => self.chown(who, Named::at(a[0], a[1]).with(a[4]), to(a[2], a[3])),
            Asked::Fchown => self.chown_held(who, descriptor(a[0]), to(a[1], a[2])),
            Asked::Utime => self.date(who, Named::here(a[0]), When::Seconds(a[1])),
            Asked::Utimes => self.date(who, Named::here(a[0]), When::Micros(a[1])),
            Asked::FutimesAt if a[1] == 0 => self.date_held(who, descriptor(a[0]), When::Micros(a[2])),
            Asked::FutimesAt => self.date(who, Named::at(a[0], a[1]), When::Micros(a[2])),
            Asked::UtimensAt if a[1] == 0 => self.date_held(who, descriptor(a[0]), When::Nanos(a[2])),
            Asked::UtimensAt => self.date(who, Named::at(a[0], a[1]).with(a[3]), When::Nanos(a[2])),
            Asked::SetXattr => self.set_attribute(who, Name::At(Named::here(a[0]))),
            Asked::LsetXattr => self.set_attribute(who, Name::At(Named::here(a[0]).itself())),
            Asked::FsetXattr => self.set_attribute(who, Name::Held(descriptor(a[0]))),
            Asked::GetXattr => self.get_attribute(who, Name::At(Named::here(a[0]))),
            Asked::LgetXattr => self.get_attribute(who, Name::At(Named::here(a[0]).itself())),
            Asked::FgetXattr => self.get_attribute(who, Name::Held(descriptor(a[0]))),
            Asked::ListXattr => self.list_attributes(who, Name::At(Named::here(a[0]))),
            Asked::LlistXattr => self.list_attributes(who, Name::At(Named::here(a[0]).itself())),
            Asked::FlistXattr => self.list_attributes(who, Name::Held(descriptor(a[0]))),
            Asked::RemoveXattr => self.remove_attribute(who, Name::At(Named::here(a[0]))),
            Asked::LremoveXattr => self.remove_attribute(who, Name::At(Named::here(a[0]).itself())),
            Asked::FremoveXattr => self.remove_attribute(who, Name::Held(descriptor(a[0]))),
            _ => self.identity(asked, who),
        }
    }

    fn open_at(&mut self, who: &Asking) -> Answer {
        let a = who.a;
        // In a process that is being made only the stub runs, which opens what it is given.
        if let Some(file) = self.process(who)?.loading.pop_front() {
            return Ok(Reply::Descriptor(file, false));
        }
        let path = who.memory.text(a[1])?;
        self.open(who, descriptor(a[0]), &path, low(a[2]), low(a[3]))
    }

    fn open_how(&mut self, who: &Asking) -> Answer {
        let a = who.a;
        if a[3] < 24 {
            return Err(Errno::INVAL);
        }
        let [flags, mode, resolve] = who.memory.words::<3>(a[2])?;
        let resolve = ResolveFlags::from_bits_retain(resolve);
        // How the kernel is to walk cannot be said of a walk below the root; programs fall back to `openat`.
        if a[3] > 24 || !resolve.is_empty() {
            return Err(Errno::NOSYS);
        }
        let path = who.memory.text(a[1])?;
        let flags = u32::try_from(flags).map_err(|_| Errno::INVAL)?;
        self.open(who, descriptor(a[0]), &path, flags, low(mode))
    }
}

/// An id; the largest number means "as it is".
fn id(argument: u64) -> Option<u32> {
    Some(low(argument)).filter(|id| *id != u32::MAX)
}
