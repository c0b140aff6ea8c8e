//! A template as parsed.

use std::sync::Arc;

/// Bytes of the template's text.
pub(crate) type Span = (usize, usize);

/// A parsed text: the top level, or what a `define` holds.
#[derive(Debug)]
pub(crate) struct Tree {
    /// The name of the text it was parsed from, for messages.
    pub name: String,
    /// The whole text it was parsed from, for places in messages.
    pub text: Arc<str>,
    pub nodes: Vec<Node>,
}

impl Tree {
    /// Whether it holds nothing but white space.
    pub fn is_empty(&self) -> bool {
        self.nodes.iter().all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()))
    }
}

#[derive(Debug)]
pub(crate) enum Node {
    Text(String),
    /// A pipeline whose value is printed, unless it declares a variable.
    Action(Pipe),
    If(Branch),
    With(Branch),
    Range(Branch),
    Template {
        name: String,
        pipe: Option<Pipe>,
        span: Span,
    },
    Break,
    Continue,
}

#[derive(Debug)]
pub(crate) struct Branch {
    pub pipe: Pipe,
    pub body: Vec<Node>,
    pub otherwise: Vec<Node>,
}

#[derive(Debug)]
pub(crate) struct Pipe {
    /// Variables that get its value.
    pub variables: Vec<String>,
    /// They exist already: `=`, not `:=`.
    pub assigns: bool,
    pub commands: Vec<Command>,
    pub span: Span,
}

/// Operands next to each other: the first is called with the others, if there are any.
#[derive(Debug)]
pub(crate) struct Command {
    pub operands: Vec<Operand>,
    pub span: Span,
}

#[derive(Debug)]
pub(crate) struct Operand {
    pub kind: Kind,
    pub span: Span,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Dot,
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    String(Arc<str>),
    /// `.A.B`
    Field(Vec<String>),
    /// `$x.A.B`; the name with its `$`.
    Variable(String, Vec<String>),
    Function(String),
    Pipe(Box<Pipe>),
    /// `(pipeline).A.B`, `function.A`
    Chain(Box<Operand>, Vec<String>),
}
