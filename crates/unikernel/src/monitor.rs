//! What runs a kernel, and which kernel it can run.

use std::fmt;
use std::str::FromStr;

use crate::Kind;
use crate::error::{Result, UnikernelError};
use crate::recognise::Kernel;
use crate::solo5::Target;

/// What runs what is for a platform, by the platform's system: all of [`MONITORS`], and no others.
///
/// [`MONITORS`]: kiln_oci::platform::MONITORS
pub const PLATFORMS: [(&str, Monitor); kiln_oci::platform::MONITORS.len()] = [
    ("qemu", Monitor::Qemu),
    ("kvm", Monitor::Qemu),
    ("kraftcloud", Monitor::Qemu),
    ("fc", Monitor::Firecracker),
    ("firecracker", Monitor::Firecracker),
    ("xen", Monitor::Xen),
];

/// A program that runs kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Monitor {
    /// qemu.
    Qemu,
    /// Firecracker.
    Firecracker,
    /// Solo5's tender for hardware virtualisation.
    Hvt,
    /// Solo5's tender for a process under seccomp.
    Spt,
    /// Xen: packed and shown, never run here.
    Xen,
}

impl Monitor {
    /// All of them.
    pub const ALL: [Monitor; 5] = [Monitor::Qemu, Monitor::Firecracker, Monitor::Hvt, Monitor::Spt, Monitor::Xen];

    /// Its name, as urunc and Kiln's options spell it.
    pub fn name(self) -> &'static str {
        match self {
            Monitor::Qemu => "qemu",
            Monitor::Firecracker => "firecracker",
            Monitor::Hvt => "hvt",
            Monitor::Spt => "spt",
            Monitor::Xen => "xen",
        }
    }

    /// Its name as the system of a platform, as kraftkit spells it; Solo5's tenders have none.
    pub fn platform(self) -> Option<&'static str> {
        match self {
            Monitor::Qemu => Some("qemu"),
            Monitor::Firecracker => Some("fc"),
            Monitor::Xen => Some("xen"),
            Monitor::Hvt | Monitor::Spt => None,
        }
    }

    /// The monitor that is a platform's system.
    pub fn of_platform(os: &str) -> Option<Monitor> {
        PLATFORMS.iter().find(|(name, _)| *name == os).map(|(_, monitor)| *monitor)
    }

    /// The program to start, and where it comes from.
    pub fn program(self) -> (&'static str, &'static str) {
        match self {
            Monitor::Qemu => ("qemu-system-x86_64", "install the package `qemu-system-x86`"),
            Monitor::Firecracker => {
                ("firecracker", "no distribution has it: https://github.com/firecracker-microvm/firecracker/releases")
            }
            Monitor::Hvt => ("solo5-hvt", "build it from https://github.com/Solo5/solo5, or install it with opam"),
            Monitor::Spt => ("solo5-spt", "build it from https://github.com/Solo5/solo5, or install it with opam"),
            Monitor::Xen => ("xl", "install the package `xen-utils`"),
        }
    }
}

impl fmt::Display for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Monitor {
    type Err = String;

    fn from_str(text: &str) -> Result<Monitor, String> {
        let found = Monitor::ALL.into_iter().find(|m| m.name() == text);
        found.ok_or_else(|| {
            let all = Monitor::ALL.map(Monitor::name).join(", ");
            format!("`{}` is none of {all}", text.escape_debug())
        })
    }
}

impl Kernel {
    /// The monitor to run it with, if none is asked for.
    ///
    /// # Errors
    /// When none can.
    pub fn monitor(&self) -> Result<Monitor> {
        let mut why = None;
        for monitor in Monitor::ALL {
            match self.runs_under(monitor) {
                Ok(()) => return Ok(monitor),
                Err(e) => why = why.or(Some(e)),
            }
        }
        Err(why.unwrap_or_else(|| UnikernelError::NoKernel("no monitor runs it".to_owned())))
    }

    /// That a monitor can run it.
    ///
    /// # Errors
    /// When it cannot: the reason.
    pub fn runs_under(&self, monitor: Monitor) -> Result<()> {
        let no = |why: String| Err(UnikernelError::Monitor { monitor: monitor.name(), why });
        if let Some(solo5) = &self.solo5 {
            let wanted = match solo5.target {
                Target::Hvt => Monitor::Hvt,
                Target::Spt => Monitor::Spt,
                Target::Virtio => Monitor::Qemu,
                Target::Xen => Monitor::Xen,
                Target::Muen | Target::Genode => {
                    return no(format!("it is for {}, which is no monitor of this kind", solo5.target.name()));
                }
            };
            if wanted != monitor {
                let target = solo5.target.name();
                let by = if target == wanted.name() { String::new() } else { format!(", which {wanted} runs") };
                return no(format!("its notes say that it is for {target}{by}"));
            }
            // The tenders read ELF files themselves.
            return match monitor {
                Monitor::Qemu => self.entered(monitor, self.boot.by_qemu()),
                _ => Ok(()),
            };
        }
        match (&self.kind, monitor) {
            (Kind::Hermit, _) => {
                let why = "it is an application of Hermit: the kernel is Hermit's loader, and this its --initrd";
                no(why.to_owned())
            }
            (_, Monitor::Hvt | Monitor::Spt) => no("it has no notes of Solo5".to_owned()),
            (Kind::MiniOs, Monitor::Xen) => Ok(()),
            (Kind::MiniOs, _) => no("Mini-OS runs under Xen only".to_owned()),
            (_, Monitor::Xen) if self.boot.pvh.is_none() => no("it has no entry for PVH".to_owned()),
            (_, Monitor::Xen) => Ok(()),
            (_, Monitor::Qemu) => self.entered(monitor, self.boot.by_qemu()),
            (_, Monitor::Firecracker) => self.entered(monitor, self.boot.by_firecracker()),
        }
    }

    fn entered(&self, monitor: Monitor, how: Result<&'static str, String>) -> Result<()> {
        how.map(drop).map_err(|why| UnikernelError::Monitor { monitor: monitor.name(), why })
    }
}
