//! Layer → directory, whatever the layer says.
//!
//! A layer is hostile: it may name files through links it made before, link to what is not its own, or come with
//! anything where a directory should be. Links on an entry's way are followed by name, inside the root, as images mean
//! them; the kernel then resolves the path found below the target's handle without following any link, and everything
//! is made new. Nothing outside the target is ever opened. What stands in an entry's way is replaced.
//!
//! [`Flavour::OverlayLower`] makes one layer's own directory, to be a lower directory of overlayfs;
//! [`Flavour::Merged`] applies layers one over the other to one root. [`unpack`] reads a tar and returns its index
//! from the same pass. The caller checks the layer's digest by giving a
//! [`HashReader`](kiln_oci::digest::HashReader), and keeps the directory only if it is right.
//!
//! `apply` entries in order    `resolve` where they go    `make` the system calls
//! `whiteouts` `links` `finish` the special cases    [`break_links`] parts the hard links of a root

mod apply;
mod error;
mod finish;
mod links;
mod make;
mod part;
mod resolve;
mod whiteouts;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::io::Read;
use std::os::fd::AsFd;
use std::sync::Arc;

use kiln_oci::Digest;
use kiln_oci::entry::{Entry, EntryKind, Meta};
use kiln_oci::index::{IndexedEntry, LayerIndex};
use kiln_oci::layer::{LayerReader, ReadOptions};
use kiln_oci::tree::Tree;

use crate::beneath::{Beneath, shown};
use crate::form::Form;
use crate::lower::Lower;
use crate::reader::{Content, entry_kind};
use apply::Applier;
pub use error::UnpackError;
use make::Maker;
pub use part::{break_links, remove_empty};

/// What the target directory is for.
#[derive(Clone, Copy)]
pub enum Flavour<'a> {
    /// One layer in a directory of its own, for overlayfs. The directory is empty at the start.
    OverlayLower {
        /// How overlayfs will read it.
        xattrs: OverlayXattrs,
        /// What the layers below hold. It tells the owner of directories the layer only mentions, has the files its
        /// hard links name, and which whiteouts hide anything. `None` for the first layer.
        lower: Option<&'a dyn Lower>,
    },
    /// Layers over each other in one directory; whiteouts remove.
    Merged,
}

/// Under which prefix overlayfs looks for its marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OverlayXattrs {
    /// `trusted.overlay.`: the mount is made by root.
    #[default]
    Trusted,
    /// `user.overlay.`: the mount has `userxattr`, in a user namespace.
    User,
}

/// What to do with hard links between files of the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Links {
    /// Two names of one file, as the layer says.
    #[default]
    Keep,
    /// Separate files, as overlayfs's copy-up makes them when one is written.
    Break,
}

/// What to do with device nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Devices {
    /// Make them; failing to is an error.
    #[default]
    Create,
    /// Make files that stand for them ([`Form`]).
    Virtual,
    /// Leave them out, counted in [`Unpacked::skipped_devices`].
    Skip,
}

/// What to do with owners and file capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Owners {
    /// Set them.
    #[default]
    Keep,
    /// Note them in attributes of the files ([`Form::Virtual`]); what cannot have one goes without.
    Virtual,
    /// The same, and modes and capabilities too ([`Form::Bare`]).
    Bare,
    /// Leave everything to the calling user, without capabilities.
    Ignore,
}

/// How to unpack.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// What the target directory is for.
    pub flavour: Flavour<'a>,
    /// Hard links.
    pub links: Links,
    /// Device nodes.
    pub devices: Devices,
    /// Owners and capabilities.
    pub owners: Owners,
    /// How much is accepted, and whether the tar is a layer or a user's archive, which has no whiteouts.
    pub read: ReadOptions,
}

impl<'a> Options<'a> {
    /// Everything as the layer says, in a directory of its own for overlayfs.
    pub fn overlay(lower: Option<&'a dyn Lower>) -> Options<'a> {
        let flavour = Flavour::OverlayLower { xattrs: OverlayXattrs::Trusted, lower };
        let read = ReadOptions::default();
        Options { flavour, links: Links::Keep, devices: Devices::Create, owners: Owners::Keep, read }
    }

    /// Everything as the layer says, over what is there.
    pub fn merged() -> Options<'a> {
        Options { flavour: Flavour::Merged, ..Options::overlay(None) }
    }

