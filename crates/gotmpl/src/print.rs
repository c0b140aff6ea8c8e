//! Values as text, the way Go's fmt prints them.

use crate::error::Failure;
use crate::value::Value;

/// The longest text a function may make, in bytes.
pub(crate) const MAX_TEXT: usize = 16 << 20;
/// How deep printed lists and maps may be: they may contain themselves.
const MAX_DEPTH: usize = 100;

/// A text that stops growing at [`MAX_TEXT`].
#[derive(Debug)]
pub(crate) struct Bounded {
    text: String,
    full: bool,
}

impl Bounded {
    pub fn new() -> Bounded {
        Bounded { text: String::new(), full: false }
    }

    pub fn push(&mut self, text: &str) {
        if self.full || self.text.len() + text.len() > MAX_TEXT {
            self.full = true;
        } else {
            self.text.push_str(text);
        }
    }

    /// `count` times `c`.
    pub fn fill(&mut self, c: char, count: usize) {
        if self.full || self.text.len().saturating_add(count.saturating_mul(c.len_utf8())) > MAX_TEXT {
            self.full = true;
        } else {
            self.text.extend(std::iter::repeat_n(c, count));
        }
    }

    /// Whether more would be in vain.
    pub fn is_full(&self) -> bool {
        self.full
    }

    pub fn finish(self) -> Result<String, Failure> {
        if self.full {
            return Err(Failure::new(format!("the text grows beyond {MAX_TEXT} bytes, or holds itself")));
        }
        Ok(self.text)
    }
}

/// `%v`.
pub(crate) fn value(out: &mut Bounded, value: &Value) {
    each(out, value, 0, &mut |out, leaf| out.push(&plain(leaf)));
}

/// A value that holds no others, as `%v` prints it.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Nil => "<nil>".to_owned(),
        Value::Bool(yes) => yes.to_string(),
        Value::Int(number) | Value::Int64(number) => number.to_string(),
        Value::Float(number) => float(*number, 'g', None),
        Value::String(text) => text.as_ref().to_owned(),
        Value::Object(object) => object.print(),
        Value::List(_) | Value::Map(_) | Value::Function(_) => value.type_name().to_owned(),
    }
}

/// Lists and maps in their brackets, with `leaf` printing what is in them.
pub(crate) fn each(out: &mut Bounded, value: &Value, depth: usize, leaf: &mut dyn FnMut(&mut Bounded, &Value)) {
    if out.is_full() {
        return;
    }
    if depth > MAX_DEPTH {
        out.full = true;
        return;
    }
    match value {
        Value::List(items) => {
            out.push("[");
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(" ");
                }
                each(out, item, depth + 1, leaf);
            }
            out.push("]");
        }
        Value::Map(map) => {
            out.push("map[");
            for (at, (key, item)) in map.entries().into_iter().enumerate() {
                if at > 0 {
                    out.push(" ");
                }
                leaf(out, &Value::from(key));
                out.push(":");
                each(out, &item, depth + 1, leaf);
            }
            out.push("]");
        }
        other => leaf(out, other),
    }
}

/// `%#v`.
pub(crate) fn go_syntax(value: &Value) -> String {
    let mut out = Bounded::new();
    syntax(&mut out, value, 0);
    out.text
}

fn syntax(out: &mut Bounded, value: &Value, depth: usize) {
    if out.full || depth > MAX_DEPTH {
        out.full = true;
        return;
    }
    match value {
        Value::Nil if depth > 0 => out.push("interface {}(nil)"),
        Value::String(text) => out.push(&quote(text, '"', false)),
        Value::List(items) => {
            out.push("[]interface {}{");
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(", ");
                }
                syntax(out, item, depth + 1);
            }
            out.push("}");
        }
        Value::Map(map) => {
            out.push("map[string]interface {}{");
            for (at, (key, item)) in map.entries().into_iter().enumerate() {
                if at > 0 {
                    out.push(", ");
                }
                out.push(&quote(&key, '"', false));
                out.push(":");
                syntax(out, &item, depth + 1);
            }
            out.push("}");
        }
        other => out.push(&plain(other)),
    }
}

/// A text in quotes, with escapes where it needs them.
pub(crate) fn quote(text: &str, mark: char, ascii: bool) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push(mark);
    for c in text.chars() {
        match c {
            c if c == mark || c == '\\' => out.extend(['\\', c]),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_ascii() || (!ascii && printable(c)) => out.push(c),
            c if u32::from(c) < 0x1_0000 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push(mark);
    out
}

/// Whether a character can be seen.
pub(crate) fn printable(c: char) -> bool {
    // Behind a letter, so that a combining mark is not escaped for standing alone.
    let mut shown = String::from("a");
    shown.push(c);
    c.is_ascii_graphic() || c == ' ' || (!c.is_ascii() && !shown.escape_debug().any(|shown| shown == '\\'))
}

/// A number in the formats `e`, `E`, `f`, `g` and `G`; without a precision, with as many digits as tell it from others.
pub(crate) fn float(number: f64, verb: char, precision: Option<usize>) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    match (verb.to_ascii_lowercase(), precision) {
        ('f', Some(precision)) => format!("{number:.precision$}"),
        ('f', None) => format!("{number}"),
        ('e', Some(precision)) => exponent(&format!("{number:.precision$e}"), verb),
        ('e', None) => exponent(&format!("{number:e}"), verb),
        (_, precision) => general(number, verb, precision),
    }
}

/// Rust's `1.5e-7` as Go's `1.5e-07`.
fn exponent(text: &str, verb: char) -> String {
    let (mantissa, power) = text.split_once('e').unwrap_or((text, "0"));
    let (sign, digits) = power.strip_prefix('-').map_or(('+', power), |digits| ('-', digits));
    let e = if verb.is_ascii_uppercase() { 'E' } else { 'e' };
    format!("{mantissa}{e}{sign}{digits:0>2}")
}

fn general(number: f64, verb: char, precision: Option<usize>) -> String {
    let digits = precision.map(|precision| precision.max(1));
    let text = match digits {
        Some(digits) => format!("{number:.*e}", digits - 1),
        None => format!("{number:e}"),
    };
    let (mantissa, power) = text.split_once('e').unwrap_or((&text, "0"));
    let power: i64 = power.parse().unwrap_or(0);
    let mantissa = if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
    let count = mantissa.bytes().filter(u8::is_ascii_digit).count();
    let whole = usize::try_from(power + 1).unwrap_or(0);
    let limit = match digits {
        None => 6,
        // Trailing zeros that were cut do not count, as long as the number before the point is complete.
        Some(digits) if digits > count && count >= whole => count,
        Some(digits) => digits,
    };
    if power < -4 || power >= i64::try_from(limit).unwrap_or(i64::MAX) {
        return exponent(&format!("{mantissa}e{power}"), verb);
    }
    let decimals = usize::try_from(i64::try_from(count).unwrap_or(0) - 1 - power).unwrap_or(0);
    format!("{number:.decimals$}")
}
