//! Reads btrfs on one device, from whatever has its bytes.
//!
//! Nothing that is read is believed: nodes have their checksums and lie where their parents say, trees only go down,
//! addresses are in chunks that are on the device, data has its checksums where there are any, what is packed comes out
//! no larger than it can be. Nothing is written, and a log tree that a crash left is not read.
//!
//! [`superblock`] what it is     [`sum`] checksums     [`chunks`] addresses     [`nodes`] trees of items
//! [`roots`] which subvolumes there are     [`places`] which of them is shown where     [`layout`] what they are as a whole
//! [`inode`] [`dir`] files and their names     [`extents`] [`body`] their bytes     [`unpack`] [`lzo`] packed ones
//!
//! An image is what one subvolume shows as the root, with others in it. A subvolume's inodes have their own numbers; all
//! of an image are told apart by the place of the subvolume in the list of all before that number.

mod body;
mod chunks;
mod dir;
mod extents;
mod inode;
mod layout;
mod lzo;
mod nodes;
mod places;
mod roots;
mod sum;
mod superblock;
mod unpack;

use std::collections::BTreeMap;

use kiln_oci::entry::Xattrs;
use kiln_oci::name::MAX_PATH;

pub use self::body::Body;
use self::chunks::Chunks;
use self::inode::Inode;
pub use self::layout::{Layout, Part};
use self::nodes::{Nodes, Root};
use self::roots::Roots;
pub use self::superblock::Superblock;
use super::raw::{CHUNKS, FORMAT, Key, item};
use crate::crc::crc32c;
use crate::error::{DiskError, Result};
use crate::ext4::raw::mode;
use crate::fs::{self, About, Files, Inodes, Names};
use crate::io::ReadAt;

/// Bits of the number of an inode in its subvolume.
const INO_BITS: u32 = 48;
/// Numbers from here on stand for subvolumes that are not shown.
const HIDDEN: u64 = 1 << (INO_BITS - 1);

/// A file system that is read: a subvolume as its root, and others in it.
pub struct Image<R> {
    nodes: Nodes<R>,
    roots: Roots,
    /// The place in the list of the subvolume that is the root.
    top: usize,
    /// By the directory on which one is mounted, what is mounted there.
    mounts: BTreeMap<u64, usize>,
}

/// An inode of a subvolume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Node {
    /// The subvolume's place in the list.
    tree: usize,
    ino: u64,
}

impl Node {
    /// From its number in the image.
    fn of(number: u64) -> Node {
        Node { tree: (number >> INO_BITS) as usize, ino: number & ((1 << INO_BITS) - 1) }
    }

    /// Its number in the image.
    fn number(self) -> u64 {
        (self.tree as u64) << INO_BITS | self.ino
    }

    /// Whether it stands for a subvolume that is not shown.
    fn is_hidden(self) -> bool {
        self.ino >= HIDDEN
    }

    /// The number for a subvolume that is not shown in this directory: another one for each name.
    fn hidden(self, name: &[u8]) -> Node {
        let mixed = (self.ino << 32 ^ u64::from(crc32c(!1, name))).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Node { ino: HIDDEN | (mixed ^ mixed >> 29) & (HIDDEN - 1), ..self }
    }
}

impl<R: ReadAt> Image<R> {
    /// Opens the file system that starts at the first byte of `source`, with its default subvolume as the root.
    ///
    /// # Errors
    /// [`DiskError::Read`], [`DiskError::Damaged`] if there is none or it makes no sense, and
    /// [`DiskError::Unsupported`] with the names of the features it has that cannot be read.
    pub fn open(source: R) -> Result<Image<R>> {
        let superblock = Superblock::read(&source)?;
        let mut nodes = Nodes::new(Chunks::new(source, &superblock)?, superblock);
        let root = Root::from(nodes.superblock.chunks);
        // The tree of chunks is in those that the superblock lists.
        let mut items = Vec::new();
        for item in nodes.from(root, Key(CHUNKS, item::CHUNK, 0))? {
            let item = item?;
            if (item.key.0, item.key.1) == (CHUNKS, item::CHUNK) {
                items.push(item);
            }
        }
        items.iter().try_for_each(|item| nodes.chunks.add(item.key.2, item.bytes()))?;
        let roots = Roots::read(&nodes)?;
        nodes.superblock.quotas = roots.quotas;
        let top = roots.default;
        let image = Image { nodes, roots, top, mounts: BTreeMap::new() };
        image.top_is_a_directory()?;
        Ok(image)
    }

