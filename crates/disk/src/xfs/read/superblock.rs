//! The superblock: what kind of file system this is, checked before anything else is believed.

use super::damaged;
use crate::error::{DiskError, Result};
use crate::xfs::Features;
use crate::xfs::raw::{FORMAT, be16, be32, be64, is_sealed, magic};

/// Bytes of a superblock that say something.
pub(super) const SUPER_SIZE: usize = 512;

/// Features without which nothing can be read, by bit: all that there are, and whether they are understood here.
const FEATURES: [(u32, &str, bool); 9] = [
    (incompat::FTYPE, "ftype", true),
    (incompat::SPARSE_INODES, "sparse inodes", true),
    (incompat::META_UUID, "meta_uuid", true),
    (incompat::BIGTIME, "bigtime", true),
    (incompat::NEEDS_REPAIR, "a file system that needs repair: run xfs_repair on it", false),
    (incompat::NREXT64, "nrext64", true),
    (incompat::EXCHANGE, "exchange", true),
    (incompat::PARENT, "parent pointers", true),
    (0x100, "metadir", false),
];

/// Features without which nothing can be read.
pub(crate) mod incompat {
    pub const FTYPE: u32 = 0x1;
    pub const SPARSE_INODES: u32 = 0x2;
    pub const META_UUID: u32 = 0x4;
    pub const BIGTIME: u32 = 0x8;
    pub const NEEDS_REPAIR: u32 = 0x10;
    pub const NREXT64: u32 = 0x20;
    pub const EXCHANGE: u32 = 0x40;
    pub const PARENT: u32 = 0x80;
}

/// Features without which nothing can be written.
pub(crate) mod ro_compat {
    pub const FREE_INODES: u32 = 0x1;
    pub const OWNERS: u32 = 0x2;
    pub const REFLINK: u32 = 0x4;
    pub const INODE_COUNTS: u32 = 0x8;
}

/// What version 4 says of itself, and what is behind it in `sb_features2`.
mod old {
    pub const DIRECTORIES: u16 = 0x2000;
    pub const NO_CASE: u16 = 0x4000;
    pub const MORE: u16 = 0x8000;
    pub const FTYPE: u32 = 0x200;
}

/// What a superblock says, as far as reading needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// Its name, without the zeros at its end.
    pub label: Vec<u8>,
    /// What `/etc/fstab` and boot loaders find it by.
    pub uuid: [u8; 16],
    /// The version of the format: 5 has checksums, 4 has none.
    pub version: u8,
    /// Bytes of a block.
    pub block_size: u64,
    /// Blocks of the whole file system.
    pub blocks: u64,
    /// Blocks that are free.
    pub free_blocks: u64,
    pub(crate) ro_compat: u32,
    pub(crate) incompat: u32,
    /// What all metadata says it belongs to.
    pub(crate) meta_uuid: [u8; 16],
    pub(crate) sector: u64,
    pub(crate) inode_size: usize,
    /// Bits of an inode's number in its block, and of a block's number in its group.
    pub(crate) inode_bits: u32,
    pub(crate) group_bits: u32,
    /// Blocks of a group; the last may have fewer.
    pub(crate) group: u64,
    pub(crate) groups: u64,
    pub(crate) root: u64,
    /// The number of the log's first block, and its blocks.
    pub(crate) log: (u64, u64),
    /// Bytes of a directory's block.
    pub(crate) dir_size: u64,
    /// Whether names have types behind them.
    pub(crate) ftype: bool,
    /// Whether it counts what users have, and whether it has a second device.
    quota: bool,
    realtime: bool,
}

impl Superblock {
    /// From its sector, on something that has `len` bytes.
    ///
    /// # Errors
    /// [`DiskError::Damaged`] for what is no superblock or makes no sense, [`DiskError::Unsupported`].
    pub(super) fn parse(b: &[u8], len: u64) -> Result<Superblock> {
        if be32(b, 0) != magic::SUPER {
            return Err(wrong("there is none"));
        }
        let versions = be16(b, 100);
        let version = (versions & 0xF) as u8;
        let new = version == 5;
        if !matches!(version, 4 | 5) {
            return Err(unsupported(format!("version {version} of its format")));
        }
        if new && !is_sealed(b, 224) {
            return Err(wrong("its checksum is wrong"));
        }
        let feature = |at| if new { be32(b, at) } else { 0 };
        let more = if versions & old::MORE != 0 { be32(b, 200) } else { 0 };
        let (block_bits, inode_bits) = (u32::from(b[120]).min(32), u32::from(b[123]).min(32));
        let uuid: [u8; 16] = b[32..48].try_into().unwrap_or_default();
        let meta = feature(216) & incompat::META_UUID != 0;
        let found = Superblock {
            label: b[108..120].split(|b| *b == 0).next().unwrap_or_default().to_vec(),
            uuid,
            version,
            block_size: u64::from(be32(b, 4)),
            blocks: be64(b, 8),
            free_blocks: be64(b, 144),
            ro_compat: feature(212),
            incompat: feature(216),
            meta_uuid: if meta { b[248..264].try_into().unwrap_or_default() } else { uuid },
            sector: u64::from(be16(b, 102)),
            inode_size: usize::from(be16(b, 104)),
            inode_bits,
            group_bits: u32::from(b[124]).min(32),
            group: u64::from(be32(b, 84)),
            groups: u64::from(be32(b, 88)),
            root: be64(b, 56),
            log: (be64(b, 48), u64::from(be32(b, 96))),
            dir_size: (1 << block_bits) << u32::from(b[192]).min(16),
            ftype: feature(216) & incompat::FTYPE != 0 || (!new && more & old::FTYPE != 0),
            quota: be16(b, 176) != 0,
            realtime: be64(b, 16) != 0,
        };
        found.known(versions)?;
        found.check(block_bits, len)?;
        if b[126] != 0 {
            return Err(wrong("it was never finished"));
        }
        Ok(found)
    }

