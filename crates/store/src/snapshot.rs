//! Layers as directories: `kiln/snapshots/<chain>/fs`, with the form they are kept in at the end of the name ([`Form`](crate::Form)).
//!
//! A directory is named by its ChainID ([`kiln_oci::chain_ids`]), not by the layer alone: what overlayfs leaves in an
//! upper directory, and what a whiteout becomes in a lower one, depends on the layers below. A new directory, for one,
//! is marked as hiding everything, and a file that a command wrote as it was is there though no layer has it. Over
//! other layers both would show.
//!
//! A layer is unpacked (or made by a `RUN`) in a draft and renamed into place. Waiting for ten thousand small files to
//! reach the disk would cost more than unpacking them, so nobody waits: until [`Store::settle`], a mark names the boot
//! of the machine in which the thing was made. Within that boot the kernel's cache has all of it; in a later one a
//! marked thing may be torn by a power failure, and is discarded when it is found.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use kiln_oci::Digest;

use crate::error::at;
use crate::lock::Gate;
use crate::temp::{self, Sync, TempDir, ignore_missing};
use crate::{Kind, Result, Store, StoreError, remove_tree};

/// A layer directory in the making. Dropped without a commit, it is removed with all that is in it.
pub struct SnapshotDraft {
    store: Store,
    temp: TempDir,
    fs: PathBuf,
    work: PathBuf,
}

impl Store {
    /// The directory with an unpacked layer (`…/fs`), if it is here. With a lease, it stays.
    pub fn snapshot(&self, chain: &Digest) -> Option<PathBuf> {
        self.find(Kind::Snapshot, chain).map(|path| path.join("fs"))
    }

    /// Begins a directory for a layer, on the file system of the store.
    ///
    /// # Errors
    /// When the store is read-only or no directory can be made.
    pub fn begin_snapshot(&self) -> Result<SnapshotDraft> {
        self.writable("make a directory for a layer")?;
        let make = |path: &Path, mode| {
            let failed = at(path, |path, source| StoreError::MakeDraft { path, source });
            DirBuilder::new().mode(mode).create(path).map_err(failed)
        };
        let dir = self.own("tmp");
        let temp = TempDir::create(self).map_err(at(&dir, |path, source| StoreError::MakeDraft { path, source }))?;
        let (fs, work) = (temp.path().join("fs"), temp.path().join("work"));
        make(&fs, 0o755)?;
        make(&work, 0o700)?;
        Ok(SnapshotDraft { store: self.clone(), temp, fs, work })
    }

