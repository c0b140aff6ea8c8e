//! A guest that is followed until it ends, or is ended: by who runs it, or by a limit.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use kiln_sandbox::Cancel;
use kiln_vm::{Vm, VmError};

use crate::error::Result;

/// How often it is looked at whether somebody wants it to end.
pub(crate) const SLICE: Duration = Duration::from_millis(100);

/// How a guest was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// It ended, or said the last that is waited for.
    Ended,
    /// The same, after it was asked to.
    Heeded,
    /// It was asked to end, and did not in time.
    Killed,
}

/// Follows a guest. `heard` gets what its console says as it comes, and says whether that was the last; `ask` asks it to
/// end, for which it then has `last_words`.
///
/// # Errors
/// When `what`, which is waited for, takes longer than it may.
pub(crate) fn follow(
    vm: &Vm,
    what: &str,
    limit: Option<Duration>,
    cancel: &Cancel,
    ask: &dyn Fn(),
    last_words: Duration,
    heard: &mut dyn FnMut(&[u8]) -> bool,
) -> Result<Left> {
    let (send, pieces) = channel();
    if let Some(console) = vm.console() {
        console.listen(move |piece| drop(send.send(piece.to_vec())));
    }
    let until = limit.map(|limit| Instant::now() + limit);
    let mut stop: Option<Instant> = None;
    loop {
        let ended = vm.ended().is_some();
        match pieces.recv_timeout(if ended { Duration::from_millis(300) } else { SLICE }) {
            Ok(piece) if heard(&piece) => break,
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) if ended => break,
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(SLICE),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if cancel.is_cancelled() && stop.is_none() {
            stop = Some(Instant::now() + last_words);
            ask();
        }
        if stop.is_some_and(|stop| Instant::now() >= stop) {
            vm.kill();
            return Ok(Left::Killed);
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            let (limit, console) = (limit.unwrap_or_default(), vm.diagnosis());
            vm.kill();
            return Err(VmError::Late { what: what.to_owned(), limit, console }.into());
        }
    }
    Ok(if stop.is_some() { Left::Heeded } else { Left::Ended })
}
