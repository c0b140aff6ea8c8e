//! Disks with a root in btrfs as bases: Kiln's own, and one with subvolumes, as the kernel and btrfs-progs see what comes out.

use std::path::{Path, PathBuf};

use crate::disks::{Mounted, put, run, sum};
use crate::{Node, base};

const MIB: u64 = 1 << 20;
/// The root partition, in sectors of the disk.
const START: u64 = 14_336;
const LEN: u64 = 400 * MIB;
const UUID: &str = "5f3c0f9e-1111-4222-8333-0123456789ab";
/// That of another disk: the kernel does not mount two with one identifier at the same time.
const OTHER: &str = "5f3c0f9e-1111-4222-8333-0123456789ac";

/// What `fstab` says on Fedora: the top has no system.
const FSTAB: &str = "UUID=5f3c0f9e-1111-4222-8333-0123456789ab / btrfs compress=zstd:1,subvol=root 0 0\n\
    UUID=5f3c0f9e-1111-4222-8333-0123456789ab /home btrfs subvol=home 0 0\n\
    UUID=5f3c0f9e-1111-4222-8333-0123456789ab /var btrfs subvol=var 0 0\n";

/// What a check of Kiln's sees of a disk.
const PROFILE: &str = "name: own\nchecks:\n  - {id: own.new, title: it is new, file: {path: /etc/new, contains: new}}\n  \
    - {id: own.var, title: what is mounted is there, file: {path: /var/lib/data, contains: newer}}\n";

/// The root of a disk, mounted by the kernel.
fn mounted(at: PathBuf, disk: &Path, options: &str) -> Mounted {
    Mounted::of("btrfs", at, disk, &format!(",offset={},sizelimit={LEN}{options}", START * 512))
}

/// The bytes of a partition as a file of its own, checked by its tool.
fn partition(disk: &Path, start: u64, to: &Path) {
    use std::io::{Seek, SeekFrom};
    let mut from = std::fs::File::open(disk).unwrap();
    from.seek(SeekFrom::Start(start)).unwrap();
    let mut out = std::fs::File::create(to).unwrap();
    std::io::copy(&mut std::io::Read::take(from, LEN), &mut out).unwrap();
    let said = run("btrfs", &["check", "--readonly", "--check-data-csum", to.to_str().unwrap()]);
    assert!(said.contains("no error found"), "{said}");
}

/// A disk with a boot loader's area, an EFI system partition, and a root in one of several subvolumes.
fn disk(node: &Node, fstab: &str, uuid: &str) -> PathBuf {
    let dir = node.t.context();
    let path = dir.join("disk.raw");
    let at = path.to_str().unwrap();
    std::fs::File::create(&path).unwrap().set_len(START * 512 + LEN + MIB).unwrap();
    let root = format!("3:{START}:+{}M", LEN / MIB);
    run("sgdisk", &["-n", "2:4096:+5M", "-t", "2:ef00", "-n", &root, "-t", "3:8300", at]);
    let part = dir.join("part");
    std::fs::File::create(&part).unwrap().set_len(LEN).unwrap();
    run("mkfs.btrfs", &["-q", "-U", uuid, "-L", "fedora", part.to_str().unwrap()]);
    put(&path, &std::fs::read(&part).unwrap(), START * 512);
    std::fs::remove_file(&part).unwrap();
    let mounted = mounted(dir.join("mnt"), &path, ",compress-force=zstd");
    for name in ["root", "home", "var", "data"] {
        run("btrfs", &["-q", "subvolume", "create", &mounted.at(name)]);
    }
    run("tar", &["-C", &mounted.at("root"), "-xf", dir.join("base.tar").to_str().unwrap()]);
    for dir in ["root/home", "root/var", "root/boot", "var/lib", "home/user"] {
        std::fs::create_dir_all(mounted.at(dir)).unwrap();
    }
    run("btrfs", &["-q", "subvolume", "create", &mounted.at("var/lib/machines")]);
    for (path, text) in [
        ("root/etc/fstab", fstab),
        ("root/etc/os-release", "ID=fedora\n"),
        ("root/etc/changed", "changed"),
        ("var/lib/data", "old"),
        ("home/user/note", "a note"),
        ("data/kept", "kept"),
        ("beside", "beside"),
    ] {
        std::fs::write(mounted.at(path), text).unwrap();
    }
    std::fs::write(mounted.at("root/etc/text"), "some text, ".repeat(100_000)).unwrap();
    run("setfacl", &["-m", "u:1000:rw", &mounted.at("home/user/note")]);
    run("chattr", &["+i", &mounted.at("root/etc/changed")]);
    run("btrfs", &["-q", "subvolume", "snapshot", "-r", &mounted.at("root"), &mounted.at("root-before")]);
    drop(mounted);
    put(&path, &[0xA5; 60_000], START * 512 + 2000);
    put(&path, b"# GRUB Environment Block\n", START * 512 + (256 << 10));
    path
}

