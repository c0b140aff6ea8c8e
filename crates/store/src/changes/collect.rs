//! From candidates to the entries of a layer: the one place where the rule is applied, for every isolation rung.

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;

use kiln_oci::entry::{Entry, EntryKind, Meta, Mtime};
use kiln_oci::layer::WHITEOUT;
use kiln_oci::name::{is_normal, join, split};
use rustix::fs::readlinkat;

use super::error::{ChangeError, read};
use super::rule::{Verdict, judge};
use super::{ChangeOptions, ChangedEntry};
use crate::beneath::{Beneath, ancestors, shown};
use crate::capability;
use crate::form::{self, Form};
use crate::lower::Lower;
use crate::stat::{FileKind, Stat};

/// Bytes compared at once.
const CHUNK: usize = 64 * 1024;

/// What may have changed.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    /// What is there now.
    pub(super) present: BTreeMap<Vec<u8>, Stat>,
    /// What is there no more, topmost only.
    pub(super) gone: BTreeSet<Vec<u8>>,
}

/// Judges candidates. Entries are kept by their name in the tar, which is the order of the layer.
pub(super) struct Collector<'a> {
    tree: &'a mut Beneath,
    lower: &'a dyn Lower,
    options: &'a ChangeOptions<'a>,
    entries: BTreeMap<Vec<u8>, ChangedEntry>,
}

