//! Durations as Go writes them: `1h30m`, `1.5s`, `500ms`.

/// Why a duration cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not a sequence of numbers with units.
    #[error("`{0}` is not a duration")]
    Malformed(String),
    /// A number without `s`, `m` or another unit.
    #[error("`{0}` lacks a unit: write `{0}s` for seconds")]
    MissingUnit(String),
    /// A unit that does not exist.
    #[error("unknown unit `{unit}` in the duration `{text}`: use ns, us, ms, s, m or h")]
    UnknownUnit {
        /// The whole text.
        text: String,
        /// The unit.
        unit: String,
    },
    /// More than about 292 years.
    #[error("the duration `{0}` is too long")]
    TooLong(String),
}

/// Nanoseconds in a unit.
fn unit(name: &str) -> Option<u64> {
    Some(match name {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// Reads a duration; the result is in nanoseconds.
///
/// # Errors
/// When the text is not what Go's `time.ParseDuration` takes.
pub fn parse(text: &str) -> Result<i64, DurationError> {
    let malformed = || DurationError::Malformed(text.to_owned());
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(malformed());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let number_length = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_length);
        let unit_length = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (name, after) = after.split_at(unit_length);
        if name.is_empty() && !number.is_empty() {
            return Err(DurationError::MissingUnit(text.to_owned()));
        }
        let scale = unit(name)
            .ok_or_else(|| DurationError::UnknownUnit { text: text.to_owned(), unit: name.to_owned() })
            .map_err(|error| if number.is_empty() { malformed() } else { error })?;
        let part = scaled(number, scale).ok_or_else(malformed)?;
        total = part
            .and_then(|part| total.checked_add(part))
            .filter(|&total| i64::try_from(total).is_ok())
            .ok_or_else(|| DurationError::TooLong(text.to_owned()))?;
        rest = after;
    }
    let total = i64::try_from(total).map_err(|_| DurationError::TooLong(text.to_owned()))?;
    Ok(if negative { -total } else { total })
}

/// `number` × `scale`: `None` when it is no number, `Some(None)` when the product is too large.
fn scaled(number: &str, scale: u64) -> Option<Option<u64>> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let Ok(whole) = (if whole.is_empty() { Ok(0) } else { whole.parse::<u64>() }) else { return Some(None) };
    let mut part: u64 = 0;
    let mut digit_scale = u128::from(scale) * 1_000_000_000;
    for digit in fraction.bytes() {
        digit_scale /= 10;
        part = part.saturating_add(u64::try_from(digit_scale * u128::from(digit - b'0') / 1_000_000_000).unwrap_or(0));
    }
    Some(whole.checked_mul(scale).and_then(|whole| whole.checked_add(part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        for (text, want) in [
            ("0", 0),
            ("5s", 5_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1.5s", 1_500_000_000),
            (".5m", 30_000_000_000),
            ("500ms", 500_000_000),
            ("2us", 2_000),
            ("2µs", 2_000),
            ("-1s", -1_000_000_000),
            ("0.000000001s", 1),
        ] {
            assert_eq!(parse(text), Ok(want), "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!(parse("5").unwrap_err().to_string(), "`5` lacks a unit: write `5s` for seconds");
        assert!(matches!(parse("5d"), Err(DurationError::UnknownUnit { .. })));
        assert!(matches!(parse("99999999h"), Err(DurationError::TooLong(_))));
        assert!(matches!(parse("99999999999999999999s"), Err(DurationError::TooLong(_))));
        for text in ["", "s", "-", ".s", "1.2.3s", "x"] {
            assert!(matches!(parse(text), Err(DurationError::Malformed(_))), "{text}");
        }
    }
}
