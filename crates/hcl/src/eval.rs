//! Expressions → values.
//!
//! What is unknown or sensitive makes what is computed from it so. Steps and sizes have limits.

mod access;
mod calls;
mod operators;
mod template;

use std::cell::Cell;
use std::collections::BTreeMap;

use kiln_spec::diag::Diagnostic;
use kiln_spec::source::Span;

use crate::ast::{Expr, ExprKind, For};
use crate::convert::{self, ConvertError};
use crate::scope::Scope;
use crate::types::Type;
use crate::value::{Data, Value};
use crate::world::World;

/// How many steps one evaluator makes: expressions evaluated and values handled, a step for each 16 bytes of them.
const MAX_STEPS: u64 = 5_000_000;
/// How large one value may be, in bytes.
pub(crate) const MAX_SIZE: usize = 32 << 20;

/// What is wrong with an expression.
pub type Fault = Box<Diagnostic>;

/// Evaluates expressions, within one limit of steps for all.
pub struct Evaluator<'w> {
    pub(crate) world: &'w dyn World,
    steps: Cell<u64>,
    /// How many templates of files are open.
    files: Cell<u32>,
}

fn fault<T>(code: &'static str, span: Span, message: impl Into<String>) -> Result<T, Fault> {
    Err(Box::new(Diagnostic::error(code, span, message)))
}

