//! The parsed form: bodies, blocks, attributes, expressions, each with its place.

use kiln_spec::source::Span;

use crate::value::Value;

/// What stands in a file or between the braces of a block.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Body {
    /// `name = expression`, in order; each name once.
    pub attributes: Vec<Attribute>,
    /// Blocks, in order.
    pub blocks: Vec<Block>,
    /// All of it.
    pub span: Span,
}

impl Body {
    /// The attribute `name`.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }

    /// The blocks of type `kind`.
    pub fn blocks_of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Block> {
        self.blocks.iter().filter(move |block| block.kind == kind)
    }
}

/// `name = expression`.
#[derive(Debug, Clone, PartialEq)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// Where the name stands.
    pub name_span: Span,
    /// Its value.
    pub expr: Expr,
}

/// `kind "label" { … }`.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// Its type.
    pub kind: String,
    /// Where the type stands.
    pub kind_span: Span,
    /// Its labels.
    pub labels: Vec<Label>,
    /// What is in it.
    pub body: Body,
}

impl Block {
    /// Type and labels.
    pub fn header(&self) -> Span {
        Span::new(self.kind_span.start, self.labels.last().map_or(self.kind_span.end, |label| label.span.end))
    }
}

/// A label of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Without quotes.
    pub text: String,
    /// Where, with quotes.
    pub span: Span,
}

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where.
    pub span: Span,
    /// How many expressions deep it is.
    pub height: u32,
}

/// What an expression is.
#[derive(Debug, Clone, PartialEq)]
pub enum ExprKind {
    /// A number, `true`, `false`, `null`, or a text without interpolation.
    Literal(Value),
    /// A text with interpolations.
    Template(Vec<Part>),
    /// A text that is nothing but one interpolation: the value itself.
    Wrapped(Box<Expr>),
    /// A string of JSON: as it is, and as the template that it is where templates are evaluated.
    Json(String, Box<Expr>),
    /// A variable.
    Variable(String),
    /// `object.name`.
    Attribute(Box<Expr>, String, Span),
    /// `collection[key]`.
    Index(Box<Expr>, Box<Expr>),
    /// `list[*].x` or `list.*.x`: the list, and what to do with each item, which is [`ExprKind::Item`] in it.
    Splat(Box<Expr>, Box<Expr>),
    /// The item of the innermost splat.
    Item,
    /// `name(arguments)`, with `...` after the last argument or not.
    Call {
        /// The function.
        name: String,
        /// Where its name stands.
        name_span: Span,
        /// The arguments.
        arguments: Vec<Expr>,
        /// Whether the last one is a list of arguments.
        expand: bool,
    },
    /// `condition ? then : otherwise`.
    Conditional(Box<Expr>, Box<Expr>, Box<Expr>),
    /// Two operands.
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// `-x` or `!x`.
    Unary(UnaryOp, Box<Expr>),
    /// `[a, b]`.
    Tuple(Vec<Expr>),
    /// `{a = b}`.
    Object(Vec<(Expr, Expr)>),
    /// `[for …]`, `{for …}`.
    For(Box<For>),
    /// `(x)`.
    Paren(Box<Expr>),
}

/// A for expression.
#[derive(Debug, Clone, PartialEq)]
pub struct For {
    /// The name for keys or indexes.
    pub key: Option<String>,
    /// The name for values.
    pub value: String,
    /// What is gone through.
    pub collection: Expr,
    /// The key of the result, which then is an object.
    pub result_key: Option<Expr>,
    /// The value of the result.
    pub result: Expr,
    /// Which are taken.
    pub condition: Option<Expr>,
    /// Whether values with the same key make a list: `...`.
    pub group: bool,
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Text.
    Text(String),
    /// `${…}`.
    Value(Expr),
    /// `%{ if … }`.
    If(Expr, Vec<Part>, Vec<Part>),
    /// `%{ for … }`.
    For {
        /// The name for keys or indexes.
        key: Option<String>,
        /// The name for values.
        value: String,
        /// What is gone through.
        collection: Expr,
        /// What is written for each.
        body: Vec<Part>,
    },
}

/// An operator between two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "their names say it")]
pub enum BinaryOp {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// An operator before its operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnaryOp {
    /// `-`.
    Negate,
    /// `!`.
    Not,
}

impl Expr {
    /// A value.
    pub fn literal(value: impl Into<Value>, span: Span) -> Expr {
        Expr { kind: ExprKind::Literal(value.into()), span, height: 1 }
    }

    /// The name, when it is nothing but a name: what object keys and types are.
    pub fn keyword(&self) -> Option<&str> {
        match &self.kind {
            ExprKind::Variable(name) => Some(name),
            ExprKind::Literal(Value { data: crate::value::Data::Bool(flag), .. }) => {
                Some(if *flag { "true" } else { "false" })
            }
            ExprKind::Literal(value) if value.is_null() => Some("null"),
            ExprKind::Json(_, template) => match &template.kind {
                ExprKind::Variable(name) => Some(name),
                _ => None,
            },
            _ => None,
        }
    }

