//! A machine described, and its qemu command line.
//!
//! The defaults and their order are Packer's, so that `qemuargs` of its templates mean the same: an argument given
//! there replaces all defaults of its key. What differs, because Packer's choice is unsafe or does not work:
//!
//! ```text
//! hostfwd           on 127.0.0.1, not on every address of the machine: the guest's password is often a default one
//! commas in paths   doubled, as qemu wants them
//! -serial           a socket that Kiln reads, unless qemuargs has one: it tells why a guest does not come up
//! -mon              always, for shutting down: it does not collide with a `-qmp` of one's own
//! seeds             cd_files are virtio disks unless cdrom_interface says otherwise: small kernels have no IDE
//! ```
//!
//! Adding a device: a field here, its arguments in [`args`], a snapshot in its tests.

mod args;
mod firmware;
mod overrides;

use std::path::PathBuf;

use crate::{Accelerator, VmError};

pub use overrides::Overrides;

/// A disk of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Its file.
    pub path: PathBuf,
    /// "qcow2" or "raw".
    pub format: String,
}

/// How many processors, and how they are arranged; what is not given is qemu's choice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Processors {
    /// All of them.
    pub cpus: Option<u32>,
    /// Sockets.
    pub sockets: Option<u32>,
    /// Cores of each socket.
    pub cores: Option<u32>,
    /// Threads of each core.
    pub threads: Option<u32>,
}

/// What is forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

/// A port of the guest that can be reached at a port of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// Whether it is one of TCP or of UDP.
    pub protocol: Protocol,
    /// Where it is reached; `127.0.0.1` unless somebody else is to reach it.
    pub address: String,
    /// The port here.
    pub port: u16,
    /// The port in the guest.
    pub guest: u16,
}

/// What the guest's network card is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// qemu's own network, where this machine is 10.0.2.2.
    User(Vec<Forward>),
    /// A bridge of this machine.
    Bridge(String),
    /// Nothing: there is no card.
    None,
}

/// UEFI firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firmware {
    /// The program, which is only read.
    pub code: PathBuf,
    /// The machine's own copy of the variables.
    pub vars: Option<PathBuf>,
}

/// A TPM at a socket of swtpm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tpm {
    /// The socket.
    pub socket: PathBuf,
    /// "tpm-tis", "tpm-crb", …
    pub device: String,
}

/// A screen that can be looked at by VNC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Screen {
    /// Where it listens.
    pub address: String,
    /// On which port, 5900 or above.
    pub port: u16,
    /// Whether a password is set later, by [`crate::Qmp::screen_password`].
    pub password: bool,
}

/// A kernel that qemu loads itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// The kernel.
    pub image: PathBuf,
    /// Its initramfs.
    pub initrd: Option<PathBuf>,
    /// Its command line.
    pub append: String,
}

/// Where the machine boots from first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootFrom {
    /// The CD-ROM once, then the disk: for installers.
    CdOnce,
    /// The disk.
    Disk,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// "pc", "q35", "microvm", "virt" …
    pub machine_type: String,
    /// How it is run.
    pub accelerator: Accelerator,
    /// "host", "max", …; qemu's own if none.
    pub cpu_model: Option<String>,
    /// MiB.
    pub memory: u32,
    /// Processors.
    pub processors: Processors,
    /// Where it boots from.
    pub boot: BootFrom,
    /// A kernel loaded without a boot loader.
    pub kernel: Option<Kernel>,
    /// Disks; the first is the one that becomes the artefact.
    pub disks: Vec<Disk>,
    /// "virtio", "virtio-scsi", "ide", "scsi", "sata" …
    pub disk_interface: String,
    /// "writeback", "none", "unsafe", …
    pub disk_cache: String,
    /// "ignore" or "unmap".
    pub disk_discard: String,
    /// "off", "on" or "unmap".
    pub disk_detect_zeroes: String,
    /// Installers and other discs.
    pub cdroms: Vec<PathBuf>,
    /// Interface of those; qemu's CD-ROM if none.
    pub cdrom_interface: Option<String>,
    /// Images that are seen as read-only virtio disks.
    pub seeds: Vec<PathBuf>,
    /// A floppy.
    pub floppy: Option<PathBuf>,
    /// Network.
    pub network: Network,
    /// "virtio-net", "e1000", …
    pub net_device: String,
    /// The card's hardware address.
    pub mac: Option<String>,
    /// UEFI; BIOS if none.
    pub firmware: Option<Firmware>,
    /// TPM.
    pub tpm: Option<Tpm>,
    /// VNC.
    pub screen: Option<Screen>,
    /// "none" (headless), "gtk", …; qemu's own if none.
    pub display: Option<String>,
    /// Graphics card.
    pub vga: Option<String>,
    /// Ends when the guest restarts: `run_once`.
    pub run_once: bool,
}

