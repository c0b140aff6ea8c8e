//! One process at a time: advisory locks on files below `kiln/locks`.
//!
//! A lock is an open file with `flock`, so it ends with the process that holds it, however that ends. A file is
//! unlinked by the holder of its exclusive lock; whoever locks a file then checks that it still has its name.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::{Result, Store, StoreError};

/// Waiting starts at one millisecond and is doubled up to this.
const LONGEST_NAP: Duration = Duration::from_millis(32);

/// A held lock; dropping it lets the next one in.
#[derive(Debug)]
pub struct LockGuard {
    file: File,
    path: PathBuf,
    exclusive: bool,
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        if self.exclusive {
            let _ = fs::remove_file(&self.path);
        }
        // Not only closed: a child that was forked meanwhile may hold the same open file.
        let _ = self.file.unlock();
    }
}

impl Store {
    /// Takes the lock `name`, waiting for other processes and threads. `cancelled` is asked while waiting.
    ///
    /// # Errors
    /// [`StoreError::LockCancelled`] when `cancelled` said so; [`StoreError::Lock`] when the file cannot be locked.
    pub fn lock(&self, name: &str, cancelled: &dyn Fn() -> bool) -> Result<LockGuard> {
        self.writable("take a lock")?;
        wait(&self.lock_path(name), name, true, cancelled)
    }

    /// Takes the lock `name` if nobody holds it.
    ///
    /// # Errors
    /// [`StoreError::Lock`] when the file cannot be locked.
    pub fn try_lock(&self, name: &str) -> Result<Option<LockGuard>> {
        self.writable("take a lock")?;
        attempt(&self.lock_path(name), true)
    }

    /// Names are hashed: they may hold anything, and no name can be that of a lock of the store itself.
    pub(crate) fn lock_path(&self, name: &str) -> PathBuf {
        self.own("locks").join(&blake3::hash(name.as_bytes()).to_hex()[..40])
    }
}

/// Waits for a lock file.
pub(crate) fn wait(path: &Path, name: &str, exclusive: bool, cancelled: &dyn Fn() -> bool) -> Result<LockGuard> {
    poll(name, cancelled, || attempt(path, exclusive))
}

fn poll<T>(name: &str, cancelled: &dyn Fn() -> bool, attempt: impl Fn() -> Result<Option<T>>) -> Result<T> {
    let mut nap = Duration::from_millis(1);
    loop {
        if let Some(taken) = attempt()? {
            return Ok(taken);
        }
        if cancelled() {
            return Err(StoreError::LockCancelled { name: name.to_owned() });
        }
        thread::sleep(nap);
        nap = (nap * 2).min(LONGEST_NAP);
    }
}

/// Takes a lock file if nobody is in the way.
pub(crate) fn attempt(path: &Path, exclusive: bool) -> Result<Option<LockGuard>> {
    let file = attempt_file(path, exclusive)?;
    Ok(file.map(|file| LockGuard { file, path: path.to_path_buf(), exclusive }))
}

/// Waits for a file, made if it is not there, that only one process at a time may write.
pub(crate) fn wait_for_file(path: &Path, name: &str, cancelled: &dyn Fn() -> bool) -> Result<File> {
    poll(name, cancelled, || attempt_file(path, true))
}

fn attempt_file(path: &Path, exclusive: bool) -> Result<Option<File>> {
    let failed = |source| StoreError::Lock { path: path.to_path_buf(), source };
    loop {
        let file = open(path).map_err(failed)?;
        let answer = if exclusive { file.try_lock() } else { file.try_lock_shared() };
        match answer {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        }
        if still_named(&file, path).map_err(failed)? {
            return Ok(Some(file));
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    // What is downloaded gets this mode with its name.
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o644).open(path)
}

/// Whether `path` still leads to the file that was opened there.
fn still_named(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(named) => Ok(named.ino() == ours.ino() && named.dev() == ours.dev()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// Opens and locks an existing file whose maker may be dead; `None` while it lives.
pub(crate) fn try_open(path: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

/// A lock of the store itself. Its file is never unlinked.
#[derive(Debug)]
pub(crate) struct System(File);

impl Drop for System {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

fn block(file: File, lock: impl Fn(&File) -> io::Result<()>) -> io::Result<System> {
    loop {
        match lock(&file) {
            Ok(()) => return Ok(System(file)),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Takes a lock of the store itself, which its holders never keep for long.
pub(crate) fn system(root: &Path, name: &str) -> Result<System> {
    let path = root.join("kiln/locks").join(name);
    open(&path).and_then(|f| block(f, File::lock)).map_err(|source| StoreError::Lock { path, source })
}

/// The gate between those who use things and the one who removes them.
///
/// Whoever is about to rely on a thing notes it in its lease and looks whether it is there, with the gate shared.
/// Who removes holds the gate alone while reading the leases and renaming things away. Both are short.
///
/// Order: whoever holds the gate alone waits for no other lock, so the gate may be shared before or after any of them.
#[derive(Debug)]
pub(crate) struct Gate(#[expect(dead_code, reason = "held for its Drop")] System);

impl Gate {
    pub(crate) fn shared(root: &Path) -> io::Result<Gate> {
        open(&root.join("kiln/locks/gc")).and_then(|f| block(f, File::lock_shared)).map(Gate)
    }

    pub(crate) fn exclusive(root: &Path) -> io::Result<Gate> {
        open(&root.join("kiln/locks/gc")).and_then(|f| block(f, File::lock)).map(Gate)
    }
}
