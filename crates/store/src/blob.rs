//! Bytes by digest.
//!
//! A blob is written to a temporary file while it is hashed, forced to the disk, and only then gets its name; so a
//! file below `blobs/` always has the bytes its name says, short of a failing disk ([`crate::fsck`] finds that).

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use kiln_oci::digest::HashReader;
use kiln_oci::{Digest, Hasher};

use crate::error::at;
use crate::lock::Gate;
use crate::temp::{self, TempFile};
use crate::{Kind, Result, Store, StoreError};

/// Large blobs go to the disk in portions of this many bytes while they are written, so that the commit has little to
/// wait for: the processor compresses the next portion meanwhile.
const PORTION: u64 = 16 << 20;

/// Takes the bytes of one blob. Dropped without a commit, it leaves nothing.
pub struct BlobWriter {
    store: Store,
    temp: TempFile,
    hasher: Option<Hasher>,
    written: u64,
    limit: u64,
    flush: Flush,
}

/// The flushing of one file in the background.
struct Flush {
    running: Option<JoinHandle<io::Result<()>>>,
    next: u64,
}

impl Flush {
    fn new() -> Flush {
        Flush { running: None, next: PORTION }
    }

    /// Leaves all to the commit, or to the kernel.
    fn never() -> Flush {
        Flush { running: None, next: u64::MAX }
    }

    /// Starts a flush if a portion is complete and none is running.
    fn advance(&mut self, file: &File, written: u64) -> io::Result<()> {
        if written < self.next || self.running.as_ref().is_some_and(|r| !r.is_finished()) {
            return Ok(());
        }
        self.wait()?;
        self.next = written.saturating_add(PORTION);
        let file = file.try_clone()?;
        // Without a thread to spare, the commit does all of it.
        self.running = thread::Builder::new().name("blob-flush".to_owned()).spawn(move || file.sync_data()).ok();
        Ok(())
    }

    /// Waits for the flush that is running. The kernel reports a failure once per open file, so it must be taken here.
    fn wait(&mut self) -> io::Result<()> {
        match self.running.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(io::Error::other("the thread that flushed the file panicked")),
        }
    }
}

impl Store {
    /// Begins a blob, hashing with sha256 what is written.
    ///
    /// # Errors
    /// When the store is read-only or no file can be made.
    pub fn blob_writer(&self) -> Result<BlobWriter> {
        self.writer(Some(Hasher::new()))
    }

    /// Begins a blob whose digest the caller computes and gives to [`BlobWriter::commit_hashed`].
    ///
    /// # Errors
    /// When the store is read-only or no file can be made.
    pub fn raw_blob_writer(&self) -> Result<BlobWriter> {
        self.writer(None)
    }

    fn writer(&self, hasher: Option<Hasher>) -> Result<BlobWriter> {
        self.writable("write a blob")?;
        let dir = self.own("tmp");
        let temp =
            TempFile::create(self, 0o644).map_err(at(&dir, |path, source| StoreError::WriteBlob { path, source }))?;
        Ok(BlobWriter { store: self.clone(), temp, hasher, written: 0, limit: u64::MAX, flush: Flush::new() })
    }

