//! YAML.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{Outcome, argument_error};
use crate::json;
use crate::number::Number;
use crate::value::{Data, Value};

/// A value that serde builds.
struct Yaml(Value);

struct Builder;

impl<'de> Deserialize<'de> for Yaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Yaml, D::Error> {
        deserializer.deserialize_any(Builder).map(Yaml)
    }
}

impl<'de> Visitor<'de> for Builder {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Number::from(num_bigint::BigInt::from(value)).into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::from).ok_or_else(|| E::custom("a number is not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::null())
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::null())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(Builder)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Yaml(item)) = access.next_element()? {
            items.push(item);
        }
        Ok(Value::tuple(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut fields = BTreeMap::new();
        while let Some((Yaml(key), Yaml(value))) = access.next_entry()? {
            let key = match &key.data {
                Data::String(text) => text.to_string(),
                Data::Number(number) => number.to_string(),
                Data::Bool(flag) => flag.to_string(),
                _ => return Err(serde::de::Error::custom("a key must be a text")),
            };
            fields.insert(key, value);
        }
        Ok(Value::object(fields))
    }
}

/// Reads one document.
pub(super) fn decode(text: &str) -> Outcome {
    match serde_saphyr::from_str::<Yaml>(text) {
        Ok(Yaml(value)) => Ok(value),
        Err(error) => {
            let shown = error.to_string();
            argument_error(0, format!("it is no YAML: {}", shown.lines().next().unwrap_or_default()))
        }
    }
}

/// Writes a document in block style, with quotes around every text and key.
pub(super) fn encode(value: &Value) -> String {
    let mut text = String::new();
    match compound(value) {
        true => block(value, 0, &mut text),
        false => {
            text.push_str(&scalar(value, 2));
            text.push('\n');
        }
    }
    text
}

fn compound(value: &Value) -> bool {
    value.children().next().is_some()
}

/// A value without children; `indent` is that of the lines of a text.
fn scalar(value: &Value, indent: usize) -> String {
    match &value.data {
        Data::String(text) if text.contains('\n') && !text.chars().any(|c| c != '\n' && c.is_control()) => {
            literal(text, indent)
        }
        Data::String(text) => text_of(text),
        _ => json::write(value),
    }
}

/// A text of several lines as it is; the mark behind the bar says how it ends, the digit that it begins with spaces.
fn literal(text: &str, indent: usize) -> String {
    let digit = if text.starts_with([' ', '\n']) { "2" } else { "" };
    let end = match () {
        () if !text.ends_with('\n') => "-",
        () if text.ends_with("\n\n") || text == "\n" => "+",
        () => "",
    };
    let mut result = format!("|{digit}{end}");
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        result.push('\n');
        if !line.is_empty() {
            result.push_str(&" ".repeat(indent));
            result.push_str(line);
        }
    }
    result
}

fn block(value: &Value, indent: usize, to: &mut String) {
    let spaces = " ".repeat(indent);
    let mut first = true;
    let mut entry = |head: &str, item: &Value, to: &mut String| {
        // The first entry stands behind the dash of a list around it.
        if !std::mem::take(&mut first) || to.is_empty() || to.ends_with('\n') {
            to.push_str(&spaces);
        }
        to.push_str(head);
        let is_list = item.items().is_some();
        match (compound(item), head) {
            (false, _) => to.push_str(&format!(" {}\n", scalar(item, indent + 2))),
            (true, "-") => {
                to.push(' ');
                block(item, indent + 2, to);
            }
            (true, _) => {
                to.push('\n');
                block(item, if is_list { indent } else { indent + 2 }, to);
            }
        }
    };
    if let Some(fields) = value.fields() {
        for (name, item) in fields {
            entry(&format!("{}:", text_of(name)), item, to);
        }
    } else {
        for item in value.children() {
            entry("-", item, to);
        }
    }
}

/// A text between double quotes.
fn text_of(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
