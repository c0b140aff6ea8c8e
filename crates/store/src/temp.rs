//! Files and directories in the making.
//!
//! Each lies in `kiln/tmp` and is locked by the process that makes it; one that nobody locks was left by a process
//! that died. Making and locking happen while the store's `gc` lock is shared, and the reaper holds it exclusively,
//! so nothing is seen between the two.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::lock::{self, Gate};
use crate::{Result, Store, StoreError, remove_tree};

/// What every name in `kiln/tmp` starts with: nothing else there is ever touched.
const PREFIX: &str = "kiln-";
/// The file of a temporary directory that its maker locks.
const OWNER: &str = "owner";

/// A part of a file name that no other process uses at this moment.
pub(crate) fn unique(serial: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}-{serial}-{:x}", std::process::id(), now.as_nanos())
}

/// Forces the entries of a directory to the disk.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    match File::open(dir)?.sync_all() {
        // Some network and FUSE file systems refuse this for directories; they order renames themselves.
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => Ok(()),
        other => other,
    }
}

/// Whether the bytes must be on the disk before the name is seen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sync {
    /// Yes: after a crash they are there or the old ones are.
    Durable,
    /// No: the reader checks them.
    Checked,
}

/// A file that vanishes unless it is persisted.
pub(crate) struct TempFile {
    pub(crate) file: File,
    path: PathBuf,
    armed: bool,
    /// Whether it stays for someone to go on with, if anything is in it.
    resumable: bool,
}

impl TempFile {
    /// Makes a file with `mode`, readable and writable.
    pub(crate) fn create(store: &Store, mode: u32) -> io::Result<TempFile> {
        let _gate = Gate::shared(store.dir())?;
        loop {
            let path = store.own("tmp").join(format!("{PREFIX}{}", unique(store.serial())));
            match OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(&path) {
                Ok(file) => {
                    let temp = TempFile { file, path, armed: true, resumable: false };
                    temp.file.lock()?;
                    return Ok(temp);
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// A file that the caller has opened and locked.
    pub(crate) fn resumable(file: File, path: PathBuf) -> TempFile {
        TempFile { file, path, armed: true, resumable: true }
    }

    /// Nobody is to go on with it.
    pub(crate) fn give_up(&mut self) {
        self.resumable = false;
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file its name, replacing what had it. The caller has synced it if it must be durable.
    pub(crate) fn persist(mut self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)?;
        self.armed = false;
        Ok(())
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let kept = self.resumable && self.file.metadata().is_ok_and(|m| m.len() > 0);
        if self.armed && !kept {
            let _ = fs::remove_file(&self.path);
        }
        let _ = self.file.unlock();
    }
}

/// Replaces the file `target` by one with these bytes.
pub(crate) fn replace(store: &Store, target: &Path, bytes: &[u8], sync: Sync) -> io::Result<()> {
    let mut temp = TempFile::create(store, 0o644)?;
    io::Write::write_all(&mut temp.file, bytes)?;
    if sync == Sync::Durable {
        temp.file.sync_data()?;
    }
    temp.persist(target)?;
    match (sync, target.parent()) {
        (Sync::Durable, Some(dir)) => sync_dir(dir),
        _ => Ok(()),
    }
}

/// A directory that vanishes, with all that is in it, unless it is persisted.
pub(crate) struct TempDir {
    owner: File,
    path: PathBuf,
    armed: bool,
}

impl TempDir {
    pub(crate) fn create(store: &Store) -> io::Result<TempDir> {
        let _gate = Gate::shared(store.dir())?;
        loop {
            let path = store.own("tmp").join(format!("{PREFIX}{}", unique(store.serial())));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {
                    let owner = OpenOptions::new().read(true).write(true).create_new(true).open(path.join(OWNER));
                    // A disk with room for the one only.
                    let owner = owner.inspect_err(|_| drop(fs::remove_dir(&path)))?;
                    let temp = TempDir { owner, path, armed: true };
                    temp.owner.lock()?;
                    return Ok(temp);
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the directory its name, without the mark of its maker. Fails with `AlreadyExists` or `DirectoryNotEmpty`
    /// when something has the name, and stays temporary then. The caller holds the gate.
    pub(crate) fn persist(&mut self, target: &Path) -> io::Result<()> {
        fs::remove_file(self.path.join(OWNER)).or_else(ignore_missing)?;
        fs::rename(&self.path, target)?;
        self.armed = false;
        Ok(())
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if self.armed {
            // What cannot be removed now is left to the reaper.
            let _ = remove_tree(&self.path);
        }
        let _ = self.owner.unlock();
    }
}

/// Takes the absence of what was to be removed for success.
pub(crate) fn ignore_missing(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    }
}

/// What a dead process left, locked so that nobody else removes it meanwhile.
pub(crate) struct Orphan {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    _owner: Option<File>,
}

/// Lists what dead processes left in `kiln/tmp`.
pub(crate) fn orphans(store: &Store) -> Result<Vec<Orphan>> {
    let dir = store.own("tmp");
    let failed = |source| StoreError::List { path: dir.clone(), source };
    let _gate = Gate::exclusive(store.dir()).map_err(failed)?;
    let mut found = Vec::new();
    for entry in fs::read_dir(&dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Some(name) = entry.file_name().to_str().filter(|n| n.starts_with(PREFIX)).map(str::to_owned) else {
            continue;
        };
        let path = entry.path();
        let is_dir = entry.file_type().is_ok_and(|t| t.is_dir());
        let lock_file = if is_dir { path.join(OWNER) } else { path.clone() };
        match lock::try_open(&lock_file) {
            Ok(Some(owner)) => found.push(Orphan { name, path, _owner: Some(owner) }),
            // A directory without an owner was being removed, or persisted, when its maker died.
            Err(e) if is_dir && e.kind() == io::ErrorKind::NotFound => found.push(Orphan { name, path, _owner: None }),
            Ok(None) | Err(_) => {}
        }
    }
    Ok(found)
}
