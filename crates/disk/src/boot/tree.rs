//! A directory as a [`Tree`], every path resolved inside of it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{Dir, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use super::Tree;

/// A directory that is to become a root file system.
#[derive(Debug)]
pub struct DirTree(File);

impl DirTree {
    /// Opens `root`.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(root: &Path) -> io::Result<DirTree> {
        File::open(root).map(DirTree)
    }

    fn at(&self, path: &str, flags: OFlags) -> io::Result<Option<File>> {
        let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        match openat2(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), inside) {
            Ok(fd) => Ok(Some(File::from(fd))),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Tree for DirTree {
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let Some(fd) = self.at(dir, OFlags::RDONLY | OFlags::DIRECTORY)? else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        for entry in Dir::read_from(&fd)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn read(&self, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = self.at(path, OFlags::RDONLY | OFlags::NONBLOCK)? else { return Ok(None) };
        if !file.metadata()?.is_file() {
            return Ok(None);
        }
        let mut data = Vec::new();
        file.take(limit + 1).read_to_end(&mut data)?;
        if data.len() as u64 > limit {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {limit} bytes")));
        }
        Ok(Some(data))
    }

    fn has(&self, path: &str) -> io::Result<bool> {
        Ok(self.at(path, OFlags::PATH)?.is_some())
    }
}
