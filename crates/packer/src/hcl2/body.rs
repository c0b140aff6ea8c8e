//! Bodies → configurations: attributes as they are, blocks as lists of objects, `dynamic` blocks written out.

use std::collections::BTreeMap;
use std::sync::Arc;

use kiln_hcl::ast::{Block, Body, Expr, ExprKind};
use kiln_hcl::scope::Scope;
use kiln_hcl::value::{Data, Value as Given};
use kiln_spec::source::{Source, Span};

use super::SharedWorld;
use super::project::evaluate;
use crate::config::{Entry, Node, Value};
use crate::fault::{Fault, Place};

/// How many blocks one `dynamic` makes.
const MAX_BLOCKS: usize = 10_000;

/// A body, and what is needed to evaluate it.
pub(super) struct Reader<'r> {
    pub world: &'r SharedWorld,
    pub source: &'r Arc<Source>,
}

impl Reader<'_> {
    fn place(&self, span: Span) -> Place {
        Place::new(self.source, span)
    }

    /// The entries of `body` but those that `skip` names.
    pub fn entries(&self, body: &Body, scope: &Scope<'_>, skip: &[&str]) -> Result<Vec<Entry>, Fault> {
        let mut entries: Vec<Entry> = Vec::new();
        for attribute in body.attributes.iter().filter(|attribute| !skip.contains(&attribute.name.as_str())) {
            let value = evaluate(self.world, &attribute.expr, scope, self.source)?;
            let node = self.node(&value, &attribute.expr)?;
            entries.push(Entry { key: attribute.name.clone(), span: attribute.name_span, node });
        }
        for block in &body.blocks {
            if block.kind == "dynamic" {
                self.dynamic(block, scope, &mut entries)?;
            } else if block.labels.is_empty() {
                self.block(&block.kind, block.kind_span, &block.body, scope, &mut entries)?;
            } else {
                return Err(self
                    .place(block.header())
                    .error("WrongLabels", format!("the block `{}` has no labels", block.kind)));
            }
        }
        Ok(entries)
    }

    fn block(&self, kind: &str, span: Span, body: &Body, scope: &Scope<'_>, to: &mut Vec<Entry>) -> Result<(), Fault> {
        let node = Node { value: Value::Object(self.entries(body, scope, &[])?), span: body.span };
        match to.iter_mut().find(|entry| entry.key == kind) {
            Some(Entry { node: Node { value: Value::List(items), .. }, .. }) => items.push(node),
            Some(_) => {
                return Err(self
                    .place(span)
                    .error("DuplicateAttribute", format!("`{kind}` is an attribute and a block here")));
            }
            None => {
                let node = Node { value: Value::List(vec![node]), span };
                to.push(Entry { key: kind.to_owned(), span, node });
            }
        }
        Ok(())
    }

    /// `dynamic "kind" { for_each, iterator, content {} }`.
    fn dynamic(&self, block: &Block, scope: &Scope<'_>, to: &mut Vec<Entry>) -> Result<(), Fault> {
        let bad = |span, message: &str| Err(self.place(span).error("BadDynamic", message.to_owned()));
        let [label] = block.labels.as_slice() else {
            return bad(block.header(), "`dynamic` has one label: the block it makes");
        };
        let known = ["for_each", "iterator", "labels"];
        if let Some(other) = block.body.attributes.iter().find(|attribute| !known.contains(&attribute.name.as_str())) {
            let fault =
                self.place(other.name_span).error("UnknownKey", format!("`dynamic` has no attribute `{}`", other.name));
            return Err(fault.suggest(&other.name, known).note("what the blocks hold stands in `content { }`"));
        }
        if let Some(labels) = block.body.attribute("labels") {
            return bad(labels.name_span, "no block here has labels");
        }
        let [content] = block.body.blocks.as_slice() else {
            return bad(block.header(), "`dynamic` holds one block, `content`");
        };
        let (Some(for_each), "content") = (block.body.attribute("for_each"), content.kind.as_str()) else {
            return bad(block.header(), "`dynamic` has `for_each` and one block `content`");
        };
        let iterator = match block.body.attribute("iterator") {
            None => label.text.as_str(),
            Some(attribute) => match attribute.expr.keyword() {
                Some(name) => name,
                None => return bad(attribute.expr.span, "`iterator` is a plain name"),
            },
        };
        let all = evaluate(self.world, &for_each.expr, scope, self.source)?;
        let rounds: Vec<(Given, &Given)> = match &all.data {
            Data::Unknown(_) => return Ok(()),
            Data::List(_, items) | Data::Tuple(items) => {
                items.iter().enumerate().map(|(at, item)| (at.into(), item)).collect()
            }
            Data::Set(_, items) => items.iter().map(|item| (item.clone(), item)).collect(),
            Data::Map(_, fields) | Data::Object(fields) => {
                fields.iter().map(|(name, item)| (name.as_str().into(), item)).collect()
            }
            _ => return bad(for_each.expr.span, "`for_each` goes through lists, sets, maps and objects"),
        };
        if rounds.len() > MAX_BLOCKS {
            return bad(for_each.expr.span, "more than 10000 blocks");
        }
        for (key, item) in rounds {
            let mut inner = scope.child();
            let item = item.clone().marked(all.sensitive);
            inner.set(iterator, Given::object(BTreeMap::from([("key".to_owned(), key), ("value".to_owned(), item)])));
            self.block(&label.text, label.span, &content.body, &inner, to)?;
        }
        Ok(())
    }

    /// A value as the decoder of configurations knows them; parts written as such have places of their own.
    fn node(&self, value: &Given, expr: &Expr) -> Result<Node, Fault> {
        let parts: Vec<&Expr> = match &expr.kind {
            ExprKind::Tuple(items) => items.iter().collect(),
            _ => Vec::new(),
        };
        let named: BTreeMap<&str, &Expr> = match &expr.kind {
            ExprKind::Object(items) => items
                .iter()
                .filter_map(|(key, value)| match &key.kind {
                    ExprKind::Literal(name) => Some((name.as_str()?, value)),
                    _ => None,
                })
                .collect(),
            _ => BTreeMap::new(),
        };
        let node = match &value.data {
            Data::Null(_) | Data::Unknown(_) => Value::Null,
            Data::Bool(flag) => Value::Bool(*flag),
            Data::Number(number) => Value::Number(number.to_string()),
            Data::String(text) => Value::String(text.to_string()),
            Data::List(_, items) | Data::Set(_, items) | Data::Tuple(items) => {
                let same = parts.len() == items.len();
                let item = |(at, item): (usize, &Given)| self.node(item, if same { parts[at] } else { expr });
                Value::List(items.iter().enumerate().map(item).collect::<Result<_, _>>()?)
            }
            Data::Map(_, fields) | Data::Object(fields) => {
                let entry = |(name, item): (&String, &Given)| {
                    let at = named.get(name.as_str()).copied().unwrap_or(expr);
                    Ok(Entry { key: name.clone(), span: at.span, node: self.node(item, at)? })
                };
                Value::Object(fields.iter().map(entry).collect::<Result<_, _>>()?)
            }
        };
        Ok(Node { value: node, span: expr.span })
    }
}
