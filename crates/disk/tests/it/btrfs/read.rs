//! What the reader sees of file systems that Kiln, `mkfs.btrfs` and the kernel made.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

use kiln_disk::ext4::InodeFlags;
use kiln_disk::fs::Files;
use kiln_oci::{Entry, EntryKind, name};
use rustix::fs::{FallocateFlags, fallocate};

use super::made::{MIB, contents, mkfs, mount, open, same_as_mounted};
use crate::ext4::tree::{CAPABILITY, Tree, noise, said, xattrs_at};
use crate::filesystems::kind::Kind;
use crate::tools::{run, text};

#[test]
fn what_was_written_is_read() {
    let tree = Tree::sample();
    let image = Kind::Btrfs.image(&tree, 128 * MIB);
    let image = open(&image);
    let about = image.superblock();
    assert_eq!((&about.label[..], about.sector_size, about.size), (&b"kiln-root"[..], 4096, 128 * MIB));
    assert!(!about.copy && about.features_lost().is_empty() && image.layout().unwrap().is_plain());
    let found = contents(&image);
    let bodies: BTreeMap<&[u8], &(Entry, Vec<u8>)> = tree.0.iter().map(|item| (&item.0.path[..], item)).collect();
    let first = |entry: &Entry| match &entry.kind {
        EntryKind::Hardlink { target } => target.clone(),
        _ => entry.path.clone(),
    };
    for (entry, _) in &tree.0 {
        let (want, body) = bodies[&first(entry)[..]];
        let (got, bytes) = &found[&first(&found[&entry.path].0)];
        let mut meta = want.meta.clone();
        if matches!(want.kind, EntryKind::Symlink { .. }) {
            meta.mode = 0o777;
        }
        assert_eq!((&got.kind, &got.meta), (&want.kind, &meta), "{}", name::escape(&entry.path));
        assert!(bytes == body, "{} has other bytes", name::escape(&entry.path));
    }
    // `lost+found` never came.
    assert_eq!(found.len(), tree.0.len() + 1);
}

/// Something of everything, and what only a kernel makes.
fn fill(root: &Path) {
    let at = |path: &str| root.join(path);
    fs::create_dir_all(at("a/b/c")).unwrap();
    fs::write(at("a/tiny"), b"tiny").unwrap();
    fs::write(at("a/inline-text"), b"all work and no play ".repeat(90)).unwrap();
    fs::write(at("a/noise"), noise(700_000, 2)).unwrap();
    fs::write(at("a/text"), b"all work and no play makes jack a dull boy\n".repeat(30_000)).unwrap();
    let mut mixed = noise(90_000, 3);
    mixed.extend([b"abcdefgh".repeat(40_000), noise(5000, 4), vec![0; 300_000], b"end".to_vec()].concat());
    fs::write(at("a/mixed"), &mixed).unwrap();
    let holes = File::create(at("a/holes")).unwrap();
    for (offset, n) in [(0, 4), (5 * MIB, 5), (100 * MIB + 77, 6)] {
        holes.write_all_at(&noise(5000, n), offset).unwrap();
    }
    holes.set_len(150 * MIB).unwrap();
    // Reserved and not written, written in the middle, taken away again.
    let reserved = File::create(at("a/reserved")).unwrap();
    fallocate(&reserved, FallocateFlags::empty(), 0, 3 * MIB).unwrap();
    reserved.write_all_at(&noise(100_000, 7), MIB).unwrap();
    fallocate(&reserved, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, MIB + 40_960, 8192).unwrap();
    run("sync", &["-f", text(root)]);
    // Parts of extents: written over in the middle, cut, and shared.
    for path in ["a/text", "a/noise"] {
        let file = File::options().write(true).open(at(path)).unwrap();
        file.write_all_at(&noise(10_000, 8), 300_001).unwrap();
        file.write_all_at(b"x", 600_000).unwrap();
    }
    File::options().write(true).open(at("a/mixed")).unwrap().set_len(433_333).unwrap();
    run("cp", &["--reflink=always", text(&at("a/text")), text(&at("shared"))]);
    File::options().write(true).open(at("shared")).unwrap().write_all_at(&noise(70_000, 9), 131_072).unwrap();
    for n in 0..700 {
        fs::write(at(&format!("a/b/a-name-that-takes-some-space-{n}")), format!("{n}").repeat(n)).unwrap();
    }
    for n in 0..100 {
        fs::hard_link(at("a/tiny"), at(&format!("a/b/c/{}{n}", "n".repeat(100)))).unwrap();
    }
    symlink("tiny", at("a/link")).unwrap();
    symlink("/a/../a/b/./large".to_owned() + &"/.".repeat(900), at("a/far")).unwrap();
    let node = |path: &str, kind, mode: u32, device| {
        rustix::fs::mknodat(rustix::fs::CWD, at(path), kind, mode.into(), device).unwrap();
    };
    node("pipe", rustix::fs::FileType::Fifo, 0o640, 0);
    node("null", rustix::fs::FileType::CharacterDevice, 0o666, rustix::fs::makedev(1, 3));
    node("disk", rustix::fs::FileType::BlockDevice, 0o660, rustix::fs::makedev(259, 70_000));
    fs::set_permissions(at("a/tiny"), fs::Permissions::from_mode(0o4751)).unwrap();
    std::os::unix::fs::chown(at("a/noise"), Some(70_000), Some(4_000_000_000)).unwrap();
    let attr = |path, name: &str, value: &[u8]| {
        rustix::fs::setxattr(at(path), name, value, rustix::fs::XattrFlags::empty()).unwrap();
    };
    attr("a/noise", "security.capability", &CAPABILITY);
    attr("a/noise", "user.more", &noise(400, 8));
    attr("a/b", "user.dir", b"on a directory");
    said("setfacl", "acl", &["-m", "u:1000:rw,d:g:50:r", text(&at("a/b"))]);
    assert!(!xattrs_at(&at("a/b")).is_empty());
}

