//! What a path of the command's means: everything is looked up below its root, by the kernel.
//!
//! The one thing the kernel cannot find there is `/proc`: where a link leads into it, the path is walked here, name by
//! name, and the rest is a [`view`](super::view).

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2, readlinkat};
use rustix::io::Errno;

use super::world::{Asking, World, itself, kind};

/// As many links as the kernel follows in one path.
const MAX_LINKS: usize = 40;

/// `AT_FDCWD`: the working directory.
pub const HERE: i32 = -100;

/// The root directory.
pub struct Root {
    dir: OwnedFd,
    /// Where it is on the machine.
    path: Vec<u8>,
    /// The device of the kernel's `/proc`.
    proc_device: u64,
}

/// What relative paths start from.
pub enum Start {
    Here(Rc<OwnedFd>),
    At(OwnedFd),
}

impl AsFd for Start {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Start::Here(fd) => fd.as_fd(),
            Start::At(fd) => fd.as_fd(),
        }
    }
}

/// Where something new goes, or something that is there is: a directory, and a name in it.
pub struct Spot {
    pub dir: OwnedFd,
    pub name: Vec<u8>,
    /// Whether the path says that it is a directory.
    pub slash: bool,
}

impl Spot {
    pub fn name(&self) -> &OsStr {
        OsStr::from_bytes(&self.name)
    }

    /// Whether the name is one that can be made or removed.
    pub fn is_plain(&self) -> bool {
        !matches!(&self.name[..], b"." | b"..")
    }

    /// A handle on what is there, itself and not where it leads.
    pub fn there(&self) -> Result<OwnedFd, Errno> {
        openat(&self.dir, self.name(), OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    }
}

fn flags(follow: bool) -> OFlags {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    if follow { flags } else { flags | OFlags::NOFOLLOW }
}

fn open(dir: impl AsFd, path: &[u8], follow: bool, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    loop {
        let how = resolve | ResolveFlags::NO_MAGICLINKS;
        match openat2(&dir, OsStr::from_bytes(path), flags(follow), Mode::empty(), how) {
            // A rename elsewhere made the walk unsure.
            Err(Errno::AGAIN) => {}
            result => return result,
        }
    }
}

impl Root {
    /// The root that is a directory of the machine.
    pub fn open(path: &std::path::Path) -> Result<Root, Errno> {
        let dir = openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let path = rustix::fs::readlink(itself(&dir), Vec::new())?.into_bytes();
        Ok(Root { dir, path, proc_device: rustix::fs::stat("/proc/self/status")?.st_dev })
    }

    pub fn dir(&self) -> &OwnedFd {
        &self.dir
    }

    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// Whether something is in the kernel's `/proc`.
    pub fn is_proc(&self, stat: &rustix::fs::Stat) -> bool {
        stat.st_dev == self.proc_device
    }

    /// A path of the machine as the command sees it; none outside of the root.
    pub fn inside(&self, path: &[u8]) -> Option<Vec<u8>> {
        match path.strip_prefix(&self.path[..])? {
            b"" => Some(b"/".to_vec()),
            rest if rest.starts_with(b"/") => Some(rest.to_vec()),
            _ => None,
        }
    }

    /// The path at which the command sees what is open.
    pub fn path_of(&self, fd: impl AsFd) -> Result<Vec<u8>, Errno> {
        let path = rustix::fs::readlink(itself(&fd), Vec::new())?.into_bytes();
        if path.starts_with(b"/proc/") && fstat(&fd)?.st_dev == self.proc_device {
            return Ok(path);
        }
        if path.ends_with(b" (deleted)") && fstat(&fd)?.st_nlink == 0 {
            return Err(Errno::NOENT);
        }
        self.inside(&path).ok_or(Errno::NOENT)
    }
}

fn joined(start: &[u8], path: &[u8]) -> Vec<u8> {
    [start, b"/", path].concat()
}

/// What of an absolute path is below `/proc`, if that is where it begins.
fn below_proc(path: &[u8]) -> Option<&[u8]> {
    let mut rest = path;
    loop {
        rest = match rest {
            [b'/', after @ ..] => after,
            [b'.', b'/', after @ ..] => after,
            _ => break,
        };
    }
    match rest.strip_prefix(b"proc")? {
        b"" => Some(b""),
        [b'/', after @ ..] => Some(after),
        _ => None,
    }
}

impl World {
    /// What relative paths of a thread start from.
    pub fn start(&mut self, who: &Asking, from: i32) -> Result<Start, Errno> {
        if from == HERE {
            return Ok(Start::Here(self.process(who)?.cwd.clone()));
        }
        self.held(who, from).map(Start::At)
    }

    /// What a thread has open.
    pub fn held(&self, who: &Asking, number: i32) -> Result<OwnedFd, Errno> {
        let path = format!("/proc/{}/fd/{number}", who.thread);
        openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| match errno {
            Errno::NOENT => Errno::BADF,
            errno => errno,
        })
    }

