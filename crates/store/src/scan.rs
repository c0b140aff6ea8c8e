//! The state of every path of a directory tree, and what changed between two such states.
//!
//! The isolation rung without overlayfs scans its root before and after a command. Two equal [`Stat`]s mean an
//! untouched path, because a process can set every time of a file but `ctime`; a different one only makes the path a
//! candidate, which [`changes`](crate::changes) then judges.
//!
//! Directories are shared out to a few threads; the result is sorted by path bytes, whatever the number of threads.
//! What is mounted inside the tree is listed as the directory it is mounted on, and not entered.

use std::mem::MaybeUninit;
use std::num::NonZero;
use std::os::fd::AsFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kiln_oci::Mtime;
use kiln_oci::name::join;
use rustix::fs::{FileType, RawDir};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use crate::beneath::{Beneath, shown};
pub use crate::stat::{FileKind, Stat};

/// More threads than this only wait for the directory cache's locks.
const MAX_THREADS: usize = 8;

/// Room for the names of one `getdents64` call.
const NAMES: usize = 32 * 1024;

/// The state of every path below a directory, sorted by path bytes; the directory itself is not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    records: Vec<(Vec<u8>, Stat)>,
}

/// Why a tree could not be scanned.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// A directory could not be listed.
    #[error("cannot list {path}: {source}")]
    List {
        /// The directory, seen from the scanned root.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A path's state could not be read.
    #[error("cannot read the state of {path}: {source}")]
    Stat {
        /// The path, seen from the scanned root.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
}

/// Paths whose state differs between two snapshots, each list sorted by path bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// New paths, and paths whose state differs.
    pub changed: Vec<Vec<u8>>,
    /// Paths that are gone, with everything that was below them.
    pub removed: Vec<Vec<u8>>,
}

impl Snapshot {
    /// The state of `path` (no leading slash), if it was there.
    pub fn get(&self, path: &[u8]) -> Option<&Stat> {
        let at = self.records.binary_search_by(|(known, _)| known.as_slice().cmp(path)).ok()?;
        Some(&self.records[at].1)
    }

    /// All paths with their states, sorted by path bytes.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Stat)> {
        self.records.iter().map(|(path, stat)| (path.as_slice(), stat))
    }

    /// Number of paths.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether the directory was empty.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// What differs in `after`.
    pub fn diff(&self, after: &Snapshot) -> Diff {
        let mut out = Diff::default();
        let (mut old, mut new) = (self.records.iter().peekable(), after.records.iter().peekable());
        loop {
            match (old.peek(), new.peek()) {
                (Some((was, _)), Some((is, _))) if was < is => out.removed.push(was.clone()),
                (Some((was, before)), Some((is, now))) if was == is => {
                    if before != now {
                        out.changed.push(is.clone());
                    }
                    new.next();
                }
                (_, Some((is, _))) => {
                    out.changed.push(is.clone());
                    new.next();
                    continue;
                }
                (Some((was, _)), None) => out.removed.push(was.clone()),
                (None, None) => return out,
            }
            old.next();
        }
    }
}

/// The state of everything below `dir`.
///
/// Returns only once the clock behind `ctime` has moved past the newest one found, so that a later change cannot
/// leave the same `ctime` behind. That takes a few milliseconds at the most.
///
/// # Errors
/// A directory that cannot be listed or a path whose state cannot be read, with that path.
pub fn scan(dir: impl AsFd) -> Result<Snapshot, ScanError> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(MAX_THREADS);
    scan_with(dir, threads)
}

