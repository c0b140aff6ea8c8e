//! When and how long to wait before asking again.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// No pause is longer; a server that asks for more than the longest it may ask for is not waited for.
const LONGEST: Duration = Duration::from_secs(30);
const LONGEST_ASKED: Duration = Duration::from_secs(60);
/// A host that cannot be connected to is given up sooner than one that answers.
const CONNECT_RETRIES: u32 = 2;

/// A failed try, and whether another one makes sense.
#[derive(Debug)]
pub struct Failure<E> {
    /// Why it failed.
    pub error: E,
    /// Whether to try again.
    pub again: Again,
}

/// Whether to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// It will not get better.
    Never,
    /// After the usual pause.
    Soon,
    /// After the usual pause, but not often: nothing answered at all.
    Unreachable,
    /// After the pause the server asked for.
    After(Duration),
}

impl<E> From<E> for Failure<E> {
    fn from(error: E) -> Self {
        Failure { error, again: Again::Never }
    }
}

impl<E> Failure<E> {
    /// One that may pass.
    pub fn soon(error: E) -> Failure<E> {
        Failure { error, again: Again::Soon }
    }
}

/// Counts tries and hands out pauses.
#[derive(Debug, Clone)]
pub struct Retry {
    tries: u32,
    limit: u32,
    base: Duration,
}

impl Retry {
    /// Up to `limit` tries after the first one; the first pause is `base` at the most, and each is twice the one before.
    pub fn new(limit: u32, base: Duration) -> Retry {
        Retry { tries: 0, limit, base }
    }

    /// Starts counting again: there was progress.
    pub fn progressed(&mut self) {
        self.tries = 0;
    }

    /// Waits before the next try.
    ///
    /// # Errors
    /// The failure's own, when there shall be no other try.
    pub async fn pause<E>(&mut self, failure: Failure<E>) -> Result<(), E> {
        match self.next(failure.again, jitter()) {
            Some(pause) => {
                tokio::time::sleep(pause).await;
                Ok(())
            }
            None => Err(failure.error),
        }
    }

    /// The next pause; `jitter` is in 0..1.
    fn next(&mut self, again: Again, jitter: f64) -> Option<Duration> {
        let limit = match again {
            Again::Never => 0,
            Again::Unreachable => self.limit.min(CONNECT_RETRIES),
            Again::Soon | Again::After(_) => self.limit,
        };
        if self.tries >= limit {
            return None;
        }
        let usual = self.base.saturating_mul(1 << self.tries.min(16)).min(LONGEST);
        self.tries += 1;
        // Between half and the whole of the pause, so that many clients do not come back at once.
        let usual = usual.mul_f64(0.5 + jitter / 2.0);
        match again {
            Again::After(asked) if asked > LONGEST_ASKED => None,
            Again::After(asked) => Some(asked.max(usual)),
            _ => Some(usual),
        }
    }
}

/// A number in 0..1; the standard library's hash keys are random per value.
fn jitter() -> f64 {
    let bits = RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(bits >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}

/// What to do about a status that is a failure.
pub fn after_status(status: StatusCode, headers: &HeaderMap) -> Again {
    match status.as_u16() {
        408 | 429 | 500 | 502 | 503 | 504 => retry_after(headers).map_or(Again::Soon, Again::After),
        _ => Again::Never,
    }
}

/// The pause a `Retry-After` header asks for, in seconds or as a date.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_end() {
        let mut retry = Retry::new(3, Duration::from_millis(100));
        let pauses: Vec<_> = std::iter::from_fn(|| retry.next(Again::Soon, 1.0)).collect();
        assert_eq!(pauses, [100, 200, 400].map(Duration::from_millis));
        let mut retry = Retry::new(9, Duration::from_secs(20));
        assert_eq!(retry.next(Again::Soon, 0.0), Some(Duration::from_secs(10)));
        assert_eq!(retry.next(Again::Soon, 1.0), Some(LONGEST));
        assert_eq!(Retry::new(9, Duration::ZERO).next(Again::Never, 0.0), None);
        let mut retry = Retry::new(9, Duration::from_secs(40));
        assert_eq!(retry.next(Again::Unreachable, 1.0), Some(LONGEST));
        assert!(retry.next(Again::Unreachable, 1.0).is_some());
        assert_eq!(retry.next(Again::Unreachable, 1.0), None);
    }

    #[test]
    fn progress_starts_the_count_again() {
        let mut retry = Retry::new(2, Duration::from_millis(100));
        assert_eq!(retry.next(Again::Soon, 1.0), Some(Duration::from_millis(100)));
        assert_eq!(retry.next(Again::Soon, 0.0), Some(Duration::from_millis(100)));
        assert_eq!(retry.next(Again::Soon, 1.0), None);
        retry.progressed();
        assert_eq!(retry.next(Again::After(Duration::from_secs(7)), 0.0), Some(Duration::from_secs(7)));
        assert_eq!(retry.next(Again::After(Duration::from_secs(61)), 0.0), None);
    }

    #[test]
    fn a_servers_wish_is_honoured_within_reason() {
        let mut retry = Retry::new(3, Duration::from_millis(1));
        assert_eq!(retry.next(Again::After(Duration::from_secs(7)), 0.0), Some(Duration::from_secs(7)));
        assert_eq!(retry.next(Again::After(Duration::from_secs(3600)), 0.0), None);
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "12".parse().unwrap());
        assert_eq!(after_status(StatusCode::TOO_MANY_REQUESTS, &headers), Again::After(Duration::from_secs(12)));
        headers.insert(RETRY_AFTER, "Fri, 01 Jan 2010 00:00:00 GMT".parse().unwrap());
        assert_eq!(retry_after(&headers), Some(Duration::ZERO));
        headers.insert(RETRY_AFTER, "-1".parse().unwrap());
        assert_eq!(after_status(StatusCode::BAD_GATEWAY, &headers), Again::Soon);
        assert_eq!(after_status(StatusCode::NOT_FOUND, &headers), Again::Never);
        assert_eq!(after_status(StatusCode::FORBIDDEN, &headers), Again::Never);
        headers.insert(RETRY_AFTER, "soon".parse().unwrap());
        assert_eq!(after_status(StatusCode::BAD_GATEWAY, &headers), Again::Soon);
        headers.remove(RETRY_AFTER);
        assert_eq!(after_status(StatusCode::SERVICE_UNAVAILABLE, &headers), Again::Soon);
        headers.insert(RETRY_AFTER, "Fri, 01 Jan 2010 00:00:00 GMT".parse().unwrap());
        assert_eq!(after_status(StatusCode::REQUEST_TIMEOUT, &headers), Again::After(Duration::ZERO));
    }
}
