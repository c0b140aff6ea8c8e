//! What happens, as it happens: for a terminal, a log, or a program.

use std::time::Duration;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A phase begins, on so many hosts.
    Phase {
        /// Its name.
        phase: &'static str,
        /// How many hosts it has work on.
        hosts: usize,
    },
    /// A phase has nothing to do.
    Nothing {
        /// Its name.
        phase: &'static str,
    },
    /// A host is done with a phase.
    Done {
        /// The phase.
        phase: &'static str,
        /// The host.
        host: String,
        /// How long it took.
        took: Duration,
    },
    /// A host failed at a phase.
    Failed {
        /// The phase.
        phase: &'static str,
        /// The host.
        host: String,
        /// Why.
        why: String,
    },
    /// Bytes on their way to a host.
    Moved {
        /// The host.
        host: String,
        /// So many so far.
        bytes: u64,
        /// Of so many.
        total: u64,
    },
    /// Something to know.
    Note {
        /// The host, if it is about one.
        host: Option<String>,
        /// What.
        text: String,
    },
}

/// Who is told.
pub trait Events: Send + Sync {
    /// Tells it.
    fn event(&self, event: Event);
}

/// Nobody is told.
#[derive(Debug, Default)]
pub struct Silent;

impl Events for Silent {
    fn event(&self, _event: Event) {}
}
