//! TOML, as BurntSushi's library writes it: plain values first, then tables, each level two blanks in.

use kiln_gotmpl::Failure;

use crate::yaml::{Map, Yaml};

/// The text of a map.
pub(crate) fn text(value: &Yaml) -> Result<String, Failure> {
    let Yaml::Map(map) = value else { return Err("toml: top-level values must be Go maps or structs".into()) };
    let mut out = String::new();
    table(&mut out, map, &mut Vec::new())?;
    Ok(out)
}

fn plain(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

fn key(key: &str) -> String {
    if plain(key) { key.to_owned() } else { quoted(key) }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            c if c.is_ascii_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A list of maps only is a list of tables.
fn tables(value: &Yaml) -> bool {
    matches!(value, Yaml::List(items) if !items.is_empty() && items.iter().all(|item| matches!(item, Yaml::Map(_))))
}

fn table(out: &mut String, map: &Map, path: &mut Vec<String>) -> Result<(), Failure> {
    let indent = "  ".repeat(path.len());
    for (name, value) in map {
        if matches!(value, Yaml::Map(_) | Yaml::Null) || tables(value) {
            continue;
        }
        *out += &format!("{indent}{} = ", key(name));
        inline(out, value)?;
        out.push('\n');
    }
    for (name, value) in map {
        let below = "  ".repeat(path.len());
        path.push(key(name));
        match value {
            Yaml::Map(inner) => {
                if path.len() == 1 && !out.is_empty() {
                    out.push('\n');
                }
                *out += &format!("{below}[{}]\n", path.join("."));
                table(out, inner, path)?;
            }
            Yaml::List(items) if tables(value) => {
                for item in items {
                    let Yaml::Map(inner) = item else { continue };
                    if !out.is_empty() {
                        out.push('\n');
                    }
                    *out += &format!("{below}[[{}]]\n", path.join("."));
                    table(out, inner, path)?;
                }
            }
            _ => {}
        }
        path.pop();
    }
    Ok(())
}

fn inline(out: &mut String, value: &Yaml) -> Result<(), Failure> {
    match value {
        Yaml::Null => return Err("toml: cannot encode array with nil element".into()),
        Yaml::Bool(yes) => *out += if *yes { "true" } else { "false" },
        Yaml::Int(number) => *out += &number.to_string(),
        Yaml::Float(number) => {
            let text = kiln_gotmpl::fmt::float(*number, 'f');
            *out += &text;
            if !text.contains('.') {
                *out += ".0";
            }
        }
        Yaml::String(text) => *out += &quoted(text),
        Yaml::List(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                *out += if at > 0 { ", " } else { "" };
                inline(out, item)?;
            }
            out.push(']');
        }
        Yaml::Map(map) => {
            out.push('{');
            for (at, (name, item)) in map.iter().enumerate() {
                *out += &format!("{}{} = ", if at > 0 { ", " } else { "" }, key(name));
                inline(out, item)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

/// Reads TOML; times are texts.
pub(crate) fn parse(text: &str) -> Result<Yaml, String> {
    let table: toml::Table = toml::from_str(text).map_err(|error| error.to_string())?;
    Ok(Yaml::Map(table.iter().map(|(key, value)| (key.clone(), from(value))).collect()))
}

fn from(value: &toml::Value) -> Yaml {
    match value {
        toml::Value::String(text) => Yaml::String(text.clone()),
        toml::Value::Integer(number) => Yaml::Int(*number),
        toml::Value::Float(number) => Yaml::Float(*number),
        toml::Value::Boolean(yes) => Yaml::Bool(*yes),
        toml::Value::Datetime(time) => Yaml::String(time.to_string()),
        toml::Value::Array(items) => Yaml::List(items.iter().map(from).collect()),
        toml::Value::Table(map) => Yaml::Map(map.iter().map(|(key, value)| (key.clone(), from(value))).collect()),
    }
}
