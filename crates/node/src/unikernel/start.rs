//! What is started for a kernel: a machine of qemu's, or another monitor with its arguments.

use std::path::{Path, PathBuf};

use kiln_unikernel::line::{self, Guest, QEMU};
use kiln_unikernel::solo5::DeviceKind;
use kiln_unikernel::tender::{self, Attached};
use kiln_unikernel::{Kernel, Kind, Monitor, Parcel, UnikernelError};
use kiln_vm::accel::Accelerator;
use kiln_vm::machine::{self, Forward, Machine};
use serde_json::Value;

use super::Files;
use crate::error::{NodeError, Result};
use crate::microvm;

/// How a kernel is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// What runs it; without it, what the image or the kernel says.
    pub monitor: Option<Monitor>,
    /// Ports that lead into it, under qemu.
    pub forwards: Vec<Forward>,
    /// Its memory in MiB: what was asked for, or [`needed`].
    pub memory: u32,
    /// Its processors.
    pub cpus: u32,
    /// Whether it has a network card, under qemu.
    pub network: bool,
    /// Words after the application's arguments.
    pub append: String,
    /// What devices of the guest are attached to, under other monitors.
    pub attached: Vec<Attached>,
}

/// What is started.
#[derive(Debug, Clone)]
pub enum Start {
    /// A machine of qemu's, and arguments that it has beside those of every machine.
    Qemu(Box<Machine>, Vec<String>),
    /// Another monitor.
    Program {
        /// Which.
        monitor: Monitor,
        /// Its arguments.
        arguments: Vec<String>,
        /// What is in the file that the last argument names, if Kiln writes it.
        config: Option<Value>,
    },
}

/// In MiB.
const KERNEL_MEMORY: u64 = 64;
const LEAST: u64 = 128;
/// Systems that manage memory as large machines do.
const LEAST_LARGE: u64 = 256;

/// Where firecracker's configuration is read from.
pub const CONFIG: &str = "/dev/stdin";

/// Decides what is started.
///
/// # Errors
/// When the monitor cannot run the kernel, or an option makes no sense with it.
pub fn plan(
    title: &str,
    kernel: &Kernel,
    parcel: Option<&Parcel>,
    files: &Files,
    options: &Options,
    accelerator: Accelerator,
) -> Result<Start> {
    let failed = |source| NodeError::Unikernel { intent: "run", title: title.to_owned(), source: Box::new(source) };
    let monitor = options.monitor.or(parcel.map(|p| p.monitor));
    let monitor = match monitor {
        Some(monitor) => kernel.runs_under(monitor).map(|()| monitor).map_err(failed)?,
        None => kernel.monitor().map_err(failed)?,
    };
    let no = |why: &str| Err(failed(UnikernelError::Monitor { monitor: monitor.name(), why: why.to_owned() }));
    if kernel.architecture != "amd64" {
        return Err(failed(UnikernelError::Machine(kernel.architecture.to_owned())));
    }
    if parcel.is_some_and(|p| p.mounted) {
        return no("the image wants its own files as the guest's disk (mountRootfs), which is not done yet");
    }
    if monitor != Monitor::Qemu && !options.forwards.is_empty() {
        return no("ports lead into guests of qemu only; others get a tap device: --net NAME=TAP");
    }
    if monitor == Monitor::Qemu && options.attached.iter().any(|a| a.kind == DeviceKind::Net) {
        return no("its guests are in qemu's own network; ports lead into them: --publish PORT:PORT");
    }
    let kind = kind_of(kernel, parcel);
    let guest = Guest {
        kind,
        version: kernel.version.as_deref().or(parcel.and_then(|p| p.version.as_deref())),
        solo5: kernel.solo5.as_ref(),
        net: (monitor == Monitor::Qemu && options.network).then_some(&QEMU),
        initrd: files.initrd.is_some(),
    };
    let arguments = [parcel.map_or("", |p| p.line.as_str()), options.append.as_str()].join(" ");
    let words = line::compose(&guest, &arguments).map_err(failed)?;
    let memory = options.memory;
    match (monitor, &kernel.solo5) {
        (Monitor::Qemu, _) => qemu(kernel, kind, files, options, accelerator, (memory, words)),
        (Monitor::Hvt | Monitor::Spt, Some(wants)) => {
            let mut attached = options.attached.clone();
            attached.extend(own_disk(wants, files, &attached));
            let arguments = tender::solo5(monitor, &files.kernel, wants, &attached, memory, &words).map_err(failed)?;
            Ok(Start::Program { monitor, arguments, config: None })
        }
        (Monitor::Firecracker, _) => {
            let sizes = (memory, options.cpus);
            let config = tender::firecracker(&files.kernel, files.initrd.as_deref(), &options.attached, sizes, &words)
                .map_err(failed)?;
            let arguments = tender::firecracker_arguments(Path::new(CONFIG));
            Ok(Start::Program { monitor, arguments, config: Some(config) })
        }
        (Monitor::Xen, _) => no("Kiln starts no guests of Xen; `kernel=` of an xl.cfg is the file"),
        (Monitor::Hvt | Monitor::Spt, None) => no("it has no notes of Solo5"),
    }
}

