//! How fast a body comes.

use std::time::{Duration, Instant};

/// Counts what comes. A peer must not hold a transfer by sending single bytes.
#[derive(Debug)]
pub struct Pace {
    since: Instant,
    bytes: usize,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace::new()
    }
}

impl Pace {
    /// The least that must come in the time that nothing may, in bytes.
    const LEAST: usize = 1 << 10;

    /// From now on.
    pub fn new() -> Pace {
        Pace { since: Instant::now(), bytes: 0 }
    }

    /// Counts a piece; whether so few bytes came in `time` that they are as good as none.
    pub fn too_slow(&mut self, piece: usize, time: Duration) -> bool {
        self.bytes += piece;
        if self.since.elapsed() < time {
            return false;
        }
        let slow = self.bytes < Pace::LEAST;
        *self = Pace::new();
        slow
    }
}