#[test]
fn what_the_kernel_wrote_is_read() {
    for (how, with) in [
        ("", ""),
        ("", ",compress=zlib"),
        ("", ",compress-force=lzo"),
        ("-n 4096", ",compress-force=lzo"),
        ("", ",compress-force=zstd:15"),
        ("--csum xxhash", ",compress=zstd:1"),
        ("--csum sha256", ",nodatasum"),
        ("--csum blake2", ",max_inline=4095"),
        ("-M -n 4096", ",compress=lzo"),
        ("-O ^no-holes -m single", ",max_inline=0"),
        ("-d dup -n 65536", ",nodatacow"),
    ] {
        println!("{how} {with}");
        let image = mkfs(how, 700 * MIB);
        let mounted = mount(&image, with);
        fill(mounted.path());
        drop(mounted);
        let packed = with.contains("lzo") || with.contains("zstd");
        let other = how.contains("csum");
        let read = open(&image);
        assert_eq!(read.superblock().features_lost().len(), usize::from(packed) + usize::from(other), "{how} {with}");
        let mounted = mount(&image, ",ro");
        same_as_mounted(&read, mounted.path());
    }
}

#[test]
fn what_mkfs_copies_is_read() {
    let source = tempfile::TempDir::new().unwrap();
    fill_plain(source.path());
    for how in ["-R quota", "-m dup -d dup", "-n 8192 --csum xxhash"] {
        let image = mkfs(&format!("{how} --rootdir {}", text(source.path())), 400 * MIB);
        let mounted = mount(&image, ",ro");
        let read = open(&image);
        let lost = read.superblock().features_lost();
        assert_eq!(lost.contains(&"quotas"), how.contains("quota"), "{lost:?}");
        same_as_mounted(&read, mounted.path());
        assert_eq!(read.read(b"d/f-7", 100).unwrap().unwrap(), b"7777777");
    }
}

fn fill_plain(root: &Path) {
    fs::create_dir(root.join("d")).unwrap();
    for n in 0..300 {
        fs::write(root.join(format!("d/f-{n}")), n.to_string().repeat(n)).unwrap();
    }
    fs::write(root.join("big"), b"some text ".repeat(90_000)).unwrap();
    symlink("d/f-7", root.join("link")).unwrap();
}

#[test]
fn marks_holes_and_paths() {
    let image = mkfs("", 256 * MIB);
    let mounted = mount(&image, "");
    fill(mounted.path());
    said("chattr", "e2fsprogs", &["+ia", text(&mounted.path().join("a/tiny"))]);
    said("chattr", "e2fsprogs", &["+C", text(&mounted.path().join("a/b/c"))]);
    drop(mounted);
    let read = open(&image);
    let marks = |path: &str| read.lookup(path.as_bytes()).unwrap().unwrap().flags;
    assert_eq!(marks("a/tiny"), InodeFlags::IMMUTABLE.with(InodeFlags::APPEND));
    assert!(marks("a/b/c").is_empty() && marks("a/noise").is_empty());
    // Holes are known without being read.
    let holes = read.lookup(b"a/holes").unwrap().unwrap();
    let mut body = read.open_file(&holes).unwrap();
    body.seek(8192);
    assert_eq!(body.hole().unwrap(), 5 * MIB - 8192);
    body.seek(100 * MIB + 77);
    assert_eq!(body.hole().unwrap(), 0);
    let mut some = [0; 5000];
    body.read_exact(&mut some).unwrap();
    assert!(some[..] == noise(5000, 6));
    body.seek(101 * MIB);
    assert_eq!(body.hole().unwrap(), 49 * MIB);
    // Paths: through links, to nothing, through a file.
    assert_eq!(read.lookup(b"a/link").unwrap().unwrap().entry.path, b"a/tiny");
    assert!(matches!(read.lookup_link(b"a/link").unwrap().unwrap().entry.kind, EntryKind::Symlink { .. }));
    assert!(read.lookup(b"a/none").unwrap().is_none());
    assert!(read.lookup(b"a/tiny/x").unwrap_err().to_string().contains("not a directory"));
    assert!(read.read(b"a/noise", 100).unwrap_err().to_string().contains("100 are the most"));
    let dir = read.lookup(b"a/b/c").unwrap().unwrap();
    assert_eq!(read.list(&dir).unwrap().len(), 100);
    assert!(read.open_file(&dir).is_err());
}
