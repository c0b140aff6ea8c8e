//! YAML.

use std::fmt::Write as _;

use crate::layer::Resolved;
use crate::value::{Content, Value};

/// The documents as kubeadm reads them. With `explain`, each value has a comment with its origin behind it.
pub fn yaml(resolved: &Resolved, explain: bool) -> String {
    let documents = resolved.documents.iter().map(|(kind, value)| {
        let mut text = format!("apiVersion: {}\nkind: {kind}\n", kind.api_version(resolved.api));
        if value.map().is_some_and(|entries| !entries.is_empty()) {
            Writer { out: &mut text, explain }.inside(value, 0);
        }
        text
    });
    documents.collect::<Vec<_>>().join("---\n")
}

struct Writer<'o> {
    out: &'o mut String,
    explain: bool,
}

impl Writer<'_> {
    /// What a list or map has, each on a line of its own.
    fn inside(&mut self, value: &Value, indent: usize) {
        match &value.content {
            Content::Map(entries) => {
                for (key, value) in entries {
                    let _ = write!(self.out, "{:indent$}{}:", "", scalar(key));
                    self.value(value, indent);
                }
            }
            Content::List(items) => {
                for item in items {
                    let _ = write!(self.out, "{:indent$}-", "");
                    self.item(item, indent);
                }
            }
            _ => {}
        }
    }

    /// What stands behind a key.
    fn value(&mut self, value: &Value, indent: usize) {
        match &value.content {
            Content::Map(entries) if !entries.is_empty() => {
                self.out.push('\n');
                self.inside(value, indent + 2);
            }
            Content::List(items) if !items.is_empty() => {
                self.out.push('\n');
                self.inside(value, indent);
            }
            _ => self.word(value),
        }
    }

    /// What stands behind a dash: the first key of a map is on its line.
    fn item(&mut self, item: &Value, indent: usize) {
        let mut inner = String::new();
        match &item.content {
            Content::Map(entries) if !entries.is_empty() => {
                Writer { out: &mut inner, explain: self.explain }.inside(item, indent + 2)
            }
            Content::List(items) if !items.is_empty() => {
                Writer { out: &mut inner, explain: self.explain }.inside(item, indent + 2)
            }
            _ => return self.word(item),
        }
        self.out.push(' ');
        self.out.push_str(inner.trim_start());
    }

    fn word(&mut self, value: &Value) {
        let text = match &value.content {
            Content::Null => "null".to_owned(),
            Content::Bool(value) => value.to_string(),
            Content::Number(text) => text.clone(),
            Content::Text(text) => scalar(text),
            Content::List(_) => "[]".to_owned(),
            Content::Map(_) => "{}".to_owned(),
        };
        let _ = write!(self.out, " {text}");
        if self.explain {
            let origin: String =
                value.origin.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            let _ = write!(self.out, "  # {origin}");
        }
        self.out.push('\n');
    }
}

/// A string, in quotes if it would be read as something else without.
fn scalar(text: &str) -> String {
    let plain = |c: char| {
        c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':' | '=' | '+' | ',' | '@' | '%' | '<')
    };
    let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.'));
    let is_text = matches!(kiln_yaml::scalar::resolve(text), kiln_yaml::Value::Text(_));
    // Readers of YAML 1.1 take 12:30 for a number, and 2001-01-01 for a date.
    let digits = text.contains([':', '-', '_'])
        && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b':' | b'-' | b'.' | b'_'));
    if starts && is_text && !digits && text.chars().all(plain) && !text.ends_with(':') {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_control() || matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted + "\""
}
