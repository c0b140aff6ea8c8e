//! The parent side: starts the first process, hands it the job, streams the output, stops it when asked.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::cancel::Cancel;
use crate::cgroup::Cgroup;
use crate::error::SandboxError;
use crate::init::INIT_ARGUMENT;
use crate::job::Job;
use crate::rung::Rung;
use crate::wire::{self, Order, Report};

/// How to start a copy of this program for the child side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Init {
    /// A program whose `main` begins with [`init_main_if_called`](crate::init_main_if_called).
    pub program: PathBuf,
}

impl Default for Init {
    /// This very program.
    fn default() -> Init {
        Init { program: PathBuf::from("/proc/self/exe") }
    }
}

/// Where a piece of output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this code; 127 when it was not found and 126 when it could not be executed, as in a shell.
    Code(i32),
    /// Killed by this signal.
    Signal(i32),
    /// Killed, or failed after a process of its own was killed, because the memory limit was reached.
    OomKilled,
}

impl Exit {
    /// Whether the command succeeded.
    #[must_use]
    pub fn success(self) -> bool {
        self == Exit::Code(0)
    }
}

/// How long a stopped sandbox may take to kill its processes and clean up before it is killed itself.
const STOP_GRACE: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };

/// Runs the job on the rung, passing what it prints to `out` as it comes.
///
/// Returns when the command and every process it started are gone and what was set up for them is removed.
///
/// # Errors
/// When the command could not be run as asked, when the root could not be cleaned afterwards, or when `cancel` stopped
/// it. How the command itself ended is an [`Exit`], also when it was not found.
pub fn run(
    job: &Job,
    rung: Rung,
    init: &Init,
    out: &mut dyn FnMut(Stream, &[u8]),
    cancel: &Cancel,
) -> Result<Exit, SandboxError> {
    if rung == Rung::None {
        return Err(SandboxError::Unsupported { rung, what: "a place to run commands in".to_owned() });
    }
    if cancel.is_cancelled() {
        return Err(SandboxError::Cancelled);
    }
    let cgroup = Cgroup::create(&job.limits)?;
    let order = Order::Run { rung, job: Box::new(job.clone()), cgroups: cgroup.entrances() };
    let mut first = FirstProcess::start(init, &order)?;
    let result = first.converse(&order, out, Some(cancel));
    let exit = match result? {
        Report::Code(code) => Exit::Code(code),
        Report::Signal(signal) => Exit::Signal(signal),
        other => return Err(refusal(rung, other)),
    };
    Ok(if !exit.success() && cgroup.ran_out_of_memory() { Exit::OomKilled } else { exit })
}

/// Hides this process's memory, environment and descriptors from other processes, so that commands of the rung
/// [`Chroot`](Rung::Chroot), which share its process namespace, cannot read credentials out of it. Call it once, early
/// in `main`; there are no core dumps afterwards.
///
/// # Errors
/// When the kernel refuses, which no released one does.
pub fn shield() -> io::Result<()> {
    Ok(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?)
}

fn refusal(rung: Rung, report: Report) -> SandboxError {
    match report {
        Report::Failed(fault) => SandboxError::Prepare { step: fault.step, cause: fault.cause },
        Report::CleanUpFailed(fault) => SandboxError::CleanUp { step: fault.step, cause: fault.cause },
        Report::Lacks(what) => SandboxError::Unsupported { rung, what },
        other => SandboxError::InitLost { how: format!("unexpected report {other:?}") },
    }
}

/// One question, one answer, no command.
pub(crate) fn ask(init: &Init, order: &Order) -> Result<Report, SandboxError> {
    FirstProcess::start(init, order)?.converse(order, &mut |_, _| {}, None)
}

fn talk(intention: &'static str) -> impl Fn(Errno) -> SandboxError {
    move |errno| SandboxError::Talk { intention, source: errno.into() }
}

/// The running copy of this program, its control socket and the pipes its command writes to.
struct FirstProcess {
    child: Child,
    control: UnixStream,
    pipes: [(Stream, Option<OwnedFd>); 2],
}

