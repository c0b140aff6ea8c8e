//! Disks as bases: opened, changed and written back, as e2fsprogs, sgdisk, qemu-img and the kernel see them.

use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_testkit::Output;

use crate::{Node, base};

const UUID: &str = "11111111-2222-4333-8444-555555555555";
/// The root partition, in sectors of the disk.
const START: u64 = 14_336;
const MIB: u64 = 1 << 20;

/// Runs a program that has to succeed.
#[track_caller]
pub fn run(program: &str, args: &[&str]) -> String {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let out = Command::new("env").arg(format!("PATH={path}")).arg(program).args(args).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{program} {args:?} (is its Debian package installed?): {text}");
    text
}

/// A file system of a disk, mounted by the kernel until this is dropped.
pub struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
        let _ = std::fs::remove_dir(&self.0);
    }
}

impl Mounted {
    fn new(at: PathBuf, disk: &Path, options: &str) -> Mounted {
        Mounted::of("ext4", at, disk, &format!(",offset={}{options}", START * 512))
    }

    pub fn of(kind: &str, at: PathBuf, disk: &Path, options: &str) -> Mounted {
        std::fs::create_dir(&at).unwrap();
        let how = format!("loop{options}");
        run("mount", &["-o", &how, "-t", kind, disk.to_str().unwrap(), at.to_str().unwrap()]);
        Mounted(at)
    }

    pub fn at(&self, path: &str) -> String {
        self.0.join(path).to_str().unwrap().to_owned()
    }
}

fn noise(len: u64, mut seed: u64) -> Vec<u8> {
    let next = |_| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 56) as u8
    };
    (0..len).map(next).collect()
}

pub fn put(disk: &Path, bytes: &[u8], at: u64) {
    let file = std::fs::File::options().write(true).open(disk).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, bytes, at).unwrap();
}

/// A disk as clouds have them: boot code, a BIOS boot partition, an EFI system partition, a root at the end; and a
/// machine that was never shut down, so that its journal has the newest of it.
fn disk(node: &Node, fstab: &str) -> PathBuf {
    let dir = node.t.context();
    let path = dir.join("disk.raw");
    let at = path.to_str().unwrap();
    std::fs::File::create(&path).unwrap().set_len(80 * MIB).unwrap();
    let root = format!("3:{START}:+64M");
    run(
        "sgdisk",
        &["-n", "1:2048:+1M", "-t", "1:ef02", "-n", "2:4096:+5M", "-t", "2:ef00", "-n", &root, "-t", "3:8300", at],
    );
    put(&path, &noise(440, 1), 0);
    put(&path, &noise(MIB, 2), 2048 * 512);
    put(&path, &noise(5 * MIB, 3), 4096 * 512);
    let offset = format!("offset={}", START * 512);
    run("mke2fs", &["-q", "-F", "-t", "ext4", "-U", UUID, "-L", "cloudimg", "-m", "3", "-E", &offset, at, "64M"]);
    let mounted = Mounted::new(dir.join("mnt"), &path, ",commit=300");
    run("tar", &["-C", &mounted.at(""), "-xf", dir.join("base.tar").to_str().unwrap()]);
    for path in ["etc/acl", "etc/locked", "etc/changed", "etc/held"] {
        std::fs::write(mounted.at(path), path).unwrap();
    }
    std::fs::write(mounted.at("etc/fstab"), fstab).unwrap();
    std::fs::write(mounted.at("etc/os-release"), "ID=debian\n").unwrap();
    std::fs::create_dir_all(mounted.at("boot/grub")).unwrap();
    std::fs::write(mounted.at("boot/vmlinuz-6.1.0-9-node"), "old").unwrap();
    std::fs::write(mounted.at("boot/grub/grub.cfg"), "linux /boot/vmlinuz-6.1.0-9-node root=LABEL=cloudimg\n").unwrap();
    std::fs::hard_link(mounted.at("etc/held"), mounted.at("etc/held-too")).unwrap();
    run("setfacl", &["-m", "u:1000:rw", &mounted.at("etc/acl")]);
    run("setfattr", &["-n", "user.note", "-v", "kept", &mounted.at("etc/changed")]);
    run("setcap", &["cap_net_raw+ep", &mounted.at("bin/dash")]);
    run("truncate", &["-s", "40M", &mounted.at("etc/sparse")]);
    run("mknod", &["-m", "600", &mounted.at("etc/device"), "c", "1", "3"]);
    run("chattr", &["+i", &mounted.at("etc/locked")]);
    run("sync", &["-f", &mounted.at("")]);
    let crashed = dir.join("crashed.raw");
    run("cp", &["--sparse=always", at, crashed.to_str().unwrap()]);
    run("chattr", &["-i", &mounted.at("etc/locked")]);
    drop(mounted);
    std::fs::rename(&crashed, &path).unwrap();
    put(&path, &noise(1024, 4), START * 512);
    path
}

