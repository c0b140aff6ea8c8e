//! Subvolumes: which one is the root, what is shown where, and disks that are written with them.

use std::fs;

use kiln_disk::btrfs::{Image, Subvolume, Writer};
use kiln_disk::fs::Files;
use kiln_disk::{DiskError, Window, WriteAt, root};
use kiln_oci::{EntryKind, Meta};
use tempfile::NamedTempFile;

use super::made::{MIB, contents, mkfs, mount, open, same_as_mounted};
use crate::ext4::tree::{Tree, blank, noise};
use crate::filesystems::kind::{Kind, unique};
use crate::tools::{run, text};

fn paths<R: kiln_disk::ReadAt>(image: &Image<R>) -> Vec<String> {
    contents(image).into_keys().map(|path| String::from_utf8(path).unwrap()).collect()
}

#[test]
fn the_default_one_and_those_in_it_are_shown() {
    let image = mkfs("", 300 * MIB);
    let mounted = mount(&image, "");
    let at = |path: &str| mounted.path().join(path).to_str().unwrap().to_owned();
    let make = |path: &str| drop(run("btrfs", &["-q", "subvolume", "create", &at(path)]));
    fs::create_dir(at("dir")).unwrap();
    ["dir/root", "dir/root/in", "dir/root/in/deep", "home"].into_iter().for_each(make);
    for path in ["top", "dir/root/file", "dir/root/in/file", "dir/root/in/deep/file", "home/file"] {
        fs::write(at(path), path).unwrap();
    }
    run("btrfs", &["-q", "subvolume", "snapshot", &at("dir/root"), &at("dir/root/copy")]);
    run("btrfs", &["-q", "subvolume", "snapshot", "-r", &at("dir/root"), &at("dir/root/kept")]);
    fs::write(at("dir/root/copy/more"), "more").unwrap();
    drop(mounted);
    let top = open(&image);
    let mounted = mount(&image, ",ro");
    assert_eq!(top.read(b"dir/root/in/deep/file", 99).unwrap().unwrap(), b"dir/root/in/deep/file");
    assert_eq!(top.read(b"dir/root/copy/more", 99).unwrap().unwrap(), b"more");
    let there = paths(&top);
    // What is in a copy that nobody writes to is there already; what a copy does not bring along is an empty directory.
    let no = |path: &str| !there.iter().any(|other| other.starts_with(path));
    assert!(there.contains(&"dir/root/kept".to_owned()) && no("dir/root/kept/"), "{there:?}");
    assert!(there.contains(&"dir/root/copy/in".to_owned()) && no("dir/root/copy/in/"), "{there:?}");
    run("btrfs", &["-q", "subvolume", "show", text(mounted.path().join("dir/root/copy").as_path())]);
    drop(mounted);
    // The default one is the root, by the kernel and by the reader.
    let mounted = mount(&image, "");
    run("btrfs", &["-q", "property", "set", text(&mounted.path().join("dir/root/kept")), "ro", "false"]);
    run("btrfs", &["-q", "subvolume", "set-default", text(&mounted.path().join("dir/root/copy"))]);
    drop(mounted);
    let mounted = mount(&image, ",ro");
    assert!(mounted.path().join("more").exists());
    let copy = open(&image);
    assert_eq!(copy.title_of_root().unwrap(), "subvolume `dir/root/copy`");
    assert_eq!(copy.read(b"more", 9).unwrap().unwrap(), b"more");
    // Empty directories of the kernel for what is not there have no times of their own.
    assert_eq!(paths(&copy).len(), 4, "{:?}", paths(&copy));
    drop(mounted);
    let mut entered = open(&image);
    for (options, file) in [
        ("rw,subvol=/dir/root", "dir/root/file"),
        ("subvol=home", "home/file"),
        ("subvolid=257,compress=zstd", "dir/root/in/file"),
    ] {
        assert!(entered.enter(options).unwrap());
        assert_eq!(entered.read(b"file", 99).unwrap().unwrap(), file.as_bytes(), "{options}");
    }
    let mounted = mount(&image, ",ro,subvol=home");
    assert!(entered.enter("subvol=home").unwrap());
    same_as_mounted(&entered, mounted.path());
    assert!(!entered.enter("subvol=none").unwrap() && !entered.enter("subvol=dir").unwrap());
    assert!(!entered.enter("subvolid=4711").unwrap() && !entered.enter("subvolid=x").unwrap());
    assert!(entered.enter("subvolid=5").unwrap());
    assert!(entered.read(b"top", 9).unwrap().is_some());
    assert!(entered.enter("defaults").unwrap() && entered.read(b"more", 9).unwrap().is_some());
}

