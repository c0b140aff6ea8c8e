//! Stacking a layer on a tree.
//!
//! ```text
//! first, on the lower tree only, wherever they stand in the tar:
//!   whiteout             what it names goes away; nothing there is no error
//!   opaque               the directory's children go away
//! then, in the tar's order, a later entry for the same path winning:
//!   directory            over a directory: takes the new metadata, keeps the children; over anything else: replaces it
//!   anything else        replaces what is there, a directory with all it holds
//!   hard link            another name of what its target is at that moment; when it is not there yet, at the end
//! the way to an entry    links in parents are followed inside the root; missing parents are made 0755 0:0
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use super::{Children, FileRef, Follow, Name, Node, NodeKind, Tree, TreeError, check};
use crate::entry::{Entry, EntryKind};
use crate::index::{IndexedEntry, LayerIndex};
use crate::{Digest, name};

/// How often links that wait for links are tried again.
const MAX_ROUNDS: usize = 64;

impl Tree {
    /// Stacks a layer on the tree. `layer` is its diff id. After an error the tree is as before.
    ///
    /// # Errors
    /// A hard link to nothing or to a directory, a parent that loops, paths too deep.
    pub fn apply(&mut self, index: &LayerIndex, layer: &Digest) -> Result<(), TreeError> {
        let mut next = self.clone();
        let lower_is_empty = next.root.children().is_none_or(Children::is_empty);
        if !lower_is_empty {
            next.hide(index)?;
            next.replace_links_declared_late(index)?;
        }
        next.add(index, &Arc::new(layer.clone()))?;
        *self = next;
        Ok(())
    }

