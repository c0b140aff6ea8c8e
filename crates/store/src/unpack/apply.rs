//! Applying a layer's entries, one after the other, to a directory.
//!
//! What an entry means for what is already there:
//!
//! ```text
//! entry              this layer's own path      older layers' path, merged       own directory for overlayfs
//! directory          kept if a directory        kept if a directory              made; parent of what comes
//! anything else      replaced (last one wins)   replaced                         made
//! whiteout           spared; a directory loses  removed                          char device 0:0, if a lower layer has
//!                    what is not this layer's                                    it and nothing above hides it already
//! opaque             as a whiteout, and stays   children removed                 xattr `overlay.opaque` = `y`
//! hard link          to what is there when it   link or copy                     link, or a copy of the lower file
//!                    comes; else at the end
//! missing parent     -                          made, 0755 0:0                   like the lower directory, else 0755 0:0
//! parent a link      followed by name, inside the root; not for removals, which are about older layers
//! parent a file      becomes a directory        becomes a directory              becomes a directory, opaque
//! ```
//!
//! Modes and times of directories are set at the end, children first, so that read-only directories can be filled and
//! times hold.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::ops::Bound;

use kiln_oci::entry::{Entry, EntryKind, Meta, Mtime};
use rustix::fs::{AtFlags, FileType, unlinkat};
use rustix::io::Errno;

use super::error::{UnpackError, create, look, remove};
use super::make::{Maker, Spot};
use super::resolve::Through;
use super::{Devices, Flavour, Options};
use crate::beneath::{Beneath, ancestors, is_plain, shown};
use crate::stat::{FileKind, Stat};
use kiln_oci::name::{join, split};

/// What this layer put at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Touch {
    /// A directory, by its own entry.
    Dir,
    /// A directory, because an entry lies below it.
    Parent,
    /// Anything else but a directory.
    Leaf,
    /// A whiteout on disk.
    Whiteout,
}

impl Touch {
    pub(super) fn is_dir(self) -> bool {
        matches!(self, Touch::Dir | Touch::Parent)
    }
}

/// What a directory gets when everything is in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct DirEnd {
    pub(super) mode: Option<u32>,
    pub(super) mtime: Mtime,
}

/// A directory while a layer is applied to it.
pub(super) struct Applier<'a> {
    pub(super) tree: Beneath,
    pub(super) maker: Maker,
    pub(super) options: &'a Options<'a>,
    pub(super) touched: BTreeMap<Vec<u8>, Touch>,
    pub(super) ends: BTreeMap<Vec<u8>, DirEnd>,
    /// Hard links whose target did not come before them, with their target.
    pub(super) late: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Paths whose lower content this layer hides (overlay only).
    pub(super) hidden: BTreeSet<Vec<u8>>,
    /// Links of older layers that entries of this one went through.
    pub(super) followed: BTreeSet<Vec<u8>>,
    /// Files of this layer with a second name.
    pub(super) linked: BTreeSet<Vec<u8>>,
    pub(super) skipped_devices: u64,
    /// Directories made without an entry of their own.
    implied: u64,
}

/// The most directories a layer may imply without having entries for them.
const MAX_IMPLIED: u64 = 1_000_000;

