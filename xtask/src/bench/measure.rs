//! What a command costs: wall time; CPU time, peak memory and bytes written of it, the children it waited for, and the
//! daemon that works for it.

use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use wait4::Wait4;

use super::interrupt::Interrupt;
use super::process;
use crate::error::Error;

/// What one build cost.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub(crate) struct Cost {
    /// Wall seconds.
    pub(crate) wall: f64,
    /// CPU seconds, user and system.
    pub(crate) cpu: f64,
    /// Highest sum of resident bytes, sampled.
    pub(crate) memory: u64,
    /// Bytes written to files.
    pub(crate) written: u64,
}

impl Cost {
    /// One after the other.
    pub(super) fn then(self, next: Cost) -> Cost {
        Cost {
            wall: self.wall + next.wall,
            cpu: self.cpu + next.cpu,
            memory: self.memory.max(next.memory),
            written: self.written + next.written,
        }
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mega = |bytes| bytes / 1_000_000;
        let (memory, written) = (mega(self.memory), mega(self.written));
        write!(f, "{:7.2} s  {:6.2} CPU-s  {memory:4} MB  {written:5} MB written", self.wall, self.cpu)
    }
}

/// A command that ended well.
#[derive(Debug)]
pub(super) struct Ran {
    /// What it cost.
    pub(super) cost: Cost,
    /// What it wrote to standard output and error.
    pub(super) said: String,
}

/// At first peaks are short, later they are not: sampling must not take the time it measures.
fn pause(since: Duration) -> Duration {
    Duration::from_millis(if since < Duration::from_millis(200) { 3 } else { 15 })
}

/// Runs commands and looks at what they use.
#[derive(Debug, Clone)]
pub(super) struct Meter {
    /// A command that takes longer is stopped.
    pub(super) limit: Duration,
    /// And so it is when the user wants to stop.
    pub(super) interrupt: Interrupt,
}

impl Meter {
    /// One with no more time than this.
    pub(super) fn within(&self, limit: Option<Duration>) -> Meter {
        Meter { limit: limit.unwrap_or(self.limit).min(self.limit), interrupt: self.interrupt.clone() }
    }

    /// Runs a command to its end. `daemon` works for it: what it and its children do meanwhile counts.
    pub(super) fn run(&self, command: &mut Command, daemon: Option<u32>) -> Result<Ran, Error> {
        self.interrupt.check()?;
        let temporary = |cause| Error::Write { path: std::env::temp_dir(), cause };
        let mut log = tempfile::tempfile().map_err(temporary)?;
        let (out, err) = (log.try_clone().map_err(temporary)?, log.try_clone().map_err(temporary)?);
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        let shown = format!("{command:?}");
        // What was written before is not for this command to wait for.
        rustix::fs::sync();
        let before = daemon.map(process::tree_usage).unwrap_or_default();
        let start = Instant::now();
        let cannot = |cause| Error::Start { program: shown.clone(), cause };
        let mut child = command.spawn().map_err(cannot)?;
        let pid = child.id();
        let watched = self.clone();
        let watcher = thread::spawn(move || watched.watch(pid, daemon));
        // The dead child is looked at before it is reaped: its accounts hold those of its own children.
        if let Some(pid) = raw(pid) {
            let dead = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            let _ = rustix::io::retry_on_intr(|| waitid(WaitId::Pid(pid), dead));
        }
        let wall = start.elapsed().as_secs_f64();
        let own = process::written(pid);
        let used = child.wait4().map_err(cannot)?;
        let after = daemon.map(process::tree_usage).unwrap_or_default();
        let (peak, late) = watcher.join().unwrap_or((0, false));
        let said = all(&mut log);
        self.interrupt.check()?;
        if late {
            return Err(Error::Late(self.limit.as_secs()));
        }
        if !used.status.success() {
            return Err(Error::Failed { command: shown, status: used.status.to_string(), said: tail(&said) });
        }
        let cpu = (used.rusage.utime + used.rusage.stime).as_secs_f64();
        let cost = Cost {
            wall,
            cpu: cpu + (after.cpu - before.cpu).max(0.0),
            memory: peak,
            written: own + after.written.saturating_sub(before.written),
        };
        Ok(Ran { cost, said })
    }

