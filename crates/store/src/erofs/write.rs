//! Nodes → the bytes of an EROFS image.
//!
//! ```text
//! at      what
//! 0       1024 bytes of nothing
//! 1024    superblock, 128 bytes
//! 1152    the only row of the device table: the tar, seen behind the end of the image
//! 2048    inodes, 64 bytes each, with their attributes and short link targets; the root first
//! then    names of directories and long link targets, each from the start of a block
//! ```
//! A block has 512 bytes, as in a tar, so that the bytes of every file begin at one. An inode's number is its place
//! divided by 32. A directory's blocks each hold rows (inode, place of the name, type) sorted by name, then the names.
//! All numbers are little-endian. The kernel describes the format in `Documentation/filesystems/erofs.rst`.

use super::shape::{BLOCK, Node, Shape, What};

const MAGIC: u32 = 0xe0f5_e1e2;
const SUPER: usize = 1024;
const DEVICE: usize = SUPER + 128;
const INODES: u64 = 2048;
const SLOT: u64 = 32;
const INODE: u64 = 64;
/// An extended inode with plain data blocks, and one whose data follows it.
const PLAIN: u16 = 1;
const INLINE: u16 = 1 | 2 << 1;
const DIRENT: usize = 12;
/// A feature that readers must know: more devices than one.
const DEVICE_TABLE: u32 = 8;
const XATTR_HEAD: usize = 12;
const TRUSTED: u8 = 4;
const SECURITY: u8 = 6;

/// A type in a directory, and in a mode.
struct Type(u8, u16);
const FILE: Type = Type(1, 0o100_000);
const DIR: Type = Type(2, 0o040_000);
const CHAR: Type = Type(3, 0o020_000);
const BLOCK_DEVICE: Type = Type(4, 0o060_000);
const FIFO: Type = Type(5, 0o010_000);
const SYMLINK: Type = Type(7, 0o120_000);

/// Where a node goes.
#[derive(Clone, Default)]
struct Place {
    /// Of the inode, in bytes.
    inode: u64,
    /// Of its data in this image, in bytes; `None` when there is none, or it follows the inode.
    data: Option<u64>,
    /// Bytes of data in this image.
    size: u64,
    parent: usize,
    /// Of a directory, how many others are in it.
    subdirs: u32,
}

/// The image; `None` when it cannot be addressed.
pub(super) fn image(shape: &Shape<'_>, uuid: &[u8; 16]) -> Option<Vec<u8>> {
    let nodes = &shape.nodes;
    let (places, end) = places(nodes);
    let tar_at = end.next_multiple_of(4096);
    let blocks = (tar_at + shape.tar_size.next_multiple_of(BLOCK)) / BLOCK;
    if blocks >= u64::from(u32::MAX) {
        return None;
    }
    let mut image = Image { bytes: vec![0; usize::try_from(tar_at).ok()?] };
    image.head(nodes.len(), tar_at, shape.tar_size, uuid);
    for (id, node) in nodes.iter().enumerate() {
        image.inode(node, &places[id], id, tar_at);
        let place = &places[id];
        match &node.what {
            What::Dir { children, .. } => image.names(children, nodes, &places, id),
            What::Symlink(target) => {
                image.put(place.data.unwrap_or(place.inode + INODE), target);
            }
            _ => {}
        }
    }
    Some(image.bytes)
}

