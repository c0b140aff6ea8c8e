//! Values to YAML and JSON, and back; copies and comparisons of whole values.

use kiln_gotmpl::{Dict, Failure, Value};

use super::arguments::{exact, text};
use super::{MAX_TEXT, Table};
use crate::json::{self, Form};
use crate::yaml::{self, Map, Style, Yaml};

pub(crate) const TABLE: Table = &[
    ("toYaml", |a| Ok(to_yaml(a, Style::Kubernetes)?.unwrap_or_else(|_| "".into()))),
    ("mustToYaml", |a| to_yaml(a, Style::Kubernetes)?),
    ("toYamlPretty", |a| Ok(to_yaml(a, Style::Pretty)?.unwrap_or_else(|_| "".into()))),
    ("fromYaml", |a| from(a, yaml_of, false)),
    ("fromYamlArray", |a| from(a, yaml_of, true)),
    ("fromJson", |a| from(a, json::parse, false)),
    ("fromJsonArray", |a| from(a, json::parse, true)),
    ("mustFromJson", |a| {
        let [source] = exact(a)?;
        json::parse(text(source)?).map(|value| value.value()).map_err(Failure::new)
    }),
    ("toJson", |a| Ok(to_json(a, json::COMPACT)?.unwrap_or_else(|_| "".into()))),
    ("mustToJson", |a| to_json(a, json::COMPACT)?),
    ("toPrettyJson", |a| Ok(to_json(a, PRETTY)?.unwrap_or_else(|_| "".into()))),
    ("mustToPrettyJson", |a| to_json(a, PRETTY)?),
    ("toRawJson", |a| to_json(a, RAW)?),
    ("mustToRawJson", |a| to_json(a, RAW)?),
    ("toToml", |a| Ok(to_toml(a)?.unwrap_or_else(|failure| failure_text(&failure)))),
    ("mustToToml", |a| to_toml(a)?),
    ("fromToml", |a| from(a, super::toml::parse, false)),
];

const PRETTY: Form = Form { html: true, pretty: true };
const RAW: Form = Form { html: false, pretty: false };

fn failure_text(failure: &Failure) -> Value {
    failure.message().into()
}

fn yaml_of(text: &str) -> Result<Yaml, String> {
    yaml::parse(text).map(Yaml::floats).map_err(|error| format!("error converting YAML to JSON: {error}"))
}

/// The outer failure is about arguments, the inner about values.
type Made = Result<Result<Value, Failure>, Failure>;

fn to_yaml(arguments: &[Value], style: Style) -> Made {
    let [value] = exact(arguments)?;
    Ok(data(value).map(|data| {
        let text = yaml::text(&data, style);
        text.strip_suffix('\n').unwrap_or(&text).into()
    }))
}

fn to_json(arguments: &[Value], form: Form) -> Made {
    let [value] = exact(arguments)?;
    Ok(data(value).map(|data| json::text(&data, form).into()))
}

fn to_toml(arguments: &[Value]) -> Made {
    let [value] = exact(arguments)?;
    Ok(data(value).and_then(|data| super::toml::text(&data).map(Value::from)))
}

/// What a text holds: a map, or a list. What is wrong with it is an entry.
fn from(arguments: &[Value], read: fn(&str) -> Result<Yaml, String>, list: bool) -> Result<Value, Failure> {
    let [source] = exact(arguments)?;
    let read = read(text(source)?);
    let wrong = |message: String| match list {
        true => Value::list([message.into()]),
        false => Value::dict([("Error".to_owned(), message.into())]),
    };
    Ok(match read {
        Err(message) => wrong(message),
        Ok(Yaml::Null) if list => Value::list([]),
        Ok(Yaml::Null) => Value::Map(Dict::new()),
        Ok(value @ Yaml::List(_)) if list => value.value(),
        Ok(value @ Yaml::Map(_)) if !list => value.value(),
        Ok(other) => wrong(format!(
            "error unmarshaling JSON: json: cannot unmarshal {} into Go value of type {}",
            json_kind(&other),
            if list { "[]interface {}" } else { "map[string]interface {}" }
        )),
    })
}

fn json_kind(value: &Yaml) -> &'static str {
    match value {
        Yaml::Null => "null",
        Yaml::Bool(_) => "bool",
        Yaml::Int(_) | Yaml::Float(_) => "number",
        Yaml::String(_) => "string",
        Yaml::List(_) => "array",
        Yaml::Map(_) => "object",
    }
}

