//! What holds for both.

use std::fs;

use kiln_disk::ext4::InodeFlags;
use kiln_disk::{DiskError, Window};
use kiln_oci::{EntryKind, Meta};
use proptest::test_runner::{Config, TestRunner};

use super::kind::{BOTH, Kind, MIB, fill, options, unique};
use crate::ext4::tree::{Tree, blank, meta, noise, said, same_as_mounted_but, xattrs};
use crate::ext4::written::random_tree;
use crate::tools::{run, text};

#[test]
fn everything_arrives() {
    for kind in BOTH {
        let tree = Tree::sample();
        let image = kind.image(&tree, 128 * MIB);
        kind.same(&tree, image.path());
    }
}

#[test]
fn the_kernel_writes_to_it() {
    for kind in BOTH {
        let image = kind.image(&Tree::sample(), 256 * MIB);
        let mounted = kind.mount(image.path(), "loop");
        let dir = mounted.path().join("dir");
        for n in 0..1500 {
            fs::write(dir.join(format!("new-{n}")), format!("{n}").repeat(n)).unwrap();
        }
        for n in (0..1500).step_by(3) {
            fs::remove_file(dir.join(format!("new-{n}"))).unwrap();
        }
        fs::remove_file(dir.join("big")).unwrap();
        fs::write(dir.join("holes"), "now it is short").unwrap();
        fs::rename(dir.join("small"), mounted.path().join("moved")).unwrap();
        let (list, many) = (mounted.path().join("many"), mounted.path().join("many/f"));
        rustix::fs::setxattr(&many, "user.more", &[1; 600], rustix::fs::XattrFlags::empty()).unwrap();
        rustix::fs::removexattr(&list, "user.long").unwrap();
        fs::remove_file(mounted.path().join("slow")).unwrap();
        drop(mounted);
        kind.check(image.path());
    }
}

#[test]
fn the_same_bytes_on_any_target() {
    for kind in BOTH {
        let tree = Tree::sample();
        let image = blank(96 * MIB);
        kind.write(&tree, image.reopen().unwrap(), options(96 * MIB)).unwrap();
        let image = fs::read(image.path()).unwrap();
        let mut disk = noise(MIB as usize, 9).repeat(104);
        kind.write(&tree, Window::new(&mut disk, 4 * MIB, 96 * MIB), options(96 * MIB)).unwrap();
        assert!(disk[4 * MIB as usize..100 * MIB as usize] == image, "what was there before shows");
        assert!(disk[..4 * MIB as usize] == noise(MIB as usize, 9).repeat(4));
    }
}

#[test]
fn big_directories() {
    for (kind, count) in BOTH.into_iter().flat_map(|kind| [(kind, 30), (kind, 300), (kind, 30_000)]) {
        let mut tree = Tree::default();
        tree.dir("d");
        let name = |n: usize| format!("d/{}-{n}", "name".repeat(if n.is_multiple_of(7) { 45 } else { 3 }));
        for n in 0..count {
            tree.file(&name(n), b"");
        }
        let image = kind.image(&tree, 160 * MIB);
        let mounted = kind.mount(image.path(), "loop");
        for n in [0, 1, count / 2, count - 1] {
            assert!(mounted.path().join(name(n)).is_file(), "{n} of {count}");
        }
        assert!(!mounted.path().join("d/other").exists());
        assert_eq!(fs::read_dir(mounted.path().join("d")).unwrap().count(), count);
        for n in 0..count.min(2000) {
            fs::write(mounted.path().join(format!("d/more-{n}")), "").unwrap();
            fs::remove_file(mounted.path().join(name(n))).unwrap();
        }
        drop(mounted);
        kind.check(image.path());
    }
}

#[test]
fn files_in_many_pieces() {
    let mut tree = Tree::default();
    // Each piece is one block between two holes.
    let pieces = |count: usize| {
        let mut body = vec![0; count * 9 * 4096];
        body.chunks_mut(9 * 4096).for_each(|part| part[1] = 1);
        body
    };
    for count in [5, 21, 22, 300, 2000, 6000] {
        tree.file(&format!("{count}"), &pieces(count));
    }
    for kind in BOTH {
        let image = kind.image(&tree, 140 * MIB);
        kind.same(&tree, image.path());
        let mounted = kind.mount(image.path(), "loop");
        let blocks = std::os::unix::fs::MetadataExt::blocks(&fs::metadata(mounted.path().join("6000")).unwrap());
        assert!(blocks < 6200 * 8, "holes stay holes: {blocks}");
        fs::write(mounted.path().join("300"), noise(9 << 20, 3)).unwrap();
        fs::File::options().write(true).open(mounted.path().join("2000")).unwrap().set_len(5).unwrap();
        drop(mounted);
        kind.check(image.path());
    }
}

