//! Monitors other than qemu: children whose console is Kiln's own, which are asked before they are killed, and which
//! cannot outlive Kiln.
//!
//! The guardian is that of `guard`, with three differences: the child speaks to where Kiln speaks, reads a file if it is
//! given one, and gets the SIGTERM that the guardian gets. Both are in a process group of their own, so that a Ctrl-C at
//! the terminal reaches Kiln alone, and the child once, when Kiln passes it on.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::VmError;
use crate::guard::Ended;

/// What the guardian does. Its first argument is what the child reads. A `wait` that a signal ends says so by its status,
/// and is done again.
const GUARDIAN: &str = r#"exec 3<&0 </dev/null
input=$1 child= asked=
shift
trap 'asked=1; [ -z "$child" ] || kill "$child"' TERM
"$@" <"$input" 3<&- &
child=$!
exec >/dev/null 2>&1
{ read -r _ <&3; kill -9 "$child"; } &
watch=$!
exec 3<&-
[ -z "$asked" ] || kill "$child"
wait "$child"
status=$?
while [ -n "$asked" ]; do
    asked=
    wait "$child"
    status=$?
done
kill "$watch"
exit "$status""#;

/// Between two looks at whether it has ended.
const SLICE: Duration = Duration::from_millis(10);

/// A running child and its guardian. Dropping it kills both.
#[derive(Debug)]
pub struct Attended {
    program: PathBuf,
    /// Its standard input is held open for as long as the child may live.
    guardian: Child,
    ended: Option<Ended>,
}

impl Attended {
    /// Starts a program, which reads `input`, or nothing.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start<A: AsRef<OsStr>>(program: &Path, args: &[A], input: Option<&Path>) -> Result<Attended, VmError> {
        use std::os::unix::process::CommandExt;
        let started = Command::new("/bin/sh")
            .args(["-c", GUARDIAN, "kiln-guard"])
            .arg(input.unwrap_or(Path::new("/dev/null")))
            .arg(program)
            .args(args)
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn();
        let guardian = started.map_err(|source| VmError::Start { program: program.to_owned(), source })?;
        Ok(Attended { program: program.to_owned(), guardian, ended: None })
    }

    /// How it ended, or none if it still runs after that time.
    ///
    /// # Errors
    /// When that cannot be told.
    pub fn wait(&mut self, limit: Duration) -> Result<Option<Ended>, VmError> {
        let until = Instant::now() + limit;
        while self.ended.is_none() {
            let status = self.guardian.try_wait();
            let status = status.map_err(|source| VmError::Start { program: self.program.clone(), source })?;
            self.ended = status.map(Ended::of);
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            if self.ended.is_none() {
                std::thread::sleep(left.min(SLICE));
            }
        }
        Ok(self.ended)
    }

    /// Asks it to end: SIGTERM.
    pub fn ask(&mut self) {
        if let Ok(None) = self.wait(Duration::ZERO) {
            // Not waited for yet, so the number is still the guardian's.
            let _ = kill_process(Pid::from_child(&self.guardian), Signal::TERM);
        }
    }

    /// Kills it, at once.
    pub fn kill(&mut self) {
        if let Ok(None) = self.wait(Duration::ZERO) {
            let _ = kill_process_group(Pid::from_child(&self.guardian), Signal::KILL);
            self.ended = self.guardian.wait().ok().map(Ended::of);
        }
    }
}

impl Drop for Attended {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn sh(script: &str, input: Option<&Path>) -> Attended {
        Attended::start(Path::new("/bin/sh"), &["-c", script], input).unwrap()
    }

    /// Waits until a script has made a file.
    fn made(file: &Path) {
        let until = Instant::now() + LONG;
        while !file.exists() {
            assert!(Instant::now() < until, "{} is not made", file.display());
            std::thread::sleep(SLICE);
        }
    }

    #[test]
    fn statuses_are_told_and_a_file_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let (input, output) = (dir.path().join("in"), dir.path().join("out"));
        std::fs::write(&input, "words").unwrap();
        let mut child = sh(&format!("cat /dev/stdin >{}; exit 7", output.display()), Some(&input));
        assert_eq!(child.wait(LONG).unwrap(), Some(Ended::Exited(7)));
        assert_eq!(std::fs::read_to_string(&output).unwrap(), "words");
        let mut child = sh("read -r _ || kill -11 $$", None);
        assert_eq!(child.wait(LONG).unwrap(), Some(Ended::Signalled(11)));
    }

    #[test]
    fn who_is_asked_may_finish_and_is_asked_once() {
        let dir = tempfile::tempdir().unwrap();
        let (ready, asked) = (dir.path().join("ready"), dir.path().join("asked"));
        let script = format!(
            "trap 'echo x >>{1}' TERM; >{0}; until [ -s {1} ]; do sleep 0.05; done; sleep 0.2; exit 5",
            ready.display(),
            asked.display()
        );
        let mut child = sh(&script, None);
        made(&ready);
        child.ask();
        assert_eq!(child.wait(LONG).unwrap(), Some(Ended::Exited(5)));
        assert_eq!(std::fs::read_to_string(&asked).unwrap(), "x\n");
        // One that has ended is nobody to ask.
        child.ask();
        child.kill();
        assert_eq!(child.wait(LONG).unwrap(), Some(Ended::Exited(5)));
    }

    #[test]
    fn who_does_not_heed_is_killed_and_so_is_who_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let script = format!("trap '' TERM; echo $$ >{0}.new; mv {0}.new {0}; exec sleep 1000", file.display());
        let ends: [fn(Attended); 3] = [
            |mut child| child.kill(),
            drop,
            // As the kernel does when Kiln itself is killed.
            |mut child| {
                drop(child.guardian.stdin.take());
                assert_eq!(child.wait(LONG).unwrap(), Some(Ended::Signalled(9)));
            },
        ];
        for end in ends {
            let mut child = sh(&script, None);
            made(&file);
            let proc = format!("/proc/{}/cmdline", std::fs::read_to_string(&file).unwrap().trim());
            child.ask();
            assert_eq!(child.wait(Duration::from_millis(300)).unwrap(), None);
            assert!(std::fs::read_to_string(&proc).is_ok_and(|line| !line.is_empty()));
            end(child);
            // Gone, or waiting for init to collect it: its command line is empty then.
            let until = Instant::now() + LONG;
            while std::fs::read_to_string(&proc).is_ok_and(|line| !line.is_empty()) {
                assert!(Instant::now() < until, "still there");
                std::thread::sleep(SLICE);
            }
            std::fs::remove_file(&file).unwrap();
        }
    }
}
