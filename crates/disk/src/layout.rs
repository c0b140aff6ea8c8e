//! What is where on a disk: `format=qcow2,size=8G,boot=bios+uefi` in words, and in bytes.
//!
//! ```text
//! 1 MiB   BIOS boot partition, 1 MiB, when a BIOS boots it
//!         EFI system partition, when UEFI does
//!         root, up to the end
//! ```
//! Partitions keep their numbers, 1 to 3, also where one is left out, so that root is always the third.

use std::collections::BTreeMap;

use crate::boot::{Arch, Initramfs, Wish};
use crate::error::{DiskError, Result};
use crate::ext4::InodeFlags;
use crate::image::{Compression, Format, MAX_SIZE};
use crate::part::{ALIGN, Guid, Kind, Partition, gpt, kind};

/// The file system of the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Filesystem {
    /// The usual one.
    #[default]
    Ext4,
    /// With checksums of its metadata; it grows but cannot shrink.
    Xfs,
    /// With checksums of everything, and metadata twice.
    Btrfs,
}

impl Filesystem {
    /// As `/etc/fstab` names it.
    pub fn name(self) -> &'static str {
        match self {
            Filesystem::Ext4 => "ext4",
            Filesystem::Xfs => "xfs",
            Filesystem::Btrfs => "btrfs",
        }
    }
}

/// What a user says about a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// What it is written as.
    pub format: Format,
    /// How a qcow2 image is compressed.
    pub compression: Option<Compression>,
    /// Its size in bytes; `None` for what the content needs.
    pub size: Option<u64>,
    /// Whether a BIOS boots it.
    pub bios: bool,
    /// Whether UEFI boots it.
    pub uefi: bool,
    /// Which machines do.
    pub arch: Arch,
    /// The file system of the root.
    pub filesystem: Filesystem,
    /// The size of the EFI system partition.
    pub esp: u64,
    /// The name of the root file system and its partition.
    pub label: String,
    /// What is added to the kernel's command line.
    pub cmdline: String,
    /// The host's name.
    pub hostname: Option<String>,
    /// Where the initramfs comes from.
    pub initramfs: Initramfs,
    /// What identifiers are made of: the same seed gives the same disk.
    pub seed: [u8; 16],
    /// Seconds since 1970 of what has a time.
    pub epoch: u64,
    /// Threads that compress.
    pub threads: usize,
    /// Marks of files in the root file system, such as that nobody may change them; by their paths, as they are in the
    /// tree.
    pub flags: BTreeMap<Vec<u8>, InodeFlags>,
}

impl Default for Spec {
    fn default() -> Spec {
        Spec {
            format: Format::Raw,
            compression: None,
            size: None,
            bios: true,
            uefi: true,
            arch: Arch::X86_64,
            filesystem: Filesystem::Ext4,
            esp: 128 << 20,
            label: "root".into(),
            cmdline: String::new(),
            hostname: None,
            initramfs: Initramfs::Auto,
            seed: [0; 16],
            epoch: 0,
            threads: 1,
            flags: BTreeMap::new(),
        }
    }
}

/// The keys of [`Spec::set`].
pub const KEYS: [&str; 10] =
    ["format", "compression", "size", "boot", "arch", "fs", "esp", "label", "kernel_cmdline", "hostname"];

fn wish_error(why: String) -> DiskError {
    DiskError::Options { format: "disk", why }
}

/// A number of bytes as people write it: 512M, 8G, 1T, with or without `iB`.
///
/// # Errors
/// When it is none, or larger than a disk can be.
pub fn parse_size(text: &str) -> Result<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        _ => return Err(wish_error(format!("`{}` is no size: write 512M, 8G or 1T", text.escape_debug()))),
    };
    let bytes =
        digits.parse::<u64>().ok().and_then(|n| n.checked_mul(1 << shift)).filter(|n| (1..=MAX_SIZE).contains(n));
    bytes.ok_or_else(|| wish_error(format!("`{}` is no size from 1 byte to 64T", text.escape_debug())))
}

