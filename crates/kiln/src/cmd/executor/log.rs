//! What happens, told as kaniko tells it: lines of logrus on standard error, what commands write as they write it.
//!
//! The formats are logrus' (`TextFormatter` with and without colours, `JSONFormatter`), so that what reads the logs of
//! kaniko's Jobs reads these.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use kiln_engine::event::{Direction, Done, Event, Events, Stream};
use kiln_oci::{Mtime, time};
use kiln_plan::StepId;

use crate::progress::text::{self, Lines};
use crate::progress::{Reader, human};

/// How much a line matters, most first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The build fails.
    Error,
    /// Something the user should know.
    Warn,
    /// What is done.
    Info,
    /// How.
    Debug,
}

impl Level {
    /// The least that is told for a value of `--verbosity`.
    pub fn of(verbosity: &str) -> Level {
        match verbosity {
            "panic" | "fatal" | "error" => Level::Error,
            "warn" => Level::Warn,
            "debug" | "trace" => Level::Debug,
            _ => Level::Info,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warning",
            Level::Info => "info",
            Level::Debug => "debug",
        }
    }
}

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `INFO[0003] …`, in colours.
    Color,
    /// `time="…" level=info msg="…"`.
    Text,
    /// One JSON object a line.
    Json,
}

impl Format {
    /// For a value of `--log-format`.
    pub fn of(name: &str) -> Format {
        match name {
            "text" => Format::Text,
            "json" => Format::Json,
            _ => Format::Color,
        }
    }
}

/// The log of a build; clones are of the same.
#[derive(Clone)]
pub struct Log(Arc<Shared>);

struct Shared {
    style: Style,
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy)]
struct Style {
    level: Level,
    format: Format,
    /// Whether coloured lines have the time of day.
    timestamp: bool,
}

impl Log {
    /// Tells what is at least as important as `level`.
    pub fn new(level: Level, format: Format, timestamp: bool) -> Log {
        let style = Style { level, format, timestamp };
        Log(Arc::new(Shared { style, started: Instant::now(), state: Mutex::default() }))
    }

    /// Writes a line of its own.
    pub fn say(&self, level: Level, message: &str) {
        self.write(|_| vec![Said::Line(level, message.to_owned())]);
    }

    /// Writes what is said of something; one at a time, so that lines stay whole.
    fn write(&self, say: impl FnOnce(&mut State) -> Vec<Said>) {
        let Shared { style, started, state } = &*self.0;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        for said in say(&mut state) {
            // A reader that went away is no reason to stop a build.
            let _: io::Result<()> = match said {
                Said::Line(level, message) if level <= style.level => {
                    io::stderr().write_all(style.line(level, &message, started.elapsed(), now).as_bytes())
                }
                Said::Line(..) => Ok(()),
                Said::Output(Stream::Stdout, line) => io::stdout().write_all(line.as_bytes()),
                Said::Output(Stream::Stderr, line) => io::stderr().write_all(line.as_bytes()),
            };
        }
    }
}

impl Events for Log {
    fn event(&self, event: &Event<'_>) {
        self.write(|state| state.said(event));
    }
}

impl Reader for Log {
    fn finish(&self) {
        self.write(State::rest);
    }
}

impl Style {
    fn line(self, level: Level, message: &str, since: Duration, now: Duration) -> String {
        let lines: Vec<String> = message.trim_end().lines().map(|line| text::clean(line.as_bytes())).collect();
        let message = lines.join("\n");
        let secs = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let clock = || time::rfc3339(Mtime::secs(secs));
        match self.format {
            Format::Color => {
                let (color, word) = match level {
                    Level::Error => (31, "ERRO"),
                    Level::Warn => (33, "WARN"),
                    Level::Info => (36, "INFO"),
                    Level::Debug => (37, "DEBU"),
                };
                let at = if self.timestamp { clock() } else { format!("{:04}", since.as_secs()) };
                format!("\x1b[{color}m{word}\x1b[0m[{at}] {message:<44}\n")
            }
            Format::Text => format!("time=\"{}\" level={} msg={}\n", clock(), level.name(), quoted(&message)),
            Format::Json => {
                let line = serde_json::json!({ "level": level.name(), "msg": message, "time": clock() });
                format!("{line}\n")
            }
        }
    }
}

