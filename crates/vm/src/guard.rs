//! Child processes that cannot outlive Kiln.
//!
//! A child of a process that is killed lives on, and the kernel's own remedy (`PR_SET_PDEATHSIG`) can only be asked
//! for between fork and exec, which needs `unsafe`. So the child gets a guardian: `/bin/sh`, whose standard input is a
//! pipe that only Kiln can write to. When Kiln ends, however it ends, the kernel closes the pipe and the guardian
//! kills the child. The guardian waits for the child too, so a process number is never used after it was given away.
//! Both are in a process group of their own: a Ctrl-C at the terminal reaches Kiln alone, which then shuts down in
//! order, and [`Guarded::kill`] reaches both.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::VmError;

/// What the guardian does. Descriptor 3 is the pipe; neither the child nor the guardian itself keeps it.
const GUARDIAN: &str = r#"exec 3<&0 </dev/null
"$@" 3<&- &
child=$!
{ read -r _ <&3; kill -9 "$child"; } >/dev/null 2>&1 &
watch=$!
exec 3<&-
wait "$child"
status=$?
kill "$watch" 2>/dev/null
exit "$status""#;

const KEPT_LINES: usize = 40;
const LONGEST_LINE: u64 = 2000;

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It left with this status.
    Exited(i32),
    /// This signal ended it.
    Signalled(i32),
}

impl Ended {
    /// Whether it left as programs do that succeeded.
    pub fn is_success(self) -> bool {
        self == Ended::Exited(0)
    }

    pub(crate) fn of(status: ExitStatus) -> Ended {
        match (status.code(), status.signal()) {
            // How a shell reports that a signal ended its child.
            (Some(code), _) if code > 128 => Ended::Signalled(code - 128),
            (Some(code), _) => Ended::Exited(code),
            (None, signal) => Ended::Signalled(signal.unwrap_or(0)),
        }
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ended::Exited(code) => write!(f, "exit status {code}"),
            Ended::Signalled(signal) => write!(f, "killed by signal {signal}"),
        }
    }
}

#[derive(Default)]
struct Watched {
    ended: Mutex<Option<Ended>>,
    changed: Condvar,
    said: Mutex<VecDeque<String>>,
}

/// A running child and its guardian. Dropping it kills both and waits until they are gone.
pub(crate) struct Guarded {
    group: Pid,
    watched: Arc<Watched>,
    lifeline: Option<ChildStdin>,
    threads: Vec<JoinHandle<()>>,
}

impl Guarded {
    pub(crate) fn spawn<A: AsRef<OsStr>>(program: &Path, args: &[A]) -> Result<Guarded, VmError> {
        Guarded::start(program, args).map_err(|source| VmError::Start { program: PathBuf::from(program), source })
    }

