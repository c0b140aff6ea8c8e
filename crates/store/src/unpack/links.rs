//! Hard links: to files of the same layer, of older layers, and to files that come later in the tar.

use std::io::Read;
use std::os::fd::AsFd;

use kiln_oci::entry::{Entry, EntryKind, Meta};
use kiln_oci::name::split;
use rustix::fs::readlinkat;
use rustix::io::Errno;

use super::apply::{Applier, Touch, bad};
use super::error::{UnpackError, look};
use super::make::Spot;
use super::{Flavour, Links};
use crate::beneath::{is_below, is_plain, shown};
use crate::form;
use crate::stat::{FileKind, Stat};

/// Links to links that come later in the tar are followed so far.
const MAX_CHAIN: usize = 16;

impl Applier<'_> {
    pub(super) fn put_link(&mut self, path: &[u8], target: &[u8]) -> Result<(), UnpackError> {
        if !is_plain(target) {
            return Err(bad(path, "it is a hard link to what is not a path"));
        }
        let target = &self.real_path(target)?;
        if target == path {
            return Err(bad(path, "it is a hard link to itself"));
        }
        if is_below(target, path) || is_below(path, target) {
            return Err(bad(path, "it is a hard link to what it would replace"));
        }
        // A name that is there already is what is meant, even if a later entry replaces it.
        if self.is_leaf_now(target)? {
            return self.link(path, target);
        }
        self.late.insert(path.to_vec(), target.to_vec());
        Ok(())
    }

    /// Makes the links whose target did not come before them.
    pub(super) fn put_late_links(&mut self) -> Result<(), UnpackError> {
        let late = std::mem::take(&mut self.late);
        for path in late.keys() {
            let mut target = path;
            for _ in 0..=MAX_CHAIN {
                let Some(next) = late.get(target) else { break };
                target = next;
            }
            if late.contains_key(target) {
                return Err(bad(path, "its hard links form a circle or a long chain"));
            }
            self.link(path, target)?;
        }
        Ok(())
    }

    fn link(&mut self, path: &[u8], target: &[u8]) -> Result<(), UnpackError> {
        let missing = || UnpackError::LinkTarget { path: shown(path), target: shown(target) };
        let here = match self.touched.get(target) {
            Some(Touch::Leaf) => true,
            Some(Touch::Dir | Touch::Parent | Touch::Whiteout) => return Err(missing()),
            None => matches!(self.options.flavour, Flavour::Merged),
        };
        self.ready_parent(path)?;
        if !here {
            return self.copy_lower(path, target)?.then_some(()).ok_or_else(missing);
        }
        let (parent, name) = split(target);
        let stat = match self.tree.dir(parent).and_then(|dir| Stat::at(dir, name)) {
            Ok(stat) if stat.kind != FileKind::Dir => stat,
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(missing()),
            Err(errno) => return Err(look(target)(errno)),
        };
        match self.options.links {
            Links::Keep => self.link_here(path, target),
            Links::Break => self.copy_here(path, target, &stat),
        }
    }

    /// Makes `path` a second name of the file at `target`.
    fn link_here(&mut self, path: &[u8], target: &[u8]) -> Result<(), UnpackError> {
        let (target_parent, target_name) = split(target);
        let (parent, name) = split(path);
        let target_dir = self.tree.handle(target_parent).map_err(look(target))?;
        let from = Spot { dir: target_dir.as_fd(), name: target_name, path: target };
        for last_try in [false, true] {
            let dir = self.tree.dir(parent).map_err(look(path))?;
            if self.maker.link(Spot { dir, name, path }, from)? || last_try {
                break;
            }
            self.clear(path)?;
        }
        self.touch(path, Touch::Leaf);
        if self.touched.contains_key(target) {
            self.linked.insert(target.to_vec());
        }
        Ok(())
    }

    /// Makes `path` a second file like the one at `target`.
    fn copy_here(&mut self, path: &[u8], target: &[u8], stat: &Stat) -> Result<(), UnpackError> {
        let (parent, name) = split(target);
        let mut meta = Meta { mode: stat.mode, uid: stat.uid, gid: stat.gid, mtime: stat.mtime, ..Meta::default() };
        let (major, minor) = stat.rdev;
        let kind = match stat.kind {
            FileKind::File => {
                let file = self.tree.read_file(target).map_err(look(target))?;
                self.maker.undressed(&file, &mut meta).map_err(look(target))?;
                if let Some((block, major, minor)) = form::node_of(&file).map_err(look(target))? {
                    let kind = if block { EntryKind::Block { major, minor } } else { EntryKind::Char { major, minor } };
                    return self.put_leaf(path, &Entry { path: path.to_vec(), kind, meta }, &mut std::io::empty());
                }
                let entry = Entry { path: path.to_vec(), kind: EntryKind::File { size: stat.size }, meta };
                return self.put_leaf(path, &entry, &mut std::fs::File::from(file));
            }
            FileKind::Symlink => {
                let dir = self.tree.dir(parent).map_err(look(target))?;
                let to = readlinkat(dir, name, Vec::new()).map_err(look(target))?;
                EntryKind::Symlink { target: to.into_bytes() }
            }
            FileKind::Char => EntryKind::Char { major, minor },
            FileKind::Block => EntryKind::Block { major, minor },
            FileKind::Fifo => EntryKind::Fifo,
            FileKind::Dir | FileKind::Socket => {
                return Err(UnpackError::LinkTarget { path: shown(path), target: shown(target) });
            }
        };
        self.put_leaf(path, &Entry { path: path.to_vec(), kind, meta }, &mut std::io::empty())
    }

    /// Copies what the lower layers have at `target` to `path`; `false` when that is no file.
    fn copy_lower(&mut self, path: &[u8], target: &[u8]) -> Result<bool, UnpackError> {
        let Flavour::OverlayLower { lower: Some(lower), .. } = &self.options.flavour else { return Ok(false) };
        let Some((kind, meta)) = lower.get(target).filter(|(kind, _)| *kind != EntryKind::Dir) else {
            return Ok(false);
        };
        let mut body: Box<dyn Read> = match kind {
            EntryKind::File { .. } => {
                lower.open(target).map_err(|source| UnpackError::ReadBody { path: shown(target), source })?
            }
            _ => Box::new(std::io::empty()),
        };
        self.put_leaf(path, &Entry { path: path.to_vec(), kind, meta }, &mut body)?;
        Ok(true)
    }
}
