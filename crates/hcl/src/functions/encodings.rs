//! Encodings: base64, gzip, JSON, YAML, CSV, URLs, character sets.

use std::collections::BTreeMap;
use std::io::Write;

use ::base64::Engine;
use ::base64::engine::general_purpose::STANDARD;
use encoding_rs::Encoding;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::{FunctionError, Outcome, Row, argument_error, call_error, text};
use crate::json;
use crate::types::Type;
use crate::value::Value;

pub(super) const TABLE: &[Row] = &[
    ("base64decode", 1, 1, |args, _| {
        let bytes = unbase64(&text(args, 0)?).or_else(|reason| argument_error(0, reason))?;
        let not_text = |_| argument_error(0, "what it decodes to is not UTF-8");
        String::from_utf8(bytes).map(Value::from).or_else(not_text)
    }),
    ("base64encode", 1, 1, |args, _| Ok(base64(text(args, 0)?.as_bytes()).into())),
    ("base64gzip", 1, 1, |args, _| gzip(&text(args, 0)?)),
    ("csvdecode", 1, 1, |args, _| csv(&text(args, 0)?)),
    ("jsondecode", 1, 1, |args, _| match json::parse(&text(args, 0)?) {
        Ok(node) => Ok(node.to_value()),
        Err(fault) => argument_error(0, format!("{} at byte {}", fault.message, fault.span.start)),
    }),
    ("jsonencode", 1, 1, |args, _| Ok(json::write(&args[0]).into())),
    ("textdecodebase64", 2, 2, |args, _| {
        let bytes = unbase64(&text(args, 0)?).or_else(|reason| argument_error(0, reason))?;
        decoded(&bytes, &text(args, 1)?)
    }),
    ("textencodebase64", 2, 2, |args, _| Ok(base64(&encoded(&text(args, 0)?, &text(args, 1)?)?).into())),
    ("urlencode", 1, 1, |args, _| Ok(urlencode(&text(args, 0)?).into())),
    ("yamldecode", 1, 1, |args, _| super::yaml::decode(&text(args, 0)?)),
    ("yamlencode", 1, 1, |args, _| Ok(super::yaml::encode(&args[0]).into())),
];

pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub(super) fn unbase64(text: &str) -> Result<Vec<u8>, String> {
    let text: String = text.chars().filter(|&c| c != '\n' && c != '\r').collect();
    STANDARD.decode(text).map_err(|error| format!("it is no base64: {error}"))
}

fn gzip(text: &str) -> Outcome {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let written = encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish());
    written.map(|bytes| base64(&bytes).into()).or_else(|error| call_error(error.to_string()))
}

/// As in the query of a URL: a space is `+`.
fn urlencode(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => result.push(char::from(byte)),
            b' ' => result.push('+'),
            byte => result.push_str(&format!("%{byte:02X}")),
        }
    }
    result
}

fn charset(name: &str, index: usize) -> Result<&'static Encoding, FunctionError> {
    match Encoding::for_label(name.as_bytes()) {
        Some(encoding) => Ok(encoding),
        None => argument_error(index, format!("the character set `{name}` is not known")),
    }
}

fn encoded(text: &str, name: &str) -> Result<Vec<u8>, FunctionError> {
    match name.to_ascii_uppercase().as_str() {
        "UTF-16LE" => return Ok(text.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        "UTF-16BE" => return Ok(text.encode_utf16().flat_map(u16::to_be_bytes).collect()),
        "UTF-16" => {
            return Ok([0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_be_bytes).collect());
        }
        _ => {}
    }
    let (bytes, _, failed) = charset(name, 1)?.encode(text);
    if failed { argument_error(0, format!("a character is not in `{name}`")) } else { Ok(bytes.into_owned()) }
}

fn decoded(bytes: &[u8], name: &str) -> Outcome {
    let (text, failed) = charset(name, 1)?.decode_with_bom_removal(bytes);
    if failed { argument_error(0, format!("it is not text in `{name}`")) } else { Ok(text.into_owned().into()) }
}

/// The first line names the columns; each other line becomes an object.
fn csv(text: &str) -> Outcome {
    let mut rows = records(text)?.into_iter();
    let Some(names) = rows.next() else { return argument_error(0, "the line with the names of columns is missing") };
    if let Some(twice) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
        return argument_error(0, format!("the column `{}` is there twice", twice.1));
    }
    let row = |row: Vec<String>| {
        if row.len() != names.len() {
            return argument_error(0, format!("a line has {} columns, and {} are named", row.len(), names.len()));
        }
        let pairs = names.iter().cloned().zip(row.into_iter().map(Value::from));
        Ok(Value::object(pairs.collect::<BTreeMap<_, _>>()))
    };
    let all: Vec<Value> = rows.map(row).collect::<Result<_, _>>()?;
    let element = Value::object(names.iter().map(|name| (name.clone(), "".into())).collect()).ty();
    Ok(Value::list(if all.is_empty() { Type::Any } else { element }, all))
}

fn records(text: &str) -> Result<Vec<Vec<String>>, FunctionError> {
    let text = text.replace("\r\n", "\n");
    let mut rows = Vec::new();
    let mut row = Vec::new();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        if row.is_empty() && rest.starts_with('\n') {
            rest = &rest[1..];
            continue;
        }
        let cell;
        (cell, rest) = field(rest)?;
        row.push(cell);
        match rest.as_bytes().first() {
            Some(b',') => {
                rest = &rest[1..];
                if rest.is_empty() {
                    row.push(String::new());
                }
            }
            Some(_) => {
                rest = &rest[1..];
                rows.push(std::mem::take(&mut row));
            }
            None => {}
        }
    }
    if !row.is_empty() {
        rows.push(row);
    }
    Ok(rows)
}

/// One field, and what follows it.
fn field(text: &str) -> Result<(String, &str), FunctionError> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text.find([',', '\n']).unwrap_or(text.len());
        if text[..end].contains('"') {
            return argument_error(0, "a quote is within a field that does not begin with one");
        }
        return Ok((text[..end].to_owned(), &text[end..]));
    };
    let mut cell = String::new();
    loop {
        let Some(at) = rest.find('"') else { return argument_error(0, "a quote is not closed") };
        cell.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        match rest.as_bytes().first() {
            Some(b'"') => {
                cell.push('"');
                rest = &rest[1..];
            }
            None | Some(b',' | b'\n') => return Ok((cell, rest)),
            Some(_) => return argument_error(0, "a quote within a field must be doubled"),
        }
    }
}
