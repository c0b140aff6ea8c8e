//! Listing directories of a context, on several threads when there are many.
//!
//! An excluded directory exists only if something in it is taken back by a later rule, so it is entered at once, when
//! any rule could do that, and left out again if nothing was found. What no rule can take back is never read.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use kiln_oci::name;
use kiln_spec::dockerignore::Below;
use rustix::fs::{FileType, RawDir};
use rustix::io::Errno;

use super::MAX_FILES;
use super::dir::{DirSource, Listing, Node};
use super::select;
use crate::error::Result;

/// Names looked at as one piece of work: a directory with more is shared between threads.
const PIECE: usize = 2048;
/// Bytes of directory read at once.
const ROOM: usize = 64 << 10;

/// Something to do.
enum Work {
    /// Read a directory.
    Dir { path: Vec<u8>, below: Below },
    /// Look at some names in it.
    Names { dir: Arc<Open>, names: Vec<Vec<u8>> },
}

/// A directory being read.
struct Open {
    fd: OwnedFd,
    path: Vec<u8>,
    below: Below,
}

/// Part of a directory, read.
struct Part {
    path: Vec<u8>,
    below: Below,
    /// Each with whether it is an excluded directory, which exists only if it holds anything.
    nodes: Vec<(Node, bool)>,
}

#[derive(Default)]
struct Queue {
    todo: Vec<Work>,
    busy: usize,
    seen: usize,
    failed: bool,
}

struct Scan<'s> {
    source: &'s DirSource,
    whole: bool,
    queue: Mutex<Queue>,
    changed: Condvar,
}

/// The listing of `dir`, and with `whole` of all directories below it that were not known yet.
pub(super) fn scan(
    source: &DirSource,
    dir: &[u8],
    below: Below,
    whole: bool,
) -> Result<HashMap<Vec<u8>, Arc<Listing>>> {
    let todo = vec![Work::Dir { path: dir.to_vec(), below }];
    let scan = Scan { source, whole, queue: Mutex::new(Queue { todo, ..Queue::default() }), changed: Condvar::new() };
    let threads = if whole { select::threads() } else { 1 };
    let mut parts = Vec::new();
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(|| scan.work())).collect();
        let mut results = vec![scan.work()];
        for other in others {
            results.push(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        results.into_iter().try_for_each(|result| result.map(|found| parts.extend(found)))
    })?;
    Ok(settle(source, parts))
}

/// Puts parts together, and drops excluded directories that turned out to be empty.
fn settle(source: &DirSource, parts: Vec<Part>) -> HashMap<Vec<u8>, Arc<Listing>> {
    let mut dirs: HashMap<Vec<u8>, Part> = HashMap::new();
    for part in parts {
        match dirs.entry(part.path.clone()) {
            Entry::Occupied(mut dir) => dir.get_mut().nodes.extend(part.nodes),
            Entry::Vacant(slot) => {
                slot.insert(part);
            }
        }
    }
    let mut order: Vec<Part> = dirs.into_values().collect();
    // What is below a directory has a longer path.
    order.sort_by_key(|part| std::cmp::Reverse(part.path.len()));
    let mut done: HashMap<Vec<u8>, Arc<Listing>> = HashMap::new();
    for Part { path, below, nodes } in order {
        let exists = |node: &Node, doubtful: bool| {
            let child = || name::join(&path, &node.name);
            !doubtful
                || done
                    .get(&child())
                    .cloned()
                    .or_else(|| source.known(&child()))
                    .is_some_and(|dir| !dir.nodes.is_empty())
        };
        let kept = nodes.into_iter().filter(|(node, doubtful)| exists(node, *doubtful));
        let mut nodes: Vec<Node> = kept.map(|(node, _)| node).collect();
        nodes.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        done.insert(path, Arc::new(Listing { nodes, below }));
    }
    done
}

