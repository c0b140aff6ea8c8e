//! Regular expressions, in the syntax of RE2.

use regex::{Captures, Regex, RegexBuilder};

use super::texts::limited;
use super::{FunctionError, Outcome, Row, argument_error, call_error, text};
use crate::types::Type;
use crate::value::{Data, Value};

pub(super) const TABLE: &[Row] = &[
    ("regex", 2, 2, |args, _| {
        let pattern = compile(&text(args, 0)?, 0)?;
        let whole = text(args, 1)?;
        match pattern.captures(&whole) {
            Some(found) => Ok(captured(&pattern, &found)),
            None => call_error("the pattern does not match"),
        }
    }),
    ("regexall", 2, 2, |args, _| {
        let pattern = compile(&text(args, 0)?, 0)?;
        let whole = text(args, 1)?;
        let found: Vec<Value> = pattern.captures_iter(&whole).map(|found| captured(&pattern, &found)).collect();
        match super::common_list(&found)?.data {
            Data::List(Type::Any, _) => Ok(Value::list(Type::String, Vec::new())),
            data => Ok(data.into()),
        }
    }),
    ("regex_replace", 3, 3, |args, _| {
        let pattern = compile(&text(args, 1)?, 1)?;
        replaced(&pattern, &text(args, 0)?, &text(args, 2)?)
    }),
];

fn compile(pattern: &str, index: usize) -> Result<Regex, FunctionError> {
    let built = RegexBuilder::new(pattern).size_limit(1 << 20).build();
    built.or_else(|error| {
        let last = error.to_string().lines().last().unwrap_or_default().trim().to_owned();
        argument_error(index, format!("`{pattern}` is no regular expression: {last}"))
    })
}

/// The named groups as an object, or the others as a tuple, or all that matched.
fn captured(pattern: &Regex, found: &Captures<'_>) -> Value {
    let group = |index: usize| match found.get(index) {
        Some(part) => Value::from(part.as_str()),
        None => Data::Null(Type::String).into(),
    };
    let named: Vec<(usize, &str)> =
        pattern.capture_names().enumerate().filter_map(|(index, name)| Some((index, name?))).collect();
    if !named.is_empty() {
        return Value::object(named.into_iter().map(|(index, name)| (name.to_owned(), group(index))).collect());
    }
    match pattern.captures_len() {
        1 => group(0),
        count => Value::tuple((1..count).map(group).collect()),
    }
}

/// `$1`, `${1}`, `$name` and `$$` in `with` mean what they mean in Go.
fn replaced(pattern: &Regex, whole: &str, with: &str) -> Outcome {
    limited(whole.len() + (whole.len() + 1).saturating_mul(with.len()) / 8)?;
    Ok(pattern.replace_all(whole, with).into_owned().into())
}

/// A text for another. Packer's documentation promises patterns between slashes; Packer takes them as they are.
pub(super) fn replace(args: &[Value]) -> Outcome {
    let (whole, what, with) = (text(args, 0)?, text(args, 1)?, text(args, 2)?);
    limited(whole.len() + (whole.matches(&what).count()).saturating_mul(with.len()))?;
    Ok(whole.replace(&what, &with).into())
}
