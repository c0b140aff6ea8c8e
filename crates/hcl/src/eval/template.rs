//! Templates.

use kiln_spec::source::Span;

use super::{Evaluator, Fault, MAX_SIZE, fault};
use crate::ast::Part;
use crate::scope::Scope;
use crate::types::Type;
use crate::value::Value;

/// A template's text so far.
#[derive(Default)]
struct Written {
    text: String,
    unknown: bool,
    marked: bool,
}

impl Evaluator<'_> {
    pub(super) fn template(&self, parts: &[Part], span: Span, scope: &Scope<'_>) -> Result<Value, Fault> {
        let mut written = Written::default();
        self.write(parts, span, scope, &mut written)?;
        let value = if written.unknown { Value::unknown(Type::String) } else { Value::from(written.text) };
        Ok(value.marked(written.marked))
    }

    fn write(&self, parts: &[Part], span: Span, scope: &Scope<'_>, to: &mut Written) -> Result<(), Fault> {
        for part in parts {
            let before = to.text.len();
            match part {
                Part::Text(text) => to.text.push_str(text),
                Part::Value(expr) => {
                    let value = self.evaluate(expr, scope)?;
                    to.marked |= value.has_marks();
                    if value.is_null() {
                        return fault("NullInTemplate", expr.span, "null cannot be part of a text");
                    }
                    let text = self.convert(&value, &Type::String, expr.span)?;
                    to.unknown |= text.is_unknown();
                    to.text.push_str(text.as_str().unwrap_or_default());
                }
                Part::If(condition, then, otherwise) => {
                    let test = self.evaluate(condition, scope)?;
                    to.marked |= test.sensitive;
                    match self.truth(&test, condition.span)? {
                        Some(true) => self.write(then, span, scope, to)?,
                        Some(false) => self.write(otherwise, span, scope, to)?,
                        None => to.unknown = true,
                    }
                }
                Part::For { key, value, collection, body } => {
                    let names = (key.as_deref(), value.as_str(), collection);
                    match self.rounds(names, scope, &mut |scope| self.write(body, span, scope, to))? {
                        Some(marked) => to.marked |= marked,
                        None => to.unknown = true,
                    }
                }
            }
            self.step(1 + to.text.len().saturating_sub(before) / 16, span)?;
            if to.text.len() > MAX_SIZE {
                return fault("TooLarge", span, format!("the text grows beyond {MAX_SIZE} bytes"));
            }
        }
        Ok(())
    }
}
