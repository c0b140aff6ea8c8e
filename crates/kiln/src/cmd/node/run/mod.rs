//! `kiln node run`: a machine with one application, or a unikernel, until that ends.
//!
//! [`microvm`] what `kiln build -o type=microvm` wrote     [`unikernel`] kernels made elsewhere: files, images

mod microvm;
mod unikernel;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use kiln_host::command::quote;
use kiln_node::microvm::{Ended, publish};
use kiln_sandbox::Cancel;
use kiln_unikernel::Monitor;
use kiln_unikernel::solo5::DeviceKind;
use kiln_unikernel::tender::{self, Attached};
use kiln_vm::Qemu;
use kiln_vm::accel::Accelerator;
use kiln_vm::machine::Forward;

use super::failed;
use crate::cli::Global;
use crate::error::CliError;
use crate::options::RegistryOptions;
use crate::surroundings::stop_on_signals;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Let a port of this machine lead into it (repeat); guests of qemu
    #[arg(short, long, value_name = "[ADDRESS:]PORT:PORT[/udp]", value_parser = publish::parse)]
    publish: Vec<Forward>,
    /// Its memory in MiB; without it, what its files need
    #[arg(short, long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(10..=1 << 24))]
    memory: Option<u32>,
    /// Its processors
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    cpus: u32,
    /// Give it no network card
    #[arg(long)]
    no_network: bool,
    /// Add words to the command line, as ip=10.0.2.15::10.0.2.2:255.255.255.0; to a unikernel's, arguments
    #[arg(long, value_name = "WORDS", default_value = "", allow_hyphen_values = true)]
    append: String,
    /// Stop it after so many seconds; that is an error
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=1 << 24))]
    timeout: Option<u64>,
    /// How its instructions are run: kvm, tcg; without it, what really runs a guest here
    #[arg(long, value_name = "NAME")]
    accelerator: Option<Accelerator>,
    /// The qemu
    #[arg(long, value_name = "PROGRAM", default_value = "qemu-system-x86_64")]
    qemu: String,
    /// What runs a unikernel: qemu, firecracker, hvt, spt [default: what its image, else its file says]
    #[arg(long, value_name = "MONITOR", help_heading = "Unikernels")]
    monitor: Option<Monitor>,
    /// Files that the kernel of a file gets
    #[arg(long, value_name = "FILE", help_heading = "Unikernels")]
    initrd: Option<PathBuf>,
    /// Attach a network card of the guest to a tap device (repeat); guests of others than qemu
    #[arg(long, value_name = "NAME=TAP", value_parser = net, help_heading = "Unikernels")]
    net: Vec<Attached>,
    /// Attach a disk of the guest to a file with a raw disk (repeat)
    #[arg(long, value_name = "NAME=FILE", value_parser = block, help_heading = "Unikernels")]
    block: Vec<Attached>,
    /// Put the files of an image here and leave them; with --dry-run, the command line is about them
    #[arg(long, value_name = "DIR", help_heading = "Unikernels")]
    extract: Option<PathBuf>,
    /// Print the command line, and run nothing
    #[arg(long)]
    dry_run: bool,
    /// What `kiln build -o type=microvm` wrote, the file of a kernel, or an image with one
    #[arg(value_name = "DIR|KERNEL|IMAGE")]
    target: String,
    /// How registries are reached.
    #[command(flatten)]
    registry: RegistryOptions,
}

const EXAMPLES: &str = "\
Examples:
  kiln build -o type=microvm,kernel=/boot/vmlinuz-6.1.0-18-cloud-amd64,dest=web .
  kiln node run --publish 8080:80 web
  kiln node run --net service=tap0 hello.spt           MirageOS, by solo5-spt
  kiln node run -p 8080:80 registry.example/nginx:1    a unikernel of a registry
  kiln node run --dry-run web

The exit code is the application's, 130 when it was stopped. Ctrl-C asks it to end, a second one ends it at once.";

fn net(text: &str) -> Result<Attached, String> {
    tender::attached(DeviceKind::Net, text)
}

fn block(text: &str) -> Result<Attached, String> {
    tender::attached(DeviceKind::Block, text)
}

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    if args.append.chars().any(char::is_control) {
        return Err(CliError::usage("--append: a control character is no word of a kernel"));
    }
    let path = Path::new(&args.target);
    let is_path = args.target.starts_with(['/', '.']) || path.exists();
    if path.is_dir() || (is_path && !path.exists()) {
        let foreign = [
            (args.monitor.is_some(), "--monitor"),
            (args.initrd.is_some(), "--initrd"),
            (!args.net.is_empty(), "--net"),
            (!args.block.is_empty(), "--block"),
            (args.extract.is_some(), "--extract"),
        ];
        if let Some((_, option)) = foreign.iter().find(|(given, _)| *given) {
            return Err(CliError::usage(format!("{option} is for unikernels, and {} is none", args.target)));
        }
        return microvm::run(args, path);
    }
    unikernel::run(args, is_path.then_some(path), global)
}

/// The qemu, and the accelerator; without qemu, for a command line that is only shown, what would be asked for.
fn qemu(args: &Args) -> Result<(Option<Qemu>, Accelerator), CliError> {
    let told = |e: kiln_node::NodeError| failed(&e);
    let path = std::env::var_os("PATH");
    let found = Qemu::find(&args.qemu, path.as_deref(), &std::env::temp_dir());
    let qemu = match found {
        Err(e @ kiln_vm::VmError::Missing { .. }) if args.dry_run => {
            eprintln!("note: {e}");
            return Ok((None, args.accelerator.unwrap_or(Accelerator::Tcg)));
        }
        found => found.map_err(|e| told(e.into()))?,
    };
    let choice = kiln_node::microvm::accelerator(&qemu, args.accelerator).map_err(told)?;
    if !args.dry_run {
        eprintln!("accelerator {}: {}", choice.accelerator.name(), choice.why);
    }
    Ok((Some(qemu), choice.accelerator))
}

/// Prints a command line as a shell takes it.
fn show(words: &[String]) -> Result<(), CliError> {
    let line: Vec<String> = words.iter().map(|word| quote(word)).collect();
    crate::named::print(&format!("{}\n", line.join(" ")))
}

/// Set when the user wants it to end.
fn cancel() -> Cancel {
    let cancel = Cancel::new();
    stop_on_signals(cancel.clone(), Arc::new(AtomicBool::new(false)));
    cancel
}

/// The exit code for how it ended.
fn ended(how: Ended) -> Result<(), CliError> {
    match how {
        Ended::Application(0) => Ok(()),
        Ended::Application(code) => Err(CliError::Told { code }),
        Ended::Stopped => Err(CliError::Told { code: 130 }),
    }
}
