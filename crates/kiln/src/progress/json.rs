//! Events for programs: one JSON object a line, as `docs/progress-events.md` promises.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_engine::event::{Direction, Done, Event, Events, Phase, Stream};
use kiln_oci::{Mtime, time};
use kiln_plan::StepId;
use serde_json::{Value, json};

use super::board::index;
use super::{Reader, tty};

/// Raised when a line of today would be misread by a program of yesterday; new events and members do not raise it.
const VERSION: u32 = 1;
/// Time between two events of one transfer.
const PERIOD: Duration = Duration::from_millis(500);

/// JSON lines.
pub struct Json {
    started: Instant,
    state: Mutex<State>,
}

struct State {
    out: Box<dyn Write + Send>,
    begun: bool,
    over: bool,
    transfers: HashMap<(usize, String), Duration>,
    /// The beginning of a character whose end is in the next piece of output.
    split: HashMap<(StepId, bool), Vec<u8>>,
    busy: BTreeMap<Phase, Duration>,
    lines: u64,
}

impl Json {
    /// Nothing said yet.
    pub fn new(out: Box<dyn Write + Send>) -> Json {
        let (transfers, split, busy) = Default::default();
        let state = State { out, begun: false, over: false, transfers, split, busy, lines: 0 };
        Json { started: Instant::now(), state: Mutex::new(state) }
    }
}

impl Events for Json {
    fn event(&self, event: &Event<'_>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.over {
            // The last line was said; what follows it is text, as errors are.
            if let Event::Warning(message) = event {
                let _ = state.out.write_all(tty::warning(message, false).as_bytes());
            }
            return;
        }
        state.begin();
        for value in state.values(event, self.started.elapsed()) {
            state.say(value);
        }
    }
}

impl Reader for Json {
    fn finish(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.over {
            state.begin();
            state.over = true;
            for (step, stdout) in state.split.keys().copied().collect::<BTreeSet<_>>() {
                let bytes = state.split.remove(&(step, stdout)).unwrap_or_default();
                let stream = if stdout { Stream::Stdout } else { Stream::Stderr };
                state.say(output(step, stream, &bytes));
            }
            let busy: BTreeMap<&str, u64> =
                state.busy.iter().map(|(phase, time)| (phase.name(), micros(*time))).collect();
            let milliseconds = millis(self.started.elapsed());
            state.say(json!({ "event": "finished", "milliseconds": milliseconds, "busy": busy }));
        }
    }
}

impl State {
    fn begin(&mut self) {
        if !self.begun {
            self.begun = true;
            self.say(json!({ "event": "started", "version": VERSION, "kiln": env!("CARGO_PKG_VERSION") }));
        }
    }

    fn say(&mut self, value: Value) {
        self.lines += 1;
        let line = line(&now(), self.lines, value);
        // A reader that went away is no reason to stop a build.
        let _: io::Result<()> = self.out.write_all(line.as_bytes()).and_then(|()| self.out.flush());
    }

    /// An event as objects without the time: mostly one.
    fn values(&mut self, event: &Event<'_>, now: Duration) -> Vec<Value> {
        let one = match event {
            Event::TaskStarted { id, title } => json!({ "event": "task-started", "task": id, "title": title }),
            Event::TaskDone { id, took, failed } => {
                json!({ "event": "task-done", "task": id, "milliseconds": millis(*took), "failed": failed })
            }
            Event::StepStarted { step, title } => json!({ "event": "step-started", "step": step.0, "title": title }),
            Event::StepOutput { step, stream, bytes } => return self.output(*step, *stream, bytes),
            Event::StepDone { step, title, done, took, size } => {
                let (done, took) = (done_name(*done), millis(*took));
                let last = json!({ "event": "step-done", "step": step.0, "title": title, "done": done,
                    "milliseconds": took, "size": size });
                return self.ended(*step, last);
            }
            Event::StepFailed { step, title, took } => {
                let took = millis(*took);
                let last = json!({ "event": "step-failed", "step": step.0, "title": title, "milliseconds": took });
                return self.ended(*step, last);
            }
            Event::Transfer { name, direction, current, total, finished } => {
                let key = (index(*direction), (*name).to_owned());
                let recent = self.transfers.get(&key).is_some_and(|at| now.saturating_sub(*at) < PERIOD);
                if *finished {
                    self.transfers.remove(&key);
                } else if recent {
                    return Vec::new();
                } else {
                    self.transfers.insert(key, now);
                }
                json!({ "event": "transfer", "name": name, "direction": direction_name(*direction),
                    "current": current, "total": total, "finished": finished })
            }
            Event::Warning(text) => json!({ "event": "warning", "text": text }),
            Event::Spent { phase, took } => {
                *self.busy.entry(*phase).or_default() += *took;
                return Vec::new();
            }
        };
        vec![one]
    }

