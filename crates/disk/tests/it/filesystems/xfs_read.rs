//! What the reader sees of xfs that Kiln, `mkfs.xfs` and the kernel made.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use kiln_disk::DiskError;
use kiln_disk::ext4::InodeFlags;
use kiln_disk::fs::{Files, Fs};
use kiln_disk::xfs::{Features, Image, Plan, Writer};
use kiln_oci::EntryKind;
use rustix::fs::XattrFlags;
use tempfile::{NamedTempFile, TempDir};

use super::kind::{Kind, MIB, options, unique};
use crate::ext4::tree::{Mounted, Tree, blank, noise, said};
use crate::reading::{contents, same, same_as_directory, source};
use crate::tools::{run, text};

pub fn open(image: &Path) -> Fs<File> {
    Image::open(File::open(image).unwrap()).unwrap().into()
}

pub fn refused(image: &Path) -> String {
    Image::open(File::open(image).unwrap()).err().unwrap().to_string()
}

/// A new file system.
pub fn mkfs(how: &str, size: u64) -> NamedTempFile {
    let image = blank(size);
    let mut args: Vec<&str> = how.split_ascii_whitespace().collect();
    args.extend(["-q", "--unsupported", text(image.path())]);
    run("mkfs.xfs", &args);
    image
}

/// How long a target `mkfs.xfs` can write: with checksums, it writes blocks that have none.
fn far(how: &str) -> usize {
    if how.contains("crc=0") { 900 } else { 200 }
}

/// What `mkfs.xfs` puts into a new file system when it is given a list of this, with names beside.
pub const NAMES: usize = 300;

/// A new file system of any version and size of blocks, also those that the kernel here does not mount: `mkfs.xfs` fills
/// it, and `xfs_db` gives attributes.
pub fn filled(how: &str, size: u64, names: usize) -> NamedTempFile {
    let dir = TempDir::new().unwrap();
    let (body, list) = (dir.path().join("body"), dir.path().join("list"));
    fs::write(&body, noise(200_000, 4)).unwrap();
    let mut lines = "/boot\n0 0\nd--755 0 0\na d--755 0 0\nb d--755 0 0\n$\n$\nmany d--750 1 2\n".to_owned();
    (0..names).for_each(|n| lines += &format!("a-name-of-some-length-{n} ---600 {n} 0 /dev/null\n"));
    lines += &format!("$\nfile -u-644 7 8 {}\nlink l--777 0 0 ../target\n", body.display());
    lines += &format!("far l--777 0 0 {}\nnull c--666 0 0 1 3\n", "x".repeat(far(how)));
    lines += "disk b--660 0 6 259 70000\npipe p--600 0 0\n$\n";
    fs::write(&list, lines).unwrap();
    let image = mkfs(&format!("{how} -p {}", list.display()), size);
    for (path, commands) in [
        ("/a", vec!["attr_set -u -v 9 near".to_owned()]),
        ("/file", vec!["attr_set -s -v 20 capability".to_owned(), "attr_set -r -v 9000 long".to_owned()]),
        ("/far", (0..150).map(|n| format!("attr_set -u -v {} {}{n}", 1 + n * 7, "name".repeat(20))).collect()),
    ] {
        let path = format!("path {path}");
        let mut args = vec!["-x", "-c", &path];
        commands.iter().for_each(|command| args.extend(["-c", command]));
        args.push(text(image.path()));
        run("xfs_db", &args);
    }
    image
}

/// Fills a mounted file system with what only time and the kernel make: trees of extents, of names, of attributes.
fn fill(root: &Path, source: &Path) {
    let at = |path: &str| root.join(path);
    said("cp", "coreutils", &["-a", &format!("{}/.", source.display()), root.to_str().unwrap()]);
    for n in (0..1500).step_by(3) {
        fs::remove_file(at(&format!("many/a-name-that-takes-some-space-{n}"))).unwrap();
    }
    // Blocks of names in the middle are taken out.
    fs::create_dir(at("gone")).unwrap();
    for n in 0..3000 {
        fs::write(at(&format!("gone/{n:0100}")), "").unwrap();
    }
    for n in 100..2900 {
        fs::remove_file(at(&format!("gone/{n:0100}"))).unwrap();
    }
    // A directory whose own extents are a tree: its blocks come between those of others.
    let other = File::create(at("between")).unwrap();
    fs::create_dir(at("apart")).unwrap();
    for n in 0..1200 {
        fs::hard_link(at("a/tiny"), at(&format!("apart/{}-{n}", "n".repeat(190)))).unwrap();
        if n % 20 == 0 {
            other.write_all_at(&noise(8192, n), n * 8192).unwrap();
            other.sync_all().unwrap();
        }
    }
    let pieces = File::create(at("pieces")).unwrap();
    for n in 0..1500 {
        pieces.write_all_at(&noise(100, n), n * 3 * 65_536).unwrap();
    }
    said("fallocate", "util-linux", &["-l", "3M", at("reserved").to_str().unwrap()]);
    said("fallocate", "util-linux", &["-n", "-o", "1M", "-l", "3M", at("a/medium").to_str().unwrap()]);
    File::options().write(true).open(at("reserved")).unwrap().write_all_at(b"in the middle", MIB).unwrap();
    let set = |path: &str, name: &str, value: &[u8]| {
        rustix::fs::setxattr(at(path), name, value, XattrFlags::empty()).unwrap();
    };
    fs::write(at("attrs"), "").unwrap();
    for n in 0..150 {
        set("attrs", &format!("user.{}-{n}", "name".repeat(20)), &noise(n * 7, n as u64));
    }
    for n in 0..20 {
        rustix::fs::removexattr(at("attrs"), format!("user.{}-{}", "name".repeat(20), n * 7)).unwrap();
    }
    for len in [0, 1, 255, 256, 3000, 4039, 4040, 4041, 40_000, 65_536] {
        set("a/b/large", &format!("user.len-{len}"), &noise(len, 5));
    }
    set("late-link-target", "trusted.root", b"only root's");
}

