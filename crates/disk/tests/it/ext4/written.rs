//! What the writer makes, by e2fsprogs and the kernel.

use std::fs;
use std::path::Path;

use kiln_disk::ext4::{InodeFlags, Writer};
use kiln_disk::{DiskError, Window};
use kiln_oci::{EntryKind, Meta};
use proptest::prelude::*;

use super::tree::{Mounted, Tree, blank, check, e2fs, meta, noise, options, said, same_as_mounted, tool, xattrs};

const MIB: u64 = 1 << 20;

#[test]
fn everything_arrives() {
    let tree = Tree::sample();
    let image = tree.image(64 * MIB);
    same_as_mounted(&tree, Mounted::new(image.path(), "loop,ro").path());
}

#[test]
fn old_systems_get_no_checksums() {
    let tree = Tree::sample();
    let image = blank(300 * MIB);
    let mut old = options(300 * MIB);
    old.checksums = false;
    tree.write_to(image.reopen().unwrap(), old).unwrap();
    check(image.path());
    let features = e2fs("dumpe2fs", &["-h", image.path().to_str().unwrap()]);
    assert!(!features.contains("metadata_csum"), "{features}");
    assert!(!kiln_disk::ext4::Image::open(image.reopen().unwrap()).unwrap().superblock().sums());
    let mounted = Mounted::new(image.path(), "loop");
    same_as_mounted(&tree, mounted.path());
    // Into groups of which nothing was used before.
    fs::write(mounted.path().join("new"), vec![1; 200 << 20]).unwrap();
    drop(mounted);
    check(image.path());
}

#[test]
fn the_kernel_writes_to_it() {
    let image = Tree::sample().image(64 * MIB);
    let mounted = Mounted::new(image.path(), "loop");
    let dir = mounted.path().join("dir");
    for n in 0..3000 {
        fs::write(dir.join(format!("new-{n}")), format!("{n}").repeat(n)).unwrap();
    }
    fs::remove_file(dir.join("big")).unwrap();
    fs::write(dir.join("holes"), "now it is short").unwrap();
    drop(mounted);
    check(image.path());
}

#[test]
fn the_same_bytes_on_any_target() {
    let tree = Tree::sample();
    let image = fs::read(tree.image(40 * MIB).path()).unwrap();
    let mut disk = noise(48 * MIB as usize, 9);
    tree.write_to(Window::new(&mut disk, 4 * MIB, 40 * MIB), options(40 * MIB)).unwrap();
    assert!(disk[4 * MIB as usize..44 * MIB as usize] == image, "what was there before shows");
    assert!(disk[..4 * MIB as usize] == noise(4 * MIB as usize, 9));
    let mut blank_options = options(40 * MIB);
    blank_options.blank = true;
    let mut memory = Vec::new();
    tree.write_to(&mut memory, blank_options).unwrap();
    assert!(memory == image);
}

