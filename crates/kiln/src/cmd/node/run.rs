//! `kiln node run`: a machine with one application, until that ends.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use kiln_host::command::quote;
use kiln_node::microvm::artefact::Artefact;
use kiln_node::microvm::{self, Ended, Options, publish};
use kiln_sandbox::Cancel;
use kiln_vm::Qemu;
use kiln_vm::accel::Accelerator;
use kiln_vm::machine::Forward;

use super::build::failed;
use crate::error::CliError;
use crate::surroundings::stop_on_signals;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Let a port of this machine lead into it (repeat)
    #[arg(short, long, value_name = "[ADDRESS:]PORT:PORT", value_parser = publish::parse)]
    publish: Vec<Forward>,
    /// Its memory in MiB; without it, what its files need
    #[arg(short, long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(64..=1 << 24))]
    memory: Option<u32>,
    /// Its processors
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    cpus: u32,
    /// Give it no network card
    #[arg(long)]
    no_network: bool,
    /// Add words to the kernel's command line, as ip=10.0.2.15::10.0.2.2:255.255.255.0
    #[arg(long, value_name = "WORDS", default_value = "")]
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
    /// Print the command line, and run nothing
    #[arg(long)]
    dry_run: bool,
    /// What `kiln build -o type=microvm` wrote
    #[arg(value_name = "DIR")]
    artefact: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  kiln build -o type=microvm,kernel=/boot/vmlinuz-6.1.0-18-cloud-amd64,dest=web .
  kiln node run --publish 8080:80 web
  kiln node run --dry-run web

The exit code is the application's. Ctrl-C asks it to end, a second one ends the machine.";

/// Runs the verb.
pub fn run(args: &Args) -> Result<(), CliError> {
    let told = |e: kiln_node::NodeError| failed(&e);
    if args.append.chars().any(char::is_control) {
        return Err(CliError::usage("--append: a control character is no word of a kernel"));
    }
    let artefact = Artefact::open(&args.artefact).map_err(told)?;
    let path = std::env::var_os("PATH");
    let qemu = Qemu::find(&args.qemu, path.as_deref(), &std::env::temp_dir()).map_err(|e| told(e.into()))?;
    let choice = microvm::accelerator(&qemu, args.accelerator).map_err(told)?;
    let options = Options {
        forwards: args.publish.clone(),
        memory: args.memory,
        cpus: args.cpus,
        network: !args.no_network,
        append: args.append.clone(),
    };
    let token: String = super::template::random()?.iter().map(|b| format!("{b:02x}")).collect();
    let machine = microvm::machine(&artefact, &options, choice.accelerator, &token).map_err(told)?;
    if args.dry_run {
        let words = microvm::command(&qemu, &machine).map_err(told)?;
        let line: Vec<String> = words.iter().map(|word| quote(word)).collect();
        return crate::named::print(&format!("{}\n", line.join(" ")));
    }
    eprintln!("accelerator {}: {}", choice.accelerator.name(), choice.why);
    let cancel = Cancel::new();
    stop_on_signals(cancel.clone(), Arc::new(AtomicBool::new(false)));
    let streams =
        (&mut std::io::stdout() as &mut dyn std::io::Write, &mut std::io::stderr() as &mut dyn std::io::Write);
    match microvm::run(&qemu, &machine, &token, args.timeout.map(Duration::from_secs), &cancel, streams)
        .map_err(told)?
    {
        Ended::Application(0) => Ok(()),
        Ended::Application(code) => Err(CliError::Told { code }),
        Ended::Stopped => Err(CliError::Told { code: 130 }),
    }
}
