//! Disks judged: in every format, when something of them is broken, and before they are there.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::Bench;
use crate::disk::{TEXT, bench, disk, root};

/// What the checks of the profile `disk` say, and the exit code.
fn judged(b: &Bench, path: &Path, code: i32) -> Vec<String> {
    let found = b.t.kiln(&["node", "verify", path.to_str().unwrap(), "--json"]).exits(code).json();
    let checks = found["checks"].as_array().unwrap().iter();
    checks.map(|c| format!("{} {}", c["id"].as_str().unwrap(), c["verdict"].as_str().unwrap())).collect()
}

const WHOLE: [&str; 6] = [
    "disk.table pass",
    "disk.loader pass",
    "disk.esp pass",
    "disk.fstab pass",
    "disk.root pass",
    "boot.initramfs pass",
];

/// Where the root partition starts.
fn root_start(b: &Bench, disk: &Path) -> u64 {
    let table = b.t.tool("sfdisk", &["--json", disk.to_str().unwrap()]).ok().text().to_owned();
    let table: serde_json::Value = serde_json::from_str(&table).unwrap();
    table["partitiontable"]["partitions"].as_array().unwrap().last().unwrap()["start"].as_u64().unwrap() * 512
}

#[test]
fn a_disk_is_judged_in_every_format() {
    let b = bench();
    for format in ["raw", "qcow2", "vhd", "vmdk", "gce"] {
        let path = disk(&b, &format!("d.{format}"), &format!("format={format},size=300M"));
        assert_eq!(judged(&b, &path, 0), WHOLE, "{format}");
    }
    // What others write of the same disk.
    let raw = b.t.out("d.raw");
    let at = |name: &str| b.t.out(name).display().to_string();
    let _ = b.t.tool("qemu-img", &["convert", "-O", "vhdx", &at("d.raw"), &at("d.vhdx")]).ok();
    let refused = b.t.kiln(&["node", "verify", &at("d.vhdx")]).exits(3);
    assert!(refused.stderr.contains("VHDX"), "{refused}");
    let _ = b.t.tool("qemu-img", &["convert", "-O", "vmdk", &at("d.raw"), &at("other.vmdk")]).ok();
    assert_eq!(judged(&b, &b.t.out("other.vmdk"), 0), WHOLE);
    // An image that stands on another would have any file of this machine opened.
    let _ = b
        .t
        .tool("qemu-img", &["create", "-q", "-f", "qcow2", "-F", "raw", "-b", raw.to_str().unwrap(), &at("over.qcow2")])
        .ok();
    let refused = b.t.kiln(&["node", "verify", &at("over.qcow2")]).exits(3);
    assert!(refused.stderr.contains("cannot read the disk"), "{refused}");
}

