//! Events that another `kiln` told as JSON lines, told again: of a build that runs elsewhere.
//!
//! The lines are anybody's: a program in that build's place can write what it likes. So numbers are looked up and not
//! believed, texts have limits, and what reads events makes them safe to show. A log may begin anew where a connection
//! broke; what was told is not told twice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_engine::event::{Direction, Done, Event, Events, Phase, Stream};
use kiln_plan::StepId;
use serde_json::Value;

/// The most steps and tasks of one build that are told of.
const MAX_STEPS: usize = 20_000;
/// The most bytes of a title, and of text that is no event.
const MAX_TITLE: usize = 4 << 10;
const MAX_TEXT: usize = 256 << 10;

/// Numbers for steps and tasks of several builds that are told together.
#[derive(Debug, Default)]
pub struct Numbers(Mutex<(usize, u64)>);

impl Numbers {
    fn step(&self) -> StepId {
        let mut next = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        next.0 += 1;
        StepId(next.0)
    }

    /// A number for a task.
    pub fn task(&self) -> u64 {
        let mut next = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        next.1 += 1;
        next.1
    }
}

/// One build's lines.
pub struct Replay {
    events: Arc<dyn Events>,
    numbers: Arc<Numbers>,
    /// What steps are of, where there are several builds.
    platform: Option<String>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    steps: HashMap<u64, (StepId, String)>,
    tasks: HashMap<u64, u64>,
    /// How many steps there were.
    count: usize,
    /// The number of the last event that was told, and of the last that was read since the log began.
    told: u64,
    read: u64,
    text: Vec<u8>,
    over: bool,
}

impl Replay {
    /// Tells `events`; `platform` names the build in the titles of its steps.
    pub fn new(events: Arc<dyn Events>, numbers: Arc<Numbers>, platform: Option<String>) -> Replay {
        Replay { events, numbers, platform, state: Mutex::default() }
    }

    /// The log begins anew.
    pub fn again(&self) {
        let mut state = self.lock();
        (state.read, state.over) = (0, false);
        state.text.clear();
    }

    /// Reads a line.
    pub fn line(&self, line: &[u8]) {
        let mut state = self.lock();
        let value = if state.over { None } else { event_of(line) };
        let Some(value) = value else {
            let room = MAX_TEXT.saturating_sub(state.text.len() + 1);
            state.text.extend_from_slice(&line[..line.len().min(room)]);
            if room > 0 {
                state.text.push(b'\n');
            }
            return;
        };
        state.read = value["line"].as_u64().unwrap_or(0).max(state.read.saturating_add(1));
        if value["event"] == "finished" {
            state.over = true;
        }
        if state.read > state.told {
            state.told = state.read;
            self.tell(&mut state, &value);
        }
    }

    /// What was said besides events, which is how the build ended in words.
    pub fn text(&self) -> Vec<u8> {
        self.lock().text.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, state: &mut State, value: &Value) {
        let took = Duration::from_millis(value["milliseconds"].as_u64().unwrap_or(0));
        let say = |event: &Event<'_>| self.events.event(event);
        match value["event"].as_str().unwrap_or_default() {
            "task-started" => {
                let Some(id) = self.task(state, value) else { return };
                say(&Event::TaskStarted { id, title: &self.title(text(value, "title")) });
            }
            "task-done" => {
                let Some(id) = value["task"].as_u64().and_then(|task| state.tasks.remove(&task)) else { return };
                say(&Event::TaskDone { id, took, failed: value["failed"] == true });
            }
            "step-started" => {
                // Numbers are used again, but not before a step ended.
                value["step"].as_u64().map(|theirs| state.steps.remove(&theirs));
                let Some((step, title)) = self.step(state, value) else { return };
                say(&Event::StepStarted { step, title: &title });
            }
            "step-output" => self.output(state, value),
            "step-done" => {
                let (Some(done), Some((step, title))) = (done(value), self.step(state, value)) else { return };
                say(&Event::StepDone { step, title: &title, done, took, size: value["size"].as_u64() });
            }
            "step-failed" => {
                let Some((step, title)) = self.step(state, value) else { return };
                say(&Event::StepFailed { step, title: &title, took });
            }
            "transfer" => self.transfer(value),
            "warning" => say(&Event::Warning(&self.prefixed(text(value, "text")))),
            "finished" => {
                for phase in Phase::ALL {
                    if let Some(micros) = value["busy"][phase.name()].as_u64() {
                        say(&Event::Spent { phase, took: Duration::from_micros(micros) });
                    }
                }
            }
            // `started`, and what newer versions say.
            _ => {}
        }
    }