/// In quotes where logrus has them.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("{text:?}"),
    }
}

/// Something to write.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    /// A line of the log.
    Line(Level, String),
    /// A line of a command.
    Output(Stream, String),
}

/// What is open.
#[derive(Default)]
struct State {
    outputs: HashMap<StepId, [Lines; 2]>,
    /// Blobs that are moving.
    moving: HashSet<(usize, String)>,
    tasks: HashSet<String>,
}

impl State {
    fn said(&mut self, event: &Event<'_>) -> Vec<Said> {
        let info = |text: String| vec![Said::Line(Level::Info, text)];
        let debug = |text: String| vec![Said::Line(Level::Debug, text)];
        match event {
            Event::TaskStarted { title, .. } if self.tasks.insert((*title).to_owned()) => {
                match title.strip_prefix("[internal] ") {
                    Some(inner) => debug(inner.to_owned()),
                    None => info((*title).to_owned()),
                }
            }
            Event::StepStarted { title, .. } => info(instruction(title).to_owned()),
            Event::StepOutput { step, stream, bytes } => {
                let lines = &mut self.outputs.entry(*step).or_default()[usize::from(*stream == Stream::Stderr)];
                let mut out = Vec::new();
                lines.add(bytes, &mut |line| out.push(output(*stream, line)));
                out
            }
            Event::StepDone { step, title, done, took, size } => {
                let mut out = self.end(*step);
                let size = size.map_or(String::new(), |s| format!(", layer of {}", human::size(s)));
                let text = match (done, instruction(title).starts_with("FROM ")) {
                    (Done::Ran, true) => format!("Using base {}", instruction(title).trim_start_matches("FROM ")),
                    (Done::Cached, false) => format!("Using caching version of cmd: {}", instruction(title)),
                    (Done::Cached, true) => return out,
                    _ => format!("Took snapshot in {}{size}: {}", human::seconds(*took), instruction(title)),
                };
                out.push(Said::Line(Level::Info, text));
                out
            }
            Event::StepFailed { step, title, .. } => {
                let mut out = self.end(*step);
                out.push(Said::Line(Level::Error, format!("failed: {}", instruction(title))));
                out
            }
            Event::Transfer { name, direction, current, finished, .. } => {
                self.transfer(*direction, name, *current, *finished)
            }
            Event::Warning(message) => vec![Said::Line(Level::Warn, (*message).to_owned())],
            Event::Spent { phase, took } => debug(format!("{} took {}", phase.name(), human::seconds(*took))),
            Event::TaskStarted { .. } | Event::TaskDone { .. } => Vec::new(),
        }
    }

    fn transfer(&mut self, direction: Direction, name: &str, current: u64, finished: bool) -> Vec<Said> {
        let key = (crate::progress::index(direction), name.to_owned());
        let moved = match finished {
            false => {
                self.moving.insert(key);
                return Vec::new();
            }
            true => self.moving.remove(&key),
        };
        let hex = name.len() == 12 && name.bytes().all(|b| b.is_ascii_hexdigit());
        let name = if hex { format!("sha256:{name}") } else { name.to_owned() };
        let text = match (direction, moved) {
            (Direction::Upload, true) => format!("pushed blob {name}"),
            (Direction::Upload, false) => format!("existing blob: {name}"),
            (Direction::Download, _) if current > 0 => format!("Downloaded {name} ({})", human::size(current)),
            (Direction::Unpack, _) => format!("Unpacked {name}"),
            _ => return Vec::new(),
        };
        vec![Said::Line(Level::Info, text)]
    }

