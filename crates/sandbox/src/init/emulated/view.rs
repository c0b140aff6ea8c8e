//! `/proc` as the command sees it: its own processes, and what the kernel tells everybody.
//!
//! Links that the kernel would follow to the machine's files lead to the command's root, directory or program instead;
//! all other such links lead nowhere. Processes that are not the command's are not there.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2, readlinkat};
use rustix::io::Errno;

use super::world::{Asking, World, kind};

/// Where a path below `/proc` leads.
enum Place {
    /// To a process's root, and a path from there.
    Root(u32, Vec<u8>),
    /// To its working directory.
    Directory(u32, Vec<u8>),
    /// To its program.
    Program(u32),
    /// To what it has open.
    Descriptor(u32, i32, Vec<u8>),
    /// To what the kernel says.
    Kernel(Vec<u8>),
}

impl World {
    fn place(&mut self, who: &Asking, rest: &[u8]) -> Result<Place, Errno> {
        let mut names: Vec<&[u8]> = Vec::new();
        for name in rest.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".") {
            match name {
                b".." => drop(names.pop()),
                name => names.push(name),
            }
        }
        let Some((first, mut names)) = names.split_first() else { return Ok(Place::Kernel(Vec::new())) };
        let process = match *first {
            b"self" | b"thread-self" => who.process,
            b"mounts" | b"net" => {
                let path = [format!("{}/", who.process).as_bytes(), first, b"/", &names.join(&b'/')].concat();
                return Ok(Place::Kernel(path));
            }
            name => match std::str::from_utf8(name).ok().and_then(|name| name.parse::<u32>().ok()) {
                Some(number) if self.processes.has(number) => self.processes.of_thread(number).unwrap_or(number),
                Some(_) => return Err(Errno::NOENT),
                None => return Ok(Place::Kernel([name, b"/", &names.join(&b'/')].concat())),
            },
        };
        if let [b"task", _, rest @ ..] = names
            && matches!(rest.first(), Some(&(b"root" | b"cwd" | b"exe" | b"fd")))
        {
            names = rest;
        }
        let after = |from: usize| names[from..].join(&b'/');
        Ok(match names {
            [b"root", ..] => Place::Root(process, after(1)),
            [b"cwd", ..] => Place::Directory(process, after(1)),
            [b"exe"] => Place::Program(process),
            [b"fd", number, ..] => {
                let number = std::str::from_utf8(number).ok().and_then(|number| number.parse().ok());
                Place::Descriptor(process, number.ok_or(Errno::NOENT)?, after(2))
            }
            _ => Place::Kernel([format!("{process}/").as_bytes(), &after(0)].concat()),
        })
    }

    /// What is at a path below `/proc`.
    pub fn find_in_view(&mut self, who: &Asking, rest: &[u8], follow: bool) -> Result<OwnedFd, Errno> {
        let nofollow = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
        let flags = OFlags::PATH | OFlags::CLOEXEC | nofollow;
        match self.place(who, rest)? {
            Place::Kernel(path) => {
                let path = if path.is_empty() { b"." } else { &path[..] };
                let proc = openat(CWD, "/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
                let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
                let path = path.strip_suffix(b"/").unwrap_or(path);
                openat2(proc, OsStr::from_bytes(path), flags, Mode::empty(), resolve)
            }
            Place::Root(process, path) if path.is_empty() && !follow => kernel_link(process, "root", flags),
            Place::Root(_, path) => {
                let path = [b"/", &path[..]].concat();
                self.find(who, super::find::HERE, &path, follow)
            }
            Place::Directory(process, path) => {
                let cwd = self.processes.get(process)?.cwd.clone();
                let start = self.root.path_of(&*cwd)?;
                if path.is_empty() && !follow {
                    return kernel_link(process, "cwd", flags);
                }
                self.find(who, super::find::HERE, &[&start[..], b"/", &path].concat(), follow)
            }
            Place::Program(process) => {
                let program: Rc<Vec<u8>> = self.processes.get(process)?.program.clone();
                match follow {
                    true => self.find(who, super::find::HERE, &program, true),
                    false => kernel_link(process, "exe", flags),
                }
            }
            Place::Descriptor(process, number, path) if path.is_empty() => {
                kernel_link(process, &format!("fd/{number}"), flags)
            }
            Place::Descriptor(process, number, path) => {
                let dir = kernel_link(process, &format!("fd/{number}"), OFlags::PATH | OFlags::CLOEXEC)?;
                let start = self.root.path_of(&dir)?;
                self.find(who, super::find::HERE, &[&start[..], b"/", &path].concat(), follow)
            }
        }
    }

    /// Where a link leads, in the command's words. Those of the kernel's that lead to files are found by their text.
    pub fn link_text(&mut self, fd: &OwnedFd) -> Result<Vec<u8>, Errno> {
        let stat = fstat(fd)?;
        if kind(&stat) != FileType::Symlink {
            return Err(Errno::INVAL);
        }
        let text = readlinkat(fd, "", Vec::new())?.into_bytes();
        let own = rustix::fs::readlink(super::world::itself(fd), Vec::new())?.into_bytes();
        if !self.root.is_proc(&stat) {
            return Ok(text);
        }
        let names: Vec<&[u8]> = own.split(|byte| *byte == b'/').collect();
        let process = names.get(2).and_then(|name| std::str::from_utf8(name).ok()?.parse::<u32>().ok());
        match (names.last(), process) {
            (Some(&b"root"), _) => Ok(b"/".to_vec()),
            (Some(&b"cwd"), Some(process)) => {
                let cwd = self.processes.get(process)?.cwd.clone();
                self.root.path_of(&*cwd)
            }
            (Some(&b"exe"), Some(process)) => Ok(self.processes.get(process)?.program.to_vec()),
            _ if text.starts_with(b"/") => Ok(self.root.inside(&text).unwrap_or(text)),
            _ => Ok(text),
        }
    }
}

fn kernel_link(process: u32, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    openat(CWD, format!("/proc/{process}/{name}"), flags, Mode::empty())
}
