//! The names of the file system, until its directories are written.

use std::collections::BTreeMap;

use kiln_oci::name;

use super::dir::kind;

/// A directory and what it holds.
#[derive(Debug, Default)]
pub(crate) struct Dir {
    /// The directory it is in.
    pub parent: u32,
    /// Its name there.
    pub name: Box<[u8]>,
    /// It came as an entry; otherwise only things below it did.
    pub came: bool,
    pub children: BTreeMap<Box<[u8]>, Child>,
}

/// What a name names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Child {
    pub ino: u32,
    pub kind: u8,
}

/// All directories by their inode.
#[derive(Debug)]
pub(crate) struct Names {
    pub dirs: BTreeMap<u32, Dir>,
    root: u32,
}

impl Names {
    pub fn new(root: u32) -> Names {
        Names { dirs: BTreeMap::from([(root, Dir { parent: root, ..Dir::default() })]), root }
    }

    /// What is at a path.
    pub fn find(&self, path: &[u8]) -> Option<Child> {
        let mut at = Child { ino: self.root, kind: kind::DIR };
        for part in name::components(path) {
            at = *self.dirs.get(&at.ino)?.children.get(part)?;
        }
        Some(at)
    }

    /// Adds a name to a directory.
    pub fn add(&mut self, dir: u32, base: &[u8], child: Child) {
        if child.kind == kind::DIR {
            self.dirs.insert(child.ino, Dir { parent: dir, name: base.into(), ..Dir::default() });
        }
        if let Some(dir) = self.dirs.get_mut(&dir) {
            dir.children.insert(base.into(), child);
        }
    }

    /// How many directories are in a directory.
    pub fn subdirs(&self, dir: u32) -> u32 {
        let children = self.dirs.get(&dir).into_iter().flat_map(|dir| dir.children.values());
        children.filter(|child| child.kind == kind::DIR).count() as u32
    }

    /// The path of a directory.
    pub fn path(&self, mut ino: u32) -> Vec<u8> {
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
