//! Whole lines for logs, as BuildKit's plain progress has them: `#5 0.312 text`. Lines of steps that run at once are
//! told apart by their numbers.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kiln_engine::event::{Direction, Done, Event, Events, Stream};
use kiln_plan::StepId;

use super::board::{group_title, index};
use super::text::{self, Lines};
use super::{Reader, human, tty};

/// Time between two lines of one transfer.
const PERIOD: Duration = Duration::from_secs(5);
/// A task that was told before is told again only if it took longer.
const LONG: Duration = Duration::from_millis(500);

/// Plain lines.
pub struct Plain {
    started: Instant,
    state: Mutex<(State, Box<dyn Write + Send>)>,
}

impl Plain {
    /// Nothing seen yet.
    pub fn new(out: Box<dyn Write + Send>) -> Plain {
        Plain { started: Instant::now(), state: Mutex::new((State::default(), out)) }
    }

    fn write(&self, lines: impl FnOnce(&mut State, Duration) -> String) {
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, out) = &mut *guard;
        let lines = lines(state, self.started.elapsed());
        if !lines.is_empty() {
            // A reader that went away is no reason to stop a build.
            let _: io::Result<()> = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
        }
    }
}

impl Events for Plain {
    fn event(&self, event: &Event<'_>) {
        self.write(|state, now| state.lines(event, now));
    }
}

impl Reader for Plain {
    fn finish(&self) {
        self.write(State::finish);
    }
}

/// What was told so far.
#[derive(Default)]
struct State {
    told: usize,
    /// Running tasks: the number, and whether it was told before.
    tasks: HashMap<u64, (usize, bool)>,
    titles: HashMap<String, usize>,
    steps: HashMap<StepId, Step>,
    groups: [Option<Group>; 4],
}

struct Step {
    number: usize,
    started: Duration,
    stdout: Lines,
    stderr: Lines,
}

/// Transfers in one direction.
struct Group {
    number: usize,
    moving: HashMap<String, Moving>,
    blobs: usize,
}

struct Moving {
    started: Duration,
    told: Duration,
}

impl State {
    /// The lines that tell an event, each with its end.
    fn lines(&mut self, event: &Event<'_>, now: Duration) -> String {
        match event {
            Event::TaskStarted { id, title } => self.task(*id, text::title(title)),
            Event::TaskDone { id, took, failed } => match self.tasks.remove(id) {
                Some((_, true)) if !failed && *took < LONG => String::new(),
                Some((number, _)) => ended(number, *failed, *took),
                None => String::new(),
            },
            Event::StepStarted { step, title } => self.begin(*step, title, now),
            Event::StepOutput { step, stream, bytes } => {
                let Some(step) = self.steps.get_mut(step) else { return String::new() };
                let (mut out, head) = (String::new(), step.head(now));
                let lines = if *stream == Stream::Stdout { &mut step.stdout } else { &mut step.stderr };
                lines.add(bytes, &mut |line| push(&mut out, &head, line));
                out
            }
            Event::StepDone { step, title, done, took, .. } => {
                let (mut out, number) = self.end(*step, title, now);
                match done {
                    Done::Cached => out.push_str(&format!("#{number} CACHED\n\n")),
                    Done::Ran | Done::Shared => out.push_str(&ended(number, false, *took)),
                }
                out
            }
            Event::StepFailed { step, title, took } => {
                let (out, number) = self.end(*step, title, now);
                out + &ended(number, true, *took)
            }
            Event::Transfer { name, direction, current, total, finished } => {
                self.transfer(*direction, &text::title(name), (*current, *total, *finished), now)
            }
            Event::Warning(message) => tty::warning(message, false),
            // What steps and tasks take is told already.
            Event::Spent { .. } => String::new(),
        }
    }

    fn number(&mut self) -> usize {
        self.told += 1;
        self.told
    }

    fn task(&mut self, id: u64, title: String) -> String {
        if let Some(number) = self.titles.get(&title) {
            self.tasks.insert(id, (*number, true));
            return String::new();
        }
        let number = self.number();
        let line = format!("#{number} {title}\n");
        self.titles.insert(title, number);
        self.tasks.insert(id, (number, false));
        line
    }