pub fn sum(path: &Path) -> String {
    run("sha256sum", &[path.to_str().unwrap()]).split(' ').next().unwrap().to_owned()
}

fn template(more: &str, provisioners: &str) -> String {
    format!(
        r#"{{"builders": [{{"type": "qemu", "name": "node", "disk_image": true, "ssh_username": "root",
            "vm_name": "node.img", "output_directory": "out"{more}}}], "provisioners": [{provisioners}]}}"#
    )
}

fn build(node: &Node, template: &str, more: &[&str]) -> Output {
    node.write("t.json", template);
    let _ = std::fs::remove_dir_all(node.t.context().join("out"));
    let mut args = vec!["node", "build", "-color=false"];
    args.extend(more);
    args.push("t.json");
    node.t.kiln(&args)
}

const FSTAB: &str =
    "UUID=11111111-2222-4333-8444-555555555555 / ext4 defaults 0 1\nLABEL=ESP /boot/efi vfat umask=0077 0 1\n";

/// The bytes of a disk up to the superblock of its root, without the tables at its start.
fn before_the_root(disk: &Path) -> (Vec<u8>, Vec<u8>) {
    let bytes = std::fs::read(disk).unwrap();
    (bytes[..440].to_vec(), bytes[34 * 512..START as usize * 512 + 1024].to_vec())
}

#[test]
fn a_disk_is_changed_without_a_machine_and_keeps_what_nobody_changed() {
    let node = Node::over(base());
    let raw = disk(&node, FSTAB);
    let dir = node.t.context();
    let qcow2 = dir.join("base.qcow2");
    run("qemu-img", &["convert", "-c", "-O", "qcow2", raw.to_str().unwrap(), qcow2.to_str().unwrap()]);
    let original = sum(&qcow2);
    let from = format!(r#", "iso_url": "base.qcow2", "iso_checksum": "sha256:{original}", "disk_size": "100M""#);
    let lines = r#"{"type": "shell", "inline": ["echo new > /etc/new", "echo more >> /etc/changed",
        "chattr +a /etc/new", "chattr -i /etc/locked", "rm /etc/hosts",
        "mv /boot/vmlinuz-6.1.0-9-node /boot/vmlinuz-6.1.0-21-node"]},
        {"type": "kiln-dns", "nameservers": ["9.9.9.9"]}"#;
    let template = template(&from, lines);
    let out = build(&node, &template, &[]).ok().stdout;
    for wanted in [
        "not with the builder qemu, because the base is a disk here, and nothing needs it to run; -builder qemu",
        "root file system: partition 3 (it has os-release",
        "its fstab says that it is /), with what its journal has",
        "--> node: VM files in directory: out",
    ] {
        assert!(out.contains(wanted), "{wanted:?} in\n{out}");
    }
    assert_eq!(sum(&qcow2), original, "the base was changed");
    let image = dir.join("out/node.img");
    assert!(run("qemu-img", &["check", image.to_str().unwrap()]).contains("No errors"));
    let made = dir.join("made.raw");
    run("qemu-img", &["convert", "-f", "qcow2", "-O", "raw", image.to_str().unwrap(), made.to_str().unwrap()]);
    assert_eq!(std::fs::metadata(&made).unwrap().len(), 100 * MIB);
    check_disk(&made, &raw, 100);
    let (old, new) = (Mounted::new(dir.join("old"), &raw, ""), Mounted::new(dir.join("new"), &made, ",ro"));
    check_files(&old, &new);
    drop((old, new));

    // Once more: neither the disk nor a script is read or run again.
    let again = build(&node, &template, &["-format", "vhd"]).ok().stdout;
    assert!(again.contains("(0 steps ran, 2 were in the cache)"), "{again}");
    let info = run("qemu-img", &["info", "-f", "vpc", image.to_str().unwrap()]);
    assert!(info.contains("100 MiB"), "{info}");
}

