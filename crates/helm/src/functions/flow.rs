//! Defaults and choices.

use kiln_gotmpl::{Failure, Value};

use super::Table;
use super::arguments::{exact, least, text};
use super::convert::equal;

pub(crate) const TABLE: Table = &[
    ("default", |a| {
        least(a, 1)?;
        let [default, rest @ ..] = a else { return Ok(Value::Nil) };
        Ok(rest.first().filter(|given| given.truth()).unwrap_or(default).clone())
    }),
    ("empty", |a| exact(a).map(|[value]| Value::Bool(!value.truth()))),
    ("coalesce", |a| Ok(a.iter().find(|value| value.truth()).cloned().unwrap_or_default())),
    ("all", |a| Ok(a.iter().all(Value::truth).into())),
    ("any", |a| Ok(a.iter().any(Value::truth).into())),
    ("ternary", |a| {
        let [yes, no, choice] = exact(a)?;
        match choice {
            Value::Bool(true) => Ok(yes.clone()),
            Value::Bool(false) => Ok(no.clone()),
            other => Err(Failure::new(format!("wrong type for value; expected bool; got {}", other.type_name()))),
        }
    }),
    ("fail", |a| {
        let [message] = exact(a)?;
        Err(Failure::new(text(message)?))
    }),
    ("required", |a| {
        let [message, value] = exact(a)?;
        let message = text(message)?;
        match value {
            Value::Nil => Err(Failure::new(message)),
            Value::String(text) if text.is_empty() => Err(Failure::new(message)),
            other => Ok(other.clone()),
        }
    }),
    ("deepEqual", |a| {
        let [x, y] = exact(a)?;
        equal(x, y).map(Value::Bool)
    }),
    ("typeOf", |a| exact(a).map(|[value]| value.type_name().into())),
    ("typeIs", |a| {
        let [name, value] = exact(a)?;
        Ok((text(name)? == value.type_name()).into())
    }),
    ("typeIsLike", |a| {
        let [name, value] = exact(a)?;
        let (name, own) = (text(name)?, value.type_name());
        Ok((name == own || format!("*{name}") == own).into())
    }),
    ("kindOf", |a| exact(a).map(|[value]| kind(value).into())),
    ("kindIs", |a| {
        let [name, value] = exact(a)?;
        Ok((text(name)? == kind(value)).into())
    }),
];

/// Go's `reflect.Kind`.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Nil => "invalid",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Int64(_) => "int64",
        Value::Float(_) => "float64",
        Value::String(_) => "string",
        Value::List(_) => "slice",
        Value::Map(_) => "map",
        Value::Function(_) => "func",
        Value::Object(object) => match object.type_name() {
            "string" => "string",
            "[]uint8" | "common.VersionSet" => "slice",
            "engine.files" => "map",
            name if name.starts_with('*') => "ptr",
            _ => "struct",
        },
    }
}
