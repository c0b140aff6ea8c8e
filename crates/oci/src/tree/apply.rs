//! Stacking a layer on a tree.
//!
//! ```text
//! first, on the lower tree only, wherever they stand in the tar:
//!   whiteout             what it names goes away; nothing there is no error
//!   opaque               the directory's children go away
//!   a link on the way    is followed, unless the layer has an entry of its own in that place
//! then, in the tar's order, a later entry for the same path winning:
//!   directory            over a directory: takes the new metadata, keeps the children; over anything else: replaces it
//!   anything else        replaces what is there, a directory with all it holds
//!   hard link            another name of what its target is at that moment; when it is not there yet, at the end
//! the way to an entry    links in parents are followed inside the root; missing parents are made 0755 0:0
//! ```

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{Children, FileRef, Follow, Name, Node, NodeKind, Tree, TreeError, check};
use crate::entry::{Entry, EntryKind};
use crate::index::{IndexedEntry, LayerIndex};
use crate::{Digest, name};

/// The most directories that layers may imply without having entries for them: a path of 4 KiB implies 500.
const MAX_IMPLIED: usize = 1_000_000;
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
            next.replace_links_entered_early(index)?;
            next.hide(index)?;
        }
        next.add(index, &Arc::new(layer.clone()))?;
        *self = next;
        Ok(())
    }

    fn hide(&mut self, index: &LayerIndex) -> Result<(), TreeError> {
        let mut leaves: Option<HashSet<&[u8]>> = None;
        for IndexedEntry { entry, .. } in &index.entries {
            let holder = match entry.kind {
                EntryKind::Whiteout => name::split(&entry.path).0,
                // The directory itself is the marker's parent, so a link there is followed.
                EntryKind::Opaque => &*entry.path,
                _ => continue,
            };
            // What stands in the way of the marker in its own layer replaces the lower link, which is not followed then.
            if !self.is_plain(holder) && below_any(holder, leaves.get_or_insert_with(|| leaves_of(index))) {
                continue;
            }
            if entry.kind == EntryKind::Whiteout {
                let path = self.real_path(&entry.path)?;
                if !path.is_empty() {
                    self.remove(&path)?;
                }
                continue;
            }
            let Some(found) = self.lookup_leniently(&entry.path)? else { continue };
            if self.at(&found).is_some_and(|node| node.children().is_some_and(|c| !c.is_empty())) {
                self.dir_mut(&found).clear();
            }
        }
        Ok(())
    }

    /// A directory of the layer where the lower tree has a link: markers inside it, and entries that stand in the tar
    /// before it, belong in the new directory, not where the old link points.
    fn replace_links_entered_early(&mut self, index: &LayerIndex) -> Result<(), TreeError> {
        let mut entered: Option<HashMap<&[u8], usize>> = None;
        let mut late = Vec::new();
        for (at, IndexedEntry { entry, .. }) in index.entries.iter().enumerate() {
            if entry.kind == EntryKind::Dir && !entry.path.is_empty() && !self.is_plain(&entry.path) {
                let entered = entered.get_or_insert_with(|| first_entered(index));
                if entered.get(&*entry.path).is_some_and(|first| *first <= at) {
                    late.push(entry);
                }
            }
        }
        // A parent that is replaced changes where its children are.
        late.sort_by_key(|entry| name::components(&entry.path).count());
        for entry in late {
            let path = self.real_path(&entry.path)?;
            if self.at(&path).is_some_and(|node| !node.is_dir()) {
                self.insert(&path, Arc::new(Node { meta: entry.meta.clone(), ..Node::dir() }))?;
            }
        }
        Ok(())
    }

    fn add(&mut self, index: &LayerIndex, layer: &Arc<Digest>) -> Result<(), TreeError> {
        let mut waiting = Vec::new();
        let mut implied = 0;
        for (at, indexed) in index.entries.iter().enumerate() {
            let IndexedEntry { entry, offset } = indexed;
            implied += self.missing_parents(&entry.path);
            if implied > MAX_IMPLIED {
                return Err(TreeError::TooManyParents { path: name::escape(&entry.path) });
            }
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

    /// How many directories the way to an entry takes that are not there. A way through a link counts what lies beyond it.
    fn missing_parents(&self, path: &[u8]) -> usize {
        let mut node = &self.root;
        let parents = name::split(path).0;
        for (at, part) in name::components(parents).enumerate() {
            match node.children().and_then(|c| c.get(part)) {
                Some(next) => node = next,
                None => return name::components(parents).count() - at,
            }
        }
        0
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

/// For every directory with something inside it in the layer, the first place in the tar at which its own entry is too
/// late: 0 for one with markers, which hold for the lower tree wherever they stand.
fn first_entered(index: &LayerIndex) -> HashMap<&[u8], usize> {
    let mut out = HashMap::new();
    for IndexedEntry { entry, .. } in &index.entries {
        match entry.kind {
            EntryKind::Whiteout => enter(&mut out, name::split(&entry.path).0, 0),
            EntryKind::Opaque => enter(&mut out, &entry.path, 0),
            _ => {}
        }
    }
    for (at, indexed) in index.entries.iter().enumerate() {
        enter(&mut out, name::split(&indexed.entry.path).0, at + 1);
    }
    out
}

/// Notes that a directory and those above it are entered, where nothing was noted yet.
fn enter<'a>(out: &mut HashMap<&'a [u8], usize>, mut dir: &'a [u8], at: usize) {
    while !dir.is_empty() && !out.contains_key(dir) {
        out.insert(dir, at);
        dir = name::split(dir).0;
    }
}

/// The paths at which a layer has something that is no directory.
fn leaves_of(index: &LayerIndex) -> HashSet<&[u8]> {
    let is_leaf = |e: &&IndexedEntry| !matches!(e.entry.kind, EntryKind::Dir | EntryKind::Whiteout | EntryKind::Opaque);
    index.entries.iter().filter(is_leaf).map(|e| &*e.entry.path).collect()
}

/// Whether a path or one of its parents is in a set.
fn below_any(mut path: &[u8], set: &HashSet<&[u8]>) -> bool {
    while !path.is_empty() {
        if set.contains(path) {
            return true;
        }
        path = name::split(path).0;
    }
    false
}
