//! What happens, for people and programs: each style reads the same events.

mod plain;

use std::sync::Arc;

use kiln_engine::event::{Events, Silent};

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Style {
    /// Live on a terminal, plain lines elsewhere.
    Auto,
    /// Live.
    Tty,
    /// One line an event.
    Plain,
    /// Nothing.
    Quiet,
    /// One JSON object an event.
    Json,
}

/// The reader of events for a style.
pub fn events(style: Style) -> Arc<dyn Events> {
    match style {
        Style::Quiet => Arc::new(Silent),
        _ => Arc::new(plain::Plain::new()),
    }
}
