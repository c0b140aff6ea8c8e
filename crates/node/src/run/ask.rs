//! Questions to the user while builds run, one at a time.

use std::io::{BufRead, IsTerminal};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use kiln_sandbox::Cancel;

use crate::error::{NodeError, Result};

/// Somebody who answers.
pub trait Asker: Send + Sync {
    /// A line; `None` when nobody answers.
    ///
    /// # Errors
    /// When the user stops the build instead.
    fn ask(&self, cancel: &Cancel) -> Result<Option<String>>;
}

/// Lines of a stream, read by a thread of its own so that waiting can be stopped.
pub struct Lines {
    lines: Mutex<mpsc::Receiver<String>>,
}

impl Lines {
    /// Lines of standard input.
    pub fn stdin() -> Lines {
        Lines::of(std::io::BufReader::new(std::io::stdin()))
    }

    /// Lines of `input`.
    pub fn of(input: impl BufRead + Send + 'static) -> Lines {
        let (send, lines) = mpsc::channel();
        let read = move || {
            for line in input.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        };
        // Without the thread nobody answers.
        let _ = std::thread::Builder::new().name("questions".to_owned()).spawn(read);
        Lines { lines: Mutex::new(lines) }
    }
}

impl Asker for Lines {
    fn ask(&self, cancel: &Cancel) -> Result<Option<String>> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if cancel.is_cancelled() {
                return Err(NodeError::Cancelled);
            }
            match lines.recv_timeout(Duration::from_millis(50)) {
                Ok(line) => return Ok(Some(line)),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
    }
}

/// Whether somebody sits in front of standard input.
pub fn is_interactive() -> bool {
    std::io::stdin().is_terminal()
}

/// Nobody.
pub struct Nobody;

impl Asker for Nobody {
    fn ask(&self, _: &Cancel) -> Result<Option<String>> {
        Ok(None)
    }
}
