//! Images as disks that boot. What boots is proven in a machine (`scripts/demo.sh`); here it is what others read of them.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::Bench;

/// What a disk needs of an image: something to start, a kernel, an initramfs, a loader. None of it is run here.
pub const TEXT: &str = "FROM scratch\n\
    COPY --chmod=755 init /sbin/init\n\
    COPY kernel /boot/vmlinuz-6.1.0-9\nCOPY kernel /boot/vmlinuz-6.1.0-10\n\
    COPY initrd /boot/initrd.img-6.1.0-9\nCOPY initrd /boot/initrd.img-6.1.0-10\n\
    COPY loader /usr/lib/systemd/boot/efi/systemd-bootx64.efi\n\
    COPY --chown=1000:2000 --chmod=4750 init /srv/tool\n\
    COPY --chmod=600 init /etc/ssh/ssh_host_rsa_key\n";

pub fn bench() -> Bench {
    Bench::new()
        .file("init", 0o755, "#!/bin/sh\n")
        .file("kernel", 0o644, "a kernel")
        .file("initrd", 0o644, "an initramfs")
        .file("loader", 0o644, "a loader")
}

/// Builds the disk `name` with what is added to the output.
pub fn disk(b: &Bench, name: &str, more: &str) -> PathBuf {
    let path = b.t.out(name);
    let output = format!("--output=type=disk,boot=uefi,dest={},{more}", path.display());
    let _ = b.run(TEXT, &[&output]).ok();
    path
}

/// The root partition of a raw disk as a file of its own.
pub fn root(b: &Bench, disk: &Path) -> PathBuf {
    let table = b.t.tool("sfdisk", &["--json", disk.to_str().unwrap()]).ok().text().to_owned();
    let table: serde_json::Value = serde_json::from_str(&table).unwrap();
    let last = table["partitiontable"]["partitions"].as_array().unwrap().last().unwrap().clone();
    let (start, size) = (last["start"].as_u64().unwrap() * 512, last["size"].as_u64().unwrap() * 512);
    let path = b.t.out("root.ext4");
    let mut out = File::create(&path).unwrap();
    let mut from = File::open(disk).unwrap();
    std::io::Seek::seek(&mut from, std::io::SeekFrom::Start(start)).unwrap();
    std::io::copy(&mut std::io::Read::take(from, size), &mut out).unwrap();
    path
}

#[test]
fn others_read_what_is_on_it() {
    let b = bench();
    let raw = disk(&b, "d.raw", "format=raw,size=300M,hostname=node-1");
    assert_eq!(raw.metadata().unwrap().len(), 300 << 20);
    let root = root(&b, &raw);
    let _ = b.t.tool("e2fsck", &["-fn", root.to_str().unwrap()]).ok();
    let debugfs = |what: &str| b.t.tool("debugfs", &["-R", what, root.to_str().unwrap()]).ok().text().to_owned();
    let tool = debugfs("stat /srv/tool");
    assert!(tool.contains("Mode:  04750") && tool.contains("User:  1000   Group:  2000"), "{tool}");
    let fstab = debugfs("cat /etc/fstab");
    let uuid = b.t.tool("blkid", &["-o", "value", "-s", "UUID", root.to_str().unwrap()]).ok().text().to_owned();
    assert!(fstab.contains(&format!("UUID={} / ext4 ", uuid.trim())), "{fstab} {uuid}");
    assert_eq!(debugfs("cat /etc/hostname").trim(), "node-1");
    assert_eq!(debugfs("cat /etc/machine-id").trim(), "");
    assert!(!debugfs("ls /etc/ssh").contains("ssh_host"), "host keys are each machine's own");
    // The kernel of the highest version is the one that boots: 10 comes after 9.
    let esp = format!("{}@@1M", raw.display());
    let listed = b.t.tool("mdir", &["-i", &esp, "-b", "-/", "::"]).ok().text().to_owned();
    assert!(listed.contains("/EFI/BOOT/BOOTX64.EFI"), "{listed}");
    let entry = listed.lines().find(|line| line.ends_with(".conf") && line.contains("/entries/")).expect("an entry");
    let entry = b.t.tool("mtype", &["-i", &esp, entry.trim()]).ok().text().to_owned();
    assert!(entry.contains("6.1.0-10") && entry.contains(&format!("root=UUID={}", uuid.trim())), "{entry}");
}