fn check_disk(made: &Path, raw: &Path, mib: u64) {
    let said = run("sgdisk", &["-v", made.to_str().unwrap()]);
    assert!(said.contains("No problems found"), "{said}");
    let part = run("sgdisk", &["-i", "3", made.to_str().unwrap()]);
    assert!(part.contains(&format!("First sector: {START}")), "{part}");
    assert!(part.contains(&format!("Last sector: {}", (mib - 1) * 2048 - 1)), "{part}");
    assert!(before_the_root(made) == before_the_root(raw), "boot loaders are not what they were");
    let root = format!("{}?offset={}", made.display(), START * 512);
    let said = run("e2fsck", &["-fn", &root]);
    assert!(!said.contains("Fix?"), "{said}");
    let said = run("dumpe2fs", &["-h", &root]);
    assert!(said.contains(UUID) && said.contains("cloudimg"), "{said}");
    let blocks = ((mib - 1) * 2048 - START) / 8;
    assert!(said.contains(&format!("Block count:              {blocks}\n")), "{said}");
}

fn check_files(old: &Mounted, new: &Mounted) {
    let stat = |m: &Mounted, path: &str| run("stat", &["-c", "%a %u:%g %y %F %s %h %t,%T", &m.at(path)]);
    for path in ["etc/acl", "etc/locked", "etc/held", "etc/held-too", "etc/sparse", "etc/device", "bin/dash", "bin/sh"]
    {
        assert_eq!(stat(old, path), stat(new, path), "{path}");
    }
    let acl = |m: &Mounted| run("getfacl", &["-cnp", &m.at("etc/acl")]);
    assert!(acl(new).contains("user:1000:rw-"), "{}", acl(new));
    assert_eq!(acl(old), acl(new));
    assert!(run("getfattr", &["-n", "user.note", "--only-values", &new.at("etc/changed")]).contains("kept"));
    assert!(run("getcap", &[&new.at("bin/dash")]).contains("cap_net_raw=ep"));
    assert_eq!(std::fs::read_to_string(new.at("etc/changed")).unwrap(), "etc/changedmore\n");
    assert_eq!(run("stat", &["-c", "%b", &new.at("etc/sparse")]), "0\n");
    assert!(!Path::new(&new.at("etc/hosts")).exists());
    let grub = std::fs::read_to_string(new.at("boot/grub/grub.cfg")).unwrap();
    assert_eq!(grub, "linux /boot/vmlinuz-6.1.0-21-node root=LABEL=cloudimg\n");
    assert_eq!(std::fs::read_to_string(new.at("etc/resolv.conf")).unwrap().lines().last(), Some("nameserver 9.9.9.9"));
    let flags = |path: &str| run("lsattr", &["-d", &new.at(path)]).split(' ').next().unwrap().replace(['-', 'e'], "");
    assert_eq!([flags("etc/new"), flags("etc/locked"), flags("etc/resolv.conf")], ["a", "", "i"]);
}

