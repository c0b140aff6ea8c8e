//! Paths as another process means them: from its working directory, its root, its descriptors, its memory.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, openat, openat2, stat};
use rustix::io::Errno;

use crate::sys::notify;

/// As long as a path may be, with its end.
const MAX_PATH: usize = 4096;
const PAGE: u64 = 4096;

/// A path, and what it starts from where it is relative.
#[derive(Clone, Debug)]
pub struct Place {
    pub thread: u32,
    /// A descriptor, or `AT_FDCWD`.
    pub from: i32,
    pub path: Vec<u8>,
}

/// `AT_FDCWD`: the working directory.
pub const HERE: i32 = -100;

/// The text at an address of the thread's process; no text for no address.
pub fn text(thread: u32, mut address: u64) -> Result<Vec<u8>, Errno> {
    let mut text = Vec::new();
    while address != 0 && text.len() < MAX_PATH {
        // Beyond the page there may be nothing.
        let room = usize::try_from(PAGE - address % PAGE).unwrap_or(1).min(MAX_PATH - text.len()).min(256);
        let mut piece = vec![0; room];
        notify::read_memory(thread, address, &mut piece)?;
        if let Some(end) = piece.iter().position(|byte| *byte == 0) {
            text.extend_from_slice(&piece[..end]);
            return Ok(text);
        }
        text.extend_from_slice(&piece);
        address += room as u64;
    }
    if address == 0 { Ok(text) } else { Err(Errno::NAMETOOLONG) }
}

impl Place {
    /// What is there, as a handle that can only be looked at.
    pub fn open(&self, follow: bool) -> Result<OwnedFd, Errno> {
        let flags = if follow { OFlags::PATH } else { OFlags::PATH | OFlags::NOFOLLOW };
        if self.path.is_empty() {
            return self.start();
        }
        self.open_with(&self.path, flags)
    }

    /// The directory that the last name is in, and that name. No name where the path ends in a directory by its form.
    pub fn parent(&self) -> Result<Option<(OwnedFd, Vec<u8>)>, Errno> {
        let cut = self.path.iter().rposition(|byte| *byte == b'/');
        let (dir, name) = match cut {
            Some(0) => (&b"/"[..], &self.path[1..]),
            Some(at) => (&self.path[..at], &self.path[at + 1..]),
            None => (&b"."[..], &self.path[..]),
        };
        if name.is_empty() || name == b"." || name == b".." {
            return Ok(None);
        }
        Ok(Some((self.open_with(dir, OFlags::PATH | OFlags::DIRECTORY)?, name.to_vec())))
    }

    /// Where a link at this place leads.
    pub fn followed(&self, link: &[u8]) -> Place {
        let cut = self.path.iter().rposition(|byte| *byte == b'/');
        let path = match cut {
            _ if link.starts_with(b"/") => link.to_vec(),
            Some(at) => [&self.path[..=at], link].concat(),
            None => link.to_vec(),
        };
        Place { path, ..self.clone() }
    }

    /// What relative paths start from.
    fn start(&self) -> Result<OwnedFd, Errno> {
        openat(CWD, self.start_link(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
    }

    fn start_link(&self) -> String {
        match self.from {
            HERE => format!("/proc/{}/cwd", self.thread),
            fd => format!("/proc/{}/fd/{fd}", self.thread),
        }
    }

    fn open_with(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC;
        let path = self.own(path);
        if let Some(root) = self.other_root()? {
            let path = if path.starts_with(b"/") { path } else { self.seen_from_root(&path)? };
            let resolve = ResolveFlags::IN_ROOT;
            return openat2(root, OsStr::from_bytes(&path), flags, Mode::empty(), resolve);
        }
        match path.first() {
            Some(b'/') => openat(CWD, OsStr::from_bytes(&path), flags, Mode::empty()),
            _ => openat(self.start()?, OsStr::from_bytes(&path), flags, Mode::empty()),
        }
    }

    /// What names the asking process names it for us too.
    fn own(&self, path: &[u8]) -> Vec<u8> {
        let own = |link: &str, rest: &[u8]| [format!("/proc/{}/{link}", self.thread).as_bytes(), rest].concat();
        for (name, link) in [
            (&b"/proc/self/"[..], ""),
            (b"/proc/thread-self/", ""),
            (b"/dev/fd/", "fd/"),
            (b"/dev/stdin", "fd/0"),
            (b"/dev/stdout", "fd/1"),
            (b"/dev/stderr", "fd/2"),
        ] {
            if let Some(rest) = path.strip_prefix(name) {
                return own(link, rest);
            }
        }
        path.to_vec()
    }

    /// The process's root, where that is not ours.
    fn other_root(&self) -> Result<Option<OwnedFd>, Errno> {
        let link = format!("/proc/{}/root", self.thread);
        let (ours, theirs) = (stat("/")?, stat(&*link)?);
        if (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino) {
            return Ok(None);
        }
        openat(CWD, link, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map(Some)
    }

    /// A relative path, from the process's own root.
    fn seen_from_root(&self, path: &[u8]) -> Result<Vec<u8>, Errno> {
        let read = |link: String| -> Result<PathBuf, Errno> {
            let text = rustix::fs::readlink(link, Vec::new())?;
            Ok(PathBuf::from(OsStr::from_bytes(text.to_bytes())))
        };
        let (root, start) = (read(format!("/proc/{}/root", self.thread))?, read(self.start_link())?);
        // Outside of its root nothing is virtual to it.
        let inside = start.strip_prefix(&root).map_err(|_| Errno::NOENT)?;
        Ok(Path::new("/").join(inside).join(OsStr::from_bytes(path)).into_os_string().as_bytes().to_vec())
    }
}

/// Whether something of this type can have an attribute of a user.
pub fn has_attributes(mode: u32) -> bool {
    matches!(FileType::from_raw_mode(mode), FileType::RegularFile | FileType::Directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str) -> Place {
        Place { thread: std::process::id(), from: HERE, path: path.as_bytes().to_vec() }
    }

    #[test]
    fn paths_are_those_of_the_other_process() {
        assert_eq!(place("a/b").followed(b"../c").path, b"a/../c");
        assert_eq!(place("a").followed(b"c").path, b"c");
        assert_eq!(place("a/b").followed(b"/c").path, b"/c");
        let own = format!("/proc/{}/fd/7", std::process::id());
        assert_eq!(place("").own(b"/proc/self/fd/7"), own.as_bytes());
        assert_eq!(place("").own(b"/dev/fd/7"), own.as_bytes());
        let (dir, name) = place("/etc/passwd").parent().unwrap().unwrap();
        assert_eq!(name, b"passwd");
        assert_eq!(rustix::fs::fstat(dir).unwrap().st_ino, stat("/etc").unwrap().st_ino);
        assert!(place("/etc/").parent().unwrap().is_none() && place("..").parent().unwrap().is_none());
    }

    #[test]
    fn texts_are_read_from_memory() {
        let text_here = c"some/path";
        let address = text_here.as_ptr().expose_provenance() as u64;
        assert_eq!(text(std::process::id(), address).unwrap(), b"some/path");
        assert_eq!(text(std::process::id(), 0).unwrap(), b"");
        assert!(text(std::process::id(), 8).is_err());
    }
}
