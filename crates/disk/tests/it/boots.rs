//! Disks that Kiln makes boot: QEMU runs them with a BIOS and with UEFI, and what comes up says so on its serial port.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kiln_disk::boot::{Change, DirTree, Efi};
use kiln_disk::fat;
use kiln_disk::image::{self, Backing, Compression, Format, Source, scan};
use kiln_disk::layout::Spec;
use kiln_disk::part::{self, Partition};
use kiln_disk::write::{Rewrite, Root, assemble, rewrite, write};
use kiln_disk::{DiskError, ReadAt, Window, WriteAt};
use kiln_testkit::Initramfs;
use tempfile::TempDir;

use crate::tools::{file, run, text, try_run};

const MARK: &str = "KILN-IS-UP";

/// An initramfs that says that it is up, shows how it was started, and powers the machine off. It speaks by the
/// kernel's log: what is written to a console may not have left it when the power goes.
fn initramfs() -> Vec<u8> {
    let busybox = fs::read(file("/bin/busybox", "busybox-static")).unwrap();
    let init = format!(
        "#!/bin/busybox sh\n/bin/busybox mkdir -p /proc\n/bin/busybox mount -t proc proc /proc\n\
         echo \"<0>{MARK} $(/bin/busybox cat /proc/cmdline)\" > /dev/kmsg\n/bin/busybox poweroff -f\n"
    );
    // /dev/console, which the kernel opens for init, and /dev/kmsg.
    Initramfs::new()
        .dirs(&["bin", "dev"])
        .file("bin/busybox", 0o755, busybox)
        .file("init", 0o755, init)
        .device("dev/console", (5, 1))
        .device("dev/kmsg", (1, 11))
        .finish()
}

fn put(root: &Path, path: &str, data: &[u8]) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, data).unwrap();
}

/// A small Debian: a real kernel and real boot loaders, and nearly nothing else.
fn debian(dir: &Path, grub: bool) -> PathBuf {
    let root = dir.join("tree");
    let kernel = file("/boot/vmlinuz-*-cloud-amd64", "linux-image-cloud-amd64");
    let version = kernel.file_name().unwrap().to_str().unwrap().trim_start_matches("vmlinuz-").to_owned();
    put(&root, &format!("boot/vmlinuz-{version}"), &fs::read(&kernel).unwrap());
    put(&root, &format!("boot/initrd.img-{version}"), &initramfs());
    put(&root, "boot/vmlinuz-5.9.0-1-amd64", b"older, and no kernel");
    put(&root, "sbin/init", b"#!/bin/sh\n");
    put(&root, "etc/os-release", b"ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n");
    put(&root, "etc/machine-id", b"0123456789abcdef0123456789abcdef\n");
    put(&root, "etc/ssh/ssh_host_ed25519_key", b"secret");
    put(&root, "etc/fstab", b"/dev/sdb1 /data ext4 defaults 0 2\n");
    if grub {
        let from = file("/usr/lib/grub/i386-pc/boot.img", "grub-pc-bin");
        for entry in fs::read_dir(from.parent().unwrap()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            put(&root, &format!("usr/lib/grub/i386-pc/{name}"), &fs::read(&path).unwrap());
        }
        let efi = "/usr/lib/grub/x86_64-efi/monolithic/grubx64.efi";
        put(&root, &efi[1..], &fs::read(file(efi, "grub-efi-amd64-bin")).unwrap());
    } else {
        let efi = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi";
        put(&root, &efi[1..], &fs::read(file(efi, "systemd-boot-efi")).unwrap());
    }
    root
}

/// The root by mke2fs, whose opinion on a partition is independent.
fn ext4(root: &Path, out: &mut Window<&mut File>, request: &Root<'_>) -> Result<(), DiskError> {
    for change in request.changes {
        match change {
            Change::Write { path, mode, data } => {
                put(root, &path[1..], data);
                fs::set_permissions(root.join(&path[1..]), fs::Permissions::from_mode(*mode)).unwrap();
            }
            Change::Remove { path } => fs::remove_file(root.join(&path[1..])).unwrap(),
            Change::Directory { path, .. } => fs::create_dir_all(root.join(&path[1..])).unwrap(),
        }
    }
    let image = root.with_extension("ext4");
    let size = format!("{}k", request.len / 1024);
    let id = request.id.to_string();
    run("mke2fs", &["-q", "-F", "-t", "ext4", "-U", &id, "-L", request.label, "-d", text(root), text(&image), &size]);
    scan(&File::open(&image).unwrap(), 4096, |blocks| {
        blocks.iter().for_each(|b| out.write_at(b.data, b.index * 4096).unwrap());
        Ok(())
    })
}

fn empty(dir: &Path, name: &str) -> File {
    File::options().read(true).write(true).create_new(true).open(dir.join(name)).unwrap()
}

fn made(dir: &Path, grub: bool, spec: &Spec) -> kiln_disk::write::Assembled {
    let root = debian(dir, grub);
    let tree = DirTree::open(&root).unwrap();
    let (mut raw, mut out) = (empty(dir, "raw"), empty(dir, "image"));
    write(spec, &tree, 64 << 20, (&mut raw, &mut out), &mut |out, request| ext4(&root, out, request)).unwrap()
}