#[test]
fn what_is_broken_is_named() {
    let b = bench();
    let raw = disk(&b, "d.raw", "format=raw,size=300M");
    let start = root_start(&b, &raw);
    let broken = |name: &str, change: &dyn Fn(&File)| {
        let path = b.t.out(name);
        std::fs::copy(&raw, &path).unwrap();
        change(&File::options().read(true).write(true).open(&path).unwrap());
        path
    };
    let said = |path: &Path, code: i32| b.t.kiln(&["node", "verify", path.to_str().unwrap()]).exits(code);
    let path = broken("first", &|disk| disk.write_all_at(&[0xff; 16], 512 + 40).unwrap());
    assert!(said(&path, 1).stdout.contains("the first copy of the table is damaged"));
    let path = broken("last", &|disk| disk.write_all_at(&[0; 512], (300 << 20) - 512).unwrap());
    assert!(said(&path, 1).stdout.contains("its copy at the end of the disk is missing or damaged"));
    let path = broken("esp", &|disk| disk.write_all_at(&[0; 1 << 16], 1 << 20).unwrap());
    let out = said(&path, 1);
    assert!(out.stdout.contains("UEFI: the EFI system partition cannot be read"), "{out}");
    // Another file system in the place of the one that the menu and fstab name.
    let path = broken("uuid", &|disk| {
        let root = root(&b, &raw);
        let _ = b.t.tool("tune2fs", &["-U", "11111111-2222-3333-4444-555555555555", root.to_str().unwrap()]).ok();
        disk.write_all_at(&std::fs::read(root).unwrap(), start).unwrap();
    });
    let out = said(&path, 1);
    assert!(out.stdout.contains("the kernel waits for a root file system that is not on the disk"), "{out}");
    assert!(out.stdout.contains("/etc/fstab:"), "{out}");
    let path = broken("super", &|disk| disk.write_all_at(&[0x41; 4096], start).unwrap());
    let out = said(&path, 3);
    assert!(out.stderr.contains("cannot find the root file system of the disk"), "{out}");
    let path = broken("inodes", &|disk| disk.write_all_at(&[0x41; 1 << 20], start + 4096).unwrap());
    let out = said(&path, 3);
    assert!(out.stderr.contains("cannot read the disk"), "{out}");
    let path = b.t.out("none.raw");
    std::fs::write(&path, [b"x".repeat(510), vec![0x55, 0xaa]].concat()).unwrap();
    let _ = said(&path, 3);
}

#[test]
fn the_flag_of_chattr_is_seen_on_a_disk() {
    let b = bench().file("resolv", 0o644, "nameserver 100.100.2.136\n");
    let text = format!("{TEXT}COPY resolv /etc/resolv.conf\n");
    let path = b.t.out("d.raw");
    let _ = b.run(&text, &[&format!("--output=type=disk,boot=uefi,size=300M,dest={}", path.display())]).ok();
    let lock = |path: &Path| {
        let found = b.t.kiln(&["node", "verify", path.to_str().unwrap(), "-p", "ack", "--json"]).exits(1).json();
        let check = found["checks"].as_array().unwrap().iter().find(|c| c["id"] == "os.dns.lock").unwrap().clone();
        check["verdict"].as_str().unwrap().to_owned()
    };
    assert_eq!(lock(&path), "fail");
    let part = root(&b, &path);
    let _ = b.t.tool("debugfs", &["-w", "-R", "sif /etc/resolv.conf flags 0x80010", part.to_str().unwrap()]).ok();
    let start = root_start(&b, &path);
    let out = File::options().write(true).open(&path).unwrap();
    out.write_all_at(&std::fs::read(part).unwrap(), start).unwrap();
    assert_eq!(lock(&path), "pass");
}

#[test]
fn a_disk_that_fails_its_profile_is_not_written() {
    let b = bench();
    let (path, report) = (b.t.out("d.raw"), b.t.out("report.xml"));
    let output = |profile: &str| {
        format!(
            "--output=type=disk,boot=uefi,size=300M,verify={profile},verify-report={},dest={}",
            report.display(),
            path.display()
        )
    };
    let _ = b.run(TEXT, &[&output("disk")]).ok();
    assert!(path.exists() && std::fs::read_to_string(&report).unwrap().contains("disk.root"));
    std::fs::remove_file(&path).unwrap();
    let failed = b.run(TEXT, &[&output("disk+kubeadm"), "-t", "node:1"]).exits(1);
    assert!(failed.stderr.contains("was not written, for it is not what it must be"), "{failed}");
    assert!(failed.stderr.contains("there is no command iptables in PATH"), "{failed}");
    assert!(!path.exists());
    assert!(std::fs::read_to_string(&report).unwrap().contains("os.tools.required.iptables"));
    let left: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".kiln")), "{left:?}");
    assert!(!b.t.kiln(&["images"]).ok().stdout.contains("node"), "nothing got a name");
    let unknown = b.run(TEXT, &[&output("kubeadn")]).exits(2);
    assert!(unknown.stderr.contains("did you mean `kubeadm`?"), "{unknown}");
}
