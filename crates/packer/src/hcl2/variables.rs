//! Variables: their declarations, and where their values come from.
//!
//! | from | wins over | of a name nobody declares |
//! |---|---|---|
//! | `default` | nothing | |
//! | `PKR_VAR_name` | the default | is ignored: the environment is shared |
//! | `*.auto.pkrvars.hcl`, in the order of names | the environment | a warning |
//! | `-var-file` | those | a warning |
//! | `-var` | everything | an error |

use std::collections::BTreeMap;
use std::sync::Arc;

use kiln_hcl::ast::{Expr, ExprKind};
use kiln_hcl::convert::convert;
use kiln_hcl::json_syntax::ATTRIBUTES;
use kiln_hcl::parser;
use kiln_hcl::scope::Scope;
use kiln_hcl::types::Type;
use kiln_hcl::typing;
use kiln_hcl::value::Value;
use kiln_spec::source::{Source, Span};

use super::SharedWorld;
use super::files::{self, Files};
use super::project::{Found, evaluate};
use crate::fault::{Fault, Place};
use crate::hidden;
use crate::world::Given;

/// A variable.
#[derive(Debug, Clone)]
pub(super) struct Declared {
    pub name: String,
    pub description: Option<String>,
    pub default: Option<Value>,
    pub value: Option<Value>,
    pub sensitive: bool,
    ty: Option<Type>,
    place: Place,
    validations: Vec<Found>,
}

type Faults<'f> = (&'f mut Vec<Fault>, &'f mut Vec<Fault>);

/// Reads declarations and values.
pub(super) fn read(
    blocks: &[Found],
    from: &Files,
    given: &Given,
    world: &SharedWorld,
    all: Faults<'_>,
) -> Vec<Declared> {
    let (faults, warnings) = all;
    let mut variables: Vec<Declared> = Vec::new();
    for block in blocks {
        let declared = if block.block.kind == "variable" {
            declaration(block, world, faults).into_iter().collect()
        } else {
            shorthand(block, world, faults)
        };
        for one in declared {
            match variables.iter().find(|other| other.name == one.name) {
                Some(first) => faults.push(
                    one.place
                        .error("DuplicateVariable", format!("the variable `{}` is declared twice", one.name))
                        .note(format!("first at {}", first.place)),
                ),
                None => variables.push(one),
            }
        }
    }
    let before = faults.len();
    assign(&mut variables, from, given, world, (faults, warnings));
    if variables.iter().any(|one| one.sensitive) {
        let names: Vec<&str> = variables.iter().map(|one| one.name.as_str()).collect();
        let files: Vec<Arc<Source>> = from.variables.iter().chain(&given.var_files).cloned().collect();
        hidden::hide(faults, &files, &names);
        hidden::hide(warnings, &files, &names);
    }
    let complete = faults.len() == before;
    if given.unknown {
        let unset = variables.iter_mut().filter(|one| one.value.is_none());
        unset.for_each(|one| one.value = Some(Value::unknown(one.ty.clone().unwrap_or(Type::Any))));
    }
    for one in &variables {
        if complete && one.value.is_none() {
            let fault = one.place.error("UnsetVariable", format!("the variable `{}` has no value", one.name));
            let hint =
                format!("give it with `-var {0}=…`, in a `-var-file`, as PKR_VAR_{0}, or with a `default`", one.name);
            let fault = fault.hint(hint);
            faults.push(fault);
        }
    }
    if faults.len() == before {
        variables.iter().for_each(|one| validate(one, world, faults));
    }
    variables.sort_by(|a, b| a.name.cmp(&b.name));
    variables
}

/// The value of an expression that refers to nothing: texts of JSON are no templates there.
fn constant_value(expr: &Expr, world: &SharedWorld, source: &Arc<Source>) -> Result<Value, Fault> {
    literal(expr).map_or_else(|| evaluate(world, expr, &Scope::default(), source), Ok)
}

/// What was written in JSON, as it is; none for what was not.
fn literal(expr: &Expr) -> Option<Value> {
    match &expr.kind {
        ExprKind::Literal(value) => Some(value.clone()),
        ExprKind::Json(text, _) => Some(text.as_str().into()),
        ExprKind::Tuple(items) => Some(Value::tuple(items.iter().map(literal).collect::<Option<_>>()?)),
        ExprKind::Object(items) => {
            let pair = |(key, value): &(Expr, Expr)| Some((literal(key)?.as_str()?.to_owned(), literal(value)?));
            Some(Value::object(items.iter().map(pair).collect::<Option<_>>()?))
        }
        _ => None,
    }
}