    fn task(&self, state: &mut State, value: &Value) -> Option<u64> {
        let theirs = value["task"].as_u64()?;
        if state.tasks.len() >= MAX_STEPS {
            return None;
        }
        let id = self.numbers.task();
        state.tasks.insert(theirs, id);
        Some(id)
    }

    /// Our number of a step, and its title.
    fn step(&self, state: &mut State, value: &Value) -> Option<(StepId, String)> {
        let theirs = value["step"].as_u64()?;
        if let Some(known) = state.steps.get(&theirs) {
            return Some(known.clone());
        }
        state.count += 1;
        if state.count > MAX_STEPS {
            return None;
        }
        let step = (self.numbers.step(), self.title(text(value, "title")));
        state.steps.insert(theirs, step.clone());
        Some(step)
    }

    fn output(&self, state: &State, value: &Value) {
        let Some((step, _)) = value["step"].as_u64().and_then(|step| state.steps.get(&step)) else { return };
        let stream = if value["stream"] == "stdout" { Stream::Stdout } else { Stream::Stderr };
        let exact = value["base64"].as_str().and_then(|text| STANDARD.decode(text).ok());
        let bytes = exact.unwrap_or_else(|| value["text"].as_str().unwrap_or_default().as_bytes().to_vec());
        self.events.event(&Event::StepOutput { step: *step, stream, bytes: &bytes });
    }

    fn transfer(&self, value: &Value) {
        let direction = match value["direction"].as_str() {
            Some("download") => Direction::Download,
            Some("upload") => Direction::Upload,
            Some("unpack") => Direction::Unpack,
            Some("export") => Direction::Export,
            _ => return,
        };
        let (current, total) = (value["current"].as_u64().unwrap_or(0), value["total"].as_u64());
        let (name, finished) = (text(value, "name"), value["finished"] == true);
        self.events.event(&Event::Transfer { name, direction, current, total, finished });
    }

    /// `[stage 1/2] RUN x` as a build for several platforms has it: `[linux/arm64 stage 1/2] RUN x`.
    fn title(&self, title: &str) -> String {
        match (&self.platform, title.strip_prefix('[')) {
            (Some(platform), Some(rest)) => format!("[{platform} {rest}"),
            (Some(platform), None) => format!("{platform} {title}"),
            (None, _) => title.to_owned(),
        }
    }

    fn prefixed(&self, text: &str) -> String {
        self.platform.as_ref().map_or_else(|| text.to_owned(), |platform| format!("{platform}: {text}"))
    }
}

/// An event, if the line is one.
fn event_of(line: &[u8]) -> Option<Value> {
    let line = line.trim_ascii();
    let value: Value = serde_json::from_slice(line.starts_with(b"{").then_some(line)?).ok()?;
    value["event"].is_string().then_some(value)
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    let text = value[member].as_str().unwrap_or_default();
    &text[..text.floor_char_boundary(MAX_TITLE)]
}

