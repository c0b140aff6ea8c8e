//! What a file system is as a whole: its subvolumes, and what is outside of what its root shows. One that is made in its
//! place has them again.

use std::collections::{BTreeMap, BTreeSet};

use kiln_oci::name::{join, split};
use kiln_oci::{Entry, EntryKind};

use super::{Image, Node};
use crate::btrfs::raw::{FIRST_INO, SUPERS, tree};
use crate::error::Result;
use crate::files::BLOCK64;
use crate::fs::{self, Files, Found, Inodes};
use crate::io::ReadAt;

/// A subvolume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its number, as `subvolid=` has it.
    pub id: u64,
    /// Its path from the top of all.
    pub path: Vec<u8>,
    /// Nobody may write to it.
    pub read_only: bool,
    /// Where the root shows it, if it does.
    pub shown: Option<Vec<u8>>,
    /// It is the root, or mounted.
    pub mounted: bool,
}

/// All subvolumes, and what the root does not show.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    /// The subvolumes without the top itself, one before those in it.
    pub parts: Vec<Part>,
    /// The number of the subvolume that is mounted when nothing else is said.
    pub default: u64,
    /// Where the root shows the top, if it does.
    pub top: Option<Vec<u8>>,
    /// What the root does not show, by paths from the top of all, names and then what is in them.
    pub outside: Vec<Found>,
    /// Directories on which something is mounted, by paths from the top of all.
    pub under: Vec<Entry>,
}

impl<R: ReadAt> Image<R> {
    /// What the file system is as a whole, seen from this root.
    ///
    /// # Errors
    /// What reading may say.
    pub fn layout(&self) -> Result<Layout> {
        let mut shown: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        for found in self.walk() {
            let found = found?;
            let node = Node::of(found.ino);
            if node.ino == FIRST_INO {
                shown.insert(node.tree, found.entry.path);
            }
        }
        let mut layout = Layout { default: self.roots.subvolumes[self.roots.default].id, ..Layout::default() };
        let mut parts = Vec::new();
        for (tree, subvolume) in self.roots.subvolumes.iter().enumerate() {
            if subvolume.id == tree::FS {
                layout.top = shown.get(&tree).cloned();
                continue;
            }
            let path = self.path_from_top(tree)?;
            // One without a name is being deleted.
            if path.is_empty() || self.is_left_out(tree) {
                continue;
            }
            let (id, read_only) = (subvolume.id, subvolume.read_only);
            let (shown, mounted) = (shown.get(&tree).cloned(), self.is_placed(tree));
            parts.push(Part { id, path, read_only, shown, mounted });
        }
        parts.sort_by(|a, b| a.path.cmp(&b.path));
        layout.parts = parts;
        layout.outside = self.outside(&shown)?;
        layout.under = self.under(&shown, &layout)?;
        Ok(layout)
    }

    /// What is behind the first superblock up to the first MiB, and where: boot loaders note something there (SUSE's GRUB
    /// its environment). Nothing where the file system has that for itself, or there are only zeros.
    ///
    /// # Errors
    /// What reading may say.
    pub fn noted(&self) -> Result<Option<(u64, Vec<u8>)>> {
        let start = SUPERS[0] + BLOCK64;
        let bytes = self.nodes.chunks.outside(start, ((1 << 20) - start) as usize)?;
        Ok(bytes.filter(|bytes| !crate::image::is_zero(bytes)).map(|bytes| (start, bytes)))
    }

    /// The copies that nobody may write to, and that the root does not show: by paths from the top of all.
    ///
    /// # Errors
    /// What reading may say.
    pub fn copies(&self) -> Result<Vec<Vec<u8>>> {
        let left_out = (0..self.roots.subvolumes.len()).filter(|tree| self.is_left_out(*tree));
        left_out.map(|tree| self.path_from_top(tree)).collect()
    }

