//! How much space a tree needs, from its entries alone.

use kiln_oci::{Entry, EntryKind};

use super::raw::{FORMAT, NODE64};
use super::space::LEAST;
use super::{INLINE, MAX_EXTENT};
use crate::error::{DiskError, Result};
use crate::files::BLOCK64;

/// What the system's chunk and the superblocks take.
const OWN: u64 = 18 << 20;

/// Counts what a tree needs, without the bodies of its files: holes in them make it less.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    data: u64,
    metadata: u64,
}

impl Plan {
    /// For an empty tree.
    pub fn new() -> Plan {
        Plan::default()
    }

    /// Adds an entry that will come. One that [`Writer::append`](super::Writer::append) refuses counts for little.
    pub fn add(&mut self, entry: &Entry) {
        let attrs: usize = entry.meta.xattrs.iter().map(|(name, value)| 60 + name.len() + value.len()).sum();
        // An inode, its name, the same by its sum and by its place in the directory.
        let mut need = 420 + 3 * entry.path.len().min(260) as u64 + attrs as u64;
        match &entry.kind {
            EntryKind::File { size } if *size <= INLINE => need += 50 + size,
            EntryKind::File { size } => {
                let size = size.div_ceil(BLOCK64).saturating_mul(BLOCK64);
                self.data = self.data.saturating_add(size);
                // Two items for each extent; a sum for each block.
                need += 160 * (2 + size / MAX_EXTENT) + size / BLOCK64 * 4;
            }
            EntryKind::Symlink { target } => need += 50 + target.len() as u64,
            _ => {}
        }
        self.metadata = self.metadata.saturating_add(need);
    }

    /// The size in bytes of a file system, a multiple of 1 MiB, that has room for the tree and `slack` bytes more.
    ///
    /// # Errors
    /// When that is more than btrfs can be.
    pub fn minimum(&self, slack: u64) -> Result<u64> {
        // Leaves are not quite full, and everything is there twice.
        let metadata = self.metadata.saturating_add(self.metadata / 4).saturating_add(32 * NODE64);
        let sums = [OWN, self.data, metadata, metadata, slack, 1 << 20];
        let need = sums.into_iter().fold(0, u64::saturating_add).max(LEAST);
        let size = need.checked_next_multiple_of(1 << 20).filter(|size| *size < 1 << 60);
        let why = || "the files are more than it can ever hold".to_owned();
        size.ok_or_else(|| DiskError::Options { format: FORMAT, why: why() })
    }
}