    fn begin(&mut self, step: StepId, title: &str, now: Duration) -> String {
        let number = self.number();
        let (stdout, stderr) = (Lines::default(), Lines::default());
        self.steps.insert(step, Step { number, started: now, stdout, stderr });
        format!("#{number} {}\n", text::title(title))
    }

    /// What a step had not yet ended, or its title if it never began; and its number.
    fn end(&mut self, step: StepId, title: &str, now: Duration) -> (String, usize) {
        let Some(mut step) = self.steps.remove(&step) else {
            let number = self.number();
            return (format!("#{number} {}\n", text::title(title)), number);
        };
        (step.rest(now), step.number)
    }

    fn transfer(
        &mut self,
        direction: Direction,
        name: &str,
        (current, total, finished): (u64, Option<u64>, bool),
        now: Duration,
    ) -> String {
        let slot = index(direction);
        let known = self.groups[slot].as_ref().is_some_and(|g| g.moving.contains_key(name));
        if !known && finished && current == 0 {
            return String::new();
        }
        let mut out = String::new();
        let number = match &self.groups[slot] {
            Some(group) => group.number,
            None => {
                let number = self.number();
                out = format!("#{number} {}\n", group_title(direction));
                number
            }
        };
        let group = self.groups[slot].get_or_insert_with(|| Group { number, moving: HashMap::new(), blobs: 0 });
        let moving = match group.moving.get_mut(name) {
            Some(moving) if !finished && now.saturating_sub(moving.told) < PERIOD => return out,
            Some(moving) => moving,
            None => group.moving.entry(name.to_owned()).or_insert(Moving { started: now, told: now }),
        };
        moving.told = now;
        let verb = if direction == Direction::Unpack { "extracting " } else { "" };
        let total = total.map(|t| format!(" / {}", human::growing_size(t))).unwrap_or_default();
        let time = human::seconds(now.saturating_sub(moving.started));
        let done = if finished { " done" } else { "" };
        let current = human::growing_size(current);
        out.push_str(&format!("#{number} {verb}{name} {current}{total} {time}{done}\n"));
        if finished {
            group.moving.remove(name);
            group.blobs += 1;
        }
        out
    }

    /// Closes what is open: output without its line's end, and groups of transfers.
    fn finish(&mut self, now: Duration) -> String {
        let mut out = String::new();
        let mut steps: Vec<Step> = self.steps.drain().map(|(_, step)| step).collect();
        steps.sort_by_key(|step| step.number);
        for step in &mut steps {
            out.push_str(&step.rest(now));
            out.push_str(&format!("#{} STOPPED\n\n", step.number));
        }
        for group in self.groups.iter_mut().filter_map(Option::take) {
            let word = if group.moving.is_empty() { "DONE" } else { "STOPPED" };
            out.push_str(&format!("#{} {word} {}\n\n", group.number, human::count(group.blobs, "blob")));
        }
        out
    }
}

impl Step {
    fn head(&self, now: Duration) -> String {
        format!("#{} {:.3} ", self.number, now.saturating_sub(self.started).as_secs_f64())
    }

    /// The lines that nothing ended.
    fn rest(&mut self, now: Duration) -> String {
        let (mut out, head) = (String::new(), self.head(now));
        self.stdout.end(&mut |line| push(&mut out, &head, line));
        self.stderr.end(&mut |line| push(&mut out, &head, line));
        out
    }
}

fn ended(number: usize, failed: bool, took: Duration) -> String {
    format!("#{number} {} {}\n\n", if failed { "ERROR" } else { "DONE" }, human::seconds(took))
}

