//! Putting right what can be put right, and taking it back: here, or on hosts over SSH, where this program does it.

use std::path::{Path, PathBuf};

use kiln_doctor::facts::{self, gather};
use kiln_doctor::fix::{Action, ELSEWHERE, FIXES, Undo, apply, plan};
use kiln_doctor::fleet::remote;
use kiln_doctor::{Fleet, checks};

use super::hosts;
use crate::error::CliError;
use crate::named;

pub const EXAMPLES: &str = "\
Examples:
  kiln doctor fix leases.leaked         what would be changed
  kiln doctor fix leases.leaked --yes   change it, write a record, look again
  kiln doctor fix leftover.chains --hosts root@10.0.0.1,root@10.0.0.2 --yes
  kiln doctor undo RECORD               take it back; the record is on the host that was changed

There are fixes for: leases.leaked, kernel.br-netfilter, kernel.ip-forward, kernel.checksums,
machine.network-manager, leftover.devices, leftover.chains.";

/// The command line of `fix`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The finding to fix
    #[arg(value_name = "ID")]
    id: String,
    /// Change things; without it the plan is shown
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    hosts: hosts::Args,
    /// Where the record is written that `kiln doctor undo` takes
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

/// The command line of `undo`.
#[derive(Debug, clap::Args)]
pub struct UndoArgs {
    /// The record that the fix wrote
    record: PathBuf,
    #[command(flatten)]
    hosts: hosts::Args,
}

/// Runs `fix`.
pub fn run(args: &Args) -> Result<(), CliError> {
    Fix { id: &args.id, yes: args.yes, hosts: &args.hosts, record: args.record.as_deref() }.run()
}

/// What is to be put right, and where.
pub struct Fix<'a> {
    pub id: &'a str,
    pub yes: bool,
    pub hosts: &'a hosts::Args,
    pub record: Option<&'a Path>,
}

impl Fix<'_> {
    pub fn run(&self) -> Result<(), CliError> {
        self.hosts.can_be_changed()?;
        if self.hosts.here() {
            return self.here();
        }
        let mut words = vec!["doctor", "fix", self.id];
        if self.yes {
            words.push("--yes");
        }
        let record = self.record.map(|path| path.to_string_lossy().into_owned());
        if let Some(record) = &record {
            words.extend(["--record", record.as_str()]);
        }
        everywhere(self.hosts, &words)
    }

    fn here(&self) -> Result<(), CliError> {
        let environment = |error: kiln_doctor::DoctorError| CliError::environment(error.to_string());
        let (root, netns) = self.hosts.one();
        let host = gather(root, netns).map_err(environment)?;
        let fleet = Fleet::new(vec![host]);
        let Some(host) = fleet.hosts.first() else { return Ok(()) };
        let found = |fleet: &Fleet| checks::run(fleet).iter().any(|finding| finding.id == self.id);
        let known = FIXES.contains(&self.id);
        if known && !found(&fleet) && !ELSEWHERE.contains(&self.id) {
            return named::print(&format!("{} is not found here: nothing to do\n", self.id));
        }
        let actions = plan(host, self.id).map_err(CliError::usage)?;
        actions.iter().try_for_each(|action| named::print(&format!("{}\n", action.line())))?;
        if !self.yes {
            return named::print("nothing was changed: --yes changes it\n");
        }
        let usual = || PathBuf::from(format!("/var/lib/kiln/doctor/{}.json", self.id));
        let record = self.record.map_or_else(usual, Path::to_owned);
        change((root, netns), &actions, &record)?;
        if record.exists() {
            named::print(&format!("record: {}\n", record.display()))?;
        }
        let after = Fleet::new(vec![gather(root, netns).map_err(environment)?]);
        let forward = after.hosts.iter().flat_map(|host| &host.system.forward_files).next_back();
        if let Some((path, _)) = forward.filter(|(_, value)| value == "0" && self.id == "kernel.ip-forward") {
            eprintln!("warning: at the next boot {} sets it to 0 again", checks::logs::printable(path));
        }
        if found(&after) {
            return Err(CliError::environment(format!("{} is still found", self.id))
                .with_hint("kiln doctor shows what is seen"));
        }
        named::print(&format!("{} is no longer found\n", self.id))
    }
}

