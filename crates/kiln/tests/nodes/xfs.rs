//! Roots in XFS: bases that others and Kiln made, changed without a machine, verified, and XFS again, as xfsprogs and the
//! kernel see them.

use std::path::{Path, PathBuf};

use kiln_testkit::Output;

use crate::disks::{Mounted, put, run, sum};
use crate::{Node, base};

const UUID: &str = "11111111-2222-4333-8444-555555555555";
const MIB: u64 = 1 << 20;
/// Where the root starts on disks made here.
const START: u64 = 2 * MIB;

/// A root as AlmaLinux 8 has it: its kernel knows neither times beyond 2038 nor counts of inodes' blocks.
fn filesystem(dir: &Path) -> PathBuf {
    let path = dir.join("root.xfs");
    let at = path.to_str().unwrap();
    std::fs::File::create(&path).unwrap().set_len(320 * MIB).unwrap();
    run("mkfs.xfs", &["-q", "-m", &format!("bigtime=0,inobtcount=0,uuid={UUID}"), "-L", "cloudimg", at]);
    // Another test may have one with this identifier mounted.
    let mounted = Mounted::of("xfs", dir.join("mnt"), &path, ",nouuid");
    run("tar", &["-C", &mounted.at(""), "-xf", dir.join("base.tar").to_str().unwrap()]);
    for path in ["etc/acl", "etc/locked", "etc/changed", "etc/held"] {
        std::fs::write(mounted.at(path), path).unwrap();
    }
    std::fs::write(mounted.at("etc/fstab"), format!("UUID={UUID} / xfs defaults 0 0\n")).unwrap();
    std::fs::write(mounted.at("etc/os-release"), "ID=almalinux\n").unwrap();
    std::fs::create_dir_all(mounted.at("boot/grub2")).unwrap();
    std::fs::write(mounted.at("boot/vmlinuz-6.1.0-9-node"), "old").unwrap();
    std::fs::hard_link(mounted.at("etc/held"), mounted.at("etc/held-too")).unwrap();
    run("setfacl", &["-m", "u:1000:rw", &mounted.at("etc/acl")]);
    run("setfacl", &["-m", "d:g:50:r", &mounted.at("boot")]);
    run("setfattr", &["-n", "user.note", "-v", "kept", &mounted.at("etc/changed")]);
    run("setcap", &["cap_net_raw+ep", &mounted.at("bin/dash")]);
    run("truncate", &["-s", "40M", &mounted.at("etc/sparse")]);
    run("mknod", &["-m", "600", &mounted.at("etc/device"), "c", "1", "3"]);
    std::os::unix::fs::symlink("x".repeat(800), mounted.at("etc/far")).unwrap();
    run("chattr", &["+i", &mounted.at("etc/locked")]);
    drop(mounted);
    path
}

/// The same on a disk with a boot loader's partition in front of it.
fn disk(dir: &Path) -> PathBuf {
    let (root, path) = (filesystem(dir), dir.join("disk.raw"));
    let at = path.to_str().unwrap();
    std::fs::File::create(&path).unwrap().set_len(323 * MIB).unwrap();
    run("sgdisk", &["-n", "1:2048:+1M", "-t", "1:ef02", "-n", "2:4096:+320M", "-t", "2:8300", at]);
    put(&path, &[0xeb; 440], 0);
    put(&path, &[7; 1 << 20], MIB);
    let (from, to) = (format!("if={}", root.display()), format!("of={at}"));
    run("dd", &["bs=1M", "seek=2", "conv=notrunc,sparse", "status=none", &from, &to]);
    path
}

fn build(node: &Node, base: &str, more: &str, lines: &str) -> Output {
    let template = format!(
        r#"{{"builders": [{{"type": "offline", "name": "node", "base": "{base}", "format": "raw", "vm_name": "node.img",
            "output_directory": "out"{more}}}], "provisioners": [{{"type": "shell", "inline": [{lines}]}}]}}"#
    );
    node.write("t.json", &template);
    let _ = std::fs::remove_dir_all(node.t.context().join("out"));
    node.t.kiln(&["node", "build", "-color=false", "t.json"])
}

const LINES: &str = r#""echo new > /etc/new", "echo more >> /etc/changed", "chattr +a /etc/new", "rm /etc/hosts""#;

