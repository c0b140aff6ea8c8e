//! Directories of this side: read in a fixed order, and written without leaving them.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use super::Links;
use crate::HostError;

/// Directories within each other.
const DEPTH: usize = 64;
/// Entries of one copy.
pub(crate) const ENTRIES: u64 = 2_000_000;

/// What a walk meets, in order.
#[derive(Debug)]
pub(crate) enum Step {
    /// A directory begins; the root has no name.
    Enter { name: Vec<u8>, mode: u32 },
    /// A file of it.
    File { name: Vec<u8>, path: PathBuf, mode: u32, length: u64 },
    /// A link of it.
    Link { name: Vec<u8>, target: Vec<u8> },
    /// The innermost directory ends.
    Leave,
}

/// A walk through a directory, names sorted.
pub(crate) struct Walk {
    links: Links,
    open: Vec<Open>,
    root: Option<PathBuf>,
    count: u64,
}

struct Open {
    path: PathBuf,
    names: std::vec::IntoIter<OsString>,
    identity: (u64, u64),
}

impl Walk {
    pub(crate) fn new(root: &Path, links: Links) -> Walk {
        Walk { links, open: Vec::new(), root: Some(root.to_owned()), count: 0 }
    }

    /// The next step; `None` after the root's end.
    pub(crate) fn next(&mut self) -> Result<Option<Step>, HostError> {
        if let Some(root) = self.root.take() {
            let metadata = fs::metadata(&root).map_err(|source| read_error(&root, source))?;
            return self.enter(root, Vec::new(), &metadata).map(Some);
        }
        let Some(open) = self.open.last_mut() else { return Ok(None) };
        let Some(name) = open.names.next() else {
            self.open.pop();
            return Ok(Some(Step::Leave));
        };
        let path = open.path.join(&name);
        self.count += 1;
        if self.count > ENTRIES {
            return Err(HostError::Limit {
                host: path.display().to_string(),
                what: "entries of a copy",
                limit: ENTRIES,
            });
        }
        let name = name.into_vec();
        let mut metadata = fs::symlink_metadata(&path).map_err(|source| read_error(&path, source))?;
        if metadata.is_symlink() {
            if self.links == Links::Keep {
                let target = fs::read_link(&path).map_err(|source| read_error(&path, source))?;
                return Ok(Some(Step::Link { name, target: target.into_os_string().into_vec() }));
            }
            metadata = fs::metadata(&path).map_err(|source| read_error(&path, source))?;
        }
        let mode = metadata.permissions().mode() & 0o7777;
        if metadata.is_dir() {
            return self.enter(path, name, &metadata).map(Some);
        }
        if metadata.is_file() {
            return Ok(Some(Step::File { name, path, mode, length: metadata.len() }));
        }
        Err(read_error(&path, io::Error::other("it is no file, directory or link")))
    }

    fn enter(&mut self, path: PathBuf, name: Vec<u8>, metadata: &fs::Metadata) -> Result<Step, HostError> {
        let identity = (metadata.dev(), metadata.ino());
        if self.open.iter().any(|open| open.identity == identity) {
            return Err(read_error(&path, io::Error::other("the link leads back to where it is")));
        }
        if self.open.len() >= DEPTH {
            return Err(HostError::Limit {
                host: path.display().to_string(),
                what: "directories within each other",
                limit: DEPTH as u64,
            });
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(&path).map_err(|source| read_error(&path, source))? {
            names.push(entry.map_err(|source| read_error(&path, source))?.file_name());
        }
        names.sort();
        self.open.push(Open { path, names: names.into_iter(), identity });
        Ok(Step::Enter { name, mode: metadata.permissions().mode() & 0o7777 })
    }
}

fn read_error(path: &Path, source: io::Error) -> HostError {
    HostError::File { what: "read", path: path.to_owned(), source }
}

/// A directory that another machine fills. Names are single components, links are never followed, and no name comes
/// twice, whatever the machine says.
pub(crate) struct Sink {
    open: Vec<Level>,
    count: u64,
    host: String,
    /// Which bits of modes are taken: of another machine's, not those that make a program somebody else's.
    mask: u32,
}

/// What another machine may say of a file's mode.
pub(crate) const FOREIGN: u32 = 0o777;

struct Level {
    fd: OwnedFd,
    path: PathBuf,
    seen: HashSet<Vec<u8>>,
    /// Set at the end: it may forbid writing.
    mode: Option<u32>,
}

impl Sink {
    /// Opens the directory, and makes it if it is not there.
    pub(crate) fn new(root: &Path, host: &str, mask: u32) -> Result<Sink, HostError> {
        let fail = |source| HostError::File { what: "write", path: root.to_owned(), source };
        fs::create_dir_all(root).map_err(fail)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(root, flags, Mode::empty()).map_err(|error| fail(error.into()))?;
        let level = Level { fd, path: root.to_owned(), seen: HashSet::new(), mode: None };
        Ok(Sink { open: vec![level], count: 0, host: host.to_owned(), mask })
    }

