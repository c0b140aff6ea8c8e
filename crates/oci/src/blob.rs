//! Making a layer's blob in one pass.
//!
//! ```text
//! producer → tar bytes → blocks → sha256 (diff id)           its own thread
//!                             └→ compressor                  its own threads
//!                                   └→ sha256 (digest) → W   the producer's thread
//! ```
//! Nothing is read or compressed twice; memory is a few blocks.

use std::io::{self, Write};

use crate::compress::{Compression, Compressor, HashLane};
use crate::{Descriptor, Digest, Hasher};

/// What is known of a layer once its blob is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerDigests {
    /// The digest of the uncompressed tar.
    pub diff_id: Digest,
    /// The digest of the blob.
    pub digest: Digest,
    /// The length of the blob in bytes.
    pub size: u64,
    /// The length of the uncompressed tar in bytes.
    pub tar_size: u64,
    /// How the tar was compressed.
    pub compression: Compression,
}

impl LayerDigests {
    /// The blob's media type, in OCI's or Docker's naming.
    pub fn media_type(&self, docker: bool) -> &'static str {
        self.compression.media_type(docker)
    }

    /// The blob's descriptor, in OCI's or Docker's naming.
    pub fn descriptor(&self, docker: bool) -> Descriptor {
        Descriptor::new(self.media_type(docker), self.digest.clone(), self.size)
    }
}

/// Takes a layer's tar and writes its blob.
pub struct LayerSink<W: Write> {
    compressor: Compressor<BlobWriter<W>>,
    compression: Compression,
}

impl<W: Write> LayerSink<W> {
    /// Writes the blob to `inner`, in large writes, compressing with up to `threads` threads.
    pub fn new(inner: W, compression: Compression, threads: usize) -> Self {
        // The digest of an uncompressed blob is its diff id: hashing it again would tell nothing.
        let hasher = (compression != Compression::None).then(Hasher::new);
        let blob = BlobWriter { inner, hasher, count: 0 };
        LayerSink { compressor: Compressor::tapped(blob, compression, threads, Some(HashLane::new())), compression }
    }

    /// Ends the blob.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn finish(self) -> io::Result<(W, LayerDigests)> {
        let (blob, tap) = self.compressor.finish_tapped()?;
        let (diff_id, tar_size) = tap.ok_or_else(|| io::Error::other("the layer was not hashed"))?.finish()?;
        let digest = blob.hasher.map_or_else(|| diff_id.clone(), Hasher::finish);
        let digests = LayerDigests { diff_id, digest, size: blob.count, tar_size, compression: self.compression };
        Ok((blob.inner, digests))
    }
}

impl<W: Write> Write for LayerSink<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.compressor.write(buf)
    }

    /// Does nothing: where blocks end must depend on the input alone.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct BlobWriter<W> {
    inner: W,
    hasher: Option<Hasher>,
    count: u64,
}

impl<W: Write> Write for BlobWriter<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(buf)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buf[..n]);
        }
        self.count += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
