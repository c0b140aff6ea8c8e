//! Values with their places, and how texts among them are rendered.

use std::sync::Arc;

use kiln_spec::source::{Source, Span};

use crate::fault::{Fault, Place};
use crate::fields::Fields;
use crate::render::Scope;

/// A value as JSON has them.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A number, as written: `10`, `1.5`, `1e3`.
    Number(String),
    /// A text, in which Go-template actions are not executed yet.
    String(String),
    /// A list.
    List(Vec<Node>),
    /// Keys in the order written, each once.
    Object(Vec<Entry>),
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where.
    pub span: Span,
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub span: Span,
    /// Its value.
    pub node: Node,
}

impl Value {
    /// What it is, with an article: for messages.
    pub fn noun(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::String(_) => "a text",
            Value::List(_) => "a list",
            Value::Object(_) => "an object",
        }
    }
}

/// The configuration of a builder, a provisioner or a post-processor.
#[derive(Debug, Clone)]
pub struct Config {
    entries: Vec<Entry>,
    source: Arc<Source>,
    span: Span,
    scope: Arc<Scope>,
}

impl Config {
    /// The configuration `entries`, which stands at `span` of `source` and whose texts are rendered in `scope`.
    pub fn new(entries: Vec<Entry>, source: &Arc<Source>, span: Span, scope: &Arc<Scope>) -> Config {
        Config { entries, source: Arc::clone(source), span, scope: Arc::clone(scope) }
    }

    /// Its keys and values, as written.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The value of `key`, as written.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    /// Where it stands.
    pub fn place(&self) -> Place {
        Place::new(&self.source, self.span)
    }

    /// How its texts are rendered.
    pub fn scope(&self) -> &Arc<Scope> {
        &self.scope
    }

    /// The file it stands in.
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// A decoder, which remembers what was asked.
    pub fn fields(&self) -> Fields<'_> {
        Fields::new(self)
    }

    /// Executes every action of every text, with whatever a builder or provisioner may supply later left open: finds
    /// malformed actions, unknown functions and undeclared variables before anything runs.
    pub fn check(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        for entry in &self.entries {
            self.scope.check(&entry.node, &self.source, &mut faults);
        }
        faults
    }
}
