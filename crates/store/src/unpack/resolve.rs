//! Where an entry goes when links lie on its way: they are followed inside the root, by name, as a kernel would in a
//! `chroot`. The kernel itself never follows one: what comes out of here is resolved again without links.
//!
//! This is what `kiln_oci`'s tree does with the same entries, so both see the same image. A layer that says `bin/sh`
//! over a lower layer where `bin` is a link to `usr/bin` means `usr/bin/sh`.

use kiln_oci::entry::EntryKind;
use kiln_oci::name::{components, is_normal, join, split};
use rustix::fs::readlinkat;
use rustix::io::Errno;

use super::Flavour;
use super::apply::{Applier, Touch, bad};
use super::error::{UnpackError, look};
use crate::beneath::ancestors;
use crate::stat::{FileKind, Stat};

/// Links followed on the way to one entry.
const MAX_LINKS: usize = 255;

/// What is at a path whose parents are no links: of this layer, else of those below.
enum View {
    Missing,
    Dir,
    Link(Vec<u8>),
    Other,
}

/// Which links are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Through {
    AllLinks,
    OlderLinks,
}

impl Applier<'_> {
    /// The path an entry gets: links in its parents followed, its last component kept.
    pub(super) fn real_path(&mut self, path: &[u8]) -> Result<Vec<u8>, UnpackError> {
        let (parent, name) = split(path);
        // The usual case: nothing to look at.
        if parent.is_empty() || self.is_own_dir(parent) {
            return Ok(path.to_vec());
        }
        match self.resolve(parent, Through::AllLinks)? {
            Some(parent) => {
                let real = join(&parent, name);
                if is_normal(&real) { Ok(real) } else { Err(bad(path, "links on its way make its path too long")) }
            }
            // A file in the way of a parent is replaced.
            None => Ok(path.to_vec()),
        }
    }

    /// The path a whiteout hides; `None` when it hides nothing. It is about older layers: links of this one hide theirs.
    pub(super) fn hidden_path(&mut self, path: &[u8]) -> Result<Option<Vec<u8>>, UnpackError> {
        let (parent, name) = split(path);
        let parent = self.resolve(parent, Through::OlderLinks)?;
        Ok(parent.map(|parent| join(&parent, name)))
    }

    /// Where the directory `path` really is; what does not exist is kept by name. `None` when something on the way is
    /// neither a directory nor a link to go through.
    pub(super) fn resolve(&mut self, path: &[u8], through: Through) -> Result<Option<Vec<u8>>, UnpackError> {
        let mut todo: Vec<Vec<u8>> = components(path).rev().map(<[u8]>::to_vec).collect();
        let mut real: Vec<u8> = Vec::new();
        let mut missing = 0;
        let mut links = 0;
        while let Some(part) = todo.pop() {
            if part == b".." {
                missing = usize::saturating_sub(missing, 1);
                real.truncate(split(&real).0.len());
                continue;
            }
            let next = join(&real, &part);
            let view = if missing > 0 { View::Missing } else { self.view(&next)? };
            match view {
                View::Dir => real = next,
                View::Missing => {
                    missing += 1;
                    real = next;
                }
                // At the end, it is what an entry below it replaces.
                View::Other if todo.is_empty() && through == Through::AllLinks => real = next,
                View::Other => return Ok(None),
                View::Link(target) => {
                    links += 1;
                    if links > MAX_LINKS || todo.len() > MAX_LINKS * 16 {
                        return Err(bad(path, "too many symbolic links on the way to it"));
                    }
                    let own = self.touched.get(&next) == Some(&Touch::Leaf);
                    match through {
                        Through::OlderLinks if own => return Ok(None),
                        Through::AllLinks if !own => drop(self.followed.insert(next)),
                        _ => {}
                    }
                    if target.starts_with(b"/") {
                        real.clear();
                    }
                    todo.extend(components(&target).rev().map(<[u8]>::to_vec));
                }
            }
        }
        Ok(Some(real))
    }

    /// Whether something that is no directory is at `path` now.
    pub(super) fn is_leaf_now(&mut self, path: &[u8]) -> Result<bool, UnpackError> {
        Ok(matches!(self.view(path)?, View::Link(_) | View::Other))
    }

    fn view(&mut self, path: &[u8]) -> Result<View, UnpackError> {
        if self.is_own_dir(path) {
            return Ok(View::Dir);
        }
        let (parent, name) = split(path);
        let found = match self.tree.dir(parent) {
            Ok(dir) => match Stat::at(dir, name) {
                Ok(stat) if stat.kind == FileKind::Symlink => {
                    let target = readlinkat(dir, name, Vec::new()).map_err(look(path))?;
                    return Ok(View::Link(target.into_bytes()));
                }
                found => found,
            },
            Err(errno) => Err(errno),
        };
        match found {
            Ok(stat) if stat.kind == FileKind::Dir => Ok(View::Dir),
            Ok(_) if self.touched.get(path) == Some(&Touch::Whiteout) => Ok(View::Missing),
            Ok(_) => Ok(View::Other),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(self.view_lower(path)),
            Err(errno) => Err(look(path)(errno)),
        }
    }

    fn view_lower(&self, path: &[u8]) -> View {
        let Flavour::OverlayLower { lower: Some(lower), .. } = &self.options.flavour else { return View::Missing };
        if self.hides(path) {
            return View::Missing;
        }
        match lower.get(path) {
            None => View::Missing,
            Some((EntryKind::Dir, _)) => View::Dir,
            Some((EntryKind::Symlink { target }, _)) => View::Link(target),
            Some(_) => View::Other,
        }
    }

    /// Whether this layer hides what the lower layers have at `path`.
    pub(super) fn hides(&self, path: &[u8]) -> bool {
        !self.hidden.is_empty()
            && (self.hidden.contains(path)
                || ancestors(path).any(|dir| self.hidden.contains(dir))
                || self.hidden.contains(&b""[..]))
    }

    /// That no entry went through a lower link which this layer, it now turns out, does not have: the entries before
    /// went where they do not belong.
    pub(super) fn check_late(&self, path: &[u8]) -> Result<(), UnpackError> {
        match self.followed.contains(path) && !self.touched.contains_key(path) {
            true => Err(bad(path, "it replaces a symbolic link of a lower layer after entries that went through it")),
            false => Ok(()),
        }
    }
}