#[test]
fn bases_that_cannot_be_are_refused_and_nothing_is_left() {
    let node = Node::over(base());
    let raw = disk(&node, FSTAB);
    let dir = node.t.context();
    let bad = dir.join("bad.img");
    let script = r#"{"type": "shell", "inline": ["mkdir -p /boot/efi/EFI", "echo x > /boot/efi/EFI/x"]}"#;
    let refused = |more: &str, provisioners: &str, args: &[&str], wanted: &str| {
        let before = sum(&bad);
        let out = build(&node, &template(&format!(r#", "iso_url": "bad.img"{more}"#), provisioners), args).exits(1);
        let text = format!("{}{}", out.stdout, out.stderr);
        assert!(text.contains(wanted), "{wanted:?} in\n{text}");
        assert!(!dir.join("out").exists(), "something is left:\n{text}");
        assert_eq!(before, sum(&bad));
    };
    let fresh = || assert!(std::fs::copy(&raw, &bad).unwrap() > 0);
    let offline = &["-builder", "offline"][..];

    fresh();
    refused(r#", "iso_checksum": "md5:00000000000000000000000000000000""#, "", &[], "md5");
    refused(r#", "disk_size": "40M""#, "", &[], "cannot become smaller");
    refused("", script, &[], "`/boot/efi/EFI/x`, but /boot/efi is a file system of its own");
    // The end of the disk is missing; both tables are damaged.
    std::fs::File::options().write(true).open(&bad).unwrap().set_len(50 * MIB).unwrap();
    refused("", "", offline, "beyond the end of the disk");
    fresh();
    put(&bad, &[0xff; 8], 512 + 40);
    put(&bad, &[0xff; 8], 80 * MIB - 512 + 40);
    refused("", "", offline, "partition table (GPT)");
    // A table of inodes that makes no sense is found while files are read; the journal has no newer one.
    fresh();
    let root = format!("{}?offset={}", bad.display(), START * 512);
    drop(Mounted::new(dir.join("replayed"), &bad, ""));
    let table = run("debugfs", &["-R", "imap /etc/acl", &root]);
    let block: u64 = table.split("located at block ").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
    // Blocks of file systems this small have 1024 bytes.
    put(&bad, &noise(1024, 9), START * 512 + block * 1024);
    refused("", "", offline, "the ext4 file system is damaged: inode");
    // A boot loader that knows where its files lie, an encrypted root, and one that cannot do without another file system.
    fresh();
    put(&bad, b"EXTLINUX", START * 512 + 3);
    refused("", "", offline, "EXTLINUX boots it by the numbers of blocks");
    put(&bad, b"LUKS\xba\xbe", START * 512);
    refused("", "", offline, "partition 3: it is encrypted");
    drop(std::fs::remove_file(&raw));
    std::fs::rename(disk(&node, "LABEL=cloudimg / ext4\nLABEL=usr /usr ext4\n"), &bad).unwrap();
    refused("", "", offline, "its /usr is a file system of its own");
}

#[test]
fn damaged_disks_are_refused_and_nothing_is_left() {
    let node = Node::over(base());
    let dir = node.t.context();
    let (raw, bad) = (dir.join("small.raw"), dir.join("bad.img"));
    crate::fetched::small_disk(&node.t, &raw);
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (from, to) = (text(&raw), text(&bad));
    let qcow2 = |more: &[&str]| run("qemu-img", &[&["convert", "-O", "qcow2"], more, &[&*from, &*to]].concat());
    let refused = |what: &str, wanted: &str| {
        let keys = r#", "iso_url": "bad.img", "format": "raw""#;
        let provisioners = r#"{"type": "file", "content": "x", "destination": "/x"}"#;
        let out = build(&node, &template(keys, provisioners), &["-builder", "offline"]).exits(1);
        let said = format!("{}{}", out.stdout, out.stderr);
        assert!(said.contains(wanted) && said.contains("bad.img"), "{what}: {wanted:?} in\n{said}");
        assert!(!dir.join("out").exists(), "{what}: something is left:\n{said}");
    };
    let cut = |len: u64| std::fs::File::options().write(true).open(&bad).unwrap().set_len(len).unwrap();
    let flip = |at: u64, bytes: &[u8]| put(&bad, bytes, at);
    let fresh = || std::fs::copy(&raw, &bad).unwrap();

    qcow2(&[]);
    let whole = std::fs::metadata(&bad).unwrap().len();
    for len in [4, 100, whole / 4, whole / 2] {
        qcow2(&[]);
        cut(len);
        refused(&format!("qcow2 cut to {len}"), "");
    }
    qcow2(&["-c"]);
    flip(3, b"\xfa");
    refused("another magic", "");
    qcow2(&[]);
    // The table of tables is said to be beyond the end of the file.
    flip(40, &u64::MAX.to_be_bytes());
    refused("qcow2 without tables", "qcow2 image");
    // It stands on itself, on another, and in a circle.
    for back in ["bad.img", "small.raw", "other.img"] {
        let (other, at) = (text(&dir.join("other.img")), text(&bad));
        run("qemu-img", &["create", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", "bad.img", &other, "8M"]);
        run("qemu-img", &["create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", back, &at, "8M"]);
        refused(back, "a backing file");
    }
    fresh();
    flip(1024 + 56, &[0, 0]);
    refused("ext4 without its magic", "");
    fresh();
    flip(1024 + 24, &[0xff; 4]);
    refused("blocks of an impossible size", "");
    fresh();
    // Groups of blocks: their descriptors are behind the superblock.
    flip(2048, &[0xee; 64]);
    refused("ext4 without its inodes", "");
    fresh();
    cut(1 << 20);
    refused("ext4 cut short", "");
    overlapping(&bad);
    refused("partitions over each other", "it lies over the table or another partition");
}

/// A disk whose partitions lie over each other, in both copies of its table, each with the right checksums.
fn overlapping(disk: &Path) {
    let at = disk.to_str().unwrap();
    std::fs::File::create(disk).unwrap().set_len(8 * MIB).unwrap();
    run("sgdisk", &["-n", "1:2048:+1M", "-n", "2:6144:+1M", at]);
    let bytes = std::fs::read(disk).unwrap();
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    for header_at in [512, bytes.len() - 512] {
        let entries_at = usize::try_from(u64_at(header_at + 72)).unwrap() * 512;
        let mut entries = bytes[entries_at..entries_at + 128 * 128].to_vec();
        // The second one begins within the first.
        entries[128 + 32..128 + 40].copy_from_slice(&2100_u64.to_le_bytes());
        let mut header = bytes[header_at..header_at + 92].to_vec();
        header[88..92].copy_from_slice(&crc32(&entries).to_le_bytes());
        header[16..20].fill(0);
        let sum = crc32(&header);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
        put(disk, &entries, entries_at as u64);
        put(disk, &header, header_at as u64);
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let one = |sum: u32, bit: u32| if (sum ^ bit) & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 };
    let byte = |sum: u32, byte: &u8| (0..8).fold(sum, |sum, n| one(sum, u32::from(*byte) >> n));
    !bytes.iter().fold(!0, byte)
}

#[test]
fn a_full_disk_and_a_kill_leave_no_half_image() {
    let node = Node::over(base());
    let dir = node.t.context();
    let raw = disk(&node, FSTAB);
    std::fs::rename(&raw, dir.join("base.raw")).unwrap();
    let small = dir.join("small");
    std::fs::create_dir(&small).unwrap();
    run("mount", &["-t", "tmpfs", "-o", "size=2m", "none", small.to_str().unwrap()]);
    let small = Mounted(small);
    let from = r#", "iso_url": "base.raw", "format": "raw""#;
    let full = template(from, "").replace(r#""out""#, r#""small/out""#);
    let out = build(&node, &full, &[]).exits(1);
    let text = format!("{}{}", out.stdout, out.stderr);
    assert!(text.contains("No space left on device"), "{text}");
    assert_eq!(std::fs::read_dir(&small.0).unwrap().count(), 0, "{text}");
    // The same for what is no disk.
    for format in ["tar", "oci", "directory"] {
        let text = crate::template(r#"{"type": "shell", "inline": ["head -c 4m /dev/urandom >/big"]}"#, "");
        node.write("t.json", &text.replace(r#""node"}"#, r#""node", "output_directory": "small/out"}"#));
        let out = node.t.kiln(&["node", "build", "-base", "base.tar", "-format", format, "t.json"]).exits(1);
        assert!(out.stdout.contains("No space left on device"), "{format}: {out}");
        assert_eq!(std::fs::read_dir(&small.0).unwrap().count(), 0, "{format}: {out}");
    }
    drop(small);

    // Killed while it builds: what it was to write is not there, nor anything beside it.
    node.write("t.json", &template(from, r#"{"type": "shell", "inline": ["sleep 600"]}"#));
    let mut kiln = node.t.command(&["node", "build", "t.json"]).spawn().unwrap();
    let out = dir.join("out");
    while !out.is_dir() {
        assert!(kiln.try_wait().unwrap().is_none(), "it ended");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    kiln.kill().unwrap();
    kiln.wait().unwrap();
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 0);
    assert!(build(&node, &template(from, ""), &[]).ok().stdout.contains("VM files in directory"));
}
