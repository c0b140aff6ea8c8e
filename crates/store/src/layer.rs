//! What is known of a layer, found by its diff id: its listing, its tar, and the blobs that hold it compressed.
//!
//! ```text
//! kiln/index/<diff>          the listing, as the caller encodes it
//! kiln/tars/<diff>           the uncompressed tar
//! kiln/diffs/<diff>/<blob>   a [`LayerRecord`] for each blob
//! kiln/diffs/<blob>.of       the same record, found by the blob
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use kiln_oci::Digest;
use serde::{Deserialize, Serialize};

use crate::temp::ignore_missing;
use crate::{BlobWriter, Kind, Result, Store, StoreError, record};

/// A blob that holds a layer in some compression.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRecord {
    /// The digest of the uncompressed tar.
    pub diff_id: Digest,
    /// The digest of the blob.
    pub digest: Digest,
    /// The length of the blob in bytes.
    pub size: u64,
    /// The media type of the blob, which says how it is compressed.
    pub media_type: String,
}

/// Takes the bytes of an uncompressed layer, hashing them. Dropped without a commit, it leaves nothing.
pub struct TarWriter(BlobWriter);

impl Store {
    /// Keeps the listing of a layer, as bytes only the caller understands.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn index_put(&self, diff_id: &Digest, listing: &[u8]) -> Result<()> {
        record::write(self, &self.place(Kind::Index, diff_id), &format!("index {diff_id}"), listing)
    }

    /// The listing of a layer, if one was kept. A damaged one is removed, with a warning, and counts as none.
    pub fn index_get(&self, diff_id: &Digest) -> Option<Vec<u8>> {
        let path = self.place(Kind::Index, diff_id);
        let listing = record::read_or_discard(self, &path, &format!("index {diff_id}"))?;
        self.stamp(Kind::Index, &diff_id.to_string(), &path);
        Some(listing)
    }

    /// Begins to keep the uncompressed tar of a layer.
    ///
    /// # Errors
    /// When the store is read-only or no file can be made.
    pub fn tar_writer(&self) -> Result<TarWriter> {
        self.blob_writer().map(|w| TarWriter(w.unhurried()))
    }

    /// Begins to keep the uncompressed tar of a layer whose diff id the caller computes.
    ///
    /// # Errors
    /// When the store is read-only or no file can be made.
    pub fn raw_tar_writer(&self) -> Result<TarWriter> {
        self.raw_blob_writer().map(|w| TarWriter(w.unhurried()))
    }

    /// The file with the uncompressed tar of a layer, if it is here. With a lease, it stays.
    pub fn tar_path(&self, diff_id: &Digest) -> Option<PathBuf> {
        self.find(Kind::Tar, diff_id)
    }

    /// Opens the uncompressed tar of a layer, if it is here.
    ///
    /// # Errors
    /// [`StoreError::ReadBlob`] when it is here and cannot be opened.
    pub fn open_tar(&self, diff_id: &Digest) -> Result<Option<File>> {
        let Some(path) = self.tar_path(diff_id) else { return Ok(None) };
        match File::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::ReadBlob { digest: diff_id.clone(), path, source }),
        }
    }

    /// Remembers that a blob holds a layer. The caller has verified it by uncompressing the blob, or made it so.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn record_layer(&self, layer: &LayerRecord) -> Result<()> {
        let dir = self.place(Kind::Layer, &layer.diff_id);
        let bytes = serde_json::to_vec(layer).unwrap_or_default();
        for path in [dir.join(layer.digest.hex()), self.blob_record_path(&layer.digest)] {
            let known = record::read(&path, LAYER_LABEL).is_ok_and(|r| r.is_some_and(|r| r.is_ok_and(|b| b == bytes)));
            if !known {
                record::write(self, &path, LAYER_LABEL, &bytes)?;
            }
        }
        Ok(())
    }

    /// What is known of the layer a blob holds.
    pub fn layer_of(&self, blob: &Digest) -> Option<LayerRecord> {
        let path = self.blob_record_path(blob);
        let layer = self.read_layer(&path).filter(|l| l.digest == *blob)?;
        self.stamp(Kind::Layer, &layer.diff_id.to_string(), &self.place(Kind::Layer, &layer.diff_id));
        Some(layer)
    }

    /// The diff id of the layer a blob holds, if it is known.
    pub fn diff_id_of(&self, blob: &Digest) -> Option<Digest> {
        self.layer_of(blob).map(|layer| layer.diff_id)
    }

    /// The blobs known to hold a layer, in the order of their digests. They need not be here: see [`Store::has_blob`].
    pub fn blobs_of(&self, diff_id: &Digest) -> Vec<LayerRecord> {
        let dir = self.place(Kind::Layer, diff_id);
        let files = crate::usage::files(&dir).unwrap_or_default();
        let mut layers: Vec<LayerRecord> =
            files.iter().filter_map(|(path, _)| self.read_layer(path)).filter(|l| l.diff_id == *diff_id).collect();
        layers.sort_by(|a, b| a.digest.cmp(&b.digest));
        if !layers.is_empty() {
            self.stamp(Kind::Layer, &diff_id.to_string(), &dir);
        }
        layers
    }

    fn read_layer(&self, path: &std::path::Path) -> Option<LayerRecord> {
        serde_json::from_slice(&record::read_or_discard(self, path, LAYER_LABEL)?).ok()
    }

    pub(crate) fn blob_record_path(&self, blob: &Digest) -> PathBuf {
        self.own("diffs").join(format!("{}.of", blob.hex()))
    }

    /// Forgets what is known of a layer's blobs.
    pub(crate) fn forget_layer(&self, diff_id: &Digest) -> io::Result<()> {
        let dir = self.place(Kind::Layer, diff_id);
        for (path, _) in crate::usage::files(&dir).unwrap_or_default() {
            if let Some(hex) = path.file_name() {
                let by_blob = self.own("diffs").join(format!("{}.of", hex.to_string_lossy()));
                fs::remove_file(by_blob).or_else(ignore_missing)?;
            }
            fs::remove_file(&path).or_else(ignore_missing)?;
        }
        fs::remove_dir(&dir).or_else(ignore_missing)
    }
}

/// One label for both places: the content says which blob and which layer it is about.
pub(crate) const LAYER_LABEL: &str = "layer";

impl TarWriter {
    /// Keeps the tar, if it has the diff id that is expected. Returns the diff id and the length in bytes.
    ///
    /// # Errors
    /// When the digest is another, or the bytes cannot be written.
    pub fn commit(mut self, expected: Option<&Digest>) -> Result<(Digest, u64)> {
        let actual = self.0.hashed()?;
        match expected.filter(|e| **e != actual) {
            Some(expected) => Err(StoreError::DigestMismatch { expected: expected.clone(), actual }),
            None => self.commit_hashed(actual),
        }
    }

    /// Keeps the tar under a diff id the caller computed from the very bytes that were written.
    ///
    /// # Errors
    /// When the bytes cannot be written.
    pub fn commit_hashed(self, diff_id: Digest) -> Result<(Digest, u64)> {
        let size = self.0.written();
        self.0.finish_unsettled(&diff_id)?;
        Ok((diff_id, size))
    }

    /// How many bytes were written.
    pub fn written(&self) -> u64 {
        self.0.written()
    }
}

impl Write for TarWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
