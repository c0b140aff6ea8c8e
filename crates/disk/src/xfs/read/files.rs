//! What an xfs tells of its inodes, and those that are found.

use kiln_oci::entry::Xattrs;

use super::inode::Inode;
use super::{Found, Image, Walk};
use crate::error::Result;
use crate::fs::{self, About, Inodes, Names};
use crate::io::ReadAt;
use crate::xfs::raw::FORMAT;

impl<R: ReadAt> Inodes for Image<R> {
    const FORMAT: &'static str = FORMAT;
    type Inode = Inode;

    fn root(&self) -> u64 {
        self.superblock.root
    }

    fn bytes(&self) -> u64 {
        self.superblock.blocks * self.superblock.block_size
    }

    fn inode(&self, ino: u64) -> Result<Inode> {
        self.inode_of(ino)
    }

    fn about(&self, inode: &Inode) -> Result<About> {
        Ok(About {
            mode: inode.mode,
            links: inode.links,
            uid: inode.uid,
            gid: inode.gid,
            mtime: inode.mtime,
            size: inode.size,
            device: inode.device(),
            flags: inode.marks(),
        })
    }

    fn names(&self, dir: &Inode) -> Result<Names> {
        self.names_in(dir)
    }

    fn target(&self, link: &Inode) -> Result<Vec<u8>> {
        self.target_of(link)
    }

    fn xattrs(&self, inode: &Inode) -> Result<Xattrs> {
        self.xattrs_of(inode)
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
