//! How long a host may take: one that hangs must not hold those who wait for others.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use kiln_host::Cancel;

/// How often it is looked at whether the user wants it to end.
const LOOK: Duration = Duration::from_millis(20);

/// Does something in this thread, with a flag that is set when the time is over, or when `cancel` is. What came of it, and
/// whether the time was over before.
pub(crate) fn limited<T>(limit: Duration, cancel: &Cancel, work: impl FnOnce(&Cancel) -> T) -> (T, bool) {
    let own = Cancel::new();
    let (done, end) = channel::<()>();
    std::thread::scope(|scope| {
        let flag = &own;
        let watch = scope.spawn(move || {
            let until = Instant::now() + limit;
            loop {
                let left = until.saturating_duration_since(Instant::now());
                match end.recv_timeout(left.min(LOOK)) {
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return false,
                    Err(RecvTimeoutError::Timeout) if cancel.is_set() => {
                        flag.cancel();
                        return false;
                    }
                    Err(RecvTimeoutError::Timeout) if left.is_zero() => {
                        flag.cancel();
                        return true;
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                }
            }
        });
        let answer = work(&own);
        drop(done);
        (answer, watch.join().unwrap_or(false))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn until_set(cancel: &Cancel) {
        while !cancel.is_set() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn what_hangs_is_ended_when_its_time_is_over_or_the_user_wants_it() {
        let never = Cancel::new();
        assert_eq!(limited(LONG, &never, |_| 7), (7, false));
        assert_eq!(limited(Duration::from_millis(50), &never, until_set), ((), true));
        let stopped = Cancel::new();
        let stopper = stopped.clone();
        let asked = limited(LONG, &stopped, |own| {
            stopper.cancel();
            until_set(own);
        });
        assert_eq!(asked, ((), false));
    }
}