    /// The last line of a step's command, without its end.
    fn end(&mut self, step: StepId) -> Vec<Said> {
        let mut out = Vec::new();
        if let Some([mut stdout, mut stderr]) = self.outputs.remove(&step) {
            stdout.end(&mut |line| out.push(output(Stream::Stdout, line)));
            stderr.end(&mut |line| out.push(output(Stream::Stderr, line)));
        }
        out
    }

    fn rest(&mut self) -> Vec<Said> {
        let steps: Vec<StepId> = self.outputs.keys().copied().collect();
        steps.into_iter().flat_map(|step| self.end(step)).collect()
    }
}

fn output(stream: Stream, line: &[u8]) -> Said {
    Said::Output(stream, format!("{}\n", text::clean(line).trim_end()))
}

/// The instruction of a step's title: `[build 2/3] RUN make` is about `RUN make`.
fn instruction(title: &str) -> &str {
    let rest = match title.strip_prefix('[') {
        Some(rest) => rest.split_once("] ").map_or(title, |(_, rest)| rest),
        None => title,
    };
    rest.lines().next().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(title: &str) -> [Event<'_>; 3] {
        let step = StepId(1);
        [
            Event::StepStarted { step, title },
            Event::StepOutput { step, stream: Stream::Stdout, bytes: b"one\x1b[2J\ntwo" },
            Event::StepDone { step, title, done: Done::Ran, took: Duration::from_secs(2), size: Some(1_000_000) },
        ]
    }

    #[test]
    fn a_step_is_its_instruction_its_output_and_its_layer() {
        let mut state = State::default();
        let said: Vec<Said> = step("[build 2/3] RUN make \\\n  all").iter().flat_map(|e| state.said(e)).collect();
        let line = |text: &str| Said::Line(Level::Info, text.to_owned());
        let output = |text: &str| Said::Output(Stream::Stdout, text.to_owned());
        let want = [
            line("RUN make \\"),
            output("one\n"),
            output("two\n"),
            line("Took snapshot in 2.0s, layer of 1MB: RUN make \\"),
        ];
        assert_eq!(said, want);
    }

    #[test]
    fn blobs_are_pushed_or_there() {
        let mut state = State::default();
        let mut told = |name: &'static str, current, finished| {
            let direction = Direction::Upload;
            state.said(&Event::Transfer { name, direction, current, total: Some(9), finished })
        };
        assert_eq!(told("0123456789ab", 3, false), []);
        let line = |text: &str| vec![Said::Line(Level::Info, text.to_owned())];
        assert_eq!(told("0123456789ab", 9, true), line("pushed blob sha256:0123456789ab"));
        assert_eq!(told("sha256:bb", 9, true), line("existing blob: sha256:bb"));
    }

    #[test]
    fn lines_are_those_of_logrus() {
        let at = |format, timestamp| {
            let style = Style { level: Level::Info, format, timestamp };
            style.line(Level::Warn, "a \"b\"\x07\nc", Duration::from_secs(7), Duration::from_secs(86_400))
        };
        assert_eq!(at(Format::Text, false), "time=\"1970-01-02T00:00:00Z\" level=warning msg=\"a \\\"b\\\"\\nc\"\n");
        assert_eq!(
            at(Format::Json, false),
            "{\"level\":\"warning\",\"msg\":\"a \\\"b\\\"\\nc\",\"time\":\"1970-01-02T00:00:00Z\"}\n"
        );
        let color = at(Format::Color, false);
        assert!(color.starts_with("\x1b[33mWARN\x1b[0m[0007] a \"b\""), "{color:?}");
        assert!(at(Format::Color, true).contains("[1970-01-02T00:00:00Z]"));
        assert_eq!(quoted("plain-1.2"), "plain-1.2");
    }

    #[test]
    fn verbosity_counts() {
        assert!(Level::of("error") < Level::of("warn") && Level::of("info") < Level::of("trace"));
    }
}
