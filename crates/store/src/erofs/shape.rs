//! Entries → nodes: the directory that unpacking would have made, as a value.

use std::collections::{HashMap, HashSet};

use kiln_oci::entry::{Entry, EntryKind, KEPT_XATTRS, Meta, Mtime};
use kiln_oci::index::LayerIndex;
use kiln_oci::name::split;

use crate::beneath::{ancestors, is_plain};
use crate::lower::Lower;

/// The bytes of a body begin at a multiple of this in a tar.
pub(super) const BLOCK: u64 = 512;

/// One file, directory or other thing.
pub(super) struct Node<'a> {
    pub(super) what: What<'a>,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Mtime,
    /// `security.capability`.
    pub(super) capability: Option<&'a [u8]>,
    /// Names a file has; of directories, counted when written.
    pub(super) names: u32,
}

/// What a node is.
pub(super) enum What<'a> {
    /// A directory, with the names in it and their nodes, sorted once the shape is whole.
    Dir { children: Vec<(&'a [u8], usize)>, opaque: bool },
    /// A file's bytes in the tar.
    File { offset: u64, size: u64 },
    /// A link.
    Symlink(&'a [u8]),
    /// A character device; 0:0 is the mark of a removed name.
    Char(u32, u32),
    /// A block device.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
}

/// All nodes of a layer; the root is the first.
pub(super) struct Shape<'a> {
    pub(super) nodes: Vec<Node<'a>>,
    pub(super) tar_size: u64,
}

struct Shaper<'a> {
    nodes: Vec<Node<'a>>,
    paths: HashMap<&'a [u8], usize>,
    lower: Option<&'a dyn Lower>,
    /// Directories whose lower content this layer hides.
    hidden: HashSet<&'a [u8]>,
    /// The directory the last entry went into.
    near: (&'a [u8], usize),
    root_said: bool,
}

impl<'a> Shape<'a> {
    /// The shape of a layer; `None` when it is not one that can be told without unpacking.
    pub(super) fn of(index: &'a LayerIndex, lower: Option<&'a dyn Lower>) -> Option<Shape<'a>> {
        let root = lower.and_then(|lower| lower.dir(b"")).unwrap_or_else(|| Meta::mode(0o755));
        let (hidden, nodes) = (HashSet::new(), vec![dir(&root)]);
        let mut paths = HashMap::with_capacity(index.entries.len() + 1);
        paths.insert(&b""[..], 0);
        let mut shaper = Shaper { nodes, paths, lower, hidden, near: (b"", 0), root_said: false };
        for indexed in &index.entries {
            shaper.add(&indexed.entry, indexed.offset)?;
        }
        let mut nodes = shaper.nodes;
        for node in &mut nodes {
            if let What::Dir { children, .. } = &mut node.what {
                children.sort_unstable();
            }
        }
        Some(Shape { nodes, tar_size: index.tar_size })
    }
}

fn dir<'a>(meta: &Meta) -> Node<'a> {
    node(What::Dir { children: Vec::new(), opaque: false }, meta)
}

fn node<'a>(what: What<'a>, meta: &Meta) -> Node<'a> {
    let Meta { mode, uid, gid, mtime, .. } = *meta;
    Node { what, mode, uid, gid, mtime, capability: None, names: 1 }
}

impl<'a> Shaper<'a> {
    fn add(&mut self, entry: &'a Entry, offset: u64) -> Option<()> {
        let path = entry.path.as_slice();
        if path.is_empty() {
            return self.root(entry);
        }
        if !is_plain(path) || entry.meta.uid == u32::MAX || entry.meta.gid == u32::MAX {
            return None;
        }
        let there = self.paths.get(path).copied();
        let what = match &entry.kind {
            EntryKind::Dir => return self.dir(path, there, &entry.meta),
            EntryKind::Whiteout => return self.whiteout(path, there),
            EntryKind::Opaque => return self.opaque(path, there),
            EntryKind::Hardlink { target } => return self.link(path, there, target),
            EntryKind::File { size } => What::File { offset: aligned(offset, *size)?, size: *size },
            EntryKind::Symlink { target } => What::Symlink(target),
            EntryKind::Char { major: 0, minor: 0 } => return None,
            EntryKind::Char { major, minor } => What::Char(*major, *minor),
            EntryKind::Block { major, minor } => What::Block(*major, *minor),
            EntryKind::Fifo => What::Fifo,
        };
        let mut node = node(what, &entry.meta);
        if let What::File { .. } = node.what {
            node.capability = entry.meta.xattrs.get(KEPT_XATTRS[0]).map(Vec::as_slice);
            if !node.capability.is_none_or(is_capability) {
                return None;
            }
        }
        self.put(path, there, node)
    }

    fn root(&mut self, entry: &'a Entry) -> Option<()> {
        match entry.kind {
            EntryKind::Dir if !self.root_said => {
                self.root_said = true;
                self.set_meta(0, &entry.meta);
                Some(())
            }
            _ => None,
        }
    }

