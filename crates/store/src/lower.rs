//! What lies below a layer: the layers before it, stacked, as far as unpacking and comparing need them.

use std::io::{self, Read};

use kiln_oci::entry::{EntryKind, Meta};

/// The layers below one, seen as one tree.
///
/// Paths have no leading slash; the empty path is the root.
pub trait Lower {
    /// What is at `path`, and its metadata. Never [`EntryKind::Hardlink`] (a second name is a file like the first),
    /// [`EntryKind::Whiteout`] or [`EntryKind::Opaque`].
    fn get(&self, path: &[u8]) -> Option<(EntryKind, Meta)>;

    /// The paths of what is directly in `dir`, sorted.
    fn children(&self, dir: &[u8]) -> Vec<Vec<u8>>;

    /// The bytes of the file at `path`.
    ///
    /// # Errors
    /// There is no file at `path`, or its layer cannot be read.
    fn open(&self, path: &[u8]) -> io::Result<Box<dyn Read + '_>>;

    /// Whether anything is at `path`.
    fn has(&self, path: &[u8]) -> bool {
        self.get(path).is_some()
    }

    /// The metadata of the directory at `path`, if there is one.
    fn dir(&self, path: &[u8]) -> Option<Meta> {
        self.get(path).and_then(|(kind, meta)| (kind == EntryKind::Dir).then_some(meta))
    }
}

/// Nothing below: the first layer of an image.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scratch;

impl Lower for Scratch {
    fn get(&self, _path: &[u8]) -> Option<(EntryKind, Meta)> {
        None
    }

    fn children(&self, _dir: &[u8]) -> Vec<Vec<u8>> {
        Vec::new()
    }

    fn open(&self, _path: &[u8]) -> io::Result<Box<dyn Read + '_>> {
        Err(io::ErrorKind::NotFound.into())
    }
}
