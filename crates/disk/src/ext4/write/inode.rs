//! An inode until it is written.

use kiln_oci::{Meta, Mtime};

use super::geometry::INODE;
use super::xattr::IN_INODE;
use crate::crc::crc32c;
use crate::ext4::raw::{halves, halves32, put16, put32};

/// The most names a file can have; more directories than this in one count as one.
pub(crate) const MAX_LINKS: u32 = 65_000;
/// Bytes beyond the old 128 that have a meaning.
const EXTRA: u16 = 32;

/// An inode until it is written.
#[derive(Debug, Clone)]
pub(crate) struct Inode {
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Mtime,
    pub size: u64,
    pub links: u32,
    pub flags: u32,
    /// Blocks of 4096 bytes it takes with all that belongs to it.
    pub blocks: u64,
    /// `i_block`.
    pub map: [u8; 60],
    pub xattr_block: u64,
    /// What is stored behind it.
    pub xattrs: Vec<u8>,
}

impl Inode {
    /// Targets of links shorter than this are in the inode.
    pub const FAST_LINK: usize = 60;

    pub fn new(kind: u16, meta: &Meta) -> Inode {
        Inode {
            mode: kind | (meta.mode & 0o7777) as u16,
            uid: meta.uid,
            gid: meta.gid,
            mtime: meta.mtime,
            size: 0,
            links: 1,
            flags: 0,
            blocks: 0,
            map: [0; 60],
            xattr_block: 0,
            xattrs: Vec::new(),
        }
    }

    /// What the checksums of an inode and of its blocks start with.
    pub fn seed(ino: u32, seed: u32) -> u32 {
        crc32c(crc32c(seed, &ino.to_le_bytes()), &[0; 4])
    }

    /// As it is on disk. `made` is when everything was made or changed last.
    pub fn bytes(&self, ino: u32, seed: u32, made: u32) -> [u8; INODE] {
        let mut b = [0; INODE];
        let ((uid, uid_hi), (gid, gid_hi)) = (halves32(self.uid), halves32(self.gid));
        let ((size, size_hi), (xattr, xattr_hi)) = (halves(self.size), halves(self.xattr_block));
        let (sectors, sectors_hi) = halves(self.blocks * 8);
        let (mtime, mtime_extra) = time(self.mtime);
        put16(&mut b, 0, self.mode);
        put16(&mut b, 2, uid);
        put32(&mut b, 4, size);
        put32(&mut b, 8, mtime);
        put32(&mut b, 12, made);
        put32(&mut b, 16, mtime);
        put16(&mut b, 24, gid);
        put16(&mut b, 26, self.links as u16);
        put32(&mut b, 28, sectors);
        put32(&mut b, 32, self.flags);
        b[40..100].copy_from_slice(&self.map);
        put32(&mut b, 104, xattr);
        put32(&mut b, 108, size_hi);
        put16(&mut b, 116, sectors_hi as u16);
        put16(&mut b, 118, xattr_hi as u16);
        put16(&mut b, 120, uid_hi);
        put16(&mut b, 122, gid_hi);
        put16(&mut b, 128, EXTRA);
        let made_extra = unsigned_extra(made);
        put32(&mut b, 132, made_extra);
        put32(&mut b, 136, mtime_extra);
        put32(&mut b, 140, mtime_extra);
        put32(&mut b, 144, made);
        put32(&mut b, 148, made_extra);
        b[IN_INODE..IN_INODE + self.xattrs.len()].copy_from_slice(&self.xattrs);
        let (sum, sum_hi) = halves32(crc32c(Inode::seed(ino, seed), &b));
        put16(&mut b, 124, sum);
        put16(&mut b, 130, sum_hi);
        b
    }
}

/// The bits that continue a time which reads as negative from 2038 on.
fn unsigned_extra(secs: u32) -> u32 {
    u32::from(secs > i32::MAX as u32)
}

/// A time's 32 bits and what continues them: two bits of the seconds, thirty of nanoseconds. Times that cannot be stored
/// become the nearest that can.
fn time(time: Mtime) -> (u32, u32) {
    let min = i64::from(i32::MIN);
    let max = i64::from(i32::MAX) + (3 << 32);
    let secs = time.secs.clamp(min, max);
    let low = secs as i32;
    let epoch = ((secs - i64::from(low)) >> 32) & 3;
    (low as u32, (epoch as u32) | (time.nanos.min(999_999_999) << 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_reach_to_2446() {
        assert_eq!(time(Mtime { secs: 1, nanos: 5 }), (1, 20));
        assert_eq!(time(Mtime::secs(-1)), (u32::MAX, 0));
        assert_eq!(time(Mtime::secs(1 << 31)), (1 << 31, 1));
        assert_eq!(time(Mtime::secs(i64::MAX)), (i32::MAX as u32, 3));
        assert_eq!(time(Mtime::secs(i64::MIN)), (1 << 31, 0));
    }
}