    fn set_meta(&mut self, id: usize, meta: &Meta) {
        let node = &mut self.nodes[id];
        (node.mode, node.uid, node.gid, node.mtime) = (meta.mode, meta.uid, meta.gid, meta.mtime);
    }

    fn dir(&mut self, path: &'a [u8], there: Option<usize>, meta: &Meta) -> Option<()> {
        match there {
            Some(id) if self.is_dir(id) => {
                self.set_meta(id, meta);
                Some(())
            }
            Some(_) => None,
            None => self.put(path, None, dir(meta)),
        }
    }

    fn is_dir(&self, id: usize) -> bool {
        matches!(self.nodes[id].what, What::Dir { .. })
    }

    /// A new name in its directory, which is made if the layer has none.
    fn put(&mut self, path: &'a [u8], there: Option<usize>, node: Node<'a>) -> Option<()> {
        if there.is_some() {
            return None;
        }
        let parent = self.parent(path)?;
        let id = self.nodes.len();
        self.nodes.push(node);
        self.name(path, parent, id)
    }

    fn name(&mut self, path: &'a [u8], parent: usize, id: usize) -> Option<()> {
        let What::Dir { children, .. } = &mut self.nodes[parent].what else { return None };
        children.push((split(path).1, id));
        self.paths.insert(path, id);
        Some(())
    }

    /// The directory above `path`, with those missing on the way made like the lower ones.
    fn parent(&mut self, path: &'a [u8]) -> Option<usize> {
        let above = split(path).0;
        if self.near.0 == above {
            return Some(self.near.1);
        }
        let mut missing = Vec::new();
        let mut at = 0;
        for dir in ancestors(path) {
            match self.paths.get(dir) {
                Some(id) if self.is_dir(*id) => {
                    at = *id;
                    break;
                }
                Some(_) => return None,
                None => missing.push(dir),
            }
        }
        while let Some(path) = missing.pop() {
            let meta = match self.below(path) {
                None => Meta::mode(0o755),
                Some((EntryKind::Dir, meta)) => meta,
                // A link is followed, and anything else replaced.
                Some(_) => return None,
            };
            let id = self.nodes.len();
            self.nodes.push(dir(&meta));
            self.name(path, at, id)?;
            at = id;
        }
        self.near = (above, at);
        Some(at)
    }

    /// What the lower layers show at a path whose parents are directories in them, or nothing.
    fn below(&self, path: &[u8]) -> Option<(EntryKind, Meta)> {
        let hidden = |at: &[u8]| self.hidden.contains(at);
        let lower = self.lower?;
        if !self.hidden.is_empty() && (hidden(path) || ancestors(path).any(hidden)) { None } else { lower.get(path) }
    }

    /// Whether the lower layers have only directories on the way to `path`, as far as they have anything.
    fn way_is_plain(&self, path: &[u8]) -> bool {
        ancestors(path).all(|dir| self.below(dir).is_none_or(|(kind, _)| kind == EntryKind::Dir))
    }

    fn whiteout(&mut self, path: &'a [u8], there: Option<usize>) -> Option<()> {
        if there.is_some() || !self.way_is_plain(path) {
            return None;
        }
        match self.below(path) {
            None => Some(()),
            Some(_) => self.put(path, None, node(What::Char(0, 0), &Meta::default())),
        }
    }

    fn opaque(&mut self, path: &'a [u8], there: Option<usize>) -> Option<()> {
        if !self.way_is_plain(path) || !matches!(self.below(path), None | Some((EntryKind::Dir, _))) {
            return None;
        }
        let id = match there {
            Some(id) => id,
            // With nothing to hide there is nothing to make, but an entry may come that finds the mark.
            None if self.below(path).is_none() => return None,
            None => {
                let meta = self.below(path)?.1;
                self.put(path, None, dir(&meta))?;
                *self.paths.get(path)?
            }
        };
        match &mut self.nodes[id].what {
            What::Dir { children, opaque } if children.is_empty() => *opaque = true,
            _ => return None,
        }
        self.hidden.insert(path);
        Some(())
    }

    fn link(&mut self, path: &'a [u8], there: Option<usize>, target: &[u8]) -> Option<()> {
        let id = *self.paths.get(target)?;
        let is_mark = matches!(self.nodes[id].what, What::Char(0, 0));
        if there.is_some() || self.is_dir(id) || is_mark {
            return None;
        }
        let parent = self.parent(path)?;
        self.nodes[id].names += 1;
        self.name(path, parent, id)
    }
}

/// Whether these are file capabilities a kernel takes: of revision 2, or 3 with an owner.
fn is_capability(value: &[u8]) -> bool {
    matches!((value.len(), value.get(3)), (20, Some(2)) | (24, Some(3)))
}

/// Where a body starts, if that is where a block does.
fn aligned(offset: u64, size: u64) -> Option<u64> {
    (size == 0 || offset.is_multiple_of(BLOCK)).then_some(offset)
}
