//! Tar ↔ blob.
//!
//! What [`Compressor`] writes depends on its input and its [`Compression`] only: not on the number of threads, nor on
//! how the input is cut into writes. Input is handled in blocks of [`BLOCK`] bytes; a stream that fits in one block is
//! compressed where it is written, without a thread.
//!
//! Adding a compression: a variant of [`Compression`] and of `Codec`, its media types in [`media`], a row in
//! the golden-digest test.

mod ahead;
mod deflate;
mod detect;
mod gzip;
mod hash;
mod zstd;

use std::io::{self, Write};
use std::mem;
use std::sync::Arc;

pub use ahead::ReadAhead;
pub use detect::{Bounds, Format, archive_format, decompress, decompress_within, detect};
pub(crate) use hash::HashLane;

use crate::media;

/// The unit of work, in bytes of input.
pub const BLOCK: usize = 1 << 20;

/// The level of gzip unless another is asked for. At 3 layers are as small as those of podman and buildah (a Debian base:
/// 63.3 MB each); 6 makes them 2.6 % smaller, and takes 1.2 times as long for programs and 5 times for text of few words.
pub const GZIP_LEVEL: u32 = 3;

/// How a layer's tar becomes a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// The blob is the tar.
    None,
    /// One gzip member.
    Gzip {
        /// 1 (fast) to 9 (small).
        level: u32,
    },
    /// One zstd frame.
    Zstd {
        /// 1 (fast) to 19 (small).
        level: i32,
    },
}

impl Default for Compression {
    fn default() -> Self {
        Compression::Gzip { level: GZIP_LEVEL }
    }
}

impl Compression {
    /// The media type of a layer compressed so, in OCI's or Docker's naming.
    pub fn media_type(&self, docker: bool) -> &'static str {
        match (self, docker) {
            (Compression::None, false) => media::OCI_LAYER,
            (Compression::None, true) => media::DOCKER_LAYER,
            (Compression::Gzip { .. }, false) => media::OCI_LAYER_GZIP,
            (Compression::Gzip { .. }, true) => media::DOCKER_LAYER_GZIP,
            (Compression::Zstd { .. }, false) => media::OCI_LAYER_ZSTD,
            (Compression::Zstd { .. }, true) => media::DOCKER_LAYER_ZSTD,
        }
    }

    /// The compression with its level brought into the range the codec has.
    fn clamped(self) -> Compression {
        match self {
            Compression::None => Compression::None,
            Compression::Gzip { level } => Compression::Gzip { level: level.clamp(1, 9) },
            Compression::Zstd { level } => Compression::Zstd { level: level.clamp(1, 19) },
        }
    }
}

/// Bytes shared between the threads that hash and compress them.
pub(crate) type Shared = Arc<Vec<u8>>;

enum Codec<W: Write> {
    None(W),
    Gzip(Box<gzip::Gzip<W>>),
    Zstd(zstd::Zstd<W>),
}

/// A writer that compresses on several threads. [`Compressor::finish`] must be called; dropping it loses the end.
pub struct Compressor<W: Write> {
    codec: Codec<W>,
    block: Vec<u8>,
    /// Also gets every block, before it is compressed.
    tap: Option<HashLane>,
}

impl<W: Write> Compressor<W> {
    /// Compresses to `inner` with up to `threads` threads beside the caller's; 0 counts as 1.
    ///
    /// At most `threads + 2` blocks are held in memory (zstd: as many jobs of 4 MiB). `inner` gets large writes.
    pub fn new(inner: W, compression: Compression, threads: usize) -> Self {
        Compressor::tapped(inner, compression, threads, None)
    }

    pub(crate) fn tapped(inner: W, compression: Compression, threads: usize, tap: Option<HashLane>) -> Self {
        let threads = threads.clamp(1, 64);
        let codec = match compression.clamped() {
            Compression::None => Codec::None(inner),
            Compression::Gzip { level } => Codec::Gzip(Box::new(gzip::Gzip::new(inner, level, threads))),
            Compression::Zstd { level } => Codec::Zstd(zstd::Zstd::new(inner, level, threads)),
        };
        Compressor { codec, block: Vec::new(), tap }
    }

    /// Compresses what is left and returns the writer, flushed.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn finish(self) -> io::Result<W> {
        Ok(self.finish_tapped()?.0)
    }

    pub(crate) fn finish_tapped(mut self) -> io::Result<(W, Option<HashLane>)> {
        let block = Arc::new(mem::take(&mut self.block));
        if let Some(tap) = &mut self.tap {
            tap.update_last(&block);
        }
        let mut inner = match self.codec {
            Codec::None(mut inner) => {
                inner.write_all(&block)?;
                inner
            }
            Codec::Gzip(gzip) => gzip.finish(block)?,
            Codec::Zstd(zstd) => zstd.finish(&block)?,
        };
        inner.flush()?;
        Ok((inner, self.tap))
    }

    /// Hands a full block on; more will follow.
    fn hand_on(&mut self) -> io::Result<()> {
        let block = Arc::new(mem::take(&mut self.block));
        if let Some(tap) = &mut self.tap {
            tap.update(&block)?;
        }
        match &mut self.codec {
            Codec::None(inner) => inner.write_all(&block)?,
            Codec::Gzip(gzip) => gzip.block(Arc::clone(&block))?,
            Codec::Zstd(zstd) => zstd.block(&block)?,
        }
        // The memory is used again where no other thread has it.
        self.block = Arc::try_unwrap(block).unwrap_or_else(|_| Vec::with_capacity(BLOCK));
        self.block.clear();
        Ok(())
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        // A full block is kept until more comes: only then is it known not to be the last.
        if self.block.len() == BLOCK && !buf.is_empty() {
            self.hand_on()?;
        }
        let n = buf.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&buf[..n]);
        Ok(n)
    }

    /// Does nothing: where blocks end must depend on the input alone.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
