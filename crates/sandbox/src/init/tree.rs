//! Starting the command and collecting what ends below it.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, wait};

use super::command::{self, Surroundings};
use super::supervise::ending;
use crate::job::Job;
use crate::sys;
use crate::wire::{self, Fault, Report, Step};

/// Starts the command, reaps everything until it ends, and reports how it ended into `answer`.
///
/// A fault of the command process itself is in the pipe already when its status arrives; the first report counts.
pub fn run_command(job: &Job, surroundings: &Surroundings, answer: &OwnedFd) {
    // Orphans come to the process that waits for them, also where no process namespace sees to that.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    let report = start(job, surroundings, answer).and_then(reap_until).unwrap_or_else(Report::Failed);
    send(answer, &report);
}

/// Sends a report; a supervisor that is gone needs none.
pub fn send(answer: &OwnedFd, report: &Report) {
    if let Ok(answer) = answer.try_clone() {
        let _ = wire::send(std::fs::File::from(answer), report);
    }
}

fn start(job: &Job, surroundings: &Surroundings, answer: &OwnedFd) -> Result<Pid, Fault> {
    match sys::fork().step(|| "start the command".to_owned())? {
        sys::Fork::Parent(pid) => Ok(pid),
        sys::Fork::Child => {
            let fault = command::become_command(job, surroundings);
            send(answer, &Report::Failed(fault));
            sys::exit(255)
        }
    }
}

/// Waits for `main`, collecting every orphan that ends meanwhile.
fn reap_until(main: Pid) -> Result<Report, Fault> {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == main => {
                if let Some(report) = ending(status) {
                    return Ok(report);
                }
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).step(|| "wait for the command".to_owned()),
        }
    }
}

/// Collects what has ended so far without waiting; `false` when no child is left.
pub fn reap_ended() -> bool {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}