#[test]
fn many_names_and_long_attributes() {
    for kind in BOTH {
        let mut tree = Tree::default();
        tree.file("one", b"1");
        for n in 0..3000 {
            let name = format!("names/{}{n}", "n".repeat(n % 200));
            tree.add(&name, EntryKind::Hardlink { target: b"one".to_vec() }, Meta::default(), b"");
        }
        let mut far = meta(0o644, 0, 0);
        let long = noise(12_000, 4);
        far.xattrs = xattrs(&[("user.a", &long), ("user.b", &long[..5000]), ("user.c", b"c"), ("trusted.d", b"")]);
        far.xattrs.extend(xattrs(&[("security.e", &long[..900])]));
        tree.add("long", EntryKind::Dir, far.clone(), b"");
        tree.add("long/file", EntryKind::File { size: 5000 }, far, &long[..5000]);
        tree.link("target", &"t/".repeat(500));
        let image = kind.image(&tree, 128 * MIB);
        let mounted = kind.mount(image.path(), "loop,ro");
        // The directory `names` never came.
        same_as_mounted_but(&tree, mounted.path(), 1);
    }
}

#[test]
fn it_grows() {
    for kind in BOTH {
        let tree = Tree::sample();
        let image = kind.image(&tree, 128 * MIB);
        image.as_file().set_len(1024 * MIB).unwrap();
        let mounted = kind.mount(image.path(), "loop");
        match kind {
            Kind::Xfs => drop(said("xfs_growfs", "xfsprogs", &[text(mounted.path())])),
            Kind::Btrfs => drop(run("btrfs", &["filesystem", "resize", "max", text(mounted.path())])),
        }
        let now = rustix::fs::statvfs(mounted.path()).unwrap();
        assert!(now.f_blocks * now.f_frsize > 900 * MIB, "{} blocks", now.f_blocks);
        fs::write(mounted.path().join("more"), noise(1 << 20, 5).repeat(200)).unwrap();
        drop(mounted);
        kind.check(image.path());
    }
}