    fn top_is_a_directory(&self) -> Result<()> {
        let (inode, about) = fs::inode_at(self, b"", self.root_of(self.top).number())?;
        match about.kind() {
            mode::DIR => Ok(()),
            _ => Err(damaged(&self.title("inode", inode.node), "it is the root, and no directory".to_owned())),
        }
    }

    /// What it says about itself.
    pub fn superblock(&self) -> &Superblock {
        &self.nodes.superblock
    }

    /// The root directory of a subvolume.
    fn root_of(&self, tree: usize) -> Node {
        Node { tree, ino: self.roots.subvolumes.get(tree).map_or(HIDDEN, |subvolume| subvolume.dir) }
    }

    /// Where the tree is that an inode is in.
    fn root(&self, node: Node) -> Root {
        let known = self.roots.subvolumes.get(node.tree).or(self.roots.subvolumes.first());
        known.map_or(Root { at: u64::MAX, level: 0, generation: 0 }, |subvolume| subvolume.root)
    }
}

impl<R: ReadAt> Inodes for Image<R> {
    const FORMAT: &'static str = FORMAT;
    type Inode = Inode;

    fn root(&self) -> u64 {
        self.root_of(self.top).number()
    }

    fn bytes(&self) -> u64 {
        self.superblock().size
    }

    fn inode(&self, number: u64) -> Result<Inode> {
        let node = Node::of(number);
        let wrong = |why: &str| damaged(&self.title("inode", node), why.to_owned());
        if node.tree >= self.roots.subvolumes.len() {
            return Err(wrong("there is none with this number"));
        }
        if node.is_hidden() {
            return Ok(Inode::empty(node));
        }
        let found = self.nodes.item(Image::root(self, node), Key(node.ino, item::INODE, 0))?;
        let found = found.ok_or_else(|| wrong("there is none with this number"))?;
        Inode::parse(node, found.bytes()).map_err(wrong)
    }

    fn about(&self, inode: &Inode) -> Result<About> {
        Ok(About {
            mode: inode.mode,
            links: u64::from(inode.links),
            uid: inode.uid,
            gid: inode.gid,
            mtime: inode.mtime,
            size: inode.size,
            device: inode.device(),
            flags: inode.marks(),
        })
    }

    fn names(&self, dir: &Inode) -> Result<Names> {
        self.shown(dir.node)
    }

    fn target(&self, link: &Inode) -> Result<Vec<u8>> {
        let wrong = |why: &str| damaged(&self.title("link", link.node), why.to_owned());
        if link.size == 0 || link.size > MAX_PATH as u64 {
            return Err(wrong("the length of its target makes no sense"));
        }
        let body = Body::new(self, link.clone(), None);
        let target = fs::all(body, MAX_PATH as u64, Self::INODE, link.node.ino)?;
        if target.contains(&0) { Err(wrong("its target has a NUL byte")) } else { Ok(target) }
    }

    fn xattrs(&self, inode: &Inode) -> Result<Xattrs> {
        self.attributes(inode.node)
    }
}

impl<R: ReadAt> Files for Image<R> {
    const INODE: &'static str = "btrfs inode";
    type Body<'a>
        = Body<'a, R>
    where
        R: 'a;

    fn body_of(&self, path: &[u8], inode: Inode) -> Result<Body<'_, R>> {
        Ok(Body::new(self, inode, Some(path)))
    }
}

fn damaged(what: &str, why: String) -> DiskError {
    DiskError::Damaged { format: FORMAT, what: what.to_owned(), why }
}
