//! What a running build holds, so that pruning leaves it alone.
//!
//! A lease is a file below `kiln/leases` that its process keeps locked. While a [`Lease`] of a [`Store`] lives, every
//! blob, snapshot, record and tar the store hands out or takes in is noted there *before* it is looked for; both happen with
//! the gate shared (see [`crate::lock`]), and pruning reads the notes with the gate held alone. So a build either
//! finds a thing and keeps it, or does not find it. A lease that nobody locks belongs to the dead and counts nothing.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use kiln_oci::Digest;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};

use crate::lock::{self, Gate};
use crate::store::locked;
use crate::{Kind, Result, Store, StoreError, temp};

/// The lease all clones of one store share.
#[derive(Default)]
pub(crate) struct LeaseState {
    holders: usize,
    file: Option<(File, PathBuf)>,
    held: HashSet<(Kind, String)>,
}

/// As long as this lives, nothing that went through its store is pruned. Hold one for the whole of a build, a pull or
/// an import: without it, what was just written and has no name yet may be removed by another process.
#[derive(Debug)]
pub struct Lease {
    store: Store,
}

impl Store {
    /// Begins a lease, or joins the one a clone of this store holds. A store that cannot be written needs none and
    /// gets one that does nothing.
    ///
    /// # Errors
    /// [`StoreError::WriteLease`] when the file cannot be made.
    pub fn lease(&self) -> Result<Lease> {
        let mut state = locked(&self.inner.lease);
        if state.file.is_none() && !self.is_read_only() {
            let path = self.own("leases").join(temp::unique(self.serial()));
            let make = || -> io::Result<File> {
                let _gate = Gate::shared(self.dir())?;
                let file = OpenOptions::new().append(true).create_new(true).open(&path)?;
                file.lock()?;
                Ok(file)
            };
            let file = make().map_err(|source| StoreError::WriteLease { path: path.clone(), source })?;
            state.file = Some((file, path));
            state.held.clear();
        }
        state.holders += 1;
        Ok(Lease { store: self.clone() })
    }

    /// Notes that a thing is about to be used, and marks it as used now. While the answer lives, the thing does not
    /// vanish; after that, the lease keeps it.
    pub(crate) fn hold(&self, kind: Kind, name: &impl ToString) -> Result<Hold> {
        let item = (kind, name.to_string());
        let mut state = locked(&self.inner.lease);
        let LeaseState { file: Some((file, path)), held, .. } = &mut *state else {
            return Ok(Hold { _gate: None });
        };
        if held.contains(&item) {
            return Ok(Hold { _gate: None });
        }
        let failed = |source| StoreError::WriteLease { path: path.clone(), source };
        let gate = Gate::shared(self.dir()).map_err(failed)?;
        file.write_all(format!("{} {}\n", item.0, item.1).as_bytes()).map_err(failed)?;
        held.insert(item);
        Ok(Hold { _gate: Some(gate) })
    }

    /// Marks a thing as used now, once per process: what was used longest ago is pruned first.
    pub(crate) fn stamp(&self, kind: Kind, name: &str, path: &Path) {
        if self.is_read_only() || !locked(&self.inner.stamped).insert((kind, name.to_owned())) {
            return;
        }
        let now = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        };
        // A thing that is not there, or belongs to someone else, has no use to mark.
        let _ = rustix::fs::utimensat(CWD, path, &now, AtFlags::SYMLINK_NOFOLLOW);
    }
}

/// Keeps the gate shared between noting a thing and looking for it.
pub(crate) struct Hold {
    _gate: Option<Gate>,
}

impl Lease {
    /// Notes a blob that is used without being read here.
    ///
    /// # Errors
    /// [`StoreError::WriteLease`] when it cannot be noted.
    pub fn touch_blob(&self, digest: &Digest) -> Result<()> {
        self.store.hold(Kind::Blob, digest).map(drop)
    }

    /// Notes an unpacked layer that is used through a path from an earlier lease.
    ///
    /// # Errors
    /// [`StoreError::WriteLease`] when it cannot be noted.
    pub fn touch_snapshot(&self, chain: &Digest) -> Result<()> {
        self.store.hold(Kind::Snapshot, chain).map(drop)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = locked(&self.store.inner.lease);
        state.holders -= 1;
        if state.holders == 0 {
            if let Some((file, path)) = state.file.take() {
                let _ = fs::remove_file(path);
                let _ = file.unlock();
            }
            state.held = HashSet::new();
        }
    }
}

/// What all living leases hold. Leases of the dead are removed. The caller holds the gate alone.
pub(crate) fn living(store: &Store) -> Result<HashSet<(Kind, String)>> {
    let dir = store.own("leases");
    let failed = |source| StoreError::List { path: dir.clone(), source };
    let mut held = HashSet::new();
    for entry in fs::read_dir(&dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        match lock::try_open(&path) {
            Ok(Some(_dead)) => fs::remove_file(&path).or_else(temp::ignore_missing).map_err(failed)?,
            Ok(None) => read_notes(&path, &mut held).or_else(temp::ignore_missing).map_err(failed)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(StoreError::List { path, source: e }),
        }
    }
    Ok(held)
}

fn read_notes(path: &Path, held: &mut HashSet<(Kind, String)>) -> io::Result<()> {
    let text = fs::read_to_string(path)?;
    held.extend(text.lines().filter_map(|line| {
        let (kind, name) = line.split_once(' ')?;
        let kind = Kind::ALL.into_iter().find(|k| k.name() == kind)?;
        Some((kind, name.to_owned()))
    }));
    Ok(())
}