#[test]
fn it_is_what_mke2fs_would_make() {
    for size in [64 * MIB, 1024 * MIB, 10 << 30] {
        let (ours, theirs) = (Tree::default().image(size), blank(size));
        e2fs("mke2fs", &["-q", "-t", "ext4", "-b", "4096", "-I", "256", theirs.path().to_str().unwrap()]);
        let lines = |path: &Path| {
            let text = e2fs("dumpe2fs", &["-h", path.to_str().unwrap()]);
            let kept = [
                "Filesystem features",
                "Filesystem flags",
                "Default mount",
                "Block count",
                "Reserved block count",
                "Group descriptor",
                "Reserved GDT",
                "Inodes per group",
                "Flex block",
                "Total journal size",
                "Overhead",
                "Inode count",
                "Free inodes",
                "Errors behavior",
                "First inode",
                "Journal inode",
                "Default directory",
            ];
            let lines = text.lines().filter(|line| kept.iter().any(|start| line.starts_with(start)));
            lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(lines(ours.path()), lines(theirs.path()));
    }
}

#[test]
fn big_directories_are_hashed() {
    for (count, checksums) in [(60, true), (300, true), (40_000, true), (60, false), (300, false), (12_000, false)] {
        let mut tree = Tree::default();
        tree.dir("d");
        for n in 0..count {
            // Two levels of hashes need long names.
            tree.file(&format!("d/{}-{n}", "name".repeat(if count > 1000 { 45 } else { 3 })), b"");
        }
        let mut with = options(300 * MIB);
        with.inodes = Some(50_000);
        with.checksums = checksums;
        let image = blank(300 * MIB);
        tree.write_to(image.reopen().unwrap(), with).unwrap();
        check(image.path());
        let stat = e2fs("debugfs", &["-R", "htree_dump /d", image.path().to_str().unwrap()]);
        assert!(count == 60 || stat.contains("Root node dump"), "{stat}");
        assert!(count < 1000 || stat.contains("Indirect levels: 1"), "{}", &stat[..300.min(stat.len())]);
        let mounted = Mounted::new(image.path(), "loop");
        for n in [0, 1, count / 2, count - 1] {
            let name = format!("d/{}-{n}", "name".repeat(if count > 1000 { 45 } else { 3 }));
            assert!(mounted.path().join(name).is_file(), "{n} of {count}");
        }
        assert!(!mounted.path().join("d/other").exists());
        for n in 0..count.min(3000) {
            fs::write(mounted.path().join(format!("d/more-{n}")), "").unwrap();
        }
        drop(mounted);
        check(image.path());
    }
}

#[test]
fn many_directories_and_many_names() {
    let mut tree = Tree::default();
    for n in 0..65_100 {
        tree.dir(&format!("dirs/d{n}"));
    }
    let image = tree.image(600 * MIB);
    assert!(e2fs("debugfs", &["-R", "stat /dirs", image.path().to_str().unwrap()]).contains("Links: 1 "));

    let mut tree = Tree::default();
    tree.file("one", b"1");
    for n in 0..64_999 {
        tree.add(&format!("names/n{n}"), EntryKind::Hardlink { target: b"one".to_vec() }, Meta::default(), b"");
    }
    tree.image(16 * MIB);
    tree.add("names/over", EntryKind::Hardlink { target: b"one".to_vec() }, Meta::default(), b"");
    let error = tree.write_to(Vec::new(), options(16 * MIB)).unwrap_err().to_string();
    assert_eq!(
        error,
        "`/names/over` cannot be on the ext4 file system: `/one` has 65000 names already, no more can be"
    );
}

#[test]
fn files_in_many_pieces() {
    let mut tree = Tree::default();
    // Each piece is one block between two holes: more than one block of extents, and more than four of them.
    let pieces = |count: usize| {
        let mut body = vec![0; count * 9 * 4096];
        body.chunks_mut(9 * 4096).for_each(|part| part[1] = 1);
        body
    };
    tree.file("five", &pieces(5)).file("hundreds", &pieces(700)).file("thousands", &pieces(2000));
    let image = tree.image(64 * MIB);
    assert!(e2fs("debugfs", &["-R", "stat /thousands", image.path().to_str().unwrap()]).contains("(ETB0):"));
    same_as_mounted(&tree, Mounted::new(image.path(), "loop,ro").path());
}

#[test]
fn it_grows_offline_and_mounted() {
    let tree = Tree::sample();
    let image = tree.image(64 * MIB);
    let path = image.path().to_str().unwrap();
    image.as_file().set_len(3000 * MIB).unwrap();
    e2fs("resize2fs", &[path]);
    check(image.path());
    same_as_mounted(&tree, Mounted::new(image.path(), "loop,ro").path());

    let theirs = blank(300 * MIB);
    e2fs("mke2fs", &["-q", "-t", "ext4", theirs.path().to_str().unwrap()]);
    let grow = |image: &tempfile::NamedTempFile| {
        image.as_file().set_len(5000 * MIB).unwrap();
        let mounted = Mounted::new(image.path(), "loop");
        let device = said("findmnt", "util-linux", &["-no", "SOURCE", mounted.path().to_str().unwrap()]);
        let output = tool("resize2fs", "e2fsprogs", &[device.trim()]);
        let blocks = rustix::fs::statvfs(mounted.path()).unwrap().f_blocks;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success() && blocks > 4800 * MIB / 4096, text, mounted)
    };
    let (grown, _, _) = grow(&theirs);
    let image = tree.image(300 * MIB);
    let (ours, text, mounted) = grow(&image);
    // Some kernels and containers let nobody do it.
    assert_eq!(ours, grown, "{text}");
    same_as_mounted(&tree, mounted.path());
    drop(mounted);
    check(image.path());
}