/// The value of an attribute that refers to nothing, as `ty`.
fn constant(found: &Found, world: &SharedWorld, name: &str, ty: &Type, faults: &mut Vec<Fault>) -> Option<Value> {
    let expr = &found.attribute(name)?.expr;
    let value = constant_value(expr, world, &found.source);
    let value = value.and_then(|value| {
        convert(&value, ty).map_err(|error| {
            let fault =
                found.place(expr.span).error("WrongType", format!("`{name}` is not of the right type: {error}"));
            fault.hint(format!("the type is `{ty}`"))
        })
    });
    value.map_err(|fault| faults.push(fault)).ok()
}

fn declaration(found: &Found, world: &SharedWorld, faults: &mut Vec<Fault>) -> Option<Declared> {
    let [name] = found.labels::<1>().map_err(|fault| faults.push(fault)).ok()?;
    found.only(&["type", "default", "description", "sensitive"], &["validation"], faults);
    let description =
        constant(found, world, "description", &Type::String, faults).and_then(|text| text.as_str().map(str::to_owned));
    let sensitive =
        constant(found, world, "sensitive", &Type::Bool, faults).and_then(|flag| flag.as_bool()).unwrap_or(false);
    let ty = found.attribute("type").map(|attribute| typing::constraint(&attribute.expr));
    let ty = match ty {
        Some(Err(diagnostic)) => {
            faults.push(Fault { source: Arc::clone(&found.source), diagnostic });
            return None;
        }
        Some(Ok(ty)) => Some(ty),
        None => None,
    };
    let default = constant(found, world, "default", ty.as_ref().unwrap_or(&Type::Any), faults);
    let ty = ty.or_else(|| default.as_ref().map(Value::ty));
    Some(Declared {
        name: name.to_owned(),
        description,
        value: default.clone(),
        default,
        sensitive,
        ty,
        place: found.header(),
        validations: found.inner("validation"),
    })
}

/// `variables { name = default }`.
fn shorthand(found: &Found, world: &SharedWorld, faults: &mut Vec<Fault>) -> Vec<Declared> {
    let names: Vec<&str> = found.block.body.attributes.iter().map(|attribute| attribute.name.as_str()).collect();
    found.only(&names, &[], faults);
    let mut all = Vec::new();
    for attribute in &found.block.body.attributes {
        match constant_value(&attribute.expr, world, &found.source) {
            Ok(value) => all.push(Declared {
                name: attribute.name.clone(),
                description: None,
                ty: Some(value.ty()),
                value: Some(value.clone()),
                default: Some(value),
                sensitive: false,
                place: found.place(attribute.name_span),
                validations: Vec::new(),
            }),
            Err(fault) => faults.push(fault),
        }
    }
    all
}

fn assign(variables: &mut [Declared], from: &Files, given: &Given, world: &SharedWorld, all: Faults<'_>) {
    let (faults, warnings) = all;
    for one in variables.iter_mut() {
        let name = format!("PKR_VAR_{}", one.name);
        if let Some(text) = world.env(&name) {
            set_text(one, &name, &text, world, faults);
        }
    }
    for file in from.variables.iter().chain(&given.var_files) {
        let body = files::parse(file, &ATTRIBUTES, faults);
        for block in &body.blocks {
            let fault = Place::new(file, block.kind_span).error("UnknownBlock", "a file of variables has no blocks");
            faults.push(fault.hint("declare variables in a `*.pkr.hcl`, and set them here with `name = value`"));
        }
        for attribute in &body.attributes {
            let place = Place::new(file, attribute.name_span);
            let Some(one) = variables.iter_mut().find(|one| one.name == attribute.name) else {
                let fault =
                    place.warning("UndeclaredVariable", format!("nobody declares a variable `{}`", attribute.name));
                warnings.push(fault.suggest(&attribute.name, variables.iter().map(|one| one.name.as_str())));
                continue;
            };
            let value = constant_value(&attribute.expr, world, file);
            match value {
                Ok(value) => set(one, value, &Place::new(file, attribute.expr.span), faults),
                Err(fault) => faults.push(fault),
            }
        }
    }
    for (name, text) in &given.vars {
        if let Some(one) = variables.iter_mut().find(|one| one.name == *name) {
            set_text(one, &format!("-var {name}"), text, world, faults);
            continue;
        }
        let source = Arc::new(Source { name: format!("-var {name}"), text: format!("{name}=…") });
        let fault = Place::new(&source, Span::new(0, name.len()))
            .error("UndeclaredVariable", format!("nobody declares a variable `{name}`"));
        let fault = fault.suggest(name, variables.iter().map(|one| one.name.as_str()));
        faults.push(if fault.diagnostic.hint.is_none() {
            fault.hint(format!("declare it: `variable \"{name}\" {{}}`"))
        } else {
            fault
        });
    }
}

