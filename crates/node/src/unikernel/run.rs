//! A kernel started, until it ends: what it says as it comes, and how it ended.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kiln_sandbox::Cancel;
use kiln_unikernel::Monitor;
use kiln_vm::machine::{Machine, Overrides};
use kiln_vm::{Qemu, Vm};
use serde_json::Value;

use crate::error::{NodeError, Result};
use crate::microvm::Ended;
use crate::microvm::follow::{Left, SLICE, follow};

/// How long a guest may take to heed the power button; most unikernels never do.
const LAST_WORDS: Duration = Duration::from_secs(5);

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

/// Runs another monitor to its end; its console is this process's.
///
/// # Errors
/// When it cannot be started, or takes longer than it may.
pub fn program(
    title: &str,
    program: &Path,
    arguments: &[String],
    config: Option<&Value>,
    limit: Option<Duration>,
    cancel: &Cancel,
) -> Result<Ended> {
    let failed = |source| NodeError::Program { program: program.display().to_string(), source };
    let mut command = Command::new(program);
    command.args(arguments).stdin(if config.is_some() { Stdio::piped() } else { Stdio::inherit() });
    let mut child = command.spawn().map_err(failed)?;
    if let (Some(config), Some(mut stdin)) = (config, child.stdin.take()) {
        // One that ends at once reads nothing; how it ended says more.
        let _ = stdin.write_all(config.to_string().as_bytes());
    }
    let until = limit.map(|limit| Instant::now() + limit);
    loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
            if cancel.is_cancelled() {
                return Ok(Ended::Stopped);
            }
            return Ok(Ended::Application(u8::try_from(code).unwrap_or(u8::MAX)));
        }
        let late = until.is_some_and(|until| Instant::now() >= until);
        if late || cancel.is_cancelled() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if late {
            let why = format!("it did not end within {} s", limit.unwrap_or_default().as_secs());
            return Err(NodeError::Guest { title: title.to_owned(), why, hint: None });
        }
        if cancel.is_cancelled() {
            return Ok(Ended::Stopped);
        }
        std::thread::sleep(SLICE);
    }
}
