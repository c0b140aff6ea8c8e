//! The end of a layer: links that waited, and what directories get once everything is in them.

use kiln_oci::entry::Meta;
use kiln_oci::name::split;
use rustix::fs::{AtFlags, futimens, utimensat};
use rustix::io::Errno;

use super::Flavour;
use super::apply::{Applier, DirEnd};
use super::error::{UnpackError, look, set_time};
use super::make::times;

impl Applier<'_> {
    /// Completes the layer. Nothing may be put after.
    pub(super) fn finish(mut self) -> Result<(), UnpackError> {
        self.put_late_links()?;
        self.hide_root()?;
        self.imply_root()?;
        let ends = std::mem::take(&mut self.ends);
        // Children first: a parent may become unreadable.
        for (path, end) in ends.iter().rev() {
            self.end_dir(path, *end)?;
        }
        Ok(())
    }

    /// A layer's own directory is the root of what overlayfs shows: it needs a root's mode and owner.
    fn imply_root(&mut self) -> Result<(), UnpackError> {
        if matches!(self.options.flavour, Flavour::Merged) || self.ends.contains_key(&b""[..]) {
            return Ok(());
        }
        let meta = match &self.options.flavour {
            Flavour::OverlayLower { lower: Some(lower), .. } => lower.dir(b""),
            _ => None,
        };
        let meta = meta.unwrap_or_else(|| Meta::mode(0o755));
        let root = self.tree.read_dir(b"").map_err(look(b""))?;
        self.maker.own_open(&root, b"", &meta)?;
        self.ends.insert(Vec::new(), DirEnd { mode: Some(meta.mode), mtime: meta.mtime });
        Ok(())
    }

    fn end_dir(&mut self, path: &[u8], end: DirEnd) -> Result<(), UnpackError> {
        if let Some(mode) = end.mode {
            let dir = self.tree.read_dir(path).map_err(look(path))?;
            self.maker.mode_open(&dir, path, true, mode)?;
            return futimens(&dir, &times(end.mtime)).map_err(set_time(path));
        }
        let (parent, name) = split(path);
        let name = if path.is_empty() { b"." } else { name };
        let dated =
            self.tree.dir(parent).and_then(|dir| utimensat(dir, name, &times(end.mtime), AtFlags::SYMLINK_NOFOLLOW));
        match dated {
            // A whiteout removed it after it was noted.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
            other => other.map_err(set_time(path)),
        }
    }
}
