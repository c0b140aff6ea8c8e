//! How much space a tree needs, from its entries alone.

use std::collections::HashMap;

use kiln_oci::name::split;
use kiln_oci::{Entry, EntryKind};

use super::dir;
use super::extents::PER_BLOCK;
use super::geometry::{BLOCK64, Geometry, journal_blocks};
use super::options::Options;
use super::{Inode, xattr};
use crate::error::{DiskError, Result};
use crate::ext4::raw::FORMAT;

/// Inodes that every file system has.
const OWN_INODES: u32 = 11;
/// Blocks of a file that lie together between the tables of two groups, at the least.
const TOGETHER: u64 = 30_000;

/// Counts what a tree needs, without the bodies of its files: holes in them make it less.
#[derive(Debug, Clone)]
pub struct Plan {
    blocks: u64,
    inodes: u32,
    /// The bytes of the names in each directory.
    dirs: HashMap<Vec<u8>, u64>,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan::new()
    }
}

impl Plan {
    /// For an empty tree.
    pub fn new() -> Plan {
        let own = dir::entry_len(b"lost+found") as u64;
        Plan { blocks: 0, inodes: 0, dirs: HashMap::from([(Vec::new(), own)]) }
    }

    /// Adds an entry that will come. One that [`Writer::append`](super::Writer::append) refuses counts for little.
    pub fn add(&mut self, entry: &Entry) {
        let path = entry.path.as_slice();
        if let Ok(xattr::Placed { block: Some(_), .. }) = xattr::place(&entry.meta.xattrs) {
            self.blocks += 1;
        }
        match &entry.kind {
            EntryKind::Dir => return self.directory(path),
            EntryKind::Hardlink { .. } => {}
            EntryKind::File { size } => {
                self.inodes = self.inodes.saturating_add(1);
                self.blocks = self.blocks.saturating_add(blocks_of(*size));
            }
            EntryKind::Symlink { target } => {
                self.inodes = self.inodes.saturating_add(1);
                self.blocks += u64::from(target.len() >= Inode::FAST_LINK);
            }
            _ => self.inodes = self.inodes.saturating_add(1),
        }
        self.name(path);
    }

    fn directory(&mut self, path: &[u8]) {
        if !self.dirs.contains_key(path) {
            self.dirs.insert(path.to_vec(), 0);
            self.inodes = self.inodes.saturating_add(u32::from(path != b"lost+found"));
            if path != b"lost+found" {
                self.name(path);
            }
        }
    }

    fn name(&mut self, path: &[u8]) {
        let (parent, base) = split(path);
        self.directory(parent);
        if let Some(bytes) = self.dirs.get_mut(parent) {
            *bytes += dir::entry_len(base) as u64;
        }
    }

    /// The inodes that the tree takes, with those that every file system has.
    pub fn inodes(&self) -> u32 {
        self.inodes.saturating_add(OWN_INODES)
    }

    /// The size in bytes of a file system, a multiple of 1 MiB, that has room for the tree and `slack` bytes more.
    /// The size in `options` does not matter.
    ///
    /// # Errors
    /// When that is more than ext4 can be.
    pub fn minimum(&self, options: &Options, slack: u64) -> Result<u64> {
        const STEP: u64 = (1 << 20) / BLOCK64;
        let mut options = options.clone();
        options.inodes = Some(options.inodes.unwrap_or(0).max(self.inodes()));
        let dirs: u64 = self.dirs.values().map(|bytes| dir::most_blocks(*bytes)).sum();
        // The tree of the resize inode, of the journal, and `lost+found` have blocks as well.
        let need = self.blocks.saturating_add(dirs + 16).saturating_add(slack.div_ceil(BLOCK64));
        let mut blocks = need.max(STEP).checked_next_multiple_of(STEP).unwrap_or(u64::MAX);
        loop {
            let has = match Geometry::new(blocks, &options) {
                Ok(geometry) => geometry.free().saturating_sub(journal_blocks(geometry.blocks)),
                Err(e) if blocks > u64::from(u32::MAX) => return Err(e),
                Err(_) => 0,
            };
            let missing = need.saturating_sub(has);
            if missing == 0 {
                return Ok(blocks * BLOCK64);
            }
            // Each step is at least one further, and few are needed: what is missing is what the tables take.
            let step = if has == 0 { blocks / 8 } else { missing };
            blocks = blocks.saturating_add(step.max(1)).checked_next_multiple_of(STEP).ok_or_else(too_big)?;
        }
    }
}

fn too_big() -> DiskError {
    DiskError::Options { format: FORMAT, why: "the files are more than it can ever hold".to_owned() }
}

/// The blocks of a file's data and of its extents, as if it had no hole and every group split it twice.
fn blocks_of(size: u64) -> u64 {
    let data = size.div_ceil(BLOCK64);
    let extents = 2 * (data / TOGETHER + 1);
    if extents <= 4 { data } else { data + extents.div_ceil(PER_BLOCK as u64) * 2 + 1 }
}

#[cfg(test)]
mod tests {
    use kiln_oci::Meta;

    use super::*;

    #[test]
    fn the_minimum_grows_with_the_tree() {
        let options = Options::new(0, [1; 16]);
        let mut plan = Plan::new();
        let empty = plan.minimum(&options, 0).unwrap();
        assert!(empty <= 2 << 20, "{empty}");
        for n in 0..1000 {
            let kind = EntryKind::File { size: 1 << 20 };
            plan.add(&Entry { path: format!("d/f{n}").into_bytes(), kind, meta: Meta::mode(0o644) });
        }
        let size = plan.minimum(&options, 0).unwrap();
        assert!((1000 << 20..1100 << 20).contains(&size), "{size}");
        assert!(plan.minimum(&options, 100 << 20).unwrap() >= size + (100 << 20));
        assert_eq!(plan.inodes(), 11 + 1001);
        let kind = EntryKind::File { size: u64::MAX };
        plan.add(&Entry { path: b"x".to_vec(), kind, meta: Meta::mode(0o644) });
        assert!(plan.minimum(&options, u64::MAX).is_err());
    }
}
