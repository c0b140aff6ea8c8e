//! A guest that boots in a few seconds without a hypervisor: Debian's cloud kernel, busybox and dropbear, on a disk that
//! `kiln build` makes. It takes the keys of root from its seed, a disc with the file `authorized_keys`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_disk::fs::Files;
use kiln_oci::EntryKind;
use kiln_testkit::tools::tool;
use kiln_testkit::{Initramfs, Rootfs, TestContext};

/// Drivers that the kernel has as modules, in an order in which they can be loaded.
const MODULES: [&str; 11] = [
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci",
    "net/core/failover",
    "drivers/net/net_failover",
    "drivers/net/virtio_net",
    "drivers/block/virtio_blk",
    "drivers/cdrom/cdrom",
    "fs/isofs/isofs",
];

/// Finds the root by the kernel's command line, and starts its init.
const INITRAMFS: &str = "#!/busybox sh
/busybox --install -s /bin
mount -t proc proc /proc; mount -t devtmpfs dev /dev; mount -t sysfs sys /sys
for m in MODULES; do insmod /$m.ko; done
root=$(sed 's/.*root=\\([^ ]*\\).*/\\1/' /proc/cmdline)
mount \"$(findfs \"$root\")\" /root || echo 'Gave up waiting for root' >/dev/console
mount -t devtmpfs dev /root/dev
umount /proc /sys
exec switch_root /root /sbin/init
";

const INIT: &str = "#!/bin/sh
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/root
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -o remount,rw /
mkdir -p /dev/pts /tmp /mnt; mount -t devpts pts /dev/pts; mount -t tmpfs -o mode=1777 tmp /tmp
ip link set lo up; ip addr add 10.0.2.15/24 dev eth0; ip link set eth0 up; ip route add default via 10.0.2.2
mount -t iso9660 -o ro /dev/vdb /mnt && {
  test -f /mnt/panic && { echo c >/proc/sysrq-trigger; sleep 1000; }
  mkdir -p -m 700 /root/.ssh; cat /mnt/authorized_keys >>/root/.ssh/authorized_keys; umount /mnt
}
dropbear -R -E -p 22 2>/dev/console
echo BOOTED $(cat /proc/sys/kernel/random/boot_id) >/dev/console
while :; do sleep 1000; done
";

/// A command that writes back and powers off, whatever init is.
pub const POWEROFF: &str = "sync; mount -o remount,ro /; poweroff -f";

/// Builds the disk as `disk.qcow2` of the context.
#[track_caller]
pub fn disk(t: &TestContext) -> PathBuf {
    disk_for(t, "")
}

/// The same, with these keys of root on it.
#[track_caller]
pub fn disk_for(t: &TestContext, keys: &str) -> PathBuf {
    let root = root().dir("root/.ssh", 0o700).file("root/.ssh/authorized_keys", 0o600, keys);
    t.write("root.tar", 0o644, root.tar());
    t.write("Dockerfile", 0o644, "FROM scratch\nADD root.tar /\n");
    let path = t.context().join("disk.qcow2");
    let output = format!("--output=type=disk,format=qcow2,boot=bios,size=256M,dest={}", path.display());
    let _ = t.kiln(&["build", &output, "."]).ok();
    path
}

fn root() -> Rootfs {
    let version = version();
    let kernel = read(&tool("vmlinuz"));
    let busybox = read(&tool("busybox"));
    let mut root = Rootfs::new();
    for dir in [
        "boot",
        "bin",
        "sbin",
        "dev",
        "etc",
        "etc/dropbear",
        "lib",
        "lib64",
        "mnt",
        "proc",
        "root",
        "sys",
        "usr",
        "var",
    ] {
        root = root.dir(dir, 0o755);
    }
    for dir in ["lib/x86_64-linux-gnu", "usr/bin", "usr/sbin", "usr/lib", "usr/lib/grub", "usr/lib/grub/i386-pc"] {
        root = root.dir(dir, 0o755);
    }
    root = root
        .dir("tmp", 0o1777)
        .file(&format!("boot/vmlinuz-{version}"), 0o644, kernel)
        .file(&format!("boot/initrd.img-{version}"), 0o644, initramfs(&busybox))
        .file("bin/busybox", 0o755, &busybox)
        .file("sbin/init", 0o755, INIT)
        .file("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\n")
        .file("etc/group", 0o644, "root:x:0:\n")
        .file("etc/os-release", 0o644, "ID=guest\n")
        .file("etc/shadow", 0o600, "root:*:19000:0:99999:7:::\n");
    for name in applets() {
        // That of busybox runs its own programs before those in PATH.
        root = root.symlink(&format!("bin/{name}"), if name == "sh" { "dash" } else { "busybox" });
    }
    let programs = [
        (PathBuf::from("/bin/dash"), "bin/dash"),
        (tool("dropbear"), "usr/sbin/dropbear"),
        (tool("scp"), "usr/bin/scp"),
        (tool("sftp-server"), "usr/lib/sftp-server"),
    ];
    let mut libraries = BTreeSet::new();
    for (from, to) in programs {
        root = root.file(to, 0o755, read(&from));
        libraries.extend(needed(&from));
    }
    for library in libraries {
        root = root.file(library.trim_start_matches('/'), 0o755, read(Path::new(&library)));
    }
    let mut modules: Vec<PathBuf> =
        std::fs::read_dir("/usr/lib/grub/i386-pc").unwrap().map(|e| e.unwrap().path()).collect();
    modules.sort();
    for path in modules.iter().filter(|p| p.is_file()) {
        let name = path.file_name().unwrap().to_str().unwrap();
        root = root.file(&format!("usr/lib/grub/i386-pc/{name}"), 0o644, read(path));
    }
    root
}

