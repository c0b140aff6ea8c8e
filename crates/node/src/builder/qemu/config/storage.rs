//! What disks and discs a machine has, and where the first one comes from.

use std::path::PathBuf;

use kiln_packer::fields::Fields;
use kiln_vm::image::{ImageArgs, disk_size};
use kiln_vm::source::Checksum;

use super::super::media;
use super::boot::{Late, late_map};
use super::{at, text};
use crate::builder::fetched::{self, SCHEMES};
use crate::error::Result;

/// What files a disc has.
#[derive(Debug, Clone, Default)]
pub struct Disc {
    /// Files and directories.
    pub files: Vec<PathBuf>,
    /// Contents by their path.
    pub content: Vec<(String, Late)>,
    /// Its label.
    pub label: String,
}

impl Disc {
    /// Whether there is to be none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.content.is_empty()
    }
}

/// The first disk.
#[derive(Debug, Clone)]
pub struct Disk {
    /// Whether the fetched file is a disk, and no installer.
    pub is_image: bool,
    /// Whether the result is on top of it.
    pub backing: bool,
    /// `qcow2` or `raw`.
    pub format: String,
    /// Bytes.
    pub size: u64,
    /// Whether the template says so.
    pub sized: bool,
    /// Sizes of further ones, in bytes.
    pub more: Vec<u64>,
    /// Whether it stays as large as it came.
    pub keep_size: bool,
    /// Whether it is not rewritten at the end.
    pub keep_holes: bool,
    /// Whether it is compressed at the end.
    pub compress: bool,
    /// Arguments of qemu-img.
    pub image_args: ImageArgs,
}

pub(super) fn source(f: &Fields<'_>) -> Result<(Vec<String>, Checksum)> {
    let one = text(f, "iso_url")?;
    let several = f.strings("iso_urls")?.unwrap_or_default();
    if one.is_some() && !several.is_empty() {
        return Err(f.fault("iso_urls", "BadSource", "only one of iso_url or iso_urls may be specified").into());
    }
    let addresses: Vec<String> = one.into_iter().chain(several).collect();
    if addresses.is_empty() {
        return Err(f.missing("iso_url").hint("the installer, or with disk_image the disk, to start from").into());
    }
    if let Some(bad) = addresses.iter().find(|a| a.split_once("://").is_some_and(|(s, _)| !SCHEMES.contains(&s))) {
        let key = if f.has("iso_url") { "iso_url" } else { "iso_urls" };
        let message = format!("`{bad}`: it is fetched by {} only", SCHEMES.join(", "));
        return Err(f.fault(key, "BadSource", message).into());
    }
    match fetched::checksum(f)? {
        Some(sum) => Ok((addresses, sum)),
        None => Err(f.missing("iso_checksum").hint("a sum, as `sha256:…`, or \"none\" to take what comes").into()),
    }
}

pub(super) fn target_path(f: &Fields<'_>) -> Result<Option<PathBuf>> {
    // The cache keeps the end of the name, which is what this is for.
    f.ignore(&["iso_target_extension"]);
    if f.bool("iso_skip_cache")?.unwrap_or(false) {
        let message = "qemu itself is not made to read from the network: what is fetched is checked first";
        return Err(f.fault("iso_skip_cache", "UnsupportedKey", message).into());
    }
    Ok(text(f, "iso_target_path")?.map(PathBuf::from))
}

pub(super) fn disk(f: &Fields<'_>) -> Result<Disk> {
    let size = text(f, "disk_size")?;
    let mut more = Vec::new();
    for text in f.strings("disk_additional_size")?.unwrap_or_default() {
        more.push(at(f, disk_size("disk_additional_size", &text))?);
    }
    let is_image = f.bool("disk_image")?.unwrap_or(false);
    let backing = f.bool("use_backing_file")?.unwrap_or(false);
    let disk = Disk {
        is_image,
        backing,
        format: text(f, "format")?.unwrap_or_else(|| "qcow2".to_owned()),
        sized: size.is_some(),
        size: at(f, disk_size("disk_size", size.as_deref().unwrap_or("40960M")))?,
        more,
        keep_size: f.bool("skip_resize_disk")?.unwrap_or(false),
        // Rewriting would take the file below away.
        keep_holes: f.bool("skip_compaction")?.unwrap_or(false) || backing,
        compress: f.bool("disk_compression")?.unwrap_or(false),
        image_args: image_args(f)?,
    };
    if !["qcow2", "raw"].contains(&&*disk.format) {
        let fault = f.fault("format", "BadFormat", "invalid format, only 'qcow2' or 'raw' are allowed");
        return Err(fault.hint("other formats: `kiln node build -builder offline -format vmdk`, or qemu-img").into());
    }
    if backing && !(is_image && disk.format == "qcow2") {
        let message = "use_backing_file can only be enabled for QCOW2 images and when disk_image is true";
        return Err(f.fault("use_backing_file", "BadDisk", message).into());
    }
    if disk.keep_size && !is_image {
        let message = "skip_resize_disk can only be used when disk_image is true";
        return Err(f.fault("skip_resize_disk", "BadDisk", message).into());
    }
    if disk.compress && disk.format == "raw" {
        let message = "disks of the format raw cannot be compressed";
        return Err(f.fault("disk_compression", "BadDisk", message).into());
    }
    Ok(disk)
}

pub(super) fn image_args(f: &Fields<'_>) -> Result<ImageArgs> {
    let Some(config) = f.object("qemu_img_args")? else { return Ok(ImageArgs::default()) };
    let inner = config.fields();
    let args = ImageArgs {
        create: inner.strings("create")?.unwrap_or_default(),
        convert: inner.strings("convert")?.unwrap_or_default(),
        resize: inner.strings("resize")?.unwrap_or_default(),
    };
    inner.finish()?;
    Ok(args)
}

pub(super) fn floppy(f: &Fields<'_>) -> Result<Disc> {
    let mut files = existing(f, "floppy_files")?;
    files.extend(existing(f, "floppy_dirs")?);
    let label = text(f, "floppy_label")?.unwrap_or_else(|| "packer".to_owned());
    Ok(Disc { files, content: late_map(f, "floppy_content")?, label })
}

pub(super) fn cd(f: &Fields<'_>) -> Result<Disc> {
    let label = text(f, "cd_label")?.unwrap_or_else(|| "packer".to_owned());
    Ok(Disc { files: existing(f, "cd_files")?, content: late_map(f, "cd_content")?, label })
}

/// Files that must be there; a pattern stands for all that match it.
pub(super) fn existing(f: &Fields<'_>, key: &str) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for text in f.strings(key)?.unwrap_or_default() {
        let path = PathBuf::from(&text);
        if path.exists() {
            all.push(path);
            continue;
        }
        let found = media::matching(&text);
        if found.is_empty() {
            return Err(f.fault(key, "NoFile", format!("Bad {key} entry '{text}': there is no such file")).into());
        }
        all.extend(found);
    }
    Ok(all)
}