impl Spec {
    /// Sets what a user says: a key of [`KEYS`], or `initramfs`.
    ///
    /// # Errors
    /// When there is no such key or value.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let one_of = |what: &str| Err(wish_error(format!("{key}=`{}`: it is one of {what}", value.escape_debug())));
        match key {
            "format" => match Format::parse(value) {
                Some(format) => self.format = format,
                None => return one_of(&Format::ALL.map(|(name, _)| name).join(", ")),
            },
            "compression" => match value {
                "none" => self.compression = None,
                "zlib" => self.compression = Some(Compression::Zlib),
                "zstd" => self.compression = Some(Compression::Zstd),
                _ => return one_of("none, zlib, zstd"),
            },
            "size" => self.size = Some(parse_size(value)?),
            "esp" => self.esp = parse_size(value)?,
            "boot" => match value {
                "bios" => (self.bios, self.uefi) = (true, false),
                "uefi" => (self.bios, self.uefi) = (false, true),
                "bios+uefi" | "uefi+bios" => (self.bios, self.uefi) = (true, true),
                _ => return one_of("bios, uefi, bios+uefi"),
            },
            "arch" => match value {
                "amd64" | "x86_64" => self.arch = Arch::X86_64,
                "arm64" | "aarch64" => self.arch = Arch::Arm64,
                _ => return one_of("amd64, arm64"),
            },
            "fs" => match value {
                "ext4" => self.filesystem = Filesystem::Ext4,
                "xfs" => self.filesystem = Filesystem::Xfs,
                "btrfs" => self.filesystem = Filesystem::Btrfs,
                _ => return one_of("ext4, xfs, btrfs"),
            },
            "initramfs" => match value {
                "auto" => self.initramfs = Initramfs::Auto,
                "image" | "keep" => self.initramfs = Initramfs::Keep,
                "make" => self.initramfs = Initramfs::Make,
                "none" => self.initramfs = Initramfs::None,
                _ => return one_of("auto, keep, make, none"),
            },
            "label" if value.len() <= 12 && value.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) => {
                self.label = value.to_owned();
            }
            "label" => return one_of("up to 12 letters, digits, `-`, `_`, `.`"),
            "kernel_cmdline" => self.cmdline = value.to_owned(),
            "hostname" => self.hostname = Some(value.to_owned()),
            _ => {
                let why = format!("there is no `{}`, only {}, initramfs", key.escape_debug(), KEYS.join(", "));
                return Err(wish_error(why));
            }
        }
        Ok(())
    }
}

/// Where everything is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The size of the disk.
    pub len: u64,
    /// The disk's identifier.
    pub disk: Guid,
    /// Its partitions.
    pub partitions: Vec<Partition>,
    /// The identifier of the root file system.
    pub root_fs: Guid,
    /// The serial number of the ESP.
    pub esp_serial: u32,
}

const BIOS_BOOT: u32 = 1;
const ESP: u32 = 2;
const ROOT: u32 = 3;
/// Less is no root file system.
const LEAST_ROOT: u64 = 16 << 20;

impl Layout {
    /// The layout for `spec`, for a root file system whose files have `content` bytes.
    ///
    /// # Errors
    /// When the disk is too small for them.
    pub fn new(spec: &Spec, content: u64) -> Result<Layout> {
        if !spec.bios && !spec.uefi {
            return Err(wish_error("neither a BIOS nor UEFI shall boot it".into()));
        }
        let mut front = ALIGN;
        let mut partitions = Vec::new();
        let mut add = |number, kind, len: u64, name: &str| {
            let id = Some(Guid::derive(spec.seed, &format!("partition {number}")));
            partitions.push(Partition {
                number,
                kind: Kind::Gpt(kind),
                id,
                name: name.into(),
                attributes: 0,
                start: front,
                len,
            });
            front += len;
        };
        if spec.bios {
            add(BIOS_BOOT, kind::BIOS_BOOT, ALIGN, "BIOS boot");
        }
        if spec.uefi {
            add(ESP, kind::ESP, spec.esp.next_multiple_of(ALIGN), "EFI system");
        }
        let before = ALIGN + partitions.iter().map(|p| p.len).sum::<u64>();
        // Files take whole blocks, inodes and a journal; and a system that boots writes.
        let needed = content.saturating_add(content / 4).max(LEAST_ROOT);
        let len = match spec.size {
            Some(size) => size.next_multiple_of(spec.format.granule().max(512)),
            None => (before + needed + (256 << 20)).next_multiple_of(spec.format.granule().max(64 << 20)),
        };
        let end = gpt::usable(len).end / ALIGN * ALIGN;
        if len > MAX_SIZE || end < before || end - before < LEAST_ROOT.max(content) {
            let why = format!(
                "{len} bytes are too few for {content} bytes of files and {before} in front of them; give a larger `size`"
            );
            return Err(wish_error(why));
        }
        let root = match spec.arch {
            Arch::X86_64 => kind::ROOT_X86_64,
            Arch::Arm64 => kind::ROOT_ARM64,
        };
        let id = Some(Guid::derive(spec.seed, "partition 3"));
        let name = spec.label.clone();
        partitions.push(Partition {
            number: ROOT,
            kind: Kind::Gpt(root),
            id,
            name,
            attributes: 0,
            start: before,
            len: end - before,
        });
        let serial = Guid::derive(spec.seed, "esp").0;
        Ok(Layout {
            len,
            disk: Guid::derive(spec.seed, "disk"),
            partitions,
            root_fs: Guid::derive(spec.seed, "root file system"),
            esp_serial: u32::from_be_bytes([serial[0], serial[1], serial[2], serial[3]]),
        })
    }