/// A subvolume with a number.
fn part(id: u64, path: &str) -> Subvolume {
    Subvolume { id, path: path.as_bytes().to_vec(), read_only: false }
}

fn written(tree: &Tree, parts: &[Subvolume], default: u64) -> NamedTempFile {
    let file = blank(160 * MIB);
    let mut writer = Writer::new(file.reopen().unwrap(), unique(160 * MIB), None).unwrap();
    writer.subvolumes(parts, default).unwrap();
    for (entry, body) in &tree.0 {
        writer.append(entry, &mut body.as_slice()).unwrap();
    }
    writer.finish().unwrap();
    Kind::Btrfs.check(file.path());
    file
}

/// As Fedora has it: the top has no system.
fn fedora() -> (Tree, [Subvolume; 3]) {
    let mut tree = Tree::default();
    tree.dir("root").dir("root/etc").dir("root/home").dir("root/var").dir("root/usr").dir("root/usr/bin");
    tree.dir("home").dir("var").dir("var/lib");
    let fstab = "LABEL=kiln-root / btrfs compress=zstd:1,subvol=root 0 0\n\
                 LABEL=kiln-root /home btrfs subvol=home 0 0\nLABEL=kiln-root /var btrfs subvol=/var 0 0\n\
                 LABEL=other /srv ext4 defaults 0 0\n";
    tree.file("root/etc/fstab", fstab.as_bytes()).file("root/etc/os-release", b"ID=fedora\n");
    tree.link("root/bin", "usr/bin").file("root/usr/bin/sh", &noise(20_000, 1));
    tree.file("home/user", b"user").file("var/lib/data", &noise(300_000, 2)).link("var/run", "../run");
    let hard = EntryKind::Hardlink { target: b"home/user".to_vec() };
    tree.add("home/hard", hard, Meta::default(), b"");
    (tree, [part(256, "root"), part(257, "home"), part(300, "var")])
}

#[test]
fn what_is_written_with_subvolumes_is_as_the_kernel_has_it() {
    let (tree, mut parts) = fedora();
    parts[2].read_only = true;
    let image = written(&tree, &parts, 256);
    let mounted = mount(&image, ",subvolid=5");
    let list = run("btrfs", &["subvolume", "list", text(mounted.path())]);
    for line in ["ID 256 gen", "path root", "ID 257 gen", "path home", "ID 300 gen", "path var"] {
        assert!(list.contains(line), "{list}");
    }
    let default = run("btrfs", &["subvolume", "get-default", text(mounted.path())]);
    assert!(default.contains("ID 256"), "{default}");
    let var = mounted.path().join("var");
    assert!(run("btrfs", &["property", "get", text(&var), "ro"]).contains("ro=true"));
    assert!(fs::write(var.join("x"), "x").is_err());
    crate::ext4::tree::same_as_mounted_but(&tree, mounted.path(), 0);
    // The kernel works on.
    let home = mounted.path().join("home");
    run("btrfs", &["-q", "subvolume", "snapshot", text(&home), text(&home.join("copy"))]);
    run("btrfs", &["-q", "subvolume", "delete", text(&home.join("copy"))]);
    for n in 0..500 {
        fs::write(home.join(format!("{n}")), noise(n * 30, 3)).unwrap();
    }
    run("btrfs", &["-q", "subvolume", "create", text(&mounted.path().join("new"))]);
    drop(mounted);
    Kind::Btrfs.check(image.path());
    let mounted = mount(&image, ",ro");
    assert!(mounted.path().join("etc/fstab").exists(), "the default one is mounted");
}

