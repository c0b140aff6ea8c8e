//! Calls of functions, among them those which look at expressions rather than values.

use std::collections::BTreeMap;

use kiln_spec::diag::Diagnostic;
use kiln_spec::source::Span;

use super::{Evaluator, Fault, MAX_SIZE, fault, mismatch};
use crate::ast::Expr;
use crate::functions::{self, FunctionError};
use crate::parser;
use crate::scope::Scope;
use crate::types::Type;
use crate::typing;
use crate::value::Value;

/// How deep files may include each other with `templatefile`.
const MAX_FILES: u32 = 8;

/// A call as written.
pub(super) struct Call<'e> {
    pub name: &'e str,
    pub name_span: Span,
    pub arguments: &'e [Expr],
    pub expand: bool,
    pub span: Span,
}

impl Evaluator<'_> {
    pub(super) fn call(&self, call: Call<'_>, scope: &Scope<'_>) -> Result<Value, Fault> {
        match call.name {
            "try" => return self.first_that_works(&call, scope),
            "can" => {
                let [only] = call.arguments else { return wrong_count(&call, "one argument") };
                return match self.evaluate(only, scope) {
                    Ok(value) if !value.is_wholly_known() => Ok(Value::unknown(Type::Bool)),
                    Ok(_) => Ok(true.into()),
                    Err(error) if error.code == "TooManySteps" => Err(error),
                    Err(_) => Ok(false.into()),
                };
            }
            "convert" => {
                let [value, ty] = call.arguments else { return wrong_count(&call, "a value and a type") };
                let ty = typing::constraint(ty)?;
                let value_of = self.evaluate(value, scope)?;
                return self.convert(&value_of, &ty, value.span);
            }
            _ => {}
        }
        let Some(function) = functions::find(call.name) else { return unknown(&call) };
        let (values, spans) = self.arguments(&call, scope)?;
        if !function.takes(values.len()) {
            return wrong_count(&call, &function.expected());
        }
        let marked = values.iter().any(Value::has_marks);
        if let Some(at) = values.iter().position(Value::is_null).filter(|_| !function.nulls) {
            return fault("NullArgument", spans[at], format!("this argument of `{}` must not be null", call.name));
        }
        if !values.iter().all(Value::is_wholly_known) {
            return Ok(Value::unknown(Type::Any).marked(marked));
        }
        let size: usize = values.iter().map(|value| value.size(MAX_SIZE)).sum();
        self.step(1 + size / 16, call.span)?;
        let result = if call.name == "templatefile" {
            self.template_file(&call, &values)?
        } else {
            (function.run)(&values, self.world).map_err(|error| failed(&call, &spans, error, marked))?
        };
        let size = result.size(MAX_SIZE);
        if size >= MAX_SIZE {
            return fault("TooLarge", call.span, format!("`{}` gives more than {MAX_SIZE} bytes", call.name));
        }
        self.step(size / 16, call.span)?;
        Ok(result.marked(marked))
    }

    /// The arguments' values and places, with the last one spread out where the call says so.
    fn arguments(&self, call: &Call<'_>, scope: &Scope<'_>) -> Result<(Vec<Value>, Vec<Span>), Fault> {
        let mut values = Vec::with_capacity(call.arguments.len());
        let mut spans = Vec::with_capacity(call.arguments.len());
        for (index, argument) in call.arguments.iter().enumerate() {
            let value = self.evaluate(argument, scope)?;
            if !(call.expand && index + 1 == call.arguments.len()) {
                values.push(value);
                spans.push(argument.span);
                continue;
            }
            if value.is_unknown() {
                values.push(value);
                spans.push(argument.span);
                continue;
            }
            let Some(items) = value.items() else {
                return fault("BadExpansion", argument.span, "what is before `...` must be a list, a set or a tuple");
            };
            self.step(items.len(), argument.span)?;
            values.extend(items.iter().map(|item| item.clone().marked(value.sensitive)));
            spans.extend(items.iter().map(|_| argument.span));
        }
        Ok((values, spans))
    }

    fn first_that_works(&self, call: &Call<'_>, scope: &Scope<'_>) -> Result<Value, Fault> {
        let mut reasons = Vec::new();
        for argument in call.arguments {
            match self.evaluate(argument, scope) {
                Ok(value) => return Ok(value),
                Err(error) if error.code == "TooManySteps" => return Err(error),
                Err(error) => reasons.push(error.message.clone()),
            }
        }
        if reasons.is_empty() {
            return wrong_count(call, "at least one argument");
        }
        let diagnostic = Diagnostic::error("NothingWorked", call.span, "no argument of `try` has a value");
        Err(Box::new(reasons.into_iter().fold(diagnostic, Diagnostic::note)))
    }

    /// The text of a file evaluated as a template, with the fields of an object as its variables.
    fn template_file(&self, call: &Call<'_>, values: &[Value]) -> Result<Value, Fault> {
        let path = functions::text(values, 0).map_err(|error| failed(call, &[], error, false))?;
        let Some(fields) = values[1].fields() else {
            return fault("WrongType", call.span, "the second argument of `templatefile` is an object of variables");
        };
        if self.files.get() >= MAX_FILES {
            return fault("TooDeep", call.span, format!("more than {MAX_FILES} templates include each other"));
        }
        let text = functions::read_text(self.world, &path).map_err(|error| failed(call, &[], error, false))?;
        let scope =
            Scope::new(fields.iter().map(|(name, value)| (name.clone(), value.clone())).collect::<BTreeMap<_, _>>());
        // The places in that file are told by line, because the caret can only be in this one.
        let inside = |fault: &Diagnostic| {
            let line = text[..text.floor_char_boundary(fault.span.start)].matches('\n').count() + 1;
            let message = format!("the template `{path}` cannot be rendered: line {line}: {}", fault.message);
            Box::new(Diagnostic::error("BadTemplateFile", call.span, message))
        };
        let template = parser::parse_template(&text).map_err(|faults| inside(&faults[0]))?;
        self.files.set(self.files.get() + 1);
        let result = self.evaluate(&template, &scope);
        self.files.set(self.files.get() - 1);
        result.map_err(|fault| inside(&fault))
    }
}

