//! The merged view a step writes into: what it has written, over what is below.

use std::collections::BTreeMap;

use kiln_oci::name;
use kiln_oci::{Entry, EntryKind, Meta, Mtime};
use kiln_spec::chmod::Chmod;
use kiln_store::lower::Lower;

use super::Body;

/// Symbolic links followed before a path counts as a loop; Linux allows 40, image roots may nest deeper.
const MAX_LINKS: usize = 255;

/// Why files cannot be placed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// Links lead in a circle.
    #[error("too many levels of symbolic links at `/{0}`")]
    Loop(String),
    /// A directory is to go where something else is.
    #[error("cannot copy to non-directory: /{0}")]
    NotDirectory(String),
    /// A file is to go where a directory is.
    #[error("cannot replace to directory /{0} with file")]
    IsDirectory(String),
    /// A file's name would delete another one when the layer is read.
    #[error("`/{0}` cannot be stored in a layer: names that begin with `.wh.` mean deletion")]
    Whiteout(String),
    /// A source cannot be read.
    #[error("{0}")]
    Source(String),
    /// An archive cannot be unpacked.
    #[error("cannot unpack `{name}`: {why}")]
    Archive {
        /// The archive.
        name: String,
        /// Why.
        why: String,
    },
    /// `--chown` names someone unknown.
    #[error("invalid --chown: {0}")]
    Owner(String),
}

/// Who owns what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// How what is written differs from its source.
#[derive(Debug, Clone)]
pub struct Style {
    /// `--chown`.
    pub owner: Option<Owner>,
    /// `--chmod`.
    pub chmod: Option<Chmod>,
    /// The time of everything written (`SOURCE_DATE_EPOCH`).
    pub mtime: Option<Mtime>,
    /// The time of what has none of its own.
    pub now: Mtime,
}

impl Style {
    /// Metadata for something whose source has `meta`.
    pub fn apply(&self, meta: &Meta, kind: &EntryKind) -> Meta {
        let mut meta = meta.clone();
        if let Some(owner) = self.owner {
            (meta.uid, meta.gid) = (owner.uid, owner.gid);
        }
        let is_link = matches!(kind, EntryKind::Symlink { .. });
        if let (Some(chmod), false) = (&self.chmod, is_link) {
            meta.mode = chmod.apply(meta.mode, matches!(kind, EntryKind::Dir));
        }
        if let Some(mtime) = self.mtime {
            meta.mtime = mtime;
        }
        meta
    }
}

/// Something written by this step.
#[derive(Clone)]
pub struct Written {
    /// What it is.
    pub kind: EntryKind,
    /// Its metadata.
    pub meta: Meta,
    /// Its bytes.
    pub body: Body,
    /// The same for all names of one file.
    pub group: Option<u64>,
}

/// What this step has written, over what is below.
pub struct Dest<'a> {
    lower: &'a dyn Lower,
    written: BTreeMap<Vec<u8>, Written>,
    groups: u64,
}

impl<'a> Dest<'a> {
    /// Nothing written yet, over `lower`.
    pub fn new(lower: &'a dyn Lower) -> Dest<'a> {
        Dest { lower, written: BTreeMap::new(), groups: 0 }
    }

    /// What is below.
    pub fn lower(&self) -> &'a dyn Lower {
        self.lower
    }

    /// What was written, by path.
    pub fn into_written(self) -> BTreeMap<Vec<u8>, Written> {
        self.written
    }

    /// What is at a path whose parents are known to be directories; links are not followed.
    pub fn get(&self, path: &[u8]) -> Option<(EntryKind, Meta)> {
        if let Some(w) = self.written.get(path) {
            return Some((w.kind.clone(), w.meta.clone()));
        }
        if path.is_empty() {
            let root = self.lower.get(path).map_or_else(|| Meta::mode(0o755), |(_, m)| m);
            return Some((EntryKind::Dir, root));
        }
        // What lies below a directory that this step replaced by something else is gone.
        let mut parent = name::split(path).0;
        while !parent.is_empty() {
            match self.written.get(parent) {
                Some(w) if w.kind != EntryKind::Dir => return None,
                _ => parent = name::split(parent).0,
            }
        }
        self.lower.get(path)
    }

    /// The path with all links followed inside the root. What does not exist is taken as it is written.
    pub fn resolve(&self, path: &[u8]) -> Result<Vec<u8>, CopyError> {
        self.resolve_within(b"", path)
    }

