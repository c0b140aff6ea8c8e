//! What can go wrong with a machine.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::ssh::wait::Unreachable;

/// Everything that was intended and failed. Texts from the other side are made printable before they get here.
#[derive(Debug, Error)]
pub enum HostError {
    /// The caller set its [`Cancel`](crate::Cancel).
    #[error("cancelled")]
    Cancelled,
    /// No threads for the network.
    #[error("cannot start the threads of the network: {source}")]
    Threads {
        /// What the system said.
        source: io::Error,
    },
    /// A connection could not be made.
    #[error("cannot connect to {host}: {why}")]
    Connect {
        /// `user@host:port`.
        host: String,
        /// The reason, which says whether to try again.
        why: Unreachable,
    },
    /// [`Ssh::wait`](crate::Ssh::wait) gave up.
    #[error("{host} cannot be reached after {}: {why}", seconds(*.waited))]
    WaitReachable {
        /// `user@host:port`.
        host: String,
        /// How long it was tried.
        waited: Duration,
        /// Why the last attempt failed.
        why: Unreachable,
    },
    /// An established connection ended.
    #[error("the connection to {host} ended{}", detail(.why))]
    Disconnected {
        /// `user@host:port`.
        host: String,
        /// What the server or the network said, if anything.
        why: String,
    },
    /// A command could not be started.
    #[error("cannot run a command on {host}: {why}")]
    Start {
        /// The machine.
        host: String,
        /// What refused it.
        why: String,
    },
    /// The caller's stream for the command's output refused bytes, or its input could not be read.
    #[error("cannot pass on the {stream} of a command on {host}: {source}")]
    Stream {
        /// The machine.
        host: String,
        /// `stdin`, `stdout` or `stderr`.
        stream: &'static str,
        /// What the stream said.
        source: io::Error,
    },
    /// A command that Kiln itself needed did not succeed.
    #[error("`{what}` failed on {host}: {exit}{}", detail(.stderr))]
    Failed {
        /// The machine.
        host: String,
        /// What it was for.
        what: String,
        /// How it ended.
        exit: crate::Exit,
        /// The end of what it complained.
        stderr: String,
    },
    /// A file of this machine.
    #[error("cannot {what} {}: {source}", .path.display())]
    File {
        /// `read`, `write`, …
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of the other machine.
    #[error("cannot {what} {path} on {host}: {why}")]
    Remote {
        /// `write`, `make directory`, …
        what: &'static str,
        /// Where, made printable.
        path: String,
        /// The machine.
        host: String,
        /// What it said.
        why: String,
    },
    /// The copy is not what was sent.
    #[error("{path} on {host} has {found} bytes after a copy of {expected}")]
    Length {
        /// Where.
        path: String,
        /// The machine.
        host: String,
        /// Bytes sent.
        expected: u64,
        /// Bytes there.
        found: u64,
    },
    /// The other side does not speak the protocol.
    #[error("{host} answers what {protocol} does not allow: {what}")]
    Protocol {
        /// The machine.
        host: String,
        /// `sftp`, `scp`, …
        protocol: &'static str,
        /// What was wrong.
        what: String,
    },
    /// More than a peer may make Kiln hold.
    #[error("{host}: {what} exceeds the limit of {limit}")]
    Limit {
        /// The machine.
        host: String,
        /// What there is too much of.
        what: &'static str,
        /// How much may be.
        limit: u64,
    },
    /// A private key or certificate.
    #[error("cannot use the key {name}: {why}")]
    Key {
        /// Its path, or what it is for.
        name: String,
        /// Why not.
        why: String,
    },
    /// A line of a file of known hosts or of ssh_config.
    #[error("{}:{line}: {why}", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// Something that was asked for and that there is not.
    #[error("{what} is not possible: {why}")]
    Unsupported {
        /// What.
        what: String,
        /// Why not.
        why: String,
    },
    /// A tunnel.
    #[error("cannot forward {what}: {why}")]
    Forward {
        /// Both ends.
        what: String,
        /// What refused it.
        why: String,
    },
}

fn detail(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// At most this much of what the other side says is shown.
const SHOWN: usize = 400;

/// Text from the other side, fit for a terminal: no control characters, no more than a few lines.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes.get(..SHOWN).unwrap_or(bytes));
    let mut shown = String::with_capacity(text.len());
    for c in text.trim_end().chars() {
        match c {
            '\n' => shown.push_str("\\n"),
            '\r' => {}
            c if c.is_control() || is_direction(c) => shown.push_str(&c.escape_default().to_string()),
            c => shown.push(c),
        }
    }
    if bytes.len() > SHOWN {
        shown.push('…');
    }
    shown
}

/// Characters that reorder what a terminal shows.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}
