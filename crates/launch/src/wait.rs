//! Waiting for what becomes of hosts: asked again and again, for as long as somebody has patience.

use std::time::{Duration, Instant};

use crate::error::{LaunchError, Result};
use crate::launch::Launch;

/// Asks until nothing is lacking any more, or `patience` is over: then what is lacking still. `pause` is between two
/// questions; it is no longer than the patience of the whole launch.
///
/// # Errors
/// Those of who asks; and when the user stops it.
pub fn until<T>(
    launch: &Launch,
    patience: Duration,
    pause: Duration,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let began = Instant::now();
    loop {
        let lacking = ask()?;
        if lacking.is_none() || began.elapsed() >= patience {
            return Ok(lacking);
        }
        if launch.cancel.is_set() {
            return Err(LaunchError::Cancelled);
        }
        std::thread::sleep(pause.min(launch.options.patience));
    }
}
