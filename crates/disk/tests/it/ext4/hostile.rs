//! Damage, by chance and by intention: errors, never panics, never without an end.

use std::fs;
use std::io::Read;
use std::time::{Duration, Instant};

use kiln_disk::ext4::Image;
use kiln_disk::fs::{Files, Fs};
use kiln_disk::{DiskError, ReadAt};

use super::tree::{blank, e2fs, noise};
use crate::reading::exhaust;

const MIB: u64 = 1 << 20;

/// Images with all their metadata near their start, small enough to be copied often.
fn images() -> Vec<(&'static str, Vec<u8>)> {
    let source = tempfile::TempDir::new().unwrap();
    fs::create_dir(source.path().join("d")).unwrap();
    for n in 0..200 {
        fs::write(source.path().join(format!("d/name-{n}")), noise(n * 20, 3)).unwrap();
    }
    let holes = fs::File::create(source.path().join("holes")).unwrap();
    for n in 0..60 {
        std::os::unix::fs::FileExt::write_all_at(&holes, b"x", n * 9000).unwrap();
    }
    std::os::unix::fs::symlink("x".repeat(80), source.path().join("link")).unwrap();
    let kinds = [
        "-t ext2 -b 1024",
        "-t ext4 -b 1024 -O ^metadata_csum",
        "-t ext4 -O inline_data,^metadata_csum",
        "-t ext4 -b 4096",
    ];
    let made = kinds.map(|how| {
        let image = blank(8 * MIB);
        let mut args: Vec<&str> = how.split(' ').collect();
        args.extend(["-q", "-F", "-d", source.path().to_str().unwrap(), image.path().to_str().unwrap()]);
        e2fs("mke2fs", &args);
        (how, fs::read(image.path()).unwrap())
    });
    made.into_iter().collect()
}

fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

#[test]
fn flipped_bits_never_break_the_reader() {
    let rounds = std::env::var("KILN_FLIPS").ok().and_then(|n| n.parse().ok()).unwrap_or(100);
    for (how, mut bytes) in images() {
        let used: Vec<usize> =
            (0..bytes.len() / 512).filter(|n| bytes[n * 512..][..512].iter().any(|b| *b != 0)).collect();
        let (mut state, mut errors) = (7, 0);
        for round in 0..rounds {
            let seed = state;
            let mut before = Vec::new();
            for _ in 0..1 + random(&mut state) % 20 {
                // Half of them near the start, where superblock and descriptors are.
                let few = if random(&mut state).is_multiple_of(2) { used.len() / 8 } else { used.len() };
                let at = used[random(&mut state) as usize % few.max(1)] * 512 + random(&mut state) as usize % 512;
                before.push((at, bytes[at]));
                match random(&mut state) % 3 {
                    0 => bytes[at] ^= 1 << (random(&mut state) % 8),
                    1 => bytes[at] = random(&mut state) as u8,
                    _ => bytes[at] = 0xFF,
                }
            }
            let start = Instant::now();
            errors += match Image::open(&bytes) {
                Ok(image) => exhaust(&Fs::from(image)).1,
                Err(_) => 1,
            };
            assert!(start.elapsed() < Duration::from_secs(60), "{how}: round {round}, seed {seed} takes too long");
            before.into_iter().rev().for_each(|(at, byte)| bytes[at] = byte);
        }
        assert!(errors > 0, "{how}: nothing was noticed");
    }
}

#[test]
fn what_is_cut_off_is_an_error() {
    for (how, bytes) in images() {
        for len in (0..bytes.len()).step_by(400_003) {
            assert!(matches!(Image::open(&bytes[..len].to_vec()), Err(DiskError::Damaged { .. })), "{how}: {len}");
        }
        // Cut off behind the superblock's back.
        struct Short(Vec<u8>, u64);
        impl ReadAt for Short {
            fn len(&self) -> std::io::Result<u64> {
                Ok(self.1)
            }
            fn read_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<usize> {
                self.0.read_at(buf, offset)
            }
        }
        for len in (2048..bytes.len()).step_by(900_009) {
            let image = Image::open(Short(bytes[..len].to_vec(), 8 * MIB));
            assert!(image.is_err() || exhaust(&Fs::from(image.unwrap())).0 > 0 || len < 1_000_000, "{how}: {len}");
        }
    }
}

#[test]
fn checksums_notice_every_byte_of_metadata() {
    let (_, good) = images().pop().unwrap();
    let image = Image::open(good.clone()).unwrap();
    let (entries, errors) = exhaust(&Fs::from(image));
    assert!(entries > 200 && errors == 0);
    // An inode's owner, a directory's name, a descriptor.
    let name = good.windows(8).position(|w| w == b"name-100").unwrap();
    for at in [name, 4096 + 8, 1024 + 0x68] {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        let noticed = Image::open(bytes).map_or(true, |image| exhaust(&Fs::from(image)).1 > 0);
        assert!(noticed, "byte {at}");
    }
}

/// An image without checksums, changed by `debugfs`, and what reading all of it says first.
fn changed(commands: &[&str]) -> String {
    let image = blank(16 * MIB);
    let path = image.path().to_str().unwrap();
    e2fs("mke2fs", &["-q", "-F", "-t", "ext4", "-O", "^metadata_csum,^dir_index", path]);
    for command in ["mkdir a", "mkdir a/b", "write /etc/passwd file", "symlink link target"].iter().chain(commands) {
        e2fs("debugfs", &["-w", "-R", command, path]);
    }
    let image = Image::open(image.reopen().unwrap()).unwrap();
    let errors = image.walk().filter_map(Result::err).map(|e| e.to_string());
    let bodies = image.walk().filter_map(Result::ok).filter_map(|item| {
        let mut body = image.open_file(&item).ok()?;
        body.read_to_end(&mut Vec::new()).err().map(|e| e.to_string())
    });
    errors.chain(bodies).next().unwrap_or_else(|| "nothing is wrong".to_owned())
}

#[test]
fn intentions_are_seen_through() {
    assert_eq!(changed(&[]), "nothing is wrong");
    for (commands, why) in [
        (&["link a a/b/again"][..], "the directory is in two places"),
        (&["link / a/root"], "an inode that cannot be"),
        (&["link <8> a/journal"], "an inode that cannot be"),
        (&["sif file links_count 0"], "is deleted"),
        (&["sif file block[0] 0x0001f30a", "sif file block[1] 0x00090004"], "extents make no sense"),
        (&["sif file block[1] 0x00010004"], "beyond the end"),
        (&["sif file block[5] 0x7fffffff"], "beyond the end"),
        (&["sif file size 0x7fffffffffffffff"], "bytes"),
        (&["sif a size 0x7ffffffff000"], "bigger than the disk"),
        (&["sif a size 100"], "it has 100 bytes"),
        (&["sif link size 5000"], "length of its target"),
        (&["sif file file_acl 0xffffff"], "beyond the end"),
        (&["sif file file_acl 1500"], "has something else"),
        (&["sif file mode 0"], "which cannot be read"),
        (&["sif a flags 0x80800"], "encrypted"),
    ] {
        let said = changed(commands);
        assert!(said.contains(why), "{commands:?}: {said}");
    }
}
