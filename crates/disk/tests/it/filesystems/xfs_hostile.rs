//! Damage to xfs, by chance and by intention: errors, never panics, never without an end.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use kiln_disk::fs::Fs;
use kiln_disk::xfs::Image;
use kiln_disk::{DiskError, ReadAt};
use rustix::fs::XattrFlags;

use super::kind::{Kind, MIB};
use super::xfs_read::{filled, mkfs, open, refused};
use crate::ext4::tree::{Mounted, Tree, noise};
use crate::reading::exhaust;
use crate::tools::{run, text};

/// Only the parts of an image that are not zeros: it is copied and read often.
struct Parts {
    len: u64,
    parts: Vec<(u64, Vec<u8>)>,
}

const PART: usize = 4096;

impl Parts {
    fn of(image: &Path) -> Parts {
        let bytes = fs::read(image).unwrap();
        let parts = bytes.chunks(PART).enumerate().filter(|(_, part)| part.iter().any(|b| *b != 0));
        let parts = parts.map(|(n, part)| ((n * PART) as u64, part.to_vec())).collect();
        Parts { len: bytes.len() as u64, parts }
    }
}

impl ReadAt for Parts {
    fn len(&self) -> std::io::Result<u64> {
        Ok(self.len)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<usize> {
        let (start, within) = (offset / PART as u64 * PART as u64, (offset % PART as u64) as usize);
        let n = buf.len().min(PART - within).min(usize::try_from(self.len.saturating_sub(offset)).unwrap());
        match self.parts.binary_search_by_key(&start, |(at, _)| *at) {
            Ok(at) => buf[..n].copy_from_slice(&self.parts[at].1[within..within + n]),
            Err(_) => buf[..n].fill(0),
        }
        Ok(n)
    }
}

/// Something of everything, on both versions: on one of them nothing has a checksum.
fn images() -> Vec<(&'static str, Parts)> {
    let old = ["-m crc=0 -b size=512 -i size=256", "-m crc=0 -n ftype=0"];
    let old = old.map(|how| (how, Parts::of(filled(how, 64 * MIB, 700).path())));
    let made = ["-n size=8192 -b size=1024"].map(|how| {
        let image = mkfs(how, 64 * MIB);
        let mounted = Mounted::of("xfs", image.path(), "loop");
        let at = |path: &str| mounted.path().join(path);
        fs::create_dir_all(at("d/few")).unwrap();
        for n in 0..700 {
            fs::write(at(&format!("d/name-{n}")), noise(n % 50 * 20, 3)).unwrap();
        }
        fs::write(at("d/few/one"), "1").unwrap();
        let holes = fs::File::create(at("holes")).unwrap();
        for n in 0..200 {
            std::os::unix::fs::FileExt::write_all_at(&holes, b"x", n * 9000).unwrap();
        }
        drop(holes);
        std::os::unix::fs::symlink("x".repeat(800), at("link")).unwrap();
        std::os::unix::fs::symlink("x", at("d/short")).unwrap();
        for n in 0..60 {
            let set = |path, len| {
                let name = format!("user.{}{n}", "n".repeat(60));
                rustix::fs::setxattr(at(path), &name, &noise(len, n), XattrFlags::empty()).unwrap();
            };
            set("holes", 20 + n as usize * 60);
            if n < 2 {
                set("d", 10);
            }
        }
        drop(mounted);
        (how, Parts::of(image.path()))
    });
    let ours = Kind::Xfs.image(&Tree::sample(), 64 * MIB);
    made.into_iter().chain(old).chain([("Kiln's own", Parts::of(ours.path()))]).collect()
}

fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

#[test]
fn flipped_bits_never_break_the_reader() {
    let rounds = std::env::var("KILN_FLIPS").ok().and_then(|n| n.parse().ok()).unwrap_or(100);
    for (how, mut image) in images() {
        let (mut state, mut errors) = (7, 0);
        for round in 0..rounds {
            let seed = state;
            let mut before = Vec::new();
            for _ in 0..1 + random(&mut state) % 20 {
                // The superblock and the heads of groups seldom: nothing behind them is read when they are wrong.
                let n = 1 + random(&mut state) as usize % (image.parts.len() - 1);
                let part = if random(&mut state).is_multiple_of(64) { 0 } else { n };
                // Half of them where structures start.
                let most = if random(&mut state).is_multiple_of(2) { 128 } else { PART };
                let at = random(&mut state) as usize % (PART / 512) * 512 % most
                    + random(&mut state) as usize % most.min(512);
                let byte = &mut image.parts[part].1[at];
                before.push((part, at, *byte));
                match random(&mut state) % 3 {
                    0 => *byte ^= 1 << (random(&mut state) % 8),
                    1 => *byte = random(&mut state) as u8,
                    _ => *byte = 0xFF,
                }
            }
            let start = Instant::now();
            errors += match Image::open(&image) {
                Ok(image) => exhaust(&Fs::from(image)).1,
                Err(_) => 1,
            };
            assert!(start.elapsed() < Duration::from_secs(60), "{how}: round {round}, seed {seed} takes too long");
            before.into_iter().rev().for_each(|(part, at, byte)| image.parts[part].1[at] = byte);
        }
        assert!(errors > 0, "{how}: nothing was noticed");
        assert_eq!(exhaust(&Fs::from(Image::open(&image).unwrap())).1, 0, "{how}");
    }
}

#[test]
fn what_is_cut_off_is_an_error() {
    for (how, mut image) in images() {
        for len in (0..image.len).step_by(3_000_017) {
            let whole = std::mem::replace(&mut image.len, len);
            assert!(matches!(Image::open(&image), Err(DiskError::Damaged { .. })), "{how}: {len}");
            image.len = whole;
        }
        // What is behind some place reads as zeros, which may be what nobody uses; at last there is no root.
        let mut noticed = false;
        while image.parts.len() > 1 {
            image.parts.truncate(image.parts.len() - 1 - image.parts.len() / 8);
            noticed = Image::open(&image).map_or(true, |image| exhaust(&Fs::from(image)).1 > 0);
        }
        assert!(noticed, "{how}");
    }
}

#[test]
fn checksums_notice_every_byte_of_metadata() {
    let (how, mut image) = images().remove(0);
    let (entries, errors) = exhaust(&Fs::from(Image::open(&image).unwrap()));
    assert!(entries > 700 && errors == 0, "{entries} entries, {errors} errors");
    // A superblock, an inode, a directory's block, attributes, a tree of extents, a link's target, a value.
    for mark in [&b"XFSB"[..], b"IN", b"XDD3", &[0x3b, 0xee], &[0x3e, 0xbe], b"BMA3", b"XSLM", b"XARM"] {
        let offset = if mark.len() == 2 && mark != b"IN" { 8 } else { 0 };
        let place = image.parts.iter().enumerate().find_map(|(n, (_, part))| {
            let here = (0..PART / 512).map(|at| at * 512).find(|at| part[at + offset..].starts_with(mark));
            // Every group has a superblock and unused inodes: of those, the first that counts.
            here.filter(|at| mark != b"IN" || part[at + 2] != 0).map(|at| (n, at))
        });
        let (part, at) = place.unwrap_or_else(|| panic!("no {mark:?}"));
        for byte in [70, 130, 300] {
            image.parts[part].1[at + byte] ^= 1;
            let noticed = Image::open(&image).map_or(true, |image| exhaust(&Fs::from(image)).1 > 0);
            assert!(noticed, "{how}: {mark:?}, byte {byte}");
            image.parts[part].1[at + byte] ^= 1;
        }
    }
}

/// A small file system, changed by `xfs_db`, which makes its checksums right again, and what reading all of it says first.
fn changed(how: &str, path: &str, command: &str) -> String {
    let image = filled(how, 64 * MIB, 200);
    let said = run("xfs_db", &["-r", "-c", "sb 0", "-c", "p rootino", text(image.path())]);
    let root = said.trim().rsplit(' ').next().unwrap();
    let (path, command) = (format!("path {path}"), command.replace("ROOT", root));
    run("xfs_db", &["-x", "-c", &path, "-c", &command, text(image.path())]);
    let image = match Image::open(fs::File::open(image.path()).unwrap()) {
        Ok(image) => Fs::from(image),
        Err(e) => return e.to_string(),
    };
    let errors = image.walk().filter_map(Result::err).map(|e| e.to_string());
    let bodies = image.walk().filter_map(Result::ok).filter_map(|item| {
        let mut body = image.open_file(&item);
        if matches!(body, Err(DiskError::Path { .. })) {
            return None;
        }
        let read = body.as_mut().map(|body| std::io::copy(body, &mut std::io::sink()));
        match read {
            Ok(read) => read.err().map(|e| e.to_string()),
            Err(e) => Some(e.to_string()),
        }
    });
    errors.chain(bodies).next().unwrap_or_else(|| "nothing is wrong".to_owned())
}

#[test]
fn intentions_are_seen_through() {
    for (how, data) in [("-m crc=0", "u"), ("", "u3")] {
        assert_eq!(changed(how, "/a", "p core.mode"), "nothing is wrong");
        for (path, command, why) in [
            ("/a", format!("write -d {data}.sfdir3.list[0].inumber.i4 ROOT"), "the directory is in two places"),
            ("/a", format!("write -d {data}.sfdir3.list[0].inumber.i4 0x7fffffff"), "an inode that cannot be"),
            ("/a", format!("write -d {data}.sfdir3.hdr.count 9"), "is cut off"),
            ("/a", "write -d core.size 5000".to_owned(), "it ends before its size"),
            ("/a", "write -d core.size 3".to_owned(), "is cut off"),
            ("/a", "write -d core.format 2".to_owned(), "directory"),
            ("/a", "write -d core.forkoff 200".to_owned(), "its attributes are behind its end"),
            ("/a", "write -d core.aformat 3".to_owned(), "inode"),
            ("/file", "write -d core.mode 0".to_owned(), "it is not used"),
            ("/file", "write -d core.mode 0170644".to_owned(), "which cannot be read"),
            ("/file", "write -d core.nlinkv2 0".to_owned(), "is deleted"),
            ("/file", "write -d core.nextents 500".to_owned(), "more extents than fit"),
            ("/file", "write -d core.format 3".to_owned(), "inode"),
            ("/file", "write -d core.format 1".to_owned(), "it has no blocks"),
            ("/file", "write -d core.format 9".to_owned(), "how it has its data makes no sense"),
            ("/file", "write -d core.realtime 1".to_owned(), "a realtime device, on which `/file` is"),
            ("/file", "write -d core.magic 0".to_owned(), "it is none"),
            ("/file", format!("write -d {data}.bmx[0].startblock 0x7fffffff"), "where none of a file can be"),
            ("/file", format!("write -d {data}.bmx[0].startblock 0"), "where none of a file can be"),
            ("/link", "write -d core.size 0".to_owned(), "the length of its target"),
            ("/link", "write -d core.size 5000".to_owned(), "the length of its target"),
            ("/far", "write -d core.size 1025".to_owned(), "the length of its target"),
            ("/link", "write -d core.format 2".to_owned(), "its target is not there"),
            ("/many", "write -d core.size 4097".to_owned(), "it has 4097 bytes"),
            ("/many", "write -d core.size 0x7fffffffff000".to_owned(), "bigger than the disk"),
            ("/many", format!("write -d {data}.bmx[0].startoff 5"), "it has a hole"),
        ] {
            let said = changed(how, path, &command);
            assert!(said.contains(why), "{how} {path}: {command}: {said}");
        }
    }
}

#[test]
fn blocks_of_another_are_noticed() {
    let image = mkfs("", 64 * MIB);
    let mounted = Mounted::of("xfs", image.path(), "loop");
    for dir in ["one", "two"] {
        fs::create_dir(mounted.path().join(dir)).unwrap();
        for n in 0..60 {
            fs::write(mounted.path().join(format!("{dir}/a-name-of-some-length-{n}")), "").unwrap();
        }
    }
    drop(mounted);
    // One directory's block, checksum and all, in the place of the other's.
    let mut bytes = fs::read(image.path()).unwrap();
    let places: Vec<usize> =
        (0..bytes.len() / 4096).map(|n| n * 4096).filter(|at| bytes[*at..].starts_with(b"XDB3")).collect();
    let [first, second] = places[..] else { panic!("{places:?}") };
    bytes.copy_within(first..first + 4096, second);
    fs::write(image.path(), bytes).unwrap();
    let error = open(image.path()).walk().find_map(Result::err).unwrap().to_string();
    assert!(error.contains("one of its blocks is another's"), "{error}");
    // The log's end is somewhere else.
    let image = mkfs("", 64 * MIB);
    let mut bytes = fs::read(image.path()).unwrap();
    let log = bytes.windows(8).position(|w| w == [0xfe, 0xed, 0xba, 0xbe, 0, 0, 0, 1]).unwrap();
    bytes[log + 4..log + 8].copy_from_slice(&9u32.to_be_bytes());
    fs::write(image.path(), bytes).unwrap();
    assert!(refused(image.path()).contains("a log with changes"), "{}", refused(image.path()));
}
