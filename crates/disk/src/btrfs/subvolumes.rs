//! Trees of files in others. Entries come by their paths from the top; one at the path of a subvolume, or below, is in its
//! tree.

use std::collections::BTreeMap;

use super::items::Items;
use super::raw::{FIRST_INO, FORMAT, tree};
use super::{Writer, fresh};
use crate::error::{DiskError, Result};
use crate::io::WriteAt;

/// The most subvolumes that are written.
const MAX: usize = 60_000;

/// A tree of files of its own, in another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subvolume {
    /// Its number, as `subvolid=` has it: 256 and more.
    pub id: u64,
    /// Its path from the top.
    pub path: Vec<u8>,
    /// Nobody may write to it.
    pub read_only: bool,
}

/// All subvolumes but the top, and which inodes are in them.
#[derive(Debug, Default)]
pub(crate) struct Subvolumes {
    /// By path.
    by_path: BTreeMap<Vec<u8>, u64>,
    /// By the inode that stands for its root until everything is known.
    pub roots: BTreeMap<u64, Subvolume>,
    /// The trees of inodes that are not in the top.
    homes: BTreeMap<u64, u64>,
    /// The one that is mounted when nothing else is said; 0 for the top.
    pub default: u64,
}

impl Subvolumes {
    /// The tree in which a path is.
    pub fn tree_at(&self, path: &[u8]) -> u64 {
        if self.by_path.is_empty() {
            return tree::FS;
        }
        let mut path = path;
        loop {
            match self.by_path.get(path) {
                Some(id) => return *id,
                None if path.is_empty() => return tree::FS,
                None => path = kiln_oci::name::split(path).0,
            }
        }
    }

    /// Notes in which tree an inode is.
    pub fn keep(&mut self, path: &[u8], ino: u64) {
        let home = self.tree_at(path);
        if home != tree::FS {
            self.homes.insert(ino, home);
        }
    }

    /// Notes that a directory is in a tree, unless it is known which one it is in.
    pub fn inherit(&mut self, ino: u64, home: u64) {
        if home != tree::FS && !self.roots.contains_key(&ino) {
            self.homes.entry(ino).or_insert(home);
        }
    }

    /// The tree of an inode, and its number there.
    pub fn place(&self, ino: u64) -> (u64, u64) {
        match self.roots.get(&ino) {
            Some(subvolume) => (subvolume.id, FIRST_INO),
            None => (self.homes.get(&ino).copied().unwrap_or(tree::FS), ino),
        }
    }
}

impl<W: WriteAt> Writer<W> {
    /// Makes it have subvolumes, before anything else comes. `default` is the number of the one that is mounted when
    /// nothing else is said, 5 for the top.
    ///
    /// # Errors
    /// [`DiskError::Options`] for numbers that cannot be, or are there twice, and [`DiskError::Entry`] for such paths.
    pub fn subvolumes(&mut self, list: &[Subvolume], default: u64) -> Result<()> {
        let wrong = |why: String| Err(DiskError::Options { format: FORMAT, why });
        let mut sorted: Vec<&Subvolume> = list.iter().collect();
        sorted.sort_by(|a, b| a.path.cmp(&b.path));
        if list.len() > MAX {
            return wrong(format!("it cannot have {} subvolumes", list.len()));
        }
        if default != tree::FS && !list.iter().any(|one| one.id == default) {
            return wrong(format!("there is no subvolume {default} that it could start with"));
        }
        self.subvolumes.default = default;
        for one in sorted {
            if !(FIRST_INO..1 << 48).contains(&one.id) || self.files.contains_key(&one.id) {
                return wrong(format!("the number {} of a subvolume cannot be, or is there twice", one.id));
            }
            self.intake.check(&one.path, true)?;
            let next = &mut self.next_ino;
            let dir = self.intake.place(&one.path, &mut || fresh(next))?;
            let ino = fresh(&mut self.next_ino)?;
            self.intake.add(dir, &one.path, ino, crate::files::names::kind::DIR);
            self.subvolumes.by_path.insert(one.path.clone(), one.id);
            self.subvolumes.roots.insert(ino, one.clone());
            self.files.insert(one.id, Items::new(one.id));
        }
        Ok(())
    }
}