fn check_files(old: &Mounted, new: &Mounted) {
    let stat = |m: &Mounted, path: &str| run("stat", &["-c", "%a %u:%g %y %F %s %h %t,%T", &m.at(path)]);
    for path in ["etc/acl", "etc/locked", "etc/held-too", "etc/sparse", "etc/device", "etc/far", "bin/dash", "bin/sh"] {
        assert_eq!(stat(old, path), stat(new, path), "{path}");
    }
    for (path, entry) in [("etc/acl", "user:1000:rw-"), ("boot", "default:group:50:r--")] {
        let acl = |m: &Mounted| run("getfacl", &["-cnp", &m.at(path)]);
        assert!(acl(new).contains(entry), "{}", acl(new));
        assert_eq!(acl(old), acl(new));
    }
    assert!(run("getfattr", &["-n", "user.note", "--only-values", &new.at("etc/changed")]).contains("kept"));
    assert!(run("getcap", &[&new.at("bin/dash")]).contains("cap_net_raw=ep"));
    assert_eq!(std::fs::read_to_string(new.at("etc/changed")).unwrap(), "etc/changedmore\n");
    assert_eq!(std::fs::read_link(new.at("etc/far")).unwrap().as_os_str().len(), 800);
    assert_eq!(run("stat", &["-c", "%b", &new.at("etc/sparse")]), "0\n");
    assert!(!Path::new(&new.at("etc/hosts")).exists());
    let flags = |path: &str| run("lsattr", &["-d", &new.at(path)]).split(' ').next().unwrap().replace('-', "");
    assert_eq!([flags("etc/new"), flags("etc/locked")], ["a", "i"]);
}

