//! A host over SSH as a system that is checked.

use std::io::Write;
use std::path::PathBuf;

use kiln_checks::system::{Machine, Ran, Remote};
use kiln_checks::{LookError, Report};
use kiln_host::command::Sudo;
use kiln_host::ssh::target::Target;
use kiln_host::ssh::{Auth, HostKeyProblem, HostKeys, Unreachable};
use kiln_host::{Cancel, Command, Exit, Host, HostError, Network, Ssh, SshOptions, Stdin, Streams};

use super::target::Judge;
use crate::error::CliError;
use crate::ssh::{self, Login};
use crate::surroundings;

/// How hosts are reached.
#[derive(Debug, clap::Args)]
pub struct SshArgs {
    /// The private key to log in with, instead of those of the agent and ~/.ssh
    #[arg(long, value_name = "FILE", help_heading = "Hosts")]
    identity: Option<PathBuf>,
    /// The keys that hosts are known by, instead of ~/.ssh/known_hosts
    #[arg(long, value_name = "FILE", help_heading = "Hosts")]
    known_hosts: Option<PathBuf>,
    /// Accept a host of which no key is known, and remember its key
    #[arg(long, help_heading = "Hosts")]
    accept_new_host_keys: bool,
    /// Connect through this host; with commas, through several
    #[arg(long, value_name = "[USER@]HOST[:PORT]", value_delimiter = ',', help_heading = "Hosts")]
    jump: Vec<String>,
    /// Look at the host as root, by sudo without a password
    #[arg(long, help_heading = "Hosts")]
    sudo: bool,
}

/// The most that is kept of what a host complains about.
const MAX_COMPLAINT: usize = 64 << 10;

/// Judges the host that `text` names.
pub fn judged(text: &str, args: &SshArgs, judge: &Judge<'_>) -> Result<Report, CliError> {
    let failed = |e: HostError| unreachable(&e);
    let options = options(text, args)?;
    let network = Network::start().map_err(failed)?;
    let (ssh, cancel) = (Ssh::new(&network, options), Cancel::new());
    // Once here, so that it is told once, not by each check.
    ssh.connect(&cancel).map_err(failed)?;
    let over = Over { title: format!("host {}", ssh.name()), ssh, cancel, sudo: args.sudo };
    Ok(judge(&Remote::new(over)))
}

fn options(text: &str, args: &SshArgs) -> Result<SshOptions, CliError> {
    let user = surroundings::ssh_user(args.accept_new_host_keys)?;
    let key =
        args.identity.as_deref().map(|path| ssh::key(&path.display().to_string(), None, &user.home)).transpose()?;
    let target = |text: &String| Target::parse(text).map_err(|e| CliError::usage(e.to_string()));
    let jump = args.jump.iter().map(target).collect::<Result<_, CliError>>()?;
    let login = Login { jump, ..Login::at(target(&text.to_owned())?) };
    let mut warnings = Vec::new();
    let options = login.options_with(&user, &mut warnings, |options| {
        if let Some(key) = &key {
            options.auth = vec![Auth::Key { key: key.clone(), certificate: None }];
        }
        if let Some(path) = &args.known_hosts {
            let (files, accept) = (vec![path.clone()], args.accept_new_host_keys);
            options.host_keys = if accept { HostKeys::AcceptNew(files) } else { HostKeys::Known(files) };
        }
    })?;
    // What is left out on purpose needs no warning.
    if args.identity.is_none() {
        warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    }
    Ok(options)
}

fn unreachable(error: &HostError) -> CliError {
    let told = CliError::environment(error.to_string());
    match error {
        HostError::Connect { why: Unreachable::HostKey(HostKeyProblem::Unknown { .. }), .. } => {
            told.with_hint("--known-hosts FILE names its key, or --accept-new-host-keys the first time")
        }
        _ => told,
    }
}

/// A connection, as the checks ask through it.
struct Over {
    title: String,
    ssh: Ssh,
    cancel: Cancel,
    sudo: bool,
}

impl Machine for Over {
    fn title(&self) -> String {
        self.title.clone()
    }

    fn run(&self, script: &str, max: u64) -> Result<Ran, LookError> {
        let failed = |why: String| LookError::Run { command: script.chars().take(80).collect(), why };
        let mut command = Command::program(["/bin/sh", "-c", script]);
        if self.sudo {
            command = command.sudo(Sudo::default());
        }
        let mut stdout = Kept { bytes: Vec::new(), max: usize::try_from(max).unwrap_or(usize::MAX) };
        let mut stderr = Kept { bytes: Vec::new(), max: MAX_COMPLAINT };
        let streams = Streams { stdin: Stdin::Empty, stdout: &mut stdout, stderr: &mut stderr };
        let exit = self.ssh.run(&command, streams, &self.cancel).map_err(|e| failed(e.to_string()))?;
        match exit {
            Exit::Code(code) => {
                Ok(Ran { code: i32::try_from(code).unwrap_or(-1), stdout: stdout.bytes, stderr: stderr.bytes })
            }
            other => Err(failed(other.to_string())),
        }
    }
}

/// The beginning of what is written; the rest is taken and forgotten.
struct Kept {
    bytes: Vec<u8>,
    max: usize,
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let room = self.max.saturating_sub(self.bytes.len()).min(bytes.len());
        self.bytes.extend_from_slice(&bytes[..room]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
