//! A whole disk from a tree of files, and a disk whose root file system is made new.
//!
//! The file system of the root is written by whoever calls: [`assemble`] and [`rewrite`] hand out the partition. What
//! they make is a raw disk in a sparse file; [`crate::image::write`] makes any format of it.

use std::fs::File;

use crate::boot::{self, Change, EspSource, Plan, Tree};
use crate::error::{DiskError, Result};
use crate::fat;
use crate::image::{self, Source, scan};
use crate::io::{Window, WriteAt};
use crate::layout::{Layout, Spec};
use crate::part::{self, Guid, Kind, Partition, SECTOR, Scheme, Table, gpt, kind};

/// What a root file system is to be.
#[derive(Debug)]
pub struct Root<'a> {
    /// Its identifier.
    pub id: Guid,
    /// Its name.
    pub label: &'a str,
    /// Its bytes.
    pub len: u64,
    /// Seconds since 1970 of what has no time of its own.
    pub epoch: u64,
    /// What is changed in the tree while it is written.
    pub changes: &'a [Change],
}

/// Writes a root file system into its partition, which reads as zeros.
pub type WriteRoot<'a> = dyn FnMut(&mut Window<&mut File>, &Root<'_>) -> Result<()> + 'a;

/// What was made.
#[derive(Debug)]
pub struct Assembled {
    /// Where everything is.
    pub layout: Layout,
    /// How it boots.
    pub plan: Plan,
}

/// Kernels and initramfs are not larger.
const MAX_BOOT_FILE: u64 = 1 << 30;

/// Makes the disk `spec` asks for, as raw bytes in the empty file `raw`. `content` is how many bytes the tree's files
/// have; it is what a disk without a given size is made for.
///
/// # Errors
/// When the tree cannot boot, everything does not fit, or writing fails.
pub fn assemble(
    spec: &Spec,
    tree: &dyn Tree,
    content: u64,
    raw: &mut File,
    root: &mut WriteRoot<'_>,
) -> Result<Assembled> {
    let layout = Layout::new(spec, content)?;
    let facts = boot::gather(tree, spec.arch)?;
    let mut plan = boot::plan(&facts, &layout.wish(spec)?)?;
    make_initramfs(&mut plan, spec, tree)?;
    raw.zero_at(0, layout.len).map_err(|source| DiskError::Write { what: "disk", offset: 0, source })?;
    write_bios(&layout, &plan, tree, raw)?;
    gpt::write(raw, layout.len, layout.disk, &layout.partitions)?;
    if let Some(esp) = layout.esp() {
        write_esp(&layout, &plan, spec, tree, &mut esp.window(&mut *raw))?;
    }
    let part = layout.root()?;
    let request =
        Root { id: layout.root_fs, label: &spec.label, len: part.len, epoch: spec.epoch, changes: &plan.changes };
    root(&mut part.window(&mut *raw), &request)?;
    Ok(Assembled { layout, plan })
}

/// Makes the initramfs that the tree does not have, and puts it where the boot loader will look for it.
fn make_initramfs(plan: &mut Plan, spec: &Spec, tree: &dyn Tree) -> Result<()> {
    let (Some(dir), Some(path)) = (&plan.made_of, &plan.kernel.initrd) else { return Ok(()) };
    let mut read = |path: &str, limit: u64| tree.read(path, limit);
    let made = kiln_init::initramfs::of_disk(spec.arch.name(), dir, spec.filesystem.name(), &mut read);
    let data = made.map_err(|cause| DiskError::Initramfs { version: plan.kernel.version.clone(), cause })?;
    for file in plan.esp.iter_mut().filter(|f| matches!(&f.source, EspSource::Tree(from) if from == path)) {
        file.source = EspSource::Bytes(data.clone());
    }
    plan.changes.push(Change::Write { path: path.clone(), mode: 0o600, data });
    Ok(())
}

/// [`assemble`] in the file `raw`, then the image in `spec`'s format in `out`.
///
/// # Errors
/// As [`assemble`], and when `out` cannot be written.
pub fn write(
    spec: &Spec,
    tree: &dyn Tree,
    content: u64,
    (raw, out): (&mut File, &mut dyn WriteAt),
    root: &mut WriteRoot<'_>,
) -> Result<Assembled> {
    let made = assemble(spec, tree, content, raw, root)?;
    image::write(&*raw, out, &image_options(spec))?;
    Ok(made)
}

/// How the image `spec` asks for is written.
pub fn image_options(spec: &Spec) -> image::Options {
    let (format, compression, threads) = (spec.format, spec.compression, spec.threads);
    image::Options { format, compression, threads, seed: spec.seed, epoch: spec.epoch }
}