fn template(provisioners: &str) -> String {
    format!(
        r#"{{"builders": [{{"type": "qemu", "name": "node", "disk_image": true, "ssh_username": "root",
            "iso_url": "disk.raw", "format": "raw", "vm_name": "node.img", "output_directory": "out"}}],
            "provisioners": [{provisioners}]}}"#
    )
}

const CHANGES: &str = r#"{"type": "shell", "inline": ["echo new >/etc/new", "echo newer >>/var/lib/data",
    "mkdir -p /home/other", "echo other >/home/other/file", "chattr -i /etc/changed", "rm -r /var/lib/machines"]}"#;

/// What is changed on a disk of Kiln's own.
const OWN: &str = r#"{"type": "shell", "inline": ["echo new >/etc/new", "echo newer >>/var/lib/data"]}"#;

#[test]
fn a_root_in_a_subvolume_is_changed_and_all_of_them_are_where_they_were() {
    let node = Node::over(base());
    let raw = disk(&node, FSTAB, UUID);
    let (dir, before) = (node.t.context(), sum(&raw));
    node.write("t.json", &template(CHANGES));
    let out = node.t.kiln(&["node", "build", "-color=false", "-builder", "offline", "t.json"]).ok().stdout;
    for wanted in ["its fstab says that it is /, subvolume `root`", "without compression of its files", "`root-before`"]
    {
        assert!(out.contains(wanted), "{wanted:?} in\n{out}");
    }
    assert_eq!(sum(&raw), before, "the base was changed");
    let made = dir.join("out/node.img");
    partition(&made, START * 512, &dir.join("checked"));
    let area =
        |disk: &Path, from: usize, to: usize| std::fs::read(disk).unwrap()[START as usize * 512..][from..to].to_vec();
    assert!(area(&raw, 0, 64 << 10) == area(&made, 0, 64 << 10), "a boot loader is not what it was");
    assert!(area(&made, 256 << 10, 1 << 20).starts_with(b"# GRUB Environment Block"));
    let super_block = run("btrfs", &["inspect-internal", "dump-super", dir.join("checked").to_str().unwrap()]);
    assert!(super_block.contains(UUID) && super_block.contains("fedora"), "{super_block}");
    let top = mounted(dir.join("top"), &made, ",ro,subvolid=5");
    let list = run("btrfs", &["subvolume", "list", &top.at("")]);
    let names: Vec<&str> = list.lines().filter_map(|line| line.rsplit(' ').next()).collect();
    assert_eq!(names, ["root", "home", "var", "data"], "{list}");
    for (path, text) in [
        ("root/etc/new", "new\n"),
        ("root/etc/changed", "changed"),
        ("var/lib/data", "oldnewer\n"),
        ("home/user/note", "a note"),
        ("home/other/file", "other\n"),
        ("data/kept", "kept"),
        ("beside", "beside"),
    ] {
        assert_eq!(std::fs::read_to_string(top.at(path)).unwrap(), text, "{path}");
    }
    assert_eq!(std::fs::read_to_string(top.at("root/etc/text")).unwrap(), "some text, ".repeat(100_000));
    assert!(run("getfacl", &["-cnp", &top.at("home/user/note")]).contains("user:1000:rw-"));
    assert!(!run("lsattr", &["-d", &top.at("root/etc/changed")])[..20].contains('i'));
    let below = |path: &str| std::fs::read_dir(top.at(path)).unwrap().count();
    assert_eq!((below("root/var"), below("root/home")), (0, 0), "what is mounted is not in the root, too");
    drop(top);
    node.write("own.yaml", PROFILE);
    // Its boot loader is only bytes, which the profile `disk` sees.
    let words = ["node", "verify", made.to_str().unwrap(), "-p", "own.yaml", "--json"];
    let checked = node.t.kiln(&words).exits(1).json();
    assert_eq!((&checked["checks"][0]["verdict"], &checked["checks"][1]["verdict"]), (&"pass".into(), &"pass".into()));
}

