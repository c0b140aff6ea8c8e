//! Texts. Lengths and positions count what people see as one character.

use unicode_segmentation::UnicodeSegmentation;

use super::{FunctionError, Outcome, Row, argument_error, call_error, integer, text, texts_of};
use crate::eval::MAX_SIZE;
use crate::types::Type;
use crate::value::Value;

pub(super) const TABLE: &[Row] = &[
    ("chomp", 1, 1, |args, _| Ok(text(args, 0)?.trim_end_matches(['\n', '\r']).into())),
    ("endswith", 2, 2, |args, _| Ok(text(args, 0)?.ends_with(&text(args, 1)?).into())),
    ("indent", 2, 2, |args, _| indent(args)),
    ("join", 2, super::MANY, |args, _| join(args)),
    ("lower", 1, 1, |args, _| Ok(text(args, 0)?.to_lowercase().into())),
    ("replace", 3, 3, |args, _| super::patterns::replace(args)),
    ("sort", 1, 1, |args, _| {
        let mut items = texts_of(args, 0)?;
        items.sort();
        Ok(Value::strings(items))
    }),
    ("split", 2, 2, |args, _| split(args)),
    ("startswith", 2, 2, |args, _| Ok(text(args, 0)?.starts_with(&text(args, 1)?).into())),
    ("strcontains", 2, 2, |args, _| Ok(text(args, 0)?.contains(&text(args, 1)?).into())),
    ("strrev", 1, 1, |args, _| Ok(text(args, 0)?.graphemes(true).rev().collect::<String>().into())),
    ("substr", 3, 3, |args, _| substr(args)),
    ("title", 1, 1, |args, _| Ok(title(&text(args, 0)?).into())),
    ("trim", 2, 2, |args, _| {
        let cut: Vec<char> = text(args, 1)?.chars().collect();
        Ok(text(args, 0)?.trim_matches(cut.as_slice()).into())
    }),
    ("trimprefix", 2, 2, |args, _| {
        let (whole, cut) = (text(args, 0)?, text(args, 1)?);
        Ok(whole.strip_prefix(cut.as_str()).unwrap_or(&whole).into())
    }),
    ("trimspace", 1, 1, |args, _| Ok(text(args, 0)?.trim().into())),
    ("trimsuffix", 2, 2, |args, _| {
        let (whole, cut) = (text(args, 0)?, text(args, 1)?);
        Ok(whole.strip_suffix(cut.as_str()).unwrap_or(&whole).into())
    }),
    ("upper", 1, 1, |args, _| Ok(text(args, 0)?.to_uppercase().into())),
];

/// How many characters people see.
pub(super) fn length(text: &str) -> usize {
    text.graphemes(true).count()
}

fn indent(args: &[Value]) -> Outcome {
    let spaces = match usize::try_from(integer(args, 0)?) {
        Ok(spaces) if spaces <= 10_000 => " ".repeat(spaces),
        _ => return argument_error(0, "the number of spaces is from 0 to 10000"),
    };
    let whole = text(args, 1)?;
    limited(whole.len() + whole.matches('\n').count() * spaces.len())?;
    Ok(whole.replace('\n', &format!("\n{spaces}")).into())
}

/// Refuses results that would be too large, before they are made.
pub(super) fn limited(size: usize) -> Result<(), FunctionError> {
    if size > MAX_SIZE { call_error("the result would be too large") } else { Ok(()) }
}

fn join(args: &[Value]) -> Outcome {
    let separator = text(args, 0)?;
    let mut all = Vec::new();
    for index in 1..args.len() {
        all.extend(texts_of(args, index)?);
    }
    limited(all.iter().map(|item| item.len() + separator.len()).sum())?;
    Ok(all.join(&separator).into())
}

fn split(args: &[Value]) -> Outcome {
    let (separator, whole) = (text(args, 0)?, text(args, 1)?);
    if separator.is_empty() {
        return Ok(Value::strings(whole.chars().map(String::from)));
    }
    if whole.is_empty() {
        return Ok(Value::list(Type::String, vec!["".into()]));
    }
    Ok(Value::strings(whole.split(&separator)))
}

fn substr(args: &[Value]) -> Outcome {
    let whole = text(args, 0)?;
    let (offset, wanted) = (integer(args, 1)?, integer(args, 2)?);
    let count = length(&whole);
    // Counted from the end when negative, but not from before the beginning.
    let offset = usize::try_from(offset)
        .unwrap_or_else(|_| count.saturating_sub(usize::try_from(offset.unsigned_abs()).unwrap_or(usize::MAX)));
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    Ok(whole.graphemes(true).skip(offset).take(wanted).collect::<String>().into())
}

/// Every letter that begins a word becomes a capital.
fn title(text: &str) -> String {
    let mut inside = false;
    let mut result = String::with_capacity(text.len());
    for c in text.chars() {
        let word = c.is_alphanumeric() || c == '_';
        if inside {
            result.push(c);
        } else {
            result.extend(c.to_uppercase());
        }
        inside = word || (!c.is_ascii() && !c.is_whitespace());
    }
    result
}
