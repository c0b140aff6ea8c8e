//! Helper programs that end when the build does, however it ends.

use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kiln_sandbox::{Cancel, end_with_parent};
use rustix::process::{Pid, Signal, kill_process};

/// As much of what a program says is kept.
const MOST: u64 = 64 << 20;
/// How long a program that is told to end may take to clean up.
const GRACE: Duration = Duration::from_secs(2);

/// What a program said and how it ended.
pub struct Said {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

/// Runs a program to its end; `None` if it was stopped because the build is.
///
/// # Errors
/// When it cannot be started or waited for.
pub fn run(mut command: Command, cancel: &Cancel) -> io::Result<Option<Said>> {
    end_with_parent(&mut command);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (stdout, stderr) = (reader(child.stdout.take()), reader(child.stderr.take()));
    let mut nap = Duration::from_millis(1);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if cancel.is_cancelled() {
            stop(&mut child);
            return Ok(None);
        }
        thread::sleep(nap);
        nap = (nap * 2).min(Duration::from_millis(20));
    };
    let taken = |reader: JoinHandle<Vec<u8>>| reader.join().unwrap_or_default();
    Ok(Some(Said { status, stdout: taken(stdout), stderr: taken(stderr) }))
}

fn reader(from: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut from) = from {
            let _ = from.by_ref().take(MOST).read_to_end(&mut bytes);
            let _ = io::copy(&mut from, &mut io::sink());
        }
        bytes
    })
}

/// Ends a program and what it has started: first politely, so that it removes its own temporary files.
fn stop(child: &mut Child) {
    let mut family = Vec::new();
    collect(child.id(), &mut family);
    let tell = |signal: Signal| {
        family.iter().for_each(|pid| {
            let _ = kill_process(*pid, signal);
        })
    };
    tell(Signal::TERM);
    let until = Instant::now() + GRACE;
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < until {
        thread::sleep(Duration::from_millis(5));
    }
    tell(Signal::KILL);
    let _ = child.wait();
}

/// A process and its descendants, parents first.
fn collect(id: u32, family: &mut Vec<Pid>) {
    let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) else { return };
    family.push(pid);
    let threads = std::fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().filter_map(Result::ok);
    for thread in threads {
        let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        children.split_whitespace().filter_map(|c| c.parse().ok()).for_each(|c| collect(c, family));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn what_a_program_says_is_kept() {
        let said = run(sh("echo out; echo err >&2; exit 3"), &Cancel::new()).unwrap().unwrap();
        assert_eq!((said.status.code(), &*said.stdout, &*said.stderr), (Some(3), &b"out\n"[..], &b"err\n"[..]));
    }

    #[test]
    fn a_program_is_stopped_with_what_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("pids");
        let script = format!("(trap '' TERM; sleep 98764) & echo $! > {0}; sleep 98764; true", mark.display());
        let cancel = Cancel::new();
        let stopper = cancel.clone();
        let watch = mark.clone();
        thread::spawn(move || {
            while std::fs::read(&watch).unwrap_or_default().is_empty() {
                thread::sleep(Duration::from_millis(5));
            }
            stopper.cancel();
        });
        assert!(run(sh(&script), &cancel).unwrap().is_none());
        let pid: i32 = std::fs::read_to_string(&mark).unwrap().trim().parse().unwrap();
        let gone = || rustix::process::test_kill_process(Pid::from_raw(pid).unwrap()).is_err();
        let zombie = || std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| s.contains(") Z "));
        assert!((0..400).any(|_| {
            thread::sleep(Duration::from_millis(5));
            gone() || zombie()
        }));
    }
}