impl<'a> Applier<'a> {
    pub(super) fn new(tree: Beneath, options: &'a Options<'a>) -> Applier<'a> {
        Applier {
            tree,
            maker: Maker::new(options.owners, options.devices),
            options,
            touched: BTreeMap::new(),
            ends: BTreeMap::new(),
            late: BTreeMap::new(),
            hidden: BTreeSet::new(),
            followed: BTreeSet::new(),
            linked: BTreeSet::new(),
            skipped_devices: 0,
            implied: 0,
        }
    }

    /// Applies one entry; `body` gives a file's bytes.
    pub(super) fn put(&mut self, entry: &Entry, body: &mut dyn Read) -> Result<(), UnpackError> {
        let path = entry.path.as_slice();
        if path.is_empty() {
            return match entry.kind {
                EntryKind::Dir => self.put_root(&entry.meta),
                EntryKind::Opaque => self.opaque(path),
                _ => Err(bad(path, "only a directory can be the root")),
            };
        }
        if !is_plain(path) {
            return Err(bad(path, "it has a component `.`, `..`, an empty one, or one longer than 255 bytes"));
        }
        if entry.kind == EntryKind::Opaque {
            // The mark is a file in the directory, so a link there is on the way to it.
            return self.resolve(path, Through::OlderLinks)?.map_or(Ok(()), |path| self.opaque(&path));
        }
        if matches!(entry.kind, EntryKind::Dir | EntryKind::Whiteout) {
            self.check_late(path)?;
        }
        if entry.kind == EntryKind::Whiteout {
            return self.hidden_path(path)?.map_or(Ok(()), |path| self.whiteout(&path));
        }
        let path = self.real_path(path)?;
        match &entry.kind {
            EntryKind::Hardlink { target } => self.put_link(&path, target),
            EntryKind::Dir => self.put_dir(&path, &entry.meta),
            _ => self.put_leaf(&path, entry, body),
        }
    }

    fn put_root(&mut self, meta: &Meta) -> Result<(), UnpackError> {
        let root = self.tree.read_dir(b"").map_err(look(b""))?;
        self.maker.own_open(&root, b"", meta)?;
        self.ends.insert(Vec::new(), DirEnd { mode: Some(meta.mode), mtime: meta.mtime });
        Ok(())
    }

    fn put_dir(&mut self, path: &[u8], meta: &Meta) -> Result<(), UnpackError> {
        self.ready_parent(path)?;
        self.ready_dir(path)?;
        self.touched.insert(path.to_vec(), Touch::Dir);
        let (parent, name) = split(path);
        let dir = self.tree.dir(parent).map_err(look(path))?;
        self.maker.own_at(Spot { dir, name, path }, meta)?;
        self.ends.insert(path.to_vec(), DirEnd { mode: Some(meta.mode), mtime: meta.mtime });
        Ok(())
    }

    /// Makes sure that a directory of this layer is at `path`, whose parent is one already.
    fn ready_dir(&mut self, path: &[u8]) -> Result<(), UnpackError> {
        if self.is_own_dir(path) {
            return Ok(());
        }
        let (parent, name) = split(path);
        loop {
            let dir = self.tree.dir(parent).map_err(create(path))?;
            if self.maker.create_dir(Spot { dir, name, path })? {
                break;
            }
            if Stat::at(dir, name).map_err(look(path))?.kind == FileKind::Dir {
                break;
            }
            self.clear(path)?;
            // What stood here hid the lower directory, and still does.
            self.hidden.insert(path.to_vec());
        }
        self.touch(path, Touch::Parent);
        if self.hidden.contains(path) {
            self.mark_opaque(path)?;
        }
        Ok(())
    }

    /// Makes sure that every parent of `path` is a directory, without following a link.
    pub(super) fn ready_parent(&mut self, path: &[u8]) -> Result<(), UnpackError> {
        let parent = split(path).0;
        if parent.is_empty() || self.is_own_dir(parent) {
            return self.note_root();
        }
        self.note_root()?;
        let mut missing: Vec<&[u8]> = ancestors(path).take_while(|dir| !self.is_own_dir(dir)).collect();
        while let Some(dir) = missing.pop() {
            self.imply_dir(dir)?;
        }
        Ok(())
    }

    /// A directory that the layer has no entry for, but entries below.
    fn imply_dir(&mut self, path: &[u8]) -> Result<(), UnpackError> {
        let (parent, name) = split(path);
        let dir = self.tree.dir(parent).map_err(create(path))?;
        let was = match Stat::at(dir, name) {
            Ok(stat) if stat.kind == FileKind::Dir => Some(stat),
            Ok(_) | Err(Errno::NOENT) => None,
            Err(errno) => return Err(look(path)(errno)),
        };
        self.ready_dir(path)?;
        if let Some(stat) = was {
            self.ends.entry(path.to_vec()).or_insert(DirEnd { mode: None, mtime: stat.mtime });
            return Ok(());
        }
        self.implied += 1;
        if self.implied > MAX_IMPLIED {
            return Err(bad(path, "the layer makes too many directories without having them as entries"));
        }
        let meta = self.lower_dir(path).unwrap_or_else(|| Meta::mode(0o755));
        let dir = self.tree.dir(parent).map_err(create(path))?;
        self.maker.own_at(Spot { dir, name, path }, &meta)?;
        self.ends.insert(path.to_vec(), DirEnd { mode: Some(meta.mode), mtime: meta.mtime });
        Ok(())
    }

    /// The metadata of the lower layers' directory at `path`, unless this layer hides it.
    pub(super) fn lower_dir(&self, path: &[u8]) -> Option<Meta> {
        let Flavour::OverlayLower { lower: Some(lower), .. } = &self.options.flavour else { return None };
        if self.hides(path) { None } else { lower.dir(path) }
    }

    /// Remembers the root's time before the first change below it.
    fn note_root(&mut self) -> Result<(), UnpackError> {
        if matches!(self.options.flavour, Flavour::Merged) {
            self.note_time(b"")?;
        }
        Ok(())
    }

    /// Remembers the time of a directory that is about to change, to be given back at the end.
    pub(super) fn note_time(&mut self, path: &[u8]) -> Result<(), UnpackError> {
        if !self.ends.contains_key(path) {
            let dir = self.tree.dir(path).map_err(look(path))?;
            let mtime = Stat::of(dir).map_err(look(path))?.mtime;
            self.ends.insert(path.to_vec(), DirEnd { mode: None, mtime });
        }
        Ok(())
    }

    pub(super) fn put_leaf(&mut self, path: &[u8], entry: &Entry, body: &mut dyn Read) -> Result<(), UnpackError> {
        if self.skips(entry)? {
            self.skipped_devices += 1;
            return Ok(());
        }
        self.ready_parent(path)?;
        if !self.try_leaf(path, entry, body)? {
            self.clear(path)?;
            if !self.try_leaf(path, entry, body)? {
                return Err(create(path)(Errno::EXIST));
            }
        }
        self.touch(path, Touch::Leaf);
        Ok(())
    }

    /// Whether the entry is a device that is not to be made.
    fn skips(&self, entry: &Entry) -> Result<bool, UnpackError> {
        let (EntryKind::Char { major, minor } | EntryKind::Block { major, minor }) = entry.kind else {
            return Ok(false);
        };
        if (major, minor) == (0, 0) && matches!(entry.kind, EntryKind::Char { .. }) {
            return Err(bad(&entry.path, "the character device 0:0 is overlayfs's mark for removed files"));
        }
        Ok(self.options.devices == Devices::Skip)
    }

    /// Makes what the entry says; `false` when something is there already.
    fn try_leaf(&mut self, path: &[u8], entry: &Entry, body: &mut dyn Read) -> Result<bool, UnpackError> {
        let (parent, name) = split(path);
        let dir = self.tree.dir(parent).map_err(create(path))?;
        let spot = Spot { dir, name, path };
        let meta = &entry.meta;
        match &entry.kind {
            EntryKind::File { size } => {
                let Some(file) = self.maker.create_file(spot)? else { return Ok(false) };
                self.maker.fill_file(&file, path, *size, body, meta)?;
                Ok(true)
            }
            EntryKind::Symlink { target } => self.maker.symlink(spot, target, meta),
            EntryKind::Fifo => self.maker.node(spot, FileType::Fifo, (0, 0), meta),
            EntryKind::Char { major, minor } => {
                self.maker.node(spot, FileType::CharacterDevice, (*major, *minor), meta)
            }
            EntryKind::Block { major, minor } => self.maker.node(spot, FileType::BlockDevice, (*major, *minor), meta),
            EntryKind::Dir | EntryKind::Hardlink { .. } | EntryKind::Whiteout | EntryKind::Opaque => Ok(true),
        }
    }

    /// Whether this layer made, or passed through, a directory at `path`.
    pub(super) fn is_own_dir(&self, path: &[u8]) -> bool {
        self.touched.get(path).is_some_and(|what| what.is_dir())
    }

    /// Makes the directories that this layer only mentions, `path` among them when it is `inclusive`, what they are
    /// without lower layers: those turned out to be hidden.
    pub(super) fn reset_parents(&mut self, path: &[u8], inclusive: bool) -> Result<(), UnpackError> {
        let mut dirs: Vec<Vec<u8>> = match self.touched.get(path) {
            Some(Touch::Parent) if inclusive => vec![path.to_vec()],
            _ => Vec::new(),
        };
        let below = below(&self.touched, path).filter(|(_, what)| **what == Touch::Parent);
        dirs.extend(below.map(|(dir, _)| dir.clone()));
        for path in dirs {
            let meta = Meta::mode(0o755);
            let (parent, name) = split(&path);
            let dir = self.tree.dir(parent).map_err(look(&path))?;
            self.maker.own_at(Spot { dir, name, path: &path }, &meta)?;
            self.ends.insert(path, DirEnd { mode: Some(meta.mode), mtime: meta.mtime });
        }
        Ok(())
    }

    /// Notes that this layer put something at `path`.
    pub(super) fn touch(&mut self, path: &[u8], what: Touch) {
        self.late.remove(path);
        self.touched.insert(path.to_vec(), what);
    }

    /// Removes what is at `path`, with everything below it, and forgets that this layer put it there.
    pub(super) fn clear(&mut self, path: &[u8]) -> Result<(), UnpackError> {
        if self.linked.contains(path) {
            // Readers of the unpacked layer find the bytes of its other names here.
            return Err(bad(path, "a hard link of the same layer names it, and a later entry replaces it"));
        }
        self.clear_below(path, &|_| false)?;
        let (parent, name) = split(path);
        let dir = self.tree.dir(parent).map_err(remove(path))?;
        let is_dir = Stat::at(dir, name).map_err(look(path))?.kind == FileKind::Dir;
        let flags = if is_dir { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        unlinkat(dir, name, flags).map_err(remove(path))?;
        self.tree.forget();
        self.touched.remove(path);
        self.ends.remove(path);
        forget_below(&mut self.touched, path);
        forget_below(&mut self.ends, path);
        Ok(())
    }

    /// Removes everything below `path` (nothing when it is no directory) except what `keep` names.
    pub(super) fn clear_below(&mut self, path: &[u8], keep: &dyn Fn(&[u8]) -> bool) -> Result<(), UnpackError> {
        let mut dirs = vec![(path.to_vec(), false)];
        let mut at = 0;
        // Breadth first, one directory open at a time: depth costs memory, not handles or stack.
        while let Some((dir, _)) = dirs.get(at).cloned() {
            match self.tree.names(&dir) {
                Ok(found) => {
                    for name in found {
                        let child = join(&dir, &name);
                        let kept = keep(&child);
                        let fd = self.tree.dir(&dir).map_err(remove(&child))?;
                        if Stat::at(fd, &name).map_err(look(&child))?.kind == FileKind::Dir {
                            dirs.push((child, !kept));
                        } else if !kept {
                            unlinkat(fd, name.as_slice(), AtFlags::empty()).map_err(remove(&child))?;
                        }
                    }
                }
                Err(Errno::NOTDIR | Errno::LOOP) if at == 0 => return Ok(()),
                Err(errno) => return Err(remove(&dir)(errno)),
            }
            at += 1;
        }
        self.tree.forget();
        for (dir, _) in dirs.into_iter().rev().filter(|(_, gone)| *gone) {
            let (parent, name) = split(&dir);
            let fd = self.tree.dir(parent).map_err(remove(&dir))?;
            unlinkat(fd, name, AtFlags::REMOVEDIR).map_err(remove(&dir))?;
            self.tree.forget();
        }
        Ok(())
    }
}

/// What a table knows about paths below `dir`.
pub(super) fn below<'t, V>(table: &'t BTreeMap<Vec<u8>, V>, dir: &[u8]) -> impl Iterator<Item = (&'t Vec<u8>, &'t V)> {
    let (from, to) = match dir {
        // Every path but the root's own.
        [] => (Bound::Excluded(Vec::new()), Bound::Unbounded),
        _ => (Bound::Included([dir, b"/"].concat()), Bound::Excluded([dir, &[b'/' + 1]].concat())),
    };
    table.range((from, to))
}

fn forget_below<V>(table: &mut BTreeMap<Vec<u8>, V>, dir: &[u8]) {
    let gone: Vec<Vec<u8>> = below(table, dir).map(|(path, _)| path.clone()).collect();
    for path in gone {
        table.remove(&path);
    }
}

pub(super) fn bad(path: &[u8], why: &'static str) -> UnpackError {
    UnpackError::BadEntry { path: shown(path), why }
}
