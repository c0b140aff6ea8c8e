//! Expressions → type constraints: `list(string)`, `object({a = optional(number, 1)})`.

use std::collections::BTreeMap;

use kiln_spec::diag::Diagnostic;

use crate::ast::{Expr, ExprKind};
use crate::convert::convert;
use crate::eval::{Evaluator, Fault};
use crate::scope::Scope;
use crate::types::{Field, Type};
use crate::world::Nowhere;

/// The type that `expr` names.
///
/// # Errors
/// When it names none.
pub fn constraint(expr: &Expr) -> Result<Type, Fault> {
    match &expr.kind {
        ExprKind::Paren(inner) => constraint(inner),
        ExprKind::Json(text, _) => {
            let inner = crate::parser::parse_expression(text);
            let at = |fault: Diagnostic| Box::new(Diagnostic { span: expr.span, ..fault });
            let inner = inner.map_err(|faults| at(faults.into_iter().next().unwrap_or_else(|| unknown(expr, text))))?;
            constraint(&inner).map_err(|fault| at(*fault))
        }
        ExprKind::Variable(name) => simple(expr, name),
        ExprKind::Call { name, arguments, expand: false, .. } => complex(expr, name, arguments),
        ExprKind::Literal(value) if value.as_str().is_some() => {
            let text = value.as_str().unwrap_or_default();
            let fault = Diagnostic::error("BadType", expr.span, "a type is written without quotes");
            Err(Box::new(fault.hint(format!("write `{text}`"))))
        }
        _ => Err(Box::new(unknown(expr, "this"))),
    }
}

fn simple(expr: &Expr, name: &str) -> Result<Type, Fault> {
    Ok(match name {
        "any" => Type::Any,
        "string" => Type::String,
        "number" => Type::Number,
        "bool" => Type::Bool,
        "list" => Type::list(Type::Any),
        "map" => Type::map(Type::Any),
        "set" | "object" | "tuple" => {
            let fault = Diagnostic::error("BadType", expr.span, format!("`{name}` needs the types of its elements"));
            return Err(Box::new(fault.hint(match name {
                "set" => "for example `set(string)`",
                "object" => "for example `object({name = string})`",
                _ => "for example `tuple([string, number])`",
            })));
        }
        other => return Err(Box::new(unknown(expr, other))),
    })
}

fn unknown(expr: &Expr, what: &str) -> Diagnostic {
    let known = ["any", "string", "number", "bool", "list", "map", "set", "object", "tuple"];
    let fault = Diagnostic::error("BadType", expr.span, format!("`{what}` is no type"));
    let fault = fault.note("types are string, number, bool, any, list(…), set(…), map(…), object({…}), tuple([…])");
    fault.suggest(what, known)
}

fn complex(expr: &Expr, name: &str, arguments: &[Expr]) -> Result<Type, Fault> {
    let [argument] = arguments else {
        return Err(Box::new(Diagnostic::error("BadType", expr.span, format!("`{name}` takes one argument"))));
    };
    match (name, &argument.kind) {
        ("list", _) => Ok(Type::list(constraint(argument)?)),
        ("set", _) => Ok(Type::set(constraint(argument)?)),
        ("map", _) => Ok(Type::map(constraint(argument)?)),
        ("tuple", ExprKind::Tuple(items)) => Ok(Type::Tuple(items.iter().map(constraint).collect::<Result<_, _>>()?)),
        ("object", ExprKind::Object(items)) => {
            let mut fields = BTreeMap::new();
            for (key, value) in items {
                let name = match &key.kind {
                    ExprKind::Literal(value) => value.as_str(),
                    _ => None,
                };
                let Some(name) = name else {
                    return Err(Box::new(Diagnostic::error(
                        "BadType",
                        key.span,
                        "the name of an attribute must be plain",
                    )));
                };
                fields.insert(name.to_owned(), field(value)?);
            }
            Ok(Type::Object(fields))
        }
        ("tuple" | "object", _) => {
            let wanted = if name == "tuple" {
                "a list of types: `[string, number]`"
            } else {
                "an object of types: `{a = string}`"
            };
            Err(Box::new(Diagnostic::error("BadType", argument.span, format!("`{name}` takes {wanted}"))))
        }
        ("optional", _) => {
            Err(Box::new(Diagnostic::error("BadType", expr.span, "`optional` is only for the attributes of objects")))
        }
        _ => Err(Box::new(unknown(expr, name))),
    }
}

fn field(expr: &Expr) -> Result<Field, Fault> {
    let ExprKind::Call { name, arguments, .. } = &expr.kind else { return Ok(Field::required(constraint(expr)?)) };
    if name != "optional" {
        return Ok(Field::required(constraint(expr)?));
    }
    match arguments.as_slice() {
        [ty] => Ok(Field { ty: constraint(ty)?, optional: true, default: None }),
        [ty, default] => {
            let ty = constraint(ty)?;
            let value = Evaluator::new(&Nowhere).evaluate(default, &Scope::default())?;
            let value = convert(&value, &ty).map_err(|error| {
                Box::new(Diagnostic::error(
                    "WrongType",
                    default.span,
                    format!("the default is of another type: {error}"),
                ))
            })?;
            Ok(Field { ty, optional: true, default: Some(value) })
        }
        _ => Err(Box::new(Diagnostic::error("BadType", expr.span, "`optional` takes a type and perhaps a default"))),
    }
}
