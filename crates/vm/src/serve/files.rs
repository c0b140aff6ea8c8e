//! The directory that is served, through a handle: nothing in it leads out.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};
use rustix::io::Errno;

const COMMON: OFlags = OFlags::CLOEXEC.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);
/// Links are followed, but to places within: an installer's tree has some. Names in /proc that are more than links are
/// not.
const RESOLVE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);
/// Names that a list of a directory has at most.
const MOST_NAMES: usize = 10_000;

/// The handle.
pub(super) struct Beneath {
    root: OwnedFd,
}

/// What a path leads to.
pub(super) enum Found {
    File { file: File, size: u64, modified: i64 },
    Directory(OwnedFd),
}

impl Beneath {
    pub(super) fn open(dir: &Path) -> Result<Beneath, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Beneath { root: openat(CWD, dir, flags, Mode::empty())? })
    }

    /// What is at a clean path, which begins with a slash. Only files and directories are found.
    pub(super) fn find(&self, path: &str) -> Result<Found, Errno> {
        let relative = path.trim_matches('/');
        let opened = self.at(if relative.is_empty() { "." } else { relative })?;
        let stat = fstat(&opened)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Ok(Found::Directory(opened)),
            FileType::RegularFile => Ok(Found::File {
                file: File::from(opened),
                size: u64::try_from(stat.st_size).unwrap_or(0),
                modified: stat.st_mtime,
            }),
            _ => Err(Errno::ACCESS),
        }
    }

    fn at(&self, path: &str) -> Result<OwnedFd, Errno> {
        loop {
            match openat2(&self.root, path, OFlags::RDONLY | COMMON, Mode::empty(), RESOLVE) {
                // A rename elsewhere on the machine raced with the resolution.
                Err(Errno::AGAIN | Errno::INTR) => {}
                // Old kernels, and system call filters that do not know the call.
                Err(Errno::NOSYS | Errno::PERM) => return self.stepwise(path),
                other => return other,
            }
        }
    }

    /// The same without `openat2`; no link is followed then.
    fn stepwise(&self, path: &str) -> Result<OwnedFd, Errno> {
        let mut held: Option<OwnedFd> = None;
        for part in path.split('/') {
            if part.is_empty() || part == ".." {
                return Err(Errno::XDEV);
            }
            let from = held.as_ref().map_or(self.root.as_fd(), AsFd::as_fd);
            held = Some(openat(from, part, OFlags::RDONLY | OFlags::NOFOLLOW | COMMON, Mode::empty())?);
        }
        held.ok_or(Errno::NOENT)
    }
}

/// Names in a directory, in order; those of directories end with a slash.
pub(super) fn list(dir: &OwnedFd) -> Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if matches!(name, "." | "..") {
            continue;
        }
        if names.len() == MOST_NAMES {
            return Err(Errno::TOOBIG);
        }
        let slash = if entry.file_type() == FileType::Directory { "/" } else { "" };
        names.push(format!("{name}{slash}"));
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_leads_out() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("in/a")).unwrap();
        std::fs::write(dir.path().join("passwd"), "outside").unwrap();
        std::fs::write(dir.path().join("in/a/f"), "inside").unwrap();
        symlink("../passwd", dir.path().join("in/up")).unwrap();
        symlink("/passwd", dir.path().join("in/absolute")).unwrap();
        symlink("/etc", dir.path().join("in/etc")).unwrap();
        symlink("/proc/self/fd/0", dir.path().join("in/magic")).unwrap();
        symlink("/a/f", dir.path().join("in/f")).unwrap();
        rustix::fs::mknodat(CWD, dir.path().join("in/pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let root = Beneath::open(&dir.path().join("in")).unwrap();
        for bad in ["/up", "/absolute", "/etc/passwd", "/magic", "/pipe", "/absent", "/a/f/g"] {
            assert!(root.find(bad).is_err(), "{bad}");
        }
        for bad in ["up", "absolute", "etc/passwd", "magic", "f", "../passwd", "a/../../passwd", ""] {
            assert!(root.stepwise(bad).is_err(), "{bad}");
        }
        assert!(root.stepwise("a/f").is_ok());
        for good in ["/f", "/a/f"] {
            let Ok(Found::File { mut file, .. }) = root.find(good) else { panic!("{good}") };
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text, "inside");
        }
        let Ok(Found::Directory(top)) = root.find("/") else { panic!() };
        assert_eq!(list(&top).unwrap().first().map(String::as_str), Some("a/"));
    }
}
