//! Until a resource is as it should be: asked again after ever longer pauses, and stopped at once when the caller wants.

use std::time::Duration;

use kiln_ledger::poll::{self, Backoff};

use crate::{AlicloudError, Result, Stop};

/// What a look showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight<T> {
    /// It is as it should be.
    There(T),
    /// Not yet: its state.
    Not(String),
}

/// For networks, addresses and deletions.
pub const SHORT: Duration = Duration::from_secs(180);
/// For machines that start and stop.
pub const LONG: Duration = Duration::from_secs(1800);

/// Looks until `what` is `wanted`, for `limit` at the most.
///
/// # Errors
/// Those of a look; that it takes too long; that the caller wants to stop.
pub fn until<T>(
    what: &str,
    wanted: &'static str,
    limit: Duration,
    stop: Stop<'_>,
    mut look: impl FnMut() -> Result<Sight<T>>,
) -> Result<T> {
    let mut backoff = Backoff::new(limit);
    loop {
        let seen = match look()? {
            Sight::There(it) => return Ok(it),
            Sight::Not(state) => state,
        };
        match backoff.wait(stop) {
            Ok(()) => {}
            Err(poll::Stop::Cancelled) => return Err(AlicloudError::Cancelled),
            Err(poll::Stop::TimedOut(after)) => {
                return Err(AlicloudError::TimedOut { what: what.to_owned(), wanted, seen, after });
            }
        }
    }
}

/// A look at something that has a state.
pub(crate) fn state_of<T>(it: Option<T>, wanted: &str, state: impl Fn(&T) -> &str) -> Sight<T> {
    match it {
        None => Sight::Not("not there".to_owned()),
        Some(it) if state(&it) == wanted => Sight::There(it),
        Some(it) => Sight::Not(state(&it).to_owned()),
    }
}
