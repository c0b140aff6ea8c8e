//! Extended attributes: in the inode, or in leaves, where long values have blocks of their own.

use std::sync::Arc;

use kiln_oci::entry::Xattrs;

use super::inode::{Fork, Inode};
use super::{Image, damaged};
use crate::error::Result;
use crate::io::ReadAt;
use crate::xfs::attr::{LISTS, LOCAL, ROOT, SECURE, VALUE_HEAD, from_disk};
use crate::xfs::inode::Format;
use crate::xfs::raw::{be16, be32, magic};

/// The longest value that system calls have.
const MAX_VALUE: usize = 64 << 10;
/// The most bytes of names and values that are read of one inode.
const MAX_BYTES: usize = 4 << 20;
/// The deepest index there can be, and the most leaves that are gone through.
const MAX_LEVELS: u16 = 5;
const MAX_LEAVES: usize = 16 << 10;
/// Whose name is in a directory: what a parent pointer says.
const PARENT: u8 = 8;
/// It was never finished.
const INCOMPLETE: u8 = 0x80;

/// One attribute as it is stored.
struct Attr<'a> {
    space: u8,
    name: &'a [u8],
    value: Vec<u8>,
}

/// Attributes that were found so far.
#[derive(Default)]
struct Intake {
    found: Xattrs,
    bytes: usize,
}

impl Intake {
    fn add(&mut self, attr: Attr<'_>) -> Result<(), &'static str> {
        if attr.space & (PARENT | INCOMPLETE) != 0 {
            return Ok(());
        }
        let list = LISTS.iter().find(|(_, stored)| attr.space & ROOT != 0 && *stored == attr.name);
        let (name, value) = match list {
            Some((name, _)) => (name.to_vec(), from_disk(&attr.value).ok_or("an ACL makes no sense")?),
            None => {
                let space: &[u8] = match attr.space & (ROOT | SECURE) {
                    0 => b"user.",
                    ROOT => b"trusted.",
                    SECURE => b"security.",
                    _ => return Err("one is in two namespaces"),
                };
                if attr.name.is_empty() || attr.name.contains(&0) {
                    return Err("one has no name that can be");
                }
                ([space, attr.name].concat(), attr.value)
            }
        };
        self.bytes += name.len() + value.len();
        if self.bytes > MAX_BYTES {
            return Err("they are too many");
        }
        if self.found.insert(name, value).is_some() { Err("one is there twice") } else { Ok(()) }
    }
}

impl<R: ReadAt> Image<R> {
    /// The extended attributes of an inode.
    pub(super) fn xattrs_of(&self, inode: &Inode) -> Result<Xattrs> {
        let Some(fork) = &inode.attrs else { return Ok(Xattrs::new()) };
        let wrong = |why: &str| damaged(&format!("attributes of inode {}", inode.ino), why.to_owned());
        let mut intake = Intake::default();
        match fork.format {
            Format::Local => short(&fork.bytes, &mut intake).map_err(wrong)?,
            Format::Extents if fork.extents == 0 => {}
            _ => {
                let mut block = self.first_leaf(inode, fork)?;
                let mut leaves = 0;
                loop {
                    let bytes = self.attr_block(inode, fork, block)?;
                    self.leaf(inode, fork, &bytes, &mut intake)?;
                    (block, leaves) = (be32(&bytes, 0), leaves + 1);
                    if block == 0 {
                        break;
                    }
                    if leaves > MAX_LEAVES {
                        return Err(wrong("they are too many, or in a circle"));
                    }
                }
            }
        }
        Ok(intake.found)
    }

    /// The leaf that has the attributes with the smallest sums.
    fn first_leaf(&self, inode: &Inode, fork: &Fork) -> Result<u32> {
        let wrong = |why: &str| damaged(&format!("attributes of inode {}", inode.ino), why.to_owned());
        let (mut block, mut above) = (0, MAX_LEVELS + 1);
        loop {
            let bytes = self.attr_block(inode, fork, block)?;
            let sums = self.superblock.sums();
            if be16(&bytes, 8) != if sums { magic::NODE } else { magic::OLD_NODE } {
                return Ok(block);
            }
            let (count, level, first) =
                if sums { (be16(&bytes, 56), be16(&bytes, 58), 64) } else { (be16(&bytes, 12), be16(&bytes, 14), 16) };
            if count == 0 || level == 0 || level >= above {
                return Err(wrong("their index makes no sense"));
            }
            (block, above) = (be32(&bytes, first + 4), level);
        }
    }

