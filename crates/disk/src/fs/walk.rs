//! All that a file system holds, in order.

use std::collections::{HashMap, HashSet, btree_map};

use kiln_oci::name::{MAX_DEPTH, MAX_PATH, escape, join};
use kiln_oci::{Entry, EntryKind, Meta};

use super::{About, Found, Inodes, damaged};
use crate::error::Result;
use crate::ext4::raw::mode;

/// The most names a walk gives.
const MAX_FOUND: usize = 32 << 20;

/// A directory in the middle of which the walk is.
struct Level {
    path: Vec<u8>,
    names: btree_map::IntoIter<Vec<u8>, u64>,
}

/// Goes through a file system: a directory before what is in it, names sorted by their bytes. A file's first name is the
/// file, its others are hard links to that. Sockets are left out, as archives do: nothing can be at the other end.
pub struct Walk<'a, I> {
    image: &'a I,
    levels: Vec<Level>,
    started: bool,
    found: usize,
    dirs: HashSet<u64>,
    /// Bytes of all directories so far.
    dir_bytes: u64,
    first_names: HashMap<u64, Vec<u8>>,
    sockets: Vec<Vec<u8>>,
}

impl<'a, I: Inodes> Walk<'a, I> {
    pub(crate) fn new(image: &'a I) -> Walk<'a, I> {
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
            let root = self.image.root();
            return self.enter_if(Vec::new(), root);
        }
        while let Some(level) = self.levels.last_mut() {
            let Some((name, ino)) = level.names.next() else {
                self.levels.pop();
                continue;
            };
            let path = join(&level.path, &name);
            self.found += 1;
            if path.len() > MAX_PATH || self.levels.len() > MAX_DEPTH || self.found > MAX_FOUND {
                return Err(damaged::<I>(&shown(&path), "that is too deep, or too much"));
            }
            if let Some(found) = self.enter_if(path, ino)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// What a name names; nothing for a socket.
    fn enter_if(&mut self, path: Vec<u8>, ino: u64) -> Result<Option<Found>> {
        let (inode, about) = inode_at(self.image, &path, ino)?;
        if let Some(first) = self.first_names.get(&ino) {
            let kind = EntryKind::Hardlink { target: first.clone() };
            let meta = meta(self.image, &inode, &about)?;
            return Ok(Some(Found { entry: Entry { path, kind, meta }, ino, flags: about.flags }));
        }
        if about.kind() == mode::SOCKET {
            self.sockets.push(path);
            return Ok(None);
        }
        self.enter(path, ino, &inode, &about).map(Some)
    }

    fn enter(&mut self, path: Vec<u8>, ino: u64, inode: &I::Inode, about: &About) -> Result<Found> {
        let found = found(self.image, path, ino, inode, about)?;
        if found.entry.kind == EntryKind::Dir {
            if !self.dirs.insert(ino) {
                let why = "the directory is in two places, perhaps in itself";
                return Err(damaged::<I>(&shown(&found.entry.path), why));
            }
            // No block is in two directories: together they are no bigger than the disk.
            self.dir_bytes = self.dir_bytes.saturating_add(about.size);
            if self.dir_bytes > self.image.bytes() {
                return Err(damaged::<I>("its directories", "together they are bigger than the disk"));
            }
            let names = self.image.names(inode)?.into_iter();
            self.levels.push(Level { path: found.entry.path.clone(), names });
        } else if about.links > 1 {
            self.first_names.insert(ino, found.entry.path.clone());
        }
        Ok(found)
    }
}

impl<I: Inodes> Iterator for Walk<'_, I> {
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

fn shown(path: &[u8]) -> String {
    format!("`/{}`", escape(path))
}

/// An inode that a path leads to, and what it says of itself.
pub(crate) fn inode_at<I: Inodes>(image: &I, path: &[u8], ino: u64) -> Result<(I::Inode, About)> {
    let inode = image.inode(ino)?;
    let about = image.about(&inode)?;
    if about.links == 0 && ino != image.root() {
        return Err(damaged::<I>(&shown(path), format!("its inode {ino} is deleted")));
    }
    Ok((inode, about))
}

fn meta<I: Inodes>(image: &I, inode: &I::Inode, about: &About) -> Result<Meta> {
    Ok(Meta {
        mode: u32::from(about.mode & 0o7777),
        uid: about.uid,
        gid: about.gid,
        mtime: about.mtime,
        xattrs: image.xattrs(inode)?,
    })
}

/// An inode as an entry.
pub(crate) fn found<I: Inodes>(image: &I, path: Vec<u8>, ino: u64, inode: &I::Inode, about: &About) -> Result<Found> {
    let (major, minor) = about.device;
    let kind = match about.kind() {
        mode::FILE => EntryKind::File { size: about.size },
        mode::DIR => EntryKind::Dir,
        mode::SYMLINK => EntryKind::Symlink { target: image.target(inode)? },
        mode::CHAR => EntryKind::Char { major, minor },
        mode::BLOCK => EntryKind::Block { major, minor },
        mode::FIFO => EntryKind::Fifo,
        other => {
            let why = format!("its inode {ino} is of the kind {other:#x}, which cannot be read");
            return Err(damaged::<I>(&shown(&path), why));
        }
    };
    let meta = meta(image, inode, about)?;
    Ok(Found { entry: Entry { path, kind, meta }, ino, flags: about.flags })
}
