//! Blobs on their way in: `kiln/partial/<algorithm>-<hex>`.
//!
//! A download is written to a file that is named after the blob and locked by who writes it. When the network, the user
//! or a death breaks it off, the file stays, and the next download of the blob goes on where it ends. Nothing takes such
//! a file for the blob: what is in it counts only when all of it was compared with the digest, and a power failure, which
//! may have torn it, costs no more than fetching it again. What nobody goes on with, [`Store::prune`] removes.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use kiln_oci::Digest;

use crate::error::at;
use crate::temp::TempFile;
use crate::{BlobWriter, Kind, Result, Store, StoreError, lock};

impl Store {
    /// Begins the download of a blob of `size` bytes, or goes on with one that was broken off:
    /// [`BlobWriter::written`] says how many bytes there are, and [`BlobWriter::replay`] gives them. Whoever commits it
    /// has compared all bytes, also those, with the digest.
    ///
    /// While another process downloads the same blob, this waits, asking `cancelled` now and then; `None` if the blob is
    /// here afterwards.
    ///
    /// # Errors
    /// When the store is read-only, the file cannot be opened, or waiting was cancelled.
    pub fn download(&self, digest: &Digest, size: u64, cancelled: &dyn Fn() -> bool) -> Result<Option<BlobWriter>> {
        self.writable("download a blob")?;
        let path = self.place(Kind::Partial, digest);
        let file = lock::wait_for_file(&path, &digest.to_string(), cancelled)?;
        let temp = TempFile::resumable(file, path.clone());
        if self.has_blob(digest) {
            return Ok(None);
        }
        let failed = at(&path, |path, source| StoreError::WriteBlob { path, source });
        let resume = || -> io::Result<u64> {
            let mut file = &temp.file;
            let length = file.metadata()?.len();
            // Too many bytes are of something else.
            if length > size {
                file.set_len(0)?;
            }
            file.seek(SeekFrom::End(0))
        };
        let written = resume().map_err(failed)?;
        Ok(Some(BlobWriter::resumed(self, temp, written).limit(size)))
    }

    /// How many bytes of a blob a download, of whatever process, has brought so far.
    pub fn downloaded(&self, digest: &Digest) -> u64 {
        fs::symlink_metadata(self.place(Kind::Partial, digest)).map_or(0, |m| m.len())
    }

    /// What a download of a blob has brought so far, to be read while it goes on: `None` if there is none. Nobody has
    /// compared it with the digest; when the blob is whole, the open file has all of it.
    pub fn open_partial(&self, digest: &Digest) -> Option<fs::File> {
        let file = fs::File::open(self.place(Kind::Partial, digest)).ok()?;
        file.metadata().is_ok_and(|meta| meta.is_file()).then_some(file)
    }

    pub(crate) fn partial_name(digest: &Digest) -> PathBuf {
        Path::new("partial").join(format!("{}-{}", digest.algorithm(), digest.hex()))
    }
}

impl BlobWriter {
    /// Gives what was written so far, from the start, in pieces.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn replay(&mut self, piece: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let mut file = self.file();
        file.rewind()?;
        let mut buffer = vec![0; 256 << 10];
        let mut left = self.written();
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            match file.read(&mut buffer[..most]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    piece(&buffer[..n]);
                    left -= n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}
