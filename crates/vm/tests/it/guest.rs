//! The guest of the tests: Debian's cloud kernel, and an initramfs of busybox whose `/init` is a script of the test.

use std::path::PathBuf;
use std::time::Duration;

use kiln_testkit::Initramfs;
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

/// A shell with modules.
fn initramfs(init: &str, modules: &[&str]) -> Vec<u8> {
    let all = Initramfs::new().dirs(&["bin", "dev", "etc", "proc", "sys"]);
    let all = all.file("busybox", 0o755, std::fs::read(tool("busybox")).unwrap());
    // The C library in busybox looks names up, and breaks when it does not know how.
    let all = all.file("etc/nsswitch.conf", 0o644, "hosts: files\n").file("init", 0o755, init);
    let modules = modules.iter().fold(all, |all, name| {
        all.file(&format!("{}.ko", name.rsplit('/').next().unwrap()), 0o644, std::fs::read(module(name)).unwrap())
    });
    modules.finish()
}
