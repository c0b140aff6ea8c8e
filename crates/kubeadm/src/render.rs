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

/// A value as a document, without origins.
pub fn text(value: &Value) -> String {
    let mut text = String::new();
    let mut writer = Writer { out: &mut text, explain: false };
    match &value.content {
        Content::Map(entries) if !entries.is_empty() => writer.inside(value, 0),
        Content::List(items) if !items.is_empty() => writer.inside(value, 0),
        _ => {
            writer.word(value, 0);
            text.remove(0);
        }
    }
    text
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
            _ => self.word(value, indent),
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
            _ => return self.word(item, indent),
        }
        self.out.push(' ');
        self.out.push_str(inner.trim_start());
    }

    /// A word; lines of one that has several are indented more than `indent`.
    fn word(&mut self, value: &Value, indent: usize) {
        let mut lines = None;
        let text = match &value.content {
            Content::Null => "null".to_owned(),
            Content::Bool(value) => value.to_string(),
            Content::Number(text) => text.clone(),
            Content::Text(text) => match block(text) {
                Some(header) => {
                    lines = Some(text);
                    header.to_owned()
                }
                None => scalar(text),
            },
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
        for line in lines.into_iter().flat_map(|text| text.split_inclusive('\n')) {
            let line = line.trim_end_matches('\n');
            let indent = if line.is_empty() { 0 } else { indent + 2 };
            let _ = writeln!(self.out, "{:indent$}{line}", "");
        }
    }
}

/// The header of a block, if a text of several lines reads the same in one as it is.
fn block(text: &str) -> Option<&'static str> {
    let harmful = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\t')) || matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}')
    };
    let (first, rest) = text.split_once('\n')?;
    let blank = |line: &str| !line.is_empty() && line.trim().is_empty();
    if first.is_empty() || first.starts_with([' ', '\t']) || text.contains(harmful) || rest.split('\n').any(blank) {
        return None;
    }
    match text.len() - text.trim_end_matches('\n').len() {
        0 => Some("|-"),
        1 => Some("|"),
        _ => Some("|+"),
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