    /// Stores some bytes: a manifest, a configuration. Bytes that are there already are not written again.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        if self.blob_size(&digest) == Some(bytes.len() as u64) {
            return Ok(digest);
        }
        let mut writer = self.raw_blob_writer()?;
        let path = writer.temp.path().to_path_buf();
        writer.write_all(bytes).map_err(at(&path, |path, source| StoreError::WriteBlob { path, source }))?;
        writer.commit_hashed(digest).map(|(digest, _)| digest)
    }

    /// Where a blob is, or would be: `blobs/<algorithm>/<hex>`.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.dir().join("blobs").join(digest.algorithm()).join(digest.hex())
    }

    /// Whether a blob is here. With a lease, a blob that is here stays.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.blob_size(digest).is_some()
    }

    /// The length of a blob in bytes, or `None` if it is not here. With a lease, a blob that is here stays.
    pub fn blob_size(&self, digest: &Digest) -> Option<u64> {
        let path = self.blob_path(digest);
        let _hold = match self.hold(Kind::Blob, digest) {
            Ok(hold) => hold,
            // What cannot be kept must not be relied on; fetching it again reports the trouble where it can be reported.
            Err(e) => {
                self.warn(&path, e.to_string());
                return None;
            }
        };
        let meta = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file)?;
        self.stamp(Kind::Blob, &digest.to_string(), &path);
        Some(meta.len())
    }

    /// Opens a blob for reading. Its bytes were verified when it was written.
    ///
    /// # Errors
    /// [`StoreError::MissingBlob`] when it is not here; [`StoreError::ReadBlob`] when it cannot be opened.
    pub fn open_blob(&self, digest: &Digest) -> Result<File> {
        let path = self.blob_path(digest);
        let _hold = self.hold(Kind::Blob, digest)?;
        match File::open(&path) {
            Ok(file) => {
                self.stamp(Kind::Blob, &digest.to_string(), &path);
                Ok(file)
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(StoreError::MissingBlob { digest: digest.clone() }),
            Err(source) => Err(StoreError::ReadBlob { digest: digest.clone(), path, source }),
        }
    }

    /// Reads a whole blob of at most `max` bytes and verifies its digest again.
    ///
    /// # Errors
    /// When it is not here, longer than `max`, unreadable, or not what its name says.
    pub fn read_blob(&self, digest: &Digest, max: u64) -> Result<Vec<u8>> {
        let file = self.open_blob(digest)?;
        let failed = |source| StoreError::ReadBlob { digest: digest.clone(), path: self.blob_path(digest), source };
        let size = file.metadata().map_err(failed)?.len();
        if size > max {
            return Err(StoreError::BlobTooLarge { digest: digest.clone(), size, max });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        let mut reader = HashReader::new(file.take(size), digest.hasher());
        reader.read_to_end(&mut bytes).map_err(failed)?;
        let (actual, _) = reader.finish();
        match actual == *digest {
            true => Ok(bytes),
            false => Err(StoreError::DigestMismatch { expected: digest.clone(), actual }),
        }
    }
}

impl BlobWriter {
    /// A download that has brought so many bytes already; whoever commits it knows the digest.
    pub(crate) fn resumed(store: &Store, temp: TempFile, written: u64) -> BlobWriter {
        let flush = Flush { next: written.saturating_add(PORTION), ..Flush::new() };
        BlobWriter { store: store.clone(), temp, hasher: None, written, limit: u64::MAX, flush }
    }

    pub(crate) fn file(&self) -> &File {
        &self.temp.file
    }

    /// Refuses to take more than `max` bytes: the write that would go beyond fails with `FileTooLarge`.
    #[must_use]
    pub fn limit(mut self, max: u64) -> BlobWriter {
        self.limit = max;
        self
    }

    /// How many bytes were written since the beginning or the last [`reset`](Self::reset).
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The file that is written, to read what is there already: by offsets only, since both share one position.
    ///
    /// # Errors
    /// When the process has no more descriptors.
    pub fn reader(&self) -> io::Result<File> {
        self.temp.file.try_clone()
    }

    /// Starts again with nothing, for a download that has to.
    ///
    /// # Errors
    /// When the file cannot be truncated.
    pub fn reset(&mut self) -> Result<()> {
        let failed = at(self.temp.path(), |path, source| StoreError::WriteBlob { path, source });
        let mut file = &self.temp.file;
        self.flush.wait().and_then(|()| file.set_len(0)).and_then(|()| file.rewind()).map_err(failed)?;
        self.flush.next = self.flush.next.min(PORTION);
        self.hasher = self.hasher.is_some().then(Hasher::new);
        self.written = 0;
        Ok(())
    }

    /// Keeps the blob, if it has the digest and the length in bytes that are expected. Returns both.
    ///
    /// # Errors
    /// When digest or size are others, or the bytes cannot be forced to the disk.
    pub fn commit(mut self, expected: Option<&Digest>, size: Option<u64>) -> Result<(Digest, u64)> {
        if let Some(expected) = size.filter(|s| *s != self.written) {
            return Err(StoreError::SizeMismatch { expected, actual: self.written });
        }
        let same_algorithm = expected.is_none_or(|d| d.algorithm() == "sha256");
        let actual = match self.hasher.take() {
            Some(hasher) if same_algorithm => hasher.finish(),
            _ => self.rehash(expected.map_or_else(Hasher::new, Digest::hasher))?,
        };
        match expected.filter(|e| **e != actual) {
            Some(expected) => Err(StoreError::DigestMismatch { expected: expected.clone(), actual }),
            None => self.commit_hashed(actual),
        }
    }

    /// Keeps the blob under a digest the caller computed from the very bytes that were written.
    ///
    /// # Errors
    /// When the bytes cannot be forced to the disk.
    pub fn commit_hashed(self, digest: Digest) -> Result<(Digest, u64)> {
        let size = self.written;
        let path = self.store.blob_path(&digest);
        self.finish(&digest, &path)?;
        Ok((digest, size))
    }

    fn rehash(&mut self, hasher: Hasher) -> Result<Digest> {
        let failed = at(self.temp.path(), |path, source| StoreError::WriteBlob { path, source });
        let mut file = &self.temp.file;
        let hash = || -> io::Result<Digest> {
            file.rewind()?;
            let mut reader = HashReader::new(file, hasher);
            io::copy(&mut reader, &mut io::sink())?;
            Ok(reader.finish().0)
        };
        hash().map_err(failed)
    }

    /// Forces the bytes to the disk and gives them their name.
    fn finish(mut self, digest: &Digest, path: &Path) -> Result<()> {
        let failed = |source| StoreError::WriteBlob { path: path.to_path_buf(), source };
        // From here on it succeeds, or a disk fails on which no half of it is to stay.
        self.temp.give_up();
        // Noted first: once it has its name, it must not be taken away again.
        drop(self.store.hold(Kind::Blob, digest)?);
        if self.store.blob_size(digest) == Some(self.written) {
            return Ok(());
        }
        self.flush.wait().and_then(|()| self.temp.file.sync_data()).map_err(failed)?;
        let dir = path.parent().unwrap_or(path);
        if digest.algorithm() != "sha256" {
            fs::create_dir_all(dir).map_err(failed)?;
        }
        self.temp.persist(path).and_then(|()| temp::sync_dir(dir)).map_err(failed)
    }

    /// Gives the bytes the name of a tar, and leaves it to the kernel when they reach the disk.
    pub(crate) fn finish_unsettled(self, diff_id: &Digest) -> Result<()> {
        let path = self.store.place(Kind::Tar, diff_id);
        let failed = |source| StoreError::WriteBlob { path: path.clone(), source };
        drop(self.store.hold(Kind::Tar, diff_id)?);
        if self.store.find(Kind::Tar, diff_id).is_some() {
            return Ok(());
        }
        if !self.store.can_mark() {
            self.temp.file.sync_data().map_err(failed)?;
        }
        let _gate = Gate::shared(self.store.dir()).map_err(failed)?;
        self.store.mark_pending(Kind::Tar, diff_id).map_err(failed)?;
        self.temp.persist(&path).map_err(failed)
    }

    /// For bytes that need not be on the disk at commit.
    pub(crate) fn unhurried(mut self) -> BlobWriter {
        self.flush = Flush::never();
        self
    }

    /// The digest of what was written, if this writer hashes.
    pub(crate) fn hashed(&mut self) -> Result<Digest> {
        match self.hasher.take() {
            Some(hasher) => Ok(hasher.finish()),
            None => self.rehash(Hasher::new()),
        }
    }
}

impl Write for BlobWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let room = self.limit - self.written;
        if room < buf.len() as u64 {
            let text = format!("{}: more than the {} bytes announced", self.temp.path().display(), self.limit);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        let n = match (&self.temp.file).write(buf) {
            Ok(n) => n,
            Err(e) => {
                // A disk that is full, say, is not to be kept full.
                self.temp.give_up();
                let text = format!("cannot write to {}: {e}", self.temp.path().display());
                return Err(io::Error::new(e.kind(), text));
            }
        };
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buf[..n]);
        }
        self.written += n as u64;
        self.flush.advance(&self.temp.file, self.written)?;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