    fn find(&self, number: u32) -> Option<&Partition> {
        self.partitions.iter().find(|p| p.number == number)
    }

    /// The BIOS boot partition.
    pub fn bios_boot(&self) -> Option<&Partition> {
        self.find(BIOS_BOOT)
    }

    /// The EFI system partition.
    pub fn esp(&self) -> Option<&Partition> {
        self.find(ESP)
    }

    /// The partition of the root file system.
    ///
    /// # Errors
    /// Never for a layout that [`Layout::new`] made.
    pub fn root(&self) -> Result<&Partition> {
        self.find(ROOT).ok_or_else(|| wish_error("it has no partition for the root file system".into()))
    }

    /// What the boot loader and the tree are to be made for.
    ///
    /// # Errors
    /// As [`Layout::root`].
    pub fn wish(&self, spec: &Spec) -> Result<Wish> {
        Ok(Wish {
            bios: spec.bios,
            uefi: spec.uefi,
            arch: spec.arch,
            filesystem: spec.filesystem.name(),
            root: self.root_fs,
            root_partition: self.root()?.id.unwrap_or(self.root_fs),
            esp: self.esp_serial,
            cmdline: spec.cmdline.clone(),
            hostname: spec.hostname.clone(),
            initramfs: spec.initramfs,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_a_spec() {
        let mut spec = Spec::default();
        for pair in ["format=qcow2", "compression=zstd", "size=8G", "boot=uefi", "fs=xfs", "hostname=n1", "esp=64MiB"] {
            let (key, value) = pair.split_once('=').unwrap();
            spec.set(key, value).unwrap();
        }
        assert_eq!((spec.format, spec.size, spec.bios, spec.esp), (Format::Qcow2, Some(8 << 30), false, 64 << 20));
        for (key, value, says) in [
            ("format", "iso", "qcow2"),
            ("size", "8X", "8G"),
            ("size", "99999T", "64T"),
            ("size", "é", "no size"),
            ("boot", "", "bios+uefi"),
            ("label", "a b", "letters"),
            ("initramfs", "yes", "auto, keep, make, none"),
            ("sise", "8G", "size"),
        ] {
            let error = spec.set(key, value).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn partitions_lie_behind_each_other() {
        let spec = Spec { size: Some(1 << 30), ..Spec::default() };
        let layout = Layout::new(&spec, 100 << 20).unwrap();
        let seen: Vec<_> = layout.partitions.iter().map(|p| (p.number, p.start >> 20, p.len >> 20)).collect();
        assert_eq!(seen, [(1, 1, 1), (2, 2, 128), (3, 130, 893)]);
        assert_eq!(layout, Layout::new(&spec, 5).unwrap(), "a given size does not depend on the content");
        let small = Spec { size: Some(200 << 20), ..Spec::default() };
        assert!(Layout::new(&small, 100 << 20).unwrap_err().to_string().contains("size"));
        let grown = Layout::new(&Spec::default(), 1 << 30).unwrap();
        assert!(grown.root().unwrap().len > (1 << 30) + (200 << 20));
        let neither = Spec { bios: false, uefi: false, ..Spec::default() };
        assert!(Layout::new(&neither, 0).is_err());
    }
}
