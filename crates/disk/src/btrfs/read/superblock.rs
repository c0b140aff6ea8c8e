//! The superblock: which file system this is, checked before anything else is believed. Of its copies, the newest one
//! that is whole counts.

use super::damaged;
use super::sum::Sum;
use crate::btrfs::raw::{FORMAT, SUPERS, get64};
use crate::error::{DiskError, Result};
use crate::ext4::raw::{get16, get32};
use crate::io::ReadAt;

/// Bytes of a superblock.
const SIZE: usize = 4096;
const MAGIC: &[u8] = b"_BHRfS_M";
/// Where the list of the system's chunks is, and how long it can be.
const LIST: usize = 0x32B;
const LIST_MAX: usize = 2048;

/// Headers have another identifier than the superblock shows.
const METADATA_UUID: u64 = 1 << 10;

/// Files whose bytes a machine proves while they are read.
const VERITY: u64 = 1 << 2;

/// Features without which nothing can be read, by bit: all that there are, and whether they are understood here.
const FEATURES: [(u32, &str, bool); 17] = [
    (0, "mixed_backref", true),
    (1, "default_subvol", true),
    (2, "mixed_groups", true),
    (3, "compress_lzo", true),
    (4, "compress_zstd", true),
    (5, "big_metadata", true),
    (6, "extended_iref", true),
    // Which chunks are such is looked at where they are read.
    (7, "raid56", true),
    (8, "skinny_metadata", true),
    (9, "no_holes", true),
    (10, "metadata_uuid", true),
    (11, "raid1c34", true),
    (12, "zoned", false),
    (13, "extent_tree_v2", false),
    (14, "raid_stripe_tree", false),
    (16, "simple_quota", true),
    (17, "remap_tree", false),
];

/// What a superblock says, as far as reading needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// Its name, without the zeros at its end.
    pub label: Vec<u8>,
    /// What `/etc/fstab` and boot loaders find it by.
    pub uuid: [u8; 16],
    /// Bytes of a block of data, of which there is one checksum.
    pub sector_size: u64,
    /// Bytes of a node of a tree.
    pub node_size: usize,
    /// Bytes of the device.
    pub size: u64,
    /// Bytes that are used.
    pub used: u64,
    /// Whether it was read from a copy, because the first one is damaged.
    pub copy: bool,
    pub(crate) incompat: u64,
    pub(crate) compat_ro: u64,
    /// Whether there is a tree of quotas.
    pub(crate) quotas: bool,
    pub(crate) generation: u64,
    pub(crate) sum: Sum,
    /// What headers of nodes have for [`Superblock::uuid`].
    pub(crate) metadata_uuid: [u8; 16],
    pub(crate) device: u64,
    /// The trees of trees and of chunks: address, level, generation.
    pub(crate) root: (u64, u8, u64),
    pub(crate) chunks: (u64, u8, u64),
    /// The system's chunks, as items.
    pub(crate) list: Vec<u8>,
}

impl Superblock {
    /// Reads the newest one.
    pub(crate) fn read(source: &impl ReadAt) -> Result<Superblock> {
        let failed = |offset| move |source| DiskError::Read { what: "btrfs superblock", offset, source };
        let len = source.len().map_err(failed(SUPERS[0]))?;
        let mut bytes = vec![0; SIZE];
        let (mut best, mut why): (Option<Superblock>, _) = (None, None);
        for at in SUPERS.into_iter().filter(|at| at.saturating_add(SIZE as u64) <= len) {
            let read = source.read_exact_at(&mut bytes, at).map_err(failed(at));
            match read.and_then(|()| Superblock::parse(&bytes, at)) {
                Ok(found) => {
                    // A copy of a file system that was here before is none of this one.
                    let newer = best.as_ref().is_none_or(|b| b.uuid == found.uuid && b.generation < found.generation);
                    best = if newer { Some(Superblock { copy: at != SUPERS[0], ..found }) } else { best };
                }
                // A copy does not know of a log, and is not asked about what the first one says.
                Err(e @ DiskError::Unsupported { .. }) if at == SUPERS[0] => return Err(e),
                Err(e) if at == SUPERS[0] => why = Some(e),
                Err(_) => {}
            }
        }
        let found = match (best, why) {
            (Some(best), _) => best,
            (None, Some(why)) => return Err(why),
            (None, None) => return Err(damaged("its superblock", "there is none".to_owned())),
        };
        if found.size > len {
            let why = format!("it has {} bytes, of which {len} are there", found.size);
            return Err(damaged("its size", why));
        }
        Ok(found)
    }

