//! What a command costs: wall time, CPU time of it and the children it waited for, peak memory of its tree.

use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::error::Error;

/// What one build cost.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub(crate) struct Cost {
    /// Wall seconds.
    pub(crate) wall: f64,
    /// CPU seconds, user and system.
    pub(crate) cpu: f64,
    /// Highest sum of resident bytes over the process tree, sampled every few milliseconds.
    pub(crate) memory: u64,
}

impl Cost {
    /// One after the other.
    pub(super) fn then(self, next: Cost) -> Cost {
        Cost { wall: self.wall + next.wall, cpu: self.cpu + next.cpu, memory: self.memory.max(next.memory) }
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:7.2} s  {:6.2} CPU-s  {:4} MB", self.wall, self.cpu, self.memory / 1_000_000)
    }
}

const SAMPLE: Duration = Duration::from_millis(4);

/// Runs a command to its end.
pub(super) fn run(command: &mut Command) -> Result<Cost, Error> {
    let mut log = tempfile::tempfile().map_err(|cause| Error::Write { path: std::env::temp_dir(), cause })?;
    let copy = |f: &File| f.try_clone().map_err(|cause| Error::Write { path: std::env::temp_dir(), cause });
    command.stdin(Stdio::null()).stdout(copy(&log)?).stderr(copy(&log)?).process_group(0);
    let program = command.get_program().to_string_lossy().into_owned();
    let start = Instant::now();
    let mut child = command.spawn().map_err(|cause| Error::Start { program: program.clone(), cause })?;
    let pid = child.id();
    let watcher = thread::spawn(move || peak(pid));
    // The dead child is looked at before it is reaped: its accounts hold those of its own children.
    if let Some(pid) = Pid::from_raw(i32::try_from(pid).unwrap_or(0)) {
        let _ = rustix::io::retry_on_intr(|| waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT));
    }
    let wall = start.elapsed().as_secs_f64();
    let cpu = cpu_seconds(pid);
    let status = child.wait().map_err(|cause| Error::Start { program, cause })?;
    let memory = watcher.join().unwrap_or(0);
    if status.success() {
        return Ok(Cost { wall, cpu, memory });
    }
    Err(Error::Failed { command: format!("{command:?}"), status: status.to_string(), said: tail(&mut log) })
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

fn tail(log: &mut File) -> String {
    let mut bytes = Vec::new();
    let _ = log.seek(SeekFrom::Start(0)).and_then(|_| log.read_to_end(&mut bytes));
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

/// User and system time of a dead, unreaped process and of the children it waited for.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Fields 14 to 17, counted from 1; the name before them may hold spaces, its closing bracket is the last one.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = fields.split_ascii_whitespace().skip(11).take(4).filter_map(|t| t.parse::<u64>().ok()).sum();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

fn peak(pid: u32) -> u64 {
    let page = rustix::param::page_size() as u64;
    let mut highest = 0;
    loop {
        let pages = resident_pages(pid, 0);
        if pages == 0 {
            return highest * page;
        }
        highest = highest.max(pages);
        thread::sleep(SAMPLE);
    }
}

/// Resident pages of a process and its descendants; zero once it is dead.
fn resident_pages(pid: u32, depth: u32) -> u64 {
    if depth > 16 {
        return 0;
    }
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let own: u64 = statm.split_ascii_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return own };
    let children = tasks.flatten().flat_map(|task| {
        let list = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        list.split_ascii_whitespace().filter_map(|n| n.parse::<u32>().ok()).collect::<Vec<_>>()
    });
    own + children.map(|child| resident_pages(child, depth + 1)).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_measured_with_its_children() {
        let cost = run(Command::new("sh").args(["-c", "sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done'"]));
        let cost = cost.unwrap();
        assert!(cost.cpu > 0.0 && cost.wall > 0.0 && cost.memory > 0, "{cost:?}");
    }

    #[test]
    fn a_failed_command_says_what_it_said() {
        let failed = run(Command::new("sh").args(["-c", "echo because >&2; exit 4"])).unwrap_err().to_string();
        assert!(failed.contains("exit status: 4") && failed.ends_with("because"), "{failed}");
    }
}