    /// The same in the form in which a store keeps unpacked files.
    #[must_use]
    pub fn kept_as(mut self, form: &Form) -> Options<'a> {
        if let Flavour::OverlayLower { xattrs, .. } = &mut self.flavour {
            *xattrs = form.marks();
        }
        (self.owners, self.devices) = form.how();
        self
    }
}

/// What [`unpack`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// The layer's entries and where their bodies are in the tar.
    pub index: LayerIndex,
    /// Device nodes left out under [`Devices::Skip`].
    pub skipped_devices: u64,
}

/// Unpacks an uncompressed layer into the directory `target`, reading `tar` to its end.
///
/// In [`Flavour::OverlayLower`] the target's own mode, owner and time become those of the image's root.
///
/// # Errors
/// A damaged or impossible layer, or a failing system call, with its path. The target is then half filled and of no
/// use.
pub fn unpack(tar: impl Read, target: impl AsFd, options: &Options<'_>) -> Result<Unpacked, UnpackError> {
    let read = |source| UnpackError::ReadLayer { source };
    let mut applier = open(target, options)?;
    let mut reader = LayerReader::with_options(tar, options.read);
    let mut entries = Vec::new();
    while let Some(mut found) = reader.next_entry().map_err(read)? {
        let nothing = Entry { path: Vec::new(), kind: EntryKind::Dir, meta: Meta::default() };
        let entry = std::mem::replace(&mut found.entry, nothing);
        applier.put(&entry, &mut found)?;
        entries.push(IndexedEntry { entry, offset: found.offset });
    }
    let tar_size = reader.drain().map_err(read)?;
    let skipped_devices = applier.skipped_devices;
    applier.finish()?;
    Ok(Unpacked { index: LayerIndex { entries, tar_size }, skipped_devices })
}

/// Gives a directory the owner and mode that `meta` says, as `form` keeps them.
///
/// # Errors
/// When one of them cannot be set.
pub fn dress(dir: impl AsFd, meta: &Meta, form: &Form) -> Result<(), UnpackError> {
    Maker::new(form.how().0, form.how().1).dress(dir, meta)
}

/// Fills the directory `target` with what a tree has, hard links included: an image's root file system without
/// reading its tars from end to end.
///
/// # Errors
/// As [`unpack`].
pub fn unpack_tree(
    tree: &Tree,
    content: &dyn Content,
    target: impl AsFd,
    options: &Options<'_>,
) -> Result<(), UnpackError> {
    let mut applier = open(target, options)?;
    let mut names: HashMap<(Arc<Digest>, u64), Vec<u8>> = HashMap::new();
    for (path, node) in tree.walk(b"") {
        let mut entry = Entry { path, kind: entry_kind(node), meta: node.meta.clone() };
        let Some(file) = node.file() else {
            applier.put(&entry, &mut std::io::empty())?;
            continue;
        };
        match names.entry((Arc::clone(&file.layer), file.inode)) {
            Slot::Occupied(first) => {
                entry.kind = EntryKind::Hardlink { target: first.get().clone() };
                applier.put(&entry, &mut std::io::empty())?;
            }
            Slot::Vacant(slot) => {
                slot.insert(entry.path.clone());
                let mut body =
                    content.open(file).map_err(|source| UnpackError::ReadBody { path: shown(&entry.path), source })?;
                applier.put(&entry, &mut body)?;
            }
        }
    }
    applier.finish()
}

/// Fills the directory `target` from entries and a way to open the bytes of each file: files that are in no layer yet.
///
/// # Errors
/// As [`unpack`]; `open_body` failing is reported as reading the file.
pub fn unpack_entries(
    entries: impl IntoIterator<Item = Entry>,
    mut open_body: impl FnMut(&Entry) -> std::io::Result<Box<dyn Read>>,
    target: impl AsFd,
    options: &Options<'_>,
) -> Result<(), UnpackError> {
    let mut applier = open(target, options)?;
    for entry in entries {
        let mut body: Box<dyn Read> = match entry.kind {
            EntryKind::File { size } if size > 0 => {
                open_body(&entry).map_err(|source| UnpackError::ReadBody { path: shown(&entry.path), source })?
            }
            _ => Box::new(std::io::empty()),
        };
        applier.put(&entry, &mut body)?;
    }
    applier.finish()
}

fn open<'a>(target: impl AsFd, options: &'a Options<'a>) -> Result<Applier<'a>, UnpackError> {
    let tree = Beneath::new(target).map_err(|errno| UnpackError::OpenTarget { source: errno.into() })?;
    Ok(Applier::new(tree, options))
}
