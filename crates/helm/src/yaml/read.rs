//! Text to values: events of the parser, anchors, merge keys, and limits.

use std::collections::{BTreeMap, HashMap};

use granit_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::resolve::plain;
use super::{Map, Yaml};

/// Lists and maps inside of each other.
const MAX_DEPTH: usize = 200;
/// Values of all documents, those that aliases repeat included.
const MAX_NODES: usize = 2_000_000;
/// Bytes of texts that aliases repeat.
const MAX_TEXT: usize = 128 << 20;

/// Why a text is not YAML that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct YamlError {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

/// Reads the first document of a text; an empty text is nothing.
///
/// # Errors
/// When it is not YAML, or too large with all its aliases.
pub fn parse(text: &str) -> Result<Yaml, YamlError> {
    Ok(documents(text, 1)?.into_iter().next().unwrap_or_default())
}

/// Reads all documents of a text.
///
/// # Errors
/// When it is not YAML, or too large with all its aliases.
pub fn parse_all(text: &str) -> Result<Vec<Yaml>, YamlError> {
    documents(text, usize::MAX)
}

fn documents(text: &str, most: usize) -> Result<Vec<Yaml>, YamlError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let open_end = (!text.ends_with('\n')).then_some(text.len());
    let mut reader =
        Reader { parser: Parser::new_from_str(text), open_end, anchors: HashMap::new(), nodes: 0, copied: 0 };
    let mut found = Vec::new();
    while found.len() < most {
        match reader.next()? {
            None | Some((Event::StreamEnd, _)) => break,
            Some((Event::DocumentStart(..), _)) => {
                reader.anchors.clear();
                let Some((event, span)) = reader.next()? else { break };
                if matches!(event, Event::DocumentEnd) {
                    found.push(Yaml::Null);
                    continue;
                }
                found.push(reader.node(event, span, 0)?);
            }
            Some(_) => {}
        }
    }
    Ok(found)
}

/// A value that an alias may repeat, with how much of it there is.
struct Anchored {
    value: Yaml,
    nodes: usize,
    bytes: usize,
}

struct Reader<'t> {
    parser: Parser<'t, granit_parser::StrInput<'t>>,
    /// Where the text ends, if its last line does not.
    open_end: Option<usize>,
    anchors: HashMap<usize, Anchored>,
    nodes: usize,
    copied: usize,
}

fn wrong(span: Span, message: impl Into<String>) -> YamlError {
    YamlError { line: span.start.line(), column: span.start.col() + 1, message: message.into() }
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<Option<(Event<'t>, Span)>, YamlError> {
        loop {
            return match self.parser.next_event() {
                None => Ok(None),
                Some(Ok((Event::Comment(..), _))) => continue,
                Some(Ok(event)) => Ok(Some(event)),
                Some(Err(error)) => {
                    let mark = error.marker();
                    Err(YamlError { line: mark.line(), column: mark.col() + 1, message: error.info().to_owned() })
                }
            };
        }
    }

    fn count(&mut self, nodes: usize, span: Span) -> Result<(), YamlError> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            return Err(wrong(span, format!("more than {MAX_NODES} values, with those that aliases repeat")));
        }
        Ok(())
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Yaml, YamlError> {
        self.count(1, span)?;
        if depth > MAX_DEPTH {
            return Err(wrong(span, format!("more than {MAX_DEPTH} lists and maps inside of each other")));
        }
        let before = self.nodes;
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                // As Go's reader has it, a text that ends with the file, and no line, has no end of a line.
                let text = match block && self.open_end.is_some() && span.end.byte_offset() == self.open_end {
                    true => text.strip_suffix('\n').unwrap_or(&text),
                    false => &text,
                };
                (scalar(text, style, tag.as_deref(), span)?, anchor)
            }
            Event::SequenceStart(_, anchor, _) => (self.list(depth)?, anchor),
            Event::MappingStart(_, anchor, _) => (self.map(span, depth)?, anchor),
            Event::Alias(anchor) => return self.alias(anchor, span),
            _ => return Err(wrong(span, "a value is expected here")),
        };
        if anchor != 0 {
            let bytes = size(&value);
            self.anchors.insert(anchor, Anchored { value: value.clone(), nodes: self.nodes - before + 1, bytes });
        }
        Ok(value)
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<Yaml, YamlError> {
        let unknown = || wrong(span, "an alias of a value that holds it, or of none");
        let Anchored { nodes, bytes, .. } = *self.anchors.get(&anchor).ok_or_else(unknown)?;
        self.count(nodes, span)?;
        self.copied = self.copied.saturating_add(bytes);
        if self.copied > MAX_TEXT {
            return Err(wrong(span, format!("aliases repeat more than {MAX_TEXT} bytes")));
        }
        self.anchors.get(&anchor).map(|anchored| anchored.value.clone()).ok_or_else(unknown)
    }

    fn list(&mut self, depth: usize) -> Result<Yaml, YamlError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                None | Some((Event::SequenceEnd, _)) => return Ok(Yaml::List(items)),
                Some((event, span)) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, start: Span, depth: usize) -> Result<Yaml, YamlError> {
        let mut map: Map = BTreeMap::new();
        let mut merged: Vec<Map> = Vec::new();
        loop {
            let (event, span) = match self.next()? {
                None | Some((Event::MappingEnd, _)) => break,
                Some(next) => next,
            };
            let merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<");
            let key = match self.node(event, span, depth + 1)? {
                _ if merge => None,
                key => Some(name(&key).ok_or_else(|| wrong(span, "a key must be a text, a number, true or false"))?),
            };
            let (event, at) = self.next()?.ok_or_else(|| wrong(start, "a value is missing"))?;
            let value = self.node(event, at, depth + 1)?;
            match key {
                Some(key) => {
                    map.insert(key, value);
                }
                None => merges(value, &mut merged).map_err(|message| wrong(at, message))?,
            }
        }
        for entries in merged {
            for (key, value) in entries {
                map.entry(key).or_insert(value);
            }
        }
        Ok(Yaml::Map(map))
    }
}