fn scan_with(dir: impl AsFd, threads: usize) -> Result<Snapshot, ScanError> {
    let tree = Beneath::without_mounts(dir).map_err(|errno| list_error(b"", errno))?;
    let queue = Queue::new();
    let workers: Vec<Worker> = (0..threads)
        .map(|_| tree.again().map(|tree| Worker { tree, records: Vec::new() }))
        .collect::<Result<_, _>>()
        .map_err(|errno| list_error(b"", errno))?;
    let done = std::thread::scope(|scope| {
        let running: Vec<_> = workers.into_iter().map(|worker| scope.spawn(|| worker.run(&queue))).collect();
        running.into_iter().map(|thread| thread.join()).collect::<Vec<_>>()
    });
    let mut records = Vec::new();
    for result in done {
        match result {
            Ok(found) => records.append(&mut found?),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    records.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    settle(&records);
    Ok(Snapshot { records })
}

/// Waits until a change made from now on gets a `ctime` later than all of `records`.
fn settle(records: &[(Vec<u8>, Stat)]) {
    let now = || {
        let time = clock_gettime(ClockId::RealtimeCoarse);
        Mtime { secs: time.tv_sec, nanos: u32::try_from(time.tv_nsec).unwrap_or(0) }
    };
    let start = now();
    // A `ctime` from the future (the clock was set back) cannot be waited for, and cannot come again soon either.
    let Some(newest) = records.iter().map(|(_, stat)| stat.ctime).filter(|ctime| *ctime <= start).max() else { return };
    while now() <= newest {
        std::thread::sleep(Duration::from_millis(1));
    }
}

struct Worker {
    tree: Beneath,
    records: Vec<(Vec<u8>, Stat)>,
}

impl Worker {
    fn run(mut self, queue: &Queue) -> Result<Vec<(Vec<u8>, Stat)>, ScanError> {
        let mut names = vec![MaybeUninit::uninit(); NAMES];
        while let Some(dir) = queue.take() {
            let found = self.list(&dir, &mut names);
            let failed = found.is_err();
            queue.done(found.as_deref().unwrap_or_default(), failed);
            found?;
        }
        Ok(self.records)
    }

    /// Records what is in `dir`; returns the directories in it.
    fn list(&mut self, dir: &[u8], names: &mut [MaybeUninit<u8>]) -> Result<Vec<Vec<u8>>, ScanError> {
        let fd = match self.tree.read_dir(dir) {
            Ok(fd) => fd,
            Err(Errno::XDEV) => return Ok(Vec::new()),
            Err(errno) => return Err(list_error(dir, errno)),
        };
        let mut below = Vec::new();
        let mut entries = RawDir::new(&fd, names);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(|errno| list_error(dir, errno))?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let path = join(dir, name);
            let stat =
                Stat::at(&fd, name).map_err(|errno| ScanError::Stat { path: shown(&path), source: errno.into() })?;
            if entry.file_type() == FileType::Directory || stat.kind == FileKind::Dir {
                below.push(path.clone());
            }
            self.records.push((path, stat));
        }
        Ok(below)
    }
}

fn list_error(path: &[u8], errno: Errno) -> ScanError {
    ScanError::List { path: shown(path), source: errno.into() }
}

/// Directories still to be listed, shared by the workers.
struct Queue {
    state: Mutex<Pending>,
    changed: Condvar,
}

struct Pending {
    dirs: Vec<Vec<u8>>,
    /// Directories being listed right now; more may come from them.
    busy: usize,
    failed: bool,
}

impl Queue {
    /// A queue that holds the root.
    fn new() -> Queue {
        let pending = Pending { dirs: vec![Vec::new()], busy: 0, failed: false };
        Queue { state: Mutex::new(pending), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next directory; `None` once all are listed or one failed.
    fn take(&self) -> Option<Vec<u8>> {
        let mut state = self.lock();
        loop {
            if state.failed {
                return None;
            }
            if let Some(dir) = state.dirs.pop() {
                state.busy += 1;
                return Some(dir);
            }
            if state.busy == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn done(&self, found: &[Vec<u8>], failed: bool) {
        let mut state = self.lock();
        state.busy -= 1;
        state.failed |= failed;
        state.dirs.extend_from_slice(found);
        let wake = state.failed || state.busy == 0 || !found.is_empty();
        drop(state);
        if wake {
            self.changed.notify_all();
        }
    }
}
