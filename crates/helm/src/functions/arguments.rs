//! Arguments of functions, by the types that Go wants.

use kiln_gotmpl::{Failure, Value, fmt};

use crate::objects::Bytes;

/// How many arguments there are to be: exactly.
pub(crate) fn exact<const N: usize>(arguments: &[Value]) -> Result<&[Value; N], Failure> {
    arguments.try_into().map_err(|_| Failure::new(format!("wants {N} arguments, not {}", arguments.len())))
}

/// At least so many.
pub(crate) fn least(arguments: &[Value], count: usize) -> Result<(), Failure> {
    if arguments.len() >= count {
        return Ok(());
    }
    Err(Failure::new(format!("wants {count} arguments or more, not {}", arguments.len())))
}

/// Go's name for the type, for messages.
fn got(value: &Value) -> String {
    match value {
        Value::Nil => "nothing".to_owned(),
        other => other.type_name().to_owned(),
    }
}

/// A `string`.
pub(crate) fn text(value: &Value) -> Result<&str, Failure> {
    match value {
        Value::String(text) => Ok(text),
        Value::Object(object) if object.any().is_some_and(<dyn std::any::Any>::is::<Bytes>) => {
            Err(Failure::new("the text is no UTF-8, which only `b64enc`, sums and `len` take"))
        }
        other => Err(Failure::new(format!("wrong type for value; expected string; got {}", got(other)))),
    }
}

/// An `int`.
pub(crate) fn int(value: &Value) -> Result<i64, Failure> {
    match value {
        Value::Int(number) => Ok(*number),
        other => Err(Failure::new(format!("wrong type for value; expected int; got {}", got(other)))
            .hint("`int` makes one of other numbers")),
    }
}

/// A `map[string]interface{}`.
pub(crate) fn dict(value: &Value) -> Result<kiln_gotmpl::Dict, Failure> {
    match value {
        Value::Map(map) => Ok(map.clone()),
        other => {
            Err(Failure::new(format!("wrong type for value; expected map[string]interface {{}}; got {}", got(other))))
        }
    }
}

/// The entries of a list, whatever it is made of.
pub(crate) fn entries(value: &Value) -> Option<Vec<Value>> {
    match value {
        Value::List(items) => Some(items.to_vec()),
        Value::Object(object) => match object.content() {
            Some(Value::List(items)) => Some(items.to_vec()),
            _ => None,
        },
        _ => None,
    }
}

/// Sprig's `strval`: what a value is as a text.
pub(crate) fn shown(value: &Value) -> Result<String, Failure> {
    match value {
        Value::Object(object) if object.any().is_some_and(<dyn std::any::Any>::is::<Bytes>) => {
            let bytes = crate::objects::bytes_of(value).unwrap_or_default();
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
        other => fmt::sprint(other),
    }
}

/// Sprig's `strslice`: the texts of a list; what is no list is one text, and nothing is none.
pub(crate) fn strings(value: &Value) -> Result<Vec<String>, Failure> {
    match value {
        Value::Nil => Ok(Vec::new()),
        other => match entries(other) {
            Some(items) => items.iter().filter(|item| **item != Value::Nil).map(shown).collect(),
            None => Ok(vec![shown(other)?]),
        },
    }
}

/// spf13's `cast.ToInt64E`, with zero for what is no number.
pub(crate) fn to_int64(value: &Value) -> i64 {
    match value {
        Value::Int(number) | Value::Int64(number) => *number,
        #[expect(clippy::cast_possible_truncation, reason = "as Go does")]
        Value::Float(number) => *number as i64,
        Value::Bool(yes) => i64::from(*yes),
        Value::String(text) => from_text(text),
        _ => 0,
    }
}

/// `strconv.ParseInt(text, 0, 0)`, without leading zeros.
fn from_text(text: &str) -> i64 {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let lower = zeros(&lower);
    let (radix, body) = match lower.get(..2) {
        Some("0x") => (16, &lower[2..]),
        Some("0b") => (2, &lower[2..]),
        Some("0o") => (8, &lower[2..]),
        _ => (10, lower),
    };
    if body.is_empty() || !body.chars().all(|c| c.is_digit(radix)) {
        return 0;
    }
    i128::from_str_radix(body, radix).ok().and_then(|size| i64::try_from(size * sign).ok()).unwrap_or(0)
}

/// Without zeros before, and without decimals that are zeros.
fn zeros(text: &str) -> &str {
    if text.len() > 1 && text.bytes().all(|b| b.is_ascii_digit()) {
        let short = text.trim_start_matches('0');
        return if short.is_empty() { "0" } else { short };
    }
    match text.split_once('.') {
        Some((whole, fraction)) if !whole.is_empty() && fraction.bytes().all(|b| b == b'0') => whole,
        _ => text,
    }
}

/// spf13's `cast.ToFloat64E`, with zero for what is no number.
pub(crate) fn to_float(value: &Value) -> f64 {
    match value {
        #[expect(clippy::cast_precision_loss, reason = "as Go does")]
        Value::Int(number) | Value::Int64(number) => *number as f64,
        Value::Float(number) => *number,
        Value::Bool(yes) => f64::from(u8::from(*yes)),
        Value::String(text) => text.parse().unwrap_or(0.0),
        _ => 0.0,
    }
}

/// A whole number of Go's type `int64`.
pub(crate) fn int64(number: i64) -> Value {
    Value::Int64(number)
}

