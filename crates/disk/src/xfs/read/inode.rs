//! An inode as it was read.

use kiln_oci::Mtime;

use super::superblock::Superblock;
use crate::ext4::InodeFlags;
use crate::ext4::raw::mode;
use crate::xfs::MARKS;
use crate::xfs::inode::Format;
use crate::xfs::raw::{be16, be32, be64, is_sealed, magic};

/// Its data is on another device.
pub(super) const REALTIME: u16 = 1;
/// Times have 64 bits; extents are counted with 64 bits.
const BIGTIME: u64 = 1 << 3;
const NREXT64: u64 = 1 << 4;

/// One of the two things an inode has: its data, or its attributes.
#[derive(Debug, Clone)]
pub struct Fork {
    pub(super) format: Format,
    /// What is in the inode.
    pub(super) bytes: Vec<u8>,
    /// How many extents are there, where those are.
    pub(super) extents: u64,
}

/// An inode as it was read.
#[derive(Debug, Clone)]
pub struct Inode {
    pub(super) ino: u64,
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) links: u64,
    pub(super) size: u64,
    pub(super) mtime: Mtime,
    pub(super) flags: u16,
    pub(super) data: Fork,
    /// `None` when it has no attributes.
    pub(super) attrs: Option<Fork>,
}

impl Inode {
    /// From its bytes; the error is what is wrong with them.
    pub(super) fn parse(ino: u64, b: &[u8], superblock: &Superblock) -> Result<Inode, &'static str> {
        if be16(b, 0) != magic::INODE {
            return Err("it is none");
        }
        let new = superblock.sums();
        match b[4] {
            3 if new => {}
            1 | 2 if !new => {}
            _ => return Err("its version makes no sense"),
        }
        if new && !is_sealed(b, 100) {
            return Err("its checksum is wrong");
        }
        if new && (be64(b, 152) != ino || b[160..176] != superblock.meta_uuid) {
            return Err("it is another's");
        }
        let mode = be16(b, 2);
        if mode == 0 {
            return Err("it is not used");
        }
        let size = be64(b, 56);
        if size > i64::MAX as u64 {
            return Err("its size makes no sense");
        }
        let more = if new { be64(b, 120) } else { 0 };
        let (data, attrs) = forks(b, if new { 176 } else { 100 }, more & NREXT64 != 0)?;
        Ok(Inode {
            ino,
            mode,
            uid: be32(b, 8),
            gid: be32(b, 12),
            links: if b[4] == 1 { u64::from(be16(b, 6)) } else { u64::from(be32(b, 16)) },
            size,
            mtime: time(be64(b, 40), more & BIGTIME != 0),
            flags: be16(b, 90),
            data,
            attrs,
        })
    }

    /// The file type.
    pub(super) fn kind(&self) -> u16 {
        self.mode & mode::TYPE
    }

    /// The numbers of a device.
    pub(super) fn device(&self) -> (u32, u32) {
        match (self.kind(), self.data.format) {
            (mode::CHAR | mode::BLOCK, Format::Device) => {
                let device = be32(&self.data.bytes, 0);
                (device >> 18 & 0x1FF, device & 0x3_FFFF)
            }
            _ => (0, 0),
        }
    }

    /// Its marks.
    pub(super) fn marks(&self) -> InodeFlags {
        let has = MARKS.iter().filter(|(_, bit)| u32::from(self.flags) & bit != 0);
        has.fold(InodeFlags::default(), |all, (flag, _)| all.with(*flag))
    }

    /// What is in the inode itself as the content of it; the error is why not.
    pub(super) fn local(&self) -> Result<&[u8], &'static str> {
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        self.data.bytes.get(..size).ok_or("it ends before its size")
    }
}

/// The data and the attributes of an inode whose fields end at `from`.
fn forks(b: &[u8], from: usize, wide: bool) -> Result<(Fork, Option<Fork>), &'static str> {
    let counts = if wide { (be64(b, 24), be32(b, 76)) } else { (u64::from(be32(b, 76)), u32::from(be16(b, 80))) };
    let area = &b[from..];
    let split = usize::from(b[82]) * 8;
    if split > area.len() {
        return Err("its attributes are behind its end");
    }
    let (data, attrs) = if split == 0 { (area, None) } else { (&area[..split], Some(&area[split..])) };
    let data = fork(b[5], data, counts.0)?;
    let attrs = attrs.map(|bytes| fork(b[83], bytes, u64::from(counts.1))).transpose()?;
    Ok((data, attrs))
}

fn fork(format: u8, bytes: &[u8], extents: u64) -> Result<Fork, &'static str> {
    let format = match format {
        0 => Format::Device,
        1 => Format::Local,
        2 => Format::Extents,
        3 => Format::Tree,
        _ => return Err("how it has its data makes no sense"),
    };
    if format == Format::Extents && extents > (bytes.len() / 16) as u64 {
        return Err("it has more extents than fit");
    }
    Ok(Fork { format, bytes: bytes.to_vec(), extents })
}

/// A time: nanoseconds since December 1901, or seconds since 1970 and nanoseconds.
fn time(stored: u64, big: bool) -> Mtime {
    const SECOND: u64 = 1_000_000_000;
    if big {
        let nanos = u32::try_from(stored % SECOND).unwrap_or(0);
        return Mtime { secs: (stored / SECOND) as i64 - (1 << 31), nanos };
    }
    let (secs, nanos) = ((stored >> 32) as u32 as i32, (stored & 0xFFFF_FFFF) as u32);
    Mtime { secs: i64::from(secs), nanos: nanos.min(999_999_999) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_two_forms() {
        let at = |secs, nanos| Mtime { secs, nanos };
        assert_eq!(time(0, true), at(-(1 << 31), 0));
        assert_eq!(time(((1 << 31) + 5) * 1_000_000_000 + 7, true), at(5, 7));
        assert_eq!(time(5 << 32 | 7, false), at(5, 7));
        assert_eq!(time(0xFFFF_FFFF << 32 | 0xFFFF_FFFF, false), at(-1, 999_999_999));
    }
}
