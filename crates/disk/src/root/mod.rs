//! The root file system of a disk: which partition has it, and what else the disk has.
//!
//! A partition is the root's by evidence, not by its number: its file system has the name of a system
//! (`os-release`), a program that is started first, its own `/etc/fstab` says that it is `/`, and its type in the
//! partition table is that of a root. Where no one partition has most, the disk is refused with what it has.
//!
//! [`content`] what a partition holds, by its first bytes     [`fstab`] which file systems a system mounts
//! [`subvolumes`] which part of a btrfs is the root, and which ones are mounted in it

pub mod content;
pub mod fstab;
mod subvolumes;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

pub use self::content::Content;
use self::fstab::{Mount, Names};
use crate::error::{DiskError, Result};
use crate::fs::Fs;
use crate::image::{self, Backing, Format, Source};
use crate::io::{ReadAt, Window};
use crate::part::{self, Guid, Kind, Partition, Table, kind};

/// A disk that is read from any thread.
pub type Disk = Arc<dyn Source>;

/// A disk whose root file system was found.
pub struct Root {
    /// How the disk is written in its file.
    pub format: Format,
    /// Its bytes.
    pub disk: Disk,
    /// Its partitions; `None` when the whole disk is the file system.
    pub table: Option<Table>,
    /// The partition of the root; the whole disk, as number 0, when there is no table.
    pub partition: Partition,
    /// The file system of the root, with what its journal has.
    pub fs: Fs<Window<Disk>>,
    /// What `/etc/fstab` of the root mounts, but for subvolumes of the root's own file system: those are in their places.
    pub mounts: Vec<Mount>,
    /// What the root was told by, for people.
    pub evidence: String,
}

/// What one partition is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The partition.
    pub partition: Partition,
    /// What it holds.
    pub content: Content,
    /// Why its file system cannot be read, if there is one that should be.
    pub why: Option<String>,
}

/// Opens the disk in the file `path` and finds its root file system. Nothing is written.
///
/// `format` is what the file is known to be; with `None` its first bytes say it. `number` is the partition that is
/// known to be the root's. A qcow2 image that stands on another file is refused: nobody said that this may be read.
///
/// # Errors
/// When the file is no disk that can be read, or [`find`] finds no root.
pub fn open(path: &Path, format: Option<Format>, number: Option<u32>) -> Result<Root> {
    let file = File::open(path).map_err(|source| DiskError::Read { what: "disk", offset: 0, source })?;
    let image = image::open(file, format, &Backing::Refuse)?;
    find(image.format, Arc::from(image.disk), number)
}

/// Finds the root file system of an open disk.
///
/// # Errors
/// [`DiskError::NoRoot`] with all that the disk has when no partition, or more than one, can be it; when its
/// partitions or the root itself are damaged.
pub fn find(format: Format, disk: Disk, number: Option<u32>) -> Result<Root> {
    let table = part::read(&disk)?.filter(|table| !table.partitions.is_empty());
    let partitions = match &table {
        Some(table) => table.partitions.clone(),
        None => vec![whole(&disk)?],
    };
    let mut seen = Vec::new();
    let mut candidates = Vec::new();
    for partition in partitions {
        let window = partition.window(disk.clone());
        let content = Content::of(&window);
        let mut why = content.obstacle().map(str::to_owned);
        match Candidate::look(content, window, &partition, table.is_none()) {
            Ok(candidate) => candidates.extend(candidate),
            Err(e) => why = Some(e.to_string()),
        }
        seen.push(Seen { partition, content, why });
    }
    let chosen = match number {
        Some(number) => given(number, &seen, &candidates)?,
        None => choose(&seen, &candidates)?,
    };
    let Candidate { partition, fs, mounts, signs, subvolume } = candidates.swap_remove(chosen);
    let mut evidence = signs.iter().map(|s| s.says).collect::<Vec<_>>().join(", ");
    if number.is_some() {
        evidence = "it was given".to_owned();
    }
    if let Some(subvolume) = subvolume {
        evidence = format!("{evidence}, {subvolume}");
    }
    Ok(Root { format, disk, table, partition, fs, mounts, evidence })
}

/// The whole disk as if it was a partition.
fn whole(disk: &Disk) -> Result<Partition> {
    let len = disk.len().map_err(|source| DiskError::Read { what: "disk", offset: 0, source })?;
    let kind = Kind::Mbr(0x83);
    Ok(Partition { number: 0, kind, id: None, name: String::new(), attributes: 0, start: 0, len })
}

/// Something that speaks for a partition.
#[derive(Debug, Clone, Copy)]
struct Sign {
    weight: u32,
    says: &'static str,
}

/// Without at least one of these, a file system is no root.
const ENOUGH: u32 = 4;

/// A file system that may be the root.
struct Candidate {
    partition: Partition,
    fs: Fs<Window<Disk>>,
    mounts: Vec<Mount>,
    signs: Vec<Sign>,
    /// Which subvolume it is.
    subvolume: Option<String>,
}