/// What an image says of a kernel that says nothing itself is believed.
fn kind_of<'a>(kernel: &'a Kernel, parcel: Option<&'a Parcel>) -> &'a Kind {
    match (&kernel.kind, parcel) {
        (Kind::Plain, Some(parcel)) => &parcel.kind,
        (kind, _) => kind,
    }
}

/// The image's disk becomes the only one that the unikernel wants.
fn own_disk(wants: &kiln_unikernel::solo5::Solo5, files: &Files, attached: &[Attached]) -> Option<Attached> {
    let disk = files.disk.as_ref()?;
    let mut names = wants.named(DeviceKind::Block);
    let (Some(name), None) = (names.next(), names.next()) else { return None };
    let taken = attached.iter().any(|a| a.kind == DeviceKind::Block && a.name == name);
    let to = disk.display().to_string();
    (!taken).then(|| Attached { kind: DeviceKind::Block, name: name.to_owned(), to })
}

/// The memory that a kernel and its files need, in MiB.
pub fn needed(kernel: &Kernel, parcel: Option<&Parcel>, files: &Files) -> u32 {
    let kind = kind_of(kernel, parcel);
    let size = |path: &PathBuf| std::fs::metadata(path).map_or(0, |m| m.len());
    // What is given to it is there packed, and unpacked, which is more.
    let given = files.initrd.as_ref().map_or(0, size).saturating_mul(4);
    let all = (kernel.memory.saturating_add(given) >> 20).saturating_add(KERNEL_MEMORY);
    let least = if matches!(kind, Kind::Linux | Kind::Osv) { LEAST_LARGE } else { LEAST };
    u32::try_from(all.max(least)).unwrap_or(u32::MAX)
}

fn qemu(
    kernel: &Kernel,
    kind: &Kind,
    files: &Files,
    options: &Options,
    accelerator: Accelerator,
    (memory, words): (u32, String),
) -> Result<Start> {
    let forwards = options.network.then_some(options.forwards.as_slice());
    let mut machine = microvm::bare("kiln-unikernel", accelerator, memory, options.cpus, forwards);
    // Old drivers look for virtio devices on the bus of the old machine.
    if matches!(kind, Kind::Solo5 | Kind::Rumprun | Kind::Osv | Kind::Unikraft) {
        machine.machine_type = "pc".to_owned();
    }
    if !options.network && !options.forwards.is_empty() {
        return Err(NodeError::Unsupported {
            what: "ports cannot lead into a guest without a network".to_owned(),
            hint: Some("leave out --no-network".to_owned()),
        });
    }
    let mut more = Vec::new();
    if let Some(format) = kernel.disk {
        if !options.append.is_empty() {
            let what = "the command line of a disk is on the disk, and is not changed".to_owned();
            return Err(NodeError::Unsupported { what, hint: Some("leave out --append".to_owned()) });
        }
        machine.disks.push(machine::Disk { path: files.kernel.clone(), format: format.to_owned() });
        // What is run is not changed by it.
        more.push("-snapshot".to_owned());
    } else {
        let (image, initrd) = (files.kernel.clone(), files.initrd.clone());
        machine.kernel = Some(machine::Kernel { image, initrd, append: words });
    }
    let attached = options.attached.iter().filter(|a| a.kind == DeviceKind::Block).map(|a| PathBuf::from(&a.to));
    for path in files.disk.iter().cloned().chain(attached) {
        machine.disks.push(machine::Disk { path, format: "raw".to_owned() });
    }
    // A guest tells its status by this device, where its kind looks for it.
    let status = match kind {
        Kind::Solo5 | Kind::Rumprun => Some("isa-debug-exit"),
        Kind::Plain | Kind::Hermit | Kind::Other(_) => Some("isa-debug-exit,iobase=0xf4,iosize=0x04"),
        Kind::Unikraft | Kind::Osv | Kind::Linux | Kind::MiniOs => None,
    };
    more.extend(status.iter().flat_map(|device| ["-device".to_owned(), (*device).to_owned()]));
    Ok(Start::Qemu(Box::new(machine), more))
}

impl Start {
    /// The words of the command line, with what connects a console to Kiln left out; `qemu` is qemu's program.
    ///
    /// # Errors
    /// When an option of the machine makes no sense.
    pub fn words(&self, qemu: &str) -> Result<Vec<String>> {
        match self {
            Start::Qemu(machine, more) => microvm::command(qemu, machine, more),
            Start::Program { monitor, arguments, .. } => {
                let mut words = vec![monitor.program().0.to_owned()];
                words.extend(arguments.iter().cloned());
                Ok(words)
            }
        }
    }
}
