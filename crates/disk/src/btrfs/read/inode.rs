//! An inode as it was read.

use kiln_oci::Mtime;

use super::Node;
use crate::btrfs::MARKS;
use crate::btrfs::raw::get64;
use crate::ext4::InodeFlags;
use crate::ext4::raw::{get32, mode};

/// Bytes of an inode's item.
const SIZE: usize = 160;
/// The flag of a file whose data has no checksums.
const NO_SUMS: u64 = 1;
/// The largest file.
const MAX_SIZE: u64 = i64::MAX as u64;

/// An inode as it was read.
#[derive(Debug, Clone)]
pub struct Inode {
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    pub(crate) mtime: Mtime,
    pub(crate) links: u32,
    /// Which one it is.
    pub(crate) node: Node,
    flags: u64,
    device: u64,
}

impl Inode {
    /// From its item; the error is what is wrong with it.
    pub(crate) fn parse(node: Node, b: &[u8]) -> Result<Inode, &'static str> {
        if b.len() < SIZE {
            return Err("its item is cut off");
        }
        let found = Inode {
            mode: (get32(b, 52) & 0xFFFF) as u16,
            uid: get32(b, 44),
            gid: get32(b, 48),
            size: get64(b, 16),
            mtime: Mtime { secs: get64(b, 136) as i64, nanos: get32(b, 144).min(999_999_999) },
            links: get32(b, 40),
            node,
            flags: get64(b, 64),
            device: get64(b, 56),
        };
        if found.size > MAX_SIZE { Err("its size makes no sense") } else { Ok(found) }
    }

    /// A directory in which nothing is, where a subvolume is not shown.
    pub(crate) fn empty(node: Node) -> Inode {
        let (mtime, mode) = (Mtime::secs(0), mode::DIR | 0o755);
        Inode { mode, uid: 0, gid: 0, size: 0, mtime, links: 1, node, flags: 0, device: 0 }
    }

    /// Whether its data has checksums.
    pub(crate) fn sums(&self) -> bool {
        self.flags & NO_SUMS == 0
    }

    /// Its marks; what only tells how it is stored is left out.
    pub(crate) fn marks(&self) -> InodeFlags {
        let there = MARKS.iter().filter(|(_, bit)| self.flags & u64::from(*bit) != 0);
        there.fold(InodeFlags::default(), |marks, (mark, _)| marks.with(*mark))
    }

    /// The numbers of a device, as Linux has them inside.
    pub(crate) fn device(&self) -> (u32, u32) {
        (((self.device >> 20) & 0xFFF) as u32, (self.device & 0xF_FFFF) as u32)
    }
}
