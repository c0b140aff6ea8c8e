//! What the two sides say to each other over the socket that is the first process's standard input.
//!
//! A message is its length (four bytes, little endian) and JSON. The parent sends one [`Order`]; answers are
//! [`Report`]s. The parent closing its half, or dying, means: stop.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::init::seal;
use crate::job::Job;
use crate::rung::{Part, Rung, RungReport};

/// Secrets and standard input travel inside the job; more than this is refused by both sides.
pub const MAX_MESSAGE: usize = 256 << 20;

/// What the first process is to do.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// Run a command.
    Run {
        /// How isolated.
        rung: Rung,
        /// The command.
        job: Box<Job>,
        /// The `cgroup.procs` files to enter first.
        cgroups: Vec<PathBuf>,
    },
    /// Find out which rungs work here, if a directory is given also with the changes of an overlay in it.
    Probe(Option<PathBuf>),
    /// Find out whether overlayfs works with its changes in this directory.
    ProbeOverlay(PathBuf),
}

impl Order {
    /// The second argument of the first process: commands in namespaces could reach it through `/proc`, so it seals
    /// itself before anything else.
    pub fn stage(&self) -> &'static str {
        match self {
            Order::Run { rung: Rung::Root | Rung::Userns | Rung::Userns1, .. } => seal::PLAIN,
            _ => seal::SEALED,
        }
    }
}

/// What the first process says.
#[derive(Debug, Serialize, Deserialize)]
pub enum Report {
    /// The command ended with this code.
    Code(i32),
    /// The command was killed by this signal.
    Signal(i32),
    /// Preparing failed.
    Failed(Fault),
    /// The rung lacks something the job asks for.
    Lacks(String),
    /// The command ran; removing what was set up for it failed.
    CleanUpFailed(Fault),
    /// Answer to the probes.
    Rungs(Vec<RungReport>),
}

/// A failed step of the child side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What was tried, naming the path.
    pub step: String,
    /// Why it failed.
    pub cause: String,
    /// The system call that failed, where that says more than the step.
    pub call: Option<String>,
    /// The number of the error, where there is one behind it.
    pub errno: Option<i32>,
    /// Of a probe: what the rung was found to lack.
    pub part: Option<Part>,
}

impl Fault {
    /// A fault without an errno behind it.
    pub fn new(step: impl Into<String>, cause: impl Into<String>) -> Fault {
        Fault { step: step.into(), cause: cause.into(), call: None, errno: None, part: None }
    }

    /// The fault of a probe for this part.
    pub fn of_part(self, part: Part) -> Fault {
        Fault { part: Some(part), ..self }
    }

    /// A system call that failed, with what more is known about it.
    pub fn of(call: &str, step: impl Into<String>, errno: Errno, words: &str) -> Fault {
        let cause = format!("{}{words}", io::Error::from(errno));
        Fault { step: step.into(), cause, call: Some(call.to_owned()), errno: Some(errno.raw_os_error()), part: None }
    }
}

/// Names the step a system call was part of.
pub trait Step<T> {
    /// The error, if any, as a [`Fault`] of the named step.
    fn step(self, step: impl FnOnce() -> String) -> Result<T, Fault>;

    /// The same for a probe, which says which call it was.
    fn call(self, call: &str, step: &str) -> Result<T, Fault>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: impl FnOnce() -> String) -> Result<T, Fault> {
        self.map_err(|error| {
            let error: io::Error = error.into();
            Fault { step: step(), cause: error.to_string(), call: None, errno: error.raw_os_error(), part: None }
        })
    }

    fn call(self, call: &str, step: &str) -> Result<T, Fault> {
        self.step(|| step.to_owned()).map_err(|fault| Fault { call: Some(call.to_owned()), ..fault })
    }
}

/// Writes one message with a single call, so that two writers cannot mix theirs.
pub fn send(mut to: impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - 4;
    if length > MAX_MESSAGE {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the command, its input and its secrets exceed 256 MiB",
        ));
    }
    bytes[..4].copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    to.write_all(&bytes)
}

/// Reads one message; `None` when the other side has closed without a word.
pub fn receive<T: DeserializeOwned>(mut from: impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_MESSAGE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "message too long"));
    }
    let mut bytes = Vec::new();
    from.take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() < length {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&bytes)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{OsBytes, Root};

    #[test]
    fn a_job_with_bytes_that_are_no_text_arrives_as_it_was() {
        let mut job = Job::new(Root::Dir("/r\u{e9}".into()), vec![OsBytes(vec![b'a', 0xff, 0x00])]);
        job.stdin = Some("in".into());
        let mut wire = Vec::new();
        send(&mut wire, &Order::Run { rung: Rung::Root, job: Box::new(job.clone()), cgroups: Vec::new() }).unwrap();
        let Some(Order::Run { job: back, .. }) = receive(wire.as_slice()).unwrap() else { panic!("no order") };
        assert_eq!(format!("{back:?}"), format!("{job:?}"));
    }

    #[test]
    fn a_message_cut_short_is_none_and_a_huge_one_is_refused() {
        let mut wire = Vec::new();
        send(&mut wire, &Report::Code(3)).unwrap();
        wire.pop();
        assert!(receive::<Report>(wire.as_slice()).unwrap().is_none());
        assert!(receive::<Report>([0xff; 8].as_slice()).is_err());
    }
}
