//! Which paths can be in a file system, and in what order they may come.

use kiln_oci::name::{escape, is_normal, split};

use super::names::{Child, Names, kind};
use super::refuse;
use crate::error::{DiskError, Result};

/// The longest name in a directory.
const MAX_NAME: usize = 255;

/// Numbers of inodes.
type New<'a> = dyn FnMut() -> Result<u64> + 'a;

/// The names that came so far.
#[derive(Debug)]
pub(crate) struct Intake {
    format: &'static str,
    pub names: Names<u64>,
}

impl Intake {
    /// For a file system with nothing but its root, whose inode is `root`.
    pub fn new(format: &'static str, root: u64) -> Intake {
        Intake { format, names: Names::new(root) }
    }

    /// Whether an entry can be at a path at all.
    pub fn check(&self, path: &[u8], dir: bool) -> Result<()> {
        if !is_normal(path) || path.contains(&0) {
            return Err(self.refuse(path, "that is not a path from the root".to_owned()));
        }
        if path.is_empty() && !dir {
            return Err(self.refuse(path, "the root must be a directory".to_owned()));
        }
        Ok(())
    }

    /// The inode of a directory that comes now. It may be there because something below it came before.
    pub fn directory(&mut self, path: &[u8], new: &mut New<'_>) -> Result<u64> {
        let ino = match self.names.find(path) {
            Some(Child { ino, kind: kind::DIR }) => ino,
            Some(_) => return Err(self.twice(path)),
            None => self.make(path, new)?,
        };
        match self.names.dirs.get_mut(&ino) {
            Some(dir) if !dir.came => dir.came = true,
            _ => return Err(self.twice(path)),
        }
        Ok(ino)
    }

    /// Makes a directory of which nothing but the name is known.
    fn make(&mut self, path: &[u8], new: &mut New<'_>) -> Result<u64> {
        let dir = self.place(path, new)?;
        let ino = new()?;
        self.names.add(dir, split(path).1, Child { ino, kind: kind::DIR });
        Ok(ino)
    }

    /// The directory in which `path` can be: its name is valid and free.
    pub fn place(&mut self, path: &[u8], new: &mut New<'_>) -> Result<u64> {
        let (parent, base) = split(path);
        if base.len() > MAX_NAME {
            return Err(self.refuse(path, format!("its name has {} bytes, {MAX_NAME} are the most", base.len())));
        }
        if self.names.find(path).is_some() {
            return Err(self.twice(path));
        }
        match self.names.find(parent) {
            Some(Child { ino, kind: kind::DIR }) => Ok(ino),
            Some(_) => Err(self.refuse(path, format!("`/{}` is not a directory", escape(parent)))),
            None => self.make(parent, new),
        }
    }

    /// The directory in which one more name of `target` can be, and what `target` is.
    pub fn link(&mut self, path: &[u8], target: &[u8], new: &mut New<'_>) -> Result<(u64, Child<u64>)> {
        let dir = self.place(path, new)?;
        let shown = escape(target);
        match self.names.find(target) {
            None => Err(self.refuse(path, format!("it links to `/{shown}`, which was not there before"))),
            Some(Child { kind: kind::DIR, .. }) => {
                Err(self.refuse(path, format!("it links to `/{shown}`, which is a directory")))
            }
            Some(child) => Ok((dir, child)),
        }
    }

    /// Adds a name to the directory that [`place`](Self::place) gave.
    pub fn add(&mut self, dir: u64, path: &[u8], ino: u64, kind: u8) {
        self.names.add(dir, split(path).1, Child { ino, kind });
    }

    pub fn refuse(&self, path: &[u8], why: String) -> DiskError {
        refuse(self.format, path, why)
    }

    fn twice(&self, path: &[u8]) -> DiskError {
        self.refuse(path, "something is there already".to_owned())
    }
}
