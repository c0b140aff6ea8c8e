//! The guest of the tests: Debian's cloud kernel, and an initramfs of busybox whose `/init` is a script of the test.

use std::path::PathBuf;
use std::time::Duration;

use kiln_testkit::tools::tool;
use kiln_vm::machine::{Kernel, Network};
use kiln_vm::{Accelerator, Machine, Overrides, Qemu, Vm, VmError};
use tempfile::TempDir;

/// For anything that a guest does; it is only waited out when something is broken.
pub const LIMIT: Duration = Duration::from_secs(150);

/// The qemu of this machine.
pub fn qemu() -> Qemu {
    let program = tool("qemu-system-x86_64");
    Qemu::find(program.to_str().unwrap(), None, &std::env::temp_dir()).unwrap()
}

/// What every script starts with.
const PROLOGUE: &str = "#!/busybox sh\n/busybox --install -s /bin\nmount -t proc proc /proc\nmount -t devtmpfs dev /dev\n\
                        mount -t sysfs sys /sys\nsay() { echo \"$@\" >/dev/ttyS0; }\n";

/// A directory with what a test boots.
pub struct Guest {
    pub dir: TempDir,
    pub machine: Machine,
}

impl Guest {
    /// A guest that runs this script, with these modules of its kernel in `/`.
    pub fn new(script: &str, modules: &[&str]) -> Guest {
        let dir = tempfile::tempdir().unwrap();
        let initrd = dir.path().join("initrd");
        std::fs::write(&initrd, initramfs(&format!("{PROLOGUE}{script}\n"), modules)).unwrap();
        let mut machine = Machine::new("guest", Accelerator::Tcg);
        machine.memory = 128;
        machine.network = Network::None;
        machine.kernel = Some(Kernel {
            image: tool("vmlinuz"),
            initrd: Some(initrd),
            append: "console=ttyS0 panic=-1 quiet mitigations=off".to_owned(),
        });
        Guest { dir, machine }
    }

    pub fn start(&self, more: &[&[&str]]) -> Vm {
        let lists = more.iter().map(|l| l.iter().map(|s| (*s).to_owned()).collect()).collect();
        let args = self.machine.arguments(&Overrides(lists), |text| Ok::<_, VmError>(text.to_owned())).unwrap();
        Vm::start(&qemu(), &args).unwrap()
    }
}

/// Where the kernel's modules are.
fn module(name: &str) -> PathBuf {
    let kernel = std::fs::read_link("/vmlinuz").unwrap();
    let version = kernel.file_name().unwrap().to_str().unwrap().strip_prefix("vmlinuz-").unwrap().to_owned();
    PathBuf::from(format!("/lib/modules/{version}/kernel/{name}.ko"))
}

/// An initramfs in the kernel's format ("newc"), by hand.
fn initramfs(init: &str, modules: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for dir in ["bin", "dev", "etc", "proc", "sys"] {
        entry(&mut out, dir, 0o040_755, &[]);
    }
    entry(&mut out, "busybox", 0o100_755, &std::fs::read(tool("busybox")).unwrap());
    // The C library in busybox looks names up, and breaks when it does not know how.
    entry(&mut out, "etc/nsswitch.conf", 0o100_644, b"hosts: files\n");
    entry(&mut out, "init", 0o100_755, init.as_bytes());
    for name in modules {
        let file = format!("{}.ko", name.rsplit('/').next().unwrap());
        entry(&mut out, &file, 0o100_644, &std::fs::read(module(name)).unwrap());
    }
    entry(&mut out, "TRAILER!!!", 0, &[]);
    out
}

fn entry(out: &mut Vec<u8>, name: &str, mode: u32, data: &[u8]) {
    let fields = [
        0,
        mode,
        0,
        0,
        1,
        0,
        u32::try_from(data.len()).unwrap(),
        0,
        0,
        0,
        0,
        u32::try_from(name.len()).unwrap() + 1,
        0,
    ];
    out.extend_from_slice(b"070701");
    fields.iter().for_each(|f| out.extend_from_slice(format!("{f:08x}").as_bytes()));
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(4), 0);
}