fn before_fill(root: &Path) {
    fs::write(root.join("late-link-target"), "x").unwrap();
    for len in [300, 900, 1000, 1023] {
        std::os::unix::fs::symlink("t".repeat(len), root.join(format!("link-{len}"))).unwrap();
    }
}

#[test]
fn what_mkfs_made_and_the_kernel_filled_is_read() {
    let source = source();
    before_fill(source.path());
    for how in [
        "",
        "-b size=1024 -n size=8192",
        "-b size=2048 -i size=1024",
        "-n size=65536 -i nrext64=1",
        "-m bigtime=0,inobtcount=0,reflink=0,finobt=0 -i sparse=0",
        "-m rmapbt=1 -d agcount=9 -l su=64k",
        "-s size=4096 -i size=1024,projid32bit=1 -L twelve-chars",
        "-b size=16384",
        "-b size=65536 -i size=2048",
    ] {
        println!("mkfs.xfs {how}");
        let image = mkfs(how, 700 * MIB);
        let mounted = Mounted::of("xfs", image.path(), "loop");
        fill(mounted.path(), source.path());
        drop(mounted);
        let mounted = Mounted::of("xfs", image.path(), "loop,ro");
        let image = open(image.path());
        same_as_directory(&image, mounted.path(), true);
        let found = image.lookup(b"late-link-target").unwrap().unwrap();
        assert_eq!(found.entry.meta.xattrs[&b"trusted.root"[..]], b"only root's");
    }
}

#[test]
fn what_the_kernel_here_does_not_mount_is_read() {
    for (how, names) in [
        ("-m crc=0", NAMES),
        ("-m crc=0 -n ftype=0 -i size=256 -l version=1", NAMES),
        // Directories with trees of names, of extents, and of attributes.
        ("-m crc=0 -b size=512 -i size=256", 20_000),
        ("-b size=65536", NAMES),
        ("-b size=8192", 5000),
        ("-b size=16384 -n size=65536", 5000),
        ("-b size=1024", 20_000),
    ] {
        println!("mkfs.xfs {how}");
        let image = filled(how, 512 * MIB, names);
        let found = contents(&open(image.path()));
        assert_eq!(found.len(), 10 + names, "{how}");
        let (file, bytes) = &found[&b"file"[..]];
        assert_eq!((file.meta.mode, file.meta.uid, file.meta.gid), (0o4644, 7, 8), "{how}");
        assert!(*bytes == noise(200_000, 4), "{how}");
        let kind = |path: &str| found[path.as_bytes()].0.kind.clone();
        assert_eq!(kind("link"), EntryKind::Symlink { target: b"../target".to_vec() }, "{how}");
        assert_eq!(kind("far"), EntryKind::Symlink { target: vec![b'x'; far(how)] }, "{how}");
        assert_eq!(kind("null"), EntryKind::Char { major: 1, minor: 3 }, "{how}");
        assert_eq!(kind("disk"), EntryKind::Block { major: 259, minor: 70_000 }, "{how}");
        assert_eq!((kind("pipe"), kind("a/b")), (EntryKind::Fifo, EntryKind::Dir), "{how}");
        for n in (0..names).step_by(97) {
            let (entry, _) = &found[format!("many/a-name-of-some-length-{n}").as_bytes()];
            assert_eq!((entry.meta.uid, entry.meta.mode), (n as u32, 0o600), "{how}");
        }
        let lens = |path: &str| {
            let attrs = &found[path.as_bytes()].0.meta.xattrs;
            assert!(attrs.values().flatten().all(|byte| *byte == b'v'), "{how}");
            let lens = attrs.iter().map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), value.len()));
            lens.collect::<Vec<_>>()
        };
        assert_eq!(lens("a"), [("user.near".to_owned(), 9)], "{how}");
        assert_eq!(lens("file"), [("security.capability".to_owned(), 20), ("trusted.long".to_owned(), 9000)], "{how}");
        let mut far: Vec<_> = (0..150).map(|n| (format!("user.{}{n}", "name".repeat(20)), 1 + n * 7)).collect();
        far.sort();
        assert_eq!(lens("far"), far, "{how}");
        assert!(lens("many").is_empty(), "{how}");
    }
}

