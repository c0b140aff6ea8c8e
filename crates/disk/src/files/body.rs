//! The bodies of files: read once, a piece at a time, without their long runs of zeros.

use std::io::{self, ErrorKind, Read};

use kiln_oci::name::escape;

use super::{BLOCK, BLOCK64};
use crate::error::{DiskError, Result};
use crate::image::is_zero;

/// As many zero blocks in a row become a hole; fewer would cost more in extents than they save.
pub(crate) const HOLE: u64 = 8;
/// How much is read at a time.
pub(crate) const PIECE: usize = 256 << 10;

/// Reads the body of a file, exactly `size` bytes of it, and hands the blocks that are no hole to `put`: the number of
/// the first, and the bytes of some that follow each other. Only the last of a file may be no whole block.
///
/// # Errors
/// [`DiskError::Body`] for the file at `path`, and what `put` says.
pub(crate) fn pour(
    path: &[u8],
    size: u64,
    body: &mut dyn Read,
    scratch: &mut [u8],
    put: &mut dyn FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut progress = Progress { block: 0, zeros: 0, put };
    let mut left = size;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(scratch.len());
        fill(body, &mut scratch[..part]).map_err(|source| DiskError::Body { path: escape(path), source })?;
        progress.blocks(&scratch[..part])?;
        left -= part as u64;
    }
    progress.settle()
}

/// How far the body of a file is written.
struct Progress<'a> {
    /// The next block of the file.
    block: u64,
    /// Zero blocks from it on of which it is not known yet whether they become a hole.
    zeros: u64,
    put: &'a mut dyn FnMut(u64, &[u8]) -> Result<()>,
}

impl Progress<'_> {
    fn blocks(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let full = run(bytes, |block| !is_zero(block));
            if full > 0 {
                self.settle()?;
                (self.put)(self.block, &bytes[..full])?;
                self.block += (full as u64).div_ceil(BLOCK64);
            }
            bytes = &bytes[full..];
            let zeros = run(bytes, is_zero);
            self.zeros += (zeros as u64).div_ceil(BLOCK64);
            bytes = &bytes[zeros..];
        }
        Ok(())
    }

    /// Decides about the zeros before the next block.
    fn settle(&mut self) -> Result<()> {
        let zeros = std::mem::take(&mut self.zeros);
        if 0 < zeros && zeros < HOLE {
            (self.put)(self.block, &[0; BLOCK * HOLE as usize][..zeros as usize * BLOCK])?;
        }
        self.block += zeros;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_runs_of_zeros_are_left_out() {
        let mut body = vec![0; 40 * BLOCK + 10];
        for block in [3, 12, 14] {
            body[block * BLOCK] = 1;
        }
        let mut seen = Vec::new();
        let mut put = |block, bytes: &[u8]| {
            seen.push((block, bytes.len() / BLOCK));
            Ok(())
        };
        pour(b"x", body.len() as u64, &mut &body[..], &mut vec![0; 2 * BLOCK], &mut put).unwrap();
        assert_eq!(seen, [(0, 3), (3, 1), (12, 1), (13, 1), (14, 1)]);
        let short = pour(b"x", 2, &mut &b"1"[..], &mut [0; BLOCK], &mut |_, _| Ok(())).unwrap_err();
        assert!(short.to_string().contains("shorter than its entry says"), "{short}");
    }
}
