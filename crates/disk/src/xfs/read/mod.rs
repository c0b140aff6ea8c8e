//! Reads xfs of version 4 and 5, from whatever has its bytes.
//!
//! Nothing that is read is believed: numbers of blocks and inodes are in bounds before they are followed, checksums are
//! right where there are any, and blocks say that they are whose they should be; trees only go down. A file system
//! whose log has changes that are not in their places is refused; nothing is written.
//!
//! [`superblock`] what it is     [`log`] whether it was left in order     [`blocks`] its bytes
//! [`inode`] [`map`] [`body`] files     [`dir`] [`attr`] what they have     [`files`] what all of it is to [`fs`](crate::fs)
//!
//! Reading a feature more: its row in [`superblock`]'s list, and what it changes in one of the others.

mod attr;
mod blocks;
mod body;
mod dir;
mod files;
mod inode;
mod log;
mod map;
mod superblock;

use self::blocks::Blocks;
pub use self::body::Body;
use self::inode::Inode;
pub use self::superblock::Superblock;
pub(crate) use self::superblock::{incompat, ro_compat};
use super::attr::VALUE_HEAD;
use super::inode::Format;
use super::raw::{FORMAT, be16, be32, magic};
use crate::error::{DiskError, Result};
use crate::io::ReadAt;

/// The longest target of a link.
const MAX_TARGET: u64 = 1024;

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
    /// [`DiskError::Unsupported`] with the names of the features it has that cannot be read, or when its log has changes
    /// that are not in their places.
    pub fn open(source: R) -> Result<Image<R>> {
        let failed = |source| DiskError::Read { what: "xfs superblock", offset: 0, source };
        let len = source.len().map_err(failed)?;
        let mut bytes = vec![0; superblock::SUPER_SIZE];
        if len < bytes.len() as u64 {
            return Err(damaged("its superblock", "there is none".to_owned()));
        }
        source.read_exact_at(&mut bytes, 0).map_err(failed)?;
        // The checksum is that of a whole sector.
        let sector = usize::from(be16(&bytes, 102));
        if be32(&bytes, 0) == magic::SUPER && sector > bytes.len() && sector as u64 <= len {
            bytes.resize(sector, 0);
            source.read_exact_at(&mut bytes, 0).map_err(failed)?;
        }
        let superblock = Superblock::parse(&bytes, len)?;
        let image = Image { blocks: Blocks::new(source, superblock.block_size), superblock };
        log::check(&image)?;
        Ok(image)
    }

    /// What it says about itself.
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    fn inode_of(&self, ino: u64) -> Result<Inode> {
        let wrong = |why: &str| damaged(&format!("inode {ino}"), why.to_owned());
        let place = self.superblock.inode_place(ino).ok_or_else(|| wrong("there is none with this number"))?;
        let bytes = self.blocks.get(place.0)?;
        let bytes = bytes.get(place.1..place.1 + self.superblock.inode_size).unwrap_or_default();
        Inode::parse(ino, bytes, &self.superblock).map_err(wrong)
    }

    /// Where a link points.
    fn target_of(&self, link: &Inode) -> Result<Vec<u8>> {
        let wrong = |why: &str| damaged(&format!("link {}", link.ino), why.to_owned());
        if link.size == 0 || link.size > MAX_TARGET {
            return Err(wrong("the length of its target makes no sense"));
        }
        let target = match link.data.format {
            Format::Local => link.local().map_err(wrong)?.to_vec(),
            _ => self.far_target(link)?,
        };
        if target.contains(&0) { Err(wrong("its target has a NUL byte")) } else { Ok(target) }
    }

    /// A target that is in blocks: each run of them has one head.
    fn far_target(&self, link: &Inode) -> Result<Vec<u8>> {
        let wrong = |why: &str| damaged(&format!("link {}", link.ino), why.to_owned());
        let size = usize::try_from(link.size).unwrap_or(0);
        let head = if self.superblock.sums() { VALUE_HEAD } else { 0 };
        let block_size = self.superblock.block_size;
        let blocks = link.size.div_ceil(block_size - head as u64);
        let (mut target, mut at) = (Vec::new(), 0);
        while target.len() < size {
            let run = self.run(link, &link.data, at)?;
            let (Some(place), true) = (run.at, at < blocks) else { return Err(wrong("its target is not there")) };
            let len = run.len.min(blocks - at);
            let mut bytes = vec![0; (len * block_size) as usize];
            self.blocks.read(place * block_size, &mut bytes)?;
            let part = (size - target.len()).min(bytes.len() - head);
            if head > 0 {
                self.piece(&bytes, magic::SYMLINK, (link.ino, place), (target.len(), part)).map_err(wrong)?;
            }
            target.extend_from_slice(&bytes[head..head + part]);
            at += len;
        }
        Ok(target)
    }
}

fn damaged(what: &str, why: String) -> DiskError {
    DiskError::Damaged { format: FORMAT, what: what.to_owned(), why }
}