    /// A block of the index or a leaf.
    fn attr_block(&self, inode: &Inode, fork: &Fork, block: u32) -> Result<Arc<Vec<u8>>> {
        let wrong = |why: &str| damaged(&format!("attributes of inode {}", inode.ino), why.to_owned());
        let place = self.run(inode, fork, u64::from(block))?.at.ok_or_else(|| wrong("a block of them is not there"))?;
        let bytes = self.blocks.get(place)?;
        if self.superblock.sums() {
            self.owned(&bytes, place, inode.ino, [16, 32, 48, 12]).map_err(wrong)?;
        }
        Ok(bytes)
    }

    fn leaf(&self, inode: &Inode, fork: &Fork, b: &[u8], intake: &mut Intake) -> Result<()> {
        let wrong = |why: &str| damaged(&format!("attributes of inode {}", inode.ino), why.to_owned());
        let (kind, counted, first) =
            if self.superblock.sums() { (magic::ATTR_LEAF, 56, 80) } else { (magic::OLD_ATTR_LEAF, 12, 32) };
        let count = usize::from(be16(b, counted));
        if be16(b, 8) != kind {
            return Err(wrong("a leaf of them has something else"));
        }
        let entries = b.get(first..first + count * 8).ok_or_else(|| wrong("a leaf has more of them than fit"))?;
        for entry in entries.as_chunks::<8>().0 {
            let (at, space) = (usize::from(be16(entry, 4)), entry[6]);
            let cut = || wrong("one is cut off");
            if space & LOCAL != 0 {
                let (len, name_len) = (usize::from(be16(b, at)), usize::from(*b.get(at + 2).ok_or_else(cut)?));
                let name = b.get(at + 3..at + 3 + name_len).ok_or_else(cut)?;
                let value = b.get(at + 3 + name_len..at + 3 + name_len + len).ok_or_else(cut)?.to_vec();
                intake.add(Attr { space, name, value }).map_err(wrong)?;
                continue;
            }
            let name_len = usize::from(*b.get(at + 8).ok_or_else(cut)?);
            let name = b.get(at + 9..at + 9 + name_len).ok_or_else(cut)?;
            // What was never finished has no value yet.
            if space & (INCOMPLETE | PARENT) == 0 {
                let len = usize::try_from(be32(b, at + 4)).unwrap_or(usize::MAX);
                let value = self.value(inode, fork, be32(b, at), len)?;
                intake.add(Attr { space, name, value }).map_err(wrong)?;
            }
        }
        Ok(())
    }

    /// A value that has blocks of its own.
    fn value(&self, inode: &Inode, fork: &Fork, first: u32, len: usize) -> Result<Vec<u8>> {
        let wrong = |why: &str| damaged(&format!("attributes of inode {}", inode.ino), why.to_owned());
        if len > MAX_VALUE {
            return Err(wrong("a value is too long"));
        }
        let mut value = Vec::new();
        let mut block = u64::from(first);
        while value.len() < len {
            let place = self.run(inode, fork, block)?.at.ok_or_else(|| wrong("a value is not there"))?;
            let bytes = self.blocks.get(place)?;
            let head = if self.superblock.sums() { VALUE_HEAD } else { 0 };
            let part = (len - value.len()).min(bytes[head..].len());
            if head > 0 {
                self.piece(&bytes, magic::ATTR_VALUE, (inode.ino, place), (value.len(), part)).map_err(wrong)?;
            }
            value.extend_from_slice(&bytes[head..head + part]);
            block += 1;
        }
        Ok(value)
    }

    /// Checks what the block at `place` says of the `len` bytes from byte `offset` on that it has, of a value or a target.
    pub(super) fn piece(
        &self,
        b: &[u8],
        kind: u32,
        (ino, place): (u64, u64),
        (offset, len): (usize, usize),
    ) -> Result<(), &'static str> {
        if be32(b, 0) != kind {
            return Err("a block has something else");
        }
        self.owned(b, place, ino, [40, 16, 32, 12])?;
        if u64::from(be32(b, 4)) != offset as u64 || u64::from(be32(b, 8)) != len as u64 {
            return Err("a block has another part of it");
        }
        Ok(())
    }
}

/// Attributes that are in the inode.
fn short(bytes: &[u8], intake: &mut Intake) -> Result<(), &'static str> {
    let total = usize::from(be16(bytes, 0));
    let (Some(count), Some(area)) = (bytes.get(2), bytes.get(..total)) else { return Err("they are cut off") };
    let mut at = 4;
    for _ in 0..*count {
        let Some([name_len, len, space]) = area.get(at..at + 3) else { return Err("one is cut off") };
        let (name, value) = (at + 3, at + 3 + usize::from(*name_len));
        let end = value + usize::from(*len);
        let Some(all) = area.get(name..end) else { return Err("one is cut off") };
        let (name, value) = all.split_at(value - name);
        intake.add(Attr { space: *space, name, value: value.to_vec() })?;
        at = end;
    }
    Ok(())
}