fn push(out: &mut String, head: &str, line: &[u8]) {
    out.push_str(head);
    out.push_str(text::clean(line).trim_end());
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(events: &[(u64, Event<'_>)]) -> String {
        let mut state = State::default();
        let mut out: String = events.iter().map(|(at, e)| state.lines(e, Duration::from_millis(*at))).collect();
        out += &state.finish(Duration::from_millis(events.last().map_or(0, |(at, _)| *at)));
        out
    }

    fn start(step: usize, title: &str) -> Event<'_> {
        Event::StepStarted { step: StepId(step), title }
    }

    fn output(step: usize, bytes: &[u8]) -> Event<'_> {
        Event::StepOutput { step: StepId(step), stream: Stream::Stdout, bytes }
    }

    fn done(step: usize, title: &str, done: Done, millis: u64) -> Event<'_> {
        Event::StepDone { step: StepId(step), title, done, took: Duration::from_millis(millis), size: None }
    }

    fn moved(name: &str, direction: Direction, current: u64, finished: bool) -> Event<'_> {
        Event::Transfer { name, direction, current, total: Some(60_000_000), finished }
    }

    #[test]
    fn steps_that_run_at_once_keep_whole_lines() {
        let text = told(&[
            (0, start(1, "[a 1/2] RUN one")),
            (10, start(2, "[b 1/2] RUN two")),
            (20, output(1, b"par")),
            (30, output(2, b"two\n")),
            (40, output(1, b"tial\nnext")),
            (50, done(2, "[b 1/2] RUN two", Done::Ran, 40)),
            (60, done(1, "[a 1/2] RUN one", Done::Ran, 60)),
            (60, done(3, "[a 2/2] COPY x y", Done::Cached, 0)),
        ]);
        let want = "#1 [a 1/2] RUN one\n#2 [b 1/2] RUN two\n#2 0.020 two\n#1 0.040 partial\n#2 DONE 0.0s\n\n#1 0.060 next\n\
                    #1 DONE 0.1s\n\n#3 [a 2/2] COPY x y\n#3 CACHED\n\n";
        assert_eq!(text, want);
    }

    #[test]
    fn what_a_command_writes_cannot_reach_the_terminal() {
        let text = told(&[
            (0, start(1, "RUN \x1b[31mevil\ncontinued")),
            (0, output(1, b"\x1b]0;owned\x07a\xff\x1b[2Jb\n#9 ERROR\rx\n")),
            (0, Event::Warning("one\x1b[1m\ntwo\x07")),
            (0, output(1, b"open")),
        ]);
        assert_eq!(
            text,
            "#1 RUN evil\n#1 0.000 a\u{fffd}b\n#1 0.000 x\nwarning: one\ntwo\n#1 0.000 open\n#1 STOPPED\n\n"
        );
    }

    #[test]
    fn transfers_are_told_at_both_ends_and_now_and_then() {
        let text = told(&[
            (0, moved("sha256:aa", Direction::Download, 0, false)),
            (100, moved("sha256:aa", Direction::Download, 1_000_000, false)),
            (5100, moved("sha256:aa", Direction::Download, 12_580_000, false)),
            (6000, moved("sha256:aa", Direction::Download, 60_000_000, true)),
            (6000, moved("sha256:aa", Direction::Unpack, 60_000_000, true)),
            (7000, moved("https://h/x", Direction::Download, 0, true)),
        ]);
        let want = "#1 [internal] download\n#1 sha256:aa 0B / 60.00MB 0.0s\n#1 sha256:aa 12.58MB / 60.00MB 5.1s\n\
                    #1 sha256:aa 60.00MB / 60.00MB 6.0s done\n#2 [internal] unpack\n\
                    #2 extracting sha256:aa 60.00MB / 60.00MB 0.0s done\n#1 DONE 1 blob\n\n#2 DONE 1 blob\n\n";
        assert_eq!(text, want);
    }

    #[test]
    fn tasks_of_one_title_are_told_once() {
        let task = |id| Event::TaskStarted { id, title: "[internal] load build context" };
        let end = |id, millis, failed| Event::TaskDone { id, took: Duration::from_millis(millis), failed };
        let text = told(&[(0, task(0)), (0, task(1)), (5, end(0, 5, false)), (5, end(1, 5, false)), (9, task(0))]);
        assert_eq!(text, "#1 [internal] load build context\n#1 DONE 0.0s\n\n");
        let text = told(&[(0, task(0)), (0, end(0, 0, false)), (0, task(0)), (900, end(0, 900, true))]);
        assert_eq!(text, "#1 [internal] load build context\n#1 DONE 0.0s\n\n#1 ERROR 0.9s\n\n");
    }
}