/// Boots a disk and gives what it said on its serial port before it powered off.
fn boot(dir: &Path, image: &str, format: &str, uefi: bool) -> String {
    let drive = format!("file={},format={format},if=virtio,snapshot=on", text(&dir.join(image)));
    let mut command = Command::new("timeout");
    // Who hangs is ended; nothing waits for this time otherwise.
    command.args(["400", "qemu-system-x86_64", "-accel", "tcg", "-machine", "q35", "-cpu", "max", "-m", "512"]);
    command.args([
        "-nodefaults",
        "-vga",
        "std",
        "-display",
        "none",
        "-no-reboot",
        "-serial",
        "stdio",
        "-drive",
        &drive,
    ]);
    if uefi {
        let code = file("/usr/share/OVMF/OVMF_CODE_4M.fd", "ovmf");
        let vars = dir.join("vars.fd");
        fs::copy(file("/usr/share/OVMF/OVMF_VARS_4M.fd", "ovmf"), &vars).unwrap();
        command.args(["-drive", &format!("if=pflash,format=raw,unit=0,readonly=on,file={}", text(&code))]);
        command.args(["-drive", &format!("if=pflash,format=raw,unit=1,file={}", text(&vars))]);
    }
    let output = command.stdin(Stdio::null()).output().expect("timeout, of the Debian package `coreutils`");
    assert_ne!(output.status.code(), Some(127), "qemu-system-x86_64, of the Debian package `qemu-system-x86`");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}\n{said}", String::from_utf8_lossy(&output.stderr));
    said
}

fn is_up(said: &str, id: &str) {
    let line = said.lines().find(|l| l.contains(MARK)).unwrap_or_else(|| panic!("it is not up:\n{said}"));
    assert!(line.contains(&format!("root=UUID={id} ro console=tty0 console=ttyS0,115200 quiet")), "{line}");
}

#[test]
fn one_disk_boots_by_bios_and_uefi_with_grub() {
    let dir = TempDir::new().unwrap();
    let spec = Spec {
        format: Format::Qcow2,
        compression: Some(Compression::Zstd),
        size: Some(1 << 30),
        cmdline: "quiet".into(),
        seed: [5; 16],
        threads: 2,
        ..Spec::default()
    };
    let made = made(dir.path(), true, &spec);
    assert!(matches!(&made.plan.efi, Some(Efi::Grub { directory, .. }) if directory == "EFI/debian"));
    let said = run("sgdisk", &["--verify", text(&dir.path().join("raw"))]);
    assert!(said.contains("No problems found"), "{said}");
    run("qemu-img", &["check", text(&dir.path().join("image"))]);
    let id = made.layout.root_fs.to_string();
    is_up(&boot(dir.path(), "image", "qcow2", false), &id);
    is_up(&boot(dir.path(), "image", "qcow2", true), &id);
}

/// Copies files of a directory of this machine, with those below it.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).into_iter().flatten() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &target),
            false => put(to, path.file_name().unwrap().to_str().unwrap(), &fs::read(&path).unwrap()),
        }
    }
}

