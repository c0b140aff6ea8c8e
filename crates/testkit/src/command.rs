//! Running a command to its end and showing what came of it.

use std::fmt;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::filter::Filters;

/// What a command did. Printed, it is the text of a snapshot: exit code, output, messages, filtered.
#[derive(Debug, Clone)]
pub struct Output {
    /// Exit code; 128 + N for a command ended by signal N.
    pub code: i32,
    /// Standard output, filtered.
    pub stdout: String,
    /// Standard error, filtered.
    pub stderr: String,
    /// Standard output as it came.
    pub raw_stdout: Vec<u8>,
    /// Standard error as it came.
    pub raw_stderr: Vec<u8>,
}

impl Output {
    /// The output itself, having checked that the command succeeded.
    ///
    /// # Panics
    /// If it failed; the message holds what it said.
    #[track_caller]
    #[must_use]
    pub fn ok(self) -> Output {
        assert_eq!(self.code, 0, "the command failed\n{self}");
        self
    }

    /// The output itself, having checked the exit code.
    ///
    /// # Panics
    /// If the code is another.
    #[track_caller]
    #[must_use]
    pub fn exits(self, code: i32) -> Output {
        assert_eq!(self.code, code, "the command should exit with {code}\n{self}");
        self
    }

    /// Standard output as text, unfiltered, without the newline at its end.
    ///
    /// # Panics
    /// If it is not UTF-8.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.raw_stdout).expect("standard output is text").trim_end_matches('\n')
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// If it is not JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.raw_stdout).unwrap_or_else(|e| panic!("standard output is not JSON: {e}\n{self}"))
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "exit: {}", self.code)?;
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.trim().is_empty() {
                writeln!(f, "----- {name} -----\n{}", text.trim_end())?;
            }
        }
        Ok(())
    }
}

/// Runs `command` with `input` on its standard input.
///
/// # Panics
/// If it does not start, or runs longer than `timeout`; its process group is killed first.
pub fn run(mut command: Command, input: &[u8], timeout: Duration, filters: &Filters) -> Output {
    let shown = format!("{command:?}");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().unwrap_or_else(|e| panic!("start {shown}: {e}"));
    let (mut stdin, stdout, stderr) =
        (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    let input = input.to_vec();
    // A command may end without reading all it is given; that is its right.
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let (out, err) = (thread::spawn(move || drain(stdout)), thread::spawn(move || drain(stderr)));
    let Some(status) = wait(&mut child, timeout) else {
        if let Some(group) = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap_or(0)) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = child.wait();
        let err = err.join().unwrap_or_default();
        panic!("{shown} still ran after {} s and was killed\n{}", timeout.as_secs(), String::from_utf8_lossy(&err));
    };
    let _ = writer.join();
    let (raw_stdout, raw_stderr) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
    Output {
        code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
        stdout: filters.apply(&String::from_utf8_lossy(&raw_stdout)),
        stderr: filters.apply(&String::from_utf8_lossy(&raw_stderr)),
        raw_stdout,
        raw_stderr,
    }
}

fn drain(mut from: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = from.read_to_end(&mut bytes);
    bytes
}

fn wait(child: &mut Child, timeout: Duration) -> Option<std::process::ExitStatus> {
    let (start, mut pause) = (Instant::now(), Duration::from_micros(500));
    loop {
        if let Some(status) = child.try_wait().expect("wait for the command") {
            return Some(status);
        }
        if start.elapsed() > timeout {
            return None;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, input: &[u8]) -> Output {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        run(command, input, Duration::from_secs(60), &Filters::standard())
    }

    #[test]
    fn code_output_and_messages_are_seen() {
        let output = sh("cat; echo took 1.25s >&2; exit 3", b"hello\n");
        assert_eq!(output.to_string(), "exit: 3\n----- stdout -----\nhello\n----- stderr -----\ntook [TIME]\n");
        assert_eq!(sh("kill -TERM $$", b"").code, 143);
    }

    #[test]
    #[should_panic(expected = "still ran after 0 s and was killed")]
    fn a_command_that_hangs_is_killed() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & wait"]);
        run(command, b"", Duration::from_millis(50), &Filters::standard());
    }
}
