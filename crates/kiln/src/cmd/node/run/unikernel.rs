//! A unikernel made elsewhere: a file, or taken out of an image.

use std::fs;
use std::path::Path;
use std::time::Duration;

use kiln_node::unikernel::start::{self, Options, Start};
use kiln_node::unikernel::{Files, open, run as running};
use kiln_unikernel::{Kernel, Monitor, Parcel};
use kiln_vm::accel::Accelerator;

use super::{Args, failed};
use crate::cli::Global;
use crate::cmd::node::unikernel::{self, Taken};
use crate::error::CliError;

/// What is run.
struct Subject<'a> {
    title: &'a str,
    kernel: &'a Kernel,
    parcel: Option<&'a Parcel>,
    files: Files,
    /// Whether the files are only there while this runs.
    fleeting: bool,
}

/// Runs it, or shows how.
pub fn run(args: &Args, file: Option<&Path>, global: &Global) -> Result<(), CliError> {
    if let Some(path) = file {
        if args.extract.is_some() {
            return Err(CliError::usage(format!("--extract is for images, and {} is a file", path.display())));
        }
        let kernel = open::recognised(path, "run").map_err(|e| failed(&e))?;
        if let Some(initrd) = args.initrd.as_ref().filter(|path| !path.is_file()) {
            return Err(CliError::input(format!("there is no file {}", initrd.display())));
        }
        let files = Files { kernel: path.to_owned(), initrd: args.initrd.clone(), disk: None };
        return start(args, &Subject { title: &args.target, kernel: &kernel, parcel: None, files, fleeting: false });
    }
    if args.initrd.is_some() {
        return Err(CliError::usage("--initrd is for the file of a kernel; an image has its own"));
    }
    let taken = unikernel::take(&args.target, args.monitor, &args.registry, global)?;
    let (files, fleeting) = match &args.extract {
        Some(dir) => (left(&taken, dir)?, false),
        None => (taken.files.clone(), true),
    };
    let Taken { title, kernel, parcel, .. } = &taken;
    start(args, &Subject { title, kernel, parcel: Some(parcel), files, fleeting })
}

/// Copies the files to where they stay.
fn left(taken: &Taken, dir: &Path) -> Result<Files, CliError> {
    let failed = |e: std::io::Error| CliError::environment(format!("cannot write to {}: {e}", dir.display()));
    fs::create_dir_all(dir).map_err(failed)?;
    let copy = |from: &Path, name: &str| {
        let to = dir.join(name);
        fs::copy(from, &to).map(|_| to).map_err(failed)
    };
    let Files { kernel, initrd, disk } = &taken.files;
    Ok(Files {
        kernel: copy(kernel, "kernel")?,
        initrd: initrd.as_ref().map(|from| copy(from, "initrd")).transpose()?,
        disk: disk.as_ref().map(|from| copy(from, "disk")).transpose()?,
    })
}

fn start(args: &Args, subject: &Subject<'_>) -> Result<(), CliError> {
    let told = |e: kiln_node::NodeError| failed(&e);
    let memory = args.memory.unwrap_or_else(|| start::needed(subject.kernel, subject.parcel, &subject.files));
    let options = Options {
        monitor: args.monitor,
        forwards: args.publish.clone(),
        memory,
        cpus: args.cpus,
        network: !args.no_network,
        append: args.append.clone(),
        attached: args.net.iter().chain(&args.block).cloned().collect(),
    };
    let plan = |files: &Files, accelerator| {
        start::plan(subject.title, subject.kernel, subject.parcel, files, &options, accelerator).map_err(told)
    };
    // What is wrong with it is said before anything is looked for.
    let (qemu, accelerator) = match plan(&subject.files, Accelerator::Tcg)? {
        Start::Qemu(..) => super::qemu(args)?,
        Start::Program { .. } => (None, Accelerator::Tcg),
    };
    if args.dry_run {
        return shown(args, subject, &plan(&shown_files(subject), accelerator)?);
    }
    let limit = args.timeout.map(Duration::from_secs);
    let cancel = super::cancel();
    let how = match (plan(&subject.files, accelerator)?, qemu) {
        (Start::Qemu(machine, more), Some(qemu)) => {
            let out = &mut std::io::stdout();
            running::qemu(&qemu, subject.title, &machine, &more, limit, &cancel, out)
        }
        (Start::Qemu(..), None) => return Err(CliError::environment(format!("`{}` is not installed", args.qemu))),
        (Start::Program { monitor, arguments, config }, _) => {
            let path = std::env::var_os("PATH");
            let program = running::find(subject.title, monitor, path.as_deref()).map_err(told)?;
            running::program(
                subject.title,
                (&program, &arguments),
                config.as_ref(),
                limit,
                running::LAST_WORDS,
                &cancel,
            )
        }
    };
    super::ended(how.map_err(told)?)
}

fn shown_files(subject: &Subject<'_>) -> Files {
    if subject.fleeting { subject.files.named() } else { subject.files.clone() }
}

/// Prints the command line; what is read from standard input follows it as a shell takes it.
fn shown(args: &Args, subject: &Subject<'_>, start: &Start) -> Result<(), CliError> {
    if subject.fleeting {
        eprintln!("note: the files are in the image; --extract DIR takes them out of it");
    }
    if let Start::Program { monitor, .. } = start
        && running::find(subject.title, *monitor, std::env::var_os("PATH").as_deref()).is_err()
    {
        let (program, hint) = Monitor::program(*monitor);
        eprintln!("note: `{program}` is not installed: {hint}");
    }
    super::show(&start.words(&args.qemu).map_err(|e| failed(&e))?)?;
    if let Start::Program { config: Some(config), .. } = start {
        eprintln!("note: its standard input is this");
        return crate::named::print_json(config);
    }
    Ok(())
}
