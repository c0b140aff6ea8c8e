//! What a live list knows: tasks, steps and transfers, in the order they appeared.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use kiln_engine::event::{Direction, Done, Event, Stream};
use kiln_plan::StepId;

use super::text::{self, Lines};

/// Lines of output kept of each step.
pub const LOG_LINES: usize = 6;
/// Bytes kept of a line of output: more than the widest terminal shows.
const LOG_BYTES: usize = 4096;

/// Where something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Running,
    /// It ended well.
    Done,
    /// It need not run.
    Cached,
    /// It failed.
    Failed,
    /// It was running when the story ended.
    Stopped,
}

/// One line of the list.
#[derive(Debug)]
pub struct Vertex {
    /// What it is, clean.
    pub title: String,
    /// Where it stands.
    pub state: State,
    /// Whether it is a task or a step and so counts; transfers do not.
    pub counts: bool,
    /// The last of what it wrote.
    pub log: Log,
    /// Blobs that move.
    pub transfers: Vec<Transfer>,
    clock: Clock,
}

/// The last lines of a command's output.
#[derive(Debug, Default)]
pub struct Log {
    lines: VecDeque<Vec<u8>>,
    stdout: Lines,
    stderr: Lines,
}

/// One blob on its way.
#[derive(Debug)]
pub struct Transfer {
    /// Its name, clean.
    pub name: String,
    /// Bytes so far.
    pub current: u64,
    /// Bytes in all.
    pub total: Option<u64>,
    /// Whether it arrived.
    pub finished: bool,
    clock: Clock,
}

/// Time spent by something that may stop and go on, and of which several may run at once.
#[derive(Debug, Default)]
struct Clock {
    running: usize,
    since: Duration,
    spent: Duration,
}

impl Clock {
    fn start(&mut self, now: Duration) {
        if self.running == 0 {
            self.since = now;
        }
        self.running += 1;
    }

    fn stop(&mut self, now: Duration) {
        if self.running == 1 {
            self.spent += now.saturating_sub(self.since);
        }
        self.running = self.running.saturating_sub(1);
    }

    fn read(&self, now: Duration) -> Duration {
        if self.running == 0 { self.spent } else { self.spent + now.saturating_sub(self.since) }
    }
}

impl Vertex {
    fn new(title: String, counts: bool) -> Vertex {
        let (log, transfers, clock) = (Log::default(), Vec::new(), Clock::default());
        Vertex { title, state: State::Running, counts, log, transfers, clock }
    }

    /// How long it has run.
    pub fn time(&self, now: Duration) -> Duration {
        self.clock.read(now)
    }

    /// Whether it has ended, well or not.
    pub fn ended(&self) -> bool {
        self.state != State::Running
    }

    fn end(&mut self, state: State, took: Duration) {
        self.state = state;
        self.clock = Clock { spent: took, ..Clock::default() };
    }
}

impl Transfer {
    /// How long it has been moving.
    pub fn time(&self, now: Duration) -> Duration {
        self.clock.read(now)
    }
}

impl Log {
    /// The last lines, clean, the one that is still open included.
    pub fn last(&self) -> Vec<String> {
        let open = [self.stdout.open(), self.stderr.open()].into_iter().filter(|l| !l.is_empty());
        let mut all: Vec<&[u8]> = self.lines.iter().map(|l| &**l).chain(open).collect();
        let surplus = all.len().saturating_sub(LOG_LINES);
        all.drain(..surplus);
        all.into_iter().map(|l| text::clean(&l[..l.len().min(LOG_BYTES)])).collect()
    }

    fn add(&mut self, stream: Stream, bytes: &[u8]) {
        let Log { lines, stdout, stderr } = self;
        let stream = if stream == Stream::Stdout { stdout } else { stderr };
        stream.add(bytes, &mut |line| {
            if line.iter().all(u8::is_ascii_whitespace) {
                return;
            }
            // The oldest line's memory is used again: output may come faster than it is drawn.
            let mut kept = if lines.len() < LOG_LINES { Vec::new() } else { lines.pop_front().unwrap_or_default() };
            kept.clear();
            kept.extend_from_slice(&line[..line.len().min(LOG_BYTES)]);
            lines.push_back(kept);
        });
    }
}

/// The list.
#[derive(Debug, Default)]
pub struct Board {
    /// Its lines.
    pub vertices: Vec<Vertex>,
    /// Warnings that were not yet shown.
    pub warnings: Vec<String>,
    tasks: HashMap<u64, usize>,
    steps: HashMap<StepId, usize>,
    groups: [Option<usize>; 4],
}

