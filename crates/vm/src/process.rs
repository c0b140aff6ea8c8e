//! A running machine: started, watched, shut down, never left behind.

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tempfile::TempDir;

use crate::accel::escape;
use crate::console::{Console, Heard, Sight};
use crate::guard::{Ended, Guarded};
use crate::qmp::Qmp;
use crate::{Qemu, VmError};

/// For qemu to connect to its sockets; it does so before it starts the guest.
const CONNECT: Duration = Duration::from_secs(60);
/// Between two looks at whether the machine can still say something.
const SLICE: Duration = Duration::from_millis(500);
/// The longest path of a socket.
const LONGEST_SOCKET: usize = 107;

/// How a machine was brought to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// The guest powered itself off.
    Clean,
    /// It did not in time, and was killed: what it had not yet written is lost.
    Killed,
}

/// A running machine. Dropping it kills it.
#[derive(Debug)]
pub struct Vm {
    qmp: Qmp,
    console: Option<Console>,
    program: PathBuf,
    guard: Running,
    /// Sockets.
    _dir: TempDir,
}

struct Running(Guarded);

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("ended", &self.0.ended()).finish()
    }
}

impl std::fmt::Debug for Guarded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guarded").field("ended", &self.ended()).finish()
    }
}

impl Vm {
    /// Starts qemu with these arguments, to which a control socket is added, and a serial console unless they have a
    /// `-serial` of their own.
    ///
    /// # Errors
    /// qemu does not start, or ends at once; then the error holds its last words.
    pub fn start(qemu: &Qemu, args: &[String]) -> Result<Vm, VmError> {
        let dir = private_dir(&qemu.temporary)?;
        let mut args = args.to_vec();
        let control = socket(dir.path(), "qmp")?;
        args.extend(["-chardev".to_owned(), format!("socket,id=kiln-qmp,path={}", escape(&control.1))]);
        args.extend(["-mon".to_owned(), "chardev=kiln-qmp,mode=control".to_owned()]);
        let serial = match args.iter().any(|a| a == "-serial" || a == "--serial") {
            true => None,
            false => Some(socket(dir.path(), "serial")?),
        };
        if let Some((_, path)) = &serial {
            args.extend(["-chardev".to_owned(), format!("socket,id=kiln-serial,path={}", escape(path))]);
            args.extend(["-serial".to_owned(), "chardev:kiln-serial".to_owned()]);
        }
        let guard = Guarded::spawn(&qemu.program, &args)?;
        let connected = |listener: &UnixListener| match accept(listener, &guard, CONNECT)? {
            Some(stream) => Ok(stream),
            None => Err(early(&qemu.program, &guard)),
        };
        let control = connected(&control.0)?;
        let console = match &serial {
            Some((listener, path)) => {
                Some(Console::over(connected(listener)?).map_err(VmError::file("read", path.as_path()))?)
            }
            None => None,
        };
        let qmp = Qmp::over(control)
            .map_err(|e| if guard.wait(Duration::from_secs(2)).is_some() { early(&qemu.program, &guard) } else { e })?;
        let program = qemu.program.clone();
        Ok(Vm { qmp, console, program, guard: Running(guard), _dir: dir })
    }

    /// The control socket.
    pub fn qmp(&self) -> &Qmp {
        &self.qmp
    }

    /// The serial console, unless the arguments had a `-serial` of their own.
    pub fn console(&self) -> Option<&Console> {
        self.console.as_ref()
    }

    /// How the machine ended, if it has.
    pub fn ended(&self) -> Option<Ended> {
        self.guard.0.ended()
    }

    /// Waits for its end; none if it still runs after that time.
    pub fn wait(&self, limit: Duration) -> Option<Ended> {
        self.guard.0.wait(limit)
    }

    /// qemu's last lines on standard error.
    pub fn said(&self) -> Vec<String> {
        self.guard.0.said()
    }

    /// An error if the machine has ended; for whoever waits for something else, such as an SSH server.
    ///
    /// # Errors
    /// It has ended; the error says how, what qemu and the console said last, and that `during` was going on.
    pub fn check(&self, during: &str) -> Result<(), VmError> {
        match self.ended() {
            None => self.broken(during).map_or(Ok(()), Err),
            Some(ended) => Err(self.died(ended, during)),
        }
    }

    /// The error of a machine that still runs, but whose accelerator has given up on its guest.
    fn broken(&self, during: &str) -> Option<VmError> {
        let said = self.said();
        said.iter().any(|l| l.contains("internal error")).then(|| VmError::Died {
            status: "its accelerator cannot go on: set `accelerator` to tcg".to_owned(),
            during: during.to_owned(),
            said,
        })
    }