impl Candidate {
    /// What is in a partition; `None` for what is not read.
    fn look(content: Content, part: Window<Disk>, partition: &Partition, alone: bool) -> Result<Option<Candidate>> {
        let Some(mut fs) = Fs::open(content, part)? else { return Ok(None) };
        let subvolume = subvolumes::enter(&mut fs)?;
        let mut signs = Vec::new();
        let mut sign = |weight, says| signs.push(Sign { weight, says });
        if alone {
            sign(2, "the disk has no partitions");
        }
        if matches!(partition.kind, Kind::Gpt(k) if k == kind::ROOT_X86_64 || k == kind::ROOT_ARM64) {
            sign(2, "its type is that of a root");
        }
        if has(&fs, NAMED)? {
            sign(4, "it has os-release");
        }
        if has(&fs, STARTED)? {
            sign(4, "it has a program to start");
        }
        let mounts = nothing_there(fs.read(b"etc/fstab", fstab::MAX))?.flatten();
        let mut mounts = mounts.map(|text| fstab::parse(&text)).unwrap_or_default();
        let names = names(partition, &fs);
        if let Some(mount) = mounts.iter().find(|mount| mount.target == "/") {
            match mount.names(&names) {
                Some(true) => sign(8, "its fstab says that it is /"),
                None => sign(1, "its fstab does not say otherwise"),
                Some(false) => {}
            }
        }
        subvolumes::mount(&mut fs, &names, &mut mounts)?;
        Ok(Some(Candidate { partition: partition.clone(), fs, mounts, signs, subvolume }))
    }

    fn weight(&self) -> u32 {
        self.signs.iter().map(|sign| sign.weight).sum()
    }
}

/// Where the name of a system is, and programs that are started first.
const NAMED: &[&[u8]] = &[b"etc/os-release", b"usr/lib/os-release"];
const STARTED: &[&[u8]] = &[b"sbin/init", b"usr/lib/systemd/systemd", b"lib/systemd/systemd", b"bin/sh"];

/// Whether a file system has a system.
fn has_system(fs: &Fs<Window<Disk>>) -> Result<bool> {
    Ok(has(fs, NAMED)? && has(fs, STARTED)?)
}

/// Whether one of these is there, be it a link to nowhere.
fn has(fs: &Fs<Window<Disk>>, paths: &[&[u8]]) -> Result<bool> {
    for path in paths {
        if nothing_there(fs.lookup_link(path))?.flatten().is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A path that leads into a circle, or through a file, leads to nothing.
fn nothing_there<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(DiskError::Path { .. }) => Ok(None),
        Err(e) => Err(e),
    }
}

/// What a partition with a file system can be named by.
fn names(partition: &Partition, fs: &Fs<Window<Disk>>) -> Names {
    Names {
        uuid: Some(Guid(fs.uuid())),
        label: fs.label().to_vec(),
        partuuid: partition.id,
        partlabel: partition.name.clone(),
        number: partition.number,
    }
}

fn given(number: u32, seen: &[Seen], candidates: &[Candidate]) -> Result<usize> {
    if let Some(at) = candidates.iter().position(|c| c.partition.number == number) {
        return Ok(at);
    }
    let why = match seen.iter().find(|s| s.partition.number == number) {
        Some(Seen { why: Some(why), .. }) => format!("partition {number}: {why}"),
        Some(Seen { content, .. }) => format!("partition {number} holds {content}"),
        None => format!("there is no partition {number}"),
    };
    Err(no_root(why, seen))
}

fn choose(seen: &[Seen], candidates: &[Candidate]) -> Result<usize> {
    let best = candidates.iter().map(Candidate::weight).max().unwrap_or(0);
    // Of a disk with a root that cannot be read, what can be read is not taken for the root.
    let typed = |s: &&Seen| matches!(s.partition.kind, Kind::Gpt(k) if k == kind::ROOT_X86_64 || k == kind::ROOT_ARM64);
    let blocked = seen.iter().find(|s| typed(s) && s.why.is_some());
    let blocked = blocked.or_else(|| seen.iter().find(|s| s.why.is_some()).filter(|_| best < ENOUGH));
    if let Some(Seen { partition, why: Some(why), .. }) = blocked {
        let name =
            if partition.number == 0 { "the disk".to_owned() } else { format!("partition {}", partition.number) };
        return Err(no_root(format!("{name}: {why}"), seen));
    }
    if best < ENOUGH {
        return Err(no_root("no partition has a system on a file system that Kiln reads".to_owned(), seen));
    }
    let mut firsts = (0..candidates.len()).filter(|at| candidates[*at].weight() == best);
    match (firsts.next(), firsts.next()) {
        (Some(one), None) => Ok(one),
        _ => Err(no_root("more than one partition could be it".to_owned(), seen)),
    }
}

fn no_root(why: String, seen: &[Seen]) -> DiskError {
    let line = |s: &Seen| {
        let name =
            if s.partition.name.is_empty() { String::new() } else { format!(" `{}`", s.partition.name.escape_debug()) };
        let mib = s.partition.len >> 20;
        match s.partition.number {
            0 => format!("the whole disk, {mib} MiB: {}", s.content),
            number => format!("partition {number}{name}, {mib} MiB: {}", s.content),
        }
    };
    DiskError::NoRoot { why, parts: seen.iter().map(line).collect() }
}

impl std::fmt::Debug for Root {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (format, partition, evidence) = (&self.format, &self.partition, &self.evidence);
        f.debug_struct("Root")
            .field("format", format)
            .field("partition", partition)
            .field("evidence", evidence)
            .finish_non_exhaustive()
    }
}
