//! Values, each with the place it was written at.

use std::collections::HashMap;

use kiln_spec::source::Span;

use crate::scalar::Number;

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// Where it is written. What came through an alias has the place of its anchor.
    pub span: Span,
    /// How it is written.
    pub style: Style,
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Without quotes; lists and maps too.
    Plain,
    /// In single or double quotes.
    Quoted,
    /// `|`, line by line.
    Literal,
    /// `>`, lines joined.
    Folded,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `null`, `~` or nothing.
    Null,
    /// `true`, and YAML 1.1's `yes` and `on`.
    Bool(bool),
    /// A number, as it is written.
    Number(Number),
    /// Anything else that is one word or text.
    Text(String),
    /// `[a, b]`
    List(Vec<Node>),
    /// `{a: b}`
    Map(Map),
}

/// A map in the order it is written.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Map {
    /// Its entries; a key may be there twice.
    pub entries: Vec<Entry>,
}

/// One entry of a map.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key as text: `1` and `true` are keys as Go's reader makes them, "1" and "true".
    pub key: String,
    /// Where the key is.
    pub span: Span,
    /// Its value.
    pub value: Node,
}

impl Map {
    /// The value of a key; the last one, if it is there more than once, as Go's reader has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The entry of a key; the last one.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().rev().find(|entry| entry.key == key)
    }

    /// The text at a key, if there is one.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.text()
    }
}

impl Node {
    /// A value that nobody wrote: its place is the start.
    pub fn made(value: Value) -> Node {
        Node { value, span: Span::default(), style: Style::Plain }
    }

    /// The text, if it is one. Numbers and booleans are none.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The map, if it is one.
    pub fn map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The items, if it is a list.
    pub fn list(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// What is at a path of keys.
    pub fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, key| node.map()?.get(key))
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// What people call its kind, with an article.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::Text(_) => "a string",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// The keys that are in a map more than once: the key, where it is again, and where it was before.
    pub fn duplicates(&self) -> Vec<(&str, Span, Span)> {
        let mut found = Vec::new();
        let mut open = vec![self];
        while let Some(node) = open.pop() {
            match &node.value {
                Value::List(items) => open.extend(items.iter().rev()),
                Value::Map(map) => {
                    let mut seen: HashMap<&str, Span> = HashMap::new();
                    for entry in &map.entries {
                        if let Some(before) = seen.insert(&entry.key, entry.span) {
                            found.push((&*entry.key, entry.span, before));
                        }
                    }
                    open.extend(map.entries.iter().rev().map(|entry| &entry.value));
                }
                _ => {}
            }
        }
        found
    }
}