#[test]
fn marks_are_set_and_must_be_used() {
    let mut with = options(16 * MIB);
    with.flags.insert(b"dir/small".to_vec(), InodeFlags::IMMUTABLE);
    with.flags.insert(b"empty".to_vec(), InodeFlags::APPEND.with(InodeFlags::NODUMP));
    let image = blank(16 * MIB);
    Tree::sample().write_to(image.reopen().unwrap(), with.clone()).unwrap();
    check(image.path());
    let mounted = Mounted::new(image.path(), "loop,ro");
    let marks = e2fs("lsattr", &["-d", mounted.path().join("dir/small").to_str().unwrap()]);
    assert!(marks.starts_with("----i---------e"), "{marks}");
    let marks = e2fs("lsattr", &["-d", mounted.path().join("empty").to_str().unwrap()]);
    assert!(marks.starts_with("-----ad-------e"), "{marks}");

    with.flags.insert(b"not/there".to_vec(), InodeFlags::IMMUTABLE);
    let error = Tree::sample().write_to(Vec::new(), with).unwrap_err();
    assert!(matches!(&error, DiskError::Entry { path, .. } if path == "not/there"), "{error}");
}

#[test]
fn the_minimum_is_enough_and_not_much_too_much() {
    let mut big = Tree::sample();
    for n in 0..200 {
        big.file(&format!("more/{n}"), &noise(n * 5000, n as u64));
    }
    for tree in [Tree::default(), Tree::sample(), big] {
        let size = tree.plan().minimum(&options(0), 0).unwrap();
        let image = blank(size);
        let summary = tree.write_to(image.reopen().unwrap(), options(size)).unwrap();
        check(image.path());
        assert!(summary.free < 20 * MIB, "{summary:?}");
        let slack = tree.plan().minimum(&options(0), 100 * MIB).unwrap();
        assert!(tree.write_to(Vec::new(), options(slack)).unwrap().free >= 100 * MIB);
    }
}

#[test]
fn what_does_not_fit_is_an_error_that_says_what_would() {
    let mut tree = Tree::default();
    tree.file("a", b"a").file("b/big", &noise(20 << 20, 1));
    let error = tree.write_to(Vec::new(), options(16 * MIB)).unwrap_err();
    assert!(matches!(&error, DiskError::Full { path, .. } if path == "b/big"), "{error}");
    let text = error.to_string();
    let needed = text.split_whitespace().rev().nth(3).unwrap().parse().unwrap();
    tree.image(needed);

    let mut writer = Writer::new(Vec::new(), options(4 * MIB), None).unwrap();
    let mut n = 0;
    let error = loop {
        let entry = kiln_oci::Entry { path: format!("f{n}").into(), kind: EntryKind::Fifo, meta: Meta::mode(0o600) };
        n += 1;
        if let Err(error) = writer.append(&entry, &mut std::io::empty()) {
            break error.to_string();
        }
    };
    assert!(error.contains("1024 inodes"), "{error}");
}

#[test]
fn what_cannot_be_stored_is_refused() {
    let mut tree = Tree::sample();
    tree.add("bad", EntryKind::Fifo, meta(0o600, 0, 0), b"");
    let refused = |path: &str, kind: EntryKind, why: &str| {
        let mut tree = tree.clone();
        tree.add(path, kind, Meta::mode(0o600), b"");
        let error = tree.write_to(Vec::new(), options(32 * MIB)).unwrap_err().to_string();
        assert!(error.contains(why), "{path}: {error}");
    };
    refused("bad", EntryKind::Fifo, "already");
    refused("dir", EntryKind::Dir, "already");
    refused("dir", EntryKind::Fifo, "already");
    refused("dir/small", EntryKind::Dir, "already");
    refused("dir/small/x", EntryKind::Fifo, "`/dir/small` is not a directory");
    refused("a/../b", EntryKind::Fifo, "not a path");
    refused("/a", EntryKind::Fifo, "not a path");
    refused("", EntryKind::Fifo, "root");
    refused("x", EntryKind::Whiteout, "hides");
    refused("x", EntryKind::Opaque, "hides");
    refused("x", EntryKind::Hardlink { target: b"nothing".to_vec() }, "not there before");
    refused("x", EntryKind::Hardlink { target: b"dir".to_vec() }, "a directory");
    refused("x", EntryKind::Char { major: 5000, minor: 1 }, "no device");
    refused("x", EntryKind::Symlink { target: vec![b'a'; 4096] }, "4096 bytes");
    refused("x", EntryKind::Symlink { target: Vec::new() }, "0 bytes");
    refused(&"n".repeat(256), EntryKind::Fifo, "256 bytes");
    refused("x", EntryKind::File { size: 5 }, "shorter than its entry says");
    refused("x", EntryKind::File { size: u64::MAX }, "are the most");
    let mut far = meta(0o600, 0, 0);
    far.xattrs = xattrs(&[("user.big", &[1; 5000])]);
    tree.add("x", EntryKind::Fifo, far, b"");
    assert!(tree.write_to(Vec::new(), options(32 * MIB)).unwrap_err().to_string().contains("need 50"));
    let mut label = options(32 * MIB);
    label.label = "longer than sixteen".to_owned();
    assert!(Tree::default().write_to(Vec::new(), label).is_err());
}

