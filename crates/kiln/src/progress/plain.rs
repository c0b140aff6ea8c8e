//! One line an event, as BuildKit's plain progress has it: `#5 0.312 text`.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use kiln_engine::event::{Done, Event, Events};
use kiln_plan::StepId;

/// Plain lines on standard error.
pub struct Plain(Mutex<State>);

struct State {
    tasks: HashMap<u64, String>,
    steps: HashMap<StepId, Step>,
    next: usize,
}

struct Step {
    number: usize,
    started: Instant,
    open: Vec<u8>,
}

impl Plain {
    /// Nothing seen yet.
    pub fn new() -> Plain {
        Plain(Mutex::new(State { tasks: HashMap::new(), steps: HashMap::new(), next: 1 }))
    }
}

impl State {
    fn number(&mut self) -> usize {
        self.next += 1;
        self.next - 1
    }

    fn step(&mut self, id: StepId) -> &mut Step {
        if !self.steps.contains_key(&id) {
            let number = self.number();
            self.steps.insert(id, Step { number, started: Instant::now(), open: Vec::new() });
        }
        // It was just put there.
        self.steps.entry(id).or_insert_with(|| Step { number: 0, started: Instant::now(), open: Vec::new() })
    }
}

impl Events for Plain {
    fn event(&self, event: &Event<'_>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = std::io::stderr().lock();
        // A reader that went away is no reason to stop a build.
        let _ = write_event(&mut state, &mut out, event);
    }
}

fn write_event(state: &mut State, out: &mut dyn Write, event: &Event<'_>) -> std::io::Result<()> {
    match event {
        Event::TaskStarted { id, title } => {
            state.tasks.insert(*id, (*title).to_owned());
            Ok(())
        }
        Event::TaskDone { id, took, failed } => {
            let title = state.tasks.remove(id).unwrap_or_default();
            let number = state.number();
            let how = if *failed { "ERROR" } else { "DONE" };
            writeln!(out, "#{number} {title}\n#{number} {how} {:.1}s\n", took.as_secs_f64())
        }
        Event::StepStarted { step, title } => {
            let number = state.step(*step).number;
            writeln!(out, "#{number} {}", first_line(title))
        }
        Event::StepOutput { step, bytes, .. } => {
            let step = state.step(*step);
            let at = step.started.elapsed().as_secs_f64();
            step.open.extend_from_slice(bytes);
            while let Some(end) = step.open.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = step.open.drain(..=end).collect();
                writeln!(out, "#{} {at:.3} {}", step.number, String::from_utf8_lossy(&line).trim_end())?;
            }
            Ok(())
        }
        Event::StepDone { step, title, done, took, .. } => {
            let known = state.steps.contains_key(step);
            let step = state.step(*step);
            if !step.open.is_empty() {
                let at = step.started.elapsed().as_secs_f64();
                let line = std::mem::take(&mut step.open);
                writeln!(out, "#{} {at:.3} {}", step.number, String::from_utf8_lossy(&line).trim_end())?;
            }
            if !known {
                writeln!(out, "#{} {}", step.number, first_line(title))?;
            }
            match done {
                Done::Cached => writeln!(out, "#{} CACHED\n", step.number),
                Done::Ran | Done::Shared => writeln!(out, "#{} DONE {:.1}s\n", step.number, took.as_secs_f64()),
            }
        }
        Event::StepFailed { step, took, .. } => {
            let number = state.step(*step).number;
            writeln!(out, "#{number} ERROR {:.1}s\n", took.as_secs_f64())
        }
        Event::Transfer { .. } => Ok(()),
        Event::Warning(text) => writeln!(out, "warning: {text}"),
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or("")
}