#[test]
fn what_was_written_is_read() {
    let tree = Tree::sample();
    let image = Kind::Xfs.image(&tree, 128 * MIB);
    let found = open(image.path());
    let Fs::Xfs(about) = &found else { panic!() };
    let about = about.superblock();
    assert_eq!((&about.label[..], about.block_size, about.blocks), (&b"kiln-root"[..], 4096, 128 * MIB / 4096));
    assert_eq!((about.version, about.features(), about.features_lost().len()), (5, Features::default(), 0));
    same(&tree, &contents(&found));
    assert!(found.walk().filter_map(Result::ok).any(|f| matches!(f.entry.kind, EntryKind::Hardlink { .. })));
}

#[test]
fn features_are_those_that_were_asked_for() {
    let none = Features { bigtime: false, inode_counts: false, reflink: false, sparse_inodes: false };
    let sets = [
        (none, "-m bigtime=0,inobtcount=0,reflink=0 -i sparse=0"),
        (Features { reflink: true, sparse_inodes: true, ..none }, "-m bigtime=0,inobtcount=0"),
        (Features { bigtime: true, ..none }, "-m inobtcount=0,reflink=0 -i sparse=0"),
        (Features { inode_counts: true, reflink: true, ..none }, "-m bigtime=0 -i sparse=0"),
    ];
    let mut tree = Tree::sample();
    // What 32 bits of seconds cannot say becomes the nearest that they can.
    tree.0.retain(|(entry, _)| i32::try_from(entry.meta.mtime.secs).is_ok());
    for (features, how) in sets {
        let image = blank(128 * MIB);
        let mut plan = Plan::new();
        tree.0.iter().for_each(|(entry, _)| plan.add(entry));
        let writer = Writer::with(image.reopen().unwrap(), unique(128 * MIB), features, Some(&plan)).unwrap();
        super::kind::fill(Box::new(writer), &tree).unwrap();
        Kind::Xfs.check(image.path());
        Kind::Xfs.same(&tree, image.path());
        same(&tree, &contents(&open(image.path())));
        let features_of = |image: &Path| {
            let Fs::Xfs(found) = open(image) else { panic!() };
            found.superblock().features()
        };
        assert_eq!(features_of(image.path()), features, "{how}");
        assert_eq!(features_of(mkfs(how, 512 * MIB).path()), features, "{how}");
        // The kernel goes on with it.
        let mounted = Mounted::of("xfs", image.path(), "loop");
        for n in 0..2000 {
            fs::write(mounted.path().join(format!("dir/{n}")), noise(n * 3, 1)).unwrap();
        }
        drop(mounted);
        Kind::Xfs.check(image.path());
    }
}

#[test]
fn another_identifier_is_read_beside_the_old_one() {
    let image = mkfs("-L before", 400 * MIB);
    let mounted = Mounted::of("xfs", image.path(), "loop");
    for n in 0..300 {
        fs::write(mounted.path().join(format!("file-{n}")), "x").unwrap();
    }
    drop(mounted);
    run("xfs_admin", &["-L", "after", "-U", "01234567-89ab-4def-8123-456789abcdef", text(image.path())]);
    let found = open(image.path());
    assert_eq!(found.uuid(), *b"\x01\x23\x45\x67\x89\xab\x4d\xef\x81\x23\x45\x67\x89\xab\xcd\xef");
    assert_eq!((found.label(), found.walk().count()), (&b"after"[..], 301));
}

/// A copy of an image as it is on the disk right now.
fn copy(image: &Path) -> NamedTempFile {
    let copy = NamedTempFile::new().unwrap();
    said("cp", "coreutils", &["--sparse=always", text(image), text(copy.path())]);
    copy
}

#[test]
fn a_log_that_is_needed_is_refused_until_it_was_replayed() {
    for how in ["", "-l su=256k", "-b size=1024"] {
        let image = mkfs(how, 512 * MIB);
        open(image.path());
        let mounted = Mounted::of("xfs", image.path(), "loop");
        let mut crashed = Vec::new();
        for n in 0..400 {
            fs::write(mounted.path().join(format!("file-{n}")), noise(n * 10, n as u64)).unwrap();
            if n % 100 == 50 {
                said("sync", "coreutils", &["-f", text(mounted.path())]);
                crashed.push(copy(image.path()));
            }
        }
        drop(mounted);
        assert_eq!(open(image.path()).walk().count(), 401, "{how}");
        for image in crashed {
            let error = refused(image.path());
            assert!(
                error.contains("a log with changes that are not in their places yet: mount and unmount it"),
                "{error}"
            );
            drop(Mounted::of("xfs", image.path(), "loop"));
            assert!(open(image.path()).walk().count() > 50, "{how}");
        }
    }
}