impl Machine {
    /// A machine with Packer's defaults: an old PC with 512 MiB, one processor and virtio devices.
    pub fn new(name: impl Into<String>, accelerator: Accelerator) -> Machine {
        Machine {
            name: name.into(),
            machine_type: "pc".to_owned(),
            accelerator,
            cpu_model: None,
            memory: 512,
            processors: Processors::default(),
            boot: BootFrom::Disk,
            kernel: None,
            disks: Vec::new(),
            disk_interface: "virtio".to_owned(),
            disk_cache: "writeback".to_owned(),
            disk_discard: "ignore".to_owned(),
            disk_detect_zeroes: "off".to_owned(),
            cdroms: Vec::new(),
            cdrom_interface: None,
            seeds: Vec::new(),
            floppy: None,
            network: Network::User(Vec::new()),
            net_device: "virtio-net".to_owned(),
            mac: None,
            firmware: None,
            tpm: None,
            screen: None,
            display: Some("none".to_owned()),
            vga: None,
            run_once: false,
        }
    }

    /// The arguments, with `qemuargs` in the place of the defaults they replace. `render` fills in the templates that
    /// those may hold (`{{ .HTTPPort }}` …).
    ///
    /// # Errors
    /// An option makes no sense, or what `render` says.
    pub fn arguments<E: From<VmError>>(
        &self,
        overrides: &Overrides,
        render: impl FnMut(&str) -> Result<String, E>,
    ) -> Result<Vec<String>, E> {
        self.check()?;
        let defaults = self.defaults();
        overrides.apply(self, defaults, render)
    }

    fn check(&self) -> Result<(), VmError> {
        let plain = |option: &str, value: &str| {
            let good = !value.is_empty() && value.len() <= 100 && !value.contains([',', '\n', '\0']);
            let why = || VmError::option(option, format!("{value:?}: a comma would start another option of qemu"));
            if good { Ok(()) } else { Err(why()) }
        };
        plain("machine_type", &self.machine_type)?;
        plain("disk_interface", &self.disk_interface)?;
        plain("net_device", self.net_device.split(',').next().unwrap_or_default())?;
        one_of("disk_cache", &self.disk_cache, &["writethrough", "writeback", "none", "unsafe", "directsync"])?;
        one_of("disk_discard", &self.disk_discard, &["unmap", "ignore"])?;
        one_of("disk_detect_zeroes", &self.disk_detect_zeroes, &["unmap", "on", "off"])?;
        if self.name.is_empty() || self.name.contains(['/', '\0', '\n']) {
            return Err(VmError::option("vm_name", format!("{:?} cannot be a file's name", self.name)));
        }
        if self.memory < 10 || self.memory > 16 << 20 {
            return Err(VmError::option("memory", format!("{} MiB: from 10 MiB to 16 TiB", self.memory)));
        }
        if let Network::Bridge(name) = &self.network {
            plain("net_bridge", name)?;
        }
        if let Some(screen) = &self.screen
            && screen.port < 5900
        {
            return Err(VmError::option("vnc_port_min", format!("{}: VNC's ports begin at 5900", screen.port)));
        }
        self.processors.check()
    }
}

impl Processors {
    fn check(&self) -> Result<(), VmError> {
        let all = [("cpus", self.cpus), ("sockets", self.sockets), ("cores", self.cores), ("threads", self.threads)];
        if let Some((key, count)) = all.into_iter().find(|(_, n)| n.is_some_and(|n| n == 0 || n > 1024)) {
            return Err(VmError::option(key, format!("{}: from 1 to 1024", count.unwrap_or_default())));
        }
        let product = |n: Option<u32>| u64::from(n.unwrap_or(1));
        let parts = product(self.sockets) * product(self.cores) * product(self.threads);
        let given = [self.sockets, self.cores, self.threads].iter().flatten().count();
        match self.cpus {
            Some(cpus) if given == 3 && parts != u64::from(cpus) => Err(VmError::option(
                "cpus",
                format!("{cpus}, but sockets × cores × threads is {parts}: give the same number, or leave `cpus` out"),
            )),
            Some(cpus) if u64::from(cpus) % parts != 0 => {
                Err(VmError::option("cpus", format!("{cpus} cannot be arranged in multiples of {parts}")))
            }
            _ => Ok(()),
        }
    }
}

fn one_of(option: &str, value: &str, known: &[&str]) -> Result<(), VmError> {
    if known.contains(&value) {
        return Ok(());
    }
    Err(VmError::option(option, format!("{value:?} is none of {}", known.join(", "))))
}
