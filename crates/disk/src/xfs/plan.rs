//! How much space a tree needs, from its entries alone.

use std::collections::HashMap;

use kiln_oci::name::split;
use kiln_oci::{Entry, EntryKind};

use super::attr::{self, Placed};
use super::dir;
use super::geometry::Geometry;
use super::inode::ROOM;
use super::raw::{CHUNK, CHUNK_BLOCKS, FORMAT};
use crate::error::{DiskError, Result};
use crate::files::BLOCK64;

/// Counts what a tree needs, without the bodies of its files: holes in them make it less.
#[derive(Debug, Clone)]
pub struct Plan {
    blocks: u64,
    inodes: u64,
    /// The bytes of the names in each directory, and how many there are.
    dirs: HashMap<Vec<u8>, (u64, u64)>,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan::new()
    }
}

impl Plan {
    /// For an empty tree.
    pub fn new() -> Plan {
        Plan { blocks: 0, inodes: 0, dirs: HashMap::from([(Vec::new(), (0, 0))]) }
    }

    /// Adds an entry that will come. One that [`Writer::append`](super::Writer::append) refuses counts for little.
    pub fn add(&mut self, entry: &Entry) {
        let path = entry.path.as_slice();
        if let Ok(Placed::Far(_, values)) = attr::place(&entry.meta.xattrs) {
            self.blocks += 1 + values.iter().map(|value| value.len().div_ceil(attr::VALUE) as u64).sum::<u64>();
        }
        match &entry.kind {
            EntryKind::Dir => return self.directory(path),
            EntryKind::Hardlink { .. } => {}
            EntryKind::File { size } => {
                self.inodes += 1;
                self.blocks = self.blocks.saturating_add(size.div_ceil(BLOCK64));
            }
            EntryKind::Symlink { target } => {
                self.inodes += 1;
                let near = matches!(attr::place(&entry.meta.xattrs), Ok(Placed::None)) && target.len() <= ROOM;
                self.blocks += u64::from(!near);
            }
            _ => self.inodes += 1,
        }
        self.name(path);
    }

    fn directory(&mut self, path: &[u8]) {
        if !self.dirs.contains_key(path) {
            self.dirs.insert(path.to_vec(), (0, 0));
            self.inodes += 1;
            self.name(path);
        }
    }

    fn name(&mut self, path: &[u8]) {
        let (parent, base) = split(path);
        self.directory(parent);
        if let Some((bytes, names)) = self.dirs.get_mut(parent) {
            *bytes += dir::entry_len(base) as u64;
            *names += 1;
        }
    }

    /// The inodes that the tree takes.
    pub fn inodes(&self) -> u64 {
        self.inodes
    }

    /// The size in bytes of a file system, a multiple of 1 MiB, that has room for the tree and `slack` bytes more.
    ///
    /// # Errors
    /// When that is more than xfs can be.
    pub fn minimum(&self, slack: u64) -> Result<u64> {
        // Names that fit into an inode take no block.
        let dirs = self.dirs.values().filter(|(bytes, _)| *bytes > 100);
        let dirs: u64 = dirs.map(|(bytes, names)| dir::most_blocks(*bytes, *names)).sum();
        let chunks = self.inodes / CHUNK + 8;
        let need = self.blocks.saturating_add(dirs + chunks * u64::from(CHUNK_BLOCKS));
        let need = need.saturating_add(slack.div_ceil(BLOCK64) + need / 200);
        let step = (1 << 20) / BLOCK64;
        let mut blocks: u64 = (64 << 20) / BLOCK64;
        loop {
            let why = || "the files are more than it can ever hold".to_owned();
            let too_big = || DiskError::Options { format: FORMAT, why: why() };
            if blocks > 1 << 40 {
                return Err(too_big());
            }
            let missing = need.saturating_sub(Geometry::new(blocks * BLOCK64)?.room());
            if missing == 0 {
                return Ok(blocks * BLOCK64);
            }
            blocks = blocks.saturating_add(missing).checked_next_multiple_of(step).ok_or_else(too_big)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use kiln_oci::Meta;

    use super::*;

    #[test]
    fn the_minimum_grows_with_the_tree() {
        let mut plan = Plan::new();
        assert_eq!(plan.minimum(0).unwrap(), 64 << 20);
        for n in 0..1000 {
            let kind = EntryKind::File { size: 1 << 20 };
            plan.add(&Entry { path: format!("d/f{n}").into_bytes(), kind, meta: Meta::mode(0o644) });
        }
        let size = plan.minimum(0).unwrap();
        assert!((1064 << 20..1130 << 20).contains(&size), "{size}");
        assert!(plan.minimum(100 << 20).unwrap() >= size + (99 << 20));
        let kind = EntryKind::File { size: u64::MAX };
        plan.add(&Entry { path: b"x".to_vec(), kind, meta: Meta::mode(0o644) });
        assert!(plan.minimum(u64::MAX).is_err());
    }
}