#[test]
fn subvolumes_that_cannot_be_are_refused() {
    let refused = |parts: &[Subvolume], default: u64| {
        let mut writer = Writer::new(blank(100 * MIB).reopen().unwrap(), unique(100 * MIB), None).unwrap();
        writer.subvolumes(parts, default).unwrap_err().to_string()
    };
    assert!(refused(&[part(255, "a")], 5).contains("the number 255"));
    assert!(refused(&[part(256, "a"), part(256, "b")], 5).contains("the number 256"));
    assert!(refused(&[part(256, "a"), part(257, "a")], 5).contains("already"));
    assert!(refused(&[part(256, "")], 5).contains("already"));
    assert!(refused(&[part(256, "a/../b")], 5).contains("not a path"));
    assert!(refused(&[part(256, "a")], 257).contains("no subvolume 257"));
    let mut writer = Writer::new(blank(100 * MIB).reopen().unwrap(), unique(100 * MIB), None).unwrap();
    writer.subvolumes(&[part(256, "a")], 5).unwrap();
    let mut tree = Tree::default();
    tree.file("file", b"x").add("a/hard", EntryKind::Hardlink { target: b"file".to_vec() }, Meta::default(), b"");
    writer.append(&tree.0[0].0, &mut &b"x"[..]).unwrap();
    let error = writer.append(&tree.0[1].0, &mut &b""[..]).unwrap_err();
    assert!(error.to_string().contains("in another subvolume"), "{error}");
}

/// A disk that is nothing but this file system, as it is found by what is on it.
fn find(image: &NamedTempFile) -> Result<root::Root, DiskError> {
    root::open(image.path(), None, None)
}

#[test]
fn the_subvolume_that_names_itself_is_the_root_and_others_are_mounted_in_it() {
    let (tree, parts) = fedora();
    let found = find(&written(&tree, &parts, 5)).unwrap();
    assert!(found.evidence.ends_with("subvolume `root`"), "{}", found.evidence);
    assert_eq!(found.fs.read(b"var/lib/data", 1 << 20).unwrap().unwrap(), noise(300_000, 2));
    assert_eq!(found.fs.read(b"home/hard", 9).unwrap().unwrap(), b"user");
    let other: Vec<&str> = found.mounts.iter().map(|mount| &*mount.target).collect();
    assert_eq!(other, ["/", "/srv"]);
    let all: Vec<String> = found.fs.walk().map(|found| String::from_utf8(found.unwrap().entry.path).unwrap()).collect();
    assert_eq!(all.len(), 15, "{all:?}");
    // What fills it anew is told where all of this belongs.
    let kiln_disk::fs::Fs::Btrfs(image) = &found.fs else { panic!("it is btrfs") };
    let layout = image.layout().unwrap();
    assert_eq!(layout.from_top(b"etc/fstab").unwrap(), b"root/etc/fstab");
    assert_eq!(layout.from_top(b"var/lib").unwrap(), b"var/lib");
    assert_eq!(layout.from_top(b"home").unwrap(), b"home");
    assert_eq!(layout.from_top(b"").unwrap(), b"root");
    let under: Vec<&[u8]> = layout.under.iter().map(|entry| &*entry.path).collect();
    assert_eq!(under, [b"root/home", &b"root/var"[..]]);
    assert_eq!(layout.outside.iter().map(|found| &*found.entry.path).collect::<Vec<_>>(), [b""]);
    assert_eq!((layout.default, layout.parts.len(), layout.top), (5, 3, None));
}

#[test]
fn the_words_of_the_kernel_count_more_than_fstab() {
    let (mut tree, parts) = fedora();
    tree.dir("old").dir("old/etc").dir("old/bin").file("old/bin/sh", b"").file("old/etc/os-release", b"ID=old\n");
    tree.file("old/etc/fstab", b"LABEL=kiln-root / btrfs subvol=old 0 0\n");
    let two = [&parts[..], &[part(400, "old")]].concat();
    let error = find(&written(&tree, &two, 5)).unwrap_err().to_string();
    assert!(error.contains("more than one system") && error.contains("`root`, subvolume `old`"), "{error}");
    // The default one counts among them.
    let found = find(&written(&tree, &two, 400)).unwrap();
    assert_eq!(found.fs.read(b"etc/os-release", 99).unwrap().unwrap(), b"ID=old\n");
    tree.dir("old/boot").dir("old/boot/loader").dir("old/boot/loader/entries");
    tree.file("old/boot/loader/entries/a.conf", b"title a\noptions root=LABEL=x ro rootflags=subvol=root quiet\n");
    let found = find(&written(&tree, &two, 5)).unwrap();
    assert!(found.evidence.contains("subvolume `root`"), "{}", found.evidence);
}

