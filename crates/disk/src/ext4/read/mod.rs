//! Reads ext2, ext3 and ext4, from whatever has their bytes.
//!
//! Nothing that is read is believed: numbers of blocks and inodes are in bounds before they are followed, checksums are
//! right where there are any, trees only go down, a directory is in one place. What a crash left in the journal takes
//! the place of what is older; nothing is written.
//!
//! [`superblock`] what it is      [`blocks`] its bytes      [`journal`] newer ones      [`inode`] [`map`] [`body`] files
//! [`dir`] [`xattr`] what they have                         [`files`] what all of it is to [`fs`]
//!
//! Reading a feature more: its row in [`superblock`]'s list, and what it changes in one of the others.

mod blocks;
mod body;
mod dir;
mod files;
mod inode;
mod journal;
mod map;
mod superblock;
mod xattr;

use std::collections::BTreeMap;

use kiln_oci::name::MAX_PATH;

use self::blocks::Blocks;
pub use self::body::Body;
use self::inode::Inode;
pub use self::superblock::Superblock;
use super::raw::{FORMAT, SUPER_OFFSET, SUPER_SIZE, get16, get32, iflags};
use crate::crc::crc32c;
use crate::error::{DiskError, Result};
use crate::fs::{self, Files};
use crate::io::ReadAt;

/// A file system that is read.
pub struct Image<R> {
    blocks: Blocks<R>,
    superblock: Superblock,
}

impl<R: ReadAt> Image<R> {
    /// Opens the file system that starts at the first byte of `source`.
    ///
    /// # Errors
    /// [`DiskError::Read`], [`DiskError::Damaged`] if there is none or it makes no sense, and
    /// [`DiskError::Unsupported`] with the names of the features it has that cannot be read.
    pub fn open(source: R) -> Result<Image<R>> {
        let failed = |source| DiskError::Read { what: "ext4 superblock", offset: SUPER_OFFSET, source };
        let len = source.len().map_err(failed)?;
        if len < SUPER_OFFSET + SUPER_SIZE as u64 {
            return Err(damaged("its superblock", "there is none".to_owned()));
        }
        let mut bytes = vec![0; SUPER_SIZE];
        source.read_exact_at(&mut bytes, SUPER_OFFSET).map_err(failed)?;
        let superblock = Superblock::parse(&bytes, len)?;
        let blocks = Blocks::new(source, superblock.block_size, superblock.blocks);
        let mut image = Image { blocks, superblock };
        if image.superblock.needs_recovery {
            let newer = journal::replay(&image)?;
            image.recover(newer, len)?;
        }
        Ok(image)
    }

    /// Goes on with what the journal has; the superblock may be in it.
    fn recover(&mut self, newer: BTreeMap<u64, blocks::Journaled>, len: u64) -> Result<()> {
        let mut bytes = vec![0; SUPER_SIZE];
        self.blocks.set_newer(newer);
        let size = self.superblock.block_size;
        self.blocks.read(SUPER_OFFSET / size, SUPER_OFFSET % size, &mut bytes)?;
        let superblock = Superblock::parse(&bytes, len)?;
        if superblock.block_size != size || superblock.blocks != self.superblock.blocks {
            return Err(damaged("its journal", "it changes the size of the file system".to_owned()));
        }
        self.superblock = superblock;
        Ok(())
    }

    /// What it says about itself.
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    fn body(&self, inode: Inode) -> Result<Body<'_, R>> {
        self.checked_size(&inode)?;
        if inode.has(iflags::ENCRYPT) {
            return Err(DiskError::Unsupported { format: FORMAT, what: "encrypted files".to_owned() });
        }
        let inline = self.inline(&inode)?;
        Ok(Body::new(self, inode, inline))
    }

    /// All bytes of an inode, at most `limit`.
    fn bytes(&self, inode: Inode, limit: u64) -> Result<Vec<u8>> {
        let ino = u64::from(inode.ino);
        fs::all(self.body(inode)?, limit, <Image<R> as Files>::INODE, ino)
    }

    /// A file's size, if blocks with 32-bit numbers can be that much.
    fn checked_size(&self, inode: &Inode) -> Result<u64> {
        if inode.size > self.superblock.block_size << 32 {
            return Err(damaged(&format!("inode {}", inode.ino), format!("it has {} bytes", inode.size)));
        }
        Ok(inode.size)
    }

    /// Where a link points.
    fn target(&self, inode: &Inode) -> Result<Vec<u8>> {
        let wrong = |why: &str| damaged(&format!("link {}", inode.ino), why.to_owned());
        if inode.size == 0 || inode.size > MAX_PATH as u64 {
            return Err(wrong("the length of its target makes no sense"));
        }
        let target = match inode.is_fast_link() {
            true => inode.map[..inode.size as usize].to_vec(),
            false => self.bytes(inode.clone(), MAX_PATH as u64)?,
        };
        if target.contains(&0) { Err(wrong("its target has a NUL byte")) } else { Ok(target) }
    }

    fn inode(&self, ino: u32) -> Result<Inode> {
        let wrong = |why: &str| damaged(&format!("inode {ino}"), why.to_owned());
        let superblock = &self.superblock;
        if ino == 0 || ino > superblock.inodes {
            return Err(wrong("there is none with this number"));
        }
        let (group, within) = ((ino - 1) / superblock.inodes_per_group, (ino - 1) % superblock.inodes_per_group);
        let table = self.inode_table(u64::from(group))?;
        let at = u64::from(within) * superblock.inode_size as u64;
        let block = table + at / superblock.block_size;
        if table <= superblock.first_block || block >= superblock.blocks {
            return Err(wrong("its table is beyond the end of the disk"));
        }
        let bytes = self.blocks.get(block)?;
        let from = (at % superblock.block_size) as usize;
        Inode::parse(ino, &bytes[from..from + superblock.inode_size], superblock).map_err(wrong)
    }

    /// The block at which a group's inodes start.
    fn inode_table(&self, group: u64) -> Result<u64> {
        let superblock = &self.superblock;
        let (at, size) = (superblock.desc_at(group), superblock.block_size);
        let len = superblock.desc_size as usize;
        let bytes = self.blocks.get(at / size)?;
        let from = (at % size) as usize;
        let desc = &bytes[from..from + len];
        if superblock.sums() {
            let start = crc32c(crc32c(superblock.seed, &(group as u32).to_le_bytes()), &desc[..0x1E]);
            let sum = crc32c(crc32c(start, &[0; 2]), &desc[0x20..]);
            if (sum & 0xFFFF) as u16 != get16(desc, 0x1E) {
                return Err(damaged(&format!("the descriptor of group {group}"), "its checksum is wrong".to_owned()));
            }
        }
        let high = if len >= 64 { u64::from(get32(desc, 0x28)) << 32 } else { 0 };
        Ok(u64::from(get32(desc, 8)) | high)
    }
}

fn damaged(what: &str, why: String) -> DiskError {
    DiskError::Damaged { format: FORMAT, what: what.to_owned(), why }
}
