//! A token by which one thread tells others to stop.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Tells running commands to stop. Clones are the same token; once cancelled it stays so.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    cancelled: AtomicBool,
    /// An event descriptor for each run that sleeps in `poll`.
    sleepers: Mutex<Vec<Weak<OwnedFd>>>,
}

impl Cancel {
    /// A token nobody has used yet.
    #[must_use]
    pub fn new() -> Cancel {
        Cancel::default()
    }

    /// Stops everything that runs under this token; returns at once, the runs return when their processes are gone.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::SeqCst);
        for sleeper in self.0.sleepers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if let Some(event) = sleeper.upgrade() {
                // A full counter means that a wake-up is already pending.
                let _ = rustix::io::write(&*event, &1u64.to_ne_bytes());
            }
        }
    }

    /// Whether [`cancel`](Cancel::cancel) was called.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
    }

    /// A descriptor that becomes readable on [`cancel`](Cancel::cancel), for as long as it is held.
    pub(crate) fn waker(&self) -> rustix::io::Result<Arc<OwnedFd>> {
        use rustix::event::{EventfdFlags, eventfd};
        let event = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let mut sleepers = self.0.sleepers.lock().unwrap_or_else(PoisonError::into_inner);
        sleepers.retain(|sleeper| sleeper.strong_count() > 0);
        sleepers.push(Arc::downgrade(&event));
        Ok(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_the_state_and_wake_sleepers() {
        let token = Cancel::new();
        let event = token.clone().waker().unwrap();
        assert!(!token.is_cancelled());
        token.clone().cancel();
        assert!(token.is_cancelled());
        let mut count = [0u8; 8];
        assert_eq!(rustix::io::read(&*event, &mut count).unwrap(), 8);
    }
}
