//! What the command's calls are answered from: its root, its processes, who owns what.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;

use rustix::fs::{FileType, Mode, Stat, fstat};
use rustix::io::Errno;

use super::find::Root;
use super::memory::Memory;
use super::processes::{Process, Processes};
use crate::init::owners::table::{Table, given_mode, set_mode};

/// All that is known.
pub struct World {
    pub root: Root,
    pub processes: Processes,
    pub table: Table,
    /// What the machine is called.
    pub hostname: String,
    /// The one id everything of the command's has on the disk.
    pub own: u32,
}

/// The answer to a call.
pub enum Reply {
    /// It returns this.
    Value(i64),
    /// It returns a copy of this descriptor; whether that one is closed by an exec.
    Descriptor(OwnedFd, bool),
    /// It succeeds once the caller's descriptor of that number is a copy of this one, closed by an exec or not.
    Replaced(OwnedFd, u32, bool),
    /// It opens this file in the end, which may take until somebody else opens it too.
    Opens(OwnedFd, u32),
    /// The kernel does it.
    GoOn,
}

/// What is answered, or the error.
pub type Answer = Result<Reply, Errno>;

/// Nothing more to say.
pub const DONE: Answer = Ok(Reply::Value(0));

/// A call, by whom.
pub struct Asking {
    pub thread: u32,
    pub process: u32,
    pub a: [u64; 6],
    pub memory: Rc<Memory>,
}

/// The lower half of an argument: what the kernel takes of an `int`.
pub fn low(argument: u64) -> u32 {
    u32::try_from(argument & 0xffff_ffff).unwrap_or(0)
}

/// As a descriptor.
pub fn descriptor(argument: u64) -> i32 {
    low(argument).cast_signed()
}

/// What a command sees of a file that differs from what is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub uid: u32,
    pub gid: u32,
    /// Permissions, with the three bits above them.
    pub mode: u32,
    /// Whether it is a block device, and its numbers.
    pub node: Option<(bool, u32, u32)>,
}

/// What one wants to do with a file: the bits of a class of users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want(pub u32);

impl Want {
    pub const EXECUTE: Want = Want(1);
    pub const WRITE: Want = Want(2);
    pub const READ: Want = Want(4);
}

/// The path by which a handle can be used where a call wants one.
pub fn itself(fd: impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))
}

/// What it is.
pub fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Whether it can have attributes.
pub fn has_attributes(stat: &Stat) -> bool {
    matches!(kind(stat), FileType::RegularFile | FileType::Directory)
}

impl World {
    /// The process that asks.
    pub fn process(&mut self, who: &Asking) -> Result<&mut Process, Errno> {
        self.processes.get(who.process)
    }

    /// What a command sees of a file.
    pub fn seen(&self, fd: &OwnedFd, stat: &Stat) -> Result<Seen, Errno> {
        let mode = stat.st_mode & 0o7777;
        if stat.st_uid != self.own {
            return Ok(Seen { uid: stat.st_uid, gid: stat.st_gid, mode, node: None });
        }
        let found = self.table.of(fd, stat)?;
        let mode = if has_attributes(stat) { given_mode(fd)?.unwrap_or(mode) } else { mode };
        Ok(Seen { uid: found.uid, gid: found.gid, mode, node: found.node })
    }

    /// Gives it a mode.
    pub fn set_mode(&self, fd: impl AsFd, stat: &Stat, mode: u32) -> Result<(), Errno> {
        match has_attributes(stat) {
            true => set_mode(fd, mode),
            false => rustix::fs::chmod(itself(fd), Mode::from_raw_mode(mode & 0o777)),
        }
    }

    /// Whether whoever asks may do that, by the file's owner and mode.
    pub fn may(&mut self, who: &Asking, seen: &Seen, want: Want) -> Result<(), Errno> {
        let person = &self.process(who)?.person;
        if person.privileged() {
            return Ok(());
        }
        let class = if seen.uid == person.user.files {
            6
        } else if seen.gid == person.group.files || person.groups.contains(&seen.gid) {
            3
        } else {
            0
        };
        if seen.mode >> class & want.0 == want.0 { Ok(()) } else { Err(Errno::ACCESS) }
    }

    /// Whether whoever asks may change what belongs to the file's owner.
    pub fn owns(&mut self, who: &Asking, seen: &Seen) -> Result<(), Errno> {
        let person = &self.process(who)?.person;
        if person.privileged() || person.user.files == seen.uid { Ok(()) } else { Err(Errno::PERM) }
    }

    /// Whether whoever asks may do that with what is open as `fd`.
    pub fn may_at(&mut self, who: &Asking, fd: &OwnedFd, want: Want) -> Result<(), Errno> {
        if self.process(who)?.person.privileged() {
            return Ok(());
        }
        let seen = self.seen(fd, &fstat(fd)?)?;
        self.may(who, &seen, want)
    }
}