impl<'a> Collector<'a> {
    pub(super) fn new(tree: &'a mut Beneath, lower: &'a dyn Lower, options: &'a ChangeOptions<'a>) -> Collector<'a> {
        Collector { tree, lower, options, entries: BTreeMap::new() }
    }

    /// The changed entries among the candidates, with their parents, in the layer's order.
    pub(super) fn collect(mut self, candidates: Candidates) -> Result<Vec<ChangedEntry>, ChangeError> {
        let Candidates { present, mut gone } = candidates;
        for (path, stat) in &present {
            if self.options.ignore.covers(path) {
                continue;
            }
            if stat.kind == FileKind::Socket {
                // A layer cannot hold it, but what it replaced is gone.
                gone.insert(path.clone());
                continue;
            }
            self.consider(path, stat)?;
        }
        for path in gone {
            if !self.options.ignore.covers(&path) && self.lower.has(&path) {
                self.keep(Entry { path, kind: EntryKind::Whiteout, meta: Meta::default() }, None)?;
            }
        }
        self.add_parents()?;
        Ok(link_names(self.entries.into_values().collect()))
    }

    fn consider(&mut self, path: &[u8], stat: &Stat) -> Result<(), ChangeError> {
        let (kind, meta) = self.describe(path, stat)?;
        let lower = self.lower.get(path);
        let changed = match judge(lower.as_ref(), &kind, &meta) {
            Verdict::Same => false,
            Verdict::Changed => true,
            Verdict::CompareBytes => self.bytes_differ(path)?,
        };
        if changed {
            self.keep(Entry { path: path.to_vec(), kind, meta }, Some(*stat))?;
        }
        Ok(())
    }

    /// What a layer would say about a path.
    fn describe(&mut self, path: &[u8], stat: &Stat) -> Result<(EntryKind, Meta), ChangeError> {
        let mtime = Mtime::secs(stat.mtime.secs);
        let mut meta = Meta { mode: stat.mode, uid: stat.uid, gid: stat.gid, mtime, ..Meta::default() };
        let (major, minor) = stat.rdev;
        let is_virtual = self.options.form.has_virtual_owners();
        let is_bare = *self.options.form == Form::Bare;
        let kind = match stat.kind {
            FileKind::File => {
                let file = self.tree.read_file(path).map_err(read(path))?;
                if is_virtual {
                    (meta.uid, meta.gid) = form::owner_of(&file).map_err(read(path))?;
                }
                if is_bare {
                    meta.mode = form::mode_of(&file, meta.mode).map_err(read(path))?;
                }
                let node = if *self.options.form == Form::Real { Ok(None) } else { form::node_of(&file) };
                if let Some((block, major, minor)) = node.map_err(read(path))? {
                    let kind = if block { EntryKind::Block { major, minor } } else { EntryKind::Char { major, minor } };
                    return Ok((kind, meta));
                }
                let kept = if is_bare { form::CAPABILITY } else { capability::NAME };
                if let Some(value) = capability::under(kept, &file).map_err(read(path))? {
                    meta.xattrs.insert(capability::NAME.to_vec(), value);
                }
                EntryKind::File { size: stat.size }
            }
            FileKind::Symlink => {
                let (parent, name) = split(path);
                let target = self.tree.dir(parent).and_then(|dir| readlinkat(dir, name, Vec::new()));
                EntryKind::Symlink { target: target.map_err(read(path))?.into_bytes() }
            }
            FileKind::Char => EntryKind::Char { major, minor },
            FileKind::Block => EntryKind::Block { major, minor },
            FileKind::Fifo | FileKind::Socket => EntryKind::Fifo,
            FileKind::Dir => {
                if is_virtual {
                    let dir = self.tree.read_dir(path).map_err(read(path))?;
                    (meta.uid, meta.gid) = form::owner_of(&dir).map_err(read(path))?;
                    if is_bare {
                        meta.mode = form::mode_of(&dir, meta.mode).map_err(read(path))?;
                    }
                }
                EntryKind::Dir
            }
        };
        if is_virtual && !matches!(stat.kind, FileKind::File | FileKind::Dir) {
            (meta.uid, meta.gid) = self.options.owners.get(path).copied().unwrap_or((0, 0));
        }
        Ok((kind, meta))
    }

    fn bytes_differ(&mut self, path: &[u8]) -> Result<bool, ChangeError> {
        let lower_failed = |source| ChangeError::ReadLower { path: shown(path), source };
        let mut now = std::fs::File::from(self.tree.read_file(path).map_err(read(path))?);
        let mut before = self.lower.open(path).map_err(lower_failed)?;
        let (mut ours, mut theirs) = (vec![0; CHUNK], vec![0; CHUNK]);
        loop {
            let n = fill(&mut now, &mut ours).map_err(|source| ChangeError::Read { path: shown(path), source })?;
            let m = fill(&mut before, &mut theirs).map_err(lower_failed)?;
            if ours[..n] != theirs[..m] {
                return Ok(true);
            }
            if n < CHUNK {
                return Ok(false);
            }
        }
    }

    /// Adds an entry, dated no later than the caller wants.
    fn keep(&mut self, mut entry: Entry, stat: Option<Stat>) -> Result<(), ChangeError> {
        let (parent, name) = split(&entry.path);
        if name.starts_with(WHITEOUT) {
            return Err(ChangeError::Reserved { path: shown(&entry.path) });
        }
        if !is_normal(&entry.path) {
            return Err(ChangeError::PathTooLong { path: shown(&entry.path) });
        }
        let tar_name = match entry.kind {
            EntryKind::Whiteout => join(parent, &[WHITEOUT, name].concat()),
            _ => entry.path.clone(),
        };
        if let Some(newest) = self.options.clamp_mtime {
            entry.meta.mtime.secs = entry.meta.mtime.secs.min(newest);
        }
        self.entries.insert(tar_name, ChangedEntry { entry, stat });
        Ok(())
    }

    /// Adds the directories that lead to what changed, as they are now.
    fn add_parents(&mut self) -> Result<(), ChangeError> {
        let mut wanted = BTreeSet::new();
        for changed in self.entries.values() {
            for dir in ancestors(&changed.entry.path) {
                if self.entries.contains_key(dir) || !wanted.insert(dir.to_vec()) {
                    break;
                }
            }
        }
        for path in wanted {
            let (parent, name) = split(&path);
            let stat = self.tree.dir(parent).and_then(|dir| Stat::at(dir, name)).map_err(read(&path))?;
            let (kind, meta) = self.describe(&path, &stat)?;
            self.keep(Entry { path, kind, meta }, Some(stat))?;
        }
        Ok(())
    }
}

/// Turns all names of a file but the first into hard links.
fn link_names(mut entries: Vec<ChangedEntry>) -> Vec<ChangedEntry> {
    let mut first: HashMap<u64, Vec<u8>> = HashMap::new();
    for changed in &mut entries {
        let is_file = matches!(changed.entry.kind, EntryKind::File { .. });
        let Some(stat) = changed.stat.filter(|stat| stat.nlink > 1 && is_file) else { continue };
        match first.entry(stat.ino) {
            Slot::Occupied(name) => {
                changed.entry.kind = EntryKind::Hardlink { target: name.get().clone() };
                changed.stat = None;
            }
            Slot::Vacant(slot) => drop(slot.insert(changed.entry.path.clone())),
        }
    }
    entries
}

fn fill(from: &mut dyn Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut n = 0;
    while n < buffer.len() {
        match from.read(&mut buffer[n..]) {
            Ok(0) => break,
            Ok(more) => n += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(n)
}