/// Paths among few, so that they meet.
pub fn random_tree() -> impl Strategy<Value = Tree> {
    let name = prop_oneof!["[a-c]{1,2}", "[a-z]{200,255}", "[\u{1}-.0-\u{7f}]{3,20}", "\\PC{1,40}"];
    let path = proptest::collection::vec(name, 1..5).prop_map(|parts| parts.join("/"));
    let kind = (0..10u8, 0..2_000_000usize, any::<u32>());
    let owner = (any::<u32>(), any::<u32>(), 0..0o10000u32, any::<i32>(), 0..1_000_000_000u32);
    let attr = ("user\\.[a-z]{1,60}", proptest::collection::vec(any::<u8>(), 0..700));
    let attrs = proptest::collection::vec(attr, 0..5);
    proptest::collection::vec((path, kind, owner, attrs), 0..120).prop_map(|list| {
        let mut tree = Tree::default();
        let mut taken = std::collections::BTreeMap::<Vec<u8>, bool>::new();
        for (path, (kind, size, n), (uid, gid, mode, secs, nanos), attrs) in list {
            let parts: Vec<&str> = path.split('/').collect();
            let parents: Vec<Vec<u8>> = (1..parts.len()).map(|n| parts[..n].join("/").into()).collect();
            let fits = kiln_oci::name::is_normal(path.as_bytes())
                && parts.iter().all(|part| part.len() <= 255)
                && !taken.contains_key(path.as_bytes())
                && parents.iter().all(|dir| taken.get(dir) != Some(&false));
            if !fits {
                continue;
            }
            for dir in parents {
                if taken.insert(dir.clone(), true).is_none() {
                    tree.dir(std::str::from_utf8(&dir).unwrap());
                }
            }
            let mut meta = meta(mode, uid, gid);
            meta.mtime = kiln_oci::Mtime { secs: secs.into(), nanos };
            if matches!(kind, 0 | 3..) {
                meta.xattrs = xattrs(&attrs.iter().map(|(name, value)| (&name[..], &value[..])).collect::<Vec<_>>());
            }
            let files: Vec<Vec<u8>> = tree
                .0
                .iter()
                .filter(|(e, _)| matches!(e.kind, EntryKind::File { .. }))
                .map(|(e, _)| e.path.clone())
                .collect();
            taken.insert(path.clone().into(), kind == 0);
            match kind {
                0 => tree.add(&path, EntryKind::Dir, meta, b""),
                1 => tree.add(&path, EntryKind::Symlink { target: vec![b'a'; 1 + size % 4095] }, meta, b""),
                2 if !files.is_empty() => {
                    let target = files[n as usize % files.len()].clone();
                    tree.add(&path, EntryKind::Hardlink { target }, meta, b"")
                }
                3 => {
                    let mut body = noise(size, n.into());
                    let from = size / 3;
                    body[from..].iter_mut().take(n as usize % 200_000).for_each(|b| *b = 0);
                    tree.add(&path, EntryKind::File { size: size as u64 }, meta, &body)
                }
                _ => {
                    tree.add(&path, EntryKind::File { size: (size % 5000) as u64 }, meta, &noise(size % 5000, n.into()))
                }
            };
        }
        tree
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_trees_arrive(tree in random_tree()) {
        // user.* is only on files and directories, and too much of it is refused.
        let size = tree.plan().minimum(&options(0), 0).unwrap();
        let image = blank(size);
        tree.write_to(image.reopen().unwrap(), options(size)).unwrap();
        check(image.path());
        same_as_mounted(&tree, Mounted::new(image.path(), "loop,ro").path());
    }
}
