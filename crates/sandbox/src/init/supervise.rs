//! The supervisor: reads the order, watches the command's world and Kiln itself, cleans up, answers.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, waitpid};

use super::command::Surroundings;
use super::overlay::Marks;
use super::{emulate, emulated, namespaces, probing, seal, tree};
use crate::job::Job;
use crate::rung::Rung;
use crate::sys;
use crate::wire::{self, Fault, Order, Report, Step};

/// Exit code of a first process that could not even hear its order; the parent reports the lost process.
const DEAF: i32 = 70;

pub fn main(stage: &OsStr) -> i32 {
    if stage == OsStr::new(seal::PLAIN) {
        // Only returns when sealing is impossible; the namespaces then fail with a clearer word.
        seal::restart_sealed();
    }
    let Ok(control) = take_control() else { return DEAF };
    let order = match wire::receive::<Order>(&control) {
        Ok(Some(order)) => order,
        _ => return DEAF,
    };
    let mut groups = Vec::new();
    let report = match order {
        Order::Probe(scratch) => Report::Rungs(probing::rungs(scratch.as_deref())),
        Order::ProbeOverlay(dir) => {
            probing::overlay(&dir, Marks::Trusted).map_or_else(Report::Failed, |()| Report::Code(0))
        }
        Order::Run { rung, job, cgroups } => {
            let task = Task { job: &job, rung, cgroups: &cgroups, control: &control };
            groups.clone_from(&cgroups);
            match rung {
                Rung::Root => namespaces::run(&task),
                Rung::Userns | Rung::Userns1 => probing::stand(rung).and_then(|()| namespaces::run(&task)),
                Rung::Chroot => emulate::run(&task),
                Rung::Emulated => emulated::run(&task),
                Rung::None => Ok(Report::Lacks("a place to run commands in".to_owned())),
            }
            .unwrap_or_else(Report::Failed)
        }
    };
    let heard = wire::send(&control, &report).is_ok();
    if !heard {
        // Whoever made the groups died and cannot remove them.
        remove_cgroups(&groups);
    }
    i32::from(!heard)
}

/// Removes control groups in which nothing runs any more.
fn remove_cgroups(entrances: &[PathBuf]) {
    for dir in entrances.iter().filter_map(|entrance| entrance.parent()) {
        // A process that has just ended stays counted for a moment.
        for pause in 0..50 {
            match fs::remove_dir(dir) {
                Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
                    std::thread::sleep(std::time::Duration::from_millis(pause));
                }
                _ => break,
            }
        }
    }
}

/// Leaves the parent's session, shields itself from looks and signals, and moves the control socket off descriptor 0.
fn take_control() -> Result<UnixStream, Errno> {
    sys::ignore_stop_signals();
    // Fails only when this process already leads a session, which is as good.
    let _ = rustix::process::setsid();
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    rustix::process::umask(rustix::fs::Mode::empty());
    let control = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let null = rustix::fs::open(
        "/dev/null",
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    );
    match null {
        Ok(null) => rustix::stdio::dup2_stdin(null)?,
        // A bare chroot without /dev: an empty pipe reads the same.
        Err(_) => rustix::stdio::dup2_stdin(rustix::pipe::pipe()?.0)?,
    }
    sys::close_on_exec_from(3)?;
    Ok(UnixStream::from(control))
}

/// What the supervisor was told to do, and the socket by which it is told to stop.
pub struct Task<'a> {
    pub job: &'a Job,
    pub rung: Rung,
    cgroups: &'a [PathBuf],
    control: &'a UnixStream,
}

fn enter_cgroups(entrances: &[PathBuf]) -> Result<(), Fault> {
    for entrance in entrances {
        fs::OpenOptions::new()
            .write(true)
            .open(entrance)
            .and_then(|mut file| file.write_all(b"0"))
            .step(|| format!("enter the control group {}", entrance.display()))?;
    }
    Ok(())
}

/// The process below the supervisor, and the pipe its report comes through.
struct Inner {
    pid: Pid,
    report: OwnedFd,
}

/// Forks the inner process, which prepares the root and runs the command, and waits for its end.
pub fn run_inner(task: &Task, prepare: impl FnOnce() -> Result<Surroundings, Fault>) -> Result<Report, Fault> {
    fork_inner(task, |answer| match prepare() {
        Ok(surroundings) => tree::run_command(task.job, &surroundings, answer),
        Err(fault) => tree::send(answer, &Report::Failed(fault)),
    })
}

/// Forks the inner process, which does `work` and sends its report, and waits for its end. Only from there on the limits
/// apply: a supervisor killed for lack of memory could not clean up.
pub fn fork_inner(task: &Task, work: impl FnOnce(&OwnedFd)) -> Result<Report, Fault> {
    let (report, answer) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).step(|| "open a pipe".to_owned())?;
    match sys::fork().step(|| "start the sandbox's init".to_owned())? {
        sys::Fork::Parent(pid) => {
            drop(answer);
            Inner { pid, report }.wait(task.control)
        }
        sys::Fork::Child => {
            drop(report);
            // The supervisor alone holds the socket: its end is what Kiln waits for.
            sys::close_in_copy(task.control);
            let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
            match enter_cgroups(task.cgroups) {
                Ok(()) => work(&answer),
                Err(fault) => tree::send(&answer, &Report::Failed(fault)),
            }
            sys::exit(0)
        }
    }
}

impl Inner {
    /// Waits for the end; kills the inner process when Kiln closes its half of the socket or dies.
    fn wait(self, control: &UnixStream) -> Result<Report, Fault> {
        // The report pipe ends with its last holder, the inner process or a command process before it becomes the
        // command; no kernel feature newer than the pipe is needed to see that.
        loop {
            let mut fds =
                [PollFd::new(&self.report, PollFlags::IN), PollFd::new(control, PollFlags::IN | PollFlags::RDHUP)];
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno).step(|| "watch the sandbox's init".to_owned()),
            }
            let (ended, told_to_stop) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
            if told_to_stop && !ended {
                rustix::process::kill_process(self.pid, Signal::KILL).step(|| "kill the sandbox".to_owned())?;
            }
            if ended || told_to_stop {
                break;
            }
        }
        let status = loop {
            match waitpid(Some(self.pid), WaitOptions::empty()) {
                Ok(Some((_, status))) => break status,
                Ok(None) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno).step(|| "wait for the sandbox's init".to_owned()),
            }
        };
        match wire::receive(fs::File::from(self.report)) {
            Ok(Some(report)) => Ok(report),
            _ => Ok(ending(status).unwrap_or(Report::Signal(9))),
        }
    }
}

/// How a process ended, as a report; `None` while it has not.
pub fn ending(status: WaitStatus) -> Option<Report> {
    status.exit_status().map(Report::Code).or_else(|| status.terminating_signal().map(Report::Signal))
}
