//! Starting the command and collecting what ends below it.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, wait};

use super::command::{self, Surroundings};
use super::emulate;
use super::owners::Keeper;
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
    let report = match surroundings.one_id {
        true => run_with_keeper(job, surroundings, answer),
        false => start(job, surroundings, None, answer).and_then(|main| reap_until(main, |_, _| ())),
    };
    send(answer, &report.unwrap_or_else(Report::Failed));
}

/// Where owners are virtual, a process beside the command keeps them, and has the last word.
fn run_with_keeper(job: &Job, surroundings: &Surroundings, answer: &OwnedFd) -> Result<Report, Fault> {
    let told =
        surroundings.told.as_ref().map(OwnedFd::try_clone).transpose().step(|| "duplicate a handle".to_owned())?;
    let keeper = Keeper::start(job, told)?;
    let started = start(job, surroundings, Some(&keeper), answer);
    let pid = keeper.leave();
    let mut last_word = None;
    let note = |other, status| {
        if other == pid {
            last_word = Some(status);
        }
    };
    let report = started.and_then(|main| reap_until(main, note));
    let ended = end_others(pid, last_word);
    report.and_then(|report| ended.map(|()| report))
}

/// How often to look for processes that are left; each look waits a millisecond longer, 25 s in all.
const LOOKS: u64 = 220;

/// Kills what the command left, so that nobody changes anything any more, and waits for the keeper's last word.
///
/// It may have ended with the command already.
fn end_others(keeper: Pid, ended: Option<WaitStatus>) -> Result<(), Fault> {
    let judge = |status: WaitStatus| match status.exit_status() {
        Some(0) => Ok(()),
        _ => Err(Fault::new("keep virtual owners", "the process that keeps them failed or was killed")),
    };
    if let Some(status) = ended {
        return judge(status);
    }
    let step = || "end the processes the command left".to_owned();
    for look in 0..LOOKS {
        for pid in emulate::children().step(step)? {
            if pid != keeper {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == keeper && ending(status).is_some() => {
                    return judge(status);
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => break,
                Err(errno) => return Err(errno).step(step),
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(look));
    }
    Err(Fault::new(step(), "new ones keep appearing"))
}

/// Sends a report; a supervisor that is gone needs none.
pub fn send(answer: &OwnedFd, report: &Report) {
    if let Ok(answer) = answer.try_clone() {
        let _ = wire::send(std::fs::File::from(answer), report);
    }
}

fn start(job: &Job, surroundings: &Surroundings, keeper: Option<&Keeper>, answer: &OwnedFd) -> Result<Pid, Fault> {
    match sys::fork().step(|| "start the command".to_owned())? {
        sys::Fork::Parent(pid) => Ok(pid),
        sys::Fork::Child => {
            let fault = command::become_command(job, surroundings, keeper);
            send(answer, &Report::Failed(fault));
            sys::exit(255)
        }
    }
}

/// Waits for `main`, collecting everybody else who ends meanwhile.
fn reap_until(main: Pid, mut other: impl FnMut(Pid, WaitStatus)) -> Result<Report, Fault> {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == main => {
                if let Some(report) = ending(status) {
                    return Ok(report);
                }
            }
            Ok(Some((pid, status))) => other(pid, status),
            Ok(None) | Err(Errno::INTR) => {}
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
