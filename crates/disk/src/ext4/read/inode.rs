//! An inode as it was read.

use kiln_oci::Mtime;

use crate::crc::crc32c;
use crate::ext4::raw::{get_split, get16, get32, iflags, mode, ro_compat};

use super::superblock::Superblock;

/// An inode as it was read.
#[derive(Debug, Clone)]
pub struct Inode {
    pub ino: u32,
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub mtime: Mtime,
    pub links: u16,
    pub flags: u32,
    pub xattr_block: u64,
    /// `i_block`.
    pub map: [u8; 60],
    /// What the checksums of its blocks start with.
    pub seed: u32,
    /// What is behind the fields, for attributes.
    pub rest: Vec<u8>,
}

impl Inode {
    /// From its bytes; the error is what is wrong with them.
    pub fn parse(ino: u32, b: &[u8], superblock: &Superblock) -> Result<Inode, &'static str> {
        let extra = if b.len() > 128 { usize::from(get16(b, 128)) } else { 0 };
        if 128 + extra > b.len() || !extra.is_multiple_of(4) {
            return Err("the size of its fields makes no sense");
        }
        let seed = crc32c(crc32c(superblock.seed, &ino.to_le_bytes()), &b[100..104]);
        if superblock.sums() && !sum_is_right(b, seed, extra) {
            return Err("its checksum is wrong");
        }
        let fields = &b[..128 + extra];
        let newer = if extra >= 12 { get32(fields, 136) } else { 0 };
        let low = i64::from(get32(b, 16) as i32);
        let huge = superblock.has(ro_compat::HUGE_FILE);
        let xattr_hi = if huge || superblock.desc_size >= 64 { u64::from(get16(b, 118)) << 32 } else { 0 };
        Ok(Inode {
            ino,
            mode: get16(b, 0),
            uid: u32::from(get16(b, 2)) | u32::from(get16(b, 120)) << 16,
            gid: u32::from(get16(b, 24)) | u32::from(get16(b, 122)) << 16,
            size: get_split(b, 4, 108),
            mtime: Mtime { secs: low + (i64::from(newer & 3) << 32), nanos: (newer >> 2).min(999_999_999) },
            links: get16(b, 26),
            flags: get32(b, 32),
            xattr_block: u64::from(get32(b, 104)) | xattr_hi,
            map: b[40..100].try_into().unwrap_or([0; 60]),
            seed,
            rest: b[128 + extra..].to_vec(),
        })
    }

    /// The file type.
    pub fn kind(&self) -> u16 {
        self.mode & mode::TYPE
    }

    pub fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Whether a link's target is in the inode.
    pub fn is_fast_link(&self) -> bool {
        self.size < 60 && !self.has(iflags::EXTENTS) && !self.has(iflags::INLINE_DATA)
    }

    /// The numbers of a device.
    pub fn device(&self) -> (u32, u32) {
        match (get32(&self.map, 0), get32(&self.map, 4)) {
            (0, new) => ((new >> 8) & 0xFFF, (new & 0xFF) | ((new >> 12) & 0xF_FF00)),
            (old, _) => ((old >> 8) & 0xFF, old & 0xFF),
        }
    }
}

fn sum_is_right(b: &[u8], seed: u32, extra: usize) -> bool {
    if b.iter().all(|b| *b == 0) {
        return true;
    }
    let mut blank = b.to_vec();
    blank[124..126].fill(0);
    let has_hi = extra >= 4;
    if has_hi {
        blank[130..132].fill(0);
    }
    let sum = crc32c(seed, &blank);
    let stored = u32::from(get16(b, 124)) | if has_hi { u32::from(get16(b, 130)) << 16 } else { 0 };
    stored == if has_hi { sum } else { sum & 0xFFFF }
}
