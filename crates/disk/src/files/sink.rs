//! The target: blocks that follow each other are written together.

use super::{BLOCK, BLOCK64};
use crate::error::{DiskError, Result};
use crate::io::WriteAt;

const BUFFER: usize = 1 << 20;

/// Writes blocks to a target, many at a time.
pub(crate) struct Sink<W> {
    target: W,
    held: Vec<u8>,
    /// The block at which `held` starts.
    at: u64,
}

impl<W: WriteAt> Sink<W> {
    pub fn new(target: W) -> Sink<W> {
        Sink { target, held: Vec::with_capacity(BUFFER), at: 0 }
    }

    /// Writes whole blocks; a part of one at the end is filled with zeros.
    pub fn write(&mut self, block: u64, data: &[u8]) -> Result<()> {
        let next = self.at + (self.held.len() / BLOCK) as u64;
        if block != next || self.held.len() + data.len() > BUFFER {
            self.flush()?;
            self.at = block;
        }
        self.held.extend_from_slice(data);
        self.held.resize(self.held.len().next_multiple_of(BLOCK), 0);
        Ok(())
    }

    /// Writes what is held back.
    pub fn flush(&mut self) -> Result<()> {
        if !self.held.is_empty() {
            let offset = self.at * BLOCK64;
            self.target.write_at(&self.held, offset).map_err(|source| DiskError::Write {
                what: "file system",
                offset,
                source,
            })?;
        }
        self.at += (self.held.len() / BLOCK) as u64;
        self.held.clear();
        Ok(())
    }

    /// Makes the target zeros, from its start on.
    pub fn clear(&mut self, len: u64) -> Result<()> {
        self.target.zero_at(0, len).map_err(|source| DiskError::Write { what: "zeros", offset: 0, source })
    }

    /// How long the target is.
    pub fn len(&self) -> Result<u64> {
        self.target.len().map_err(|source| DiskError::Write { what: "file system", offset: 0, source })
    }
}