/// As openSUSE has it: a snapshot is the default one, and all others are mounted in it.
#[test]
fn a_default_snapshot_is_the_root_and_its_copies_are_left_out() {
    let image = mkfs("-L kiln-root", 300 * MIB);
    let mounted = mount(&image, "");
    let at = |path: &str| mounted.path().join(path).to_str().unwrap().to_owned();
    let make = |path: &str| drop(run("btrfs", &["-q", "subvolume", "create", &at(path)]));
    make("@");
    ["@/.snapshots", "@/home", "@/var"].into_iter().for_each(make);
    fs::create_dir_all(at("@/.snapshots/1")).unwrap();
    fs::create_dir_all(at("@/.snapshots/2")).unwrap();
    make("@/.snapshots/1/snapshot");
    let root = |path: &str| at(&format!("@/.snapshots/1/snapshot/{path}"));
    for dir in ["etc", "bin", "home", "var", ".snapshots"] {
        fs::create_dir(root(dir)).unwrap();
    }
    let fstab = "LABEL=kiln-root / btrfs defaults 0 0\nLABEL=kiln-root /var btrfs subvol=/@/var 0 0\n\
                 LABEL=kiln-root /home btrfs subvol=/@/home 0 0\n\
                 LABEL=kiln-root /.snapshots btrfs subvol=/@/.snapshots 0 0\n";
    for (path, text) in [("etc/os-release", "ID=suse\n"), ("etc/fstab", fstab), ("bin/sh", "")] {
        fs::write(root(path), text).unwrap();
    }
    fs::write(at("@/var/data"), noise(100_000, 4)).unwrap();
    fs::write(at("@/home/user"), "user").unwrap();
    fs::write(at("@/.snapshots/1/info.xml"), "<snapshot/>").unwrap();
    let snapshot = at("@/.snapshots/1/snapshot");
    run("btrfs", &["-q", "subvolume", "snapshot", "-r", &snapshot, &at("@/.snapshots/2/snapshot")]);
    run("btrfs", &["-q", "subvolume", "set-default", &snapshot]);
    drop(mounted);
    let found = find(&image).unwrap();
    assert!(found.evidence.ends_with("subvolume `@/.snapshots/1/snapshot`"), "{}", found.evidence);
    let all: Vec<String> = found.fs.walk().map(|found| String::from_utf8(found.unwrap().entry.path).unwrap()).collect();
    let wanted = [
        "",
        ".snapshots",
        ".snapshots/1",
        ".snapshots/1/info.xml",
        ".snapshots/1/snapshot",
        ".snapshots/2",
        ".snapshots/2/snapshot",
        "bin",
        "bin/sh",
        "etc",
        "etc/fstab",
        "etc/os-release",
        "home",
        "home/user",
        "var",
        "var/data",
    ];
    assert_eq!(all, wanted);
    let kiln_disk::fs::Fs::Btrfs(image) = &found.fs else { panic!("it is btrfs") };
    let layout = image.layout().unwrap();
    assert_eq!(layout.from_top(b"etc/fstab").unwrap(), b"@/.snapshots/1/snapshot/etc/fstab");
    assert_eq!(layout.from_top(b".snapshots/1/info.xml").unwrap(), b"@/.snapshots/1/info.xml");
    assert_eq!(layout.from_top(b".snapshots/1/snapshot"), None);
    assert_eq!(image.copies().unwrap(), [b"@/.snapshots/2/snapshot"]);
    let outside: Vec<&[u8]> = layout.outside.iter().map(|found| &*found.entry.path).collect();
    assert_eq!(outside, [&b""[..], b"@"]);
}

#[test]
fn a_disk_with_partitions_is_found_by_its_system() {
    let (tree, parts) = fedora();
    let image = written(&tree, &parts, 5);
    let bytes = fs::read(image.path()).unwrap();
    let mut disk = blank(200 * MIB);
    let table = ["-n", "1:2048:+8M", "-t", "1:ef00", "-n", "2:20480:+160M", "-t", "2:8300", text(disk.path())];
    run("sgdisk", &table);
    Window::new(disk.as_file_mut(), 20_480 * 512, 160 * MIB).write_at(&bytes, 0).unwrap();
    let found = root::open(disk.path(), None, None).unwrap();
    assert_eq!(found.partition.number, 2);
    assert!(found.evidence.contains("subvolume `root`"), "{}", found.evidence);
}