impl Scan<'_> {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works until nothing is left to do, or something failed.
    fn work(&self) -> Result<Vec<Part>> {
        let mut parts = Vec::new();
        let mut room: Vec<u8> = Vec::with_capacity(ROOM);
        loop {
            let work = {
                let mut queue = self.queue();
                loop {
                    if queue.failed {
                        return Ok(parts);
                    }
                    if let Some(work) = queue.todo.pop() {
                        queue.busy += 1;
                        break work;
                    }
                    if queue.busy == 0 {
                        return Ok(parts);
                    }
                    queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
                }
            };
            let done = match work {
                Work::Dir { path, below } => self.dir(path, below, &mut room, &mut parts),
                Work::Names { dir, names } => self.names(&dir, names, &mut parts),
            };
            let mut queue = self.queue();
            queue.busy -= 1;
            queue.failed |= done.is_err();
            // Others wait for work, or for the end.
            self.changed.notify_all();
            drop(queue);
            done?;
        }
    }

    fn push(&self, work: impl IntoIterator<Item = Work>) {
        self.queue().todo.extend(work);
        self.changed.notify_all();
    }

    fn dir(&self, path: Vec<u8>, below: Below, room: &mut Vec<u8>, parts: &mut Vec<Part>) -> Result<()> {
        let ignore = &self.source.ignore;
        if let Some(known) = self.source.known(&path) {
            if self.whole {
                let dirs =
                    known.nodes.iter().filter(|node| node.stat.is_dir()).map(|node| name::join(&path, &node.name));
                self.push(dirs.map(|path| Work::Dir { below: ignore.enter(&path, &known.below).1, path }));
            }
            return Ok(());
        }
        let fd = match self.source.root.dir(&path) {
            Ok(fd) => fd,
            // It vanished since its parent was read.
            Err(Errno::NOENT) => {
                parts.push(Part { path, below, nodes: Vec::new() });
                return Ok(());
            }
            Err(errno) => return Err(self.source.failed("read the directory", &path, errno)),
        };
        let dir = Arc::new(Open { fd, path, below });
        let mut names = self.read_names(&dir, room)?;
        self.count(names.len())?;
        // This thread takes the first piece, which also stands for the directory when it is empty.
        let rest = names.split_off(names.len().min(PIECE));
        if !rest.is_empty() {
            self.push(rest.chunks(PIECE).map(|piece| Work::Names { dir: dir.clone(), names: piece.to_vec() }));
        }
        self.names(&dir, names, parts)
    }

    fn count(&self, more: usize) -> Result<()> {
        let mut queue = self.queue();
        queue.seen = queue.seen.saturating_add(more);
        select::check_count(queue.seen.saturating_sub(1).min(MAX_FILES))
    }

    /// The names in a directory, without those excluded for certain.
    fn read_names(&self, dir: &Open, room: &mut Vec<u8>) -> Result<Vec<Vec<u8>>> {
        let ignore = &self.source.ignore;
        let mut names = Vec::new();
        room.clear();
        let mut entries = RawDir::new(&dir.fd, room.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(|errno| self.source.failed("read the directory", &dir.path, errno))?;
            let base = entry.file_name().to_bytes();
            if base == b"." || base == b".." {
                continue;
            }
            let may_be_dir = matches!(entry.file_type(), FileType::Directory | FileType::Unknown);
            if !may_be_dir && !ignore.is_empty() && ignore.matches_in(name::join(&dir.path, base), &dir.below) {
                continue;
            }
            names.push(base.to_vec());
        }
        Ok(names)
    }

    fn names(&self, dir: &Open, names: Vec<Vec<u8>>, parts: &mut Vec<Part>) -> Result<()> {
        let ignore = &self.source.ignore;
        let mut nodes = Vec::with_capacity(names.len());
        let mut enter = Vec::new();
        for base in names {
            let Some(node) = self.source.node(&dir.fd, &dir.path, &base)? else { continue };
            let path = || name::join(&dir.path, &base);
            let mut doubtful = false;
            if node.stat.is_dir() {
                let path = path();
                let (excluded, below) = ignore.enter(&path, &dir.below);
                if excluded && !ignore.may_reinclude_below(&path) {
                    continue;
                }
                doubtful = excluded;
                if excluded || self.whole {
                    enter.push(Work::Dir { path, below });
                }
            } else if !ignore.is_empty() && ignore.matches_in(path(), &dir.below) {
                // Only names of unknown type come here excluded.
                continue;
            }
            nodes.push((node, doubtful));
        }
        if !enter.is_empty() {
            self.push(enter);
        }
        parts.push(Part { path: dir.path.clone(), below: dir.below.clone(), nodes });
        Ok(())
    }
}
