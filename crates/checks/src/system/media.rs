//! What a disk has besides the files on it: a table of partitions, file systems, boot loaders.
//!
//! Whoever opens a disk fills this in; the checks of the profile `disk` judge it.

/// A disk, as its checks look at it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Media {
    /// Which partition table it has.
    pub scheme: Scheme,
    /// What is wrong with the table, as far as the disk can be read nevertheless.
    pub damage: Vec<String>,
    /// The file systems that are on it.
    pub volumes: Vec<Volume>,
    /// The partition of the root file system; `None` where the whole disk is one.
    pub root: Option<u32>,
    /// The partition that UEFI looks for boot loaders on, when there is one.
    pub esp: Option<u32>,
    /// Whether a BIOS starts it.
    pub bios: Boots,
    /// Whether UEFI starts it.
    pub uefi: Boots,
}

/// A kind of partition table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scheme {
    /// None: the disk is one file system.
    #[default]
    None,
    /// The older one, for disks up to 2 TiB.
    Mbr,
    /// The one that UEFI defines.
    Gpt,
}

/// Whether a firmware finds something to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Boots {
    /// It does: what.
    Yes(String),
    /// It does not: why.
    No(String),
}

impl Default for Boots {
    fn default() -> Boots {
        Boots::No("nothing was looked for".to_owned())
    }
}

/// A file system of a disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Volume {
    /// The number of its partition.
    pub number: Option<u32>,
    /// Its kind, as `fstab` names it: `ext4`, `vfat`, `swap`; empty when it is none that is known.
    pub kind: String,
    /// Its identifier, as `UUID=` in `fstab` has it.
    pub uuid: Option<String>,
    /// Its name, as `LABEL=` has it.
    pub label: Option<String>,
    /// The identifier of its partition, as `PARTUUID=` has it.
    pub partuuid: Option<String>,
    /// The name of its partition, as `PARTLABEL=` has it.
    pub partlabel: Option<String>,
}

impl Media {
    /// The file system that a device of `fstab` or of a kernel's command line names; `Err` with the reason when such a
    /// name says nothing about this disk.
    ///
    /// # Errors
    /// It is no identifier: a device's path, a network file system, a program.
    pub fn find(&self, device: &str) -> Result<Option<&Volume>, &'static str> {
        let paths = [
            ("/dev/disk/by-uuid/", "UUID"),
            ("/dev/disk/by-label/", "LABEL"),
            ("/dev/disk/by-partuuid/", "PARTUUID"),
            ("/dev/disk/by-partlabel/", "PARTLABEL"),
        ];
        let by_path = paths.iter().find_map(|(prefix, key)| device.strip_prefix(prefix).map(|value| (*key, value)));
        let Some((key, value)) = by_path.or_else(|| device.split_once('=')) else {
            return Err("it names no identifier");
        };
        let value = value.trim_matches('"');
        let named = |volume: &&Volume| {
            let (own, exact) = match key {
                "UUID" => (&volume.uuid, false),
                "LABEL" => (&volume.label, true),
                "PARTUUID" => (&volume.partuuid, false),
                "PARTLABEL" => (&volume.partlabel, true),
                _ => return false,
            };
            own.as_deref().is_some_and(|own| own == value || (!exact && own.eq_ignore_ascii_case(value)))
        };
        match key {
            "UUID" | "LABEL" | "PARTUUID" | "PARTLABEL" => Ok(self.volumes.iter().find(named)),
            _ => Err("it names no identifier"),
        }
    }
}
