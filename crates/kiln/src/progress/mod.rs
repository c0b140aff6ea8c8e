//! What happens, for people and programs: each style reads the same events.
//!
//! [`tty`] live on a terminal, drawn by [`frame`] from what [`board`] knows     [`plain`] lines for logs
//! [`json`] for programs, described in `docs/progress-events.md`                [`order`] cached steps, sorted
//! [`replay`] what a build elsewhere told, told again
//! [`text`] makes hostile output safe to show    [`human`] sizes, durations, ages    [`mod@summary`] where time went
//!
//! Adding an event: its variant in `kiln-engine`, its row in [`json`] and in the document, its place on the board, its
//! plain line.

mod board;
mod frame;
pub mod human;
mod json;
mod order;
mod plain;
pub mod replay;
mod summary;
pub mod text;
mod tty;

use std::io::IsTerminal;
use std::sync::Arc;

use kiln_engine::event::{Event, Events};

pub use board::index;
pub use summary::summary;

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
    #[value(alias = "rawjson")]
    Json,
}

/// A reader of events that leaves things tidy.
pub trait Reader: Events {
    /// The story is over: what is open is closed, the terminal is given back. May be called more than once.
    fn finish(&self);
}

/// Shows progress until it is finished or dropped.
pub struct Progress {
    reader: Arc<order::InOrder>,
}

impl Progress {
    /// Begins to show progress on standard error. `doing` is the word over a live list, such as `Building`.
    pub fn start(style: Style, doing: &'static str) -> Progress {
        let (reader, complaint) = reader(style, doing);
        let reader = Arc::new(order::InOrder::new(reader));
        if let Some(text) = complaint {
            reader.event(&Event::Warning(&text));
        }
        Progress { reader }
    }

    /// Progress as a verb of its own tells it.
    pub fn told_by(reader: Box<dyn Reader>) -> Progress {
        Progress { reader: Arc::new(order::InOrder::new(reader)) }
    }

    /// Who is to be told what happens.
    pub fn events(&self) -> Arc<dyn Events> {
        self.reader.clone()
    }

    /// Gives the terminal back; call it before anything else is printed. Warnings that come later are still shown.
    pub fn finish(self) {}
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.reader.finish();
    }
}

/// The reader, and what is wrong with the user's wish.
fn reader(style: Style, doing: &'static str) -> (Box<dyn Reader>, Option<String>) {
    let terminal = std::io::stderr().is_terminal();
    let var = |name: &str| std::env::var(name).ok();
    let (style, mut complaint) = choose(style, terminal, &var);
    if style == Style::Tty {
        let color = var("NO_COLOR").is_none_or(|v| v.is_empty());
        match tty::Tty::start(Box::new(std::io::stderr()), Box::new(tty::stderr_size), color, doing) {
            Ok(tty) => return (Box::new(tty), complaint),
            Err(e) => complaint = Some(format!("progress is shown plainly: no thread for drawing: {e}")),
        }
    }
    let out = Box::new(std::io::stderr());
    let reader: Box<dyn Reader> = match style {
        Style::Quiet => Box::new(Quiet),
        Style::Json => Box::new(json::Json::new(out)),
        Style::Plain | Style::Auto | Style::Tty => Box::new(plain::Plain::new(out)),
    };
    (reader, complaint)
}

/// The style that is meant: one of Tty, Plain, Quiet and Json; and what is wrong with the wish.
fn choose(style: Style, terminal: bool, var: &dyn Fn(&str) -> Option<String>) -> (Style, Option<String>) {
    let mut style = style;
    let mut complaint = None;
    if style == Style::Auto {
        let named = ["KILN_PROGRESS", "BUILDKIT_PROGRESS"]
            .into_iter()
            .find_map(|name| var(name).filter(|v| !v.is_empty()).map(|v| (name, v)));
        if let Some((name, value)) = named {
            match <Style as clap::ValueEnum>::from_str(&value, true) {
                Ok(wanted) => style = wanted,
                Err(_) => {
                    complaint = Some(format!("{name}={value} is ignored: expected auto, tty, plain, quiet or json"));
                }
            }
        }
    }
    match style {
        Style::Auto if terminal && var("TERM").is_none_or(|t| t != "dumb") => (Style::Tty, complaint),
        Style::Auto => (Style::Plain, complaint),
        Style::Tty if !terminal => {
            let text = "progress is shown plainly: live progress needs a terminal as standard error";
            (Style::Plain, Some(text.to_owned()))
        }
        other => (other, complaint),
    }
}

/// Shows nothing: `--quiet` asks for the result only.
struct Quiet;

impl Events for Quiet {
    fn event(&self, _: &Event<'_>) {}
}

impl Reader for Quiet {
    fn finish(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(style: Style, terminal: bool, vars: &[(&str, &str)]) -> (Style, Option<String>) {
        let var = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        choose(style, terminal, &var)
    }

    #[test]
    fn auto_is_live_on_a_terminal_that_can() {
        assert_eq!(chosen(Style::Auto, true, &[("TERM", "xterm")]).0, Style::Tty);
        assert_eq!(chosen(Style::Auto, true, &[("TERM", "dumb")]).0, Style::Plain);
        assert_eq!(chosen(Style::Auto, false, &[("TERM", "xterm")]).0, Style::Plain);
    }

    #[test]
    fn the_environment_chooses_for_auto_only() {
        let vars = [("KILN_PROGRESS", "plain"), ("BUILDKIT_PROGRESS", "rawjson")];
        assert_eq!(chosen(Style::Auto, true, &vars).0, Style::Plain);
        assert_eq!(chosen(Style::Auto, true, &vars[1..]).0, Style::Json);
        assert_eq!(chosen(Style::Quiet, true, &vars).0, Style::Quiet);
        assert_eq!(chosen(Style::Auto, true, &[("KILN_PROGRESS", ""), vars[1]]).0, Style::Json);
    }

    #[test]
    fn wishes_that_cannot_be_met_are_told() {
        let (style, told) = chosen(Style::Auto, false, &[("BUILDKIT_PROGRESS", "fancy")]);
        assert_eq!((style, told.is_some_and(|t| t.contains("BUILDKIT_PROGRESS=fancy"))), (Style::Plain, true));
        let (style, told) = chosen(Style::Tty, false, &[]);
        assert_eq!((style, told.is_some()), (Style::Plain, true));
    }
}
