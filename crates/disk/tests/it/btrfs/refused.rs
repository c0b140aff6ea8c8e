//! What is not read is named; damage is found, and healed where there is a copy.

use std::fs;
use std::io::Read;

use kiln_disk::ReadAt;
use kiln_disk::btrfs::Image;
use kiln_disk::fs::Files;

use super::made::{MIB, contents, mkfs, mount, open};
use crate::ext4::tree::{blank, noise};
use crate::tools::{run, text};

const SUPER: usize = 64 << 10;

/// CRC-32C, bit by bit.
pub fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, b| {
        (0..8).fold(crc ^ u32::from(*b), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0x82F6_3B78 } else { 0 })
    })
}

/// Writes the checksum of a node or a superblock.
pub fn seal(bytes: &mut [u8]) {
    let sum = crc32c(&bytes[32..]).to_le_bytes();
    bytes[..4].copy_from_slice(&sum);
}

fn said(bytes: &[u8]) -> String {
    match Image::open(bytes) {
        Ok(image) => {
            let errors = image.walk().filter_map(|found| match found {
                Ok(found) => {
                    let mut body = image.open_file(&found).ok()?;
                    body.read_to_end(&mut Vec::new()).err().map(|e| e.to_string())
                }
                Err(e) => Some(e.to_string()),
            });
            errors.collect::<Vec<_>>().into_iter().next().unwrap_or_else(|| "nothing is wrong".to_owned())
        }
        Err(e) => e.to_string(),
    }
}

#[test]
fn superblocks_that_cannot_be() {
    let good = fs::read(mkfs("", 128 * MIB).path()).unwrap();
    assert_eq!(said(&good), "nothing is wrong");
    let changed = |at: usize, value: &[u8]| {
        let mut bytes = good.clone();
        for copy in [SUPER, 64 << 20] {
            bytes[copy + at..copy + at + value.len()].copy_from_slice(value);
            seal(&mut bytes[copy..copy + 4096]);
        }
        said(&bytes)
    };
    for (at, value, why) in [
        (0xBC, &u64::MAX.to_le_bytes()[..], "zoned, extent_tree_v2, raid_stripe_tree, the unknown feature 0x8000"),
        (0xC4, &[9, 0], "checksums of the unknown kind 9"),
        (0x88, &[2], "2 devices"),
        (0x60, &[1], "a log tree"),
        (0x40, b"x", "there is none"),
        (0x90, &[0, 0, 1, 1], "the size of its blocks makes no sense"),
        (0x94, &[0xFF], "the size of its nodes makes no sense"),
        (0xA0, &[0xFF, 0xFF], "its list of chunks makes no sense"),
        (0xA0, &[20, 0], "its list of chunks makes no sense"),
        (0x32B + 17 + 24, &[0x12], "the profile RAID1, which is for several devices"),
        (0x32B + 17 + 48, &[7], "the device 7"),
        (0x32B + 17 + 56, &[0xFF; 8], "beyond the end of the device"),
        (0x50, &[0; 8], "no chunk has it"),
        (0x48, &[0xEE], "older or newer"),
        (0xC6, &[5], "at the wrong level"),
        (0xC9 + 8, &[0xFF; 7], "of which 134217728 are there"),
        (0x80, &[5], "the directory of its trees makes no sense"),
    ] {
        let text = changed(at, value);
        assert!(text.contains(why), "{at:#x}: {text}");
    }
    for len in [0, 4096, 70_000, 4 << 20, 100 << 20] {
        assert!(Image::open(&good[..len]).is_err(), "{len}");
    }
}

#[test]
fn a_copy_of_the_superblock_takes_the_place_of_a_damaged_one() {
    let mut bytes = fs::read(mkfs("-L copied", 128 * MIB).path()).unwrap();
    bytes[SUPER + 0x50] ^= 1;
    let image = Image::open(&bytes[..]).unwrap();
    assert!(image.superblock().copy && image.superblock().label == b"copied");
    assert_eq!(contents(&image).len(), 1);
    bytes[(64 << 20) + 0x50] ^= 1;
    assert!(said(&bytes).contains("its checksum is wrong"));
}