#[test]
fn the_root_can_be_xfs_or_btrfs() {
    let b = bench();
    for (fs, program, args) in [("xfs", "xfs_repair", &["-n", "-f"][..]), ("btrfs", "btrfs", &["check"][..])] {
        let raw = disk(&b, &format!("{fs}.raw"), &format!("format=raw,size=400M,fs={fs}"));
        let root = root(&b, &raw);
        let root = root.to_str().unwrap();
        let _ = b.t.tool(program, &[args, &[root]].concat()).ok();
        let uuid = b.t.tool("blkid", &["-o", "value", "-s", "UUID", root]).ok().text().to_owned();
        let fstab = b.t.tool("grub-fstest", &[root, "cat", "/etc/fstab"]).ok().text().to_owned();
        assert!(fstab.contains(&format!("UUID={} / {fs} defaults 0 0\n", uuid.trim())), "{fstab}");
        let said = b.t.tool("grub-fstest", &[root, "ls", "/srv"]).ok().text().to_owned();
        assert!(said.contains("tool"), "{said}");
    }
}

#[test]
fn all_formats_hold_the_same_disk() {
    // The time of the build is the time of what it adds.
    let b = bench().env("SOURCE_DATE_EPOCH", "1700000000");
    let raw = disk(&b, "d.raw", "format=raw,size=300M");
    for (format, more) in [("qcow2", ""), ("qcow2", ",compression=zstd"), ("qcow2", ",compression=zlib"), ("vmdk", "")]
    {
        let other = disk(&b, &format!("d{}.{format}", more.len()), &format!("format={format},size=300M{more}"));
        let _ = b
            .t
            .tool("qemu-img", &["compare", "-f", "raw", "-F", format, raw.to_str().unwrap(), other.to_str().unwrap()])
            .ok();
    }
}

#[test]
fn the_same_image_gives_the_same_disk() {
    let digest = |jobs: &str| {
        let b = bench().env("SOURCE_DATE_EPOCH", "1700000000");
        let path = b.t.out("d.qcow2");
        let output = format!("--output=type=disk,boot=uefi,format=qcow2,compression=zstd,dest={}", path.display());
        let _ = b.run(TEXT, &[&output, jobs]).ok();
        kiln_oci::Digest::of(&std::fs::read(path).unwrap())
    };
    assert_eq!(digest("--jobs=1"), digest("--jobs=7"));
}

#[test]
fn what_cannot_boot_is_said_with_what_is_missing() {
    let b = bench();
    let refused = |text: &str, more: &str, code: i32, says: &[&str]| {
        let path = b.t.out("no.raw");
        let output = format!("--output=type=disk,dest={}{more}", path.display());
        let out = b.run(text, &[&output]).exits(code);
        for says in says {
            assert!(out.stderr.contains(says), "{more}: no `{says}` in {}", out.stderr);
        }
        assert!(!path.exists(), "nothing half-done is left");
    };
    refused("FROM scratch\nCOPY init /sbin/init", "", 1, &["kernel", "hint:"]);
    refused("FROM scratch\nCOPY kernel /boot/vmlinuz-1", "", 1, &["init", "hint:"]);
    refused(TEXT, ",boot=bios", 1, &["BIOS", "grub-pc-bin"]);
    refused(TEXT, ",boot=uefi,size=140M", 1, &["size"]);
    refused(TEXT, ",boot=uefi,fs=xfs,size=180M", 1, &["xfs", "too small"]);
    refused(TEXT, ",boot=uefi,fs=zfs", 2, &["ext4, xfs, btrfs"]);
    refused(TEXT, ",boot=floppy", 2, &["bios+uefi"]);
    refused(TEXT, ",format=iso", 2, &["qcow2"]);
    refused(TEXT, ",size=8X", 2, &["8G"]);
    let out = b.run(TEXT, &["--output=type=disk"]).exits(2);
    assert!(out.stderr.contains("dest="), "{}", out.stderr);
    let out = b.run(TEXT, &["--output=type=tar,size=8G,dest=/nowhere/x"]).exits(2);
    assert!(out.stderr.contains("size= is of type=disk"), "{}", out.stderr);
}