    fn is_left_out(&self, tree: usize) -> bool {
        self.roots.subvolumes[tree].is_kept() && !self.is_placed(tree)
    }

    /// What is in the top of all and in subvolumes that are not shown.
    fn outside(&self, shown: &BTreeMap<usize, Vec<u8>>) -> Result<Vec<Found>> {
        let whole = Whole(self);
        let mut outside = Vec::new();
        for found in fs::Walk::new(&whole) {
            let found = found?;
            let node = Node::of(found.ino);
            if !shown.contains_key(&node.tree) && !node.is_hidden() {
                outside.push(found);
            }
        }
        Ok(outside)
    }

    /// The directories that something is mounted on, but for what is mounted where it is anyway.
    fn under(&self, shown: &BTreeMap<usize, Vec<u8>>, layout: &Layout) -> Result<Vec<Entry>> {
        let own: BTreeSet<&[u8]> = layout.parts.iter().map(|part| &*part.path).collect();
        let mut under = Vec::new();
        for (at, tree) in &self.mounts {
            let Some(path) = shown.get(tree) else { continue };
            let inode = self.inode(*at)?;
            let (above, base) = split(path);
            // What is above the place is in one subvolume with it.
            let dir = match layout.from_top(above) {
                Some(dir) => join(&dir, base),
                None => continue,
            };
            if !own.contains(&*dir) {
                let found = fs::found(self, dir, *at, &inode, &self.about(&inode)?)?;
                under.push(Entry { kind: EntryKind::Dir, ..found.entry });
            }
        }
        Ok(under)
    }
}

impl Layout {
    /// Where what the root shows at a path is from the top of all; `None` for what stands for a subvolume that is
    /// somewhere else.
    pub fn from_top(&self, path: &[u8]) -> Option<Vec<u8>> {
        let parts = self.parts.iter().filter_map(|part| Some((part.shown.as_deref()?, &*part.path)));
        let all = parts.chain(self.top.as_deref().map(|top| (top, &b""[..])));
        let inside = |shown: &[u8]| {
            shown.is_empty()
                || path == shown
                || (path.starts_with(shown) && path.get(<[u8]>::len(shown)) == Some(&b'/'))
        };
        let (shown, own) = all.filter(|(shown, _)| inside(shown)).max_by_key(|(shown, _)| <[u8]>::len(shown))?;
        let rest = path.strip_prefix(shown).unwrap_or_default();
        let rest = rest.strip_prefix(b"/").unwrap_or(rest);
        let full = if rest.is_empty() { own.to_vec() } else { join(own, rest) };
        let elsewhere = !rest.is_empty() && self.parts.iter().any(|part| part.path == full);
        if elsewhere { None } else { Some(full) }
    }

    /// Whether the file system is nothing but its top.
    pub fn is_plain(&self) -> bool {
        self.parts.is_empty() && self.outside.is_empty()
    }
}

/// All of a file system from its top, with every subvolume where it is.
struct Whole<'a, R>(&'a Image<R>);

impl<R: ReadAt> Inodes for Whole<'_, R> {
    const FORMAT: &'static str = Image::<R>::FORMAT;
    type Inode = super::Inode;

    fn root(&self) -> u64 {
        self.0.root_of(self.0.roots.find(tree::FS).unwrap_or(self.0.top)).number()
    }

    fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    fn inode(&self, ino: u64) -> Result<super::Inode> {
        self.0.inode(ino)
    }

    fn about(&self, inode: &super::Inode) -> Result<fs::About> {
        self.0.about(inode)
    }

    fn names(&self, dir: &super::Inode) -> Result<fs::Names> {
        self.0.names_of(dir.node, &|_| false, &BTreeMap::new())
    }

    fn target(&self, link: &super::Inode) -> Result<Vec<u8>> {
        self.0.target(link)
    }

    fn xattrs(&self, inode: &super::Inode) -> Result<kiln_oci::entry::Xattrs> {
        self.0.xattrs(inode)
    }
}
