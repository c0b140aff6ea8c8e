//! Numbers.

use num_bigint::BigInt;

use super::{FunctionError, Outcome, Row, argument_error, call_error, integer, items, number, text};
use crate::convert::convert;
use crate::number::Number;
use crate::types::Type;
use crate::value::Value;

pub(super) const TABLE: &[Row] = &[
    ("abs", 1, 1, |args, _| Ok(number(args, 0)?.abs().into())),
    ("ceil", 1, 1, |args, _| Ok(number(args, 0)?.ceil().into())),
    ("floor", 1, 1, |args, _| Ok(number(args, 0)?.floor().into())),
    ("log", 2, 2, |args, _| from_float(number(args, 0)?.to_f64().ln() / number(args, 1)?.to_f64().ln())),
    ("max", 1, super::MANY, |args, _| extreme(args, |best, next| next > best)),
    ("min", 1, super::MANY, |args, _| extreme(args, |best, next| next < best)),
    ("parseint", 2, 2, |args, _| parseint(args)),
    ("pow", 2, 2, |args, _| from_float(number(args, 0)?.to_f64().powf(number(args, 1)?.to_f64()))),
    ("signum", 1, 1, |args, _| Ok(integer(args, 0)?.signum().into())),
    ("sum", 1, 1, |args, _| sum(args)),
];

fn from_float(value: f64) -> Outcome {
    match Number::from_f64(value) {
        Some(number) => Ok(number.into()),
        None => call_error("the result is no number"),
    }
}

fn extreme(args: &[Value], better: fn(&Number, &Number) -> bool) -> Outcome {
    let mut best = number(args, 0)?;
    for index in 1..args.len() {
        let next = number(args, index)?;
        if better(&best, &next) {
            best = next;
        }
    }
    Ok(best.into())
}

fn sum(args: &[Value]) -> Outcome {
    let all = items(args, 0)?;
    if all.is_empty() {
        return argument_error(0, "there is nothing to add");
    }
    let add = |total: Number, item: &Value| {
        let item = convert(item, &Type::Number);
        let item = item.map_err(|error| FunctionError::Argument { index: 0, reason: error.to_string() })?;
        match item.as_number().map(|item| total.add(item)) {
            Some(Some(total)) => Ok(total),
            Some(None) => call_error("the sum is too large"),
            None => argument_error(0, "an element is null"),
        }
    };
    all.iter().try_fold(Number::from(0_i64), add).map(Value::from)
}

fn parseint(args: &[Value]) -> Outcome {
    let (written, base) = (text(args, 0)?, integer(args, 1)?);
    let base = match u32::try_from(base) {
        Ok(base @ 2..=62) => base,
        _ => return argument_error(1, "the base is from 2 to 62"),
    };
    if written.len() > 600 {
        return argument_error(0, "the number is too long");
    }
    let (negative, digits) = match written.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, written.strip_prefix('+').unwrap_or(&written)),
    };
    // Up to base 36 capitals are the same digits; beyond that they follow the small letters.
    let digit = |c: char| {
        let value = match c {
            '0'..='9' => u32::from(c) - u32::from('0'),
            'a'..='z' => u32::from(c) - u32::from('a') + 10,
            'A'..='Z' => u32::from(c) - u32::from('A') + if base <= 36 { 10 } else { 36 },
            _ => return None,
        };
        (value < base).then_some(value)
    };
    let value = digits.chars().try_fold(BigInt::from(0), |value, c| Some(value * base + digit(c)?));
    match value.filter(|_| !digits.is_empty()) {
        Some(value) => Ok(Number::from(if negative { -value } else { value }).into()),
        None => argument_error(0, format!("`{written}` is no whole number in base {base}")),
    }
}