#[test]
fn a_disk_without_an_initramfs_gets_one_that_finds_its_root() {
    let dir = TempDir::new().unwrap();
    let root = debian(dir.path(), true);
    let kernel = file("/boot/vmlinuz-*-cloud-amd64", "linux-image-cloud-amd64");
    let version = kernel.file_name().unwrap().to_str().unwrap().trim_start_matches("vmlinuz-").to_owned();
    fs::remove_file(root.join(format!("boot/initrd.img-{version}"))).unwrap();
    let (from, to) = (Path::new("/lib/modules").join(&version), root.join("lib/modules").join(&version));
    for list in ["modules.dep", "modules.softdep", "modules.builtin"] {
        put(&to, list, &fs::read(from.join(list)).unwrap());
    }
    for part in [
        "drivers/virtio",
        "drivers/block",
        "drivers/scsi",
        "drivers/ata",
        "drivers/hv",
        "crypto",
        "arch/x86/crypto",
        "lib",
        "block",
    ] {
        copy(&from.join("kernel").join(part), &to.join("kernel").join(part));
    }
    // Everything it uses was mounted by what came before it.
    let init = format!(
        "#!/bin/busybox sh\necho \"<0>{MARK} $(/bin/busybox cat /proc/cmdline)\" > /dev/kmsg\n/bin/busybox poweroff -f\n"
    );
    put(&root, "sbin/init", init.as_bytes());
    put(&root, "bin/busybox", &fs::read(file("/bin/busybox", "busybox-static")).unwrap());
    for program in ["sbin/init", "bin/busybox"] {
        fs::set_permissions(root.join(program), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let spec = Spec { size: Some(600 << 20), cmdline: "quiet".into(), ..Spec::default() };
    let tree = DirTree::open(&root).unwrap();
    let (mut raw, mut out) = (empty(dir.path(), "raw"), empty(dir.path(), "image"));
    let made =
        write(&spec, &tree, 64 << 20, (&mut raw, &mut out), &mut |out, request| ext4(&root, out, request)).unwrap();
    assert_eq!(made.plan.made_of.as_deref(), Some(&*format!("/lib/modules/{version}")));
    is_up(&boot(dir.path(), "image", "raw", false), &made.layout.root_fs.to_string());
}

#[test]
fn systemd_boot_serves_uefi() {
    let dir = TempDir::new().unwrap();
    let spec = Spec { bios: false, size: Some(600 << 20), cmdline: "quiet".into(), ..Spec::default() };
    let made = made(dir.path(), false, &spec);
    let esp = made.layout.esp().unwrap().window(File::open(dir.path().join("raw")).unwrap());
    let paths: Vec<String> = fat::Reader::open(esp).unwrap().entries().unwrap().into_iter().map(|e| e.path).collect();
    for path in
        ["EFI/BOOT/BOOTX64.EFI", "kiln/initrd", "kiln/vmlinuz", "loader/entries/kiln.conf", "loader/loader.conf"]
    {
        assert!(paths.iter().any(|p| p == path), "{path} in {paths:?}");
    }
    is_up(&boot(dir.path(), "image", "raw", true), &made.layout.root_fs.to_string());
}

#[test]
fn a_tree_that_cannot_boot_makes_no_disk() {
    let dir = TempDir::new().unwrap();
    let root = debian(dir.path(), false);
    let tree = DirTree::open(&root).unwrap();
    let mut raw = empty(dir.path(), "raw");
    let error = assemble(&Spec::default(), &tree, 0, &mut raw, &mut |_, _| panic!("no root is written")).unwrap_err();
    assert!(matches!(&error, DiskError::Boot { hint, .. } if hint.contains("grub-pc-bin")), "{error:?}");
    assert_eq!(ReadAt::len(&raw).unwrap(), 0);
}

#[test]
fn the_same_tree_gives_the_same_disk() {
    let dirs = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let disks = dirs.map(|dir| {
        let root = debian(dir.path(), true);
        let tree = DirTree::open(&root).unwrap();
        let mut raw = empty(dir.path(), "raw");
        assemble(&Spec { size: Some(300 << 20), ..Spec::default() }, &tree, 0, &mut raw, &mut |_, _| Ok(())).unwrap();
        fs::read(dir.path().join("raw")).unwrap()
    });
    assert!(disks[0] == disks[1]);
}

/// Every byte outside of the partition and the tables.
fn outside(disk: &dyn Source, root: &Partition) -> Vec<u8> {
    let mut bytes = vec![0; (root.start - 34 * 512) as usize];
    disk.read_exact_at(&mut bytes, 34 * 512).unwrap();
    bytes
}

#[test]
fn a_base_keeps_all_but_its_root_and_grows() {
    let dir = TempDir::new().unwrap();
    let spec = Spec { format: Format::Qcow2, size: Some(600 << 20), cmdline: "quiet".into(), ..Spec::default() };
    let made = made(dir.path(), true, &spec);
    let base = image::open(File::open(dir.path().join("image")).unwrap(), None, &Backing::Refuse).unwrap();
    let mut raw = empty(dir.path(), "grown");
    let how = Rewrite { size: Some(1 << 30), boot_area: 1024, ..Rewrite::default() };
    let root = dir.path().join("tree");
    put(&root, "etc/new", b"new");
    let part = rewrite(&*base.disk, how, &mut raw, &mut |out, part| {
        assert!(part.len > 800 << 20);
        let request = Root { id: made.layout.root_fs, label: "root", len: part.len, epoch: 0, changes: &[] };
        ext4(&root, out, &request)
    })
    .unwrap();
    let said = run("sgdisk", &["--verify", text(&dir.path().join("grown"))]);
    assert!(said.contains("No problems found"), "{said}");
    let table = part::read(&raw).unwrap().unwrap();
    assert_eq!(table.partitions[..2], made.layout.partitions[..2]);
    assert_eq!(table.partitions[2], part);
    assert_eq!(part.id, made.layout.partitions[2].id);
    assert!(outside(&raw, &part) == outside(&*base.disk, &part));
    is_up(&boot(dir.path(), "grown", "raw", false), &made.layout.root_fs.to_string());

    let offset = format!("{}?offset={}", text(&dir.path().join("grown")), part.start);
    let said = try_run("debugfs", &["-R", "cat /etc/new", &offset]);
    assert_eq!(said.stdout, b"new");
    let said = try_run("debugfs", &["-R", "stat /etc/ssh/ssh_host_ed25519_key", &offset]);
    assert!(String::from_utf8_lossy(&said.stderr).contains("not found"), "{said:?}");

    let small = Rewrite { size: Some(1 << 20), ..Rewrite::default() };
    assert!(rewrite(&*base.disk, small, &mut empty(dir.path(), "s"), &mut |_, _| Ok(())).is_err());
    let none = Rewrite { partition: Some(9), ..Rewrite::default() };
    let error = rewrite(&*base.disk, none, &mut empty(dir.path(), "n"), &mut |_, _| Ok(())).unwrap_err();
    assert!(error.to_string().contains("no partition 9"), "{error}");
}
