//! The JSON syntax of HCL: which keys are blocks is known from a schema only.

use kiln_spec::diag::Diagnostic;
use kiln_spec::source::Span;

use crate::ast::{Attribute, Block, Body, Expr, ExprKind, Label};
use crate::json::{self, Json, Node};
use crate::parser::parse_template;

/// Which blocks may stand in a body.
#[derive(Debug, Clone, Copy)]
pub struct Schema {
    /// The blocks; every other key is an attribute.
    pub blocks: &'static [BlockSchema],
}

/// A block.
#[derive(Debug, Clone, Copy)]
pub struct BlockSchema {
    /// Its type.
    pub kind: &'static str,
    /// How many labels it has.
    pub labels: usize,
    /// What may stand in it.
    pub body: &'static Schema,
}

/// A body of attributes only.
pub const ATTRIBUTES: Schema = Schema { blocks: &[] };

/// Reads a file in JSON: what could be read of it, and what is wrong.
pub fn parse(text: &str, schema: &Schema) -> (Body, Vec<Diagnostic>) {
    let mut reader = Reader { text, faults: Vec::new() };
    if text.len() > crate::parser::MAX_LENGTH {
        return (Body::default(), vec![Diagnostic::error("TooLong", Span::default(), "the text is too long")]);
    }
    let node = match json::parse(text) {
        Ok(node) => node,
        Err(fault) => return (Body::default(), vec![*fault]),
    };
    let mut body = Body { span: node.span, ..Body::default() };
    reader.body(&node, schema, &mut body);
    (body, reader.faults)
}

struct Reader<'t> {
    text: &'t str,
    faults: Vec<Diagnostic>,
}

impl Reader<'_> {
    /// Adds what an object, or each object of a list, says to `body`.
    fn body(&mut self, node: &Node, schema: &Schema, body: &mut Body) {
        match &node.json {
            Json::Array(items) => items.iter().for_each(|item| self.body(item, schema, body)),
            Json::Object(fields) => {
                for (name, span, value) in fields.iter().filter(|(name, ..)| name != "//") {
                    if let Some(block) = schema.blocks.iter().find(|block| block.kind == name) {
                        self.blocks(block, *span, &mut Vec::new(), value, body);
                    } else if body.attribute(name).is_some() {
                        let message = format!("`{name}` is set twice in one block");
                        self.faults.push(Diagnostic::error("DuplicateAttribute", *span, message));
                    } else {
                        let expr = self.expression(value);
                        body.attributes.push(Attribute { name: name.clone(), name_span: *span, expr });
                    }
                }
            }
            _ => self.faults.push(Diagnostic::error("BadJson", node.span, "an object is needed here")),
        }
    }

    /// Adds the blocks of one key: labels are keys inside of each other, several blocks are a list.
    fn blocks(&mut self, schema: &BlockSchema, kind_span: Span, labels: &mut Vec<Label>, node: &Node, body: &mut Body) {
        match &node.json {
            Json::Null => {}
            Json::Array(items) => items.iter().for_each(|item| self.blocks(schema, kind_span, labels, item, body)),
            Json::Object(fields) if labels.len() < schema.labels => {
                for (name, span, value) in fields.iter().filter(|(name, ..)| name != "//") {
                    labels.push(Label { text: name.clone(), span: *span });
                    self.blocks(schema, kind_span, labels, value, body);
                    labels.pop();
                }
            }
            Json::Object(_) => {
                let mut inner = Body { span: node.span, ..Body::default() };
                self.body(node, schema.body, &mut inner);
                body.blocks.push(Block {
                    kind: schema.kind.to_owned(),
                    kind_span,
                    labels: labels.clone(),
                    body: inner,
                });
            }
            _ => {
                let message = format!("`{}` is a block: an object is needed here", schema.kind);
                self.faults.push(Diagnostic::error("BadJson", node.span, message));
            }
        }
    }

    fn expression(&mut self, node: &Node) -> Expr {
        let span = node.span;
        let (kind, height) = match &node.json {
            Json::String(text) => return self.text(text, span),
            Json::Array(items) => {
                let items: Vec<Expr> = items.iter().map(|item| self.expression(item)).collect();
                let height = items.iter().map(|item| item.height).max().unwrap_or(0);
                (ExprKind::Tuple(items), height + 1)
            }
            Json::Object(fields) => {
                let field =
                    |(name, span, value): &(String, Span, Node)| (self.text(name, *span), self.expression(value));
                let fields: Vec<(Expr, Expr)> = fields.iter().filter(|(name, ..)| name != "//").map(field).collect();
                let height = fields.iter().map(|(key, value)| key.height.max(value.height)).max().unwrap_or(0);
                (ExprKind::Object(fields), height + 1)
            }
            Json::Null | Json::Bool(_) | Json::Number(_) => (ExprKind::Literal(node.to_value()), 1),
        };
        Expr { kind, span, height }
    }

    /// A text is a template.
    fn text(&mut self, text: &str, span: Span) -> Expr {
        if !text.contains("${") && !text.contains("%{") {
            let template = Box::new(Expr::literal(text, span));
            return Expr { kind: ExprKind::Json(text.to_owned(), template), span, height: 1 };
        }
        let plain = self.text.get(span.start + 1..span.end - 1) == Some(text);
        // Places inside of a text with escapes are those of the whole text.
        let moved = |inner: Span| {
            if plain { Span::new(inner.start + span.start + 1, inner.end + span.start + 1) } else { span }
        };
        match parse_template(text) {
            Ok(mut template) => {
                relocate(&mut template, &moved);
                let height = template.height;
                Expr { kind: ExprKind::Json(text.to_owned(), Box::new(template)), span, height }
            }
            Err(faults) => {
                let moved = faults.into_iter().map(|fault| Diagnostic { span: moved(fault.span), ..fault });
                self.faults.extend(moved);
                Expr::literal(text, span)
            }
        }
    }
}

fn relocate(expr: &mut Expr, moved: &dyn Fn(Span) -> Span) {
    expr.walk_mut(&mut |expr| {
        expr.span = moved(expr.span);
        match &mut expr.kind {
            ExprKind::Attribute(_, _, span) | ExprKind::Call { name_span: span, .. } => *span = moved(*span),
            _ => {}
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: Schema = Schema { blocks: &[BlockSchema { kind: "source", labels: 2, body: &ATTRIBUTES }] };

    #[test]
    fn reads_blocks_and_templates() {
        let text =
            r#"{"//": "a comment", "source": {"null": {"a": {"x": "${var.x}", "y": "a${1+}"}, "b": {"z": "\n${q"}}}}"#;
        let (body, faults) = parse(text, &SCHEMA);
        assert_eq!(body.blocks.len(), 2);
        assert_eq!(body.blocks[1].labels[1].text, "b");
        let x = &body.blocks[0].body.attribute("x").unwrap().expr;
        assert_eq!(x.traversal(), Some(vec!["var", "x"]));
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert_eq!(&text[faults[0].span.start..=faults[0].span.start], "}");
    }
}
