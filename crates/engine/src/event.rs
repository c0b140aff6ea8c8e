//! What happens while an image is made, as it happens: one stream of events with several readers (terminal, plain
//! lines, JSON, tests).

use std::time::{Duration, Instant};

use kiln_plan::StepId;

/// Which stream a command wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a step ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// It ran.
    Ran,
    /// Its layer was in the cache.
    Cached,
    /// Another step of the same key did the work.
    Shared,
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From a registry or URL.
    Download,
    /// To a registry.
    Upload,
    /// From a blob to a directory.
    Unpack,
    /// Into a file or directory the user asked for.
    Export,
}

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Event<'a> {
    /// Work outside any step, such as resolving a base, began; `id` is unique in the build.
    TaskStarted {
        /// Names the task in later events.
        id: u64,
        /// What it is.
        title: &'a str,
    },
    /// It ended.
    TaskDone {
        /// Which.
        id: u64,
        /// How long it took.
        took: Duration,
        /// Whether it failed; the error follows by other means.
        failed: bool,
    },
    /// A step began.
    StepStarted {
        /// Which.
        step: StepId,
        /// What it is.
        title: &'a str,
    },
    /// A step's command wrote something: whole lines or parts of lines.
    StepOutput {
        /// Which.
        step: StepId,
        /// Where to.
        stream: Stream,
        /// What.
        bytes: &'a [u8],
    },
    /// A step ended well.
    StepDone {
        /// Which.
        step: StepId,
        /// What it is.
        title: &'a str,
        /// How.
        done: Done,
        /// How long it took.
        took: Duration,
        /// Size of its layer's blob in bytes, if it made one.
        size: Option<u64>,
    },
    /// A step failed; the error follows by other means.
    StepFailed {
        /// Which.
        step: StepId,
        /// What it is.
        title: &'a str,
        /// How long it took.
        took: Duration,
    },
    /// Bytes of a blob moved.
    Transfer {
        /// The blob, shortened for people.
        name: &'a str,
        /// Which way.
        direction: Direction,
        /// Bytes so far.
        current: u64,
        /// Bytes in all, if known.
        total: Option<u64>,
        /// Whether this is the last event for it.
        finished: bool,
    },
    /// Something the user should know.
    Warning(&'a str),
    /// Work of a kind ended. Such work overlaps, and is part of tasks and steps; for knowing where the time goes.
    Spent {
        /// What kind.
        phase: Phase,
        /// How long it took.
        took: Duration,
    },
}

/// Kinds of work, by what it is done for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Asking registries and other places what a name means.
    Resolve,
    /// Looking at the context: for keys, and for what is copied.
    Context,
    /// Planning.
    Plan,
    /// Looking steps up in the cache.
    Lookup,
    /// Moving blobs into the store.
    Fetch,
    /// Making files of layers.
    Unpack,
    /// Running commands.
    Run,
    /// Finding what a command changed.
    Diff,
    /// Writing layers: reading files, tar, digests, compression.
    Layer,
    /// Moving images to registries.
    Push,
    /// Moving images to files and names.
    Export,
}

impl Phase {
    /// All of them, in the order of a build.
    pub const ALL: [Phase; 11] = [
        Phase::Resolve,
        Phase::Context,
        Phase::Plan,
        Phase::Lookup,
        Phase::Fetch,
        Phase::Unpack,
        Phase::Run,
        Phase::Diff,
        Phase::Layer,
        Phase::Push,
        Phase::Export,
    ];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Resolve => "resolve",
            Phase::Context => "context",
            Phase::Plan => "plan",
            Phase::Lookup => "lookup",
            Phase::Fetch => "fetch",
            Phase::Unpack => "unpack",
            Phase::Run => "run",
            Phase::Diff => "diff",
            Phase::Layer => "layer",
            Phase::Push => "push",
            Phase::Export => "export",
        }
    }
}

/// Work of a kind that goes on; that it ended is told when this is dropped.
#[must_use = "it ends when it is dropped"]
pub struct Spending<'a> {
    events: &'a dyn Events,
    phase: Phase,
    started: Instant,
}

impl<'a> Spending<'a> {
    /// Begins now.
    pub fn on(phase: Phase, events: &'a dyn Events) -> Spending<'a> {
        Spending { events, phase, started: Instant::now() }
    }
}

impl Drop for Spending<'_> {
    fn drop(&mut self) {
        self.events.event(&Event::Spent { phase: self.phase, took: self.started.elapsed() });
    }
}

/// A reader of events. Called from many threads.
pub trait Events: Send + Sync {
    /// Takes one event.
    fn event(&self, event: &Event<'_>);
}

/// Reads nothing.
pub struct Silent;

impl Events for Silent {
    fn event(&self, _: &Event<'_>) {}
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn what_was_spent_is_told_at_the_end() {
        #[derive(Default)]
        struct Seen(Mutex<Vec<Phase>>);
        impl Events for Seen {
            fn event(&self, event: &Event<'_>) {
                let Event::Spent { phase, .. } = event else { panic!("{event:?}") };
                self.0.lock().unwrap().push(*phase);
            }
        }
        let seen = Seen::default();
        let outer = Spending::on(Phase::Run, &seen);
        drop(Spending::on(Phase::Diff, &seen));
        drop(outer);
        assert_eq!(seen.0.into_inner().unwrap(), [Phase::Diff, Phase::Run]);
        assert!(Phase::ALL.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
