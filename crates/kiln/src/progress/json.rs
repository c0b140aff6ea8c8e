//! Events for programs: one JSON object a line, as `docs/progress-events.md` promises.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_engine::event::{Direction, Done, Event, Events, Stream};
use kiln_oci::{Mtime, time};
use kiln_plan::StepId;
use serde_json::{Value, json};

use super::Reader;
use super::board::index;

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
}

impl Json {
    /// Nothing said yet.
    pub fn new(out: Box<dyn Write + Send>) -> Json {
        let state = State { out, begun: false, over: false, transfers: HashMap::new(), split: HashMap::new() };
        Json { started: Instant::now(), state: Mutex::new(state) }
    }
}

impl Events for Json {
    fn event(&self, event: &Event<'_>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
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
            state.say(json!({ "event": "finished", "milliseconds": millis(self.started.elapsed()) }));
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
        let line = line(&now(), value);
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

fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let nanos = since.subsec_millis() * 1_000_000;
    time::rfc3339(Mtime { secs: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanos })
}

/// The line for an object: the time first, and nothing in it that a terminal would act on.
fn line(time: &str, value: Value) -> String {
    let mut all = json!({ "time": time });
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
