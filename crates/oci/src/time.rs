//! Times as text: RFC 3339, as Go writes it into configurations and histories.

use crate::Mtime;

/// Why a text is not a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an RFC 3339 time such as 2024-01-02T03:04:05Z")]
pub struct TimeError(String);

const DAY: i64 = 86_400;
/// 0000-01-01T00:00:00Z and 9999-12-31T23:59:59Z: what four digits can say.
const RANGE: std::ops::RangeInclusive<i64> = -62_167_219_200..=253_402_300_799;

/// `2024-01-02T03:04:05Z`, with a fraction only where there are nanoseconds, and without its trailing zeros. Times outside
/// the years 0 to 9999 become the nearest that four digits can say.
pub fn rfc3339(time: Mtime) -> String {
    let secs = time.secs.clamp(*RANGE.start(), *RANGE.end());
    let (days, rest) = (secs.div_euclid(DAY), secs.rem_euclid(DAY));
    let (year, month, day) = date_of(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    let mut out = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if time.nanos > 0 {
        let fraction = format!(".{:09}", time.nanos.min(999_999_999));
        out.push_str(fraction.trim_end_matches('0'));
    }
    out.push('Z');
    out
}

/// Reads an RFC 3339 time in any offset. Digits beyond nanoseconds are dropped.
///
/// # Errors
/// Anything else, a date that is not in the calendar included.
pub fn parse_rfc3339(text: &str) -> Result<Mtime, TimeError> {
    parse(text).ok_or_else(|| TimeError(text.chars().take(64).collect()))
}

fn parse(text: &str) -> Option<Mtime> {
    let b = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = b.get(from..to)?;
        digits.iter().all(u8::is_ascii_digit).then(|| digits.iter().fold(0, |n, d| n * 10 + i64::from(d - b'0')))
    };
    let is = |at: usize, want: &[u8]| b.get(at).is_some_and(|c| want.contains(c));
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let shape = is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":");
    let valid = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day) && hour < 24 && minute < 60;
    // A leap second counts as the second before it.
    if !shape || !valid || second > 60 {
        return None;
    }
    let mut at = 19;
    let mut nanos = 0;
    if is(at, b".") {
        let digits = b[at + 1..].iter().take_while(|c| c.is_ascii_digit()).count();
        let fraction = &b[at + 1..at + 1 + digits];
        if digits == 0 {
            return None;
        }
        let nine = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9);
        nanos = nine.fold(0, |n, d| n * 10 + u32::from(d - b'0'));
        at += 1 + digits;
    }
    let offset = match b.get(at)? {
        b'Z' | b'z' if at + 1 == b.len() => 0,
        sign @ (b'+' | b'-') if at + 6 == b.len() && is(at + 3, b":") => {
            let (hours, minutes) = (number(at + 1, at + 3)?, number(at + 4, at + 6)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 3600 + minutes * 60) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    let secs = seconds_of([year, month, day], [hour, minute, second.min(59)]) - offset;
    Some(Mtime { secs, nanos })
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Seconds since 1970 of a date and a time of day in UTC: year, month and day from 1; hour, minute, second.
pub fn seconds_of([year, month, day]: [i64; 3], [hour, minute, second]: [i64; 3]) -> i64 {
    days_of(year, month, day) * DAY + hour * 3600 + minute * 60 + second
}

/// Days since 1970-01-01 of a date of the Gregorian calendar; month and day from 1. Years are counted from March, so
/// that the leap day is a year's last.
pub fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, in_era) = (year.div_euclid(400), year.rem_euclid(400));
    let in_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719_468
}

/// Year, month and day, from 1, of a number of days since 1970-01-01.
pub fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, in_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (in_era - in_era / 1460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year + year / 4 - year / 100);
    let month = (5 * in_year + 2) / 153;
    let day = in_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_comes_back() {
        for day in (0..200_000).step_by(7).chain(11_000..12_000) {
            let (y, m, d) = date_of(day);
            assert_eq!(days_of(y, m, d), day, "{y}-{m}-{d}");
        }
        assert_eq!(date_of(0), (1970, 1, 1));
        assert_eq!(date_of(11_016), (2000, 2, 29));
        assert_eq!(days_of(2100, 3, 1), days_of(2100, 2, 28) + 1);
    }

    #[test]
    fn times_are_written_as_go_writes_them() {
        for (secs, nanos, text) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (1_704_164_645, 0, "2024-01-02T03:04:05Z"),
            (1_704_164_645, 120_000_000, "2024-01-02T03:04:05.12Z"),
            (1_704_164_645, 1, "2024-01-02T03:04:05.000000001Z"),
            (951_782_400, 0, "2000-02-29T00:00:00Z"),
            (-1, 0, "1969-12-31T23:59:59Z"),
            (-62_135_596_800, 0, "0001-01-01T00:00:00Z"),
            (253_402_300_799, 0, "9999-12-31T23:59:59Z"),
        ] {
            let time = Mtime { secs, nanos };
            assert_eq!(rfc3339(time), text);
            assert_eq!(parse_rfc3339(text), Ok(time));
        }
        assert_eq!(rfc3339(Mtime::secs(i64::MAX)), "9999-12-31T23:59:59Z");
        assert_eq!(rfc3339(Mtime::secs(i64::MIN)), "0000-01-01T00:00:00Z");
    }

    #[test]
    fn offsets_and_lower_case_are_read() {
        let want = Mtime::secs(1_704_164_645);
        for text in ["2024-01-02T05:04:05+02:00", "2024-01-01t21:34:05-05:30", "2024-01-02 03:04:05z"] {
            assert_eq!(parse_rfc3339(text), Ok(want), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_an_error() {
        for bad in [
            "",
            "2024",
            "2024-01-02",
            "2024-13-02T03:04:05Z",
            "2023-02-29T00:00:00Z",
            "2024-01-02T24:00:00Z",
            "2024-01-02T03:04:05",
            "2024-01-02T03:04:05.Z",
            "2024-01-02T03:04:05Zx",
            "2024-01-02T03:04:05+0200",
            "2024-01-02T03:04:05é",
            "+024-01-02T03:04:05Z",
        ] {
            assert!(parse_rfc3339(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_day_of_eight_centuries_round_trips() {
        for day in (-150_000..150_000).step_by(1) {
            let (y, m, d) = date_of(day);
            assert_eq!(days_of(y, m, d), day);
        }
    }
}