#[test]
fn grub_of_debian_reads_it() {
    for kind in BOTH {
        let mut tree = Tree::sample();
        let kernel = noise(9_000_000, 6);
        tree.dir("boot").file("boot/vmlinuz", &kernel);
        for n in 0..600 {
            tree.file(&format!("boot/m/module-{n}.mod"), format!("{n}").as_bytes());
        }
        let image = blank(128 * MIB);
        kind.write(&tree, image.reopen().unwrap(), options(128 * MIB)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        for (path, bytes) in [("/boot/vmlinuz", &kernel[..]), ("/boot/m/module-577.mod", b"577"), ("/fast", b"hello\n")]
        {
            let wanted = dir.path().join("wanted");
            fs::write(&wanted, bytes).unwrap();
            run("grub-fstest", &[text(image.path()), "cmp", path, text(&wanted)]);
        }
        let said = run("grub-fstest", &[text(image.path()), "ls", "--", "-l"]);
        assert!(said.contains("11223344-5566-4788-99aa-bbccddeeff01") && said.contains(kind.name()), "{said}");
    }
}

#[test]
fn the_minimum_is_enough() {
    let mut big = Tree::sample();
    for n in 0..200 {
        big.file(&format!("more/{n}"), &noise(n * 5000, n as u64));
    }
    let mut names = Tree::default();
    for n in 0..20_000 {
        names.link(&format!("links/{n}"), "nowhere");
    }
    for (kind, tree) in BOTH.into_iter().flat_map(|kind| [(kind, &big), (kind, &names)]) {
        let size = kind.minimum(tree);
        drop(kind.image(tree, size));
    }
}

#[test]
fn what_does_not_fit_is_an_error_that_says_what_would() {
    for kind in BOTH {
        let mut tree = Tree::default();
        tree.file("a", b"a").file("b/big", &noise(1 << 20, 1).repeat(110));
        let error = kind.write(&tree, blank(100 * MIB).reopen().unwrap(), options(100 * MIB)).unwrap_err();
        assert!(matches!(&error, DiskError::Full { path, .. } if path == "b/big"), "{error}");
        let text = error.to_string();
        let needed = text.split_whitespace().rev().nth(3).unwrap().parse().unwrap();
        drop(kind.image(&tree, needed));
        let writer = kind.writer(blank(100 * MIB).reopen().unwrap(), options(100 * MIB), None).unwrap();
        let error = fill(writer, &tree).unwrap_err().to_string();
        assert!(error.contains("more are needed"), "{error}");
        let small = kind.write(&Tree::default(), Vec::new(), options(20 * MIB)).unwrap_err().to_string();
        assert!(small.contains("too small"), "{small}");
    }
}

#[test]
fn without_a_plan_it_is_as_good() {
    for kind in BOTH {
        let mut tree = Tree::sample();
        for n in 0..5000 {
            tree.file(&format!("dir/many-{n}"), &noise(n % 9000, n as u64));
        }
        let image = blank(200 * MIB);
        let writer = kind.writer(image.reopen().unwrap(), unique(200 * MIB), None).unwrap();
        fill(writer, &tree).unwrap();
        kind.check(image.path());
        kind.same(&tree, image.path());
    }
}

#[test]
fn marks_are_set_and_must_be_used() {
    for kind in BOTH {
        let mut with = unique(96 * MIB);
        with.flags.insert(b"dir/small".to_vec(), InodeFlags::IMMUTABLE);
        with.flags.insert(b"owned".to_vec(), InodeFlags::APPEND.with(InodeFlags::NODUMP));
        let image = blank(96 * MIB);
        kind.write(&Tree::sample(), image.reopen().unwrap(), with.clone()).unwrap();
        kind.check(image.path());
        let mounted = kind.mount(image.path(), "loop,ro");
        let marks = |path: &str| said("lsattr", "e2fsprogs", &["-d", text(&mounted.path().join(path))]);
        assert!(marks("dir/small").starts_with("----i----"), "{}", marks("dir/small"));
        assert!(marks("owned").starts_with("-----ad--"), "{}", marks("owned"));
        drop(mounted);
        let mut unknown = with.clone();
        unknown.flags.insert(b"dir/big".to_vec(), InodeFlags::JOURNAL_DATA);
        let error = kind.write(&Tree::sample(), Vec::new(), unknown).unwrap_err().to_string();
        assert!(error.contains("chattr"), "{error}");
        with.flags.insert(b"not/there".to_vec(), InodeFlags::IMMUTABLE);
        let error = kind.write(&Tree::sample(), Vec::new(), with).unwrap_err();
        assert!(matches!(&error, DiskError::Entry { path, .. } if path == "not/there"), "{error}");
    }
}

#[test]
fn what_cannot_be_stored_is_refused() {
    for kind in BOTH {
        let mut tree = Tree::default();
        tree.dir("dir").file("dir/small", b"x").add("pipe", EntryKind::Fifo, meta(0o600, 0, 0), b"");
        let refused = |path: &str, entry: EntryKind, why: &str| {
            let mut tree = tree.clone();
            tree.add(path, entry, Meta::mode(0o600), b"");
            let mut with = options(96 * MIB);
            with.blank = true;
            let image = blank(96 * MIB);
            let error = kind.write(&tree, image.reopen().unwrap(), with).unwrap_err().to_string();
            assert!(error.contains(why), "{path}: {error}");
        };
        refused("pipe", EntryKind::Fifo, "already");
        refused("dir", EntryKind::Dir, "already");
        refused("dir/small", EntryKind::Dir, "already");
        refused("dir/small/x", EntryKind::Fifo, "`/dir/small` is not a directory");
        refused("a/../b", EntryKind::Fifo, "not a path");
        refused("/a", EntryKind::Fifo, "not a path");
        refused("", EntryKind::Fifo, "root");
        refused("x", EntryKind::Whiteout, "hides");
        refused("x", EntryKind::Hardlink { target: b"nothing".to_vec() }, "not there before");
        refused("x", EntryKind::Hardlink { target: b"dir".to_vec() }, "a directory");
        refused("x", EntryKind::Char { major: 5000, minor: 1 }, "no device");
        refused("x", EntryKind::Symlink { target: vec![b'a'; 4096] }, "4096 bytes");
        refused("x", EntryKind::Symlink { target: Vec::new() }, "0 bytes");
        refused(&"n".repeat(256), EntryKind::Fifo, "256 bytes");
        refused("x", EntryKind::File { size: 5 }, "shorter than its entry says");
        refused("x", EntryKind::File { size: u64::MAX }, "are the most");
        let mut label = options(96 * MIB);
        label.label = "long".repeat(70);
        assert!(kind.write(&tree, Vec::new(), label).is_err());
    }
}

#[test]
fn random_trees_arrive() {
    for kind in BOTH {
        let mut runner = TestRunner::new(Config { cases: 12, failure_persistence: None, ..Config::default() });
        let tried = runner.run(&random_tree(), |mut tree| {
            // The targets of links are shorter in xfs.
            for (entry, _) in &mut tree.0 {
                if let EntryKind::Symlink { target } = &mut entry.kind {
                    target.truncate(if kind == Kind::Xfs { 1023 } else { 4095 });
                }
            }
            let image = kind.image(&tree, kind.minimum(&tree));
            let mounted = kind.mount(image.path(), "loop,ro");
            same_as_mounted_but(&tree, mounted.path(), 0);
            Ok(())
        });
        tried.unwrap();
    }
}

#[test]
fn directories_of_any_size() {
    for kind in BOTH {
        let mut runner = TestRunner::new(Config { cases: 6, failure_persistence: None, ..Config::default() });
        let names = proptest::collection::btree_set("[a-z]{1,3}", 0..400);
        let tried = runner.run(&names, |names| {
            let mut tree = Tree::default();
            tree.dir("d");
            for name in &names {
                tree.file(&format!("d/{name}"), name.as_bytes());
            }
            let image = kind.image(&tree, 96 * MIB);
            kind.same(&tree, image.path());
            Ok(())
        });
        tried.unwrap();
    }
}
