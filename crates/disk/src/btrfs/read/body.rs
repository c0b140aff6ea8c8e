//! The bytes of a file, read where they are, a piece at a time.

use std::io::{self, Read};

use kiln_oci::name::escape;

use super::extents::{HEAD, Place, Run};
use super::inode::Inode;
use super::{Image, damaged};
use crate::error::{DiskError, Result};
use crate::io::ReadAt;

/// Bytes that are read at once, a multiple of any block.
const PIECE: u64 = 256 << 10;

/// The bytes of a file, from its start to its end. Holes read as zeros without the disk being asked.
pub struct Body<'a, R> {
    image: &'a Image<R>,
    inode: Inode,
    /// What errors call it.
    title: String,
    at: u64,
    run: Option<Run>,
    /// Bytes that were read, and which byte of the file is the first of them.
    piece: (u64, Vec<u8>),
}

impl<'a, R: ReadAt> Body<'a, R> {
    /// Of a file at a path, or of what has none.
    pub(super) fn new(image: &'a Image<R>, inode: Inode, path: Option<&[u8]>) -> Body<'a, R> {
        let title = path.map_or_else(|| image.title("inode", inode.node), |path| format!("`/{}`", escape(path)));
        Body { image, inode, title, at: 0, run: None, piece: (0, Vec::new()) }
    }

    /// How many bytes the file has.
    pub fn size(&self) -> u64 {
        self.inode.size
    }

    /// How many bytes from here on are zeros without being stored.
    ///
    /// # Errors
    /// When what says where the file is cannot be read or makes no sense.
    pub fn hole(&mut self) -> Result<u64> {
        if self.at >= self.inode.size {
            return Ok(0);
        }
        let run = self.find()?;
        Ok(if matches!(run.at, Place::Hole) { run.end - self.at } else { 0 })
    }

    /// Goes on at another byte of the file.
    pub fn seek(&mut self, at: u64) {
        self.at = at;
    }

    /// The run in which the next byte is.
    fn find(&mut self) -> Result<Run> {
        match &self.run {
            Some(run) if (run.from..run.end).contains(&self.at) => Ok(run.clone()),
            _ => {
                let run = self.image.run(&self.inode, self.at)?;
                if !(run.from..run.end).contains(&self.at) {
                    return Err(damaged(&self.title, "its extents make no sense".to_owned()));
                }
                self.run = Some(run.clone());
                Ok(run)
            }
        }
    }

    /// Reads the piece in which the next byte of a run is.
    fn load(&mut self, run: &Run) -> Result<()> {
        let sector = self.image.superblock().sector_size;
        let sums = self.inode.sums();
        self.piece = match &run.at {
            Place::Hole => (run.from, Vec::new()),
            Place::Inline { item, packing, unpacked } => {
                let packed = item.bytes().get(HEAD..).unwrap_or_default();
                (run.from, self.unpack(packing.unpack(packed, *unpacked as usize, sector as usize))?)
            }
            Place::Plain(address) => {
                let skip = (self.at - run.from) / PIECE * PIECE;
                let len = (run.end - run.from).next_multiple_of(sector).saturating_sub(skip).min(PIECE);
                let bytes =
                    self.image.data(address.saturating_add(skip), len as usize, sums).map_err(|e| self.at_byte(e))?;
                (run.from + skip, bytes)
            }
            Place::Packed { at, len, packing, unpacked, skip } => {
                let packed = self.image.data(*at, *len as usize, sums).map_err(|e| self.at_byte(e))?;
                let mut bytes = self.unpack(packing.unpack(&packed, *unpacked as usize, sector as usize))?;
                bytes.drain(..bytes.len().min(*skip as usize));
                (run.from, bytes)
            }
        };
        // What is behind the run, the next one has.
        self.piece.1.truncate(usize::try_from(run.end.saturating_sub(self.piece.0)).unwrap_or(usize::MAX));
        Ok(())
    }

    fn unpack(&self, unpacked: Result<Vec<u8>, &'static str>) -> Result<Vec<u8>> {
        unpacked.map_err(|why| damaged(&format!("{} at byte {}", self.title, self.at), why.to_owned()))
    }

    /// Damage, with the file and the byte it is found at.
    fn at_byte(&self, e: DiskError) -> DiskError {
        match e {
            DiskError::Damaged { format, what, why } => {
                DiskError::Damaged { format, what: format!("{} at byte {}: {what}", self.title, self.at), why }
            }
            other => other,
        }
    }
}

impl<R: ReadAt> Read for Body<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.inode.size.saturating_sub(self.at);
        if left == 0 || buf.is_empty() {
            return Ok(0);
        }
        let run = self.find().map_err(io::Error::other)?;
        let n = usize::try_from(left.min(run.end - self.at)).unwrap_or(usize::MAX).min(buf.len());
        if matches!(run.at, Place::Hole) {
            buf[..n].fill(0);
            self.at += n as u64;
            return Ok(n);
        }
        let held = self.piece.0..self.piece.0 + self.piece.1.len() as u64;
        if !held.contains(&self.at) {
            self.load(&run).map_err(io::Error::other)?;
        }
        let from = usize::try_from(self.at.saturating_sub(self.piece.0)).unwrap_or(usize::MAX);
        let there = self.piece.1.get(from..).unwrap_or_default();
        let n = n.min(there.len());
        if n == 0 {
            let e = damaged(&self.title, format!("it has nothing at byte {}", self.at));
            return Err(io::Error::other(e));
        }
        buf[..n].copy_from_slice(&there[..n]);
        self.at += n as u64;
        Ok(n)
    }
}
