//! Typed values out of nodes of YAML, each with its place; what is wrong is collected.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use kiln_kubeadm::value::Lines;
use kiln_oci::Reference;
use kiln_spec::diag::Diagnostic;
use kiln_spec::source::{Source, Span};
use kiln_yaml::{Map, Node, Style, Value};

use crate::model::{Origin, Said};
use crate::secret::Secret;

/// Mistakes of one file that are told.
pub const MAX_FOUND: usize = 200;

/// The fields of a map.
#[derive(Debug, Clone, Copy)]
pub struct Fields {
    /// Their names.
    pub names: &'static [&'static str],
    /// Names that they had in other releases or dialects, and what those are now.
    pub old: &'static [(&'static str, &'static str)],
    /// Fields that the dialect has and Kiln does not support, and why.
    pub refused: &'static [(&'static str, &'static str)],
}

impl Fields {
    /// Fields without a history.
    pub const fn new(names: &'static [&'static str]) -> Fields {
        Fields { names, old: &[], refused: &[] }
    }
}

/// A map whose fields are known.
#[derive(Debug)]
pub struct At<'n> {
    /// What messages call it: `spec.ssh`.
    pub place: String,
    /// Where it is.
    pub span: Span,
    fields: Vec<(&'static str, &'n Node)>,
}

impl<'n> At<'n> {
    /// The value of a field, if there is one that is not null.
    pub fn get(&self, name: &str) -> Option<&'n Node> {
        self.fields.iter().rev().find(|(known, _)| *known == name).map(|(_, node)| *node).filter(|node| !node.is_null())
    }

    /// What messages call a field.
    pub fn of(&self, name: &str) -> String {
        if self.place.is_empty() { name.to_owned() } else { format!("{}.{name}", self.place) }
    }
}

/// What a text is read with.
#[derive(Debug)]
pub struct Cursor {
    name: Arc<str>,
    lines: Lines,
    /// What is wrong with it.
    pub found: Vec<Diagnostic>,
    /// What was read differently from how it is written.
    pub notes: Vec<Said<String>>,
}

impl Cursor {
    /// Of a text.
    pub fn new(source: &Source) -> Cursor {
        Cursor { name: Arc::from(&*source.name), lines: Lines::new(&source.text), found: Vec::new(), notes: Vec::new() }
    }

    /// The origin of a place.
    pub fn origin(&self, span: Span) -> Origin {
        Origin::File { name: Arc::clone(&self.name), line: self.line(span), span }
    }

    /// The line of a place, from 1.
    pub fn line(&self, span: Span) -> usize {
        self.lines.of(span.start)
    }

    /// A value of a place.
    pub fn said<T>(&self, value: T, span: Span) -> Said<T> {
        Said::new(value, self.origin(span))
    }

