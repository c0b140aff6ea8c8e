//! Files that hold a disk, and what is in them.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use std::sync::Arc;

use kiln_disk::DiskError;
use kiln_disk::image::{self, Format, Source};
use kiln_disk::image::{Backing, MAX_SIZE};
use kiln_disk::io::{ReadAt, WriteAt};
use kiln_disk::root::Content;

use crate::error::{NodeError, Result};

/// The first bytes of gzip.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// How much of an archive is unpacked before it is known to be a disk.
const HEAD: u64 = 64 << 10;

/// Whether a file is a disk: of a format that says so, with a partition table, or with a file system.
pub(super) fn is_disk(path: &Path) -> Result<bool> {
    let mut head = Vec::new();
    let file = File::open(path).map_err(NodeError::file("read", path))?;
    let read = (&file).take(2048).read_to_end(&mut head);
    read.map_err(NodeError::file("read", path))?;
    let at = |offset: usize, bytes: &[u8]| head.get(offset..offset + bytes.len()) == Some(bytes);
    let formats: [&[u8]; 6] = [b"QFI\xfb", b"KDMV", b"conectix", b"vhdxfile", b"COWD", b"# Disk DescriptorFile"];
    if formats.iter().any(|magic| at(0, magic)) || at(512, b"EFI PART") || at(1080, b"\x53\xef") || at(510, b"\x55\xaa")
    {
        return Ok(true);
    }
    if matches!(Content::of(&file), Content::Xfs | Content::Btrfs) {
        return Ok(true);
    }
    Ok(at(0, &GZIP) && first_name(path).is_some_and(|name| name == "disk.raw"))
}

/// The name of the first entry of a compressed archive, if it is one.
fn first_name(path: &Path) -> Option<String> {
    let unpacked = flate2::read::MultiGzDecoder::new(File::open(path).ok()?).take(HEAD);
    let mut archive = tar::Archive::new(unpacked);
    let entry = archive.entries().ok()?.next()?.ok()?;
    let path = entry.path().ok()?;
    Some(path.to_string_lossy().trim_start_matches("./").to_owned())
}

/// The bytes of the disk in a file. No other file is opened for it: an image that stands on another is refused.
pub(super) fn disk(file: File) -> Result<Arc<dyn Source>, DiskError> {
    let mut magic = [0; 2];
    let is_gzip = ReadAt::read_exact_at(&file, &mut magic, 0).is_ok() && magic == GZIP;
    let (file, format) = if is_gzip { (unpack(file)?, Some(Format::Raw)) } else { (file, None) };
    image::open(file, format, &Backing::Refuse).map(|image| Arc::from(image.disk))
}

/// The disk in an archive as Google's cloud imports it, as a sparse file without a name.
fn unpack(mut file: File) -> Result<File, DiskError> {
    let unread = |source| DiskError::Read { what: "archive", offset: 0, source };
    let wrong = |why: &str| DiskError::Damaged {
        format: "tar.gz of a disk",
        what: "its first file".to_owned(),
        why: why.to_owned(),
    };
    file.rewind().map_err(unread)?;
    let mut archive = tar::Archive::new(flate2::read::MultiGzDecoder::new(file));
    let mut entries = archive.entries().map_err(unread)?;
    let mut entry = entries.next().ok_or_else(|| wrong("there is none"))?.map_err(unread)?;
    let name = entry.path().map_err(unread)?.to_string_lossy().trim_start_matches("./").to_owned();
    if name != "disk.raw" {
        return Err(wrong("it is not called disk.raw"));
    }
    let size = entry.size();
    if size > MAX_SIZE {
        return Err(wrong("it is larger than a disk can be"));
    }
    let mut raw = tempfile::tempfile().map_err(unread)?;
    let failed = |source| DiskError::Write { what: "unpacked disk", offset: 0, source };
    raw.zero_at(0, size).map_err(failed)?;
    let mut buf = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        let n = entry.read(&mut buf).map_err(unread)?;
        if n == 0 {
            break;
        }
        // Holes stay holes: an archive of a few bytes may be a disk of terabytes.
        if !image::is_zero(&buf[..n]) {
            raw.write_at(&buf[..n], at).map_err(failed)?;
        }
        at += n as u64;
    }
    if at != size {
        return Err(wrong(&format!("it ends after {at} of {size} bytes")));
    }
    Ok(raw)
}
