//! Who sends and listens on a host.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use kiln_host::command::Sudo;
use kiln_host::{Cancel, Command, Host, Stdin, Streams};

use super::{Answer, Order, wire};
use crate::facts::within;
use crate::{DoctorError, patience};

/// The line by which a listener says that it listens.
const READY: &str = "listening";
/// How long a host may take with an order beside the time that the order itself has.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// The most that a host may say.
const SAID: usize = 64 << 10;

/// Says that it listens, for a [`Remote`] that reads what this program says.
pub fn say_ready(out: &mut dyn Write) {
    // Who asked sees by the missing line that nobody listens.
    let _ = writeln!(out, "{READY}").and_then(|()| out.flush());
}

/// A host that can be told to send and to listen. It may be told several things at a time.
pub trait Agent: Send + Sync {
    /// Does what it is told; `ready` is called once it listens.
    ///
    /// # Errors
    /// When the host cannot do it, or says nothing that can be understood.
    fn obey(&self, order: &Order, ready: &dyn Fn()) -> Result<Answer, DoctorError>;
}

/// A host of this machine: a root, and a network namespace.
#[derive(Debug, Clone)]
pub struct Here {
    /// How it is called.
    pub name: String,
    /// Its root.
    pub root: PathBuf,
    /// Its namespace; this thread's without.
    pub netns: Option<PathBuf>,
}

impl Agent for Here {
    fn obey(&self, order: &Order, ready: &dyn Fn()) -> Result<Answer, DoctorError> {
        let failed = |why| DoctorError::Probe { host: self.name.clone(), why };
        // `ready` stays in this thread's hands: it is called from the one in the namespace by a message.
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let work = scope.spawn(move || {
                let tell = Mutex::new(tell);
                let ready = || {
                    if let Ok(tell) = tell.lock() {
                        let _ = tell.send(());
                    }
                };
                within(self.netns.as_deref(), || wire::obey(order, &self.root, &ready))
            });
            if told.recv().is_ok() {
                ready();
            }
            work.join().unwrap_or_else(|_| Ok(Err("the work broke".to_owned())))?.map_err(failed)
        })
    }
}

/// A host over SSH, on which this program was placed.
pub struct Remote<'a> {
    /// How it is called.
    pub name: String,
    /// The connection.
    pub host: &'a dyn Host,
    /// Where the program is.
    pub program: String,
    /// How root's rights are had, if one does not log in as root.
    pub sudo: Option<Sudo>,
    /// How long it may take with an order beside the time that the order itself has, as [`PATIENCE`].
    pub patience: Duration,
    /// Stops everything.
    pub cancel: &'a Cancel,
}

impl Agent for Remote<'_> {
    fn obey(&self, order: &Order, ready: &dyn Fn()) -> Result<Answer, DoctorError> {
        let limit = wire::takes(order).saturating_add(self.patience);
        match patience::limited(limit, self.cancel, |cancel| self.answer(order, ready, cancel)) {
            (Err(_), true) => {
                let why = format!("did not answer within {} s", limit.as_secs());
                Err(DoctorError::Probe { host: self.name.clone(), why })
            }
            (answer, _) => answer,
        }
    }
}

impl Remote<'_> {
    fn answer(&self, order: &Order, ready: &dyn Fn(), cancel: &Cancel) -> Result<Answer, DoctorError> {
        let failed = |why: String| DoctorError::Probe { host: self.name.clone(), why };
        let order = serde_json::to_string(order).map_err(|error| failed(error.to_string()))?;
        let mut command = Command::program([self.program.as_str(), "doctor", "probe", &order]);
        if let Some(sudo) = &self.sudo {
            command = command.sudo(sudo.clone());
        }
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let work = scope.spawn(move || {
                let mut said = Said { bytes: Vec::new(), tell: Some(tell) };
                let mut complaints = Said { bytes: Vec::new(), tell: None };
                let streams = Streams { stdin: Stdin::Empty, stdout: &mut said, stderr: &mut complaints };
                let exit = self.host.run(&command, streams, cancel);
                (exit, said.bytes, complaints.bytes)
            });
            if told.recv().is_ok() {
                ready();
            }
            let Ok((exit, said, complaints)) = work.join() else { return Err(failed("the work broke".to_owned())) };
            let exit = exit.map_err(|error| failed(error.to_string()))?;
            if !exit.success() {
                return Err(failed(format!("{exit}: {}", String::from_utf8_lossy(&complaints).trim())));
            }
            let text = String::from_utf8_lossy(&said);
            let last = text.lines().rfind(|line| !line.is_empty()).unwrap_or_default();
            serde_json::from_str(last).map_err(|error| failed(format!("what it says is no answer: {error}")))
        })
    }
}

/// What a host says, as far as there is a limit to it; its first line is told.
struct Said {
    bytes: Vec<u8>,
    tell: Option<std::sync::mpsc::Sender<()>>,
}

impl Write for Said {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + bytes.len() > SAID {
            return Err(std::io::Error::other("it says too much"));
        }
        self.bytes.extend(bytes);
        let line = format!("{READY}\n");
        if self.bytes.starts_with(line.as_bytes())
            && let Some(tell) = self.tell.take()
        {
            let _ = tell.send(());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
