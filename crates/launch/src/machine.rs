//! Commands on a host: as root, with a limit of time, and with their last words kept for who is told of a failure.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kiln_host::command::{Sudo, quote};
use kiln_host::{Cancel, Command, Exit, Host, HostError, Stdin, Streams};

use crate::error::{LaunchError, Result};

/// Lines that are kept of what a failing command said.
const TAIL: usize = 20;
/// Bytes of a line that are kept.
const LINE: usize = 400;
/// Bytes of an answer.
const ANSWER: usize = 16 << 20;
/// How long a command may take that does nothing big.
pub const SHORT: Duration = Duration::from_secs(60);
/// How often a waiting command looks whether it was stopped.
const POLL: Duration = Duration::from_millis(100);

/// A host that is commanded as root.
#[derive(Clone)]
pub struct Machine {
    name: String,
    host: Arc<dyn Host>,
    sudo: Option<Sudo>,
    cancel: Cancel,
}

/// How a command ended, and what it wrote.
#[derive(Debug, Clone)]
pub struct Said {
    /// How it ended.
    pub exit: Exit,
    /// What it wrote.
    pub stdout: Vec<u8>,
    /// The last lines of everything.
    pub tail: Vec<String>,
}

impl Said {
    /// What it wrote, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

impl Machine {
    /// A host. `name` is what it is called in messages; `sudo` is for who does not log in as root.
    pub fn new(name: impl Into<String>, host: Arc<dyn Host>, sudo: Option<Sudo>, cancel: Cancel) -> Machine {
        Machine { name: name.into(), host, sudo, cancel }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it is reached.
    pub fn host(&self) -> &dyn Host {
        &*self.host
    }

    /// How root's rights are had there, if one does not log in as root.
    pub fn sudo(&self) -> Option<&Sudo> {
        self.sudo.as_ref()
    }

    /// Whether the user wants to stop.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_set()
    }

    /// Runs a line of shell to its end, whatever that is.
    ///
    /// # Errors
    /// When it cannot be run, or does not end in time.
    pub fn run(&self, what: &str, line: &str, stdin: Stdin, limit: Duration) -> Result<Said> {
        let mut command = Command::shell(line);
        if let Some(sudo) = &self.sudo {
            command = command.sudo(sudo.clone());
        }
        let own = Cancel::new();
        let (late, watch) = (AtomicBool::new(false), Watch::default());
        let tail = Tail::default();
        let mut stdout = Tee { kept: Vec::new(), full: false, tail: tail.clone() };
        let mut stderr = tail.clone();
        let outcome = std::thread::scope(|scope| {
            scope.spawn(|| {
                let end = Instant::now() + limit;
                while !watch.wait(POLL) {
                    if self.cancel.is_set() || Instant::now() > end {
                        late.store(!self.cancel.is_set(), Ordering::Release);
                        own.cancel();
                        return;
                    }
                }
            });
            let streams = Streams { stdin, stdout: &mut stdout, stderr: &mut stderr };
            let outcome = self.host.run(&command, streams, &own);
            watch.end();
            outcome
        });
        if stdout.full {
            let why = format!("more than {} MiB", ANSWER >> 20);
            return Err(LaunchError::Answer { host: self.name.clone(), what: what.to_owned(), why });
        }
        match outcome {
            Ok(exit) => Ok(Said { exit, stdout: stdout.kept, tail: tail.lines() }),
            Err(_) if late.load(Ordering::Acquire) => Err(LaunchError::TimedOut {
                host: self.name.clone(),
                what: what.to_owned(),
                after: limit,
                tail: tail.lines(),
                causes: Vec::new(),
            }),
            Err(HostError::Cancelled) => Err(LaunchError::Cancelled),
            Err(source) => Err(LaunchError::Host { host: self.name.clone(), source: Box::new(source) }),
        }
    }

    /// Runs a line for as long as it is fed, without a limit of time; what it writes goes to `out` as it comes. `stop`
    /// ends it at once.
    ///
    /// # Errors
    /// When it cannot be run, or ends badly.
    pub fn talk(
        &self,
        what: &str,
        line: &str,
        stdin: Stdin,
        out: &mut (dyn Write + Send),
        stop: &Cancel,
    ) -> Result<()> {
        let mut command = Command::shell(line);
        if let Some(sudo) = &self.sudo {
            command = command.sudo(sudo.clone());
        }
        let tail = Tail::default();
        let mut stderr = tail.clone();
        let outcome = self.host.run(&command, Streams { stdin, stdout: out, stderr: &mut stderr }, stop);
        let host = self.name.clone();
        match outcome {
            Ok(exit) if exit.success() => Ok(()),
            Ok(exit) => {
                let what = what.to_owned();
                Err(LaunchError::Command { host, what, exit, tail: tail.lines(), causes: Vec::new() })
            }
            Err(HostError::Cancelled) => Err(LaunchError::Cancelled),
            Err(source) => Err(LaunchError::Host { host, source: Box::new(source) }),
        }
    }