    /// Watches a child until it is dead: the highest sum of resident bytes of its tree and the daemon's, and whether it
    /// had to be stopped because its time was over.
    fn watch(&self, pid: u32, daemon: Option<u32>) -> (u64, bool) {
        let start = Instant::now();
        let (mut highest, mut late) = (0, false);
        loop {
            let looking = Instant::now();
            let own = process::tree_memory(pid);
            if own.resident == 0 {
                return (highest, late);
            }
            let daemon = daemon.map(process::tree_memory).unwrap_or_default();
            let looked = looking.elapsed();
            // Between two looks one process may have had more than all had at either.
            highest = highest.max(own.resident + daemon.resident).max(own.highest);
            let since = start.elapsed();
            late |= since > self.limit;
            if let (true, Some(group)) = (late || self.interrupt.wanted(), raw(pid)) {
                // Who cleans up gets the time for it.
                let patient = since < self.limit + Duration::from_secs(10);
                let _ = kill_process_group(group, if patient { Signal::TERM } else { Signal::KILL });
                thread::sleep(Duration::from_millis(100));
            }
            // Looking at a process of gigabytes takes milliseconds, which whoever is measured must not pay for.
            thread::sleep(pause(since).max(looked * 19));
        }
    }
}

fn raw(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// Runs a command and returns the one line it prints.
pub(super) fn line(command: &mut Command) -> Result<String, Error> {
    let out = command.stderr(Stdio::inherit()).output();
    let out = out.map_err(|cause| Error::Start { program: format!("{:?}", command.get_program()), cause })?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned());
    }
    Err(Error::Failed { command: format!("{command:?}"), status: out.status.to_string(), said: String::new() })
}

fn all(log: &mut File) -> String {
    let mut bytes = Vec::new();
    let _ = log.seek(SeekFrom::Start(0)).and_then(|_| log.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

/// Seconds to walk a directory and look at every entry once: what no builder can do without.
pub(super) fn stat_walk(dir: &std::path::Path) -> f64 {
    fn walk(dir: &std::path::Path) -> u64 {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let look = |e: fs::DirEntry| match e.metadata() {
            Ok(meta) if meta.is_dir() => 1 + walk(&e.path()),
            _ => 1,
        };
        entries.map(look).sum()
    }
    let start = Instant::now();
    std::hint::black_box(walk(dir));
    start.elapsed().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str, daemon: Option<u32>, seconds: f64) -> Result<Ran, Error> {
        let meter = Meter { limit: Duration::from_secs_f64(seconds), interrupt: Interrupt::default() };
        meter.run(&mut shell(script), daemon)
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_command_is_measured_with_its_children() {
        let script = "sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done'; echo done";
        let ran = run(script, None, 60.0).unwrap();
        let cost = ran.cost;
        assert!(cost.cpu > 0.0 && cost.wall > 0.0 && cost.memory > 0, "{cost:?}");
        assert_eq!(ran.said, "done\n");
    }

    #[test]
    fn what_children_write_counts() {
        let file = tempfile::NamedTempFile::new_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let script = format!("sh -c 'head -c 3000000 /dev/zero > {}; true'; true", file.path().display());
        let written = run(&script, None, 60.0).unwrap().cost.written;
        assert!((2_900_000..4_000_000).contains(&written), "{written}");
    }

    #[test]
    fn a_daemon_counts_while_it_works() {
        let mut daemon = shell("read go; i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo x; read end");
        let mut daemon = daemon.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let pid = daemon.id();
        // The client wakes the daemon through its standard input, and waits until it has used some time.
        let client = format!("echo go > /proc/{pid}/fd/0; head -c 1 /proc/{pid}/fd/1; true");
        let keep = (daemon.stdin.take(), daemon.stdout.take());
        let cost = run(&client, Some(pid), 60.0).unwrap().cost;
        drop(keep);
        let _ = daemon.kill();
        let _ = daemon.wait();
        assert!(cost.cpu > 0.01 && cost.memory > 1_000_000, "{cost:?}");
    }

    #[test]
    fn a_failed_command_says_what_it_said() {
        let failed = run("echo because >&2; exit 4", None, 60.0).unwrap_err().to_string();
        assert!(failed.contains("exit status: 4") && failed.ends_with("because"), "{failed}");
    }

    #[test]
    fn a_command_without_end_is_ended() {
        let failed = run("sleep 60", None, 0.05).unwrap_err().to_string();
        assert!(failed.contains("stopped after 0 s"), "{failed}");
    }
}
