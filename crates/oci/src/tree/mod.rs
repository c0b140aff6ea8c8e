//! Layers stacked: the file system of an image, as a value.
//!
//! A [`Tree`] is persistent: cloning one copies a pointer, and a change copies only the directories on its way. File
//! contents are not here, only where they are ([`FileRef`]).
//!
//! [`apply`](Tree::apply) one layer on another     [`lookup`](Tree::lookup) [`resolve`](Tree::resolve) paths
//! [`dump`](Tree::dump) the text form              [`diff`](Tree::diff) two trees
//!
//! Adding a kind of node: a variant of [`NodeKind`], its row in `apply`, its letter in `dump`.

mod apply;
mod diff;
mod dump;
mod lookup;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use diff::{Change, ChangeKind, changes_text};
pub use dump::DumpOptions;
pub use lookup::{Follow, Found, ResolvedPath, Walk};

use crate::entry::Meta;
use crate::{Digest, name};

/// A file name: one component of a path.
pub type Name = Arc<[u8]>;
/// What a directory holds, sorted by the bytes of the names.
pub type Children = BTreeMap<Name, Arc<Node>>;

/// One file, directory or other thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Owner, mode, times.
    pub meta: Meta,
    /// What it is.
    pub kind: NodeKind,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKind {
    /// A directory.
    Dir(Children),
    /// A regular file.
    File(FileRef),
    /// A symbolic link.
    Symlink {
        /// Where it points, verbatim.
        target: Arc<[u8]>,
    },
    /// A character device.
    Char {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    Block {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// Where a regular file's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRef {
    /// Length in bytes.
    pub size: u64,
    /// The diff id of the layer that has the bytes.
    pub layer: Arc<Digest>,
    /// The file's path in that layer.
    pub path: Arc<[u8]>,
    /// Where the bytes start in that layer's uncompressed tar.
    pub offset: u64,
    /// Equal for hard links of one file, different for all other files of the layer.
    pub inode: u64,
}

impl FileRef {
    /// Whether both are names of one file.
    pub fn same_file(&self, other: &FileRef) -> bool {
        self.inode == other.inode && self.layer == other.layer
    }
}

impl Node {
    /// An empty directory, `0755`, owned by root, dated at the epoch: what a missing parent becomes.
    pub fn dir() -> Node {
        Node { meta: Meta::mode(0o755), kind: NodeKind::Dir(Children::new()) }
    }

    /// What a directory holds; `None` for other nodes.
    pub fn children(&self) -> Option<&Children> {
        match &self.kind {
            NodeKind::Dir(children) => Some(children),
            _ => None,
        }
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        matches!(self.kind, NodeKind::Dir(_))
    }

    /// The file's place, for a regular file.
    pub fn file(&self) -> Option<&FileRef> {
        match &self.kind {
            NodeKind::File(file) => Some(file),
            _ => None,
        }
    }

    /// The children, after making a directory of whatever it was.
    fn force_dir(&mut self) -> &mut Children {
        if !self.is_dir() {
            *self = Node::dir();
        }
        match &mut self.kind {
            NodeKind::Dir(children) => children,
            _ => unreachable!("it was just made a directory"),
        }
    }
}

/// Why layers do not stack, or a path leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// More symbolic links on the way than a kernel follows.
    #[error("too many levels of symbolic links: `{path}`")]
    Loop {
        /// The path, escaped.
        path: String,
    },
    /// Something that is not a directory, in the middle of a path.
    #[error("`{path}` is not a directory")]
    NotADirectory {
        /// What is not a directory, escaped.
        path: String,
    },
    /// A path longer or deeper than [`name::MAX_PATH`] and [`name::MAX_DEPTH`] once its links are resolved.
    #[error("`{path}` is too long or too deep")]
    TooDeep {
        /// The path, escaped and cut.
        path: String,
    },
    /// A hard link to what neither its layer nor the layers below have.
    #[error("the layer links `{link}` to `{target}`, which does not exist")]
    HardlinkMissing {
        /// The link's path, escaped.
        link: String,
        /// Where it points, escaped.
        target: String,
    },
    /// A hard link to a directory.
    #[error("the layer links `{link}` to `{target}`, which is a directory")]
    HardlinkToDirectory {
        /// The link's path, escaped.
        link: String,
        /// Where it points, escaped.
        target: String,
    },
    /// More directories without entries of their own than any layer has use for.
    #[error("the layer makes too many directories without having them as entries; one of them is above `{path}`")]
    TooManyParents {
        /// A path below them, escaped.
        path: String,
    },
    /// The root replaced by something else, or removed.
    #[error("the root must be a directory")]
    Root,
}

/// The file system of an image. Cloning is cheap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    root: Arc<Node>,
}

impl Default for Tree {
    fn default() -> Self {
        Tree::new()
    }
}

impl Tree {
    /// An empty root, `0755`, owned by root: `FROM scratch`.
    pub fn new() -> Tree {
        Tree { root: Arc::new(Node::dir()) }
    }

    /// The root directory.
    pub fn root(&self) -> &Arc<Node> {
        &self.root
    }

    /// Puts `node` at a real path, one without symbolic links on the way, in place of whatever was there. Missing
    /// parents are made `0755 0:0`; what is in the way of a parent is replaced.
    ///
    /// # Errors
    /// [`TreeError::TooDeep`], and [`TreeError::Root`] when the root would not be a directory.
    pub fn insert(&mut self, path: &[u8], node: Arc<Node>) -> Result<(), TreeError> {
        check(path)?;
        if path.is_empty() {
            if !node.is_dir() {
                return Err(TreeError::Root);
            }
            self.root = node;
            return Ok(());
        }
        let (dir, base) = name::split(path);
        self.dir_mut(dir).insert(Name::from(base), node);
        Ok(())
    }

    /// Removes what is at a real path, with everything below; returns it.
    ///
    /// # Errors
    /// [`TreeError::Root`] for the root.
    pub fn remove(&mut self, path: &[u8]) -> Result<Option<Arc<Node>>, TreeError> {
        if path.is_empty() {
            return Err(TreeError::Root);
        }
        if self.at(path).is_none() {
            return Ok(None);
        }
        let (dir, base) = name::split(path);
        Ok(self.dir_mut(dir).remove(base))
    }

    /// What is at a real path; symbolic links are not followed anywhere.
    pub fn at(&self, path: &[u8]) -> Option<&Arc<Node>> {
        let mut node = &self.root;
        for part in name::components(path) {
            node = node.children()?.get(part)?;
        }
        Some(node)
    }

    /// The children of the directory at a real path, made where missing.
    fn dir_mut(&mut self, path: &[u8]) -> &mut Children {
        let mut children = Arc::make_mut(&mut self.root).force_dir();
        for part in name::components(path) {
            if !children.contains_key(part) {
                children.insert(Name::from(part), Arc::new(Node::dir()));
            }
            let Some(node) = children.get_mut(part) else { unreachable!("it was just inserted") };
            children = Arc::make_mut(node).force_dir();
        }
        children
    }
}

/// That a path is normal and within limits.
fn check(path: &[u8]) -> Result<(), TreeError> {
    match name::is_normal(path) {
        true => Ok(()),
        false => Err(TreeError::TooDeep { path: name::escape(&path[..path.len().min(256)]) }),
    }
}

#[cfg(test)]
mod tests;
