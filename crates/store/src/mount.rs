//! Directories that outlive a build: `RUN --mount=type=cache`.
//!
//! ```text
//! kiln/caches/<hash of id>/id      the id, for people
//! kiln/caches/<hash of id>/data    what is mounted
//! kiln/caches/<hash of id>-<n>     further ones, for `sharing=private` at the same time
//! ```

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::cache::file_name;
use crate::temp::TempDir;
use crate::{Kind, LockGuard, Result, Store, StoreError, lock};

/// How many `private` directories of one id may be in use at once.
const MOST_PRIVATE: usize = 1000;

/// Who may use a cache directory at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Sharing {
    /// Everyone.
    #[default]
    Shared,
    /// Each gets one of its own; one that is free is used again.
    Private,
    /// One after the other.
    Locked,
}

/// A cache directory in use. It is neither pruned nor given away against its sharing mode while this lives.
#[derive(Debug)]
pub struct CacheMount {
    path: PathBuf,
    _lock: LockGuard,
}

impl CacheMount {
    /// The directory to mount.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// What [`Store::cache_mount`] needs to know.
pub struct MountRequest<'a> {
    /// The id: any text; it is hashed, so it leads nowhere.
    pub id: &'a str,
    /// Who may use the directory at the same time.
    pub sharing: Sharing,
    /// Called with a new empty directory (mode 0755) before anyone else sees it: to set its owner and mode, to fill it.
    pub init: &'a dyn Fn(&Path) -> io::Result<()>,
    /// Asked while waiting for others; `true` gives up.
    pub cancelled: &'a dyn Fn() -> bool,
}

impl Store {
    /// The directory of a cache mount, made if it is not there, and locked as `sharing` says.
    ///
    /// # Errors
    /// When it cannot be made or locked, or waiting was cancelled.
    pub fn cache_mount(&self, request: &MountRequest<'_>) -> Result<CacheMount> {
        self.writable("prepare a cache mount")?;
        let name = format!("{}{}", file_name(request.id), self.form().suffix());
        match request.sharing {
            Sharing::Shared => loop {
                let guard = lock::wait(&self.mount_lock(&name), request.id, false, request.cancelled)?;
                if self.mount_data(&name).is_dir() {
                    return Ok(self.mounted(&name, guard));
                }
                drop(guard);
                // Not waited for: whoever made it meanwhile shares it by now, for as long as a command runs.
                if let Some(_alone) = lock::attempt(&self.mount_lock(&name), true)? {
                    self.make_mount(&name, request)?;
                }
            },
            Sharing::Locked => {
                let guard = lock::wait(&self.mount_lock(&name), request.id, true, request.cancelled)?;
                self.make_mount(&name, request)?;
                Ok(self.mounted(&name, guard))
            }
            Sharing::Private => {
                for n in 0..MOST_PRIVATE {
                    let name = if n == 0 { name.clone() } else { format!("{name}-{n}") };
                    if let Some(guard) = lock::attempt(&self.mount_lock(&name), true)? {
                        self.make_mount(&name, request)?;
                        return Ok(self.mounted(&name, guard));
                    }
                }
                let source = io::Error::new(io::ErrorKind::QuotaExceeded, format!("{MOST_PRIVATE} are in use"));
                Err(StoreError::PrepareMount { id: request.id.to_owned(), path: self.own("caches"), source })
            }
        }
    }

    fn mounted(&self, name: &str, guard: LockGuard) -> CacheMount {
        self.stamp(Kind::Mount, name, &self.own("caches").join(name));
        CacheMount { path: self.mount_data(name), _lock: guard }
    }

    fn mount_data(&self, name: &str) -> PathBuf {
        self.own("caches").join(name).join("data")
    }

    pub(crate) fn mount_lock(&self, name: &str) -> PathBuf {
        self.own("locks").join(format!("mount-{name}"))
    }

    /// Makes the directory, if it is not there. The caller has locked it alone.
    fn make_mount(&self, name: &str, request: &MountRequest<'_>) -> Result<()> {
        let target = self.own("caches").join(name);
        if target.join("data").is_dir() {
            return Ok(());
        }
        let make = || -> io::Result<()> {
            let mut temp = TempDir::create(self)?;
            let data = temp.path().join("data");
            DirBuilder::new().mode(0o755).create(&data)?;
            fs::write(temp.path().join("id"), request.id)?;
            (request.init)(&data)?;
            let _gate = lock::Gate::shared(self.dir())?;
            temp.persist(&target)
        };
        make().map_err(|source| StoreError::PrepareMount { id: request.id.to_owned(), path: target.clone(), source })
    }
}
