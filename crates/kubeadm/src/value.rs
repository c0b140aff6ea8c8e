//! Values that know where they come from.

use kiln_yaml::Node;

/// A value and its origin.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// What it is.
    pub content: Content,
    /// Where it was said.
    pub origin: Origin,
}

/// Where a value was said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    /// The name of the layer.
    pub layer: String,
    /// The line in it, from 1; 0 if it has no lines.
    pub line: usize,
    /// What was changed since, if anything.
    pub changed: bool,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// `null`: in a layer, it deletes what is below.
    Null,
    /// `true` or `false`
    Bool(bool),
    /// As it is written.
    Number(String),
    /// A string.
    Text(String),
    /// `[a, b]`
    List(Vec<Value>),
    /// In the order it is written.
    Map(Vec<(String, Value)>),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.layer)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if self.changed { f.write_str(", changed") } else { Ok(()) }
    }
}

impl Value {
    /// The value of a node of a layer.
    pub fn of(node: &Node, layer: &str, lines: &Lines) -> Value {
        let content = match &node.value {
            kiln_yaml::Value::Null => Content::Null,
            kiln_yaml::Value::Bool(value) => Content::Bool(*value),
            kiln_yaml::Value::Number(number) => Content::Number(number.canonical()),
            kiln_yaml::Value::Text(text) => Content::Text(text.clone()),
            kiln_yaml::Value::List(items) => {
                Content::List(items.iter().map(|item| Value::of(item, layer, lines)).collect())
            }
            kiln_yaml::Value::Map(map) => {
                Content::Map(map.entries.iter().map(|e| (e.key.clone(), Value::of(&e.value, layer, lines))).collect())
            }
        };
        let origin = Origin { layer: layer.to_owned(), line: lines.of(node.span.start), changed: false };
        Value { content, origin }
    }

    /// A text that a change made, where there was something else.
    pub fn text(text: impl Into<String>, origin: &Origin) -> Value {
        Value { content: Content::Text(text.into()), origin: Origin { changed: true, ..origin.clone() } }
    }

    /// The entries, if it is a map.
    pub fn map(&self) -> Option<&Vec<(String, Value)>> {
        match &self.content {
            Content::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The entries, to change them.
    pub fn map_mut(&mut self) -> Option<&mut Vec<(String, Value)>> {
        match &mut self.content {
            Content::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What is at a path of keys.
    pub fn at(&self, path: &[&str]) -> Option<&Value> {
        path.iter()
            .try_fold(self, |value, key| value.map()?.iter().find(|(name, _)| name == key).map(|(_, value)| value))
    }

    /// What is at a path of keys, to change it.
    pub fn at_mut(&mut self, path: &[&str]) -> Option<&mut Value> {
        let mut value = self;
        for key in path {
            value = value.map_mut()?.iter_mut().find(|(name, _)| name == key).map(|(_, value)| value)?;
        }
        Some(value)
    }

    /// Takes what is at a path of keys away.
    pub fn take(&mut self, path: &[&str]) -> Option<Value> {
        let (last, to) = path.split_last()?;
        let entries = self.at_mut(to)?.map_mut()?;
        let i = entries.iter().position(|(name, _)| name == last)?;
        Some(entries.remove(i).1)
    }

    /// Puts a value at a path, unless there is one; maps on the way are made.
    pub fn put(&mut self, path: &[&str], new: Value) {
        let Some((first, rest)) = path.split_first() else { return };
        let origin = Origin { changed: true, ..new.origin.clone() };
        let Some(entries) = self.map_mut() else { return };
        let i = entries.iter().position(|(name, _)| name == first);
        match (i, rest.is_empty()) {
            (Some(_), true) => {}
            (None, true) => entries.push(((*first).to_owned(), new)),
            (Some(i), false) => entries[i].1.put(rest, new),
            (None, false) => {
                let mut inner = Value { content: Content::Map(Vec::new()), origin };
                inner.put(rest, new);
                entries.push(((*first).to_owned(), inner));
            }
        }
    }
}

/// Where the lines of a text start.
#[derive(Debug)]
pub struct Lines(Vec<usize>);

impl Lines {
    /// Of a text.
    pub fn new(text: &str) -> Lines {
        Lines(text.match_indices('\n').map(|(i, _)| i + 1).collect())
    }

    /// The line of an offset, from 1.
    pub fn of(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset) + 1
    }
}
