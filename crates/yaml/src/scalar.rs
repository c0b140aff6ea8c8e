//! What a plain word is: null, a boolean, a number, or text.
//!
//! The rules are those of gopkg.in/yaml.v2, through which every Kubernetes program reads YAML (sigs.k8s.io/yaml): the
//! booleans of YAML 1.1, and numbers as Go's `strconv.ParseInt(s, 0, 64)` and `ParseFloat` have them.

use crate::node::Value;

/// A number, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Number {
    /// As it is written: `0644`, `1_000`, `1.10`.
    pub text: String,
}

impl Number {
    /// Its value, if it is an integer of 64 bits, with or without a sign.
    pub fn integer(&self) -> Option<i128> {
        integer(&self.text)
    }

    /// Its value, rounded.
    pub fn float(&self) -> f64 {
        match self.integer() {
            Some(value) => value as f64,
            None => float(&self.text).unwrap_or(f64::NAN),
        }
    }

    /// As JSON, and so Kubernetes, has it: `1.10` is `1.1`, `0644` is `420`.
    pub fn canonical(&self) -> String {
        match self.integer() {
            Some(value) => value.to_string(),
            None => self.float().to_string(),
        }
    }
}

/// What a plain word is.
pub fn resolve(word: &str) -> Value {
    match word {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Value::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Value::Bool(false),
        _ if is_number(word) => Value::Number(Number { text: word.to_owned() }),
        _ => Value::Text(word.to_owned()),
    }
}

fn is_number(word: &str) -> bool {
    let starts = word.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
    starts && word.len() <= 64 && (integer(word).is_some() || float(word).is_some())
}

fn integer(word: &str) -> Option<i128> {
    let plain = word.replace('_', "");
    let (negative, digits) = match plain.as_bytes().first()? {
        b'-' => (true, &plain[1..]),
        b'+' => (false, &plain[1..]),
        _ => (false, &*plain),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let value = i128::from(u64::from_str_radix(digits, radix).ok()?);
    match negative {
        true => (value <= 1 << 63).then_some(-value),
        false => Some(value),
    }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`, and the words for what is not finite. What is too large for a
/// number is none, and so a text: a commit `1e999`, say.
fn float(word: &str) -> Option<f64> {
    match word {
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Some(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Some(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Some(f64::NAN),
        _ => {}
    }
    let plain = word.replace('_', "");
    let unsigned = plain.strip_prefix(['-', '+']).unwrap_or(&plain);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let ok = digits(whole) && digits(part) && !(whole.is_empty() && part.is_empty());
    (ok && exponent.is_none_or(|e| !e.is_empty() && digits(e)))
        .then(|| plain.parse().ok().filter(|number: &f64| number.is_finite()))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(word: &str) -> String {
        match resolve(word) {
            Value::Number(number) => number.canonical(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn words_are_what_go_makes_of_them() {
        for (word, want) in [
            ("0644", "420"),
            ("0o17", "15"),
            ("0x1F", "31"),
            ("1_000", "1000"),
            ("-12", "-12"),
            ("+5", "5"),
            ("1.10", "1.1"),
            (".5", "0.5"),
            ("1e3", "1000"),
            ("089", "89"),
            ("9223372036854775808", "9223372036854775808"),
            ("yes", "Bool(true)"),
            ("Off", "Bool(false)"),
            ("~", "Null"),
            ("1.2.3", "Text(\"1.2.3\")"),
            ("v1", "Text(\"v1\")"),
            ("0x", "Text(\"0x\")"),
            ("-", "Text(\"-\")"),
            (".", "Text(\".\")"),
            ("1e", "Text(\"1e\")"),
            ("1e999", "Text(\"1e999\")"),
            ("-12345e678", "Text(\"-12345e678\")"),
            (".inf", "inf"),
            ("12:30", "Text(\"12:30\")"),
            ("é", "Text(\"é\")"),
        ] {
            assert_eq!(canonical(word), want, "{word}");
        }
    }
}
