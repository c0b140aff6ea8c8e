//! Tars: layers and archives of any dialect.

use std::io::Read;

use kiln_oci::entry::{EntryKind, KEPT_XATTRS};
use kiln_oci::layer::{LayerReader, LayerWriter, Names, ReadOptions};
use kiln_oci::{Entry, Mtime, name};

const BLOCK: usize = 512;
const MAX_ENTRIES: u64 = 1000;

/// As it is, and with the checksums that a fuzzer cannot guess.
pub fn run(bytes: &[u8]) {
    check(bytes);
    let mut summed = bytes.to_vec();
    let mut any = false;
    for block in summed.chunks_exact_mut(BLOCK).filter(|block| block[257..262] == *b"ustar") {
        resum(block);
        any = true;
    }
    if any {
        check(&summed);
    }
}

fn resum(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}

fn check(tar: &[u8]) {
    for names in [Names::Layer, Names::Archive] {
        let options =
            ReadOptions { names, max_entries: MAX_ENTRIES, max_size: 1 << 20, max_extended: 4096, max_names: 1 << 20 };
        let Some(entries) = read(tar, options) else { continue };
        assert!(entries.len() as u64 <= MAX_ENTRIES);
        for (entry, _) in &entries {
            check_entry(entry, names);
        }
        // What is written of it reads the same.
        let mut writer = LayerWriter::new(Vec::new());
        for (entry, body) in &entries {
            writer.append(entry, &mut body.as_slice()).expect("what was read can be written");
        }
        let written = writer.finish().expect("a buffer takes everything");
        let again = read(&written, ReadOptions { names: Names::Layer, ..ReadOptions::default() });
        let wanted: Vec<(Entry, Vec<u8>)> = entries.into_iter().map(|(entry, body)| (canonical(entry), body)).collect();
        assert_eq!(again, Some(wanted));
    }
}

/// The entries and bodies, or `None` for what is no tar.
fn read(tar: &[u8], options: ReadOptions) -> Option<Vec<(Entry, Vec<u8>)>> {
    let mut reader = LayerReader::with_options(tar, options);
    let mut entries = Vec::new();
    while let Some(mut found) = reader.next_entry().ok()? {
        let mut body = Vec::new();
        found.read_to_end(&mut body).ok()?;
        if let EntryKind::File { size } = found.entry.kind {
            assert_eq!(size, body.len() as u64);
        } else {
            assert!(body.is_empty(), "only files have bytes");
        }
        entries.push((found.entry, body));
    }
    reader.drain().ok()?;
    Some(entries)
}

fn check_entry(entry: &Entry, names: Names) {
    assert!(name::is_normal(&entry.path), "{:?}", entry.path);
    assert!(entry.meta.mode <= 0o7777 && entry.meta.mtime.nanos < 1_000_000_000);
    match &entry.kind {
        EntryKind::Hardlink { target } => assert!(name::is_normal(target) && !target.is_empty()),
        EntryKind::Symlink { target } => assert!(!target.contains(&0) && target.len() <= name::MAX_PATH),
        EntryKind::Whiteout | EntryKind::Opaque => assert_eq!(names, Names::Layer, "an archive deletes nothing"),
        _ => {}
    }
}

/// The entry as a layer holds it.
fn canonical(mut entry: Entry) -> Entry {
    entry.meta.xattrs.retain(|key, _| KEPT_XATTRS.contains(&key.as_slice()));
    entry.meta.mtime = Mtime::secs(entry.meta.mtime.secs);
    if matches!(entry.kind, EntryKind::Whiteout | EntryKind::Opaque) {
        entry.meta = Default::default();
    }
    entry
}
