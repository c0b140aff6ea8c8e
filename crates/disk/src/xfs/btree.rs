//! Trees of records, made at once from all that they hold: of free space, of inodes, of the extents of a file.
//!
//! Blocks of one level have as many records as each other, so that none has less than half of what it could.

use super::raw::{NULL32, put16, put32, put64, seal};
use crate::files::{BLOCK, BLOCK64};

/// What one kind of tree is like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub magic: u32,
    /// Numbers of blocks have 64 bits, as in the trees of files; otherwise 32, as in those of groups.
    pub long: bool,
    /// Bytes of a key.
    pub key: usize,
    /// Bytes of a record.
    pub record: usize,
    /// The group or the inode that has the tree.
    pub owner: u64,
    pub uuid: [u8; 16],
}

/// A record, or a block below, with what it is found by.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Item {
    pub key: [u8; 8],
    pub data: [u8; 16],
}

impl Shape {
    fn head(&self) -> usize {
        if self.long { 72 } else { 56 }
    }

    fn pointer(&self) -> usize {
        if self.long { 8 } else { 4 }
    }

    /// The most records or pointers a block of a level can have.
    pub fn most(&self, level: u16) -> usize {
        let room = BLOCK - self.head();
        if level == 0 { room / self.record } else { room / (self.key + self.pointer()) }
    }

    /// The block at `place`, between its siblings.
    pub fn block(&self, level: u16, items: &[Item], place: u64, siblings: [Option<u64>; 2]) -> Vec<u8> {
        let mut b = vec![0; BLOCK];
        put32(&mut b, 0, self.magic);
        put16(&mut b, 4, level);
        put16(&mut b, 6, items.len() as u16);
        for (n, sibling) in siblings.into_iter().enumerate() {
            match self.long {
                true => put64(&mut b, 8 + n * 8, sibling.unwrap_or(u64::MAX)),
                false => put32(&mut b, 8 + n * 4, sibling.map_or(NULL32, |number| number as u32)),
            }
        }
        let at = if self.long { 24 } else { 16 };
        put64(&mut b, at, place * (BLOCK64 / 512));
        b[at + 16..at + 32].copy_from_slice(&self.uuid);
        if self.long {
            put64(&mut b, at + 32, self.owner);
        } else {
            put32(&mut b, at + 32, self.owner as u32);
        }
        let most = self.most(level);
        self.fill(&mut b[self.head()..], level, items, most);
        seal(&mut b, if self.long { 64 } else { 52 });
        b
    }

    /// Records, or keys with the pointers behind the place for `most` keys.
    pub fn fill(&self, area: &mut [u8], level: u16, items: &[Item], most: usize) {
        for (n, item) in items.iter().enumerate() {
            if level == 0 {
                area[n * self.record..][..self.record].copy_from_slice(&item.data[..self.record]);
            } else {
                area[n * self.key..][..self.key].copy_from_slice(&item.key[..self.key]);
                let pointer = self.pointer();
                area[most * self.key + n * pointer..][..pointer].copy_from_slice(&item.data[..pointer]);
            }
        }
    }
}

/// A tree without its root block.
#[derive(Debug)]
pub(crate) struct Tree {
    /// Blocks with their places on disk.
    pub blocks: Vec<(u64, Vec<u8>)>,
    pub root: Vec<Item>,
    /// The level of the root.
    pub level: u16,
}

/// Makes a tree of sorted records whose root can have as many as `root` says for a level. `new` gives the place of a
/// new block on disk, and its number.
pub(crate) fn build<E>(
    shape: &Shape,
    mut items: Vec<Item>,
    root: impl Fn(u16) -> usize,
    mut new: impl FnMut() -> Result<(u64, u64), E>,
) -> Result<Tree, E> {
    let mut blocks = Vec::new();
    let mut level = 0;
    while items.len() > root(level) {
        let count = items.len().div_ceil(shape.most(level));
        let places = (0..count).map(|_| new()).collect::<Result<Vec<_>, E>>()?;
        let mut above = Vec::with_capacity(count);
        let mut rest = &items[..];
        for (n, (place, number)) in places.iter().enumerate() {
            let (now, later) = rest.split_at(rest.len().div_ceil(count - n));
            let sibling = |n: Option<usize>| n.and_then(|n| places.get(n)).map(|(_, number)| *number);
            let siblings = [sibling(n.checked_sub(1)), sibling(Some(n + 1))];
            blocks.push((*place, shape.block(level, now, *place, siblings)));
            let mut up = Item { key: now[0].key, ..Item::default() };
            if shape.long {
                put64(&mut up.data, 0, *number);
            } else {
                put32(&mut up.data, 0, *number as u32);
            }
            above.push(up);
            rest = later;
        }
        items = above;
        level += 1;
    }
    Ok(Tree { blocks, root: items, level })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_block_is_less_than_half_full() {
        let shape = Shape { magic: 1, long: false, key: 4, record: 16, owner: 0, uuid: [0; 16] };
        for count in [0, 1, 252, 253, 600, 252 * 505 + 1] {
            let items = vec![Item::default(); count];
            let mut next = 0;
            let tree = build(
                &shape,
                items,
                |level| shape.most(level),
                || {
                    next += 1;
                    Ok::<_, ()>((next, next))
                },
            );
            let tree = tree.unwrap();
            assert_eq!(tree.level, [0, 1, 2][usize::from(count > 252) + usize::from(count > 252 * 505)]);
            for (_, block) in &tree.blocks {
                let level = u16::from_be_bytes([block[4], block[5]]);
                let has = usize::from(u16::from_be_bytes([block[6], block[7]]));
                assert!(has <= shape.most(level) && has >= shape.most(level) / 2, "{count}: {has}");
            }
        }
    }
}