impl FirstProcess {
    /// Plain `Command`, nothing between fork and exec: the parent has many threads.
    fn start(init: &Init, order: &Order) -> Result<FirstProcess, SandboxError> {
        let socket = |source| SandboxError::Talk { intention: "open a socket to the sandbox", source };
        let pipe = || {
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
                .map_err(talk("open a pipe for the command's output"))
        };
        let (control, theirs) = UnixStream::pair().map_err(socket)?;
        let (stdout, to_stdout) = pipe()?;
        let (stderr, to_stderr) = pipe()?;
        for fd in [&stdout, &stderr] {
            rustix::io::ioctl_fionbio(fd, true).map_err(talk("set up the command's output"))?;
        }
        let child = Command::new(&init.program)
            .arg(INIT_ARGUMENT)
            .arg(order.stage())
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(to_stdout))
            .stderr(Stdio::from(to_stderr))
            .spawn()
            .map_err(|source| SandboxError::StartInit { program: init.program.clone(), source })?;
        let pipes = [(Stream::Stdout, Some(stdout)), (Stream::Stderr, Some(stderr))];
        Ok(FirstProcess { child, control, pipes })
    }

    fn converse(
        &mut self,
        order: &Order,
        out: &mut dyn FnMut(Stream, &[u8]),
        cancel: Option<&Cancel>,
    ) -> Result<Report, SandboxError> {
        let sent = wire::send(&self.control, order);
        let waker = cancel.map(Cancel::waker).transpose().map_err(talk("watch for cancellation"))?;
        if cancel.is_some_and(Cancel::is_cancelled) {
            self.stop();
        }
        while self.wait_for_events(out, waker.as_deref())? {
            if cancel.is_some_and(Cancel::is_cancelled) {
                self.stop();
            }
        }
        let report = wire::receive::<Report>(&self.control);
        // The socket is at its end, so the first process is exiting and all others are gone already.
        let status =
            self.child.wait().map_err(|source| SandboxError::Talk { intention: "wait for the sandbox", source })?;
        self.drain(out);
        if cancel.is_some_and(Cancel::is_cancelled) {
            return Err(SandboxError::Cancelled);
        }
        match (report, sent) {
            (Ok(Some(report)), _) => Ok(report),
            (_, Err(source)) if source.kind() == io::ErrorKind::InvalidInput => {
                Err(SandboxError::Talk { intention: "hand the command to the sandbox", source })
            }
            _ => Err(SandboxError::InitLost { how: status.to_string() }),
        }
    }

    /// Closing our half tells the first process to kill everything and clean up; it gets some time for that.
    fn stop(&mut self) {
        let _ = self.control.shutdown(std::net::Shutdown::Write);
        let mut end = [PollFd::new(&self.control, PollFlags::RDHUP)];
        if matches!(poll(&mut end, Some(&STOP_GRACE)), Ok(0)) {
            let _ = self.child.kill();
        }
    }

    /// Sleeps until something happens; `false` once the first process has spoken or ended.
    fn wait_for_events(
        &mut self,
        out: &mut dyn FnMut(Stream, &[u8]),
        waker: Option<&OwnedFd>,
    ) -> Result<bool, SandboxError> {
        let mut fds = vec![PollFd::new(&self.control, PollFlags::IN | PollFlags::RDHUP)];
        fds.extend(waker.map(|event| PollFd::new(event, PollFlags::IN)));
        let pipes = fds.len();
        fds.extend(self.pipes.iter().filter_map(|(_, fd)| fd.as_ref()).map(|fd| PollFd::new(fd, PollFlags::IN)));
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(talk("wait for the sandbox")(errno)),
        }
        let over = !fds[0].revents().is_empty();
        let output = fds[pipes..].iter().any(|fd| !fd.revents().is_empty());
        drop(fds);
        if output {
            self.drain(out);
        }
        Ok(!over)
    }

    /// Passes on what is in the pipes now.
    fn drain(&mut self, out: &mut dyn FnMut(Stream, &[u8])) {
        let mut buffer = [0; 16 * 1024];
        for (stream, slot) in &mut self.pipes {
            while let Some(fd) = slot {
                match rustix::io::read(fd.as_fd(), &mut buffer) {
                    Ok(0) => *slot = None,
                    Ok(length) => out(*stream, &buffer[..length]),
                    Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => break,
                    Err(_) => *slot = None,
                }
            }
        }
    }
}

impl Drop for FirstProcess {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.stop();
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
