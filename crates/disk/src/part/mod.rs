//! Partition tables: which parts a disk has.
//!
//! [`read`] takes GPT, its backup when the first copy is damaged, and the older MBR; [`gpt::write`] writes GPT with a
//! protective MBR. Sectors are of 512 bytes, as every hypervisor's and cloud's are.

pub mod gpt;
mod guid;
mod mbr;

pub use guid::{Guid, NoGuid};

use crate::error::{DiskError, Result};
use crate::io::{ReadAt, Window};

/// Bytes of a sector.
pub const SECTOR: u64 = 512;
/// Partitions begin at multiples of this: 1 MiB.
pub const ALIGN: u64 = 1 << 20;

/// What a partition is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// GPT's type.
    Gpt(Guid),
    /// MBR's type.
    Mbr(u8),
}

/// Types of partitions, as the Discoverable Partitions Specification and GRUB name them.
pub mod kind {
    use super::Guid;

    const fn guid(high: u64, low: u64) -> Guid {
        Guid((((high as u128) << 64) | low as u128).to_be_bytes())
    }

    /// Where GRUB lies for a BIOS.
    pub const BIOS_BOOT: Guid = guid(0x2168_6148_6449_6e6f, 0x744e_6565_6445_4649);
    /// Where UEFI looks for a boot loader.
    pub const ESP: Guid = guid(0xc12a_7328_f81f_11d2, 0xba4b_00a0_c93e_c93b);
    /// The root file system on x86-64.
    pub const ROOT_X86_64: Guid = guid(0x4f68_bce3_e8cd_4db1, 0x96e7_fbca_f984_b709);
    /// The root file system on arm64.
    pub const ROOT_ARM64: Guid = guid(0xb921_b045_1df0_41c3, 0xaf44_4c6f_280d_3fae);
    /// Any file system of Linux.
    pub const LINUX: Guid = guid(0x0fc6_3daf_8483_4772, 0x8e79_3d69_d847_7de4);
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number, from 1: sda3 is 3.
    pub number: u32,
    /// What it is for.
    pub kind: Kind,
    /// Its own identifier; `None` in an MBR.
    pub id: Option<Guid>,
    /// Its name; empty in an MBR.
    pub name: String,
    /// Attribute bits of GPT; bit 0 says that the platform needs it.
    pub attributes: u64,
    /// Its first byte.
    pub start: u64,
    /// Its bytes.
    pub len: u64,
}

impl Partition {
    /// The part of `disk` that is this partition.
    pub fn window<T>(&self, disk: T) -> Window<T> {
        Window::new(disk, self.start, self.len)
    }
}

/// Which kind of table there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// With the disk's identifier.
    Gpt(Guid),
    /// With the disk's signature.
    Mbr(u32),
}

/// A partition table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Which kind.
    pub scheme: Scheme,
    /// The partitions that are there, by number.
    pub partitions: Vec<Partition>,
    /// What was wrong with the first copy of the table, when its backup had to be read.
    pub repaired: Option<String>,
}

/// The partition table of `disk`; `None` when it has none.
///
/// # Errors
/// When there is a table whose content is damaged in every copy.
pub fn read(disk: &(impl ReadAt + ?Sized)) -> Result<Option<Table>> {
    let len = disk.len().map_err(|source| DiskError::Read { what: "disk", offset: 0, source })?;
    if len < 2 * SECTOR {
        return Ok(None);
    }
    let mut first = [0; 512];
    bytes(disk, "first sector", &mut first, 0)?;
    let protective = mbr::is_protective(&first);
    if let Some(table) = gpt::read(disk, len, protective)? {
        return Ok(Some(table));
    }
    mbr::read(disk, len, &first)
}

fn bytes(disk: &(impl ReadAt + ?Sized), what: &'static str, buf: &mut [u8], offset: u64) -> Result<()> {
    disk.read_exact_at(buf, offset).map_err(|source| DiskError::Read { what, offset, source })
}

fn u32_le(data: &[u8], at: usize) -> u32 {
    data.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_le(data: &[u8], at: usize) -> u64 {
    data.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// Whether partitions lie in the disk and apart from each other.
fn check(format: &'static str, partitions: &[Partition], room: std::ops::Range<u64>) -> Result<()> {
    let bad = |p: &Partition, why: &str| {
        Err(DiskError::Damaged { format, what: format!("partition {}", p.number), why: why.to_owned() })
    };
    let mut by_place: Vec<&Partition> = partitions.iter().collect();
    by_place.sort_by_key(|p| p.start);
    let mut free = room.start;
    for p in by_place {
        if p.start < free {
            return bad(p, "it lies over the table or another partition");
        }
        match p.start.checked_add(p.len) {
            Some(end) if end <= room.end => free = end,
            _ => return bad(p, "it reaches beyond the end of the disk"),
        }
    }
    Ok(())
}