    fn start<A: AsRef<OsStr>>(program: &Path, args: &[A]) -> std::io::Result<Guarded> {
        let mut child = Command::new("/bin/sh")
            .args(["-c", GUARDIAN, "kiln-guard"])
            .arg(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let group = Pid::from_child(&child);
        let watched = Arc::new(Watched::default());
        let lifeline = child.stdin.take();
        let stderr = child.stderr.take();
        let reader = {
            let watched = Arc::clone(&watched);
            std::thread::spawn(move || stderr.into_iter().for_each(|pipe| listen(pipe, &watched)))
        };
        let waiter = {
            let watched = Arc::clone(&watched);
            std::thread::spawn(move || watch(child, reader, &watched))
        };
        Ok(Guarded { group, watched, lifeline, threads: vec![waiter] })
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&self) -> Option<Ended> {
        *lock(&self.watched.ended)
    }

    /// How it ended, or none if it still runs after that time.
    pub(crate) fn wait(&self, limit: Duration) -> Option<Ended> {
        let until = Instant::now() + limit;
        let mut ended = lock(&self.watched.ended);
        while ended.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            ended = self.watched.changed.wait_timeout(ended, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *ended
    }

    /// The last lines of its standard error.
    pub(crate) fn said(&self) -> Vec<String> {
        lock(&self.watched.said).iter().cloned().collect()
    }

    /// Kills it, at once.
    pub(crate) fn kill(&self) {
        if self.ended().is_none() {
            // The guardian has not been waited for while `ended` is unset, so the number is still its own; one that
            // has just left cannot be killed, which is as good.
            let _ = kill_process_group(self.group, Signal::KILL);
        }
    }

    /// CPU time that the group's processes have used, as far as it can be told.
    pub(crate) fn cpu_time(&self) -> Option<Duration> {
        let children = format!("/proc/{0}/task/{0}/children", self.group.as_raw_nonzero());
        let children = std::fs::read_to_string(children).ok()?;
        let child = children.split_ascii_whitespace().next()?;
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).ok()?;
        // Fields 14 and 15, counted from 1; the name in field 2 may hold spaces and brackets.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
        let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
        let rate = rustix::param::clock_ticks_per_second().max(1);
        Some(Duration::from_millis(ticks.saturating_mul(1000) / rate))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.kill();
        drop(self.lifeline.take());
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Reads standard error line by line into the ring; overlong lines are cut.
fn listen(pipe: impl Read, watched: &Watched) {
    let mut pipe = BufReader::new(pipe);
    loop {
        let mut line = Vec::new();
        match pipe.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let line: String = String::from_utf8_lossy(&line).trim_end().chars().filter(|c| !c.is_control()).collect();
        let mut said = lock(&watched.said);
        if said.len() == KEPT_LINES {
            said.pop_front();
        }
        said.push_back(line);
    }
}

fn watch(mut child: Child, reader: JoinHandle<()>, watched: &Watched) {
    let ended = child.wait().map_or(Ended::Signalled(0), Ended::of);
    // What it said last is complete before anybody learns that it ended.
    let _ = reader.join();
    *lock(&watched.ended) = Some(ended);
    watched.changed.notify_all();
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn statuses_and_last_words_are_told() {
        let child = Guarded::spawn(Path::new("/bin/sh"), &["-c", "echo one >&2; echo 'two\u{7}' >&2; exit 7"]).unwrap();
        assert_eq!(child.wait(LONG), Some(Ended::Exited(7)));
        assert_eq!(child.said(), ["one", "two"]);
        let child = Guarded::spawn(Path::new("/bin/sh"), &["-c", "kill -11 $$"]).unwrap();
        assert_eq!(child.wait(LONG), Some(Ended::Signalled(11)));
    }

    #[test]
    fn a_flood_of_words_is_cut() {
        let flood =
            "i=0; while [ $i -lt 500 ]; do echo $i >&2; i=$((i+1)); done; head -c 100000 /dev/zero | tr '\\0' x >&2";
        let child = Guarded::spawn(Path::new("/bin/sh"), &["-c", flood]).unwrap();
        assert_eq!(child.wait(LONG), Some(Ended::Exited(0)));
        let said = child.said();
        assert_eq!(said.len(), KEPT_LINES);
        assert!(said.iter().all(|l| l.len() <= 2000));
    }

    #[test]
    fn dropping_kills() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let script = format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000", file.display());
        let child = Guarded::spawn(Path::new("/bin/sh"), &["-c", &script]).unwrap();
        while !file.exists() {
            std::thread::yield_now();
        }
        assert_eq!(child.wait(Duration::ZERO), None);
        let pid = std::fs::read_to_string(&file).unwrap();
        let proc = format!("/proc/{}/cmdline", pid.trim());
        assert!(std::fs::read_to_string(&proc).unwrap().contains("sleep"));
        drop(child);
        // Gone, or waiting for init to collect it: its command line is empty then.
        let until = Instant::now() + LONG;
        while std::fs::read_to_string(&proc).is_ok_and(|line| !line.is_empty()) {
            assert!(Instant::now() < until, "still there");
            std::thread::yield_now();
        }
    }
}