    /// Waits until the console shows one of the texts, and returns its index and the position behind it.
    ///
    /// # Errors
    /// The machine ends, its kernel panics, or it does not come in time: then the error holds what the console showed.
    pub fn wait_for(&self, texts: &[&str], from: u64, limit: Duration) -> Result<(usize, u64), VmError> {
        const PANIC: &str = "Kernel panic";
        let what = format!("{} on the serial console", quoted(texts));
        let console = self.console.as_ref().ok_or_else(|| VmError::Control {
            why: format!("there is no console to wait for {what}: the arguments have a `-serial` of their own"),
        })?;
        let mut all = texts.to_vec();
        all.push(PANIC);
        let until = Instant::now() + limit;
        let heard = loop {
            // In slices: an accelerator that gives up leaves a machine that stands still and says nothing.
            let left = until.saturating_duration_since(Instant::now());
            match console.wait_for(&all, from, left.min(SLICE)) {
                Heard::Late if left > SLICE => self.broken(&format!("Kiln waited for {what}")).map_or(Ok(()), Err)?,
                heard => break heard,
            }
        };
        match heard {
            Heard::Text { index, after } if index < texts.len() => Ok((index, after)),
            Heard::Text { .. } => {
                // The line with the reason ends after the words.
                let after = console.position();
                console.wait_for(&["\n"], after.saturating_sub(1), Duration::from_millis(500));
                Err(VmError::Died {
                    status: "its kernel panicked".to_owned(),
                    during: format!("Kiln waited for {what}"),
                    said: console.diagnosis(),
                })
            }
            Heard::Late => Err(VmError::Late { what, limit, console: console.diagnosis() }),
            Heard::Closed => {
                let ended = self.wait(Duration::from_secs(5));
                let during = format!("Kiln waited for {what}");
                Err(ended.map_or_else(
                    || VmError::Late { what, limit, console: console.diagnosis() },
                    |ended| self.died(ended, &during),
                ))
            }
        }
    }

    fn died(&self, ended: Ended, during: &str) -> VmError {
        let mut said = self.said();
        said.extend(self.console.iter().flat_map(Console::diagnosis));
        VmError::Died { status: ended.to_string(), during: during.to_owned(), said }
    }

    /// What is known of a guest that does not do what is waited for: for errors of callers who wait for SSH.
    pub fn diagnosis(&self) -> Vec<String> {
        let mut lines = self.console.as_ref().map(Console::diagnosis).unwrap_or_default();
        if let Ok(status) = self.qmp.status()
            && status != "running"
        {
            lines.insert(0, format!("qemu says that the machine is `{status}`"));
        }
        lines.extend(self.said().into_iter().filter(|l| !l.is_empty()).map(|l| format!("qemu: {l}")));
        lines
    }

    /// Whether the console has shown this.
    pub fn saw(&self, sight: Sight) -> bool {
        self.console.as_ref().is_some_and(|c| c.sights().iter().any(|(s, _)| *s == sight))
    }

    /// Waits for a guest that was told to shut down (by a command in it, or by [`Qmp::powerdown`]), then kills it.
    pub fn finish(&self, limit: Duration) -> Shutdown {
        match self.wait(limit) {
            Some(_) => Shutdown::Clean,
            None => {
                self.kill();
                Shutdown::Killed
            }
        }
    }

    /// Presses the power button and waits for the end; a guest that does not heed it in time is killed.
    ///
    /// # Errors
    /// qemu does not take the command.
    pub fn shutdown(&self, limit: Duration) -> Result<Shutdown, VmError> {
        let until = Instant::now() + limit;
        match self.qmp.powerdown() {
            Ok(()) => {}
            // It may have ended by itself in this moment.
            Err(VmError::Control { .. }) if self.wait(Duration::from_secs(5)).is_some() => return Ok(Shutdown::Clean),
            Err(e) => return Err(e),
        }
        Ok(self.finish(until.saturating_duration_since(Instant::now())))
    }

    /// Ends it at once: by qemu's own command, so that its files are closed, and by force if that does not help.
    pub fn kill(&self) {
        if self.ended().is_none() && self.qmp.quit().is_ok() && self.wait(Duration::from_secs(5)).is_some() {
            return;
        }
        self.guard.0.kill();
        let _ = self.wait(Duration::from_secs(10));
    }

    /// The program that runs it.
    pub fn program(&self) -> &Path {
        &self.program
    }
}

fn early(program: &Path, guard: &Guarded) -> VmError {
    let status = guard.wait(Duration::from_secs(2)).map_or("it does not connect".to_owned(), |e| e.to_string());
    VmError::Failed { program: program.display().to_string(), status, said: guard.said() }
}

fn quoted(texts: &[&str]) -> String {
    texts.iter().map(|t| format!("`{}`", t.escape_debug())).collect::<Vec<_>>().join(" or ")
}

/// A directory that only this user can look into.
pub(crate) fn private_dir(below: &Path) -> Result<TempDir, VmError> {
    let made = tempfile::Builder::new().prefix("kiln-vm-").tempdir_in(below);
    made.map_err(VmError::file("create a directory below", below))
}

fn socket(dir: &Path, name: &str) -> Result<(UnixListener, PathBuf), VmError> {
    let path = dir.join(name);
    if path.as_os_str().len() > LONGEST_SOCKET {
        let why = format!("{} is too long for a socket: choose a shorter directory", path.display());
        return Err(VmError::option("temporary directory", why));
    }
    let listener = UnixListener::bind(&path).map_err(VmError::file("listen on", &path))?;
    Ok((listener, path))
}

/// The connection that the child makes, or none if it ends or takes too long.
pub(crate) fn accept(listener: &UnixListener, child: &Guarded, limit: Duration) -> Result<Option<UnixStream>, VmError> {
    let until = Instant::now() + limit;
    let unusable = |why: String| VmError::Control { why };
    while Instant::now() < until {
        let mut waiting = [PollFd::new(listener, PollFlags::IN)];
        let slice = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        match poll(&mut waiting, Some(&slice)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {
                if child.ended().is_some() {
                    return Ok(None);
                }
            }
            Ok(_) => return listener.accept().map(|(s, _)| Some(s)).map_err(|e| unusable(e.to_string())),
            Err(e) => return Err(unusable(e.to_string())),
        }
    }
    Ok(None)
}