/// Where everything goes, directory by directory, and where it ends.
fn places(nodes: &[Node<'_>]) -> (Vec<Place>, u64) {
    let mut places = vec![Place::default(); nodes.len()];
    let mut at = INODES;
    let mut seat = |places: &mut Vec<Place>, id: usize| {
        let size = INODE + xattr_size(&nodes[id]) as u64 + inline_size(&nodes[id]);
        // Nothing that fits a block crosses into the next: what follows an inode must not.
        if at % BLOCK + size > BLOCK {
            at = at.next_multiple_of(BLOCK);
        }
        places[id].inode = at;
        at = (at + size).next_multiple_of(SLOT);
    };
    seat(&mut places, 0);
    let mut dirs = vec![0];
    let mut next = 0;
    while let Some(&dir) = dirs.get(next) {
        next += 1;
        let What::Dir { children, .. } = &nodes[dir].what else { continue };
        for (_, id) in children {
            // Further names of a file have the seat of the first.
            if places[*id].inode == 0 {
                seat(&mut places, *id);
            }
            if let What::Dir { .. } = nodes[*id].what {
                places[*id].parent = dir;
                places[dir].subdirs += 1;
                dirs.push(*id);
            }
        }
    }
    at = at.next_multiple_of(BLOCK);
    for (place, node) in places.iter_mut().zip(nodes) {
        let size = match &node.what {
            What::Dir { children, .. } => names_size(children),
            What::Symlink(target) => target.len() as u64,
            _ => 0,
        };
        place.size = size;
        if size > 0 && inline_size(node) == 0 {
            place.data = Some(at);
            at = (at + size).next_multiple_of(BLOCK);
        }
    }
    (places, at)
}

/// Bytes that follow the inode: a link's target, if it fits.
fn inline_size(node: &Node<'_>) -> u64 {
    match &node.what {
        What::Symlink(target) if INODE + target.len() as u64 <= BLOCK => target.len() as u64,
        _ => 0,
    }
}

/// An attribute: the number that stands for the first part of its name, the rest, the value.
fn xattr<'n>(node: &'n Node<'_>) -> Option<(u8, &'static [u8], &'n [u8])> {
    match (&node.what, node.capability) {
        (What::Dir { opaque: true, .. }, _) => Some((TRUSTED, b"overlay.opaque", b"y")),
        (What::File { .. }, Some(value)) => Some((SECURITY, b"capability", value)),
        _ => None,
    }
}

fn xattr_size(node: &Node<'_>) -> usize {
    xattr(node).map_or(0, |(_, name, value)| XATTR_HEAD + (4 + name.len() + value.len()).next_multiple_of(4))
}

/// All names of a directory as its blocks have them: `.` and `..` are two of them, sorted like the others.
fn sorted<'c>(children: &'c [(&'c [u8], usize)]) -> impl Iterator<Item = (&'c [u8], Option<usize>)> {
    let dots = [&b"."[..], b".."];
    let before = |dot: &'static [u8]| children.partition_point(|(name, _)| *name < dot);
    let cuts = [before(dots[0]), before(dots[1])];
    let some = |(name, id): &(&'c [u8], usize)| (*name, Some(*id));
    children[..cuts[0]]
        .iter()
        .map(some)
        .chain([(dots[0], None)])
        .chain(children[cuts[0]..cuts[1]].iter().map(some))
        .chain([(dots[1], None)])
        .chain(children[cuts[1]..].iter().map(some))
}

/// Cuts names into blocks: calls `block` with how many names each has and how many bytes it takes.
fn cut<'c>(names: impl Iterator<Item = (&'c [u8], Option<usize>)>, mut block: impl FnMut(usize, usize)) {
    let (mut count, mut used) = (0, 0);
    for (name, _) in names {
        let more = DIRENT + name.len();
        if used + more > BLOCK as usize {
            block(count, used);
            (count, used) = (0, 0);
        }
        count += 1;
        used += more;
    }
    block(count, used);
}

fn names_size(children: &[(&[u8], usize)]) -> u64 {
    let (mut blocks, mut last) = (0, 0);
    cut(sorted(children), |_, used| {
        blocks += 1;
        last = used as u64;
    });
    (blocks - 1) * BLOCK + last
}

fn kind(node: &Node<'_>) -> Type {
    match node.what {
        What::Dir { .. } => DIR,
        What::File { .. } => FILE,
        What::Symlink(_) => SYMLINK,
        What::Char(..) => CHAR,
        What::Block(..) => BLOCK_DEVICE,
        What::Fifo => FIFO,
    }
}

