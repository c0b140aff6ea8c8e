//! A build context that is a zip: turned into a tar on the way, so that it is unpacked under the same rules.
//!
//! Modes and symbolic links are those that Info-ZIP and others store for Unix; without them, files are 0644 and
//! directories 0755. Times are the extended ones where an entry has them, else DOS times, taken for UTC: a zip does not
//! say which zone it means, and two builds of the same zip must agree.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::FileExt;

use kiln_oci::layer::LayerWriter;
use kiln_oci::{Entry, EntryKind, Meta, Mtime, time};
use zip::read::{Config, ZipFile};
use zip::{DateTime, ExtraField, ZipArchive};

/// Longest target of a symbolic link, as the kernel has it.
const MAX_TARGET: u64 = 4096;
/// The most entries: an index of so many takes some hundred megabytes.
const MAX_ENTRIES: u64 = 1_000_000;
/// The record at the end without its comment, and the longest comment.
const END: u64 = 22;
const COMMENT: u64 = 0xffff;
/// The locator of the larger end record, just before the end record; and where that record has its number of entries.
const LOCATOR: u64 = 20;
const ENTRIES_64: u64 = 32;

/// File types in a Unix mode.
const TYPE: u32 = 0o170_000;
const SYMLINK: u32 = 0o120_000;
const DIRECTORY: u32 = 0o040_000;

/// Whether a stream that begins so is a zip.
pub(super) fn is_zip(head: &[u8]) -> bool {
    // An archive with entries, or the end of one without.
    head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06")
}

/// Writes the entries of a zip as a tar.
///
/// # Errors
/// When it is damaged, encrypted, or compressed in a way other than deflate, or `out` fails.
pub(super) fn to_tar(zip: File, out: impl Write) -> io::Result<()> {
    let count = entries(&zip)?;
    if count > MAX_ENTRIES {
        return Err(io::Error::other(format!("it lists {count} entries, and may have {MAX_ENTRIES}")));
    }
    let mut archive = ZipArchive::with_config(Config::default(), BufReader::new(zip)).map_err(io::Error::other)?;
    let mut tar = LayerWriter::new(out);
    for index in 0..archive.len() {
        let mut file = archive.by_index(index).map_err(|e| io::Error::other(format!("entry {index}: {e}")))?;
        let entry = entry(&mut file)?;
        let failed = |e: kiln_oci::layer::LayerError| io::Error::other(crate::rootfs::chain_text(&e));
        // A body longer than it says is caught by its checksum, which is read with its end.
        tar.append(&entry, &mut file).map_err(failed)?;
        if file.read(&mut [0])? != 0 {
            return Err(io::Error::other(format!("entry {index} is longer than it says")));
        }
    }
    tar.finish().map_err(|e| io::Error::other(crate::rootfs::chain_text(&e)))?;
    Ok(())
}

/// How many entries the records at the end announce: no more are read. The reader makes an index of all of them before it
/// can be asked.
fn entries(zip: &File) -> io::Result<u64> {
    let size = zip.metadata()?.len();
    let start = size.saturating_sub(END + COMMENT);
    let mut tail = vec![0; usize::try_from(size - start).unwrap_or(0)];
    zip.read_exact_at(&mut tail, start)?;
    let end = tail.windows(4).rposition(|w| w == b"PK\x05\x06").ok_or_else(|| io::Error::other("it has no end"))?;
    let count = tail.get(end + 10..end + 12).ok_or_else(|| io::Error::other("its end is cut"))?;
    let count = u64::from(u16::from_le_bytes([count[0], count[1]]));
    if count < 0xffff {
        return Ok(count);
    }
    let mut place = [0; 8];
    let Some(locator) = (start + end as u64).checked_sub(LOCATOR) else { return Ok(count) };
    zip.read_exact_at(&mut place, locator + 8)?;
    let mut count = [0; 8];
    match u64::from_le_bytes(place).checked_add(ENTRIES_64) {
        // Without the larger record, the number is as it is.
        Some(at) if at + 8 <= size => zip.read_exact_at(&mut count, at)?,
        _ => return Ok(0xffff),
    }
    Ok(u64::from_le_bytes(count))
}

