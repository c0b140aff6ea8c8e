//! How long a launch takes, and how much of that is waiting for others: kubeadm, kubelet, pods. The rest is Kiln's own.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A launch's time.
#[derive(Debug)]
pub struct Clock {
    began: Instant,
    waiting: Mutex<Waiting>,
}

/// Time in which at least one host is waited for.
#[derive(Debug, Default)]
struct Waiting {
    hosts: usize,
    since: Option<Instant>,
    sum: Duration,
}

/// What a launch took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Took {
    /// All of it.
    pub all: Duration,
    /// What of it was waiting for others, on one host or on many at once.
    pub waiting: Duration,
}

impl Default for Clock {
    fn default() -> Clock {
        Clock { began: Instant::now(), waiting: Mutex::default() }
    }
}

impl Clock {
    /// A clock of what began earlier.
    pub fn since(began: Instant) -> Clock {
        Clock { began, waiting: Mutex::default() }
    }

    /// Waits for others.
    pub fn wait<T>(&self, work: impl FnOnce() -> T) -> T {
        self.turn(true);
        let result = work();
        self.turn(false);
        result
    }

    fn turn(&self, on: bool) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if on {
            waiting.hosts += 1;
            waiting.since.get_or_insert_with(Instant::now);
        } else {
            waiting.hosts = waiting.hosts.saturating_sub(1);
            if waiting.hosts == 0
                && let Some(since) = waiting.since.take()
            {
                waiting.sum += since.elapsed();
            }
        }
    }

    /// What it took until now.
    pub fn took(&self) -> Took {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let open = waiting.since.map(|since| since.elapsed()).unwrap_or_default();
        Took { all: self.began.elapsed(), waiting: waiting.sum + open }
    }
}

impl Took {
    /// Kiln's own share.
    pub fn own(&self) -> Duration {
        self.all.saturating_sub(self.waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_are_waited_for_at_once_count_once() {
        let clock = Clock::default();
        let pause = Duration::from_millis(30);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| clock.wait(|| std::thread::sleep(pause)));
            }
        });
        std::thread::sleep(pause);
        let took = clock.took();
        assert!(took.waiting >= pause && took.all >= took.waiting + pause && took.own() >= pause, "{took:?}");
        assert!(took.waiting <= took.all, "eight that wait at once do not wait eight times: {took:?}");
        assert!(clock.wait(|| clock.took()).waiting > took.waiting, "also while it waits");
    }
}
