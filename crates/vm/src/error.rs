//! What can go wrong with virtual machines, by what was being tried.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why something could not be done with a virtual machine or what it needs.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// A program that Kiln runs is not on this machine.
    #[error("`{program}` is not installed: {hint}")]
    Missing {
        /// The program.
        program: String,
        /// What to install, or which option names another one.
        hint: String,
    },
    /// A program could not be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// The program.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A program ran and said no.
    #[error("{program} failed ({status}){}", lines_of(.said))]
    Failed {
        /// The program and what it was asked.
        program: String,
        /// How it ended, in words.
        status: String,
        /// The last lines of its standard error.
        said: Vec<String>,
    },
    /// The program is there but too old.
    #[error("{program} is version {found}, and Kiln needs {needed} or newer")]
    TooOld {
        /// The program.
        program: PathBuf,
        /// What `-version` says.
        found: String,
        /// The least version.
        needed: &'static str,
    },
    /// What the program says about itself cannot be read.
    #[error("{program} does not say which version it is: {found:?}")]
    NoVersion {
        /// The program.
        program: PathBuf,
        /// The beginning of what it said.
        found: String,
    },
    /// The accelerator that was asked for does not run a guest.
    #[error("accelerator `{wanted}` cannot be used: {why}")]
    Accelerator {
        /// The accelerator.
        wanted: String,
        /// What the probe found.
        why: String,
    },
    /// No accelerator runs a guest.
    #[error("no accelerator of {program} runs a guest:{}", lines_of(.tried))]
    NoAccelerator {
        /// The qemu that was asked.
        program: PathBuf,
        /// One line for each that was tried.
        tried: Vec<String>,
    },
    /// An option has a value that makes no sense.
    #[error("`{option}`: {why}")]
    Option {
        /// The key, as templates spell it.
        option: String,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// A boot command cannot be typed.
    #[error("boot command, character {offset}: {why}")]
    BootCommand {
        /// Where, in characters from the beginning of the command.
        offset: usize,
        /// What is wrong there.
        why: String,
    },
    /// No firmware was found where distributions put it.
    #[error(
        "no UEFI firmware was found ({looked}): install the package `ovmf`, or set efi_firmware_code and efi_firmware_vars"
    )]
    NoFirmware {
        /// Where it was looked for.
        looked: String,
    },
    /// All ports of a range are taken.
    #[error("no free port for {what} between {first} and {last} on {address}")]
    NoPort {
        /// What it was for.
        what: &'static str,
        /// First port of the range.
        first: u16,
        /// Last port of the range.
        last: u16,
        /// The address it was to be bound to.
        address: String,
    },
    /// A file or directory could not be handled.
    #[error("cannot {intent} {path}: {source}")]
    File {
        /// What was being done: "read", "create".
        intent: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The machine ended while something was expected of it.
    #[error("the virtual machine ended ({status}) while {during}{}", lines_of(.said))]
    Died {
        /// How it ended, in words.
        status: String,
        /// What was going on.
        during: String,
        /// What qemu said last.
        said: Vec<String>,
    },
    /// Something did not happen in time.
    #[error("{what} did not happen within {}{}", seconds(.limit), lines_of(.console))]
    Late {
        /// What was waited for.
        what: String,
        /// For how long.
        limit: Duration,
        /// What the console showed, and what that means.
        console: Vec<String>,
    },
    /// qemu's control socket does not answer as it should.
    #[error("qemu's control socket: {why}")]
    Control {
        /// What happened.
        why: String,
    },
    /// qemu refused a command.
    #[error("qemu refused `{command}`: {why}")]
    Refused {
        /// The command.
        command: String,
        /// What it said.
        why: String,
    },
    /// The screen's server does not answer as it should.
    #[error("the VNC server at {address}: {why}")]
    Screen {
        /// Where it listens.
        address: String,
        /// What happened.
        why: String,
    },
    /// The server for the guest could not be started.
    #[error("cannot serve {what} on {address}: {source}")]
    Serve {
        /// The directory, or the contents.
        what: String,
        /// Where it was to listen.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// A disk image could not be fetched from any of its places.
    #[error("cannot fetch the image:{}", lines_of(.tried))]
    Fetch {
        /// One line for each place.
        tried: Vec<String>,
    },
    /// A file is not the one that was asked for.
    #[error("{path} has {kind}:{found}, and {kind}:{wanted} was asked for")]
    Checksum {
        /// The file.
        path: PathBuf,
        /// The kind of sum.
        kind: &'static str,
        /// What it should have been.
        wanted: String,
        /// What it is.
        found: String,
    },
    /// A CD or floppy image could not be made.
    #[error("cannot make the image `{label}`: {why}")]
    Seed {
        /// The volume's label.
        label: String,
        /// What happened.
        why: String,
    },
}

impl VmError {
    /// Whether qemu found a port taken that it was to forward or to show a screen on. Somebody who knows nothing of
    /// [`crate::ports`] was faster: another port may work.
    pub fn is_taken_port(&self) -> bool {
        let taken =
            |l: &String| l.contains("Could not set up host forwarding rule") || l.contains("Address already in use");
        matches!(self, VmError::Failed { said, .. } if said.iter().any(taken))
    }

    pub(crate) fn file(intent: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> VmError {
        let path = path.into();
        move |source| VmError::File { intent, path, source }
    }

    pub(crate) fn option(option: &str, why: impl Into<String>) -> VmError {
        VmError::Option { option: option.to_owned(), why: why.into() }
    }
}

fn lines_of(lines: &[String]) -> String {
    lines.iter().map(|l| format!("\n    {l}")).collect()
}

fn seconds(time: &Duration) -> String {
    if time.subsec_nanos() == 0 { format!("{} s", time.as_secs()) } else { format!("{:.1} s", time.as_secs_f64()) }
}