#[test]
fn disks_whose_root_is_not_clear_or_damaged_are_refused() {
    let node = Node::over(base());
    let raw = disk(&node, "LABEL=fedora / btrfs subvol=other 0 0\n", OTHER);
    let dir = node.t.context();
    let top = mounted(dir.join("top"), &raw, "");
    run("btrfs", &["-q", "subvolume", "snapshot", &top.at("root"), &top.at("root-after")]);
    drop(top);
    node.write("t.json", &template(CHANGES));
    let refused = |wanted: &str| {
        let out = node.t.kiln(&["node", "build", "-color=false", "-builder", "offline", "t.json"]).exits(1);
        let text = format!("{}{}", out.stdout, out.stderr);
        assert!(text.contains(wanted) && !dir.join("out").exists(), "{wanted:?} in\n{text}");
    };
    // Each of two says that another one is it.
    refused("more than one system, of which none is the default: subvolume `root`, subvolume `root-after`");
    std::fs::remove_file(&raw).unwrap();
    let raw = disk(&node, FSTAB, OTHER);
    put(&raw, &[0x5A; 100], START * 512 + (64 << 10) + 200);
    put(&raw, &[0x5A; 100], START * 512 + (64 << 20) + 200);
    refused("the btrfs file system is damaged: its superblock: its checksum is wrong");
}

#[test]
fn a_disk_of_kiln_is_a_base_again_and_again() {
    let node = Node::over(base());
    let root = crate::base()
        .file("boot/vmlinuz-6.1.0-1", 0o644, "a kernel")
        .file("boot/initrd.img-6.1.0-1", 0o644, "an initramfs")
        .file("sbin/init", 0o755, "#!/bin/sh\n")
        .file("etc/os-release", 0o644, "ID=own\n")
        .dir("var", 0o755)
        .dir("var/lib", 0o755)
        .file("var/lib/data", 0o644, "old")
        .dir("usr/lib", 0o755)
        .dir("usr/lib/systemd", 0o755)
        .dir("usr/lib/systemd/boot", 0o755)
        .dir("usr/lib/systemd/boot/efi", 0o755)
        .file("usr/lib/systemd/boot/efi/systemd-bootx64.efi", 0o644, "MZ a boot loader");
    node.t.write("root.tar", 0o644, root.tar());
    node.write("Dockerfile", "FROM scratch\nADD root.tar /\n");
    let dir = node.t.context();
    let own = dir.join("disk.raw");
    let output = format!("--output=type=disk,fs=btrfs,boot=uefi,size=700M,label=own,dest={}", own.display());
    let _ = node.t.kiln(&["build", &output, "."]).ok();
    node.write("own.yaml", PROFILE);
    node.write("t.json", &template(OWN));
    let build = || node.t.kiln(&["node", "build", "-color=false", "-force", "-builder", "offline", "t.json"]).ok();
    let out = build().stdout;
    assert!(out.contains("root file system: partition ") && !out.contains("subvolume"), "{out}");
    let made = dir.join("out/node.img");
    let verify = || node.t.kiln(&["node", "verify", made.to_str().unwrap(), "-p", "own.yaml", "--json"]).ok().json();
    assert_eq!(verify()["checks"][1]["verdict"], "pass");
    let first = std::fs::read(&own).unwrap();
    // What came out is a base as well, in which nothing is lost.
    std::fs::rename(&made, &own).unwrap();
    let _ = build();
    assert_eq!(verify()["checks"][0]["verdict"], "pass");
    let again = std::fs::read(&made).unwrap();
    assert_eq!((first.len(), &first[..440]), (again.len(), &again[..440]));
}
