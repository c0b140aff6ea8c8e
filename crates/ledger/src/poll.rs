//! Waiting between questions to a cloud.

use std::hash::{BuildHasher as _, RandomState};
use std::thread;
use std::time::{Duration, Instant};

/// The first wait.
const SHORTEST: Duration = Duration::from_millis(500);
/// And what they grow to.
const LONGEST: Duration = Duration::from_secs(5);
/// How long a cancel may go unseen.
const SLICE: Duration = Duration::from_millis(50);
/// A factor for all waits; tests have a small one.
const FACTOR: &str = "KILN_CLOUD_POLL";

/// Why there is no further question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The user wants it to end.
    Cancelled,
    /// It took longer than this.
    TimedOut(Duration),
}

/// Waits between questions: from half a second growing to five, each somewhat shorter or longer by chance, so that many
/// builds do not ask all at once.
#[derive(Debug)]
pub struct Backoff {
    limit: Duration,
    factor: f64,
    began: Instant,
    next: Duration,
    chance: u64,
}

impl Backoff {
    /// For what may take `limit` from now on. Waits are scaled by `KILN_CLOUD_POLL`, a factor from 0 to 1: with `0.01`
    /// tests wait milliseconds; what is no such number does not count. The limit is never scaled.
    pub fn new(limit: Duration) -> Backoff {
        // Read here, so that no piece of a cloud's client can forget to pass it on; no user needs it.
        let factor = std::env::var(FACTOR).ok().and_then(|text| text.parse().ok());
        Backoff::scaled(limit, factor.unwrap_or(1.0))
    }

    /// The same with a factor that is given.
    pub fn scaled(limit: Duration, factor: f64) -> Backoff {
        let factor = if (0.0..=1.0).contains(&factor) { factor } else { 1.0 };
        let chance = RandomState::new().hash_one(limit);
        Backoff { limit, factor, began: Instant::now(), next: SHORTEST, chance }
    }

    /// Waits until it is time to ask again. Within 100 ms of a cancel it returns.
    ///
    /// # Errors
    /// [`Stop::Cancelled`]; [`Stop::TimedOut`] when the limit was reached before: after the last wait there is one more
    /// question.
    pub fn wait(&mut self, cancelled: &dyn Fn() -> bool) -> Result<(), Stop> {
        let left = self.limit.checked_sub(self.began.elapsed()).filter(|left| !left.is_zero());
        let Some(left) = left else {
            return Err(if cancelled() { Stop::Cancelled } else { Stop::TimedOut(self.limit) });
        };
        let until = Instant::now() + self.nap().min(left);
        loop {
            if cancelled() {
                return Err(Stop::Cancelled);
            }
            match until.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero()) {
                Some(rest) => thread::sleep(rest.min(SLICE)),
                None => return Ok(()),
            }
        }
    }

    /// The next wait: three quarters to five quarters of what it would be without chance, within the limits.
    fn nap(&mut self) -> Duration {
        // Numerical Recipes' generator; its upper bits are good enough for this.
        self.chance = self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let share = f64::from((self.chance >> 32) as u32) / f64::from(u32::MAX);
        let nap = self.next.mul_f64(0.75 + share / 2.0).clamp(SHORTEST, LONGEST);
        self.next = self.next.mul_f64(1.5).min(LONGEST);
        nap.mul_f64(self.factor)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn waits_grow_from_half_a_second_to_five_and_differ() {
        let naps = |_| {
            let mut backoff = Backoff::scaled(Duration::from_secs(1), 1.0);
            (0..20).map(|_| backoff.nap()).collect::<Vec<_>>()
        };
        let several: Vec<Vec<Duration>> = (0..4).map(naps).collect();
        for naps in &several {
            assert!(naps.iter().all(|nap| (SHORTEST..=LONGEST).contains(nap)), "{naps:?}");
            assert!(naps[0] <= SHORTEST.mul_f64(1.25) && naps[19] >= LONGEST.mul_f64(0.75), "{naps:?}");
        }
        assert!(several.iter().any(|naps| *naps != several[0]), "no chance in {several:?}");
    }

    #[test]
    fn a_factor_scales_waits_and_nonsense_does_not() {
        for (factor, most) in [(0.01, 0.05), (0.0, 0.0), (1.0, 5.0), (-1.0, 5.0), (f64::NAN, 5.0), (1e300, 5.0)] {
            let mut backoff = Backoff::scaled(Duration::from_secs(1), factor);
            let longest = (0..40).map(|_| backoff.nap()).max().unwrap();
            assert!(longest <= Duration::from_secs_f64(most), "{factor}: {longest:?}");
            assert!(longest >= Duration::from_secs_f64(most * 0.75), "{factor}: {longest:?}");
        }
    }

    #[test]
    fn a_cancel_ends_a_wait_that_has_begun() {
        let asked = Cell::new(0);
        let cancelled = || {
            asked.set(asked.get() + 1);
            asked.get() > 3
        };
        let mut backoff = Backoff::scaled(Duration::from_secs(600), 1.0);
        assert_eq!(backoff.wait(&cancelled), Err(Stop::Cancelled));
        // Three slices, not the half second of the wait, which is asked ten times.
        assert_eq!(asked.get(), 4);
    }

    #[test]
    fn after_the_limit_there_is_one_more_question_and_then_no_other() {
        let limit = Duration::from_millis(30);
        let mut backoff = Backoff::scaled(limit, 1.0);
        assert_eq!(backoff.wait(&|| false), Ok(()));
        assert_eq!(backoff.wait(&|| false), Err(Stop::TimedOut(limit)));
        assert_eq!(backoff.wait(&|| true), Err(Stop::Cancelled));
        assert_eq!(Backoff::scaled(Duration::ZERO, 1.0).wait(&|| false), Err(Stop::TimedOut(Duration::ZERO)));
        assert_eq!(Backoff::scaled(Duration::MAX, 0.0).wait(&|| false), Ok(()));
    }
}
