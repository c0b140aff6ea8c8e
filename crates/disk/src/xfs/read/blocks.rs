//! Blocks of the disk, the last ones kept.

use std::sync::Arc;

use crate::cache::Cache;
use crate::error::{DiskError, Result};
use crate::io::ReadAt;

/// Blocks kept in memory.
const CACHED: usize = 512;

/// The blocks of a file system, by where they are on disk.
pub(crate) struct Blocks<R> {
    source: R,
    pub size: u64,
    cache: Cache,
}

impl<R: ReadAt> Blocks<R> {
    pub fn new(source: R, size: u64) -> Blocks<R> {
        Blocks { source, size, cache: Cache::new(CACHED) }
    }

    /// A block of metadata.
    pub fn get(&self, block: u64) -> Result<Arc<Vec<u8>>> {
        self.cache.get(block, block, || {
            let mut bytes = vec![0; self.size as usize];
            self.read(block * self.size, &mut bytes)?;
            Ok(bytes)
        })
    }

    /// Reads from a byte on.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let read = self.source.read_exact_at(buf, offset);
        read.map_err(|source| DiskError::Read { what: "xfs file system", offset, source })
    }
}