impl<'w> Evaluator<'w> {
    /// An evaluator whose functions ask `world`.
    pub fn new(world: &'w dyn World) -> Evaluator<'w> {
        Evaluator { world, steps: Cell::new(MAX_STEPS), files: Cell::new(0) }
    }

    /// Takes `count` steps.
    pub(crate) fn step(&self, count: usize, span: Span) -> Result<(), Fault> {
        match self.steps.get().checked_sub(count as u64) {
            Some(left) => {
                self.steps.set(left);
                Ok(())
            }
            None => fault("TooManySteps", span, "evaluating takes too many steps"),
        }
    }

    /// The value of `expr` in `scope`.
    ///
    /// # Errors
    /// What is wrong, with its place.
    pub fn evaluate(&self, expr: &Expr, scope: &Scope<'_>) -> Result<Value, Fault> {
        self.step(1, expr.span)?;
        match &expr.kind {
            ExprKind::Literal(value) => Ok(value.clone()),
            ExprKind::Template(parts) => self.template(parts, expr.span, scope),
            ExprKind::Wrapped(inner) | ExprKind::Paren(inner) | ExprKind::Json(_, inner) => self.evaluate(inner, scope),
            ExprKind::Variable(name) => self.variable(name, expr.span, scope),
            ExprKind::Attribute(of, name, span) => {
                let value = self.evaluate(of, scope)?;
                access::attribute(&value, name, *span, of.traversal())
            }
            ExprKind::Index(of, key) => {
                let value = self.evaluate(of, scope)?;
                let key_value = self.evaluate(key, scope)?;
                access::index(&value, &key_value, key.span)
            }
            ExprKind::Splat(of, each) => self.splat(of, each, scope),
            ExprKind::Item => match scope.item() {
                Some(item) => Ok(item.clone()),
                None => fault("BadSplat", expr.span, "there is no item here"),
            },
            ExprKind::Call { name, name_span, arguments, expand } => self
                .call(calls::Call { name, name_span: *name_span, arguments, expand: *expand, span: expr.span }, scope),
            ExprKind::Conditional(condition, then, otherwise) => self.conditional(condition, then, otherwise, scope),
            ExprKind::Binary(operator, left, right) => self.binary(*operator, left, right, expr.span, scope),
            ExprKind::Unary(operator, operand) => self.unary(*operator, operand, scope),
            ExprKind::Tuple(items) => {
                Ok(Value::tuple(items.iter().map(|item| self.evaluate(item, scope)).collect::<Result<_, _>>()?))
            }
            ExprKind::Object(items) => self.object(items, scope),
            ExprKind::For(parts) => self.for_expression(parts, expr.span, scope),
        }
    }

    fn variable(&self, name: &str, span: Span, scope: &Scope<'_>) -> Result<Value, Fault> {
        if let Some(value) = scope.get(name) {
            return Ok(value.clone());
        }
        let diagnostic = Diagnostic::error("UnknownVariable", span, format!("there is no variable `{name}` here"));
        Err(Box::new(diagnostic.suggest(name, scope.names())))
    }

    fn conditional(&self, condition: &Expr, then: &Expr, otherwise: &Expr, scope: &Scope<'_>) -> Result<Value, Fault> {
        let test = self.evaluate(condition, scope)?;
        let (yes, no) = (self.evaluate(then, scope), self.evaluate(otherwise, scope));
        let chosen = match self.truth(&test, condition.span)? {
            None => {
                let types = [yes?.ty(), no?.ty()];
                return Ok(Value::unknown(Type::unify(&types).unwrap_or(Type::Any)).marked(test.sensitive));
            }
            Some(chosen) => chosen,
        };
        let (value, other) = if chosen { (yes?, no) } else { (no?, yes) };
        // The branch not taken may fail, as `length(x) > 0 ? x[0] : ""` does; if not, both have one type.
        let Ok(other) = other else { return Ok(value.marked(test.sensitive)) };
        let span = Span::new(then.span.start, otherwise.span.end);
        let Some(common) = Type::unify(&[value.ty(), other.ty()]) else {
            let (a, b) = if chosen { (value.ty(), other.ty()) } else { (other.ty(), value.ty()) };
            let message = format!("both results must have one type: these are {} and {}", a.friendly(), b.friendly());
            return fault("InconsistentTypes", span, message);
        };
        Ok(self.convert(&value, &common, span)?.marked(test.sensitive))
    }

    /// True, false, or none when not known yet.
    fn truth(&self, value: &Value, span: Span) -> Result<Option<bool>, Fault> {
        if value.is_null() {
            return fault("NullCondition", span, "a condition must not be null");
        }
        Ok(self.convert(value, &Type::Bool, span)?.as_bool())
    }

    /// `value` as `ty`; what is sensitive is not in the message.
    pub(crate) fn convert(&self, value: &Value, ty: &Type, span: Span) -> Result<Value, Fault> {
        convert::convert(value, ty).map_err(|error| mismatch(value, &error, span))
    }

    fn object(&self, items: &[(Expr, Expr)], scope: &Scope<'_>) -> Result<Value, Fault> {
        let mut fields = BTreeMap::new();
        let mut marked = false;
        for (key, value) in items {
            let name = self.evaluate(key, scope)?;
            marked |= name.sensitive;
            let name = self.key(&name, key.span)?;
            let value = self.evaluate(value, scope)?;
            match name {
                Some(name) => fields.insert(name, value),
                None => return Ok(Value::unknown(Type::Any).marked(marked)),
            };
        }
        Ok(Value::object(fields).marked(marked))
    }

    /// A value as the key of an object; none when not known yet.
    fn key(&self, value: &Value, span: Span) -> Result<Option<String>, Fault> {
        if value.is_null() {
            return fault("NullKey", span, "a key must not be null");
        }
        Ok(self.convert(value, &Type::String, span)?.as_str().map(str::to_owned))
    }

    fn splat(&self, of: &Expr, each: &Expr, scope: &Scope<'_>) -> Result<Value, Fault> {
        let value = self.evaluate(of, scope)?;
        let items: Vec<Value> = match &value.data {
            Data::Unknown(_) => return Ok(Value::unknown(Type::Any).marked(value.sensitive)),
            Data::Null(_) => Vec::new(),
            Data::List(_, items) | Data::Set(_, items) | Data::Tuple(items) => items.to_vec(),
            _ => vec![value.clone()],
        };
        let results = items.into_iter().map(|item| self.evaluate(each, &scope.with_item(item)));
        let results: Vec<Value> = results.collect::<Result<_, _>>()?;
        let list = matches!(value.data, Data::List(..) | Data::Set(..));
        let result = match Type::unify(&results.iter().map(Value::ty).collect::<Vec<_>>()) {
            Some(element) if list && !element.has_any() => Value::list(element, results),
            _ => Value::tuple(results),
        };
        Ok(result.marked(value.sensitive))
    }

    /// Calls `visit` with the scope of each round of a loop; none when what is gone through is not known yet.
    fn rounds(
        &self,
        (key, name, collection): (Option<&str>, &str, &Expr),
        scope: &Scope<'_>,
        visit: &mut dyn FnMut(&Scope<'_>) -> Result<(), Fault>,
    ) -> Result<Option<bool>, Fault> {
        let value = self.evaluate(collection, scope)?;
        let mut round = |index: Value, item: &Value| {
            self.step(1, collection.span)?;
            let mut inner = scope.child();
            if let Some(key) = key {
                inner.set(key, index);
            }
            inner.set(name, item.clone().marked(value.sensitive));
            visit(&inner)
        };
        match &value.data {
            Data::Unknown(_) => return Ok(None),
            Data::Null(_) => return fault("NullCollection", collection.span, "`for` cannot go through null"),
            Data::List(_, items) | Data::Tuple(items) => {
                items.iter().enumerate().try_for_each(|(index, item)| round(index.into(), item))?;
            }
            Data::Set(_, items) => items.iter().try_for_each(|item| round(item.clone(), item))?,
            Data::Map(_, fields) | Data::Object(fields) => {
                fields.iter().try_for_each(|(name, item)| round(name.as_str().into(), item))?;
            }
            _ => {
                let message = format!(
                    "`for` goes through lists, sets, maps and objects, and this is a {}",
                    value.ty().friendly()
                );
                return fault("BadCollection", collection.span, message);
            }
        }
        Ok(Some(value.sensitive))
    }

    fn for_expression(&self, parts: &For, span: Span, scope: &Scope<'_>) -> Result<Value, Fault> {
        let mut list = Vec::new();
        let mut groups: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        let (mut unknown, mut marked) = (false, false);
        let names = (parts.key.as_deref(), parts.value.as_str(), &parts.collection);
        let known = self.rounds(names, scope, &mut |scope| {
            if let Some(condition) = &parts.condition {
                let test = self.evaluate(condition, scope)?;
                marked |= test.sensitive;
                match self.truth(&test, condition.span)? {
                    Some(true) => {}
                    Some(false) => return Ok(()),
                    None => {
                        unknown = true;
                        return Ok(());
                    }
                }
            }
            let Some(result_key) = &parts.result_key else {
                list.push(self.evaluate(&parts.result, scope)?);
                return Ok(());
            };
            let key = self.evaluate(result_key, scope)?;
            marked |= key.sensitive;
            let Some(name) = self.key(&key, result_key.span)? else {
                unknown = true;
                return Ok(());
            };
            let value = self.evaluate(&parts.result, scope)?;
            let group = groups.entry(name).or_default();
            if !group.is_empty() && !parts.group {
                let message = if key.sensitive { "two items have one key" } else { "two items have the key" };
                let shown = if key.sensitive { String::new() } else { format!(" {}", crate::console::quoted(&key)) };
                let diagnostic = Diagnostic::error("DuplicateKey", result_key.span, format!("{message}{shown}"));
                return Err(Box::new(
                    diagnostic.hint("write `...` behind the value to make a list of those with one key"),
                ));
            }
            group.push(value);
            Ok(())
        })?;
        let Some(sensitive) = known.filter(|_| !unknown) else { return Ok(Value::unknown(Type::Any).marked(marked)) };
        self.step(list.len(), span)?;
        let result = if parts.result_key.is_none() {
            Value::tuple(list)
        } else if parts.group {
            Value::object(groups.into_iter().map(|(name, items)| (name, Value::tuple(items))).collect())
        } else {
            Value::object(
                groups.into_iter().filter_map(|(name, items)| Some((name, items.into_iter().next()?))).collect(),
            )
        };
        Ok(result.marked(sensitive || marked))
    }
}

/// The message about a value of the wrong type.
pub(crate) fn mismatch(value: &Value, error: &ConvertError, span: Span) -> Fault {
    let message = if value.has_marks() {
        "a sensitive value has the wrong type; it is not shown".to_owned()
    } else {
        error.to_string()
    };
    Box::new(Diagnostic::error("WrongType", span, message))
}
