//! A kernel started, until it ends: what it says as it comes, and how it ended.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kiln_sandbox::Cancel;
use kiln_unikernel::Monitor;
use kiln_vm::machine::{Machine, Overrides};
use kiln_vm::{Attended, Qemu, Vm};
use serde_json::Value;

use crate::error::{NodeError, Result};
use crate::microvm::Ended;
use crate::microvm::follow::{Left, SLICE, follow};

/// How long a guest may take to heed the power button, or a monitor to end; most unikernels never do.
pub const LAST_WORDS: Duration = Duration::from_secs(5);

/// Runs a machine of qemu's to its end. What the guest says goes to `out`.
///
/// # Errors
/// When it cannot be started, its guest crashes, or it takes longer than it may.
pub fn qemu(
    qemu: &Qemu,
    title: &str,
    machine: &Machine,
    more: &[String],
    limit: Option<Duration>,
    cancel: &Cancel,
    out: &mut dyn Write,
) -> Result<Ended> {
    let mut arguments = machine.arguments::<NodeError>(&Overrides(Vec::new()), |text| Ok(text.to_owned()))?;
    arguments.extend(more.iter().cloned());
    let vm = Vm::start(qemu, &arguments)?;
    let ask = || {
        let _ = vm.qmp().powerdown();
    };
    let mut heard = |piece: &[u8]| {
        // Who reads may be gone; the guest runs on.
        drop(out.write_all(piece).and_then(|()| out.flush()));
        false
    };
    match follow(&vm, "the end of the guest", limit, cancel, &ask, LAST_WORDS, &mut heard)? {
        Left::Ended => judged(title, &vm),
        Left::Heeded | Left::Killed => Ok(Ended::Stopped),
    }
}

/// How a guest ended, from what qemu told of it.
fn judged(title: &str, vm: &Vm) -> Result<Ended> {
    let event = vm.qmp().event(&["SHUTDOWN"], Duration::ZERO).ok();
    let reason = event.as_ref().and_then(|event| event.data["reason"].as_str()).unwrap_or_default();
    let crashed = |why: &str, hint: &str| {
        let lines: String = vm.diagnosis().iter().map(|line| format!("\n    {line}")).collect();
        Err(NodeError::Guest { title: title.to_owned(), why: format!("{why}{lines}"), hint: Some(hint.to_owned()) })
    };
    match (reason, vm.ended()) {
        ("guest-shutdown", _) => Ok(Ended::Application(0)),
        ("guest-reset", _) => crashed(
            "the guest reset its machine instead of turning it off, as kernels do that crash",
            "more memory may help (--memory), or another command line (--append)",
        ),
        ("guest-panic", _) => crashed("the guest's kernel panicked", "look at its last lines"),
        // The guest's own status, as qemu's device for it passes it on: twice that, and one.
        ("", Some(kiln_vm::Ended::Exited(code))) if code & 1 == 1 => {
            Ok(Ended::Application(u8::try_from(code >> 1).unwrap_or(u8::MAX)))
        }
        _ => {
            vm.check("its guest ran")?;
            Ok(Ended::Stopped)
        }
    }
}

/// Where a monitor is.
///
/// # Errors
/// When it is not installed: which, and where it is to be had.
pub fn find(title: &str, monitor: Monitor, path: Option<&std::ffi::OsStr>) -> Result<PathBuf> {
    let (name, hint) = monitor.program();
    kiln_vm::find_program(name, path).ok_or_else(|| NodeError::Guest {
        title: title.to_owned(),
        why: format!("its monitor `{name}` is not installed"),
        hint: Some(format!("{hint}; --dry-run prints the command line")),
    })
}

/// What is read by another monitor, in a file that is there while it runs.
fn written(config: &Value) -> Result<tempfile::NamedTempFile> {
    let made = tempfile::Builder::new().prefix("kiln-monitor-").tempfile();
    let mut file = made.map_err(NodeError::file("create", "a temporary file"))?;
    let text = config.to_string();
    file.write_all(text.as_bytes()).map_err(NodeError::file("write", file.path()))?;
    Ok(file)
}

/// Runs another monitor to its end; it speaks where this process does. Who wants it to end asks it first: it has `grace` to
/// do so.
///
/// # Errors
/// When it cannot be started, or takes longer than it may.
pub fn program(
    title: &str,
    (program, arguments): (&Path, &[String]),
    config: Option<&Value>,
    limit: Option<Duration>,
    grace: Duration,
    cancel: &Cancel,
) -> Result<Ended> {
    let input = config.map(written).transpose()?;
    let mut child = Attended::start(program, arguments, input.as_ref().map(tempfile::NamedTempFile::path))?;
    let until = limit.map(|limit| Instant::now() + limit);
    let mut stop: Option<Instant> = None;
    loop {
        if let Some(ended) = child.wait(SLICE)? {
            let code = match ended {
                kiln_vm::Ended::Exited(code) => code,
                kiln_vm::Ended::Signalled(signal) => signal.saturating_add(128),
            };
            return Ok(match cancel.is_cancelled() {
                true => Ended::Stopped,
                false => Ended::Application(u8::try_from(code).unwrap_or(u8::MAX)),
            });
        }
        if cancel.is_cancelled() && stop.is_none() {
            stop = Some(Instant::now() + grace);
            child.ask();
        }
        if stop.is_some_and(|stop| Instant::now() >= stop) {
            child.kill();
            return Ok(Ended::Stopped);
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            child.kill();
            let why = format!("it did not end within {} s", limit.unwrap_or_default().as_secs());
            return Err(NodeError::Guest { title: title.to_owned(), why, hint: None });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// Runs a script as a monitor, which somebody wants to end as soon as it has made the file `ready`.
    fn stopped(script: &str, grace: Duration) -> (Ended, Duration, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let script = format!("cd {}; {script}", dir.path().display());
        let arguments = ["-c".to_owned(), script];
        let (cancel, ready) = (Cancel::new(), dir.path().join("ready"));
        let stopper = {
            let cancel = cancel.clone();
            std::thread::spawn(move || {
                let until = Instant::now() + LONG;
                while !ready.exists() && Instant::now() < until {
                    std::thread::sleep(Duration::from_millis(5));
                }
                cancel.cancel();
            })
        };
        let begun = Instant::now();
        let how = program("x", (Path::new("/bin/sh"), &arguments), None, Some(LONG), grace, &cancel).unwrap();
        stopper.join().unwrap();
        (how, begun.elapsed(), dir)
    }

    #[test]
    fn a_monitor_is_asked_before_it_is_killed() {
        let heeds = "trap 'echo last words >words; exit 0' TERM; >ready; while :; do sleep 0.05; done";
        let (how, _, dir) = stopped(heeds, LONG);
        assert_eq!(how, Ended::Stopped);
        assert_eq!(fs::read_to_string(dir.path().join("words")).unwrap(), "last words\n");
    }

    #[test]
    fn a_monitor_that_does_not_heed_is_killed_when_its_time_is_over() {
        let grace = Duration::from_millis(400);
        let (how, took, _dir) = stopped("trap '' TERM; >ready; while :; do sleep 0.05; done", grace);
        assert_eq!(how, Ended::Stopped);
        assert!(took >= grace && took < LONG, "{took:?}");
    }
}
