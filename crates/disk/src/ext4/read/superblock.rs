//! The superblock: what kind of file system this is, checked before anything else is believed.

use super::damaged;
use crate::crc::crc32c;
use crate::error::{DiskError, Result};
use crate::ext4::raw::{FORMAT, SUPER_MAGIC, SUPER_SIZE, compat, get_split, get16, get32, incompat, ro_compat};

/// Features without which nothing can be read, by bit: all that there are, and whether they are understood here.
const FEATURES: [(u32, &str, bool); 17] = [
    (0x1, "compression", false),
    (incompat::FILETYPE, "filetype", true),
    (incompat::RECOVER, "needs_recovery", true),
    (0x8, "journal_dev", false),
    (incompat::META_BG, "meta_bg", true),
    (incompat::EXTENTS, "extent", true),
    (incompat::BIT64, "64bit", true),
    (incompat::MMP, "mmp", true),
    (incompat::FLEX_BG, "flex_bg", true),
    (incompat::EA_INODE, "ea_inode", true),
    (0x1000, "dirdata", false),
    (incompat::CSUM_SEED, "metadata_csum_seed", true),
    (incompat::LARGE_DIR, "large_dir", true),
    (incompat::INLINE_DATA, "inline_data", true),
    (0x1_0000, "encrypt", false),
    (0x2_0000, "casefold", false),
    (0x800, "fname_encoding", false),
];

/// What a superblock says, as far as reading needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// Its name, without the zeros at its end.
    pub label: Vec<u8>,
    /// What `/etc/fstab` and boot loaders find it by.
    pub uuid: [u8; 16],
    /// Bytes of a block.
    pub block_size: u64,
    /// Blocks of the whole file system.
    pub blocks: u64,
    /// Blocks that are free.
    pub free_blocks: u64,
    /// Blocks that only root can use.
    pub reserved_blocks: u64,
    /// Inodes there are.
    pub inodes: u32,
    /// Whether the journal has changes that are not in their places yet.
    pub needs_recovery: bool,
    pub(crate) compat: u32,
    pub(crate) incompat: u32,
    pub(crate) ro_compat: u32,
    pub(crate) first_block: u64,
    pub(crate) blocks_per_group: u64,
    pub(crate) inodes_per_group: u32,
    pub(crate) inode_size: usize,
    pub(crate) desc_size: u64,
    pub(crate) first_meta_bg: u64,
    pub(crate) first_inode: u32,
    pub(crate) journal: u32,
    /// What all checksums start with.
    pub(crate) seed: u32,
}

impl Superblock {
    /// From its bytes, on something that has `len` bytes.
    ///
    /// # Errors
    /// [`DiskError::Damaged`] for what is no superblock or makes no sense, [`DiskError::Unsupported`].
    pub(crate) fn parse(b: &[u8], len: u64) -> Result<Superblock> {
        let bad = |why: String| Err(damaged("its superblock", why));
        if b.len() < SUPER_SIZE || get16(b, 0x38) != SUPER_MAGIC {
            return bad("there is none".to_owned());
        }
        let old = get32(b, 0x4C) == 0;
        let feature = |at| if old { 0 } else { get32(b, at) };
        let mut found = Superblock {
            label: b[0x78..0x88].split(|b| *b == 0).next().unwrap_or_default().to_vec(),
            uuid: b[0x68..0x78].try_into().unwrap_or_default(),
            block_size: 1024 << get32(b, 0x18).min(32),
            blocks: u64::from(get32(b, 4)),
            free_blocks: u64::from(get32(b, 12)),
            reserved_blocks: u64::from(get32(b, 8)),
            inodes: get32(b, 0),
            needs_recovery: feature(0x60) & incompat::RECOVER != 0,
            compat: feature(0x5C),
            incompat: feature(0x60),
            ro_compat: feature(0x64),
            first_block: u64::from(get32(b, 0x14)),
            blocks_per_group: u64::from(get32(b, 0x20)),
            inodes_per_group: get32(b, 0x28),
            inode_size: if old { 128 } else { usize::from(get16(b, 0x58)) },
            desc_size: 32,
            first_meta_bg: u64::from(get32(b, 0x104)),
            first_inode: if old { 11 } else { get32(b, 0x54) },
            journal: get32(b, 0xE0),
            seed: crc32c(!0, &b[0x68..0x78]),
        };
        if found.has(ro_compat::METADATA_CSUM) && get32(b, 0x3FC) != crc32c(!0, &b[..0x3FC]) {
            return bad("its checksum is wrong".to_owned());
        }
        found.known()?;
        if found.incompat & incompat::CSUM_SEED != 0 {
            found.seed = get32(b, 0x270);
        }
        if found.incompat & incompat::BIT64 != 0 {
            found.blocks = get_split(b, 4, 0x150);
            found.free_blocks = get_split(b, 12, 0x158);
            found.reserved_blocks = get_split(b, 8, 0x154);
            found.desc_size = u64::from(get16(b, 0xFE));
        }
        found.check(len)?;
        Ok(found)
    }

