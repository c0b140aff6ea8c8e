//! The names of the file system, until its directories are written.

use std::collections::BTreeMap;

use kiln_oci::name;

/// The kinds of entries, as the directories of ext4, xfs and btrfs all have them.
pub(crate) mod kind {
    pub const FILE: u8 = 1;
    pub const DIR: u8 = 2;
    pub const CHAR: u8 = 3;
    pub const BLOCK: u8 = 4;
    pub const FIFO: u8 = 5;
    pub const SYMLINK: u8 = 7;
}

/// A directory and what it holds.
#[derive(Debug)]
pub(crate) struct Dir<N> {
    /// The directory it is in.
    pub parent: N,
    /// Its name there.
    pub name: Box<[u8]>,
    /// It came as an entry; otherwise only things below it did.
    pub came: bool,
    pub children: BTreeMap<Box<[u8]>, Child<N>>,
}

impl<N> Dir<N> {
    fn new(parent: N, name: &[u8]) -> Dir<N> {
        Dir { parent, name: name.into(), came: false, children: BTreeMap::new() }
    }
}

/// What a name names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Child<N> {
    pub ino: N,
    pub kind: u8,
}

/// All directories by their inode.
#[derive(Debug)]
pub(crate) struct Names<N> {
    pub dirs: BTreeMap<N, Dir<N>>,
    root: N,
}

impl<N: Copy + Ord> Names<N> {
    pub fn new(root: N) -> Names<N> {
        Names { dirs: BTreeMap::from([(root, Dir::new(root, b""))]), root }
    }

    /// What is at a path.
    pub fn find(&self, path: &[u8]) -> Option<Child<N>> {
        let mut at = Child { ino: self.root, kind: kind::DIR };
        for part in name::components(path) {
            at = *self.dirs.get(&at.ino)?.children.get(part)?;
        }
        Some(at)
    }

    /// Adds a name to a directory.
    pub fn add(&mut self, dir: N, base: &[u8], child: Child<N>) {
        if child.kind == kind::DIR {
            self.dirs.insert(child.ino, Dir::new(dir, base));
        }
        if let Some(dir) = self.dirs.get_mut(&dir) {
            dir.children.insert(base.into(), child);
        }
    }

    /// How many directories are in a directory.
    pub fn subdirs(&self, dir: N) -> u32 {
        let children = self.dirs.get(&dir).into_iter().flat_map(|dir| dir.children.values());
        children.filter(|child| child.kind == kind::DIR).count() as u32
    }

    /// The path of a directory.
    pub fn path(&self, mut ino: N) -> Vec<u8> {
        let mut parts: Vec<&[u8]> = Vec::new();
        while ino != self.root {
            let Some(dir) = self.dirs.get(&ino) else { break };
            parts.push(&dir.name);
            ino = dir.parent;
        }
        parts.reverse();
        parts.join(&b'/')
    }
}
