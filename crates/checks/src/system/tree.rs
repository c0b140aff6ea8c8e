//! The merged layers of an image.

use std::io::{self, Read};

use kiln_oci::Tree;
use kiln_oci::tree::{FileRef, Follow, Node, NodeKind, TreeError};

use super::{Kind, LookError, MAX_NAMES, Result, Stat, System, read_bounded};

/// What opens the bytes of a file of a tree.
pub type Opener<'a> = dyn Fn(&FileRef) -> io::Result<Box<dyn Read + Send>> + 'a;

/// A tree whose files are opened on demand.
pub struct ImageTree<'a> {
    title: String,
    tree: &'a Tree,
    open: Box<Opener<'a>>,
}

impl<'a> ImageTree<'a> {
    /// A tree, what it is called, and what opens its files.
    pub fn new(
        title: impl Into<String>,
        tree: &'a Tree,
        open: impl Fn(&FileRef) -> io::Result<Box<dyn Read + Send>> + 'a,
    ) -> ImageTree<'a> {
        ImageTree { title: title.into(), tree, open: Box::new(open) }
    }

    fn node(&self, path: &str, follow: bool) -> Result<Option<&'a Node>> {
        find(self.tree, path, follow)
    }
}

/// What is at a path of a tree.
pub(super) fn find<'t>(tree: &'t Tree, path: &str, follow: bool) -> Result<Option<&'t Node>> {
    let follow = if follow { Follow::All } else { Follow::Parents };
    match tree.lookup(path.as_bytes(), follow) {
        Ok(found) => Ok(found.map(|found| &**found.node)),
        Err(TreeError::NotADirectory { .. }) => Ok(None),
        Err(e) => Err(LookError::Links { path: path.to_owned(), why: e.to_string() }),
    }
}

/// The metadata of a node.
pub(super) fn stat(node: &Node) -> Stat {
    let (kind, size) = match &node.kind {
        NodeKind::File(file) => (Kind::File, file.size),
        NodeKind::Dir(_) => (Kind::Dir, 0),
        NodeKind::Symlink { target } => (Kind::Link(String::from_utf8_lossy(target).into_owned()), target.len() as u64),
        NodeKind::Char { .. } | NodeKind::Block { .. } | NodeKind::Fifo => (Kind::Other, 0),
    };
    Stat { kind, mode: node.meta.mode, uid: node.meta.uid, gid: node.meta.gid, size }
}

/// The names in a directory of a tree.
pub(super) fn names(path: &str, node: &Node) -> Result<Option<Vec<String>>> {
    let Some(children) = node.children() else { return Ok(None) };
    if children.len() > MAX_NAMES {
        return Err(LookError::TooMany { path: path.to_owned() });
    }
    Ok(Some(children.keys().map(|name| String::from_utf8_lossy(name).into_owned()).collect()))
}

impl System for ImageTree<'_> {
    fn title(&self) -> String {
        self.title.clone()
    }

    fn read(&self, path: &str, max: u64) -> Result<Option<Vec<u8>>> {
        let Some(node) = self.node(path, true)? else { return Ok(None) };
        let Some(file) = node.file() else { return Err(LookError::NotAFile { path: path.to_owned() }) };
        if file.size > max {
            return Err(LookError::TooLarge { path: path.to_owned(), max });
        }
        let from = (self.open)(file).map_err(LookError::read(path))?;
        read_bounded(path, from, max).map(Some)
    }

    fn list(&self, path: &str) -> Result<Option<Vec<String>>> {
        self.node(path, true)?.map_or(Ok(None), |node| names(path, node))
    }

    fn stat(&self, path: &str, follow: bool) -> Result<Option<Stat>> {
        Ok(self.node(path, follow)?.map(stat))
    }

    fn immutable(&self, _path: &str) -> Result<Option<bool>> {
        // A layer is a tar, and a tar has no such flag.
        Ok(None)
    }
}