#[test]
fn a_root_that_mkfs_made_is_changed_and_stays_what_it_is() {
    let node = Node::over(base());
    let dir = node.t.context();
    let raw = disk(&dir);
    let original = sum(&raw);
    let out = build(&node, "disk.raw", r#", "disk_size": "400M""#, LINES).ok().stdout;
    assert!(out.contains("root file system: partition 2 (it has os-release"), "{out}");
    assert_eq!(sum(&raw), original, "the base was changed");
    let made = dir.join("out/node.img");
    let said = run("sgdisk", &["-v", made.to_str().unwrap()]);
    assert!(said.contains("No problems found"), "{said}");
    let (old, new) = (std::fs::read(&raw).unwrap(), std::fs::read(&made).unwrap());
    assert!(new.len() as u64 == 400 * MIB && old[..440] == new[..440], "boot loaders are not what they were");
    assert!(old[MIB as usize..START as usize] == new[MIB as usize..START as usize]);

    let root = dir.join("made.xfs");
    std::fs::write(&root, &new[START as usize..]).unwrap();
    let at = root.to_str().unwrap();
    let said = run("xfs_repair", &["-n", "-f", at]);
    assert!(!said.contains("would") && !said.contains("bad "), "{said}");
    let said = run("xfs_admin", &["-u", "-l", at]);
    assert!(said.contains(UUID) && said.contains("\"cloudimg\""), "{said}");
    let features = |image: &str| {
        let said = run("xfs_db", &["-r", "-c", "version", image]);
        let wanted = ["BIGTIME", "INOBTCNT", "REFLINK", "SPARSE_INODES"].map(|name| said.contains(name));
        (wanted, said)
    };
    assert_eq!(features(at).0, [false, false, true, true], "{}", features(at).1);
    assert_eq!(features(at).0, features(dir.join("root.xfs").to_str().unwrap()).0);
    let offset = format!(",ro,offset={START}");
    check_files(
        &Mounted::of("xfs", dir.join("old"), &dir.join("root.xfs"), ",ro,nouuid"),
        &Mounted::of("xfs", dir.join("new"), &made, &(offset + ",nouuid")),
    );
    // Once more, with the result as the base: nothing of it is lost.
    std::fs::rename(&made, dir.join("again.raw")).unwrap();
    let out = build(&node, "again.raw", "", r#""test -e /etc/new""#).ok().stdout;
    assert!(out.contains("partition 2"), "{out}");
}

#[test]
fn a_file_system_alone_is_a_base_and_one_in_disorder_is_none() {
    let node = Node::over(base());
    let dir = node.t.context();
    let path = filesystem(&dir);
    let out = build(&node, "root.xfs", "", LINES).ok().stdout;
    assert!(out.contains("root file system: the whole disk"), "{out}");
    let made = dir.join("out/node.img");
    let said = run("xfs_repair", &["-n", "-f", made.to_str().unwrap()]);
    assert!(!said.contains("would") && !said.contains("bad "), "{said}");
    check_files(
        &Mounted::of("xfs", dir.join("old"), &path, ",ro,nouuid"),
        &Mounted::of("xfs", dir.join("new"), &made, ",ro,nouuid"),
    );
    // Copied from under a machine that runs.
    let mounted = Mounted::of("xfs", dir.join("running"), &path, ",nouuid");
    std::fs::write(mounted.at("etc/late"), "late").unwrap();
    run("sync", &["-f", &mounted.at("")]);
    run("cp", &["--sparse=always", path.to_str().unwrap(), dir.join("crashed.xfs").to_str().unwrap()]);
    drop(mounted);
    let out = build(&node, "crashed.xfs", "", LINES).exits(1);
    let said = format!("{}{}", out.stdout, out.stderr);
    assert!(said.contains("a log with changes that are not in their places yet: mount and unmount it once"), "{said}");
    assert!(!dir.join("out").exists(), "something is left:\n{said}");
    let out = node.t.kiln(&["node", "verify", "crashed.xfs", "-p", "kubeadm"]).exits(3);
    assert!(out.stderr.contains("a log with changes"), "{out}");
}

#[test]
fn a_disk_that_kiln_made_is_verified_and_a_base() {
    let node = Node::over(base());
    let dir = node.t.context();
    for (name, content) in [("kernel", "a kernel"), ("initrd", "an initramfs"), ("loader", "a loader")] {
        node.write(name, content);
    }
    let text = "FROM scratch\nADD base.tar /\nCOPY kernel /boot/vmlinuz-6.1.0-9-node\n\
        COPY initrd /boot/initrd.img-6.1.0-9-node\nCOPY --chmod=755 kernel /sbin/init\n\
        COPY loader /usr/lib/systemd/boot/efi/systemd-bootx64.efi\nCOPY os-release /etc/os-release\n";
    node.write("Dockerfile", text);
    node.write("os-release", "ID=debian\n");
    let _ = node.t.kiln(&["build", "-q", "--output=type=disk,boot=uefi,fs=xfs,size=400M,dest=disk.raw", "."]).ok();
    let own =
        "name: own\nchecks:\n  - {id: own.marker, title: it is marked, file: {path: /etc/marker, exists: true}}\n";
    node.write("own.yaml", own);
    let verify = |disk: &str| node.t.kiln(&["node", "verify", disk, "-p", "own.yaml", "--json"]);
    let out = verify("disk.raw").exits(1);
    assert!(out.stdout.contains("own.marker"), "{out}");
    let _ = build(&node, "disk.raw", "", r#""echo x > /etc/marker", "chattr +i /etc/marker""#).ok();
    let out = verify("out/node.img").ok();
    assert!(out.stdout.contains("own.marker"), "{out}");
    let uuid = |disk: &str| {
        let said = run("sfdisk", &["--json", dir.join(disk).to_str().unwrap()]);
        let table: serde_json::Value = serde_json::from_str(&said).unwrap();
        let last = table["partitiontable"]["partitions"].as_array().unwrap().last().unwrap().clone();
        let mut uuid = [0; 16];
        let file = std::fs::File::open(dir.join(disk)).unwrap();
        let at = last["start"].as_u64().unwrap() * 512;
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut uuid, at + 32).unwrap();
        uuid
    };
    assert_eq!(uuid("disk.raw"), uuid("out/node.img"));
    // What makes it boot is looked at, too.
    let out = node.t.kiln(&["node", "verify", "out/node.img", "-p", "kubeadm", "--json"]);
    assert!(out.stdout.contains("disk.root"), "{out}");
    let line = out.stdout.split("disk.root").nth(1).unwrap();
    assert!(!line[..line.len().min(200)].contains("\"fail\""), "{line}");
}
