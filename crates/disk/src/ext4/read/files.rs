//! What an ext4 tells of its inodes, and those that are found.

use kiln_oci::entry::Xattrs;

use super::inode::Inode;
use super::{Found, Image, Walk, damaged};
use crate::error::Result;
use crate::ext4::raw::{FORMAT, ROOT_INO, mode};
use crate::ext4::write::InodeFlags;
use crate::fs::{self, About, Inodes, Names};
use crate::io::ReadAt;

impl<R: ReadAt> Inodes for Image<R> {
    const FORMAT: &'static str = FORMAT;
    type Inode = Inode;

    fn root(&self) -> u64 {
        u64::from(ROOT_INO)
    }

    fn bytes(&self) -> u64 {
        self.superblock.blocks * self.superblock.block_size
    }

    fn inode(&self, ino: u64) -> Result<Inode> {
        let none = |_| damaged(&format!("inode {ino}"), "there is none with this number".to_owned());
        Image::inode(self, u32::try_from(ino).map_err(none)?)
    }

    fn about(&self, inode: &Inode) -> Result<About> {
        Ok(About {
            mode: inode.mode,
            links: u64::from(inode.links),
            uid: inode.uid,
            gid: inode.gid,
            mtime: inode.mtime,
            size: if inode.kind() == mode::FILE { self.checked_size(inode)? } else { inode.size },
            device: inode.device(),
            flags: InodeFlags::from_inode(inode.flags),
        })
    }

    fn names(&self, dir: &Inode) -> Result<Names> {
        Image::names(self, dir)
    }

    fn target(&self, link: &Inode) -> Result<Vec<u8>> {
        Image::target(self, link)
    }

    fn xattrs(&self, inode: &Inode) -> Result<Xattrs> {
        Image::xattrs(self, inode)
    }
}

impl<R: ReadAt> Image<R> {
    /// All that it holds.
    pub fn walk(&self) -> Walk<'_, R> {
        Walk::new(self)
    }

    /// What is at a path, links followed, also a last one. They lead nowhere out of the file system: an absolute target
    /// starts at its root, and `..` stops there. The entry's path is the one without links. `None` if nothing is there.
    ///
    /// # Errors
    /// [`DiskError::Path`](crate::DiskError::Path) for links in circles and for what is below something that is no
    /// directory, and what reading may say.
    pub fn lookup(&self, path: &[u8]) -> Result<Option<Found>> {
        fs::resolve(self, path, true)
    }

    /// As [`Image::lookup`], but a link at the end of the path is what is found.
    ///
    /// # Errors
    /// As [`Image::lookup`].
    pub fn lookup_link(&self, path: &[u8]) -> Result<Option<Found>> {
        fs::resolve(self, path, false)
    }

    /// The names in a directory that was found, sorted; none in anything else.
    ///
    /// # Errors
    /// What reading may say.
    pub fn list(&self, dir: &Found) -> Result<Vec<Vec<u8>>> {
        fs::list(self, dir)
    }
}
