//! Blocks of the disk, the last ones kept.

use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{DiskError, Result};
use crate::io::ReadAt;

/// Blocks kept in memory.
const CACHED: usize = 512;

/// A block in memory.
type Held = (u64, Arc<Vec<u8>>);

/// The blocks of a file system, by where they are on disk.
pub(crate) struct Blocks<R> {
    source: R,
    pub size: u64,
    cache: Mutex<Vec<Option<Held>>>,
}

impl<R: ReadAt> Blocks<R> {
    pub fn new(source: R, size: u64) -> Blocks<R> {
        Blocks { source, size, cache: Mutex::new(vec![None; CACHED]) }
    }

    /// A block of metadata.
    pub fn get(&self, block: u64) -> Result<Arc<Vec<u8>>> {
        let slot = (block % CACHED as u64) as usize;
        let held = self.cache.lock().unwrap_or_else(PoisonError::into_inner)[slot].clone();
        if let Some((_, bytes)) = held.filter(|(at, _)| *at == block) {
            return Ok(bytes);
        }
        let mut bytes = vec![0; self.size as usize];
        self.read(block * self.size, &mut bytes)?;
        let bytes = Arc::new(bytes);
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)[slot] = Some((block, Arc::clone(&bytes)));
        Ok(bytes)
    }

    /// Reads from a byte on.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let read = self.source.read_exact_at(buf, offset);
        read.map_err(|source| DiskError::Read { what: "xfs file system", offset, source })
    }
}
