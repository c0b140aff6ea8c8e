//! Discs and floppies that the guest sees: `cd_files`, `cd_content`, `floppy_files`, …

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use kiln_disk::fat;
use kiln_spec::glob::fnmatch;
use kiln_vm::seed::{FatImage, Seed};

use super::config::Disc;
use crate::error::Result;

/// Of all files of a disc that is written as FAT.
const LARGEST: u64 = 1 << 30;
/// A patterns' files at the most.
const MOST: usize = 10_000;

/// FAT by the disk crate.
pub struct Fat;

impl FatImage for Fat {
    fn write(&self, image: &Path, label: &str, root: &Path, size: Option<u64>) -> Result<(), String> {
        let mut names = Vec::new();
        walk(root, "", &mut names).map_err(|e| e.to_string())?;
        let total: u64 = names.iter().map(|(_, _, len)| len.next_multiple_of(4096) + 4096).sum();
        if total > LARGEST {
            return Err("its files are too large together".to_owned());
        }
        let mut files = Vec::new();
        for (name, path, len) in names {
            let body = File::open(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            files.push(fat::File { path: name, len, body: Box::new(body) });
        }
        let len = size.unwrap_or_else(|| (total + total / 4 + (1 << 20)).next_multiple_of(1 << 20));
        let options = fat::Options { len, label: label.to_ascii_uppercase(), serial: 0x4b49_4c4e, offset: 0, epoch: 0 };
        let mut out = File::create(image).map_err(|e| e.to_string())?;
        out.set_len(len).map_err(|e| e.to_string())?;
        fat::write(&mut out, files, &options).map_err(|e| e.to_string())
    }
}

fn walk(dir: &Path, prefix: &str, out: &mut Vec<(String, PathBuf, u64)>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            return Err(std::io::Error::other(format!("{}: no name for FAT", entry.path().display())));
        };
        let (name, meta) = (format!("{prefix}{name}"), entry.metadata()?);
        if meta.is_dir() {
            walk(&entry.path(), &format!("{name}/"), out)?;
        } else {
            out.push((name, entry.path(), meta.len()));
        }
    }
    out.sort();
    Ok(())
}

/// What is to go onto a disc, with its late parts rendered.
///
/// # Errors
/// When one cannot be rendered.
pub fn seed(disc: &Disc, data: &[(&str, &str)]) -> Result<Seed> {
    let mut content = BTreeMap::new();
    for (name, text) in &disc.content {
        content.insert(name.clone(), text.render(data)?.into_bytes());
    }
    Ok(Seed { label: disc.label.clone(), files: disc.files.clone(), content })
}

/// Files whose names match a pattern, in the last part of which `*` and `?` stand for others.
pub fn matching(pattern: &str) -> Vec<PathBuf> {
    let (dir, last) = pattern.rsplit_once('/').map_or((".", pattern), |(dir, last)| (dir, last));
    if !last.contains(['*', '?']) {
        return Vec::new();
    }
    let Ok(entries) = std::fs::read_dir(if dir.is_empty() { "/" } else { dir }) else { return Vec::new() };
    let names = entries.take(MOST).filter_map(|e| e.ok().map(|e| e.path()));
    let fits = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        fnmatch(last, &name)
    };
    let mut found: Vec<PathBuf> = names.filter(fits).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disc_of_fat_has_its_files() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        std::fs::write(dir.path().join("user-data"), "#cloud-config\n").unwrap();
        std::fs::write(dir.path().join("sub/long name.txt"), vec![b'x'; 70_000]).unwrap();
        let image = tempfile::NamedTempFile::new().unwrap();
        for size in [None, Some(1_474_560)] {
            Fat.write(image.path(), "cidata", dir.path(), size).unwrap();
            let reader = fat::Reader::open(File::open(image.path()).unwrap()).unwrap();
            assert_eq!(reader.label().trim(), "CIDATA");
            let names: Vec<String> = reader.entries().unwrap().iter().map(|e| e.path.clone()).collect();
            assert!(names.contains(&"sub/long name.txt".to_owned()), "{names:?}");
        }
        let error = Fat.write(image.path(), "cidata", dir.path(), Some(40_000)).unwrap_err();
        assert!(!error.is_empty());
    }
}