fn write_bios(layout: &Layout, plan: &Plan, tree: &dyn Tree, raw: &mut File) -> Result<()> {
    let (Some((dir, modules, config)), Some(part)) = (&plan.bios, layout.bios_boot()) else { return Ok(()) };
    let bios = boot::bios(tree, dir, modules, config, part.start)?;
    if bios.core.len() as u64 > part.len {
        let what = format!("GRUB's core image has {} bytes, its partition {}", bios.core.len(), part.len);
        return Err(DiskError::Boot { what, hint: "say `boot=uefi`".into() });
    }
    for (data, offset) in [(&bios.boot, 0), (&bios.core, part.start)] {
        raw.write_at(data, offset).map_err(|source| DiskError::Write { what: "boot loader", offset, source })?;
    }
    Ok(())
}

fn write_esp(layout: &Layout, plan: &Plan, spec: &Spec, tree: &dyn Tree, out: &mut dyn WriteAt) -> Result<()> {
    let mut bodies = Vec::new();
    for file in &plan.esp {
        bodies.push(match &file.source {
            EspSource::Bytes(data) => data.clone(),
            EspSource::Tree(path) => {
                let read =
                    tree.read(path, MAX_BOOT_FILE).map_err(|source| DiskError::Body { path: path.clone(), source })?;
                read.ok_or_else(|| DiskError::Boot {
                    what: format!("`{path}` is a link to what is not there"),
                    hint: "install the package that has it once more".into(),
                })?
            }
        });
    }
    let files = plan.esp.iter().zip(&bodies).map(|(file, body)| fat::File::new(file.path.as_str(), body)).collect();
    let part = layout.esp().map_or((0, 0), |p| (p.len, p.start));
    let options =
        fat::Options { len: part.0, label: "ESP".into(), serial: layout.esp_serial, offset: part.1, epoch: spec.epoch };
    fat::write(out, files, &options)
}

/// The partition of `table` that most likely has the root file system: by its type, else the largest of Linux.
pub fn root_partition(table: &Table) -> Option<&Partition> {
    let typed = |p: &&Partition| matches!(p.kind, Kind::Gpt(k) if k == kind::ROOT_X86_64 || k == kind::ROOT_ARM64);
    let linux = |p: &&Partition| matches!(p.kind, Kind::Gpt(kind::LINUX) | Kind::Mbr(0x83));
    let largest = || table.partitions.iter().filter(linux).max_by_key(|p| p.len);
    table.partitions.iter().find(typed).or_else(largest)
}

/// How a disk is made anew.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rewrite {
    /// The number of the root's partition; `None` for the one [`root_partition`] finds.
    pub partition: Option<u32>,
    /// The size of the new disk, when it shall be larger. The root has to be its last partition, and grows with it.
    pub size: Option<u64>,
    /// What the size of the new disk is a multiple of, for a format that says so; 0 for any. What is added for it at the
    /// end belongs to no partition where the root is not the last one.
    pub granule: u64,
    /// The bytes at the start of the root's file system that are not its own, and are kept: a boot loader may be there.
    pub boot_area: u64,
}

/// Copies the disk `base` to the empty file `raw`, all but the content of its root file system, which `root` writes.
/// Gives the partition it is in now. Partition 0 is the whole of a disk without a table; its boot sectors are kept.
///
/// # Errors
/// When `base` has no table or no such partition, cannot be grown, or reading or writing fails.
pub fn rewrite(
    base: &dyn Source,
    how: Rewrite,
    raw: &mut File,
    root: &mut dyn FnMut(&mut Window<&mut File>, &Partition) -> Result<()>,
) -> Result<Partition> {
    let len = base.len().map_err(|source| DiskError::Read { what: "disk", offset: 0, source })?;
    let damaged = |why: &str| DiskError::Damaged { format: "disk", what: "partitions".into(), why: why.into() };
    let wanted = how.size.unwrap_or(len).next_multiple_of(SECTOR);
    let new_len = wanted.max(len).next_multiple_of(how.granule.max(SECTOR));
    if wanted < len {
        let why = format!("a disk of {len} bytes cannot become smaller: {wanted}");
        return Err(DiskError::Options { format: "disk", why });
    }
    if how.partition == Some(0) {
        return rewrite_whole(base, how.boot_area, new_len, raw, root);
    }
    let mut table = part::read(base)?.ok_or_else(|| damaged("it has no partition table"))?;
    let number = match how.partition {
        Some(number) => number,
        None => root_partition(&table).ok_or_else(|| damaged("none looks like a root file system"))?.number,
    };
    let old = table.partitions.iter().find(|p| p.number == number).cloned();
    let old = old.ok_or_else(|| damaged(&format!("there is no partition {number}")))?;
    let last = table.partitions.iter().max_by_key(|p| p.start).is_some_and(|p| p.number == number);
    if wanted > len && !last {
        let why = "it cannot be grown: its root is not the last partition".to_owned();
        return Err(DiskError::Options { format: "disk", why });
    }
    raw.zero_at(0, new_len).map_err(|source| DiskError::Write { what: "disk", offset: 0, source })?;
    copy_around(base, &old, raw)?;
    if new_len > len || table.repaired.is_some() {
        grow(&mut table, last.then_some(number), (len, new_len), raw)?;
    }
    let new = table.partitions.iter().find(|p| p.number == number).cloned().unwrap_or(old);
    root(&mut new.window(&mut *raw), &new)?;
    keep_boot_area(base, new.start, how.boot_area.min(new.len), raw)?;
    Ok(new)
}

