//! `format` and `formatlist`: the verbs of printf.

use super::texts::limited;
use super::{FunctionError, Outcome, Row, argument_error, call_error, text};
use crate::convert::convert;
use crate::number::Number;
use crate::types::Type;
use crate::value::{Data, Value};
use crate::{console, json};

pub(super) const TABLE: &[Row] = &[
    ("format", 1, super::MANY, |args, _| Ok(format(&text(args, 0)?, &args[1..])?.into())),
    ("formatlist", 1, super::MANY, |args, _| formatlist(args)),
];

/// The widest field.
const MAX_WIDTH: usize = 4096;

/// A verb with what stands before it.
#[derive(Default)]
struct Verb {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
    letter: char,
}

fn format(pattern: &str, args: &[Value]) -> Result<String, FunctionError> {
    let mut result = String::new();
    let mut next = 0;
    let mut used = 0;
    let mut explicit = false;
    let mut rest = pattern;
    while let Some(at) = rest.find('%') {
        result.push_str(&rest[..at]);
        let start = &rest[at..];
        let (verb, argument, after) = read_verb(&start[1..], args, &mut next)?;
        explicit |= argument.is_some();
        let written = &start[..start.len() - after.len()];
        rest = after;
        if verb.letter == '%' {
            result.push('%');
            continue;
        }
        let index = argument.unwrap_or(next);
        let Some(value) = args.get(index) else {
            return argument_error(
                0,
                format!("`{written}` asks for argument {}, and there are {}", index + 1, args.len()),
            );
        };
        next = index + 1;
        used = used.max(next);
        result.push_str(&one(&verb, value, index + 1, written)?);
        limited(result.len())?;
    }
    result.push_str(rest);
    if used < args.len() && !explicit {
        return argument_error(used + 1, format!("there are {} arguments, and the format uses {used}", args.len()));
    }
    Ok(result)
}

/// The verb after a percent sign, which argument it names, and what follows it.
fn read_verb<'t>(
    text: &'t str,
    args: &[Value],
    next: &mut usize,
) -> Result<(Verb, Option<usize>, &'t str), FunctionError> {
    let mut verb = Verb::default();
    let mut argument = None;
    let mut rest = text;
    loop {
        match rest.as_bytes().first() {
            Some(b'-') => verb.minus = true,
            Some(b'+') => verb.plus = true,
            Some(b'#') => verb.sharp = true,
            Some(b' ') => verb.space = true,
            Some(b'0') => verb.zero = true,
            _ => break,
        }
        rest = &rest[1..];
    }
    rest = bracket(rest, &mut argument)?;
    if let Some(after) = rest.strip_prefix('*') {
        let width = args.get(*next).and_then(Value::as_number).and_then(Number::to_usize);
        let Some(width) = width.filter(|&width| width <= MAX_WIDTH) else {
            return argument_error(*next + 1, "a width is a whole number that is not too large");
        };
        verb.width = Some(width);
        *next += 1;
        rest = after;
    } else {
        (verb.width, rest) = count(rest)?;
    }
    if let Some(after) = rest.strip_prefix('.') {
        let (precision, after) = count(after)?;
        verb.precision = Some(precision.unwrap_or(0));
        rest = after;
    }
    rest = bracket(rest, &mut argument)?;
    let Some(letter) = rest.chars().next() else {
        return argument_error(0, "`%` at the end means nothing; a percent sign is `%%`");
    };
    verb.letter = letter;
    Ok((verb, argument, &rest[letter.len_utf8()..]))
}

fn count(text: &str) -> Result<(Option<usize>, &str), FunctionError> {
    let length = text.bytes().take_while(u8::is_ascii_digit).count();
    if length == 0 {
        return Ok((None, text));
    }
    match text[..length].parse() {
        Ok(number) if number <= MAX_WIDTH => Ok((Some(number), &text[length..])),
        _ => argument_error(0, format!("a width is at most {MAX_WIDTH}")),
    }
}

/// `[2]`: the number of the argument.
fn bracket<'t>(text: &'t str, argument: &mut Option<usize>) -> Result<&'t str, FunctionError> {
    let Some(rest) = text.strip_prefix('[') else { return Ok(text) };
    let number =
        rest.split_once(']').and_then(|(number, after)| Some((number.parse::<usize>().ok()?.checked_sub(1)?, after)));
    match number {
        Some((number, after)) => {
            *argument = Some(number);
            Ok(after)
        }
        None => argument_error(0, "`[` is followed by the number of an argument and `]`"),
    }
}

