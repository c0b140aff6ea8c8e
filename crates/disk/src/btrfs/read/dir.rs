//! What a directory holds, and the attributes of an inode.

use std::collections::BTreeMap;

use kiln_oci::entry::Xattrs;

use super::{Image, Node, damaged};
use crate::btrfs::names::LISTS;
use crate::btrfs::raw::{Key, item};
use crate::error::Result;
use crate::ext4::raw::get16;
use crate::io::ReadAt;

/// The most names of one directory.
const MAX_NAMES: usize = 8 << 20;
/// The most bytes of the attributes of one inode: as many as a list of them can have.
const MAX_ATTRS: usize = 4 << 20;
/// Bytes of a name's item before the name.
const HEAD: usize = 30;

/// What a name names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// An inode of the same tree.
    Inode(u64),
    /// A subvolume, by its number.
    Subvolume(u64),
}

/// Targets by name, sorted.
pub(crate) type Entries = BTreeMap<Vec<u8>, Target>;

impl<R: ReadAt> Image<R> {
    /// What a directory holds.
    pub(super) fn entries(&self, dir: Node) -> Result<Entries> {
        let wrong = |why: &str| damaged(&self.title("directory", dir), why.to_owned());
        let mut names = Entries::new();
        if dir.is_hidden() {
            return Ok(names);
        }
        for item in self.nodes.from(self.root(dir), Key(dir.ino, item::DIR_INDEX, 0))? {
            let item = item?;
            if (item.key.0, item.key.1) != (dir.ino, item::DIR_INDEX) {
                break;
            }
            let Part { location, name, rest, .. } = part(item.bytes()).ok_or_else(|| wrong("a name is cut off"))?;
            if !rest.is_empty() || name.is_empty() || matches!(name, b"." | b"..") {
                return Err(wrong("an entry has no name that can be"));
            }
            if name.contains(&0) || name.contains(&b'/') {
                return Err(wrong("an entry has no name that can be"));
            }
            let target = match location.1 {
                item::INODE => Target::Inode(location.0),
                item::ROOT => Target::Subvolume(location.0),
                _ => return Err(wrong("an entry names something that cannot be")),
            };
            if names.insert(name.to_vec(), target).is_some() {
                return Err(wrong("it has a name twice"));
            }
            if names.len() > MAX_NAMES {
                return Err(wrong("it has too many names"));
            }
        }
        Ok(names)
    }

    /// The extended attributes of an inode. Properties of btrfs (`btrfs.compression`) tell how it is stored, and are
    /// left out.
    pub(super) fn attributes(&self, node: Node) -> Result<Xattrs> {
        let wrong = |why: &str| damaged(&self.title("attributes of inode", node), why.to_owned());
        let (mut found, mut bytes) = (Xattrs::new(), 0);
        if node.is_hidden() {
            return Ok(found);
        }
        for item in self.nodes.from(self.root(node), Key(node.ino, item::XATTR, 0))? {
            let item = item?;
            if (item.key.0, item.key.1) != (node.ino, item::XATTR) {
                break;
            }
            bytes += item.bytes().len();
            if bytes > MAX_ATTRS {
                return Err(wrong("there are too many"));
            }
            // Those whose names have the same sum stand together.
            let mut rest = item.bytes();
            while !rest.is_empty() {
                let Part { name, value, rest: more, .. } = part(rest).ok_or_else(|| wrong("one is cut off"))?;
                rest = more;
                if name.starts_with(b"btrfs.") {
                    continue;
                }
                let space = name.iter().position(|b| *b == b'.').unwrap_or(0);
                if space == 0 || space + 1 == name.len() || name.contains(&0) {
                    return Err(wrong("one has no name that can be"));
                }
                if LISTS.contains(&name) && !(value.len() % 8 == 4 && value[..4] == [2, 0, 0, 0]) {
                    return Err(wrong("an ACL makes no sense"));
                }
                if found.insert(name.to_vec(), value.to_vec()).is_some() {
                    return Err(wrong("one is there twice"));
                }
            }
        }
        Ok(found)
    }
}

/// What a name's item starts with.
struct Part<'a> {
    location: Key,
    name: &'a [u8],
    value: &'a [u8],
    rest: &'a [u8],
}

/// The first of a name's item, and what follows.
fn part(b: &[u8]) -> Option<Part<'_>> {
    let location = Key::read(b)?;
    let (value, name) = (usize::from(get16(b, 25)), usize::from(get16(b, 27)));
    let (name, rest) = b.get(HEAD..)?.split_at_checked(name)?;
    let (value, rest) = rest.split_at_checked(value)?;
    Some(Part { location, name, value, rest })
}

impl<R: ReadAt> Image<R> {
    /// The path of a directory in its subvolume, by the names that inodes keep of themselves.
    pub(super) fn path_of(&self, dir: Node) -> Result<Vec<u8>> {
        let mut parts: Vec<Vec<u8>> = Vec::new();
        let top = self.roots.subvolumes[dir.tree].dir;
        let mut ino = dir.ino;
        while ino != top {
            let wrong = || damaged(&self.title("directory", Node { ino, ..dir }), "it has no name".to_owned());
            let found = self.nodes.from(self.root(dir), Key(ino, item::INODE_REF, 0))?.next().transpose()?;
            let found = found.filter(|found| (found.key.0, found.key.1) == (ino, item::INODE_REF));
            let found = found.ok_or_else(wrong)?;
            let len = usize::from(get16(found.bytes(), 8));
            parts.push(found.bytes().get(10..10 + len).ok_or_else(wrong)?.to_vec());
            if parts.len() > kiln_oci::name::MAX_DEPTH {
                return Err(wrong());
            }
            ino = found.key.2;
        }
        parts.reverse();
        Ok(parts.join(&b'/'))
    }

    /// How errors name an inode.
    pub(super) fn title(&self, what: &str, node: Node) -> String {
        match self.roots.subvolumes.get(node.tree).map(|subvolume| subvolume.id) {
            Some(id) if self.roots.subvolumes.len() > 1 => format!("{what} {} of subvolume {id}", node.ino),
            _ => format!("{what} {}", node.ino),
        }
    }
}
