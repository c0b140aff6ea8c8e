//! A machine over SSH, as provisioners command it.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kiln_host::command::Terminal;
use kiln_host::copy::{Links, Put, RemotePath, Source};
use kiln_host::ssh::Tunnel;
use kiln_host::{Command, Exit, Host, HostError, Ssh, Stdin, Streams};
use kiln_sandbox::Cancel;

use super::connect::{Watch, sorted, wait, waiting};
use super::settings::Settings;
use crate::error::{NodeError, Result};
use crate::target::{Communicator, Ended, Output};
use crate::ui::{BuildUi, Stream};

/// How often the user's wish to stop is looked at.
const GLANCE: Duration = Duration::from_millis(25);

/// A machine that answered.
pub struct Machine {
    ssh: Ssh,
    pty: bool,
    cancel: Cancel,
    ui: BuildUi,
    /// How it is seen from outside.
    watch: Box<dyn Watch>,
    /// How often it had begun anew when the connection was made.
    restarts: u64,
    /// How often a login may be denied.
    denials: u32,
    /// The key it had at first.
    first_key: String,
    /// They end with it.
    _tunnels: Vec<Tunnel>,
}

impl Machine {
    /// The machine behind a connection.
    pub fn new(
        ssh: Ssh,
        settings: &Settings,
        tunnels: Vec<Tunnel>,
        watch: Box<dyn Watch>,
        ui: &BuildUi,
        cancel: &Cancel,
    ) -> Machine {
        let first_key = ssh.host_key().map(|key| key.line()).unwrap_or_default();
        let (restarts, denials) = (watch.restarts(), settings.attempts);
        let (ui, cancel) = (ui.clone(), cancel.clone());
        Machine { ssh, pty: settings.pty, cancel, ui, watch, restarts, denials, first_key, _tunnels: tunnels }
    }

    /// The key that the machine proved to have, as a line of known hosts has it. A guest may make itself a new one when
    /// it boots again.
    pub fn host_key(&self) -> String {
        self.ssh.host_key().map_or_else(|| self.first_key.clone(), |key| key.line())
    }

    fn copying<T>(
        &mut self,
        action: impl FnOnce() -> String,
        copy: impl FnOnce(&Ssh, &kiln_host::Cancel) -> Result<T, HostError>,
    ) -> Result<T> {
        let cancel = self.cancel.clone();
        self.connected(&cancel, copy).map_err(|error| failed(action(), error))
    }

    /// Runs `work` on the connection, which ends at once when the machine is seen to begin anew: there is nobody at its
    /// other end any more, and nobody says so.
    fn connected<T>(&mut self, cancel: &Cancel, work: impl FnOnce(&Ssh, &kiln_host::Cancel) -> T) -> T {
        self.drop_dead();
        let (ssh, watch, before) = (&self.ssh, &self.watch, self.restarts);
        let glance = || {
            if watch.restarts() != before {
                ssh.disconnect();
            }
        };
        obeying_and(cancel, glance, |token| work(ssh, token))
    }

    /// Forgets a connection to the machine as it was before it began anew.
    fn drop_dead(&mut self) {
        let restarts = self.watch.restarts();
        if restarts != self.restarts {
            self.ssh.disconnect();
            self.restarts = restarts;
        }
    }
}

/// Runs `work` with a token of the host crate that follows the user's.
pub fn obeying<T>(cancel: &Cancel, work: impl FnOnce(&kiln_host::Cancel) -> T) -> T {
    obeying_and(cancel, || {}, work)
}

/// The same, and calls `glance` from time to time.
fn obeying_and<T>(cancel: &Cancel, glance: impl Fn() + Sync, work: impl FnOnce(&kiln_host::Cancel) -> T) -> T {
    let (token, done) = (kiln_host::Cancel::new(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                if cancel.is_cancelled() {
                    return token.cancel();
                }
                glance();
                std::thread::sleep(GLANCE);
            }
        });
        let result = work(&token);
        done.store(true, Ordering::Relaxed);
        result
    })
}

