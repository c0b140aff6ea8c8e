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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::ffi::OsStrExt;

    use super::*;
    use crate::fixture::{open, tempdir};
    use crate::unpack::break_links;

    #[test]
    fn threads_do_not_show() {
        let dir = tempdir();
        for n in 0..40 {
            let below = dir.path().join(format!("d{n}/x/y"));
            fs::create_dir_all(&below).expect("directories");
            fs::write(below.join("f"), "f").expect("file");
            fs::write(dir.path().join(std::ffi::OsStr::from_bytes(&[0xff, b'a' + n])), "").expect("file");
        }
        let one = scan_with(open(dir.path()), 1).expect("scan");
        assert_eq!(one.len(), 40 * 5);
        assert!(one.iter().is_sorted_by_key(|(path, _)| path.to_vec()));
        assert_eq!(scan_with(open(dir.path()), 4).expect("scan"), one);
        assert_eq!(one.get(b"d7/x/y/f").expect("there").size, 1);
        assert!(one.get(b"d7/x/z").is_none() && !one.is_empty());
        assert_eq!(one.diff(&one), Diff::default());
    }

    #[test]
    fn every_change_shows() {
        let dir = tempdir();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("d")).expect("directory");
        for name in ["a", "b", "c", "d/x", "d-e", "same"] {
            fs::write(at(name), "one").expect("file");
        }
        let before = scan(open(dir.path())).expect("scan");
        let old = fs::metadata(at("a")).expect("a").modified().expect("time");
        // As many bytes, and the old time: only the change time tells.
        fs::write(at("a"), "two").expect("file");
        fs::File::options().write(true).open(at("a")).expect("a").set_modified(old).expect("time");
        fs::rename(at("b"), at("c")).expect("rename");
        fs::remove_dir_all(at("d")).expect("removal");
        fs::write(at("new"), "").expect("file");
        let diff = before.diff(&scan(open(dir.path())).expect("scan"));
        assert_eq!(diff.changed, [b"a".to_vec(), b"c".to_vec(), b"new".to_vec()]);
        assert_eq!(diff.removed, [b"b".to_vec(), b"d".to_vec(), b"d/x".to_vec()]);
    }

    #[test]
    fn what_is_mounted_inside_is_not_entered() {
        crate::fixture::needs_root();
        let overlay = crate::fixture::Overlay::mount(&[]);
        fs::write(overlay.merged().join("inside"), "").expect("file");
        let found = scan(open(overlay.dir.path())).expect("scan");
        assert!(found.get(b"merged").is_some() && found.get(b"upper/inside").is_some());
        assert!(found.get(b"merged/inside").is_none());
    }

    #[test]
    fn links_are_parted() {
        let dir = tempdir();
        fs::create_dir(dir.path().join("d")).expect("directory");
        fs::write(dir.path().join("a"), "bytes").expect("file");
        fs::hard_link(dir.path().join("a"), dir.path().join("b")).expect("link");
        fs::hard_link(dir.path().join("a"), dir.path().join("d/c")).expect("link");
        let before = scan(open(dir.path())).expect("scan");
        assert_eq!(break_links(open(dir.path()), &before).expect("parted"), 2);
        let after = scan(open(dir.path())).expect("scan");
        assert_eq!(after.iter().map(|(path, _)| path.to_vec()).collect::<Vec<_>>(), [&b"a"[..], b"b", b"d", b"d/c"]);
        for (path, stat) in after.iter().filter(|(_, stat)| stat.kind == FileKind::File) {
            let was = before.get(path).expect("there");
            assert_eq!((stat.nlink, stat.mtime, stat.size, stat.mode), (1, was.mtime, was.size, was.mode));
        }
        assert_eq!(after.get(b"d").expect("there").mtime, before.get(b"d").expect("there").mtime);
        assert_eq!(break_links(open(dir.path()), &after).expect("nothing to do"), 0);
    }
}