    /// Adds something that is wrong.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if self.found.len() < MAX_FOUND {
            self.found.push(diagnostic);
        }
    }

    /// Adds an error.
    pub fn error(&mut self, code: &'static str, span: Span, message: impl Into<String>) {
        self.push(Diagnostic::error(code, span, message));
    }

    /// Adds a note.
    pub fn note(&mut self, span: Span, note: impl Into<String>) {
        if self.notes.len() < MAX_FOUND {
            let note = self.said(note.into(), span);
            self.notes.push(note);
        }
    }

    /// A value that is not of the wanted type.
    pub fn mistyped(&mut self, node: &Node, place: &str, wanted: &str) {
        let message = format!("`{place}` is {wanted}; this is {}", node.kind());
        let diagnostic = Diagnostic::error("WrongType", node.span, message);
        let is_word = matches!(node.value, Value::Number(_) | Value::Bool(_));
        self.push(if is_word && wanted == "a string" { diagnostic.hint("put it in quotes") } else { diagnostic });
    }

    /// A map with known fields: others are mistakes.
    pub fn map<'n>(&mut self, node: &'n Node, place: impl Into<String>, known: &Fields) -> Option<At<'n>> {
        let place = place.into();
        let Some(map) = node.map() else {
            if !node.is_null() {
                self.mistyped(node, &place, "a map");
            }
            return None;
        };
        Some(self.fields(map, node.span, place, known))
    }

    fn fields<'n>(&mut self, map: &'n Map, span: Span, place: String, known: &Fields) -> At<'n> {
        let mut at = At { place, span, fields: Vec::new() };
        for entry in &map.entries {
            // `on` without quotes is a boolean to YAML 1.1, and sealer's plugins have it as a key.
            let key = if entry.key == "true" && known.names.contains(&"on") { "on" } else { &*entry.key };
            if let Some(name) = known.names.iter().find(|name| **name == key) {
                at.fields.push((name, &entry.value));
            } else if let Some((_, name)) = known.old.iter().find(|(old, _)| *old == key) {
                self.note(entry.span, format!("`{}` is read as `{name}`", at.of(key)));
                at.fields.push((name, &entry.value));
            } else if let Some((_, why)) = known.refused.iter().find(|(name, _)| *name == key) {
                if !is_empty(&entry.value) {
                    let message = format!("Kiln does not support `{}`", at.of(key));
                    self.push(Diagnostic::error("Unsupported", entry.span, message).hint(*why));
                }
            } else {
                let parent = if at.place.is_empty() { "the document" } else { &at.place };
                let message = format!("{parent} has no field `{}`", printable(key));
                let names = known.names.iter().chain(known.old.iter().map(|(old, _)| old)).copied();
                self.push(Diagnostic::error("UnknownField", entry.span, message).suggest(key, names));
            }
        }
        at
    }

    /// A map within a map.
    pub fn inner<'n>(&mut self, at: &At<'n>, name: &str, known: &Fields) -> Option<At<'n>> {
        self.map(at.get(name)?, at.of(name), known)
    }

    /// A string that is not empty.
    pub fn text(&mut self, at: &At<'_>, name: &str) -> Option<Said<String>> {
        self.word(at.get(name)?, &at.of(name))
    }

    /// A node as a string that is not empty.
    pub fn word(&mut self, node: &Node, place: &str) -> Option<Said<String>> {
        match &node.value {
            Value::Text(text) if text.is_empty() => None,
            Value::Text(text) => Some(self.said(text.clone(), node.span)),
            _ => {
                self.mistyped(node, place, "a string");
                None
            }
        }
    }

    /// A string that is never shown.
    pub fn secret(&mut self, at: &At<'_>, name: &str) -> Option<Said<Secret>> {
        Some(self.text(at, name)?.map(Secret::new))
    }

    /// `true` or `false`.
    pub fn bool(&mut self, at: &At<'_>, name: &str) -> Option<Said<bool>> {
        let node = at.get(name)?;
        match node.value {
            Value::Bool(value) => Some(self.said(value, node.span)),
            _ => {
                self.mistyped(node, &at.of(name), "true or false");
                None
            }
        }
    }

    /// A port, as a number or in quotes: sealer has strings, sealos numbers.
    pub fn port(&mut self, at: &At<'_>, name: &str) -> Option<Said<u16>> {
        let node = at.get(name)?;
        let value = match &node.value {
            Value::Number(number) => number.integer().and_then(|number| u16::try_from(number).ok()),
            Value::Text(text) if text.is_empty() => return None,
            Value::Text(text) => text.parse().ok(),
            _ => {
                self.mistyped(node, &at.of(name), "a port");
                return None;
            }
        };
        match value {
            // Go's programs leave a zero where nothing was said.
            Some(0) => None,
            Some(port) => Some(self.said(port, node.span)),
            None => {
                let message = format!("`{}` is a port, 1 to 65535", at.of(name));
                self.error("BadPort", node.span, message);
                None
            }
        }
    }

    /// The items of a list; nothing if there is none.
    pub fn list<'n>(&mut self, at: &At<'n>, name: &str) -> &'n [Node] {
        let Some(node) = at.get(name) else { return &[] };
        self.items(node, &at.of(name))
    }

    /// A node as a list.
    pub fn items<'n>(&mut self, node: &'n Node, place: &str) -> &'n [Node] {
        match node.list() {
            Some(items) if items.len() > MAX_ENTRIES => {
                let message = format!("`{place}` has more than {MAX_ENTRIES} items");
                self.error("TooLarge", node.span, message);
                &[]
            }
            Some(items) => items,
            None => {
                self.mistyped(node, place, "a list");
                &[]
            }
        }
    }

    /// A list of strings.
    pub fn words(&mut self, at: &At<'_>, name: &str) -> Vec<Said<String>> {
        let place = at.of(name);
        let items = self.list(at, name);
        items.iter().filter_map(|item| self.word(item, &format!("{place}[]"))).collect()
    }

    /// A string that something reads: its mistake is told at the word.
    pub fn parsed<T>(
        &mut self,
        at: &At<'_>,
        name: &str,
        code: &'static str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Said<T>> {
        let said = self.text(at, name)?;
        self.read(said, code, read)
    }

    /// The same of a string that was read already.
    pub fn read<T>(
        &mut self,
        said: Said<String>,
        code: &'static str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Said<T>> {
        match read(&said.value) {
            Ok(value) => Some(Said::new(value, said.origin)),
            Err(why) => {
                if let Origin::File { span, .. } = said.origin {
                    self.error(code, span, why);
                }
                None
            }
        }
    }

    /// An address.
    pub fn address(&mut self, at: &At<'_>, name: &str) -> Option<Said<IpAddr>> {
        self.parsed(at, name, "BadAddress", address)
    }

    /// An image.
    pub fn image(&mut self, said: Said<String>) -> Option<Said<Reference>> {
        self.read(said, "BadImage", |text| Reference::from_str(text).map_err(|error| error.to_string()))
    }

    /// Where a part of a string is: exact where the string is one line that is written as it is.
    pub fn part(&self, node: &Node, start: usize, length: usize) -> Span {
        let (written, text) = (node.span.end - node.span.start, node.text().unwrap_or_default().len());
        let quoted = match node.style {
            Style::Plain if written == text => 0,
            Style::Quoted if written == text + 2 => 1,
            _ => return node.span,
        };
        let at = node.span.start + quoted + start;
        if start + length <= text { Span::new(at, at + length) } else { node.span }
    }
}

/// Items of one list.
pub const MAX_ENTRIES: usize = 10_000;

/// `10.0.0.1`
pub fn address(word: &str) -> Result<IpAddr, String> {
    word.parse().map_err(|_| format!("`{}` is no IP address", printable(word)))
}

/// A word for a message: short, and without what terminals act on.
pub fn printable(word: &str) -> String {
    const LONGEST: usize = 100;
    let mut shown: String = word.chars().take(LONGEST).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if word.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

/// Whether a value says nothing, as Go's programs write fields that nobody set.
fn is_empty(node: &Node) -> bool {
    match &node.value {
        Value::Null | Value::Bool(false) => true,
        Value::Text(text) => text.is_empty(),
        Value::List(items) => items.is_empty(),
        Value::Map(map) => map.entries.iter().all(|entry| is_empty(&entry.value)),
        Value::Number(number) => number.integer() == Some(0),
        Value::Bool(true) => false,
    }
}