impl Board {
    /// Takes an event that happened `now`, counted from the beginning.
    pub fn apply(&mut self, event: &Event<'_>, now: Duration) {
        match event {
            Event::TaskStarted { id, title } => self.task(*id, title, now),
            Event::TaskDone { id, failed, .. } => {
                let Some(vertex) = self.tasks.remove(id).map(|at| &mut self.vertices[at]) else { return };
                vertex.clock.stop(now);
                if *failed {
                    vertex.state = State::Failed;
                } else if vertex.clock.running == 0 && vertex.state == State::Running {
                    vertex.state = State::Done;
                }
            }
            Event::StepStarted { step, title } => {
                let vertex = self.begin(*step, title);
                vertex.clock.start(now);
            }
            Event::StepOutput { step, stream, bytes } => {
                if let Some(at) = self.steps.get(step) {
                    self.vertices[*at].log.add(*stream, bytes);
                }
            }
            Event::StepDone { step, title, done, took, .. } => {
                let state = if *done == Done::Cached { State::Cached } else { State::Done };
                self.end(*step, title, state, *took);
            }
            Event::StepFailed { step, title, took } => self.end(*step, title, State::Failed, *took),
            Event::Transfer { name, direction, current, total, finished } => {
                self.transfer(*direction, name, (*current, *total, *finished), now);
            }
            Event::Warning(text) => self.warnings.push((*text).to_owned()),
            // What steps and tasks take is on the board already.
            Event::Spent { .. } => {}
        }
    }

    /// The story is over: what still runs never ended.
    pub fn stop(&mut self, now: Duration) {
        for vertex in self.vertices.iter_mut().filter(|v| !v.ended()) {
            let took = vertex.time(now);
            vertex.end(State::Stopped, took);
        }
        self.tasks.clear();
        self.steps.clear();
        self.groups = Default::default();
    }

    fn push(&mut self, vertex: Vertex) -> usize {
        self.vertices.push(vertex);
        self.vertices.len() - 1
    }

    /// A task; equal ones, such as the context being read for several steps, are one line.
    fn task(&mut self, id: u64, title: &str, now: Duration) {
        let title = text::title(title);
        let known = self.vertices.iter().position(|v| v.counts && v.title == title && v.state != State::Failed);
        let at = match known {
            Some(at) => at,
            None => self.push(Vertex::new(title, true)),
        };
        self.tasks.insert(id, at);
        self.vertices[at].state = State::Running;
        self.vertices[at].clock.start(now);
    }

    fn begin(&mut self, step: StepId, title: &str) -> &mut Vertex {
        let at = self.push(Vertex::new(text::title(title), true));
        self.steps.insert(step, at);
        &mut self.vertices[at]
    }

    fn end(&mut self, step: StepId, title: &str, state: State, took: Duration) {
        let at = self.steps.remove(&step).unwrap_or_else(|| self.push(Vertex::new(text::title(title), true)));
        self.vertices[at].end(state, took);
    }

    fn transfer(&mut self, direction: Direction, name: &str, moved: (u64, Option<u64>, bool), now: Duration) {
        let (current, total, finished) = moved;
        let group = self.groups[index(direction)];
        let name = text::title(name);
        let known = group.and_then(|g| self.vertices[g].transfers.iter().rposition(|t| t.name == name));
        // Nothing moved, so there is nothing to show.
        if known.is_none() && finished && current == 0 {
            return;
        }
        let group = match group {
            Some(group) => group,
            None => self.push(Vertex::new(group_title(direction).to_owned(), false)),
        };
        self.groups[index(direction)] = Some(group);
        let vertex = &mut self.vertices[group];
        let at = match known {
            Some(at) if !vertex.transfers[at].finished || finished => at,
            _ => {
                let clock = Clock::default();
                vertex.transfers.push(Transfer { name, current, total, finished: true, clock });
                vertex.transfers.len() - 1
            }
        };
        let transfer = &mut vertex.transfers[at];
        if transfer.finished && !finished {
            transfer.clock.start(now);
            vertex.clock.start(now);
        } else if !transfer.finished && finished {
            transfer.clock.stop(now);
            vertex.clock.stop(now);
        }
        // A retry begins again from less; several threads may report out of order.
        (transfer.current, transfer.total, transfer.finished) = (current, total, finished);
        vertex.state = if vertex.clock.running == 0 { State::Done } else { State::Running };
    }
}

/// A direction's place in an array.
pub fn index(direction: Direction) -> usize {
    match direction {
        Direction::Download => 0,
        Direction::Upload => 1,
        Direction::Unpack => 2,
        Direction::Export => 3,
    }
}

/// What transfers in one direction are called together.
pub fn group_title(direction: Direction) -> &'static str {
    match direction {
        Direction::Download => "[internal] download",
        Direction::Upload => "[internal] upload",
        Direction::Unpack => "[internal] unpack",
        Direction::Export => "[internal] export",
    }
}
