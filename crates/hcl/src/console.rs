//! Values as `packer console` prints them.

use crate::value::{Data, Value};

/// What a console answers with; what is sensitive is not shown.
pub fn show(value: &Value) -> String {
    if value.sensitive {
        return "<sensitive>".to_owned();
    }
    match &value.data {
        Data::String(text) => text.to_string(),
        _ => {
            let mut text = String::new();
            write(value, 0, &mut text);
            text
        }
    }
}

fn write(value: &Value, indent: usize, to: &mut String) {
    if value.sensitive {
        to.push_str("<sensitive>");
        return;
    }
    let spaces = "  ".repeat(indent + 1);
    let end = "  ".repeat(indent);
    match &value.data {
        Data::Null(_) => to.push_str("null"),
        Data::Unknown(_) => to.push_str("<unknown>"),
        Data::Bool(flag) => to.push_str(if *flag { "true" } else { "false" }),
        Data::Number(number) => to.push_str(&number.to_go()),
        Data::String(text) => to.push_str(&go_quoted(text)),
        Data::List(_, items) | Data::Set(_, items) | Data::Tuple(items) => {
            if items.is_empty() {
                return to.push_str("[]");
            }
            to.push_str("[\n");
            for item in items.iter() {
                to.push_str(&spaces);
                write(item, indent + 1, to);
                to.push_str(",\n");
            }
            to.push_str(&end);
            to.push(']');
        }
        Data::Map(_, fields) | Data::Object(fields) => {
            if fields.is_empty() {
                return to.push_str("{}");
            }
            to.push_str("{\n");
            for (name, item) in fields.iter() {
                to.push_str(&format!("{spaces}{} = ", go_quoted(name)));
                write(item, indent + 1, to);
                to.push('\n');
            }
            to.push_str(&end);
            to.push('}');
        }
    }
}

/// A value as messages show it: short, and nothing that is sensitive.
pub(crate) fn quoted(value: &Value) -> String {
    match value.as_str() {
        Some(text) if !value.sensitive => format!("`{text}`"),
        _ => show(value),
    }
}

/// A text between quotes, escaped as Go does.
pub(crate) fn go_quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() || (c.is_whitespace() && c != ' ') => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(c)))
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
