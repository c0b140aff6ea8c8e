//! Blocks of the disk, as they are once the journal's changes are in their places.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::damaged;
use crate::cache::Cache;
use crate::error::{DiskError, Result};
use crate::io::ReadAt;

/// Blocks kept in memory.
const CACHED: usize = 512;

/// Where the journal has a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Journaled {
    /// The block in which it is.
    pub at: u64,
    /// Its first four bytes are the journal's magic number, and were taken out.
    pub escaped: bool,
}

/// The blocks of a file system.
pub(crate) struct Blocks<R> {
    source: R,
    pub size: u64,
    pub count: u64,
    /// What the journal has newer, by block.
    newer: BTreeMap<u64, Journaled>,
    cache: Cache,
}

impl<R: ReadAt> Blocks<R> {
    pub fn new(source: R, size: u64, count: u64) -> Blocks<R> {
        Blocks { source, size, count, newer: BTreeMap::new(), cache: Cache::new(CACHED) }
    }

    /// From now on, what the journal has takes the place of what is older.
    pub fn set_newer(&mut self, newer: BTreeMap<u64, Journaled>) {
        self.newer = newer;
        self.cache.clear();
    }

    /// A block of metadata.
    pub fn get(&self, block: u64) -> Result<Arc<Vec<u8>>> {
        self.cache.get(block, block, || {
            let mut bytes = vec![0; self.size as usize];
            self.read(block, 0, &mut bytes)?;
            Ok(bytes)
        })
    }

    /// Reads from `within` a block on, into the blocks that follow.
    pub fn read(&self, mut block: u64, mut within: u64, mut buf: &mut [u8]) -> Result<()> {
        let end = (block + 1).saturating_add((within + buf.len() as u64).div_ceil(self.size)).saturating_sub(1);
        if end > self.count {
            return Err(damaged(&format!("block {block}"), "it is beyond the end of the disk".to_owned()));
        }
        while !buf.is_empty() {
            // All at once, up to a block that the journal has.
            let next = self.newer.range(block..end).next();
            let (at, len, escaped) = match next {
                Some((newer, place)) if *newer == block => (place.at, self.size - within, place.escaped),
                Some((newer, _)) => (block, (newer - block) * self.size - within, false),
                None => (block, buf.len() as u64, false),
            };
            let (part, rest) = buf.split_at_mut(usize::try_from(len).unwrap_or(usize::MAX).min(buf.len()));
            let offset = at * self.size + within;
            let read = self.source.read_exact_at(part, offset);
            read.map_err(|source| DiskError::Read { what: "ext4 file system", offset, source })?;
            if escaped {
                let magic = super::journal::MAGIC.to_be_bytes();
                part.iter_mut().zip(magic.iter().skip(within as usize)).for_each(|(b, m)| *b = *m);
            }
            block += (within + part.len() as u64) / self.size;
            within = (within + part.len() as u64) % self.size;
            buf = rest;
        }
        Ok(())
    }
}