/// A disk that is one file system.
fn rewrite_whole(
    base: &dyn Source,
    boot_area: u64,
    len: u64,
    raw: &mut File,
    root: &mut dyn FnMut(&mut Window<&mut File>, &Partition) -> Result<()>,
) -> Result<Partition> {
    raw.zero_at(0, len).map_err(|source| DiskError::Write { what: "disk", offset: 0, source })?;
    let (kind, name) = (Kind::Mbr(0x83), String::new());
    let whole = Partition { number: 0, kind, id: None, name, attributes: 0, start: 0, len };
    root(&mut whole.window(&mut *raw), &whole)?;
    keep_boot_area(base, 0, boot_area.min(len), raw)?;
    Ok(whole)
}

/// Copies what is in front of a file system's superblock, which is not the file system's.
fn keep_boot_area(base: &dyn Source, start: u64, len: u64, raw: &mut File) -> Result<()> {
    let mut area = vec![0; usize::try_from(len.min(1 << 20)).unwrap_or(0)];
    base.read_exact_at(&mut area, start).map_err(|source| DiskError::Read { what: "disk", offset: start, source })?;
    raw.write_at(&area, start).map_err(|source| DiskError::Write { what: "boot sectors", offset: start, source })
}

/// Copies everything but one partition.
fn copy_around(base: &dyn Source, hole: &Partition, raw: &mut File) -> Result<()> {
    const BLOCK: u64 = 4096;
    let len = base.len().map_err(|source| DiskError::Read { what: "disk", offset: 0, source })?;
    let end = hole.start + hole.len;
    for range in [0..hole.start, end..len.max(end)] {
        let part = Window::new(base, range.start, range.end - range.start);
        scan(&part, BLOCK as usize, |blocks| {
            for block in blocks {
                let offset = block.index * BLOCK;
                let real =
                    usize::try_from(range.end - range.start - offset).unwrap_or(usize::MAX).min(block.data.len());
                let put = raw.write_at(&block.data[..real], range.start + offset);
                put.map_err(|source| DiskError::Write { what: "disk", offset: range.start + offset, source })?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Writes a table for the new size; the partition `number`, if any, goes up to the new end.
fn grow(table: &mut Table, number: Option<u32>, (old_len, len): (u64, u64), raw: &mut File) -> Result<()> {
    let no = |why: &str| Err(DiskError::Options { format: "disk", why: format!("it cannot be grown: {why}") });
    let usable = match table.scheme {
        Scheme::Gpt(_) => gpt::usable(len).end,
        Scheme::Mbr(_) => len.min(u64::from(u32::MAX) * SECTOR),
    };
    for p in table.partitions.iter_mut().filter(|p| Some(p.number) == number && len > old_len) {
        p.len = p.len.max(usable.saturating_sub(p.start) / part::ALIGN * part::ALIGN);
    }
    match (table.scheme, number) {
        (Scheme::Gpt(disk), _) => {
            // The old backup lies in what is now the partition, or behind the last one.
            let (at, size) = (old_len / SECTOR * SECTOR - 33 * SECTOR, 33 * SECTOR);
            raw.zero_at(at, size).map_err(|source| DiskError::Write { what: "old table", offset: at, source })?;
            gpt::write(raw, len, disk, &table.partitions)
        }
        (Scheme::Mbr(_), None) => Ok(()),
        (Scheme::Mbr(_), Some(5..)) => no("its root is a logical partition"),
        (Scheme::Mbr(_), Some(number)) => {
            let sectors = table.partitions.iter().find(|p| p.number == number).map_or(0, |p| p.len / SECTOR);
            let offset = 446 + 16 * u64::from(number - 1) + 12;
            let data = u32::try_from(sectors).unwrap_or(u32::MAX).to_le_bytes();
            raw.write_at(&data, offset).map_err(|source| DiskError::Write { what: "partition table", offset, source })
        }
    }
}