    /// Whether there are checksums, and owners of blocks.
    pub(crate) fn sums(&self) -> bool {
        self.version == 5
    }

    /// What it has of that which not every system knows.
    pub fn features(&self) -> Features {
        Features {
            bigtime: self.incompat & incompat::BIGTIME != 0,
            inode_counts: self.ro_compat & ro_compat::INODE_COUNTS != 0,
            reflink: self.ro_compat & ro_compat::REFLINK != 0,
            sparse_inodes: self.incompat & incompat::SPARSE_INODES != 0,
        }
    }

    /// What this file system has and one that Kiln writes in its place has not.
    pub fn features_lost(&self) -> Vec<&'static str> {
        let all = [
            (self.version == 4, "version 4 of the format (it becomes 5)"),
            (self.ro_compat & ro_compat::OWNERS != 0, "rmapbt"),
            (self.incompat & incompat::NREXT64 != 0, "nrext64"),
            (self.incompat & incompat::EXCHANGE != 0, "exchange"),
            (self.incompat & incompat::PARENT != 0, "parent pointers"),
            (self.quota, "quota"),
            (self.realtime, "a realtime device"),
        ];
        all.into_iter().filter(|(has, _)| *has).map(|(_, name)| name).collect()
    }

    fn known(&self, versions: u16) -> Result<()> {
        let mut unknown: Vec<String> = Vec::new();
        for bit in (0..32).map(|n| 1u32 << n).filter(|bit| self.incompat & bit != 0) {
            match FEATURES.iter().find(|(feature, ..)| *feature == bit) {
                Some((_, _, true)) => {}
                Some((_, name, false)) => unknown.push((*name).to_owned()),
                None => unknown.push(format!("the unknown feature {bit:#x}")),
            }
        }
        let rules = [
            (self.version == 4 && versions & old::DIRECTORIES == 0, "directories of the first version"),
            (versions & old::NO_CASE != 0, "names without case"),
            (self.log.0 == 0, "a log on another disk"),
        ];
        unknown.extend(rules.iter().filter(|(has, _)| *has).map(|(_, what)| (*what).to_owned()));
        if unknown.is_empty() { Ok(()) } else { Err(unsupported(unknown.join(", "))) }
    }

    fn check(&self, block_bits: u32, len: u64) -> Result<()> {
        let block = self.block_size;
        let inode = self.inode_size as u64;
        let least_inode = if self.version == 5 { 512 } else { 256 };
        let shaped = (9..=16).contains(&block_bits) && block == 1 << block_bits;
        let sector = self.sector.is_power_of_two() && (512..=block.min(32_768)).contains(&self.sector);
        let inodes = inode.is_power_of_two() && (least_inode..=block.min(2048)).contains(&inode);
        let group = (64..=1 << 31).contains(&self.group) && self.groups > 0;
        let least = self.groups.saturating_sub(1) * self.group;
        let rules = [
            (shaped, "its block size"),
            (sector, "its sector size"),
            (inodes && inode << self.inode_bits == block, "its inode size"),
            (self.dir_size <= 65_536, "the size of its directories' blocks"),
            (group && 64 - (self.group - 1).leading_zeros() == self.group_bits, "the size of its groups"),
            (self.blocks > least && self.blocks <= least + self.group, "its size"),
        ];
        if let Some((_, what)) = rules.iter().find(|(right, _)| !right) {
            return Err(wrong(&format!("{what} makes no sense")));
        }
        if self.blocks > len >> block_bits {
            let why = format!("it has {} blocks of {block} bytes, and {len} bytes are there", self.blocks);
            return Err(damaged("its size", why));
        }
        if self.log.0 != 0 && (self.log.1 == 0 || self.place(self.log.0, self.log.1).is_none()) {
            return Err(wrong("the place of its log makes no sense"));
        }
        Ok(())
    }

    /// Where `len` blocks that start at a number are on disk; `None` for what no file can have.
    pub(crate) fn place(&self, number: u64, len: u64) -> Option<u64> {
        let (group, block) = (number >> self.group_bits, number & ((1 << self.group_bits) - 1));
        if group >= self.groups {
            return None;
        }
        let has = if group + 1 == self.groups { self.blocks - group * self.group } else { self.group };
        let inside = block.checked_add(len).is_some_and(|end| end <= has);
        // The first four sectors of a group are its own.
        (inside && block * self.block_size >= 4 * self.sector).then_some(group * self.group + block)
    }

    /// The block that has an inode, and which byte of it that starts at; `None` for what is no inode's number.
    pub(crate) fn inode_place(&self, ino: u64) -> Option<(u64, usize)> {
        let within = (ino & ((1 << self.inode_bits) - 1)) as usize;
        Some((self.place(ino >> self.inode_bits, 1)?, within * self.inode_size))
    }
}

fn wrong(why: &str) -> DiskError {
    damaged("its superblock", why.to_owned())
}

fn unsupported(what: String) -> DiskError {
    DiskError::Unsupported { format: FORMAT, what }
}