/// The version of the kernel that is installed here.
fn version() -> String {
    let kernel = std::fs::read_link("/vmlinuz").unwrap();
    kernel.file_name().unwrap().to_str().unwrap().strip_prefix("vmlinuz-").unwrap().to_owned()
}

#[track_caller]
fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn applets() -> Vec<String> {
    let out = Command::new(tool("busybox")).arg("--list").output().unwrap();
    let own = |name: &str| name != "busybox" && name != "init";
    String::from_utf8(out.stdout).unwrap().lines().filter(|l| own(l)).map(str::to_owned).collect()
}

/// The libraries of a program, and what loads them.
fn needed(program: &Path) -> Vec<String> {
    let out = Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    text.lines().filter_map(|line| line.split_whitespace().find(|w| w.starts_with('/'))).map(str::to_owned).collect()
}

/// What finds the root.
fn initramfs(busybox: &[u8]) -> Vec<u8> {
    let names = MODULES.map(|m| m.rsplit('/').next().unwrap()).join(" ");
    let all = Initramfs::new().dirs(&["bin", "dev", "proc", "sys", "root"]).file("busybox", 0o755, busybox);
    let all = all.file("init", 0o755, INITRAMFS.replace("MODULES", &names));
    let modules = MODULES.iter().fold(all, |all, module| {
        let path = format!("/lib/modules/{}/kernel/{module}.ko", version());
        all.file(&format!("{}.ko", module.rsplit('/').next().unwrap()), 0o644, read(Path::new(&path)))
    });
    modules.finish()
}

/// The root file system on a disk, as Kiln's own reader sees it.
pub struct Root(kiln_disk::ext4::Image<kiln_disk::Window<File>>);

impl Root {
    pub fn of(disk: &Path) -> Root {
        let raw = disk.with_extension("raw");
        let out = Command::new(tool("qemu-img")).args(["convert", "-O", "raw"]).args([disk, &raw]).status().unwrap();
        assert!(out.success());
        let out = Command::new(tool("sfdisk")).arg("--json").arg(&raw).output().unwrap();
        let table: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        let last = table["partitiontable"]["partitions"].as_array().unwrap().last().unwrap().clone();
        let start = last["start"].as_u64().unwrap() * 512;
        let len = last["size"].as_u64().unwrap() * 512;
        let window = kiln_disk::Window::new(File::open(raw).unwrap(), start, len);
        Root(kiln_disk::ext4::Image::open(window).unwrap())
    }

    /// One line for each file: kind, mode, owner and content.
    pub fn dump(&self) -> Vec<String> {
        let line = |found: kiln_disk::fs::Found| {
            let content = match &found.entry.kind {
                EntryKind::File { .. } => {
                    let mut bytes = Vec::new();
                    self.0.open_file(&found).unwrap().read_to_end(&mut bytes).unwrap();
                    kiln_oci::Digest::of(&bytes).to_string()
                }
                EntryKind::Symlink { target } => String::from_utf8_lossy(target).into_owned(),
                other => format!("{other:?}"),
            };
            let meta = &found.entry.meta;
            let path = String::from_utf8_lossy(&found.entry.path).into_owned();
            format!("{path} {:o} {}:{} {content}", meta.mode, meta.uid, meta.gid)
        };
        self.0.walk().map(|found| line(found.unwrap())).collect()
    }

    #[track_caller]
    pub fn read(&self, path: &str) -> String {
        let bytes = self.0.read(path.as_bytes(), 1 << 20).unwrap().unwrap_or_else(|| panic!("{path} is not there"));
        String::from_utf8(bytes).unwrap()
    }
}