    /// The names of a chain of attributes, `var.a.b`, as far as they are plain.
    pub fn traversal(&self) -> Option<Vec<&str>> {
        match &self.kind {
            ExprKind::Variable(name) => Some(vec![name]),
            ExprKind::Attribute(of, name, _) => {
                let mut names = of.traversal()?;
                names.push(name);
                Some(names)
            }
            ExprKind::Json(_, inner) | ExprKind::Wrapped(inner) => inner.traversal(),
            _ => None,
        }
    }

    /// Calls `visit` for this expression and all inside of it.
    pub fn walk<'e>(&'e self, visit: &mut dyn FnMut(&'e Expr)) {
        visit(self);
        match &self.kind {
            ExprKind::Literal(_) | ExprKind::Variable(_) | ExprKind::Item => {}
            ExprKind::Template(parts) => walk_parts(parts, visit),
            ExprKind::Wrapped(inner)
            | ExprKind::Json(_, inner)
            | ExprKind::Attribute(inner, ..)
            | ExprKind::Unary(_, inner)
            | ExprKind::Paren(inner) => inner.walk(visit),
            ExprKind::Index(a, b) | ExprKind::Splat(a, b) | ExprKind::Binary(_, a, b) => {
                a.walk(visit);
                b.walk(visit);
            }
            ExprKind::Call { arguments: items, .. } | ExprKind::Tuple(items) => {
                items.iter().for_each(|item| item.walk(visit));
            }
            ExprKind::Conditional(a, b, c) => {
                a.walk(visit);
                b.walk(visit);
                c.walk(visit);
            }
            ExprKind::Object(items) => {
                for (key, value) in items {
                    key.walk(visit);
                    value.walk(visit);
                }
            }
            ExprKind::For(parts) => {
                parts.collection.walk(visit);
                parts.result.walk(visit);
                parts.result_key.iter().chain(&parts.condition).for_each(|expr| expr.walk(visit));
            }
        }
    }

    /// Calls `visit` for this expression, which it may change, and all inside of it.
    pub fn walk_mut(&mut self, visit: &mut dyn FnMut(&mut Expr)) {
        visit(self);
        match &mut self.kind {
            ExprKind::Literal(_) | ExprKind::Variable(_) | ExprKind::Item => {}
            ExprKind::Template(parts) => walk_parts_mut(parts, visit),
            ExprKind::Wrapped(inner)
            | ExprKind::Json(_, inner)
            | ExprKind::Attribute(inner, ..)
            | ExprKind::Unary(_, inner)
            | ExprKind::Paren(inner) => inner.walk_mut(visit),
            ExprKind::Index(a, b) | ExprKind::Splat(a, b) | ExprKind::Binary(_, a, b) => {
                a.walk_mut(visit);
                b.walk_mut(visit);
            }
            ExprKind::Call { arguments: items, .. } | ExprKind::Tuple(items) => {
                items.iter_mut().for_each(|item| item.walk_mut(visit));
            }
            ExprKind::Conditional(a, b, c) => {
                a.walk_mut(visit);
                b.walk_mut(visit);
                c.walk_mut(visit);
            }
            ExprKind::Object(items) => {
                for (key, value) in items {
                    key.walk_mut(visit);
                    value.walk_mut(visit);
                }
            }
            ExprKind::For(parts) => {
                parts.collection.walk_mut(visit);
                parts.result.walk_mut(visit);
                parts.result_key.iter_mut().chain(&mut parts.condition).for_each(|expr| expr.walk_mut(visit));
            }
        }
    }
}

fn walk_parts<'e>(parts: &'e [Part], visit: &mut dyn FnMut(&'e Expr)) {
    for part in parts {
        match part {
            Part::Text(_) => {}
            Part::Value(expr) => expr.walk(visit),
            Part::If(condition, then, otherwise) => {
                condition.walk(visit);
                walk_parts(then, visit);
                walk_parts(otherwise, visit);
            }
            Part::For { collection, body, .. } => {
                collection.walk(visit);
                walk_parts(body, visit);
            }
        }
    }
}

fn walk_parts_mut(parts: &mut [Part], visit: &mut dyn FnMut(&mut Expr)) {
    for part in parts {
        match part {
            Part::Text(_) => {}
            Part::Value(expr) => expr.walk_mut(visit),
            Part::If(condition, then, otherwise) => {
                condition.walk_mut(visit);
                walk_parts_mut(then, visit);
                walk_parts_mut(otherwise, visit);
            }
            Part::For { collection, body, .. } => {
                collection.walk_mut(visit);
                walk_parts_mut(body, visit);
            }
        }
    }
}
