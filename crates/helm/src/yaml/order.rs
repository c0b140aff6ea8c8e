//! The order in which Go's yaml writes keys: by letters, and numbers in them by size.

use std::cmp::Ordering;

/// Compares two keys.
pub(crate) fn compare(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    for (at, (&x, &y)) in a.iter().zip(&b).enumerate() {
        if x == y {
            continue;
        }
        return match (x.is_alphabetic(), y.is_alphabetic()) {
            (true, true) => x.cmp(&y),
            // What is no letter comes first.
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => numbers(&a, &b, at),
        };
    }
    a.len().cmp(&b.len())
}

/// Both differ at `at`, where at least one may have digits.
fn numbers(a: &[char], b: &[char], at: usize) -> Ordering {
    let zero = a[at] == '0' || b[at] == '0';
    let before = || a[..at].iter().rev().take_while(|c| c.is_ascii_digit()).any(|&c| c != '0');
    let start = i64::from(zero && before());
    let read = |text: &[char]| {
        let digits = text[at..].iter().take_while(|c| c.is_ascii_digit());
        digits.fold((start, at), |(number, end), c| {
            let digit = i64::from(c.to_digit(10).unwrap_or(0));
            (number.wrapping_mul(10).wrapping_add(digit), end + 1)
        })
    };
    let ((x, x_end), (y, y_end)) = (read(a), read(b));
    x.cmp(&y).then(x_end.cmp(&y_end)).then(a[at].cmp(&b[at]))
}