    /// Waits until everything made so far is on the disk, so that the next boot need not make it again. For idle
    /// moments: it flushes the whole file system.
    ///
    /// # Errors
    /// [`StoreError::Flush`] when the disk refuses.
    pub fn settle(&self) -> Result<()> {
        self.writable("settle")?;
        let dir = self.own("pending");
        let marks = crate::usage::files(&dir)?;
        if marks.is_empty() {
            return Ok(());
        }
        let failed = |source| StoreError::Flush { path: dir.clone(), source };
        let handle = File::open(&dir).map_err(failed)?;
        rustix::fs::syncfs(&handle).map_err(|e| failed(e.into()))?;
        // A mark that was replaced meanwhile is about something newer, and nobody replaces one while the gate is ours.
        let _gate = Gate::exclusive(self.dir()).map_err(failed)?;
        let version = |meta: &fs::Metadata| (meta.ino(), meta.ctime(), meta.ctime_nsec());
        for (path, before) in marks {
            if fs::symlink_metadata(&path).is_ok_and(|now| version(&now) == version(&before)) {
                fs::remove_file(&path).or_else(ignore_missing).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// The path of a tar or snapshot that is here and whole.
    pub(crate) fn find(&self, kind: Kind, diff_id: &Digest) -> Option<PathBuf> {
        let path = self.place(kind, diff_id);
        let hold = self.hold(kind, diff_id).map_err(|e| self.warn(&path, e.to_string())).ok()?;
        if !path.exists() {
            return None;
        }
        if self.is_torn(kind, diff_id) {
            drop(hold);
            self.discard_torn(kind, diff_id, &path);
            return None;
        }
        self.stamp(kind, &diff_id.to_string(), &path);
        Some(path)
    }

    fn mark_path(&self, kind: Kind, diff_id: &Digest) -> PathBuf {
        self.mark_of(kind, &self.place(kind, diff_id))
    }

    /// The mark of the thing at `path`.
    fn mark_of(&self, kind: Kind, path: &Path) -> PathBuf {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.own("pending").join(format!("{kind}-{name}"))
    }

    /// Whether the kernel says which boot this is. Where it does not, things are flushed before they get their name.
    pub(crate) fn can_mark(&self) -> bool {
        self.boot().is_some()
    }

    /// Marks a thing as made in this boot. The caller shares the gate until the thing has its name, so that the mark
    /// is not taken away with an older thing of that name.
    pub(crate) fn mark_pending(&self, kind: Kind, diff_id: &Digest) -> io::Result<()> {
        match self.boot() {
            Some(boot) => temp::replace(self, &self.mark_path(kind, diff_id), boot.as_bytes(), Sync::Checked),
            None => Ok(()),
        }
    }

    pub(crate) fn unmark(&self, kind: Kind, path: &Path) {
        let _ = fs::remove_file(self.mark_of(kind, path));
    }

    /// Whether a thing was made in an earlier boot and never known to be on the disk.
    pub(crate) fn is_torn(&self, kind: Kind, diff_id: &Digest) -> bool {
        match fs::read(self.mark_path(kind, diff_id)) {
            Ok(boot) => self.boot().is_none_or(|now| now.as_bytes() != boot),
            Err(e) => e.kind() != io::ErrorKind::NotFound,
        }
    }

    /// Removes a torn thing, unless another process has already put a whole one in its place.
    fn discard_torn(&self, kind: Kind, diff_id: &Digest, path: &Path) {
        let discard = || -> io::Result<()> {
            let trash = TempDir::create(self)?;
            let _gate = Gate::exclusive(self.dir())?;
            if self.is_torn(kind, diff_id) {
                fs::rename(path, trash.path().join("torn")).or_else(ignore_missing)?;
                self.unmark(kind, path);
            }
            Ok(())
        };
        let text = match discard() {
            Ok(()) => "it was made before the machine went down and may be incomplete; it is made again".to_owned(),
            Err(e) => format!("it may be incomplete and cannot be removed: {e}"),
        };
        self.warn(path, text);
    }
}

impl SnapshotDraft {
    /// The temporary directory, which holds nothing but `fs` and `work` and a file of the store.
    pub fn path(&self) -> &Path {
        self.temp.path()
    }

    /// The directory that becomes the layer: empty, mode 0755. An overlay's upper directory.
    pub fn fs(&self) -> &Path {
        &self.fs
    }

    /// A directory beside it on the same file system, dropped at commit. An overlay's work directory.
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// Keeps the directory as the layer whose ChainID is `chain` and returns its `fs`. If that layer is here already,
    /// this one is dropped. Nothing may be mounted on or below the draft any more.
    ///
    /// # Errors
    /// When the directory cannot be moved into place.
    pub fn commit(mut self, chain: &Digest) -> Result<PathBuf> {
        let target = self.store.place(Kind::Snapshot, chain);
        let failed = |source| StoreError::CommitSnapshot { chain: chain.clone(), path: target.clone(), source };
        drop(self.store.hold(Kind::Snapshot, chain)?);
        if let Some(there) = self.store.snapshot(chain) {
            return Ok(there);
        }
        remove_tree(&self.work)?;
        if !self.store.can_mark() {
            let handle = File::open(&self.fs).map_err(failed)?;
            rustix::fs::syncfs(&handle).map_err(|e| failed(e.into()))?;
        }
        let _gate = Gate::shared(self.store.dir()).map_err(failed)?;
        self.store.mark_pending(Kind::Snapshot, chain).map_err(failed)?;
        match self.temp.persist(&target) {
            Ok(()) => {}
            // Another process was faster with the same layer.
            Err(e) if matches!(e.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty) => {}
            Err(e) => return Err(failed(e)),
        }
        Ok(target.join("fs"))
    }
}