fn failed(call: &Call<'_>, spans: &[Span], error: FunctionError, marked: bool) -> Fault {
    let (span, reason) = match error {
        FunctionError::Argument { index, reason } => (spans.get(index).copied().unwrap_or(call.span), reason),
        FunctionError::Convert { index, reason, value } => {
            return mismatch(&value, &reason, spans.get(index).copied().unwrap_or(call.span));
        }
        FunctionError::Call { reason } => (call.span, reason),
    };
    let reason = if marked { "a sensitive argument is not fit for it".to_owned() } else { reason };
    Box::new(Diagnostic::error("FunctionFailed", span, format!("`{}` failed: {reason}", call.name)))
}

fn wrong_count<T>(call: &Call<'_>, wanted: &str) -> Result<T, Fault> {
    fault("WrongArguments", call.span, format!("`{}` takes {wanted}, not {}", call.name, call.arguments.len()))
}

fn unknown<T>(call: &Call<'_>) -> Result<T, Fault> {
    let diagnostic =
        Diagnostic::error("UnknownFunction", call.name_span, format!("there is no function `{}`", call.name));
    let elsewhere = match call.name {
        "tostring" => Some("write `convert(…, string)`"),
        "tonumber" => Some("write `convert(…, number)`"),
        "tobool" => Some("write `convert(…, bool)`"),
        "tolist" => Some("write `convert(…, list(any))`"),
        "toset" => Some("write `convert(…, set(any))`"),
        "tomap" => Some("write `convert(…, map(any))`"),
        "env" => Some("`env` is only for the defaults of variables; or set the variable with `PKR_VAR_…`"),
        _ => None,
    };
    Err(Box::new(match elsewhere {
        Some(hint) => diagnostic.hint(hint),
        None => diagnostic.suggest(call.name, functions::names()),
    }))
}
