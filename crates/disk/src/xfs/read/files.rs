//! What an xfs tells of its inodes and files.

use kiln_oci::entry::Xattrs;
use kiln_oci::name::escape;

use super::inode::{Inode, REALTIME};
use super::{Body, Image};
use crate::error::{DiskError, Result};
use crate::fs::{About, Files, Inodes, Names};
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

impl<R: ReadAt> Files for Image<R> {
    const INODE: &'static str = "xfs inode";
    type Body<'a>
        = Body<'a, R>
    where
        R: 'a;

    fn body_of(&self, path: &[u8], inode: Inode) -> Result<Body<'_, R>> {
        if inode.flags & REALTIME != 0 {
            let what = format!("a realtime device, on which `/{}` is", escape(path));
            return Err(DiskError::Unsupported { format: FORMAT, what });
        }
        Ok(Body::new(self, inode))
    }
}