fn device(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

struct Image {
    bytes: Vec<u8>,
}

impl Image {
    fn put(&mut self, at: u64, bytes: &[u8]) {
        let at = at as usize;
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn head(&mut self, inodes: usize, tar_at: u64, tar_size: u64, uuid: &[u8; 16]) {
        let first = (tar_at / BLOCK) as u32;
        let tar_blocks = tar_size.div_ceil(BLOCK) as u32;
        let at = |field: usize| (SUPER + field) as u64;
        self.put(at(0), &MAGIC.to_le_bytes());
        self.put(at(12), &[BLOCK.trailing_zeros() as u8]);
        self.put(at(14), &((INODES / SLOT) as u16).to_le_bytes());
        self.put(at(16), &(inodes as u64).to_le_bytes());
        self.put(at(36), &first.to_le_bytes());
        self.put(at(48), uuid);
        self.put(at(80), &DEVICE_TABLE.to_le_bytes());
        self.put(at(86), &1_u16.to_le_bytes());
        self.put(at(88), &((DEVICE / 128) as u16).to_le_bytes());
        self.put(DEVICE as u64 + 64, &tar_blocks.to_le_bytes());
        self.put(DEVICE as u64 + 68, &first.to_le_bytes());
    }

    fn inode(&mut self, node: &Node<'_>, place: &Place, id: usize, tar_at: u64) {
        let inline = place.size > 0 && place.data.is_none();
        let in_use = (place.data.unwrap_or(0) / BLOCK) as u32;
        let (size, union) = match &node.what {
            What::File { size: 0, .. } => (0, 0),
            What::File { offset, size } => (*size, ((tar_at + offset) / BLOCK) as u32),
            What::Char(major, minor) | What::Block(major, minor) => (0, device(*major, *minor)),
            What::Dir { .. } | What::Symlink(_) | What::Fifo => (place.size, in_use),
        };
        let links = if let What::Dir { .. } = node.what { place.subdirs + 2 } else { node.names };
        let xattrs = xattr_size(node);
        let icount = if xattrs == 0 { 0 } else { (xattrs - XATTR_HEAD) / 4 + 1 };
        let mode = kind(node).1 | (node.mode & 0o7777) as u16;
        let mut raw = [0; INODE as usize];
        let mut set = |at: usize, bytes: &[u8]| raw[at..at + bytes.len()].copy_from_slice(bytes);
        set(0, &(if inline { INLINE } else { PLAIN }).to_le_bytes());
        set(2, &(icount as u16).to_le_bytes());
        set(4, &mode.to_le_bytes());
        set(8, &size.to_le_bytes());
        set(16, &union.to_le_bytes());
        set(20, &(id as u32 + 1).to_le_bytes());
        set(24, &node.uid.to_le_bytes());
        set(28, &node.gid.to_le_bytes());
        set(32, &node.mtime.secs.to_le_bytes());
        set(40, &node.mtime.nanos.to_le_bytes());
        set(44, &links.to_le_bytes());
        self.put(place.inode, &raw);
        if let Some((prefix, name, value)) = xattr(node) {
            let at = place.inode + INODE + XATTR_HEAD as u64;
            let length = (value.len() as u16).to_le_bytes();
            self.put(at, &[name.len() as u8, prefix, length[0], length[1]]);
            self.put(at + 4, name);
            self.put(at + 4 + name.len() as u64, value);
        }
    }

    /// A directory's blocks.
    fn names(&mut self, children: &[(&[u8], usize)], nodes: &[Node<'_>], places: &[Place], dir: usize) {
        let Some(mut at) = places[dir].data else { return };
        let mut names = sorted(children);
        let mut counts = Vec::new();
        cut(sorted(children), |count, _| counts.push(count));
        for count in counts {
            let mut name_at = DIRENT * count;
            for row in 0..count {
                let Some((name, id)) = names.next() else { break };
                let id = id.unwrap_or(if name == b"." { dir } else { places[dir].parent });
                let mut raw = [0; DIRENT];
                raw[..8].copy_from_slice(&(places[id].inode / SLOT).to_le_bytes());
                raw[8..10].copy_from_slice(&(name_at as u16).to_le_bytes());
                raw[10] = kind(&nodes[id]).0;
                self.put(at + (row * DIRENT) as u64, &raw);
                self.put(at + name_at as u64, name);
                name_at += name.len();
            }
            at += BLOCK;
        }
    }
}
