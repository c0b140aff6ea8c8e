//! Machines with one application, run here: what `kiln build -o type=microvm` wrote, under qemu, until the application
//! ends; with its output as it comes, and its exit code.
//!
//! [`artefact`] the directory, checked against its manifest     [`publish`] ports that lead into the machine
//! [`output`] what is the application's among what the console shows
//!
//! The end is told by a line on the console that has a token of this run in it: nobody who does not mean to can write it.

pub mod artefact;
pub(crate) mod follow;
pub mod output;
pub mod publish;

use std::io::Write;
use std::time::Duration;

use kiln_sandbox::Cancel;
use kiln_vm::accel::{self, Accelerator};
use kiln_vm::machine::{Forward, Kernel, Machine, Network, Overrides};
use kiln_vm::{Qemu, Vm};
use serde_json::json;

use self::artefact::Artefact;
use self::follow::{Left, follow};
use self::output::Output;
use crate::error::{NodeError, Result};

/// How a machine is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Ports that lead into it.
    pub forwards: Vec<Forward>,
    /// Its memory in MiB; what the artefact needs if none is said.
    pub memory: Option<u32>,
    /// Its processors.
    pub cpus: u32,
    /// Whether it has a network card.
    pub network: bool,
    /// What is added to the kernel's command line.
    pub append: String,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The application did, with this exit code.
    Application(u8),
    /// Somebody stopped it, and it did not end in time.
    Stopped,
}

/// How long a machine may take to turn itself off once its application has ended, or was asked to.
const LAST_WORDS: Duration = Duration::from_secs(20);
/// What a kernel and its page tables need beside the files, in MiB.
const KERNEL_MEMORY: u64 = 160;
const LEAST_MEMORY: u64 = 256;

/// The machine for an artefact.
///
/// # Errors
/// When an option makes no sense.
pub fn machine(artefact: &Artefact, options: &Options, accelerator: Accelerator, token: &str) -> Result<Machine> {
    let manifest = &artefact.manifest;
    let memory = options.memory.unwrap_or_else(|| needed(&manifest.initramfs));
    let forwards = options.network.then_some(options.forwards.as_slice());
    let mut machine = bare("kiln-microvm", accelerator, memory, options.cpus, forwards);
    let line = format!("{} kiln.token={token} {}", manifest.cmdline, options.append);
    machine.kernel = Some(Kernel {
        image: artefact.path(&manifest.kernel.part),
        initrd: Some(artefact.path(&manifest.initramfs)),
        append: line.trim_end().to_owned(),
    });
    if !options.network && !options.forwards.is_empty() {
        return Err(artefact.refused("ports cannot lead into a machine without a network".to_owned(), None));
    }
    Ok(machine)
}

/// A machine without a screen, which ends with what runs in it: in qemu's own network, with ports that lead into it, or
/// in none.
pub(crate) fn bare(
    name: &str,
    accelerator: Accelerator,
    memory: u32,
    cpus: u32,
    forwards: Option<&[Forward]>,
) -> Machine {
    let mut machine = Machine::new(name, accelerator);
    machine.machine_type = "q35".to_owned();
    machine.cpu_model = Some(if accelerator == Accelerator::Kvm { "host" } else { "max" }.to_owned());
    machine.memory = memory;
    machine.processors.cpus = Some(cpus);
    machine.network = forwards.map_or(Network::None, |forwards| Network::User(forwards.to_vec()));
    machine.net_device = "virtio-net-pci".to_owned();
    machine.vga = Some("none".to_owned());
    machine.run_once = true;
    machine
}

/// MiB for an initramfs: it is there packed and unpacked, and what is unpacked may be half of all.
fn needed(initramfs: &kiln_engine::output::microvm::manifest::Part) -> u32 {
    let files = initramfs.unpacked.saturating_mul(2).saturating_add(initramfs.size) >> 20;
    u32::try_from((files + KERNEL_MEMORY).max(LEAST_MEMORY)).unwrap_or(u32::MAX)
}

/// The command line by which `program`, a qemu, would run it, with `more` arguments; what [`Vm`] adds for its sockets is
/// left out.
///
/// # Errors
/// When an option makes no sense, or there is no accelerator.
pub fn command(program: &str, machine: &Machine, more: &[String]) -> Result<Vec<String>> {
    let mut words = vec![program.to_owned()];
    words.extend(machine.arguments::<NodeError>(&Overrides(Vec::new()), |text| Ok(text.to_owned()))?);
    words.extend_from_slice(more);
    words.extend(["-serial".to_owned(), "stdio".to_owned()]);
    Ok(words)
}

/// Which accelerator, and why.
///
/// # Errors
/// When none runs a guest.
pub fn accelerator(qemu: &Qemu, wanted: Option<Accelerator>) -> Result<accel::Choice> {
    Ok(accel::choose(qemu, wanted, false)?)
}

/// Runs the machine to its end. What the application says goes to `out`, what else the console shows to `err`.
///
/// # Errors
/// When the machine cannot be started, ends without its application's status, or takes longer than it may.
pub fn run(
    qemu: &Qemu,
    machine: &Machine,
    token: &str,
    limit: Option<Duration>,
    cancel: &Cancel,
    (out, err): (&mut dyn Write, &mut dyn Write),
) -> Result<Ended> {
    let arguments = machine.arguments::<NodeError>(&Overrides(Vec::new()), |text| Ok(text.to_owned()))?;
    let vm = Vm::start(qemu, &arguments)?;
    let mut output = Output::new(token);
    // Who reads may be gone; the application runs on.
    let mut show = |output: &mut Output, piece: &[u8]| {
        output.heard(piece);
        let _ = out.write_all(&output.take_application()).and_then(|()| out.flush());
        let _ = err.write_all(&output.take_other()).and_then(|()| err.flush());
    };
    let ask = || {
        // Three keys ask its first process to end the application.
        let keys = ["ctrl", "alt", "delete"].map(|key| json!({ "type": "qcode", "data": key }));
        let _ = vm.qmp().execute("send-key", json!({ "keys": keys }));
    };
    let mut heard = |piece: &[u8]| {
        show(&mut output, piece);
        output.exit().is_some()
    };
    if follow(&vm, "the end of the application", limit, cancel, &ask, LAST_WORDS, &mut heard)? == Left::Killed {
        return Ok(Ended::Stopped);
    }
    output.finish();
    show(&mut output, b"");
    if let Some(code) = output.exit() {
        vm.finish(LAST_WORDS);
        return Ok(Ended::Application(code));
    }
    vm.check("Kiln waited for its application to end")?;
    Ok(Ended::Stopped)
}
