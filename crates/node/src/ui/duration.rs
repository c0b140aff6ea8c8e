//! Durations in Packer's words: `5 minutes 3 seconds`.

use std::time::Duration;

/// Units and their length in microseconds, longest first.
const UNITS: [(&str, u128); 6] = [
    ("day", 86_400_000_000),
    ("hour", 3_600_000_000),
    ("minute", 60_000_000),
    ("second", 1_000_000),
    ("millisecond", 1_000),
    ("microsecond", 1),
];

/// The two largest units of a duration.
pub fn words(duration: Duration) -> String {
    let mut left = duration.as_micros();
    let mut parts = Vec::new();
    for (name, length) in UNITS {
        let count = left / length;
        left %= length;
        if count > 0 && parts.len() < 2 {
            parts.push(format!("{count} {name}{}", if count == 1 { "" } else { "s" }));
        }
    }
    if parts.is_empty() { "0 microseconds".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_units_are_enough() {
        for (millis, wanted) in [
            (303_000, "5 minutes 3 seconds"),
            (1_020, "1 second 20 milliseconds"),
            (3_600_000, "1 hour"),
            (90_061_000, "1 day 1 hour"),
            (0, "0 microseconds"),
        ] {
            assert_eq!(words(Duration::from_millis(millis)), wanted);
        }
    }
}