/// Runs this program on all hosts, one after the other; what each says is printed with its name.
fn everywhere(hosts: &hosts::Args, words: &[&str]) -> Result<(), CliError> {
    let Some(reached) = hosts.reach()? else {
        return Err(CliError::usage("fixes are made on this host, or on hosts over SSH: --hosts or -f"));
    };
    let mut failed: Vec<String> = reached.failed.iter().map(|missing| missing.host.clone()).collect();
    reached.failed.iter().for_each(|missing| eprintln!("{}: {}", missing.host, missing.why));
    for (name, host, asking) in reached.all() {
        reached.stopped()?;
        let lines = |bytes: &[u8]| -> Vec<String> {
            let text = String::from_utf8_lossy(bytes).into_owned();
            text.lines().map(|line| format!("{name}: {}", checks::logs::printable(line))).collect()
        };
        match remote::run(name, host, &asking, words) {
            Ok(output) => {
                lines(&output.stdout).iter().try_for_each(|line| named::print(&format!("{line}\n")))?;
                lines(&output.stderr).iter().for_each(|line| eprintln!("{line}"));
                failed.extend((!output.exit.success()).then(|| name.to_owned()));
            }
            Err(error) => {
                eprintln!("{error}");
                failed.push(name.to_owned());
            }
        }
    }
    reached.stopped()?;
    match failed.is_empty() {
        true => Ok(()),
        false => Err(CliError::environment(format!("it was not done on {}", failed.join(", ")))),
    }
}

/// Makes the changes; how each is taken back is on the disk before it is made.
fn change((root, netns): (&Path, Option<&Path>), actions: &[Action], record: &Path) -> Result<(), CliError> {
    let fail = |e: std::io::Error| CliError::environment(format!("{}: {e}", record.display()));
    if let Some(parent) = record.parent() {
        std::fs::create_dir_all(parent).map_err(fail)?;
    }
    // Two at one time do not write into one record.
    match std::fs::File::create_new(record) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let hint =
                "it takes an earlier fix back (kiln doctor undo): keep it elsewhere, or name another with --record";
            return Err(CliError::input(format!("{} is there already", record.display())).with_hint(hint));
        }
        Err(error) => return Err(fail(error)),
    }
    let mut undos: Vec<Undo> = Vec::new();
    let done = save(record, &undos).map_err(fail).and_then(|()| {
        let keep = &mut |more: &[Undo]| {
            undos.extend_from_slice(more);
            save(record, &undos).map_err(|error| format!("the record {}: {error}", record.display()))
        };
        let done = facts::within(netns, || apply(root, actions, keep));
        done.and_then(|done| done).map_err(|error| CliError::environment(error.to_string()))
    });
    if undos.is_empty() {
        // Nothing was changed: it would only be in the way of the next.
        let _ = std::fs::remove_file(record);
    }
    done.map_err(|error| match undos.is_empty() {
        true => error,
        false => error.with_hint(format!("kiln doctor undo {} takes back what was done", record.display())),
    })
}

/// A record is whole at every moment.
fn save(record: &Path, undos: &[Undo]) -> std::io::Result<()> {
    use std::io::Write;
    let mut name = record.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = record.with_file_name(name);
    let mut file = std::fs::File::create(&temporary)?;
    file.write_all(&serde_json::to_vec_pretty(undos).unwrap_or_default())?;
    file.sync_all()?;
    std::fs::rename(&temporary, record)?;
    match record.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => std::fs::File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Runs `undo`.
pub fn undo(args: &UndoArgs) -> Result<(), CliError> {
    args.hosts.can_be_changed()?;
    if !args.hosts.here() {
        return everywhere(&args.hosts, &["doctor", "undo", &args.record.to_string_lossy()]);
    }
    let (root, netns) = args.hosts.one();
    let path = args.record.display();
    let text = std::fs::read(&args.record).map_err(|e| CliError::input(format!("{path}: {e}")))?;
    // Who was killed as soon as the record was made has changed nothing.
    let undos: Vec<Undo> = match text.is_empty() {
        true => Vec::new(),
        false => serde_json::from_slice(&text).map_err(|e| CliError::input(format!("{path}: {e}")))?,
    };
    let done = facts::within(netns, || kiln_doctor::fix::undo(root, &undos));
    let rest = done.and_then(|done| done).map_err(|error| CliError::environment(error.to_string()))?;
    for how in rest {
        named::print(&format!("not undone: {}\n", checks::logs::printable(&how)))?;
    }
    // It would be in the way of the next fix, and taking it back twice means nothing.
    std::fs::remove_file(&args.record).map_err(|e| CliError::environment(format!("{path}: {e}")))?;
    named::print(&format!("taken back; {path} is deleted\n"))
}
