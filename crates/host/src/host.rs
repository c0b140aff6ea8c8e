//! The one interface to a machine.

use std::io::{Read, Write};
use std::path::Path;

use crate::copy::{Put, RemotePath, Source};
use crate::{Cancel, Command, Exit, HostError, Output, Streams};

/// How much of a command's output [`Host::output`] keeps of each stream.
pub const OUTPUT_LIMIT: usize = 16 << 20;

/// A machine. Implementations may be used by many threads at once.
pub trait Host: Send + Sync {
    /// How it is called in messages: `root@10.0.0.3:22`.
    fn name(&self) -> &str;

    /// Runs a command to its end; its output goes to `streams` as it comes.
    ///
    /// # Errors
    /// When it cannot be started, when the connection ends before it does ([`HostError::Disconnected`]), when a stream
    /// refuses, or once `cancel` is set: then the command was killed. That it ended badly is not an error but an
    /// [`Exit`].
    fn run(&self, command: &Command, streams: Streams<'_>, cancel: &Cancel) -> Result<Exit, HostError>;

    /// Writes what `source` has to a file of that machine.
    ///
    /// # Errors
    /// When the source cannot be read or has another length than it says, or the machine refuses: its disk may be full.
    fn put(&self, source: Source<'_>, to: &RemotePath, how: &Put, cancel: &Cancel) -> Result<(), HostError>;

    /// Reads a file of that machine; returns its permission bits.
    ///
    /// # Errors
    /// When there is no such file, or `into` refuses.
    fn get(&self, from: &RemotePath, into: &mut (dyn Write + Send), cancel: &Cancel) -> Result<u32, HostError>;

    /// Writes a directory with everything in it. As with rsync, `from` with a slash at its end is the contents, which go
    /// into `to`; without one it is the directory itself, which becomes `to/NAME`.
    ///
    /// # Errors
    /// As [`Host::put`], and when there is something else in it than files, directories and links.
    fn put_directory(&self, from: &Path, to: &RemotePath, how: &Put, cancel: &Cancel) -> Result<(), HostError>;

    /// Reads a directory with everything in it; the slash at the end of `from` means what it does for
    /// [`Host::put_directory`]. Links are made as links, and never followed.
    ///
    /// # Errors
    /// As [`Host::get`], and when there is more than a machine may make Kiln write.
    fn get_directory(&self, from: &RemotePath, to: &Path, cancel: &Cancel) -> Result<(), HostError>;

    /// Runs a command and keeps its output, of which there may be [`OUTPUT_LIMIT`].
    ///
    /// # Errors
    /// As [`Host::run`], and when there is more output.
    fn output(&self, command: &Command, cancel: &Cancel) -> Result<Output, HostError> {
        let mut stdout = Kept::default();
        let mut stderr = Kept::default();
        let streams = Streams { stdin: crate::Stdin::Empty, stdout: &mut stdout, stderr: &mut stderr };
        let exit = self.run(command, streams, cancel);
        if stdout.full || stderr.full {
            let (what, limit) = ("the output of a command", OUTPUT_LIMIT as u64);
            return Err(HostError::Limit { host: self.name().to_owned(), what, limit });
        }
        Ok(Output { exit: exit?, stdout: stdout.bytes, stderr: stderr.bytes })
    }

    /// As [`Host::output`], for a command that has to succeed; `what` says in the error what it was for.
    ///
    /// # Errors
    /// Also when it ends with another status than 0.
    fn succeed(&self, what: &str, command: &Command, cancel: &Cancel) -> Result<Vec<u8>, HostError> {
        let output = self.output(command, cancel)?;
        if output.exit.success() {
            return Ok(output.stdout);
        }
        let from = output.stderr.len().saturating_sub(300);
        Err(HostError::Failed {
            host: self.name().to_owned(),
            what: what.to_owned(),
            exit: output.exit,
            stderr: crate::error::printable(output.stderr.get(from..).unwrap_or_default()),
        })
    }

    /// Writes bytes to a file of that machine.
    ///
    /// # Errors
    /// As [`Host::put`].
    fn put_bytes(&self, bytes: &[u8], to: &RemotePath, how: &Put, cancel: &Cancel) -> Result<(), HostError> {
        let mut reader = bytes;
        let source =
            Source { name: "bytes", reader: &mut reader as &mut (dyn Read + Send), length: bytes.len() as u64 };
        self.put(source, to, how, cancel)
    }
}

#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    full: bool,
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + bytes.len() > OUTPUT_LIMIT {
            self.full = true;
            return Err(std::io::Error::other("too much output"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