    /// Output with what was kept back before it; a character that is cut at the end is kept back in turn.
    fn output(&mut self, step: StepId, stream: Stream, bytes: &[u8]) -> Vec<Value> {
        let key = (step, stream == Stream::Stdout);
        let mut all = self.split.remove(&key).unwrap_or_default();
        all.extend_from_slice(bytes);
        let cut = all.len() - cut_character(&all);
        let rest = all.split_off(cut);
        if !rest.is_empty() {
            self.split.insert(key, rest);
        }
        if all.is_empty() { Vec::new() } else { vec![output(step, stream, &all)] }
    }

    /// What was kept back of a step's output, and its last event.
    fn ended(&mut self, step: StepId, last: Value) -> Vec<Value> {
        let streams = [(Stream::Stdout, true), (Stream::Stderr, false)];
        let rest = streams.map(|(stream, key)| self.split.remove(&(step, key)).map(|b| output(step, stream, &b)));
        rest.into_iter().flatten().chain([last]).collect()
    }
}

fn output(step: StepId, stream: Stream, bytes: &[u8]) -> Value {
    let stream = if stream == Stream::Stdout { "stdout" } else { "stderr" };
    let mut value =
        json!({ "event": "step-output", "step": step.0, "stream": stream, "text": String::from_utf8_lossy(bytes) });
    if std::str::from_utf8(bytes).is_err() {
        value["base64"] = json!(STANDARD.encode(bytes));
    }
    value
}

/// How many bytes at the end begin a character that more bytes could complete.
fn cut_character(bytes: &[u8]) -> usize {
    let tail = &bytes[bytes.len().saturating_sub(3)..];
    let Some(first) = tail.iter().rposition(|b| b & 0xc0 != 0x80) else { return 0 };
    match std::str::from_utf8(&tail[first..]) {
        Err(e) if e.error_len().is_none() => tail.len() - first,
        _ => 0,
    }
}

fn done_name(done: Done) -> &'static str {
    match done {
        Done::Ran => "ran",
        Done::Cached => "cached",
        Done::Shared => "shared",
    }
}

fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Download => "download",
        Direction::Upload => "upload",
        Direction::Unpack => "unpack",
        Direction::Export => "export",
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let nanos = since.subsec_millis() * 1_000_000;
    time::rfc3339(Mtime { secs: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanos })
}

