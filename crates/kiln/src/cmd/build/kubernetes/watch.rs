//! One Job as an event stream: what the cluster does with it, and what the build in it says.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use kiln_engine::event::{Direction, Event, Events};
use kiln_kube::Watcher;

use crate::progress::replay::{Numbers, Replay};

/// Tells what happens to one Job.
pub struct Watch {
    events: Arc<dyn Events>,
    replay: Replay,
    platform: Option<String>,
    /// Bytes of the context that is handed over.
    size: Option<u64>,
    task: u64,
    began: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    started: bool,
    handed_over: u64,
}

impl Watch {
    /// A Job that is about to be made.
    pub fn new(
        events: Arc<dyn Events>,
        numbers: Arc<Numbers>,
        platform: Option<String>,
        job: &str,
        size: Option<u64>,
    ) -> Watch {
        let task = numbers.task();
        let of = platform.as_ref().map(|platform| format!("{platform} ")).unwrap_or_default();
        events.event(&Event::TaskStarted { id: task, title: &format!("[{of}kubernetes] start job {job}") });
        let replay = Replay::new(events.clone(), numbers, platform.clone());
        Watch { events, replay, platform, size, task, began: Instant::now(), state: Mutex::default() }
    }

    /// What the build said besides events.
    pub fn text(&self) -> Vec<u8> {
        self.replay.text()
    }

    /// No more happens.
    pub fn finish(&self, well: bool) {
        self.end_task(!well);
        let sent = self.lock().handed_over;
        if sent > 0 && self.size.is_some_and(|size| sent < size) {
            self.transferred(sent, true);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end_task(&self, failed: bool) {
        if !std::mem::replace(&mut self.lock().started, true) {
            self.events.event(&Event::TaskDone { id: self.task, took: self.began.elapsed(), failed });
        }
    }

    fn transferred(&self, current: u64, finished: bool) {
        let of = self.platform.as_ref().map(|platform| format!("{platform} ")).unwrap_or_default();
        let (name, direction, total) = (&*format!("{of}context"), Direction::Upload, self.size);
        self.events.event(&Event::Transfer { name, direction, current, total, finished });
    }
}

impl Watcher for Watch {
    fn waiting(&self, why: &str) {
        let of = self.platform.as_ref().map(|platform| format!("{platform}: ")).unwrap_or_default();
        self.events.event(&Event::Warning(&format!("{of}waiting: {why}")));
    }

    fn started(&self) {
        self.end_task(false);
    }

    fn handed_over(&self, bytes: u64) {
        self.lock().handed_over = bytes;
        self.transferred(bytes, self.size == Some(bytes));
    }

    fn again(&self) {
        self.replay.again();
    }

    fn line(&self, line: &[u8]) {
        self.replay.line(line);
    }
}