#[test]
fn several_devices_are_refused() {
    let (one, two) = (blank(128 * MIB), blank(128 * MIB));
    run("mkfs.btrfs", &["-q", "-f", "-d", "raid1", "-m", "raid1", text(one.path()), text(two.path())]);
    assert!(said(&fs::read(one.path()).unwrap()).contains("2 devices: only one is read"));
}

#[test]
fn a_machine_that_was_not_shut_down_is_refused() {
    let image = mkfs("", 128 * MIB);
    let mounted = mount(&image, ",commit=300");
    fs::write(mounted.path().join("first"), b"first").unwrap();
    run("sync", &["-f", text(mounted.path())]);
    let file = fs::File::create(mounted.path().join("later")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"later", 0).unwrap();
    file.sync_all().unwrap();
    let copy = fs::read(image.path()).unwrap();
    drop((file, mounted));
    let text = said(&copy);
    assert!(text.contains("a log tree") && text.contains("mount it once"), "{text}");
    // Once it was, it is read.
    assert_eq!(open(&image).read(b"later", 10).unwrap().unwrap(), b"later");
}

/// Where in an image some bytes are.
fn places(bytes: &[u8], wanted: &[u8]) -> Vec<usize> {
    let first = |from: usize| bytes[from..].windows(wanted.len()).position(|w| w == wanted).map(|at| from + at);
    std::iter::successors(first(0), |at| first(at + 1)).collect()
}

#[test]
fn damaged_data_is_found_with_its_file_and_place() {
    for (how, copies) in [("", 1), ("-d dup", 2)] {
        let image = mkfs(how, 300 * MIB);
        let mounted = mount(&image, "");
        fs::create_dir(mounted.path().join("d")).unwrap();
        fs::write(mounted.path().join("d/file"), noise(900_000, 5)).unwrap();
        drop(mounted);
        let mut bytes = fs::read(image.path()).unwrap();
        let found = places(&bytes, &noise(900_000, 5)[600_000..600_064]);
        assert_eq!(found.len(), copies);
        bytes[found[0]] ^= 1;
        let text = said(&bytes);
        if copies == 2 {
            // The other one is whole.
            assert_eq!(text, "nothing is wrong");
            bytes[found[1]] ^= 1;
        }
        let text = said(&bytes);
        assert!(text.contains("`/d/file` at byte") && text.contains("its checksum is wrong"), "{text}");
    }
}

#[test]
fn a_damaged_node_is_read_from_its_copy() {
    let image = mkfs("-m dup", 300 * MIB);
    let mounted = mount(&image, "");
    fs::write(mounted.path().join("a-name-to-find"), b"x").unwrap();
    drop(mounted);
    let mut bytes = fs::read(image.path()).unwrap();
    // Nodes that are older are there, too.
    let found = places(&bytes, b"a-name-to-find");
    let middle = usize::midpoint(found[0], *found.last().unwrap());
    let (first, second): (Vec<usize>, Vec<usize>) = found.into_iter().partition(|at| *at < middle);
    assert_eq!(first.len(), second.len(), "all are there twice");
    first.iter().for_each(|at| bytes[*at] ^= 1);
    assert_eq!(said(&bytes), "nothing is wrong");
    second.iter().for_each(|at| bytes[*at] ^= 1);
    assert!(said(&bytes).contains("its checksum is wrong"), "{}", said(&bytes));
}

#[test]
fn a_window_that_ends_early_is_an_error() {
    struct Short(Vec<u8>, u64);
    impl ReadAt for Short {
        fn len(&self) -> std::io::Result<u64> {
            Ok(self.1)
        }
        fn read_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<usize> {
            self.0.read_at(buf, offset)
        }
    }
    let bytes = fs::read(mkfs("", 128 * MIB).path()).unwrap();
    let error = Image::open(Short(bytes[..100_000].to_vec(), 128 * MIB)).err().unwrap().to_string();
    assert!(error.contains("cannot read the btrfs"), "{error}");
}
