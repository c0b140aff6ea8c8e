//! Disks in files: the formats that hypervisors and clouds take.
//!
//! [`open`] finds out what a file is and reads it as the disk it holds; [`write`] writes a disk in one pass, and
//! [`write_until`] until somebody wants it to stop. All skip what is zero. Every format has one file:
//!
//! | format | written | read |
//! |---|---|---|
//! | raw | sparse | yes |
//! | qcow2 | version 3, plain, zlib, zstd | versions 2 and 3, backing files by leave |
//! | VHD | fixed, dynamic | fixed, dynamic |
//! | VMDK | monolithicSparse, streamOptimized | both |
//! | GCE's tar.gz | old GNU tar, sparse | no |

mod gce;
pub mod qcow2;
mod source;
mod until;
mod vhd;
mod vmdk;

use std::fs::File;

pub use qcow2::{Backing, Compression};
pub use source::{Block, Source, is_zero, scan};
pub use until::write_until;

use crate::error::{DiskError, Result};
use crate::io::{ReadAt, WriteAt};

/// No disk is larger: 64 TiB.
pub const MAX_SIZE: u64 = 64 << 40;

/// What a disk is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The bytes of the disk, with holes.
    Raw,
    /// QEMU's own.
    Qcow2,
    /// Virtual PC's, as Azure and Alibaba Cloud import it: the bytes of the disk and a footer.
    VhdFixed,
    /// The same with tables, smaller.
    VhdDynamic,
    /// VMware's with tables.
    Vmdk,
    /// VMware's compressed, as it is in an OVA.
    VmdkStream,
    /// A `disk.raw` in a tar.gz, as Google Cloud imports it.
    Gce,
}

impl Format {
    /// All of them, with their names as a user types them.
    pub const ALL: [(&'static str, Format); 7] = [
        ("raw", Format::Raw),
        ("qcow2", Format::Qcow2),
        ("vhd", Format::VhdFixed),
        ("vhd-dynamic", Format::VhdDynamic),
        ("vmdk", Format::Vmdk),
        ("vmdk-stream", Format::VmdkStream),
        ("gce", Format::Gce),
    ];

    /// The format a user means by `name`.
    pub fn parse(name: &str) -> Option<Format> {
        Format::ALL.iter().find(|(n, _)| *n == name).map(|(_, format)| *format)
    }

    /// Its name as a user types it.
    pub fn name(self) -> &'static str {
        Format::ALL.iter().find(|(_, format)| *format == self).map_or("raw", |(name, _)| name)
    }

    /// What a size must be a multiple of.
    pub fn granule(self) -> u64 {
        match self {
            Format::Gce => 1 << 30,
            Format::VhdFixed | Format::VhdDynamic => 1 << 20,
            _ => 512,
        }
    }
}

/// How to write.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// What is written.
    pub format: Format,
    /// How a qcow2 image is compressed, if at all.
    pub compression: Option<Compression>,
    /// Threads that compress. The bytes do not depend on it.
    pub threads: usize,
    /// What makes identifiers: the same seed gives the same bytes.
    pub seed: [u8; 16],
    /// Seconds since 1970 for formats that hold a time.
    pub epoch: u64,
}

impl Options {
    /// A format with its usual settings.
    pub fn new(format: Format) -> Options {
        Options { format, compression: None, threads: 1, seed: [0; 16], epoch: 0 }
    }
}

/// Writes the disk `source` to `out`, which is empty.
///
/// # Errors
/// When the format cannot hold such a disk, or reading or writing fails.
pub fn write(source: &dyn Source, out: &mut dyn WriteAt, options: &Options) -> Result<()> {
    match options.format {
        Format::Raw => raw(source, out),
        Format::Qcow2 => {
            qcow2::write(source, out, &qcow2::Options { compression: options.compression, threads: options.threads })
        }
        Format::VhdFixed => vhd::write_fixed(source, out, options),
        Format::VhdDynamic => vhd::write_dynamic(source, out, options),
        Format::Vmdk => vmdk::write_sparse(source, out, options),
        Format::VmdkStream => vmdk::write_stream(source, out, options),
        Format::Gce => gce::write(source, out, options),
    }
}

fn raw(source: &dyn Source, out: &mut dyn WriteAt) -> Result<()> {
    const BLOCK: usize = 64 << 10;
    let len = source.len().map_err(|e| source::read_error(0, e))?;
    out.zero_at(0, len).map_err(|source| DiskError::Write { what: "disk", offset: 0, source })?;
    scan(source, BLOCK, |blocks| {
        for block in blocks {
            let offset = block.index * BLOCK as u64;
            let real = usize::try_from(len - offset).unwrap_or(usize::MAX).min(BLOCK);
            let put = out.write_at(&block.data[..real], offset);
            put.map_err(|source| DiskError::Write { what: "disk", offset, source })?;
        }
        Ok(())
    })
}

/// A disk that was opened.
pub struct Image {
    /// What it is written as.
    pub format: Format,
    /// Its bytes.
    pub disk: Box<dyn Source>,
}

/// What the content of `file` says it is. Whoever wrote a raw disk can make it look like another format: where the
/// format is known, do not ask.
///
/// # Errors
/// When it is a format that Kiln does not read.
pub fn detect(file: &File) -> Result<Format> {
    let len = ReadAt::len(file).map_err(|source| DiskError::Read { what: "disk", offset: 0, source })?;
    let mut head = vec![0; usize::try_from(len.min(512)).unwrap_or(512)];
    file.read_exact_at(&mut head, 0).map_err(|source| DiskError::Read { what: "disk", offset: 0, source })?;
    let foreign: [(&[u8], &str); 8] = [
        (b"vhdxfile", "VHDX"),
        (b"COWD", "VMDK of ESX's old kind"),
        (b"# Disk DescriptorFile", "VMDK description without its data"),
        (b"<<< ", "VDI"),
        (&[0x1f, 0x8b], "gzip"),
        (b"\xfd7zXZ", "xz"),
        (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
        (b"QED\0", "QED"),
    ];
    if let Some((_, what)) = foreign.iter().find(|(magic, _)| head.starts_with(magic)) {
        let what = format!("its format, {what}; unpack it or convert it with `qemu-img convert -O qcow2`");
        return Err(DiskError::Unsupported { format: "disk", what });
    }
    match &head {
        h if h.starts_with(&qcow2::MAGIC) => Ok(Format::Qcow2),
        h if h.starts_with(b"KDMV") => Ok(Format::Vmdk),
        h if h.starts_with(b"conectix") => Ok(Format::VhdDynamic),
        _ if vhd::has_footer(file, len) => Ok(Format::VhdFixed),
        _ => Ok(Format::Raw),
    }
}

/// Opens `file`, in the format it is said to have or, with `None`, looks to have.
///
/// # Errors
/// As [`detect`], and when the file is damaged.
pub fn open(file: File, format: Option<Format>, backing: &Backing) -> Result<Image> {
    let format = match format {
        Some(format) => format,
        None => detect(&file)?,
    };
    let disk: Box<dyn Source> = match format {
        Format::Raw => Box::new(file),
        Format::Qcow2 => Box::new(qcow2::open(file, backing)?),
        Format::VhdFixed | Format::VhdDynamic => vhd::open(file)?,
        Format::Vmdk | Format::VmdkStream => Box::new(vmdk::open(file)?),
        Format::Gce => {
            let what = "a tar.gz instead of a disk; unpack `disk.raw` first".to_owned();
            return Err(DiskError::Unsupported { format: "disk", what });
        }
    };
    Ok(Image { format, disk })
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Image").field("format", &self.format).finish_non_exhaustive()
    }
}