#[test]
fn logs_of_many_rounds_have_their_end_somewhere() {
    let image = mkfs("-l size=10m,sunit=8", 400 * MIB);
    for round in 0..12 {
        let mounted = Mounted::of("xfs", image.path(), "loop");
        for n in 0..round * 300 {
            let path = mounted.path().join(format!("{}-{n}", "n".repeat(200)));
            fs::write(&path, "").unwrap();
            rustix::fs::setxattr(&path, "user.a", &noise(2000, n), XattrFlags::empty()).unwrap();
        }
        said("sync", "coreutils", &["-f", text(mounted.path())]);
        let crashed = copy(image.path());
        let dir = fs::read_dir(mounted.path()).unwrap();
        dir.for_each(|entry| fs::remove_file(entry.unwrap().path()).unwrap());
        drop(mounted);
        assert_eq!(open(image.path()).walk().count(), 1, "round {round}");
        if round > 0 {
            assert!(refused(crashed.path()).contains("a log with changes"), "round {round}");
            // What was in its log is in its place, and the log ends somewhere else.
            drop(Mounted::of("xfs", crashed.path(), "loop"));
            let all: Vec<_> = open(crashed.path()).walk().collect();
            assert!(
                all.iter().all(Result::is_ok) && all.len() as u64 == 1 + round * 300,
                "round {round}: {}",
                all.len()
            );
        }
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    let image = mkfs("", 512 * MIB);
    let set = |field: &str, value: &str| {
        run("xfs_db", &["-x", "-c", "sb 0", "-c", &format!("write -d {field} {value}"), text(image.path())]);
    };
    for (value, says) in [
        ("0x1b", "needs repair: run xfs_repair"),
        ("0x100b", "the unknown feature 0x1000"),
        ("0x10b", "cannot read: metadir"),
    ] {
        set("features_incompat", value);
        let error = refused(image.path());
        assert!(error.contains(says), "{error}");
    }
    let small = fs::read(mkfs("", 32 * MIB).path()).unwrap();
    for len in [0, 100, 511, 512, 5000, 20 << 20] {
        assert!(matches!(Image::open(small[..len].to_vec()), Err(DiskError::Damaged { .. })), "{len}");
    }
    assert!(matches!(Image::open(vec![0; 10_000]), Err(DiskError::Damaged { .. })));
}

#[test]
fn paths_are_found_through_links_and_marks_are_told() {
    let mut tree = Tree::sample();
    tree.link("etc", "/usr/etc").dir("usr").dir("usr/etc").file("usr/etc/hosts", b"127.0.0.1 x\n");
    tree.link("usr/etc/up", "../../../../usr/etc/hosts").link("loop", "loop").link("dangling", "/nowhere");
    let mut with = options(96 * MIB);
    with.flags.insert(b"usr/etc/hosts".to_vec(), InodeFlags::IMMUTABLE.with(InodeFlags::NODUMP));
    let mut memory = Vec::new();
    Kind::Xfs.write(&tree, &mut memory, with).unwrap();
    let image = Image::open(memory).unwrap();
    for path in ["etc/hosts", "/etc/hosts", "usr/etc/up", "dir/../etc/./up", "../../etc/hosts"] {
        let found = image.lookup(path.as_bytes()).unwrap().unwrap();
        assert_eq!(found.entry.path, b"usr/etc/hosts", "{path}");
        assert_eq!(found.flags, InodeFlags::IMMUTABLE.with(InodeFlags::NODUMP));
        assert_eq!(image.read(path.as_bytes(), 100).unwrap().unwrap(), b"127.0.0.1 x\n");
    }
    for path in ["nothing", "etc/nothing", "dangling", "dangling/x"] {
        assert_eq!(image.lookup(path.as_bytes()).unwrap(), None, "{path}");
    }
    for path in ["loop", "etc/hosts/x", "dir/small/../small"] {
        assert!(matches!(image.lookup(path.as_bytes()), Err(DiskError::Path { .. })), "{path}");
    }
    assert_eq!(image.list(&image.lookup(b"etc").unwrap().unwrap()).unwrap(), [&b"hosts"[..], b"up"]);
    assert!(image.read(b"dir/big", 1000).unwrap_err().to_string().contains("3000001 bytes, 1000 are the most"));
    assert!(image.read(b"dir", 1000).is_err());
}
