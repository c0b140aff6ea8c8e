//! Single paths, with the symbolic links on the way.

use std::collections::VecDeque;

use kiln_oci::name::{MAX_PATH, components, escape};

use super::{Found, Image};
use crate::error::{DiskError, Result};
use crate::ext4::raw::{FORMAT, ROOT_INO, mode};
use crate::io::ReadAt;

/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;

impl<R: ReadAt> Image<R> {
    /// What is at a path, links followed, also a last one. They lead nowhere out of the file system: an absolute target
    /// starts at its root, and `..` stops there. The entry's path is the one without links. `None` if nothing is there.
    ///
    /// # Errors
    /// [`DiskError::Path`] for links in circles and for what is below something that is no directory, and what reading
    /// may say.
    pub fn lookup(&self, path: &[u8]) -> Result<Option<Found>> {
        self.resolve(path, true)
    }

    /// As [`Image::lookup`], but a link at the end of the path is what is found.
    ///
    /// # Errors
    /// As [`Image::lookup`].
    pub fn lookup_link(&self, path: &[u8]) -> Result<Option<Found>> {
        self.resolve(path, false)
    }

    /// The names in a directory that was found, sorted; none in anything else.
    ///
    /// # Errors
    /// What reading may say.
    pub fn list(&self, dir: &Found) -> Result<Vec<Vec<u8>>> {
        let inode = self.inode_at(&dir.entry.path, dir.ino)?;
        Ok(if inode.kind() == mode::DIR { self.names(&inode)?.into_keys().collect() } else { Vec::new() })
    }

    fn resolve(&self, path: &[u8], follow: bool) -> Result<Option<Found>> {
        let refuse = |why: &str| {
            let path = escape(&path[..path.len().min(MAX_PATH)]);
            Err(DiskError::Path { format: FORMAT, path, why: why.to_owned() })
        };
        if path.len() > MAX_PATH {
            return refuse("it is too long");
        }
        let mut left: VecDeque<Vec<u8>> = components(path).map(<[u8]>::to_vec).collect();
        let mut at: Vec<(u32, Vec<u8>)> = Vec::new();
        let mut links = 0;
        while let Some(part) = left.pop_front() {
            let (here, here_path) = at.last().map_or((ROOT_INO, &b""[..]), |(ino, path)| (*ino, path));
            let dir = self.inode_at(here_path, here)?;
            if dir.kind() != mode::DIR {
                return refuse(&format!("`/{}` is not a directory", escape(here_path)));
            }
            if part == b".." {
                at.pop();
                continue;
            }
            let Some(ino) = self.names(&dir)?.get(&part).copied() else { return Ok(None) };
            let full = kiln_oci::name::join(here_path, &part);
            let inode = self.inode_at(&full, ino)?;
            if inode.kind() != mode::SYMLINK || (left.is_empty() && !follow) {
                at.push((ino, full));
                continue;
            }
            links += 1;
            let target = self.target(&inode)?;
            let ahead: usize = left.iter().map(|part| part.len() + 1).sum();
            if links > MAX_LINKS || target.len() + ahead > 4 * MAX_PATH {
                return refuse("too many links are on its way");
            }
            if target.starts_with(b"/") {
                at.clear();
            }
            components(&target).rev().for_each(|part| left.push_front(part.to_vec()));
        }
        let (ino, path) = at.pop().unwrap_or((ROOT_INO, Vec::new()));
        let inode = self.inode_at(&path, ino)?;
        match inode.kind() {
            mode::SOCKET => Ok(None),
            _ => self.found(path, &inode).map(Some),
        }
    }
}