fn entry(file: &mut ZipFile<'_, BufReader<File>>) -> io::Result<Entry> {
    let mode = file.unix_mode();
    let path = file.name_raw().to_vec();
    let is_dir = path.ends_with(b"/") || mode.is_some_and(|m| m & TYPE == DIRECTORY);
    let kind = if is_dir {
        EntryKind::Dir
    } else if mode.is_some_and(|m| m & TYPE == SYMLINK) {
        let mut target = Vec::new();
        file.take(MAX_TARGET).read_to_end(&mut target)?;
        EntryKind::Symlink { target }
    } else {
        EntryKind::File { size: file.size() }
    };
    let usual = if is_dir { 0o755 } else { 0o644 };
    let permissions = mode.map(|m| m & 0o7777).filter(|m| *m != 0).unwrap_or(usual);
    let path = path.strip_suffix(b"/").map_or(path.clone(), <[u8]>::to_vec);
    Ok(Entry { path, kind, meta: Meta { mtime: mtime(file), ..Meta::mode(permissions) } })
}

fn mtime(file: &ZipFile<'_, BufReader<File>>) -> Mtime {
    let extended = file.extra_data_fields().find_map(|field| match field {
        ExtraField::ExtendedTimestamp(times) => times.mod_time(),
        _ => None,
    });
    match (extended, file.last_modified()) {
        // The field holds signed seconds.
        (Some(secs), _) => Mtime::secs(i64::from(secs.cast_signed())),
        (None, Some(time)) => Mtime::secs(seconds(time)),
        (None, None) => Mtime::secs(0),
    }
}

/// Seconds since 1970 of a date, taken for UTC.
fn seconds(at: DateTime) -> i64 {
    let date = [i64::from(at.year()), i64::from(at.month()), i64::from(at.day())];
    time::seconds_of(date, [i64::from(at.hour()), i64::from(at.minute()), i64::from(at.second())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_seconds() {
        for (date, want) in [
            ((1980, 1, 1, 0, 0, 0), 315_532_800),
            ((2000, 2, 29, 12, 0, 0), 951_825_600),
            ((2026, 11, 26, 4, 37, 26), 1_795_667_846),
        ] {
            let (year, month, day, hour, minute, second) = date;
            let time = DateTime::from_date_and_time(year, month, day, hour, minute, second).unwrap();
            assert_eq!(seconds(time), want);
        }
    }

    #[test]
    fn too_many_entries_are_refused_before_they_are_read() {
        let file = tempfile::tempfile().unwrap();
        let mut record = b"PK\x06\x06".to_vec();
        record.resize(56, 0);
        record[32..40].copy_from_slice(&3_000_000_u64.to_le_bytes());
        let locator = [&b"PK\x06\x07"[..], &[0; 4], &0_u64.to_le_bytes(), &[1, 0, 0, 0]].concat();
        let end = [&b"PK\x05\x06"[..], &[0; 4], &[0xff; 4], &[0; 10]].concat();
        (&file).write_all(&[record, locator, end].concat()).unwrap();
        assert_eq!(entries(&file).unwrap(), 3_000_000);
        let error = to_tar(file, io::sink()).unwrap_err();
        assert!(error.to_string().contains("lists 3000000 entries"), "{error}");
        let cut = tempfile::tempfile().unwrap();
        (&cut).write_all(b"PK\x03\x04").unwrap();
        assert!(entries(&cut).is_err());
    }

    #[test]
    fn a_zip_is_known_by_its_head() {
        assert!(is_zip(b"PK\x03\x04rest") && is_zip(b"PK\x05\x06"));
        assert!(!is_zip(b"PK") && !is_zip(b"FROM scratch"));
    }
}
