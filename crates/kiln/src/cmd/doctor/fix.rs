//! Putting right what can be put right, and taking it back.

use std::path::{Path, PathBuf};

use kiln_doctor::facts::{self, gather};
use kiln_doctor::fix::{Action, FIXES, Undo, apply, plan};
use kiln_doctor::{Fleet, checks};

use crate::error::CliError;
use crate::named;

pub const EXAMPLES: &str = "\
Examples:
  kiln doctor fix leases.leaked         what would be changed
  kiln doctor fix leases.leaked --yes   change it, write a record, look again
  kiln doctor undo RECORD               take it back

There are fixes for: leases.leaked, kernel.br-netfilter, kernel.ip-forward, machine.network-manager, leftover.devices.";

/// The command line of `fix`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The finding to fix
    #[arg(value_name = "ID")]
    id: String,
    /// Change things; without it the plan is shown
    #[arg(long)]
    yes: bool,
    /// A directory that stands for `/`
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// A network namespace instead of this one
    #[arg(long, value_name = "PATH")]
    netns: Option<PathBuf>,
    /// Where the record is written that `kiln doctor undo` takes
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

/// The command line of `undo`.
#[derive(Debug, clap::Args)]
pub struct UndoArgs {
    /// The record that the fix wrote
    record: PathBuf,
    /// A directory that stands for `/`
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// A network namespace instead of this one
    #[arg(long, value_name = "PATH")]
    netns: Option<PathBuf>,
}

/// Runs `fix`.
pub fn run(args: &Args) -> Result<(), CliError> {
    let environment = |error: kiln_doctor::DoctorError| CliError::environment(error.to_string());
    let netns = args.netns.as_deref();
    let host = gather(&args.root, netns).map_err(environment)?;
    let fleet = Fleet::new(vec![host]);
    let Some(host) = fleet.hosts.first() else { return Ok(()) };
    let found = |fleet: &Fleet| checks::run(fleet).iter().any(|finding| finding.id == args.id);
    let known = FIXES.contains(&args.id.as_str());
    if known && !found(&fleet) {
        return named::print(&format!("{} is not found here: nothing to do\n", args.id));
    }
    let actions = plan(host, &args.id).map_err(CliError::usage)?;
    actions.iter().try_for_each(|action| named::print(&format!("{}\n", action.line())))?;
    if !args.yes {
        return named::print("nothing was changed: --yes changes it\n");
    }
    let record = args.record.clone().unwrap_or_else(|| PathBuf::from(format!("/var/lib/kiln/doctor/{}.json", args.id)));
    change(args, &actions, &record)?;
    named::print(&format!("record: {}\n", record.display()))?;
    let after = Fleet::new(vec![gather(&args.root, netns).map_err(environment)?]);
    if found(&after) {
        return Err(
            CliError::environment(format!("{} is still found", args.id)).with_hint("kiln doctor shows what is seen")
        );
    }
    named::print(&format!("{} is no longer found\n", args.id))
}

/// Makes the changes; the record is on the disk after each.
fn change(args: &Args, actions: &[Action], record: &Path) -> Result<(), CliError> {
    let fail = |e: std::io::Error| CliError::environment(format!("{}: {e}", record.display()));
    if record.exists() {
        let hint = "it undoes an earlier fix: keep it elsewhere, or give another name with --record";
        return Err(CliError::input(format!("{} is there already", record.display())).with_hint(hint));
    }
    if let Some(parent) = record.parent() {
        std::fs::create_dir_all(parent).map_err(fail)?;
    }
    let save = |undos: &[Undo]| std::fs::write(record, serde_json::to_vec_pretty(undos).unwrap_or_default());
    save(&[]).map_err(fail)?;
    let mut undos: Vec<Undo> = Vec::new();
    let mut saved = Ok(());
    let done = facts::within(args.netns.as_deref(), || {
        apply(&args.root, actions, &mut |_, undo| {
            undos.extend_from_slice(undo);
            if let Err(error) = save(&undos) {
                saved = Err(error);
            }
        })
    });
    done.and_then(|done| done).map_err(|error| CliError::environment(error.to_string()))?;
    saved.map_err(fail)
}

/// Runs `undo`.
pub fn undo(args: &UndoArgs) -> Result<(), CliError> {
    let path = args.record.display();
    let text = std::fs::read(&args.record).map_err(|e| CliError::input(format!("{path}: {e}")))?;
    let undos: Vec<Undo> = serde_json::from_slice(&text).map_err(|e| CliError::input(format!("{path}: {e}")))?;
    let done = facts::within(args.netns.as_deref(), || kiln_doctor::fix::undo(&args.root, &undos));
    done.and_then(|done| done).map_err(|error| CliError::environment(error.to_string()))?;
    for undo in &undos {
        if let Undo::Remake { how } = undo {
            named::print(&format!("not undone: {how}\n"))?;
        }
    }
    Ok(())
}