/// Lists and maps inside of each other.
const MAX_DEPTH: usize = 150;
/// Values of one value, all of them.
const MAX_NODES: usize = 2_000_000;

/// What a walk through a value may still meet: values may hold one part many times, or themselves.
struct Budget {
    nodes: usize,
    bytes: usize,
}

impl Budget {
    fn new() -> Budget {
        Budget { nodes: MAX_NODES, bytes: 4 * MAX_TEXT }
    }

    fn take(&mut self, bytes: usize, depth: usize) -> Result<(), Failure> {
        if depth > MAX_DEPTH {
            return Err(Failure::new(format!("a value nested deeper than {MAX_DEPTH}, or one that holds itself")));
        }
        let left = self.nodes.checked_sub(1).zip(self.bytes.checked_sub(bytes));
        (self.nodes, self.bytes) = left.ok_or_else(|| Failure::new("a value too large to write out"))?;
        Ok(())
    }
}

/// What JSON can say of a value.
pub(crate) fn data(value: &Value) -> Result<Yaml, Failure> {
    walk(value, 0, &mut Budget::new())
}

fn walk(value: &Value, depth: usize, budget: &mut Budget) -> Result<Yaml, Failure> {
    budget.take(if let Value::String(text) = value { text.len() } else { 8 }, depth)?;
    Ok(match value {
        Value::Nil => Yaml::Null,
        Value::Bool(yes) => Yaml::Bool(*yes),
        Value::Int(number) | Value::Int64(number) => Yaml::Int(*number),
        Value::Float(number) if number.is_finite() => Yaml::Float(*number),
        Value::Float(number) => return Err(Failure::new(format!("json: unsupported value: {}", kiln_gotmpl::fmt::float(*number, 'g')))),
        Value::String(text) => Yaml::String(text.to_string()),
        Value::List(items) => {
            Yaml::List(items.iter().map(|item| walk(item, depth + 1, budget)).collect::<Result<_, _>>()?)
        }
        Value::Map(map) => {
            let mut found = Map::new();
            for (key, item) in map.entries() {
                budget.take(key.len(), depth)?;
                found.insert(key, walk(&item, depth + 1, budget)?);
            }
            Yaml::Map(found)
        }
        Value::Object(object) => match object.content() {
            Some(content) => walk(&content, depth + 1, budget)?,
            None => return Err(Failure::new(format!("json: unsupported type: {}", object.type_name()))),
        },
        Value::Function(_) => return Err(Failure::new("json: unsupported type: func()")),
    })
}

/// A value that shares no maps with the old one.
pub(crate) fn copied(value: &Value) -> Result<Value, Failure> {
    fn copy(value: &Value, depth: usize, budget: &mut Budget) -> Result<Value, Failure> {
        budget.take(0, depth)?;
        Ok(match value {
            Value::List(items) => {
                Value::list(items.iter().map(|item| copy(item, depth + 1, budget)).collect::<Result<Vec<_>, _>>()?)
            }
            Value::Map(map) => {
                let entries = map.entries().into_iter().map(|(key, item)| Ok((key, copy(&item, depth + 1, budget)?)));
                Value::dict(entries.collect::<Result<Vec<_>, Failure>>()?)
            }
            other => other.clone(),
        })
    }
    copy(value, 0, &mut Budget::new())
}

/// `reflect.DeepEqual`: an `int` is no `int64`.
pub(crate) fn equal(a: &Value, b: &Value) -> Result<bool, Failure> {
    fn same(a: &Value, b: &Value, depth: usize, budget: &mut Budget) -> Result<bool, Failure> {
        budget.take(0, depth)?;
        match (a, b) {
            (Value::List(x), Value::List(y)) => {
                if x.len() != y.len() {
                    return Ok(false);
                }
                for (x, y) in x.iter().zip(y.iter()) {
                    if !same(x, y, depth + 1, budget)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Value::Map(x), Value::Map(y)) => {
                if x.is(y) {
                    return Ok(true);
                }
                let (x, y) = (x.entries(), y.entries());
                if x.len() != y.len() {
                    return Ok(false);
                }
                for ((key, x), (other, y)) in x.iter().zip(&y) {
                    if key != other || !same(x, y, depth + 1, budget)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            _ => Ok(a == b),
        }
    }
    same(a, b, 0, &mut Budget::new())
}