    /// From its bytes, read at `at`.
    fn parse(b: &[u8], at: u64) -> Result<Superblock> {
        let bad = |why: &str| Err(damaged("its superblock", why.to_owned()));
        if b.get(0x40..0x48) != Some(MAGIC) {
            return bad("there is none");
        }
        let Some(sum) = Sum::of(get16(b, 0xC4)) else {
            return Err(unsupported(format!("checksums of the unknown kind {}", get16(b, 0xC4))));
        };
        if !sum.is(&b[..32], &b[32..]) {
            return bad("its checksum is wrong");
        }
        if get64(b, 0x30) != at {
            return bad("it is in the wrong place");
        }
        let id = |at: usize| b[at..at + 16].try_into().unwrap_or([0; 16]);
        let incompat = get64(b, 0xBC);
        known(incompat)?;
        let listed = get32(b, 0xA0) as usize;
        let found = Superblock {
            label: b[0x12B..0x22B].split(|b| *b == 0).next().unwrap_or_default().to_vec(),
            uuid: id(0x20),
            sector_size: u64::from(get32(b, 0x90)),
            node_size: get32(b, 0x94) as usize,
            size: get64(b, 0xC9 + 8),
            used: get64(b, 0x78),
            copy: false,
            incompat,
            compat_ro: get64(b, 0xB4),
            quotas: false,
            generation: get64(b, 0x48),
            sum,
            metadata_uuid: if incompat & METADATA_UUID == 0 { id(0x20) } else { id(0x23B) },
            device: get64(b, 0xC9),
            root: (get64(b, 0x50), b[0xC6], get64(b, 0x48)),
            chunks: (get64(b, 0x58), b[0xC7], get64(b, 0xA4)),
            list: b[LIST..LIST + listed.min(LIST_MAX)].to_vec(),
        };
        let sector = found.sector_size;
        let rules = [
            (sector.is_power_of_two() && (4096..=65_536).contains(&sector), "the size of its blocks"),
            (found.node_size.is_power_of_two() && found.node_size <= 65_536, "the size of its nodes"),
            (found.node_size as u64 >= sector, "the size of its nodes"),
            (listed <= LIST_MAX, "its list of chunks"),
            (get64(b, 0x80) == crate::btrfs::raw::tree::DIR, "the directory of its trees"),
        ];
        if let Some((_, what)) = rules.iter().find(|(right, _)| !right) {
            return bad(&format!("{what} makes no sense"));
        }
        if get64(b, 0x88) != 1 {
            return Err(unsupported(format!("{} devices: only one is read", get64(b, 0x88))));
        }
        if get64(b, 0x60) != 0 {
            let what = "a log tree, which a machine leaves that was not shut down: mount it once, and unmount it";
            return Err(unsupported(what.to_owned()));
        }
        Ok(found)
    }
}

impl Superblock {
    /// What it has and one that Kiln writes in its place has not, for people.
    pub fn features_lost(&self) -> Vec<&'static str> {
        // Bits 3 and 4 are set where anything was ever packed like that; zlib has none.
        let packed = self.incompat & (1 << 3 | 1 << 4) != 0;
        let lost = [
            (packed, "compression of its files"),
            (self.sum != Sum::Crc32c, "checksums other than crc32c"),
            (self.quotas, "quotas"),
            (self.compat_ro & VERITY != 0, "verity"),
        ];
        lost.into_iter().filter(|(has, _)| *has).map(|(_, what)| what).collect()
    }
}

/// An error when there are features that are not understood.
fn known(incompat: u64) -> Result<()> {
    let names: Vec<String> = (0..64)
        .filter(|bit| incompat & (1 << bit) != 0)
        .filter_map(|bit| match FEATURES.iter().find(|(feature, ..)| *feature == bit) {
            Some((_, _, true)) => None,
            Some((_, name, false)) => Some((*name).to_owned()),
            None => Some(format!("the unknown feature {:#x}", 1u64 << bit)),
        })
        .collect();
    if names.is_empty() { Ok(()) } else { Err(unsupported(names.join(", "))) }
}

fn unsupported(what: String) -> DiskError {
    DiskError::Unsupported { format: FORMAT, what }
}
