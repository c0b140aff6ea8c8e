//! `eq`, `ne`, `lt`, `le`, `gt`, `ge`: only what is of one kind compares.

use std::cmp::Ordering;

use crate::error::Failure;
use crate::value::Value;

/// Both types of whole numbers are one when compared.
fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) | Value::Int64(number) => Some(*number),
        _ => None,
    }
}

fn different(a: &Value, b: &Value) -> Failure {
    Failure::new(format!("{} does not compare with {}", a.noun(), b.noun()))
}

/// Whether both are one value. Nothing equals only nothing.
fn equal(a: &Value, b: &Value) -> Result<bool, Failure> {
    if let (Some(a), Some(b)) = (whole(a), whole(b)) {
        return Ok(a == b);
    }
    match (a, b) {
        (Value::Nil, other) | (other, Value::Nil) => Ok(matches!(other, Value::Nil)),
        (Value::Bool(_), Value::Bool(_))
        | (Value::Float(_), Value::Float(_))
        | (Value::String(_), Value::String(_))
        | (Value::Object(_), Value::Object(_)) => Ok(a == b),
        (Value::List(_) | Value::Map(_) | Value::Function(_), _) if same_kind(a, b) => {
            Err(Failure::new(format!("two of {} cannot be compared", a.noun())))
        }
        _ => Err(different(a, b)),
    }
}

fn same_kind(a: &Value, b: &Value) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

fn order(a: &Value, b: &Value) -> Result<Option<Ordering>, Failure> {
    if let (Some(a), Some(b)) = (whole(a), whole(b)) {
        return Ok(Some(a.cmp(&b)));
    }
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => Ok(a.partial_cmp(b)),
        (Value::String(a), Value::String(b)) => Ok(Some(a.cmp(b))),
        _ if same_kind(a, b) => Err(Failure::new(format!("{} has no order", a.noun()))),
        _ => Err(different(a, b)),
    }
}

fn two<'v>(name: &str, arguments: &'v [Value]) -> Result<(&'v Value, &'v Value), Failure> {
    match arguments {
        [a, b] => Ok((a, b)),
        _ => Err(Failure::new(format!("`{name}` wants 2 arguments, not {}", arguments.len()))),
    }
}

/// Whether the first equals one of the others.
pub(crate) fn eq(arguments: &[Value]) -> Result<Value, Failure> {
    let Some((first, others)) = arguments.split_first().filter(|(_, others)| !others.is_empty()) else {
        return Err(Failure::new("`eq` wants 2 arguments or more"));
    };
    for other in others {
        if equal(first, other)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

pub(crate) fn ne(arguments: &[Value]) -> Result<Value, Failure> {
    let (a, b) = two("ne", arguments)?;
    equal(a, b).map(|same| Value::Bool(!same))
}

pub(crate) fn lt(arguments: &[Value]) -> Result<Value, Failure> {
    let (a, b) = two("lt", arguments)?;
    order(a, b).map(|order| Value::Bool(order == Some(Ordering::Less)))
}

pub(crate) fn le(arguments: &[Value]) -> Result<Value, Failure> {
    let (a, b) = two("le", arguments)?;
    order(a, b).map(|order| Value::Bool(matches!(order, Some(Ordering::Less | Ordering::Equal))))
}

pub(crate) fn gt(arguments: &[Value]) -> Result<Value, Failure> {
    le(arguments).map(|le| Value::Bool(!le.truth())).map_err(|failure| renamed(failure, "le", "gt"))
}

pub(crate) fn ge(arguments: &[Value]) -> Result<Value, Failure> {
    lt(arguments).map(|lt| Value::Bool(!lt.truth())).map_err(|failure| renamed(failure, "lt", "ge"))
}

fn renamed(mut failure: Failure, from: &str, to: &str) -> Failure {
    failure.message = failure.message.replace(&format!("`{from}`"), &format!("`{to}`"));
    failure
}