/// Sets a variable from the environment or the command line: a text is meant as it is, other types are expressions.
fn set_text(one: &mut Declared, origin: &str, text: &str, world: &SharedWorld, faults: &mut Vec<Fault>) {
    // A secret must not be seen in a message.
    let shown = if one.sensitive { "<sensitive>" } else { text };
    let source = Arc::new(Source { name: origin.to_owned(), text: shown.to_owned() });
    let place = Place::new(&source, Span::new(0, shown.len()));
    if matches!(one.ty, None | Some(Type::Any | Type::String | Type::Number)) {
        return set(one, text.into(), &place, faults);
    }
    let parsed = parser::parse_expression(text);
    let value = match parsed {
        Ok(expr) => evaluate(world, &expr, &Scope::default(), &source),
        Err(wrong) => Err(Fault {
            source: Arc::clone(&source),
            diagnostic: wrong
                .into_iter()
                .next()
                .map_or_else(|| place.error("BadValue", "it is no expression").diagnostic, Box::new),
        }),
    };
    match value {
        Ok(value) => set(one, value, &place, faults),
        Err(_) if one.sensitive => {
            faults.push(
                place.error("BadValue", format!("the value of `{}` is no expression; it is not shown", one.name)),
            );
        }
        Err(fault) => faults
            .push(fault.note(format!("the type of `{}` is not string, so that its value is an expression", one.name))),
    }
}

fn set(one: &mut Declared, value: Value, place: &Place, faults: &mut Vec<Fault>) {
    match convert(&value, one.ty.as_ref().unwrap_or(&Type::Any)) {
        Ok(value) => one.value = Some(value),
        Err(_) if one.sensitive => {
            faults.push(
                place.error("WrongType", format!("the value of `{}` is not of its type; it is not shown", one.name)),
            );
        }
        Err(error) => {
            let fault = place.error("WrongType", format!("the value of `{}` is not of its type: {error}", one.name));
            faults.push(fault.note(format!("it is declared at {}", one.place)));
        }
    }
}

impl Declared {
    /// The value with its mark.
    fn marked(&self) -> Option<Value> {
        Some(self.value.clone()?.marked(self.sensitive))
    }
}

fn validate(one: &Declared, world: &SharedWorld, faults: &mut Vec<Fault>) {
    let Some(value) = one.marked().filter(Value::is_wholly_known) else { return };
    let scope =
        Scope::new(BTreeMap::from([("var".to_owned(), Value::object(BTreeMap::from([(one.name.clone(), value)])))]));
    for found in &one.validations {
        found.only(&["condition", "error_message"], &[], faults);
        let (Some(condition), Some(message)) = (found.attribute("condition"), found.attribute("error_message")) else {
            faults.push(found.header().error("BadValidation", "a validation has a `condition` and an `error_message`"));
            continue;
        };
        let test = evaluate(world, &condition.expr, &scope, &found.source);
        let message = evaluate(world, &message.expr, &scope, &found.source);
        match (test, message) {
            (Ok(test), Ok(message)) => match convert(&test, &Type::Bool).ok().and_then(|test| test.as_bool()) {
                Some(true) => {}
                Some(false) => {
                    let said = message.as_str().filter(|_| !message.sensitive).unwrap_or("its condition is not met");
                    let fault =
                        one.place.error("InvalidVariable", format!("the value of `{}` is not valid: {said}", one.name));
                    faults.push(fault.note(format!("the condition is at {}", found.place(condition.expr.span))));
                }
                None => faults
                    .push(found.place(condition.expr.span).error("WrongType", "a condition must be true or false")),
            },
            (test, message) => faults.extend(test.err().into_iter().chain(message.err())),
        }
    }
}

/// Marks the values of sensitive variables.
pub(super) fn mark(variables: &mut [Declared]) {
    for one in variables {
        one.value = one.marked();
    }
}