fn one(verb: &Verb, value: &Value, index: usize, written: &str) -> Result<String, FunctionError> {
    let as_type = |ty: &Type| match convert(value, ty) {
        Ok(value) if !value.is_null() => Ok(value),
        Ok(_) => argument_error(index, format!("null cannot be written with `{written}`")),
        Err(error) => argument_error(index, format!("not fit for `{written}`: {error}")),
    };
    let (body, numeric) = match verb.letter {
        'v' if verb.sharp => (json::write(value), false),
        'v' => match &value.data {
            Data::String(text) => (text.to_string(), false),
            Data::Number(number) => (signed(verb, crate::number::go_float(number.to_f64())), true),
            Data::Bool(flag) => (flag.to_string(), false),
            _ => (json::write(value), false),
        },
        't' => (as_type(&Type::Bool)?.as_bool().unwrap_or(false).to_string(), false),
        's' => (cut(verb, as_type(&Type::String)?.as_str().unwrap_or_default()), false),
        'q' => {
            let text = as_type(&Type::String)?;
            (console::go_quoted(&cut(verb, text.as_str().unwrap_or_default())), false)
        }
        'b' | 'd' | 'o' | 'x' | 'X' if verb.letter.eq_ignore_ascii_case(&'x') && value.as_str().is_some() => {
            let text = value.as_str().unwrap_or_default();
            let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
            (if verb.letter == 'X' { hex.to_uppercase() } else { hex }, false)
        }
        'b' | 'd' | 'o' | 'x' | 'X' => {
            let value = as_type(&Type::Number)?;
            let number = value.as_number().cloned().unwrap_or_else(|| Number::from(0_i64));
            let Some(number) = number.to_integer() else {
                return argument_error(index, format!("`{written}` needs a whole number"));
            };
            let radix = match verb.letter {
                'b' => 2,
                'd' => 10,
                'o' => 8,
                _ => 16,
            };
            let digits = number.to_str_radix(radix);
            (signed(verb, if verb.letter == 'X' { digits.to_uppercase() } else { digits }), true)
        }
        'e' | 'E' | 'f' | 'g' | 'G' => {
            let value = as_type(&Type::Number)?;
            let number = value.as_number().map_or(0.0, Number::to_f64);
            (signed(verb, float(verb, number)), true)
        }
        other => return argument_error(0, format!("`{written}`: there is no verb `{other}`")),
    };
    Ok(padded(verb, &body, numeric))
}

fn cut(verb: &Verb, text: &str) -> String {
    text.chars().take(verb.precision.unwrap_or(usize::MAX)).collect()
}

fn signed(verb: &Verb, body: String) -> String {
    match () {
        () if body.starts_with('-') => body,
        () if verb.plus => format!("+{body}"),
        () if verb.space => format!(" {body}"),
        () => body,
    }
}

fn exponent(scientific: &str) -> String {
    let (mantissa, power) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let power: i32 = power.parse().unwrap_or(0);
    format!("{mantissa}e{}{:02}", if power < 0 { '-' } else { '+' }, power.abs())
}

fn float(verb: &Verb, number: f64) -> String {
    let text = match verb.letter {
        'f' => format!("{number:.*}", verb.precision.unwrap_or(6)),
        'e' | 'E' => exponent(&format!("{number:.*e}", verb.precision.unwrap_or(6))),
        _ => match verb.precision {
            None => crate::number::go_float(number),
            Some(precision) => {
                let digits = precision.max(1);
                let scientific = format!("{number:.*e}", digits - 1);
                let (mantissa, power) = scientific.split_once('e').unwrap_or((&scientific, "0"));
                let power: i64 = power.parse().unwrap_or(0);
                let trim = |text: &str| match text.contains('.') {
                    true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
                    false => text.to_owned(),
                };
                if power < -4 || power >= i64::try_from(digits).unwrap_or(i64::MAX) {
                    exponent(&format!("{}e{power}", trim(mantissa)))
                } else {
                    let places = usize::try_from(i64::try_from(digits).unwrap_or(0) - 1 - power).unwrap_or(0);
                    trim(&format!("{number:.places$}"))
                }
            }
        },
    };
    if verb.letter.is_uppercase() { text.to_uppercase() } else { text }
}

fn padded(verb: &Verb, body: &str, numeric: bool) -> String {
    let missing = verb.width.unwrap_or(0).saturating_sub(super::texts::length(body));
    if verb.minus {
        return format!("{body}{}", " ".repeat(missing));
    }
    if verb.zero && numeric {
        let sign = usize::from(body.starts_with(['-', '+', ' ']));
        return format!("{}{}{}", &body[..sign], "0".repeat(missing), &body[sign..]);
    }
    format!("{}{body}", if verb.zero { "0" } else { " " }.repeat(missing))
}

/// `format` once for each element of the lists among the arguments.
fn formatlist(args: &[Value]) -> Outcome {
    let pattern = text(args, 0)?;
    let lengths = args[1..].iter().filter_map(|arg| Some(arg.items()?.len()));
    let mut length = None;
    for found in lengths {
        match length {
            Some(length) if length != found => {
                return call_error(format!("the lists have {length} and {found} elements"));
            }
            _ => length = Some(found),
        }
    }
    let rows = (0..length.unwrap_or(1)).map(|row| {
        let pick = |arg: &Value| arg.items().map_or_else(|| arg.clone(), |items| items[row].clone());
        format(&pattern, &args[1..].iter().map(pick).collect::<Vec<_>>())
    });
    let mut size = 0;
    let mut all = Vec::new();
    for row in rows {
        let row = row?;
        size += row.len();
        limited(size)?;
        all.push(row);
    }
    Ok(Value::strings(all))
}