    /// How deep it is; the root is 1.
    pub(crate) fn depth(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn enter(&mut self, name: &[u8], mode: u32) -> Result<(), HostError> {
        let path = self.claim(name)?;
        if self.open.len() >= DEPTH {
            let (what, limit) = ("directories within each other", DEPTH as u64);
            return Err(HostError::Limit { host: self.host.clone(), what, limit });
        }
        let fail =
            |source: rustix::io::Errno| HostError::File { what: "make", path: path.clone(), source: source.into() };
        let parent = self.parent(&path)?;
        match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(fail(error)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(parent, name, flags, Mode::empty()).map_err(fail)?;
        self.open.push(Level { fd, path, seen: HashSet::new(), mode: Some(mode & self.mask) });
        Ok(())
    }

    pub(crate) fn leave(&mut self) -> Result<(), HostError> {
        let Some(level) = self.open.pop() else { return Ok(()) };
        let Some(mode) = level.mode else { return Ok(()) };
        rustix::fs::fchmod(&level.fd, Mode::from_raw_mode(mode)).map_err(|error| HostError::File {
            what: "set the mode of",
            path: level.path,
            source: error.into(),
        })
    }

    /// A new file. The mode may forbid writing, which does not matter to who has it open.
    pub(crate) fn file(&mut self, name: &[u8], mode: u32) -> Result<(File, PathBuf), HostError> {
        let path = self.claim(name)?;
        let fail =
            |source: rustix::io::Errno| HostError::File { what: "write", path: path.clone(), source: source.into() };
        let parent = self.parent(&path)?;
        // A file that was there is replaced, so that another name of it keeps what it has.
        self.remove(name, &path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600)).map_err(fail)?;
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode & self.mask)).map_err(fail)?;
        Ok((File::from(fd), path))
    }

    pub(crate) fn link(&mut self, name: &[u8], target: &[u8]) -> Result<(), HostError> {
        let path = self.claim(name)?;
        self.remove(name, &path)?;
        rustix::fs::symlinkat(OsStr::from_bytes(target), self.parent(&path)?, name).map_err(|error| HostError::File {
            what: "make the link",
            path,
            source: error.into(),
        })
    }

    /// Removes a file or link that an earlier copy left.
    fn remove(&self, name: &[u8], path: &Path) -> Result<(), HostError> {
        let parent = self.parent(path)?;
        let Ok(stat) = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) else { return Ok(()) };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let source = io::ErrorKind::IsADirectory.into();
            return Err(HostError::File { what: "write", path: path.to_owned(), source });
        }
        rustix::fs::unlinkat(parent, name, AtFlags::empty()).map_err(|error| HostError::File {
            what: "replace",
            path: path.to_owned(),
            source: error.into(),
        })
    }

    fn parent(&self, path: &Path) -> Result<std::os::fd::BorrowedFd<'_>, HostError> {
        match self.open.last() {
            Some(level) => Ok(level.fd.as_fd()),
            None => Err(self.protocol(format!("{} is in no directory", path.display()))),
        }
    }

    fn claim(&mut self, name: &[u8]) -> Result<PathBuf, HostError> {
        self.count += 1;
        if self.count > ENTRIES {
            return Err(HostError::Limit { host: self.host.clone(), what: "entries of a copy", limit: ENTRIES });
        }
        let bad = name.is_empty() || name.len() > 255 || name == b"." || name == b".." || name.contains(&b'/');
        if bad || name.contains(&0) {
            return Err(self.protocol(format!("`{}` as the name of a file", crate::error::printable(name))));
        }
        let twice = self.open.last_mut().is_none_or(|level| !level.seen.insert(name.to_vec()));
        if twice {
            return Err(self.protocol(format!("the name `{}` twice", crate::error::printable(name))));
        }
        Ok(self.open.last().map(|level| level.path.join(OsStr::from_bytes(name))).unwrap_or_default())
    }

    fn protocol(&self, what: String) -> HostError {
        HostError::Protocol { host: self.host.clone(), protocol: "a listing of files", what }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_cannot_leave_the_directory() {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir(base.path().join("outside")).unwrap();
        let root = base.path().join("root");
        let mut sink = Sink::new(&root, "h", FOREIGN).unwrap();
        for name in ["..", ".", "", "a/b", "/etc", "a\0b"] {
            assert!(sink.file(name.as_bytes(), 0o644).is_err(), "{name:?}");
            assert!(sink.enter(name.as_bytes(), 0o755).is_err(), "{name:?}");
        }
        sink.link(b"out", b"../outside").unwrap();
        insta::assert_snapshot!(sink.enter(b"out", 0o755).unwrap_err(), @"h answers what a listing of files does not allow: the name `out` twice");
        drop(sink);
        // The link of an earlier copy is not followed either.
        let mut sink = Sink::new(&root, "h", FOREIGN).unwrap();
        assert!(sink.enter(b"out", 0o755).is_err());
        let mut sink = Sink::new(&root, "h", FOREIGN).unwrap();
        sink.file(b"out", 0o644).unwrap();
        assert!(root.join("out").symlink_metadata().unwrap().is_file());
        assert_eq!(fs::read_dir(base.path().join("outside")).unwrap().count(), 0);
    }

    #[test]
    fn links_in_a_circle_end() {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir(base.path().join("a")).unwrap();
        std::os::unix::fs::symlink("..", base.path().join("a/up")).unwrap();
        let mut walk = Walk::new(base.path(), Links::Follow);
        let error = loop {
            match walk.next() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("no error"),
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.ends_with("a/up: the link leads back to where it is"), "{error}");
    }
}