fn merges(value: Yaml, merged: &mut Vec<Map>) -> Result<(), &'static str> {
    match value {
        Yaml::Map(map) => merged.push(map),
        Yaml::List(items) => {
            for item in items {
                let Yaml::Map(map) = item else { return Err("only maps can be merged") };
                merged.push(map);
            }
        }
        _ => return Err("only maps can be merged"),
    }
    Ok(())
}

fn size(value: &Yaml) -> usize {
    match value {
        Yaml::String(text) => text.len(),
        Yaml::List(items) => items.iter().map(size).sum(),
        Yaml::Map(map) => map.iter().map(|(key, value)| key.len() + size(value)).sum(),
        _ => 0,
    }
}

/// A key as JSON has it.
fn name(key: &Yaml) -> Option<String> {
    Some(match key {
        Yaml::String(text) => text.clone(),
        Yaml::Int(number) => number.to_string(),
        Yaml::Float(number) => kiln_gotmpl::fmt::float(*number, 'g'),
        Yaml::Bool(yes) => yes.to_string(),
        Yaml::Null => "null".to_owned(),
        Yaml::List(_) | Yaml::Map(_) => return None,
    })
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Result<Yaml, YamlError> {
    let tag = tag.and_then(Tag::core_suffix);
    let value = match (tag, style) {
        (Some("str"), _) => return Ok(Yaml::from(text)),
        (Some("binary"), _) => {
            let bytes = crate::functions::encoding::base64_decode(&text.split_whitespace().collect::<String>());
            let decoded = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
            return decoded.map(Yaml::String).ok_or_else(|| wrong(span, "!!binary that is no base64 of a UTF-8 text"));
        }
        (Some("int" | "float" | "bool" | "null"), _) | (None, ScalarStyle::Plain) => plain(text),
        _ => return Ok(Yaml::from(text)),
    };
    match (tag, value) {
        (Some("float"), Yaml::Int(number)) => Ok(Yaml::Float(number as f64)),
        (Some("int"), value @ Yaml::Int(_))
        | (Some("float"), value @ Yaml::Float(_))
        | (Some("bool"), value @ Yaml::Bool(_))
        | (Some("null"), value @ Yaml::Null) => Ok(value),
        (Some(tag), _) => Err(wrong(span, format!("`{text}` is no !!{tag}"))),
        (None, Yaml::Float(number)) if !number.is_finite() => Err(wrong(span, "JSON has no infinity, and no NaN")),
        (None, value) => Ok(value),
    }
}
