//! Which blocks of the disk are which blocks of a file.

use super::btree::{Item, Shape, build};
use super::geometry::Geometry;
use super::raw::{Owner, magic, put16, put64};

/// The most blocks one extent can have.
const MAX_LEN: u64 = (1 << 21) - 1;

/// Blocks of a file that lie together; `physical` is where they are on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub logical: u64,
    pub physical: u64,
    pub len: u64,
}

/// Adds `len` blocks to the end of a file's extents. An extent is never in two groups.
pub(crate) fn push(extents: &mut Vec<Extent>, group: u32, mut logical: u64, mut physical: u64, mut len: u64) {
    if let Some(last) = extents.last_mut() {
        let follows = last.logical + last.len == logical && last.physical + last.len == physical;
        if follows && !physical.is_multiple_of(u64::from(group)) {
            let more = len.min(MAX_LEN - last.len);
            last.len += more;
            (logical, physical, len) = (logical + more, physical + more, len - more);
        }
    }
    while len > 0 {
        let part = len.min(MAX_LEN);
        extents.push(Extent { logical, physical, len: part });
        (logical, physical, len) = (logical + part, physical + part, len - part);
    }
}

/// An extent as it is stored, with its key.
fn item(extent: &Extent, geometry: &Geometry) -> Item {
    let mut item = Item::default();
    let number = geometry.number(extent.physical);
    put64(&mut item.key, 0, extent.logical);
    put64(&mut item.data, 0, extent.logical << 9 | number >> 43);
    put64(&mut item.data, 8, number << 21 | extent.len);
    item
}

/// How a fork of an inode has its extents.
#[derive(Debug, Default)]
pub(crate) struct Fork {
    /// What is in the inode.
    pub bytes: Vec<u8>,
    /// Whether that is the root of a tree.
    pub tree: bool,
    /// Blocks of the tree, with their places on disk.
    pub blocks: Vec<(u64, Vec<u8>)>,
}

/// Stores extents in a fork of `room` bytes. `new` gives a new block.
pub(crate) fn fork<E>(
    extents: &[Extent],
    room: usize,
    (owner, geometry): (Owner, &Geometry),
    mut new: impl FnMut() -> Result<u64, E>,
) -> Result<Fork, E> {
    let items: Vec<Item> = extents.iter().map(|extent| item(extent, geometry)).collect();
    if items.len() * 16 <= room {
        let bytes = items.iter().flat_map(|item| item.data).collect();
        return Ok(Fork { bytes, tree: false, blocks: Vec::new() });
    }
    let shape = Shape { magic: magic::EXTENTS, long: true, key: 8, record: 16, owner: owner.ino, uuid: owner.uuid };
    let most = (room - 4) / 16;
    let root = |level| if level == 0 { 0 } else { most };
    let tree = build(&shape, items, root, || new().map(|block| (block, geometry.number(block))))?;
    let mut bytes = vec![0; room];
    put16(&mut bytes, 0, tree.level);
    put16(&mut bytes, 2, tree.root.len() as u16);
    shape.fill(&mut bytes[4..], tree.level, &tree.root, most);
    Ok(Fork { bytes, tree: true, blocks: tree.blocks })
}