    fn hide(&mut self, index: &LayerIndex) -> Result<(), TreeError> {
        for IndexedEntry { entry, .. } in &index.entries {
            match entry.kind {
                EntryKind::Whiteout => {
                    let path = self.real_path(&entry.path)?;
                    if !path.is_empty() {
                        self.remove(&path)?;
                    }
                }
                EntryKind::Opaque => {
                    // The directory itself is the marker's parent, so a link there is followed.
                    let Some(found) = self.lookup_leniently(&entry.path)? else { continue };
                    if self.at(&found).is_some_and(|node| node.children().is_some_and(|c| !c.is_empty())) {
                        self.dir_mut(&found).clear();
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A directory that stands in the tar after entries inside it, where the lower tree has a link: those entries belong
    /// in the new directory, not where the old link points.
    fn replace_links_declared_late(&mut self, index: &LayerIndex) -> Result<(), TreeError> {
        let mut entered: Option<HashMap<&[u8], usize>> = None;
        for (at, IndexedEntry { entry, .. }) in index.entries.iter().enumerate() {
            if entry.kind != EntryKind::Dir || self.at(&entry.path).is_none_or(|node| node.is_dir()) {
                continue;
            }
            let entered = entered.get_or_insert_with(|| first_entered(index));
            if entered.get(&*entry.path).is_some_and(|first| *first < at) {
                self.insert(&entry.path, Arc::new(Node { meta: entry.meta.clone(), ..Node::dir() }))?;
            }
        }
        Ok(())
    }

    fn add(&mut self, index: &LayerIndex, layer: &Arc<Digest>) -> Result<(), TreeError> {
        let mut waiting = Vec::new();
        for (at, indexed) in index.entries.iter().enumerate() {
            let IndexedEntry { entry, offset } = indexed;
            let kind = match &entry.kind {
                EntryKind::Whiteout | EntryKind::Opaque => continue,
                EntryKind::Dir => {
                    self.add_dir(entry)?;
                    continue;
                }
                EntryKind::Hardlink { target } => {
                    if !self.link(entry, target)? {
                        waiting.push(at);
                    }
                    continue;
                }
                EntryKind::File { size } => NodeKind::File(FileRef {
                    size: *size,
                    layer: Arc::clone(layer),
                    path: Arc::from(&*entry.path),
                    offset: *offset,
                    // Every entry has a header of its own, so no two bodies begin at the same place.
                    inode: *offset,
                }),
                EntryKind::Symlink { target } => NodeKind::Symlink { target: Arc::from(&**target) },
                EntryKind::Char { major, minor } => NodeKind::Char { major: *major, minor: *minor },
                EntryKind::Block { major, minor } => NodeKind::Block { major: *major, minor: *minor },
                EntryKind::Fifo => NodeKind::Fifo,
            };
            let path = self.real_path(&entry.path)?;
            self.insert(&path, Arc::new(Node { meta: entry.meta.clone(), kind }))?;
        }
        self.add_waiting(index, waiting)
    }

    fn add_dir(&mut self, entry: &Entry) -> Result<(), TreeError> {
        let path = self.real_path(&entry.path)?;
        check(&path)?;
        let (dir, base) = name::split(&path);
        let node = match path.is_empty() {
            true => &mut self.root,
            false => self.dir_mut(dir).entry(Name::from(base)).or_insert_with(|| Arc::new(Node::dir())),
        };
        let node = Arc::make_mut(node);
        node.force_dir();
        node.meta.clone_from(&entry.meta);
        Ok(())
    }

    /// Makes a hard link; false when its target does not exist (yet).
    fn link(&mut self, entry: &Entry, target: &[u8]) -> Result<bool, TreeError> {
        let target_path = self.real_path(target)?;
        let Some(node) = self.at(&target_path).cloned() else { return Ok(false) };
        if node.is_dir() {
            let (link, target) = (name::escape(&entry.path), name::escape(target));
            return Err(TreeError::HardlinkToDirectory { link, target });
        }
        let path = self.real_path(&entry.path)?;
        self.insert(&path, node)?;
        Ok(true)
    }

    /// Links whose targets stand after them in the tar, unless a later entry took their place.
    fn add_waiting(&mut self, index: &LayerIndex, mut waiting: Vec<usize>) -> Result<(), TreeError> {
        if waiting.is_empty() {
            return Ok(());
        }
        let last: HashMap<&[u8], usize> = (index.entries.iter().enumerate())
            .filter(|(_, e)| !matches!(e.entry.kind, EntryKind::Whiteout | EntryKind::Opaque))
            .map(|(at, e)| (&*e.entry.path, at))
            .collect();
        waiting.retain(|at| last.get(&*index.entries[*at].entry.path) == Some(at));
        for _ in 0..MAX_ROUNDS {
            let mut still = Vec::new();
            for at in &waiting {
                let entry = &index.entries[*at].entry;
                if let EntryKind::Hardlink { target } = &entry.kind
                    && !self.link(entry, target)?
                {
                    still.push(*at);
                }
            }
            if still.is_empty() || still.len() == waiting.len() {
                waiting = still;
                break;
            }
            waiting = still;
        }
        match waiting.first().map(|at| &index.entries[*at].entry) {
            Some(Entry { path, kind: EntryKind::Hardlink { target }, .. }) => {
                Err(TreeError::HardlinkMissing { link: name::escape(path), target: name::escape(target) })
            }
            _ => Ok(()),
        }
    }

    /// The path an entry gets: links in its parents followed inside the root, its last component kept.
    fn real_path(&self, path: &[u8]) -> Result<Vec<u8>, TreeError> {
        let (dir, base) = name::split(path);
        if self.is_plain(dir) {
            return Ok(path.to_vec());
        }
        // A file in the way of a parent is replaced, as is anything in the way of an entry.
        Ok(match self.resolve(dir) {
            Ok(resolved) => name::join(&resolved.full(), base),
            Err(TreeError::NotADirectory { .. }) => path.to_vec(),
            Err(e) => return Err(e),
        })
    }

    /// Whether no component of a path is a link, so that it is its own real path.
    fn is_plain(&self, path: &[u8]) -> bool {
        let mut node = &self.root;
        for part in name::components(path) {
            match node.children().and_then(|c| c.get(part)) {
                Some(next) => node = next,
                None => return !matches!(node.kind, NodeKind::Symlink { .. }),
            }
        }
        !matches!(node.kind, NodeKind::Symlink { .. })
    }

    fn lookup_leniently(&self, path: &[u8]) -> Result<Option<Vec<u8>>, TreeError> {
        match self.lookup(path, Follow::All) {
            Ok(found) => Ok(found.map(|f| f.path)),
            Err(TreeError::NotADirectory { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// For every directory with entries inside it, the place of the first of those in the tar.
fn first_entered(index: &LayerIndex) -> HashMap<&[u8], usize> {
    let mut out = HashMap::new();
    for (at, indexed) in index.entries.iter().enumerate() {
        let mut dir = name::split(&indexed.entry.path).0;
        while !dir.is_empty() && !out.contains_key(dir) {
            out.insert(dir, at);
            dir = name::split(dir).0;
        }
    }
    out
}