    /// The same with the directory `top`, which is resolved, as the root: nothing leads out of it.
    pub fn resolve_within(&self, top: &[u8], path: &[u8]) -> Result<Vec<u8>, CopyError> {
        let mut todo: Vec<Vec<u8>> = name::components(path).rev().map(<[u8]>::to_vec).collect();
        let mut at: Vec<u8> = top.to_vec();
        let mut links = 0;
        while let Some(part) = todo.pop() {
            match &part[..] {
                b"" | b"." => continue,
                b".." => {
                    let parent = name::split(&at).0.len();
                    at.truncate(parent.max(top.len()));
                    continue;
                }
                _ => {}
            }
            let next = name::join(&at, &part);
            match self.get(&next) {
                Some((EntryKind::Symlink { target }, _)) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(CopyError::Loop(name::escape(path)));
                    }
                    if target.first() == Some(&b'/') {
                        at.truncate(top.len());
                    }
                    todo.extend(target.split(|b| *b == b'/').rev().map(<[u8]>::to_vec));
                }
                _ => at = next,
            }
        }
        Ok(at)
    }

    /// Makes a directory and all above it that are missing. `path` is resolved. Only an octal `--chmod` is their mode:
    /// a symbolic one changes what a source had, and these have none. They are made under the usual umask.
    pub fn make_dirs(&mut self, path: &[u8], style: &Style) -> Result<(), CopyError> {
        let style = Style { chmod: style.chmod.clone().filter(|c| c.absolute().is_some()), ..style.clone() };
        let mut prefix: Vec<u8> = Vec::new();
        for part in name::components(path) {
            prefix = name::join(&prefix, part);
            match self.get(&prefix) {
                Some((EntryKind::Dir, _)) => {}
                Some(_) => return Err(CopyError::NotDirectory(name::escape(&prefix))),
                None => {
                    let meta = Meta { mtime: style.now, ..Meta::mode(0o755) };
                    let meta = style.apply(&meta, &EntryKind::Dir);
                    self.put(&prefix, EntryKind::Dir, Meta { mode: meta.mode & 0o755, ..meta }, Body::None)?;
                }
            }
        }
        Ok(())
    }

    /// Writes a directory. If one is there already, `overwrite` says whether its metadata becomes the new one's.
    pub fn put_dir(&mut self, path: &[u8], meta: Meta, overwrite: bool) -> Result<(), CopyError> {
        match self.get(path) {
            Some((EntryKind::Dir, _)) if !overwrite => Ok(()),
            Some((EntryKind::Dir, _)) | None => self.put(path, EntryKind::Dir, meta, Body::None),
            Some(_) => Err(CopyError::NotDirectory(name::escape(path))),
        }
    }

    /// Writes anything but a directory, replacing anything but a directory.
    pub fn put_file(&mut self, path: &[u8], kind: EntryKind, meta: Meta, body: Body) -> Result<(), CopyError> {
        match self.get(path) {
            Some((EntryKind::Dir, _)) => Err(CopyError::IsDirectory(name::escape(path))),
            _ => self.put(path, kind, meta, body),
        }
    }

    /// Writes anything over anything, as an archive does: a directory gives way with all that is below it.
    pub fn replace(&mut self, path: &[u8], kind: EntryKind, meta: Meta, body: Body) -> Result<(), CopyError> {
        if kind != EntryKind::Dir {
            // With the slash: `bin/ar` gives way, and not `bin/arp` with it.
            let below = [path, b"/"].concat();
            let doomed: Vec<Vec<u8>> = self
                .written
                .range(below.clone()..)
                .map(|(p, _)| p.clone())
                .take_while(|p| p.starts_with(&below))
                .collect();
            for path in doomed {
                self.written.remove(&path);
            }
        }
        self.put(path, kind, meta, body)
    }

    fn put(&mut self, path: &[u8], kind: EntryKind, meta: Meta, body: Body) -> Result<(), CopyError> {
        if name::split(path).1.starts_with(b".wh.") {
            return Err(CopyError::Whiteout(name::escape(path)));
        }
        let meta = linux_meta(&kind, meta);
        self.written.insert(path.to_vec(), Written { kind, meta, body, group: None });
        Ok(())
    }

    /// What this step wrote at a path.
    pub fn written(&self, path: &[u8]) -> Option<&Written> {
        self.written.get(path)
    }

    /// A new identity for files with several names.
    pub fn new_group(&mut self) -> u64 {
        self.groups += 1;
        self.groups
    }

    /// Gives a file the same metadata under all its names.
    pub fn dress_group(&mut self, group: u64, meta: &Meta) {
        for written in self.written.values_mut().filter(|w| w.group == Some(group)) {
            written.meta = linux_meta(&written.kind, meta.clone());
        }
    }

    /// Makes what was written at `path` one of the names of `group`.
    pub fn join_group(&mut self, path: &[u8], group: u64) {
        if let Some(w) = self.written.get_mut(path) {
            w.group = Some(group);
        }
    }
}

/// A symbolic link has no mode of its own on Linux, whatever an archive says.
fn linux_meta(kind: &EntryKind, meta: Meta) -> Meta {
    if matches!(kind, EntryKind::Symlink { .. }) { Meta { mode: 0o777, ..meta } } else { meta }
}

/// An entry and where its bytes come from.
pub struct Emitted {
    /// The entry.
    pub entry: Entry,
    /// Its bytes.
    pub body: Body,
}