/// What an error of a connection is here.
pub fn failed(action: String, error: HostError) -> NodeError {
    match error {
        HostError::Cancelled => NodeError::Cancelled,
        HostError::File { what, path, source } => NodeError::File { action: what, path, source },
        error => sorted(&error, action, error.to_string()),
    }
}

/// One stream of a command's output.
struct Half<'a, 'b> {
    stream: Stream,
    output: &'a Mutex<&'b mut Output<'b>>,
}

impl Write for Half<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        (*output)(self.stream, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The number of a signal, for the code that a shell would give.
fn signal(name: &str) -> i32 {
    const NAMES: [(&str, i32); 12] = [
        ("HUP", 1),
        ("INT", 2),
        ("QUIT", 3),
        ("ILL", 4),
        ("ABRT", 6),
        ("FPE", 8),
        ("KILL", 9),
        ("USR1", 10),
        ("SEGV", 11),
        ("USR2", 12),
        ("PIPE", 13),
        ("TERM", 15),
    ];
    NAMES.iter().find(|(n, _)| *n == name).map_or(127, |(_, number)| *number)
}

impl Communicator for Machine {
    fn exec(&mut self, line: &str, output: &mut Output<'_>, cancel: &Cancel) -> Result<Ended> {
        let command = Command::shell(line);
        let command = if self.pty { command.terminal(Terminal::default()) } else { command };
        let mut forward = |stream: Stream, bytes: &[u8]| output(stream, bytes);
        let output: Mutex<&mut Output<'_>> = Mutex::new(&mut forward);
        let mut stdout = Half { stream: Stream::Out, output: &output };
        let mut stderr = Half { stream: Stream::Err, output: &output };
        let streams = Streams { stdin: Stdin::Empty, stdout: &mut stdout, stderr: &mut stderr };
        match self.connected(cancel, |ssh, cancel| ssh.run(&command, streams, cancel)) {
            Ok(Exit::Code(code)) => Ok(Ended::Code(i32::try_from(code).unwrap_or(i32::MAX))),
            Ok(Exit::Signal(name)) => Ok(Ended::Code(128 + signal(&name))),
            // So ends a server that is itself going down.
            Ok(Exit::Unknown) | Err(HostError::Disconnected { .. }) => Ok(Ended::Disconnected),
            Err(error) => Err(failed("running a command".to_owned(), error)),
        }
    }

    fn upload(&mut self, content: &mut (dyn Read + Send), size: u64, mode: u32, path: &str) -> Result<()> {
        let how = Put { mode: Some(mode), ..Put::default() };
        let source = Source { name: "the file to upload", reader: content, length: size };
        self.copying(
            || format!("uploading to {path}"),
            |ssh, cancel| ssh.put(source, &RemotePath::from(path), &how, cancel),
        )
    }

    fn upload_dir(&mut self, dir: &Path, contents: bool, path: &str) -> Result<()> {
        let text = dir.display().to_string();
        let from = format!("{}{}", text.trim_end_matches('/'), if contents { "/" } else { "" });
        let how = Put { links: Links::Follow, ..Put::default() };
        self.copying(
            || format!("uploading {text} to {path}"),
            |ssh, cancel| ssh.put_directory(Path::new(&from), &RemotePath::from(path), &how, cancel),
        )
    }

    fn download(&mut self, path: &str, to: &mut (dyn Write + Send)) -> Result<()> {
        self.copying(|| format!("downloading {path}"), |ssh, cancel| ssh.get(&RemotePath::from(path), to, cancel))
            .map(drop)
    }

    fn download_dir(&mut self, path: &str, to: &Path) -> Result<()> {
        self.copying(
            || format!("downloading {path}"),
            |ssh, cancel| ssh.get_directory(&RemotePath::from(path), to, cancel),
        )
    }

    fn reach(&mut self, patience: Duration, cancel: &Cancel) -> Result<()> {
        self.drop_dead();
        // It is known while there is a connection.
        if self.ssh.host_key().is_some() {
            return Ok(());
        }
        wait(&self.ssh, &waiting(patience, self.denials), &mut *self.watch, &self.ui, cancel)
    }

    fn obey(&mut self, cancel: &Cancel) {
        self.cancel = cancel.clone();
    }
}