/// The line for an object: time and number first, and nothing in it that a terminal would act on.
fn line(time: &str, number: u64, value: Value) -> String {
    let mut all = json!({ "time": time, "line": number });
    if let (Some(all), Value::Object(members)) = (all.as_object_mut(), value) {
        all.extend(members);
    }
    let mut out = String::new();
    for c in all.to_string().chars() {
        // JSON leaves these as they are, and only strings can hold them.
        if matches!(c, '\u{7f}'..='\u{9f}') {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out.push('\n');
    out
}

#[cfg(test)]
pub(super) use tests::{all as one_of_each, lines as lines_of_one_of_each};

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn text(step: usize, bytes: &[u8]) -> Event<'_> {
        Event::StepOutput { step: StepId(step), stream: Stream::Stdout, bytes }
    }

    /// The lines for events, read as JSON.
    fn told(events: &[Event<'_>]) -> Vec<Value> {
        let written = Written::default();
        let json = Json::new(Box::new(written.clone()));
        events.iter().for_each(|e| json.event(e));
        json.finish();
        json.finish();
        let bytes = written.0.lock().unwrap().clone();
        let lines = std::str::from_utf8(&bytes).unwrap().lines();
        lines.map(|l| serde_json::from_str(l).unwrap()).collect()
    }

    /// One of each event there is.
    pub(in super::super) fn all() -> Vec<Event<'static>> {
        let (step, title, took) = (StepId(3), "[2/3] RUN make", Duration::from_millis(1234));
        let all = vec![
            Event::TaskStarted { id: 1, title: "[internal] load build context" },
            Event::TaskDone { id: 1, took, failed: false },
            Event::StepStarted { step, title },
            Event::StepOutput { step, stream: Stream::Stderr, bytes: b"cc\n\xff" },
            Event::StepDone { step, title, done: Done::Ran, took, size: Some(7) },
            Event::StepFailed { step, title, took },
            Event::Transfer {
                name: "sha256:ab",
                direction: Direction::Unpack,
                current: 1,
                total: None,
                finished: true,
            },
            Event::Warning("careful"),
            Event::Spent { phase: Phase::Run, took },
        ];
        // A new event must be added above, and so to the document.
        for event in &all {
            match event {
                Event::TaskStarted { .. } | Event::TaskDone { .. } | Event::StepStarted { .. } => {}
                Event::StepOutput { .. } | Event::StepDone { .. } | Event::StepFailed { .. } => {}
                Event::Transfer { .. } | Event::Warning(_) | Event::Spent { .. } => {}
            }
        }
        all
    }

    /// The same as they are written.
    pub(in super::super) fn lines() -> Vec<String> {
        told(&all()).iter().map(Value::to_string).collect()
    }

    #[test]
    fn the_document_names_every_event_and_every_member() {
        let document = include_str!("../../../../docs/progress-events.md");
        let lines = told(&all());
        // The first and the last line come in addition; what was spent is in the last.
        assert_eq!(lines.len(), all().len() + 1);
        assert_eq!(lines.last().unwrap()["busy"], json!({ "run": 1_234_000 }));
        for line in lines {
            let kind = line["event"].as_str().unwrap();
            let section = document.split(&format!("### `{kind}`\n")).nth(1);
            let section = section.unwrap_or_else(|| panic!("docs/progress-events.md has no section `{kind}`"));
            let section = section.split("\n### ").next().unwrap();
            for member in line.as_object().unwrap().keys().filter(|m| !["time", "line", "event"].contains(&&***m)) {
                assert!(section.contains(&format!("| `{member}` |")), "`{kind}`: no row `{member}`:\n{section}");
            }
        }
        let names = [Direction::Download, Direction::Upload, Direction::Unpack, Direction::Export].map(direction_name);
        for name in names.into_iter().chain([Done::Ran, Done::Cached, Done::Shared].map(done_name)) {
            assert!(document.contains(&format!("`{name}`")), "no {name}");
        }
        for phase in Phase::ALL {
            assert!(document.contains(&format!("`{}`", phase.name())), "no {phase:?}");
        }
        assert!(document.contains(&format!("version is {VERSION}")));
        assert!(document.contains("Every line has `time`") && document.contains("`line`, its number"));
    }

    #[test]
    fn the_first_line_has_the_version_and_the_last_ends_it() {
        let lines = told(&[]);
        assert_eq!((&lines[0]["event"], &lines[0]["version"]), (&json!("started"), &json!(1)));
        assert_eq!(lines.last().unwrap()["event"], "finished");
        assert!(lines[0]["time"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn output_that_is_not_text_is_there_twice() {
        let lines = told(&[text(1, b"a\xffb\n")]);
        assert_eq!((&lines[1]["text"], &lines[1]["base64"]), (&json!("a\u{fffd}b\n"), &json!("Yf9iCg==")));
    }

    #[test]
    fn characters_cut_in_two_are_put_together() {
        let lines = told(&[text(1, b"caf\xc3"), text(1, b"\xa9 \xe6\x97"), text(2, b"\xc3"), text(1, b"\xa5")]);
        let texts: Vec<&str> = lines.iter().filter_map(|l| l["text"].as_str()).collect();
        assert_eq!(texts, ["caf", "\u{e9} ", "\u{65e5}", "\u{fffd}"]);
        assert!(lines[1..4].iter().all(|l| l.get("base64").is_none()));
    }

    #[test]
    fn a_terminal_that_shows_it_acts_on_nothing() {
        let line = line("now", 1, json!({ "event": "warning", "text": "\u{1b}[1m\u{9b}2J\u{7f}" }));
        assert!(line.trim_end().chars().all(|c| !c.is_control()), "{line:?}");
        let back: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(back["text"], "\u{1b}[1m\u{9b}2J\u{7f}");
    }

    #[test]
    fn a_transfer_is_not_told_at_every_read() {
        let moved = |current, finished| {
            let (name, direction, total) = ("sha256:ab", Direction::Download, Some(99));
            Event::Transfer { name, direction, current, total, finished }
        };
        let events: Vec<Event<'_>> = (0..99).map(|n| moved(n, false)).chain([moved(99, true)]).collect();
        let lines = told(&events);
        assert!(lines.len() < 50, "{} lines", lines.len());
        assert_eq!(lines[lines.len() - 2]["finished"], true);
    }
}
