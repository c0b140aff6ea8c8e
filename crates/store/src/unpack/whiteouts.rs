//! Entries that hide what older layers have.
//!
//! A layer hides only what older layers put there, wherever in its tar the whiteout comes: what the layer itself put
//! at the path, or below it, stays.

use rustix::fs::{AtFlags, XattrFlags, fsetxattr, unlinkat};
use rustix::io::Errno;

use super::apply::{Applier, Touch, below};
use super::error::{UnpackError, create, look, remove};
use super::make::{Spot, set_xattr};
use super::{Flavour, OverlayXattrs};
use crate::stat::{FileKind, Stat};
use kiln_oci::name::{join, split};

impl Applier<'_> {
    pub(super) fn whiteout(&mut self, path: &[u8]) -> Result<(), UnpackError> {
        match &self.options.flavour {
            Flavour::Merged => self.whiteout_merged(path),
            Flavour::OverlayLower { .. } => self.whiteout_overlay(path),
        }
    }

    pub(super) fn opaque(&mut self, path: &[u8]) -> Result<(), UnpackError> {
        match &self.options.flavour {
            Flavour::Merged => self.opaque_merged(path),
            Flavour::OverlayLower { .. } => self.opaque_overlay(path),
        }
    }

    /// Whether `path` names something now, without a link on the way.
    fn is_there(&mut self, path: &[u8]) -> Result<Option<FileKind>, UnpackError> {
        let (parent, name) = split(path);
        let dir = match self.tree.dir(parent) {
            Ok(dir) => dir,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(errno) => return Err(look(path)(errno)),
        };
        match Stat::at(dir, name) {
            Ok(stat) => Ok(Some(stat.kind)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(look(path)(errno)),
        }
    }

    fn whiteout_merged(&mut self, path: &[u8]) -> Result<(), UnpackError> {
        match self.touched.get(path) {
            Some(Touch::Dir | Touch::Parent) => {
                self.clear_older(path)?;
                self.reset_parents(path, true)
            }
            Some(_) => Ok(()),
            None => match self.is_there(path)? {
                None => Ok(()),
                Some(FileKind::Dir) => {
                    self.note_time(split(path).0)?;
                    self.clear(path)
                }
                Some(_) => {
                    let (parent, name) = split(path);
                    self.note_time(parent)?;
                    let dir = self.tree.dir(parent).map_err(remove(path))?;
                    unlinkat(dir, name, AtFlags::empty()).map_err(remove(path))
                }
            },
        }
    }

    fn opaque_merged(&mut self, path: &[u8]) -> Result<(), UnpackError> {
        let is_dir = path.is_empty() || self.is_there(path)? == Some(FileKind::Dir);
        if !is_dir {
            return Ok(());
        }
        self.note_time(path)?;
        self.clear_older(path)?;
        self.reset_parents(path, false)
    }

    /// Removes what older layers have below `path`.
    fn clear_older(&mut self, path: &[u8]) -> Result<(), UnpackError> {
        let touched = std::mem::take(&mut self.touched);
        let done = self.clear_below(path, &|path| touched.contains_key(path));
        self.touched = touched;
        done
    }

    fn whiteout_overlay(&mut self, path: &[u8]) -> Result<(), UnpackError> {
        // A mark for what is not there would drag its missing parents into being; and overlayfs lists a mark as a name
        // in a directory that it does not merge with a lower one.
        if self.hides(path) || !self.lower_has(path) {
            return Ok(());
        }
        self.hidden.insert(path.to_vec());
        self.hide(path)
    }

    /// Hides what lower layers have at `path`, sparing what this layer put there.
    fn hide(&mut self, path: &[u8]) -> Result<(), UnpackError> {
        match self.touched.get(path) {
            Some(Touch::Parent) if !self.has_content(path) => {
                self.clear(path)?;
                self.put_whiteout(path)
            }
            Some(Touch::Dir | Touch::Parent) => {
                self.reset_parents(path, true)?;
                self.mark_opaque(path)
            }
            Some(_) => Ok(()),
            None => self.put_whiteout(path),
        }
    }

    /// Whether this layer put more than marks of removal below `path`.
    fn has_content(&self, path: &[u8]) -> bool {
        below(&self.touched, path).any(|(_, what)| matches!(what, Touch::Dir | Touch::Leaf))
    }

    /// Whether a lower layer has something at `path`, or may have.
    fn lower_has(&self, path: &[u8]) -> bool {
        match &self.options.flavour {
            Flavour::OverlayLower { lower: Some(lower), .. } => lower.has(path),
            _ => true,
        }
    }

    fn put_whiteout(&mut self, path: &[u8]) -> Result<(), UnpackError> {
        self.ready_parent(path)?;
        let (parent, name) = split(path);
        let dir = self.tree.dir(parent).map_err(create(path))?;
        if !self.maker.whiteout(Spot { dir, name, path })? {
            return Err(create(path)(Errno::EXIST));
        }
        self.touch(path, Touch::Whiteout);
        Ok(())
    }

    fn opaque_overlay(&mut self, path: &[u8]) -> Result<(), UnpackError> {
        if self.hides(path) {
            return Ok(());
        }
        self.hidden.insert(path.to_vec());
        if path.is_empty() || self.is_own_dir(path) {
            self.reset_parents(path, false)?;
            // overlayfs always merges the layers' roots; `hide_root` does it at the end.
            return if path.is_empty() { Ok(()) } else { self.mark_opaque(path) };
        }
        if self.touched.get(path) == Some(&Touch::Leaf) {
            return Ok(());
        }
        let is_lower_dir = match &self.options.flavour {
            Flavour::OverlayLower { lower: Some(lower), .. } => lower.dir(path).is_some(),
            _ => false,
        };
        // Otherwise there is nothing to hide; an entry that comes later finds the path in `hidden`.
        if is_lower_dir { self.imply_opaque(path) } else { Ok(()) }
    }

    fn imply_opaque(&mut self, path: &[u8]) -> Result<(), UnpackError> {
        // The directory itself keeps the lower one's owner and mode: only its children are hidden.
        self.hidden.remove(path);
        let child = join(path, b"-");
        self.ready_parent(&child)?;
        self.hidden.insert(path.to_vec());
        self.mark_opaque(path)
    }

    /// Makes overlayfs show only this layer's children of a directory.
    pub(super) fn mark_opaque(&mut self, path: &[u8]) -> Result<(), UnpackError> {
        let Flavour::OverlayLower { xattrs, .. } = &self.options.flavour else { return Ok(()) };
        let name: &[u8] = match xattrs {
            OverlayXattrs::Trusted => b"trusted.overlay.opaque",
            OverlayXattrs::User => b"user.overlay.opaque",
        };
        let dir = self.tree.read_dir(path).map_err(look(path))?;
        fsetxattr(&dir, name, b"y", XattrFlags::empty()).map_err(set_xattr(path, name))?;
        self.clear_marks(path)
    }

    /// Removes marks of removal, and directories made for them, below a directory that now hides everything.
    fn clear_marks(&mut self, path: &[u8]) -> Result<(), UnpackError> {
        let marks = below(&self.touched, path).filter(|(_, what)| matches!(what, Touch::Whiteout | Touch::Parent));
        for mark in marks.map(|(mark, _)| mark.clone()).collect::<Vec<_>>() {
            let is_mark = match self.touched.get(&mark) {
                Some(Touch::Whiteout) => true,
                Some(Touch::Parent) => !self.has_content(&mark),
                _ => false,
            };
            if is_mark {
                self.clear(&mark)?;
            }
        }
        Ok(())
    }

    /// Hides what the lower layers have in the root, when the layer says so: overlayfs has no opaque root.
    pub(super) fn hide_root(&mut self) -> Result<(), UnpackError> {
        let Flavour::OverlayLower { lower: Some(lower), .. } = &self.options.flavour else { return Ok(()) };
        if !self.hidden.contains(&b""[..]) {
            return Ok(());
        }
        for path in lower.children(b"") {
            self.hide(&path)?;
        }
        Ok(())
    }
}
