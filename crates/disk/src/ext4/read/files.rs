//! What an ext4 tells of its inodes and files.

use kiln_oci::entry::Xattrs;

use super::inode::Inode;
use super::{Body, Image, damaged};
use crate::error::Result;
use crate::ext4::raw::{FORMAT, ROOT_INO, mode};
use crate::ext4::write::InodeFlags;
use crate::fs::{About, Files, Inodes, Names};
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

impl<R: ReadAt> Files for Image<R> {
    const INODE: &'static str = "ext4 inode";
    type Body<'a>
        = Body<'a, R>
    where
        R: 'a;

    fn body_of(&self, _: &[u8], inode: Inode) -> Result<Body<'_, R>> {
        self.body(inode)
    }
}
