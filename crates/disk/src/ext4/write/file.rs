//! The bodies of files: read once, written where the next free blocks are, without their long runs of zeros.

use std::io::{self, ErrorKind, Read};

use kiln_oci::name::escape;

use super::extents::{self, Extent};
use super::geometry::{BLOCK, BLOCK64};
use super::inode::Inode;
use super::{Writer, refuse};
use crate::error::{DiskError, Result};
use crate::image::is_zero;
use crate::io::WriteAt;

/// As many zero blocks in a row become a hole; fewer would cost more in extents than they save.
const HOLE: u32 = 8;
/// Blocks of a file are counted with 32 bits.
const MAX_SIZE: u64 = (u32::MAX as u64) * BLOCK64;

/// How far the body of a file is written.
#[derive(Default)]
struct Progress {
    extents: Vec<Extent>,
    /// The next block of the file.
    block: u32,
    /// Zero blocks before it of which it is not known yet whether they become a hole.
    zeros: u32,
}

impl<W: WriteAt> Writer<W> {
    /// Writes the body of a file, exactly `size` bytes of it, and notes in the inode where it is.
    pub(super) fn body(
        &mut self,
        path: &[u8],
        ino: u32,
        inode: &mut Inode,
        size: u64,
        body: &mut dyn Read,
    ) -> Result<()> {
        if size > MAX_SIZE {
            return Err(refuse(path, &format!("it has {size} bytes, {MAX_SIZE} are the most")));
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut progress = Progress::default();
        let mut left = size;
        while left > 0 {
            let part = usize::try_from(left).unwrap_or(usize::MAX).min(scratch.len());
            fill(body, &mut scratch[..part]).map_err(|source| DiskError::Body { path: escape(path), source })?;
            self.blocks(path, &mut progress, &scratch[..part])?;
            left -= part as u64;
        }
        self.scratch = scratch;
        self.settle(path, &mut progress)?;
        inode.size = size;
        self.map(path, ino, inode, &progress.extents)
    }

    /// Writes the next bytes of a file: whole blocks, but at its end.
    fn blocks(&mut self, path: &[u8], progress: &mut Progress, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let full = run(bytes, |block| !is_zero(block));
            if full > 0 {
                self.settle(path, progress)?;
                self.data(path, progress, &bytes[..full])?;
            }
            bytes = &bytes[full..];
            let zeros = run(bytes, is_zero);
            progress.zeros += zeros.div_ceil(BLOCK) as u32;
            bytes = &bytes[zeros..];
        }
        Ok(())
    }

    /// Decides about the zeros before the next block.
    fn settle(&mut self, path: &[u8], progress: &mut Progress) -> Result<()> {
        let zeros = std::mem::take(&mut progress.zeros);
        if zeros >= HOLE {
            progress.block += zeros;
            return Ok(());
        }
        self.data(path, progress, &[0; BLOCK * HOLE as usize][..zeros as usize * BLOCK])
    }

    fn data(&mut self, path: &[u8], progress: &mut Progress, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let place = self.take(path, bytes.len().div_ceil(BLOCK) as u64)?;
            let len = place.end - place.start;
            let (now, later) = bytes.split_at(bytes.len().min(len as usize * BLOCK));
            self.sink.write(place.start, now)?;
            extents::push(&mut progress.extents, progress.block, place.start, len);
            progress.block += len as u32;
            bytes = later;
        }
        Ok(())
    }
}

/// The bytes at the start whose blocks are all as wanted.
fn run(bytes: &[u8], wanted: impl Fn(&[u8]) -> bool) -> usize {
    bytes.chunks(BLOCK).take_while(|block| wanted(block)).map(<[u8]>::len).sum()
}

fn fill(body: &mut dyn Read, mut buf: &mut [u8]) -> io::Result<()> {
    while !buf.is_empty() {
        match body.read(buf) {
            Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "it is shorter than its entry says")),
            Ok(n) => buf = &mut buf[n..],
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
