//! A build context that is a zip: turned into a tar on the way, so that it is unpacked under the same rules.
//!
//! Modes and symbolic links are those that Info-ZIP and others store for Unix; without them, files are 0644 and
//! directories 0755. Times are the extended ones where an entry has them, else DOS times, taken for UTC: a zip does not
//! say which zone it means, and two builds of the same zip must agree.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};

use kiln_oci::layer::LayerWriter;
use kiln_oci::{Entry, EntryKind, Meta, Mtime};
use zip::read::{Config, ZipFile};
use zip::{DateTime, ExtraField, ZipArchive};

/// Longest target of a symbolic link, as the kernel has it.
const MAX_TARGET: u64 = 4096;
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

/// Seconds since 1970 of a date in UTC: days by the civil calendar's cycle of 400 years.
fn seconds(time: DateTime) -> i64 {
    let (year, month, day) = (i64::from(time.year()), i64::from(time.month()), i64::from(time.day()));
    // Years begin in March, so that a leap day is a year's last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468;
    days * 86_400 + i64::from(time.hour()) * 3600 + i64::from(time.minute()) * 60 + i64::from(time.second())
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
    fn a_zip_is_known_by_its_head() {
        assert!(is_zip(b"PK\x03\x04rest") && is_zip(b"PK\x05\x06"));
        assert!(!is_zip(b"PK") && !is_zip(b"FROM scratch"));
    }
}
