//! JSON as Go's `encoding/json` writes it.

use crate::yaml::Yaml;

/// How texts are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    /// `<`, `>` and `&` as `\u003c` and so on.
    pub html: bool,
    /// Two blanks a level; otherwise all in one line.
    pub pretty: bool,
}

pub(crate) const COMPACT: Form = Form { html: true, pretty: false };

/// The text of a value; numbers must be finite.
pub(crate) fn text(value: &Yaml, form: Form) -> String {
    let mut out = String::new();
    write(&mut out, value, form, 0);
    out
}

/// A number: with an exponent only if very small or large.
pub(crate) fn float(number: f64) -> String {
    let size = number.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = kiln_gotmpl::fmt::float(number, 'e');
        // `e-09` is `e-9` here.
        return match text.split_once("e-0") {
            Some((mantissa, digit)) => format!("{mantissa}e-{digit}"),
            None => text,
        };
    }
    kiln_gotmpl::fmt::float(number, 'f')
}

fn line(out: &mut String, form: Form, depth: usize) {
    if form.pretty {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    }
}

fn write(out: &mut String, value: &Yaml, form: Form, depth: usize) {
    match value {
        Yaml::Null => out.push_str("null"),
        Yaml::Bool(yes) => out.push_str(if *yes { "true" } else { "false" }),
        Yaml::Int(number) => out.push_str(&number.to_string()),
        Yaml::Float(number) => out.push_str(&float(*number)),
        Yaml::String(text) => string(out, text, form.html),
        Yaml::List(items) if items.is_empty() => out.push_str("[]"),
        Yaml::Map(map) if map.is_empty() => out.push_str("{}"),
        Yaml::List(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                line(out, form, depth + 1);
                write(out, item, form, depth + 1);
            }
            line(out, form, depth);
            out.push(']');
        }
        Yaml::Map(map) => {
            out.push('{');
            for (at, (key, item)) in map.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                line(out, form, depth + 1);
                string(out, key, form.html);
                out.push_str(if form.pretty { ": " } else { ":" });
                write(out, item, form, depth + 1);
            }
            line(out, form, depth);
            out.push('}');
        }
    }
}

fn string(out: &mut String, text: &str, html: bool) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '<' | '>' | '&' if html => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            '\0'..='\x1f' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Reads JSON; numbers are floats.
pub(crate) fn parse(text: &str) -> Result<Yaml, String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Ok(from(&value))
}

fn from(value: &serde_json::Value) -> Yaml {
    match value {
        serde_json::Value::Null => Yaml::Null,
        serde_json::Value::Bool(yes) => Yaml::Bool(*yes),
        serde_json::Value::Number(number) => Yaml::Float(number.as_f64().unwrap_or_default()),
        serde_json::Value::String(text) => Yaml::String(text.clone()),
        serde_json::Value::Array(items) => Yaml::List(items.iter().map(from).collect()),
        serde_json::Value::Object(map) => Yaml::Map(map.iter().map(|(key, value)| (key.clone(), from(value))).collect()),
    }
}