fn done(value: &Value) -> Option<Done> {
    match value["done"].as_str()? {
        "ran" => Some(Done::Ran),
        "cached" => Some(Done::Cached),
        "shared" => Some(Done::Shared),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Events for Heard {
        fn event(&self, event: &Event<'_>) {
            self.0.lock().unwrap().push(format!("{event:?}"));
        }
    }

    /// What is told of these lines; `~` is where the log begins anew.
    fn told(platform: Option<&str>, lines: &[&str]) -> (Vec<String>, String) {
        let heard = Arc::new(Heard::default());
        let replay = Replay::new(heard.clone(), Arc::default(), platform.map(str::to_owned));
        for line in lines {
            match *line {
                "~" => replay.again(),
                line => replay.line(line.as_bytes()),
            }
        }
        let heard = heard.0.lock().unwrap().clone();
        (heard, String::from_utf8(replay.text()).unwrap())
    }

    #[test]
    fn what_is_written_is_read_back() {
        let heard = Arc::new(Heard::default());
        let written = super::super::json::lines_of_one_of_each();
        let replay = Replay::new(heard.clone(), Arc::default(), None);
        written.iter().for_each(|line| replay.line(line.as_bytes()));
        let heard = heard.0.lock().unwrap().clone();
        let wanted = super::super::json::one_of_each().len();
        assert_eq!(heard.len(), wanted, "{heard:#?}");
        assert!(heard.iter().any(|e| e.contains("bytes: [99, 99, 10, 255]")), "{heard:#?}");
    }

    #[test]
    fn a_log_that_begins_anew_is_not_told_twice() {
        let started = r#"{"event":"started","line":1}"#;
        let (one, two) =
            (r#"{"event":"warning","text":"one","line":2}"#, r#"{"event":"warning","text":"two","line":3}"#);
        let end = r#"{"event":"finished","line":4}"#;
        let lines =
            [started, one, "~", started, one, two, end, "error: x", "~", started, one, two, end, "error: x", "hint: y"];
        let (heard, text) = told(None, &lines);
        assert_eq!(heard, [r#"Warning("one")"#, r#"Warning("two")"#]);
        assert_eq!(text, "error: x\nhint: y\n");
        // The beginning may be gone.
        let (heard, _) = told(None, &[started, one, "~", two]);
        assert_eq!(heard.len(), 2);
        // Older versions have no numbers.
        let (heard, _) = told(
            None,
            &[
                r#"{"event":"warning","text":"a"}"#,
                "~",
                r#"{"event":"warning","text":"a"}"#,
                r#"{"event":"warning","text":"b"}"#,
            ],
        );
        assert_eq!(heard.len(), 2);
    }

    #[test]
    fn titles_of_several_builds_say_whose_they_are() {
        let lines = [r#"{"event":"step-started","step":7,"title":"[1/2] RUN x"}"#, r#"{"event":"warning","text":"w"}"#];
        let (heard, _) = told(Some("linux/arm64"), &lines);
        assert!(heard[0].contains("[linux/arm64 1/2] RUN x") && heard[0].contains("StepId(1)"), "{heard:?}");
        assert_eq!(heard[1], r#"Warning("linux/arm64: w")"#);
    }

    #[test]
    fn hostile_lines_do_no_harm() {
        let deep = "[".repeat(10_000);
        let long = format!(r#"{{"event":"step-started","step":1,"title":"{}"}}"#, "é".repeat(10_000));
        let lines = [
            r#"{"event":"step-output","step":9,"text":"of no step"}"#,
            r#"{"event":"step-done","step":18446744073709551615,"title":"[1/1] X","done":"no"}"#,
            r#"{"event":"step-started","step":-1}"#,
            r#"{"event":"transfer","direction":"sideways"}"#,
            r#"{"event":"task-done","task":3}"#,
            r#"{"event":7}"#,
            r#"{"event":"finished","busy":{"run":-4}}"#,
            "{",
            &deep,
            "\u{1b}]0;title\u{7}",
        ];
        let (heard, text) = told(None, &lines);
        assert!(heard.is_empty(), "{heard:?}");
        assert!(text.contains("{\n"));
        let (heard, _) = told(None, &[&long]);
        assert!(heard[0].len() < 2 * MAX_TITLE, "{}", heard[0].len());
        let flood: Vec<String> =
            (0..MAX_STEPS + 100).map(|n| format!(r#"{{"event":"step-started","step":{n},"title":"t"}}"#)).collect();
        let (heard, _) = told(None, &flood.iter().map(|l| &**l).collect::<Vec<_>>());
        assert_eq!(heard.len(), MAX_STEPS);
        let (_, text) = told(None, &vec!["no event"; MAX_TEXT]);
        assert!(text.len() <= MAX_TEXT);
    }
}
