//! The end of a machine, and what it leaves.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kiln_sandbox::Cancel;
use kiln_vm::Vm;

use super::{BUILDER_ID, Qemu};
use crate::artifact::Artifact;
use crate::builder::Job;
use crate::communicator::{Communicator, Machine, forget};
use crate::error::{NodeError, Result};
use crate::target::{Commanded, Communicator as _, Ended};
use crate::ui::words;

/// How often the machine is looked at.
const GLANCE: Duration = Duration::from_millis(100);
/// For a guest to heed its power button, when the template has no command for it.
const BUTTON: Duration = Duration::from_secs(60);
/// For commands that are only for good order.
const COURTESY: Duration = Duration::from_secs(20);

impl Qemu {
    /// Ends the machine in order, and makes an artifact of its disks.
    pub(super) fn stop(&mut self, job: &Job<'_>) -> Result<Artifact> {
        self.forget_key(job)?;
        self.shut_down(job)?;
        self.running.end();
        if job.cancel.is_cancelled() {
            return Err(NodeError::Cancelled);
        }
        self.compact(job)?;
        let dir = &self.config.directory;
        let mut files = Vec::new();
        list(dir, &mut files)?;
        let text = format!("VM files in directory: {}", dir.display());
        let mut artifact = Artifact::of_files(BUILDER_ID, "VM", files, text);
        artifact.directory = Some(dir.clone());
        Ok(artifact)
    }

    /// Takes the key that was made for this build out of the machine again.
    fn forget_key(&mut self, job: &Job<'_>) -> Result<()> {
        let Communicator::Ssh(settings) = &self.config.communicator else { return Ok(()) };
        match (&self.running.login, &mut self.running.machine) {
            (Some(login), Some(machine)) => forget::key(settings, login, machine, job),
            _ => Ok(()),
        }
    }

    fn shut_down(&mut self, job: &Job<'_>) -> Result<()> {
        let Some(vm) = &self.running.vm else { return Ok(()) };
        let limit = self.config.shutdown_timeout;
        match (&self.config.shutdown_command, self.running.machine.as_mut()) {
            (Some(command), Some(machine)) => {
                job.ui.say("Gracefully halting virtual machine...");
                by_command(vm, machine, command, limit, job)
            }
            (_, None) => {
                job.ui.say("Waiting for shutdown...");
                match until_ended(vm, limit, job.cancel, || false)? {
                    true => Ok(()),
                    false => Err(late(vm, limit, "")),
                }
            }
            (None, Some(machine)) => {
                job.ui.say("Halting the virtual machine...");
                // A guest without a driver for the button is killed: what it has not written yet is lost.
                let _ = briefly(machine, "sync", job.cancel);
                // It may be gone in this moment.
                let _ = vm.qmp().powerdown();
                if !until_ended(vm, BUTTON.min(limit), job.cancel, || false)? {
                    job.ui.message("it did not heed its power button and is killed: give a shutdown_command");
                    vm.kill();
                }
                Ok(())
            }
        }
    }
}

/// Runs a command that need not succeed, for a short time.
fn briefly(machine: &mut Commanded<Machine>, command: &str, cancel: &Cancel) -> Result<Ended> {
    let (token, end) = (Cancel::new(), Instant::now() + COURTESY);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                if cancel.is_cancelled() || Instant::now() > end {
                    return token.cancel();
                }
                std::thread::sleep(GLANCE);
            }
        });
        let ended = machine.machine().exec(command, &mut |_, _| {}, &token);
        done.store(true, Ordering::Relaxed);
        ended
    })
}

/// Whether the machine ended in time; `hopeless` says that it never will.
fn until_ended(vm: &Vm, limit: Duration, cancel: &Cancel, mut hopeless: impl FnMut() -> bool) -> Result<bool> {
    let end = Instant::now() + limit;
    while Instant::now() < end {
        if vm.wait(GLANCE).is_some() {
            return Ok(true);
        }
        if hopeless() {
            return Ok(false);
        }
        if cancel.is_cancelled() {
            return Err(NodeError::Cancelled);
        }
    }
    Ok(vm.ended().is_some())
}

/// The command may end with the machine, long before it or never.
fn by_command(vm: &Vm, machine: &mut Commanded<Machine>, command: &str, limit: Duration, job: &Job<'_>) -> Result<()> {
    let (token, started) = (Cancel::new(), Instant::now());
    let (said, absent) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    let (ended, result) = std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            let mut keep = |_, bytes: &[u8]| {
                if let Ok(mut said) = said.lock() {
                    let room = 4096_usize.saturating_sub(said.len());
                    said.extend_from_slice(&bytes[..bytes.len().min(room)]);
                }
            };
            let ended = machine.machine().exec(command, &mut keep, &token);
            absent.store(matches!(ended, Ok(Ended::Code(126 | 127))), Ordering::Relaxed);
            ended
        });
        let ended = until_ended(vm, limit, job.cancel, || absent.load(Ordering::Relaxed));
        token.cancel();
        (ended, running.join())
    });
    if ended? {
        return Ok(());
    }
    let said = said.into_inner().unwrap_or_default();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    let how = match result {
        Ok(Ok(Ended::Code(code))) => format!("; `shutdown_command` exited with {code}: {said}"),
        Ok(Err(NodeError::Cancelled) | Ok(Ended::Disconnected)) => format!("; `shutdown_command` said: {said}"),
        Ok(Err(error)) => format!("; {error}"),
        Err(_) => String::new(),
    };
    let after = if absent.load(Ordering::Relaxed) { started.elapsed() } else { limit };
    Err(late(vm, after, how.trim_end_matches(": ")))
}

fn late(vm: &Vm, after: Duration, how: &str) -> NodeError {
    let why = format!("it still runs after {}{how}", words(after));
    let why = vm.diagnosis().iter().fold(why, |all, line| all + "\n    " + line);
    NodeError::Machine { action: "Timeout while waiting for machine to shut down".to_owned(), why }
}

/// Every file below a directory.
fn list(dir: &Path, out: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(dir).map_err(NodeError::file("read", dir))?;
    for entry in entries {
        let path = entry.map_err(NodeError::file("read", dir))?.path();
        if path.is_dir() { list(&path, out)? } else { out.push(path) }
    }
    out.sort();
    Ok(())
}
