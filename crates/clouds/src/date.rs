//! Dates as signatures and token services write them. All are UTC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kiln_oci::{Mtime, time};

/// `YYYY-MM-DDTHH:MM:SSZ`, as Alibaba Cloud signs it.
pub fn rfc3339(at: SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    time::rfc3339(Mtime::secs(i64::try_from(seconds).unwrap_or(i64::MAX)))
}

/// `YYYYMMDDTHHMMSSZ`, as Amazon signs it.
pub fn compact(at: SystemTime) -> String {
    rfc3339(at).replace(['-', ':'], "")
}

/// The time of `YYYY-MM-DDTHH:MM:SS[.fraction]Z` since 1970; fractions are dropped.
pub fn parse_rfc3339(text: &str) -> Option<SystemTime> {
    let text = text.trim();
    let seconds = time::parse_rfc3339(text).ok().filter(|_| text.ends_with(['Z', 'z']))?.secs;
    UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms() {
        let time = parse_rfc3339("2013-05-24T12:34:56.789Z").unwrap();
        assert_eq!(compact(time), "20130524T123456Z");
        assert_eq!(rfc3339(time), "2013-05-24T12:34:56Z");
        assert_eq!(time.duration_since(UNIX_EPOCH).unwrap().as_secs(), 1_369_398_896);
        for bad in [
            "",
            "2013-05-24",
            "2013-05-24T12:34:56",
            "2013-13-24T12:34:56Z",
            "2013-05-24T12:34Z",
            "2013-05-24T+1:34:56Z",
            "1800-01-01T00:00:00Z",
            "99999999999999999999-01-01T00:00:00Z",
        ] {
            assert_eq!(parse_rfc3339(bad), None, "{bad}");
        }
    }
}
