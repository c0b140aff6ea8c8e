//! What happens while an image is made, as it happens: one stream of events with several readers (terminal, plain
//! lines, JSON, tests).

use std::time::Duration;

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
