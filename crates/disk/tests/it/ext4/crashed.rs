//! File systems that were not unmounted: what is only in the journal is read from there.

use std::fs;
use std::path::Path;

use kiln_disk::DiskError;
use kiln_disk::ext4::Image;
use kiln_disk::fs::{Files, Fs};
use tempfile::NamedTempFile;

use super::tree::{Mounted, Tree, blank, e2fs, noise, said, tool};
use crate::reading::contents;

const MIB: u64 = 1 << 20;

/// Changes a mounted file system, and copies its image while the journal has what is not in its place.
fn crash(image: &Path) -> NamedTempFile {
    let mounted = Mounted::new(image, "loop,commit=300");
    let at = |path: &str| mounted.path().join(path);
    let sync = || said("sync", "coreutils", &["-f", mounted.path().to_str().unwrap()]);
    fs::create_dir(at("new")).unwrap();
    for n in 0..400 {
        fs::write(at(&format!("new/file-{n}")), noise(n * 10, n as u64)).unwrap();
    }
    sync();
    // Blocks of directories that become blocks of files: the journal's older states of them must not count.
    fs::remove_dir_all(at("new")).unwrap();
    fs::write(at("after"), noise(300_000, 7)).unwrap();
    sync();
    fs::create_dir(at("later")).unwrap();
    for n in 0..50 {
        fs::write(at(&format!("later/{n}")), format!("{n}")).unwrap();
    }
    sync();
    let copy = NamedTempFile::new().unwrap();
    said("cp", "coreutils", &["--sparse=always", image.to_str().unwrap(), copy.path().to_str().unwrap()]);
    copy
}

/// What `e2fsck` makes of it, and what is read without it, are the same.
fn replayed(crashed: &NamedTempFile) {
    let image = Image::open(crashed.reopen().unwrap()).unwrap();
    let before = fs::read(crashed.path()).unwrap();
    let ours = contents(&Fs::from(image));
    assert!(fs::read(crashed.path()).unwrap() == before, "reading wrote");
    let output = tool("e2fsck", "e2fsprogs", &["-fy", crashed.path().to_str().unwrap()]);
    assert!(output.status.code().is_some_and(|code| code <= 1), "{output:?}");
    let repaired = Image::open(crashed.reopen().unwrap()).unwrap();
    assert!(!repaired.superblock().needs_recovery);
    let theirs = contents(&Fs::from(repaired));
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    assert!(ours == theirs);
    assert!(ours.contains_key(&b"later/49"[..]) && !ours.contains_key(&b"new"[..]));
}

#[test]
fn what_the_kernel_left_in_the_journal_is_read() {
    let image = Tree::sample().image(64 * MIB);
    let crashed = crash(image.path());
    let opened = Image::open(crashed.reopen().unwrap()).unwrap();
    assert!(opened.superblock().needs_recovery);
    replayed(&crashed);
    for how in ["-t ext3", "-t ext4 -O ^metadata_csum", "-t ext4 -O ^metadata_csum,^64bit -b 1024", "-t ext4"] {
        let image = blank(64 * MIB);
        let mut args: Vec<&str> = how.split(' ').collect();
        args.extend(["-q", "-F", image.path().to_str().unwrap()]);
        e2fs("mke2fs", &args);
        replayed(&crash(image.path()));
    }
}

#[test]
fn data_in_the_journal_is_read_with_its_magic_number() {
    let image = Tree::sample().image(64 * MIB);
    let mounted = Mounted::new(image.path(), "loop,commit=300,data=journal");
    let mut body = noise(40_960, 5);
    body[8192..8196].copy_from_slice(&[0xC0, 0x3B, 0x39, 0x98]);
    fs::write(mounted.path().join("journaled"), &body).unwrap();
    said("sync", "coreutils", &["-f", mounted.path().to_str().unwrap()]);
    let copy = NamedTempFile::new().unwrap();
    said("cp", "coreutils", &[image.path().to_str().unwrap(), copy.path().to_str().unwrap()]);
    let image = Image::open(copy.reopen().unwrap()).unwrap();
    assert!(image.superblock().needs_recovery);
    assert!(image.read(b"journaled", 1 << 20).unwrap().unwrap() == body);
}

#[test]
fn a_journal_that_is_damaged_is_an_error_or_ends_there() {
    let crashed = crash(Tree::sample().image(64 * MIB).path());
    let bytes = fs::read(crashed.path()).unwrap();
    // The journal is where its superblock is.
    let magic = [0xC0, 0x3B, 0x39, 0x98, 0, 0, 0, 4];
    let start = bytes.chunks(4096).position(|block| block.starts_with(&magic)).unwrap() * 4096;
    let (mut errors, mut opened) = (0, 0);
    let mut bytes = bytes;
    for n in 0..100u64 {
        let noise = u64::from_le_bytes(noise(8, n * 77 + 1).try_into().unwrap());
        let at = start + (noise % (60 * 4096)) as usize;
        bytes[at] ^= 1 << (n % 8);
        match Image::open(&bytes) {
            Err(DiskError::Damaged { .. } | DiskError::Unsupported { .. }) => errors += 1,
            Err(other) => panic!("{other}"),
            Ok(image) => opened += image.walk().take(100_000).count().min(1),
        }
        bytes[at] ^= 1 << (n % 8);
    }
    assert!(errors > 0 && opened > 0, "{errors} errors, {opened} opened");
}