    /// What is at a path, as a handle that can only be looked at.
    pub fn find(&mut self, who: &Asking, from: i32, path: &[u8], follow: bool) -> Result<OwnedFd, Errno> {
        if path.is_empty() {
            return Err(Errno::NOENT);
        }
        if path.starts_with(b"/") {
            return self.find_absolute(who, path, follow);
        }
        let start = self.start(who, from)?;
        if fstat(&start)?.st_dev != self.root.proc_device {
            match open(&start, path, follow, ResolveFlags::BENEATH) {
                Err(Errno::NOENT) if !leads_on(&start, path) => return Err(Errno::NOENT),
                Err(Errno::XDEV | Errno::NOENT) => {}
                result => return result,
            }
        }
        let path = joined(&self.root.path_of(&start)?, path);
        self.find_absolute(who, &path, follow)
    }

    fn find_absolute(&mut self, who: &Asking, path: &[u8], follow: bool) -> Result<OwnedFd, Errno> {
        if let Some(rest) = below_proc(path).filter(|rest| !rest.is_empty()) {
            return self.find_in_view(who, rest, follow);
        }
        match open(&self.root.dir, path, follow, ResolveFlags::IN_ROOT) {
            Err(Errno::NOENT) if leads_on(&self.root.dir, path) => self.walk(who, path, follow),
            result => result,
        }
    }

    /// Follows a path name by name, for it may lead to where the kernel finds nothing.
    fn walk(&mut self, who: &Asking, path: &[u8], follow: bool) -> Result<OwnedFd, Errno> {
        let names = |path: &[u8]| -> Vec<Vec<u8>> {
            path.split(|b| *b == b'/').filter(|n| !n.is_empty() && *n != b".").map(<[u8]>::to_vec).collect()
        };
        let mut todo: VecDeque<Vec<u8>> = names(path).into();
        let (mut real, mut links): (Vec<Vec<u8>>, usize) = (Vec::new(), 0);
        while let Some(name) = todo.pop_front() {
            if name == b".." {
                real.pop();
                continue;
            }
            if real.is_empty() && name == b"proc" && !todo.is_empty() {
                return self.find_in_view(who, &Vec::from(todo).join(&b'/'), follow);
            }
            real.push(name);
            let fd = open(&self.root.dir, &real.join(&b'/'), false, ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS)?;
            let is_link = kind(&fstat(&fd)?) == FileType::Symlink;
            if !is_link || (todo.is_empty() && !follow) {
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::LOOP);
            }
            let target = readlinkat(&fd, "", Vec::new())?.into_bytes();
            real.pop();
            if target.starts_with(b"/") {
                real.clear();
            }
            names(&target).into_iter().rev().for_each(|name| todo.push_front(name));
        }
        let path = [&b"/"[..], &real.join(&b'/')].concat();
        open(&self.root.dir, &path, follow, ResolveFlags::IN_ROOT)
    }

    /// The directory that the last name of a path is in, and that name.
    pub fn spot(&mut self, who: &Asking, from: i32, path: &[u8]) -> Result<Spot, Errno> {
        if path.is_empty() {
            return Err(Errno::NOENT);
        }
        let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |at| at + 1);
        let (whole, slash) = (&path[..end], end < path.len());
        let cut = whole.iter().rposition(|byte| *byte == b'/');
        let (dir, name) = match cut {
            _ if whole.is_empty() => (b"/".to_vec(), &b"."[..]),
            Some(at) => ([&whole[..=at], b"."].concat(), &whole[at + 1..]),
            None => (b".".to_vec(), whole),
        };
        if name.len() > 255 {
            return Err(Errno::NAMETOOLONG);
        }
        Ok(Spot { dir: self.find(who, from, &dir, true)?, name: name.to_vec(), slash })
    }
}

/// Whether links are on the way of a path at whose end nothing was found.
fn leads_on(dir: impl AsFd, path: &[u8]) -> bool {
    open(dir, path, true, ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS).is_err_and(|errno| errno == Errno::LOOP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_proc_is_known() {
        for (path, rest) in [("/proc", Some("")), ("//proc/self/fd", Some("self/fd")), ("/./proc/1", Some("1"))] {
            assert_eq!(below_proc(path.as_bytes()), rest.map(str::as_bytes), "{path}");
        }
        for path in ["/", "/procx", "/a/proc/self", "/proc.d/x"] {
            assert_eq!(below_proc(path.as_bytes()), None, "{path}");
        }
    }

    #[test]
    fn paths_of_the_machine_are_seen_from_the_root() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("root/a")).unwrap();
        let root = Root::open(&dir.path().join("root")).unwrap();
        let at = |name: &str| root.path_of(std::fs::File::open(dir.path().join(name)).unwrap());
        assert_eq!(at("root").unwrap(), b"/");
        assert_eq!(at("root/a").unwrap(), b"/a");
        assert_eq!(at("."), Err(Errno::NOENT));
        assert_eq!(root.inside(&[root.path(), b"x"].concat()), None);
    }
}
