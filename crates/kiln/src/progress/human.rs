//! Sizes, durations and ages in words, the same in every verb.

use std::time::Duration;

const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];

/// A size in bytes with three digits that count, in powers of 1000 as Docker shows it: `999B`, `1.24kB`, `12.6MB`,
/// `128MB`.
pub fn size(bytes: u64) -> String {
    let (value, unit) = scaled(bytes);
    if unit == 0 {
        return format!("{bytes}B");
    }
    let trimmed = |text: String| text.trim_end_matches('0').trim_end_matches('.').to_owned();
    let text = match value {
        v if v < 9.995 => trimmed(format!("{v:.2}")),
        v if v < 99.95 => trimmed(format!("{v:.1}")),
        v if v < 999.5 => format!("{v:.0}"),
        // Rounding reached the next unit, which exists: the largest u64 is 18.4EB.
        _ => return format!("1{}", UNITS[unit + 1]),
    };
    format!("{text}{}", UNITS[unit])
}

/// A size in bytes with two decimals always, for a number that is redrawn as it grows: `12.58MB`, `60.00MB`, `7B`.
pub fn growing_size(bytes: u64) -> String {
    match scaled(bytes) {
        (_, 0) => format!("{bytes}B"),
        (value, unit) => format!("{value:.2}{}", UNITS[unit]),
    }
}

/// The size in the largest unit it reaches, and that unit's index.
fn scaled(bytes: u64) -> (f64, usize) {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    (value, unit)
}

/// Seconds with one decimal, for columns of times: `0.0s`, `72.3s`.
pub fn seconds(time: Duration) -> String {
    format!("{:.1}s", time.as_secs_f64())
}

/// A duration to read: `12ms`, `1.2s`, `2m03s`, `1h02m`.
pub fn duration(time: Duration) -> String {
    let millis = time.as_millis();
    // What would be rounded up to a full minute is shown as one.
    if millis < 1000 {
        return format!("{millis}ms");
    }
    if millis < 59_950 {
        return seconds(time);
    }
    let secs = (millis + 500) / 1000;
    if secs < 3600 {
        format!("{}m{:02}s", secs / 60, secs % 60)
    } else {
        format!("{}h{:02}m", secs / 3600, secs / 60 % 60)
    }
}

/// How long ago something was, from its age in seconds: `just now`, `3 minutes ago`, `2 weeks ago`; an age below 0 is
/// `in the future`.
pub fn age(secs: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    let (count, unit) = match secs {
        // Clocks of two machines differ a little.
        ..-60 => return "in the future".to_owned(),
        -60..1 => return "just now".to_owned(),
        s if s < MINUTE => (s, "second"),
        s if s < HOUR => (s / MINUTE, "minute"),
        s if s < 2 * DAY => (s / HOUR, "hour"),
        s if s < 14 * DAY => (s / DAY, "day"),
        s if s < 60 * DAY => (s / (7 * DAY), "week"),
        s if s < 730 * DAY => (s / (30 * DAY), "month"),
        s => (s / (365 * DAY), "year"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

/// `1 step`, `3 steps`.
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits_that_count() {
        let of = |cases: &[u64]| cases.iter().map(|b| size(*b)).collect::<Vec<_>>().join(" ");
        assert_eq!(of(&[0, 1, 999, 1000, 1235, 9_994, 9_996]), "0B 1B 999B 1kB 1.24kB 9.99kB 10kB");
        assert_eq!(of(&[12_580_000, 99_960_000, 128_400_000, 999_600_000]), "12.6MB 100MB 128MB 1GB");
        assert_eq!(of(&[100_000_000, 12_000_000, u64::MAX]), "100MB 12MB 18.4EB");
    }

    #[test]
    fn growing_sizes_keep_their_decimals() {
        assert_eq!(growing_size(12_580_000), "12.58MB");
        assert_eq!(growing_size(60_000_000), "60.00MB");
        assert_eq!(growing_size(12), "12B");
    }

    #[test]
    fn durations_round_into_the_next_unit() {
        let of = |millis: u64| duration(Duration::from_millis(millis));
        assert_eq!(of(12), "12ms");
        assert_eq!(of(1_249), "1.2s");
        assert_eq!(of(59_949), "59.9s");
        assert_eq!(of(59_950), "1m00s");
        assert_eq!(of(123_400), "2m03s");
        assert_eq!(of(3_599_600), "1h00m");
        assert_eq!(of(3_720_000), "1h02m");
        assert_eq!(seconds(Duration::from_millis(72_345)), "72.3s");
    }

    #[test]
    fn ages_are_told_in_their_largest_unit() {
        let day = 86_400;
        for (secs, text) in [
            (-3600, "in the future"),
            (-5, "just now"),
            (0, "just now"),
            (1, "1 second ago"),
            (185, "3 minutes ago"),
            (3600, "1 hour ago"),
            (47 * 3600, "47 hours ago"),
            (2 * day, "2 days ago"),
            (20 * day, "2 weeks ago"),
            (90 * day, "3 months ago"),
            (800 * day, "2 years ago"),
        ] {
            assert_eq!(age(secs), text);
        }
    }
}