    /// Whether a feature is there without which nothing can be written.
    pub(crate) fn has(&self, ro_compat: u32) -> bool {
        self.ro_compat & ro_compat != 0
    }

    /// Per cent of the blocks that only root can use, as [`Options`](super::super::Options) take it.
    pub fn reserved_percent(&self) -> u8 {
        let percent = u128::from(self.reserved_blocks) * 100 / u128::from(self.blocks.max(1));
        u8::try_from(percent.min(50)).unwrap_or(5)
    }

    /// The names of features that this file system has and one that Kiln writes has not.
    pub fn features_lost(&self) -> Vec<&'static str> {
        const COMPAT: [(u32, &str); 3] = [(0x400, "fast_commit"), (0x800, "stable_inodes"), (0x1000, "orphan_file")];
        const RO_COMPAT: [(u32, &str); 3] = [(0x100, "quota"), (0x2000, "project"), (0x8000, "verity")];
        const INCOMPAT: [(u32, &str); 2] = [(incompat::MMP, "mmp"), (incompat::CSUM_SEED, "metadata_csum_seed")];
        let sets = [(self.compat, &COMPAT[..]), (self.ro_compat, &RO_COMPAT), (self.incompat, &INCOMPAT)];
        let lost = sets.iter().flat_map(|(has, names)| names.iter().filter(move |(bit, _)| has & bit != 0));
        lost.map(|(_, name)| *name).collect()
    }

    /// Whether checksums are kept.
    pub fn sums(&self) -> bool {
        self.has(ro_compat::METADATA_CSUM)
    }

    fn known(&self) -> Result<()> {
        let mut unknown: Vec<String> = Vec::new();
        for bit in (0..32).map(|n| 1u32 << n).filter(|bit| self.incompat & bit != 0) {
            match FEATURES.iter().find(|(feature, ..)| *feature == bit) {
                Some((_, _, true)) => {}
                Some((_, name, false)) => unknown.push((*name).to_owned()),
                None => unknown.push(format!("the unknown feature {bit:#x}")),
            }
        }
        if self.has(ro_compat::BIGALLOC) {
            unknown.push("bigalloc".to_owned());
        }
        if self.needs_recovery && (self.compat & compat::HAS_JOURNAL == 0 || self.journal == 0) {
            unknown.push("a journal on another disk".to_owned());
        }
        match unknown.is_empty() {
            true => Ok(()),
            false => Err(DiskError::Unsupported { format: FORMAT, what: unknown.join(", ") }),
        }
    }

    fn check(&self, len: u64) -> Result<()> {
        let bits = self.block_size * 8;
        let block_size = self.block_size as usize;
        let (first_block, desc) = (u64::from(self.block_size == 1024), self.desc_size);
        let rules = [
            (self.block_size <= 65_536, "its block size"),
            (self.first_block == first_block && self.blocks > first_block, "its first block"),
            ((1..=bits).contains(&self.blocks_per_group), "the size of its groups"),
            ((1..=bits).contains(&u64::from(self.inodes_per_group)), "the inodes of its groups"),
            (self.inode_size.is_power_of_two() && (128..=block_size).contains(&self.inode_size), "its inode size"),
            (desc.is_power_of_two() && (32..=self.block_size).contains(&desc), "the size of its descriptors"),
            (self.incompat & incompat::BIT64 == 0 || desc >= 64, "the size of its descriptors"),
            (self.blocks < 1 << 48, "its size"),
            (self.inodes >= self.first_inode && self.first_inode >= 11, "its number of inodes"),
        ];
        if let Some((_, what)) = rules.iter().find(|(right, _)| !right) {
            return Err(damaged("its superblock", format!("{what} makes no sense")));
        }
        if u64::from(self.inodes) > self.groups() * u64::from(self.inodes_per_group) {
            return Err(damaged("its superblock", "it has more inodes than its groups".to_owned()));
        }
        let size = self.blocks * self.block_size;
        if size > len {
            return Err(damaged("its size", format!("it has {size} bytes, of which {len} are there")));
        }
        Ok(())
    }

    pub(crate) fn groups(&self) -> u64 {
        (self.blocks - self.first_block).div_ceil(self.blocks_per_group)
    }

    /// The byte at which a group's descriptor is.
    pub(crate) fn desc_at(&self, group: u64) -> u64 {
        let per_block = self.block_size / self.desc_size;
        let meta = group / per_block;
        if self.incompat & incompat::META_BG == 0 || meta < self.first_meta_bg {
            return (self.first_block + 1) * self.block_size + group * self.desc_size;
        }
        let first = meta * per_block;
        let sparse = self.has(ro_compat::SPARSE_SUPER);
        let behind = u64::from(!sparse || crate::ext4::write::has_super(first));
        let block = self.first_block + first * self.blocks_per_group + behind;
        block * self.block_size + group % per_block * self.desc_size
    }
}
