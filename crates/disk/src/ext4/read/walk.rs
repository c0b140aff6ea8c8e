//! All that a file system holds, in order.

use std::collections::{HashMap, HashSet, btree_map};

use kiln_oci::name::{MAX_DEPTH, MAX_PATH, escape, join};
use kiln_oci::{Entry, EntryKind, Meta};

use super::inode::Inode;
use super::{Found, Image, damaged};
use crate::error::Result;
use crate::ext4::raw::{ROOT_INO, mode};
use crate::ext4::write::InodeFlags;
use crate::io::ReadAt;

/// The most names a walk gives.
const MAX_FOUND: usize = 32 << 20;

/// A directory in the middle of which the walk is.
struct Level {
    path: Vec<u8>,
    names: btree_map::IntoIter<Vec<u8>, u32>,
}

/// Goes through a file system: a directory before what is in it, names sorted by their bytes. A file's first name is the
/// file, its others are hard links to that. Sockets are left out, as archives do: nothing can be at the other end.
pub struct Walk<'a, R> {
    image: &'a Image<R>,
    levels: Vec<Level>,
    started: bool,
    found: usize,
    dirs: HashSet<u32>,
    /// Bytes of all directories so far.
    dir_bytes: u64,
    first_names: HashMap<u32, Vec<u8>>,
    sockets: Vec<Vec<u8>>,
}

impl<'a, R: ReadAt> Walk<'a, R> {
    pub(super) fn new(image: &'a Image<R>) -> Walk<'a, R> {
        Walk {
            image,
            levels: Vec::new(),
            started: false,
            found: 0,
            dirs: HashSet::new(),
            dir_bytes: 0,
            first_names: HashMap::new(),
            sockets: Vec::new(),
        }
    }

    /// The paths of the sockets that were left out so far.
    pub fn sockets(&self) -> &[Vec<u8>] {
        &self.sockets
    }

    fn step(&mut self) -> Result<Option<Found>> {
        if !self.started {
            self.started = true;
            return self.enter(Vec::new(), ROOT_INO).map(Some);
        }
        while let Some(level) = self.levels.last_mut() {
            let Some((name, ino)) = level.names.next() else {
                self.levels.pop();
                continue;
            };
            let path = join(&level.path, &name);
            self.found += 1;
            if path.len() > MAX_PATH || self.levels.len() > MAX_DEPTH || self.found > MAX_FOUND {
                return Err(damaged(&format!("`/{}`", escape(&path)), "that is too deep, or too much".to_owned()));
            }
            if let Some(found) = self.enter_if(path, ino)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// What a name names; nothing for a socket.
    fn enter_if(&mut self, path: Vec<u8>, ino: u32) -> Result<Option<Found>> {
        if let Some(first) = self.first_names.get(&ino) {
            let kind = EntryKind::Hardlink { target: first.clone() };
            let inode = self.image.inode_at(&path, ino)?;
            let meta = self.image.meta(&inode)?;
            let flags = InodeFlags::from_inode(inode.flags);
            return Ok(Some(Found { entry: Entry { path, kind, meta }, ino, flags }));
        }
        if self.image.inode_at(&path, ino)?.kind() == mode::SOCKET {
            self.sockets.push(path);
            return Ok(None);
        }
        self.enter(path, ino).map(Some)
    }

    fn enter(&mut self, path: Vec<u8>, ino: u32) -> Result<Found> {
        let inode = self.image.inode_at(&path, ino)?;
        let found = self.image.found(path, &inode)?;
        if found.entry.kind == EntryKind::Dir {
            if !self.dirs.insert(ino) {
                let why = "the directory is in two places, perhaps in itself".to_owned();
                return Err(damaged(&format!("`/{}`", escape(&found.entry.path)), why));
            }
            // No block is in two directories: together they are no bigger than the disk.
            self.dir_bytes = self.dir_bytes.saturating_add(inode.size);
            if self.dir_bytes > self.image.superblock.blocks * self.image.superblock.block_size {
                return Err(damaged("its directories", "together they are bigger than the disk".to_owned()));
            }
            let names = self.image.names(&inode)?.into_iter();
            self.levels.push(Level { path: found.entry.path.clone(), names });
        } else if inode.links > 1 {
            self.first_names.insert(ino, found.entry.path.clone());
        }
        Ok(found)
    }
}

impl<R: ReadAt> Iterator for Walk<'_, R> {
    type Item = Result<Found>;

    /// The next entry. After an error there is none.
    fn next(&mut self) -> Option<Result<Found>> {
        let step = self.step();
        if step.is_err() {
            self.started = true;
            self.levels.clear();
        }
        step.transpose()
    }
}

impl<R: ReadAt> Image<R> {
    /// An inode that a path leads to.
    pub(super) fn inode_at(&self, path: &[u8], ino: u32) -> Result<Inode> {
        let inode = self.inode(ino)?;
        if inode.links == 0 && ino != ROOT_INO {
            return Err(damaged(&format!("`/{}`", escape(path)), format!("its inode {ino} is deleted")));
        }
        Ok(inode)
    }

    pub(super) fn meta(&self, inode: &Inode) -> Result<Meta> {
        Ok(Meta {
            mode: u32::from(inode.mode & 0o7777),
            uid: inode.uid,
            gid: inode.gid,
            mtime: inode.mtime,
            xattrs: self.xattrs(inode)?,
        })
    }

    /// An inode as an entry.
    pub(super) fn found(&self, path: Vec<u8>, inode: &Inode) -> Result<Found> {
        let (major, minor) = inode.device();
        let kind = match inode.kind() {
            mode::FILE => EntryKind::File { size: self.checked_size(inode)? },
            mode::DIR => EntryKind::Dir,
            mode::SYMLINK => EntryKind::Symlink { target: self.target(inode)? },
            mode::CHAR => EntryKind::Char { major, minor },
            mode::BLOCK => EntryKind::Block { major, minor },
            mode::FIFO => EntryKind::Fifo,
            other => {
                let why = format!("its inode {} is of the kind {other:#x}, which cannot be read", inode.ino);
                return Err(damaged(&format!("`/{}`", escape(&path)), why));
            }
        };
        let meta = self.meta(inode)?;
        Ok(Found { entry: Entry { path, kind, meta }, ino: inode.ino, flags: InodeFlags::from_inode(inode.flags) })
    }
}