    /// Runs a line that has to succeed; `what` says behind "cannot" what it is for.
    ///
    /// # Errors
    /// Also when it ends with another status than 0.
    pub fn succeed_with(&self, what: &str, line: &str, stdin: Stdin, limit: Duration) -> Result<Said> {
        let said = self.run(what, line, stdin, limit)?;
        if said.exit.success() {
            return Ok(said);
        }
        Err(LaunchError::Command {
            host: self.name.clone(),
            what: what.to_owned(),
            exit: said.exit,
            tail: said.tail,
            causes: Vec::new(),
        })
    }

    /// As [`Machine::succeed_with`], for what reads nothing and is soon done.
    ///
    /// # Errors
    /// The same.
    pub fn succeed(&self, what: &str, line: &str) -> Result<Said> {
        self.succeed_with(what, line, Stdin::Empty, SHORT)
    }

    /// Writes a file: whole or not at all, with the mode from its first byte on. What is in it is on no command line.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) -> Result<()> {
        self.stream(path, mode, Stdin::Bytes(bytes.into()), SHORT)
    }

    /// As [`Machine::write`], from a stream.
    ///
    /// # Errors
    /// The same.
    pub fn stream(&self, path: &str, mode: u32, from: Stdin, limit: Duration) -> Result<()> {
        let (to, draft) = (quote(path), quote(&format!("{path}.kiln-new")));
        let line = format!(
            "umask 077; mkdir -p \"$(dirname {to})\" && rm -f {draft} && cat > {draft} && chmod {mode:o} {draft} && sync {draft} && mv -f {draft} {to}"
        );
        self.succeed_with(&format!("write {path}"), &line, from, limit).map(drop)
    }

    /// An answer that makes no sense.
    pub fn nonsense(&self, what: &str, why: impl Into<String>) -> LaunchError {
        LaunchError::Answer { host: self.name.clone(), what: what.to_owned(), why: why.into() }
    }
}

/// Ends a thread that watches.
#[derive(Default)]
struct Watch(Mutex<bool>, Condvar);

impl Watch {
    /// Waits; returns whether it is over.
    fn wait(&self, time: Duration) -> bool {
        let ended = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *ended {
            return true;
        }
        *self.1.wait_timeout(ended, time).unwrap_or_else(PoisonError::into_inner).0
    }

    fn end(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.1.notify_all();
    }
}

/// The last lines of a stream, made safe to show.
#[derive(Debug, Clone, Default)]
struct Tail(Arc<Mutex<(VecDeque<String>, Vec<u8>)>>);

impl Tail {
    fn lines(&self) -> Vec<String> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (lines, open) = &mut *slot;
        if !open.is_empty() {
            push(lines, open);
            open.clear();
        }
        lines.iter().cloned().collect()
    }
}

fn push(lines: &mut VecDeque<String>, bytes: &[u8]) {
    let text = printable(&String::from_utf8_lossy(bytes));
    if text.trim().is_empty() {
        return;
    }
    if lines.len() == TAIL {
        lines.pop_front();
    }
    lines.push_back(text.trim_end().to_owned());
}

/// A text without what a terminal would obey.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c == '\t' {
                ' '
            } else if c.is_control() {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

impl Write for Tail {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (lines, open) = &mut *slot;
        for &byte in bytes {
            if byte == b'\n' {
                push(lines, open);
                open.clear();
            } else if open.len() < LINE && byte != b'\r' {
                open.push(byte);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Keeps everything, and the last lines.
struct Tee {
    kept: Vec<u8>,
    full: bool,
    tail: Tail,
}

impl Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.kept.len() + bytes.len() > ANSWER {
            self.full = true;
            return Err(std::io::Error::other("too much output"));
        }
        self.kept.extend_from_slice(bytes);
        self.tail.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_host::Recording;
    use kiln_host::recording::Answer;

    #[test]
    fn a_failure_has_its_last_lines_and_no_control_characters() {
        let host = Arc::new(Recording::new("h"));
        let mut answer = Answer::failure(3, "a\x1b[31mb\nlast");
        answer.stdout = (0..50).map(|n| format!("line {n}\n")).collect::<String>().into_bytes();
        host.answer("boom", answer);
        let machine = Machine::new("10.0.0.1", host, None, Cancel::new());
        let error = machine.succeed("go", "boom").unwrap_err();
        assert_eq!(error.to_string(), "10.0.0.1: cannot go: exit status 3");
        let details = error.details();
        assert_eq!(details.len(), TAIL);
        assert_eq!(details[TAIL - 2..], ["  | a\u{fffd}[31mb", "  | last"]);
    }

    #[test]
    fn what_is_written_is_on_no_command_line() {
        let host = Arc::new(Recording::new("h"));
        let machine = Machine::new("h", host.clone(), None, Cancel::new());
        machine.write("/etc/kubernetes/x y", 0o600, "token: s3cret").unwrap();
        let ran = host.ran();
        assert!(!ran[0].line.contains("s3cret") && ran[0].line.contains("chmod 600"), "{}", ran[0].line);
        assert_eq!(ran[0].stdin, b"token: s3cret");
    }
}
