//! Steps that need not run, told in the order of the plan.
//!
//! A build learns of them from its result downwards; people read from the base upwards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kiln_engine::event::{Done, Event, Events};
use kiln_plan::StepId;

use super::Reader;

/// Holds back steps that ended without having begun until something else happens, and then tells them sorted.
pub struct InOrder {
    held: Mutex<Held>,
    reader: Box<dyn Reader>,
}

#[derive(Default)]
struct Held {
    begun: BTreeSet<StepId>,
    ended: BTreeMap<StepId, Ended>,
}

struct Ended {
    title: String,
    done: Done,
    took: Duration,
    size: Option<u64>,
}

impl InOrder {
    /// In front of a reader.
    pub fn new(reader: Box<dyn Reader>) -> InOrder {
        InOrder { held: Mutex::default(), reader }
    }

    /// No event follows that is part of the story: the reader cleans up. May be called again.
    pub fn finish(&self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        self.tell(&mut held);
        self.reader.finish();
    }

    fn tell(&self, held: &mut Held) {
        for (step, ended) in std::mem::take(&mut held.ended) {
            let Ended { title, done, took, size } = ended;
            self.reader.event(&Event::StepDone { step, title: &title, done, took, size });
        }
    }
}

impl Events for InOrder {
    fn event(&self, event: &Event<'_>) {
        // The lock is kept while the reader reads, or what was held could come after what it was held for.
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::StepDone { step, title, done, took, size } if !held.begun.remove(step) => {
                // The same step again is that of the next platform.
                if held.ended.contains_key(step) {
                    self.tell(&mut held);
                }
                let ended = Ended { title: (*title).to_owned(), done: *done, took: *took, size: *size };
                held.ended.insert(*step, ended);
                return;
            }
            Event::StepStarted { step, .. } => drop(held.begun.insert(*step)),
            Event::StepFailed { step, .. } => drop(held.begun.remove(step)),
            // Nobody is told of these when they happen.
            Event::Spent { .. } => return self.reader.event(event),
            _ => {}
        }
        self.tell(&mut held);
        self.reader.event(event);
    }
}

impl Drop for InOrder {
    fn drop(&mut self) {
        self.finish();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<String>>>);

    impl Events for Seen {
        fn event(&self, event: &Event<'_>) {
            self.0.lock().unwrap().push(match event {
                Event::StepStarted { title, .. } => format!("start {title}"),
                Event::StepDone { title, .. } => format!("done {title}"),
                Event::Warning(text) => (*text).to_owned(),
                _ => String::new(),
            });
        }
    }

    impl Reader for Seen {
        fn finish(&self) {
            self.0.lock().unwrap().push("finish".to_owned());
        }
    }

    fn done(step: usize, title: &str) -> Event<'_> {
        Event::StepDone { step: StepId(step), title, done: Done::Cached, took: Duration::ZERO, size: None }
    }

    #[test]
    fn cached_steps_are_sorted_and_come_before_what_follows() {
        let seen = Seen::default();
        let events = InOrder::new(Box::new(seen.clone()));
        for event in [done(3, "c"), done(2, "b"), done(0, "a"), Event::StepStarted { step: StepId(4), title: "d" }] {
            events.event(&event);
        }
        events.event(&done(4, "d"));
        events.event(&done(1, "next platform"));
        events.event(&done(1, "and again"));
        drop(events);
        let told = seen.0.lock().unwrap().join(", ");
        assert_eq!(told, "done a, done b, done c, start d, done d, done next platform, done and again, finish");
    }
}
