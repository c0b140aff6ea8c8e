//! Files below a root, resolved by the kernel so that no link leads out of it; sizes and counts have limits.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat2};
use rustix::io::Errno;

use super::Unread;
use crate::DoctorError;

/// The most that is read of a file of configuration.
pub const LIMIT: u64 = 1 << 20;
/// The most entries that are read of a directory.
pub const ENTRIES: usize = 100_000;

/// A directory that stands for `/`.
#[derive(Debug)]
pub struct Root(OwnedFd);

impl Root {
    /// Opens it.
    ///
    /// # Errors
    /// When it is no directory, or may not be read.
    pub fn open(path: &Path) -> Result<Root, DoctorError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let failed = |errno: Errno| DoctorError::Root { path: path.to_owned(), source: errno.into() };
        rustix::fs::openat(CWD, path, flags, Mode::empty()).map(Root).map_err(failed)
    }

    fn at(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..16 {
            match openat2(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), inside) {
                // Something was renamed on the way.
                Err(Errno::AGAIN) => {}
                opened => return opened,
            }
        }
        Err(Errno::AGAIN)
    }

    /// What a path is, links followed; nothing when there is no such thing.
    pub fn stat(&self, path: &str) -> Result<Option<Stat>, Errno> {
        match self.at(path, OFlags::PATH) {
            Ok(fd) => fstat(&fd).map(Some),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Whether there is such a thing.
    pub fn exists(&self, path: &str) -> bool {
        self.stat(path).is_ok_and(|stat| stat.is_some())
    }

    /// The first `limit` bytes of a regular file.
    fn bytes(&self, path: &str, limit: u64) -> Result<Option<(Vec<u8>, bool)>, String> {
        // A pipe would be waited for.
        let fd = match self.at(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(errno) => return Err(errno.to_string()),
        };
        let stat = fstat(&fd).map_err(|errno| errno.to_string())?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err("is no file".to_owned());
        }
        let mut out = Vec::new();
        File::from(fd).take(limit + 1).read_to_end(&mut out).map_err(|error| error.to_string())?;
        let whole = out.len() as u64 <= limit;
        out.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(Some((out, whole)))
    }

    /// The first bytes of a file, without a word when it cannot be read.
    pub fn head(&self, path: &str, length: u64) -> Option<Vec<u8>> {
        self.bytes(path, length).ok().flatten().map(|(bytes, _)| bytes)
    }

    /// A text; nothing when there is no such file, or it cannot be read, which `unread` then says.
    pub fn text(&self, path: &str, unread: &mut Vec<Unread>) -> Option<String> {
        let mut fail = |why: String| {
            unread.push(Unread { what: path.to_owned(), why });
            None
        };
        match self.bytes(path, LIMIT) {
            Ok(Some((_, false))) => fail(format!("is larger than {} KiB", LIMIT >> 10)),
            Ok(Some((bytes, true))) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            Ok(None) => None,
            Err(why) => fail(why),
        }
    }

    /// The last bytes of a log, from the beginning of a line.
    pub fn tail(&self, path: &str, length: u64) -> Option<String> {
        use std::io::{Seek, SeekFrom};
        let fd = self.at(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY).ok()?;
        let stat = fstat(&fd).ok()?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return None;
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let mut file = File::from(fd);
        file.seek(SeekFrom::Start(size.saturating_sub(length))).ok()?;
        let mut out = Vec::new();
        file.take(length).read_to_end(&mut out).ok()?;
        let text = String::from_utf8_lossy(&out).into_owned();
        if size <= length {
            return Some(text);
        }
        text.split_once('\n').map(|(_, rest)| rest.to_owned())
    }

    /// The names in a directory, sorted; none when there is no such directory.
    pub fn list(&self, path: &str, unread: &mut Vec<Unread>) -> Vec<String> {
        let mut names = Vec::new();
        let fd = match self.at(path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => return names,
            Err(errno) => {
                unread.push(Unread { what: path.to_owned(), why: errno.to_string() });
                return names;
            }
        };
        let Ok(directory) = Dir::new(fd) else { return names };
        for entry in directory.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == "." || name == ".." {
                continue;
            }
            if names.len() == ENTRIES {
                unread.push(Unread { what: path.to_owned(), why: format!("has more than {ENTRIES} entries") });
                break;
            }
            names.push(name);
        }
        names.sort();
        names
    }
}

impl Root {
    /// A handle of a UNIX socket, to connect by.
    pub fn socket(&self, path: &str) -> Option<OwnedFd> {
        let fd = self.at(path, OFlags::PATH).ok()?;
        let mode = fstat(&fd).ok()?.st_mode;
        (FileType::from_raw_mode(mode) == FileType::Socket).then_some(fd)
    }

    /// How much space is left where a directory is.
    pub fn space(&self, path: &str) -> Option<rustix::fs::StatVfs> {
        let fd = self.at(path, OFlags::RDONLY | OFlags::DIRECTORY).ok()?;
        rustix::fs::fstatvfs(&fd).ok()
    }
}

impl Root {
    /// Opens a file to write, or makes it; links are followed inside of the root only.
    pub(crate) fn create(&self, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        openat2(&self.0, path, flags | OFlags::CLOEXEC | OFlags::NOCTTY, mode, inside)
    }

    /// Deletes a file.
    pub(crate) fn remove(&self, path: &str) -> Result<(), Errno> {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("/", path));
        let directory = if directory.is_empty() { "/" } else { directory };
        let fd = self.at(directory, OFlags::PATH | OFlags::DIRECTORY)?;
        rustix::fs::unlinkat(&fd, name, rustix::fs::AtFlags::empty())
    }

    /// Makes the directories that a file's path needs.
    pub(crate) fn directories(&self, path: &str) -> Result<(), Errno> {
        let mut above = String::from("/");
        let (directory, _) = path.rsplit_once('/').unwrap_or_default();
        for name in directory.split('/').filter(|name| !name.is_empty()) {
            let fd = self.at(&above, OFlags::PATH | OFlags::DIRECTORY)?;
            match rustix::fs::mkdirat(&fd, name, Mode::from(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
            above = format!("{}/{name}", above.trim_end_matches('/'));
        }
        Ok(())
    }
}
