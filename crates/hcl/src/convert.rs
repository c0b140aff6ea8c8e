//! Conversion of values to types, by the rules of HCL.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::number::Number;
use crate::types::{Field, Type};
use crate::value::{Data, Value};

/// Why a value cannot be converted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// It is of another kind.
    #[error("{wanted} required, not {found}")]
    Kind {
        /// The type wanted.
        wanted: String,
        /// What the value is.
        found: String,
    },
    /// A text that is no number.
    #[error("a number is required, and `{0}` is none")]
    NotANumber(String),
    /// A text that is neither `true` nor `false`.
    #[error("a bool is required, and `{0}` is neither `true` nor `false`")]
    NotABool(String),
    /// An object lacks attributes.
    #[error("attribute `{0}` is required")]
    Missing(String),
    /// Elements have no type in common.
    #[error("all elements must have the same type")]
    Mixed,
    /// Something inside of it.
    #[error("{at}: {reason}")]
    Inside {
        /// Which element.
        at: String,
        /// Why.
        reason: Box<ConvertError>,
    },
}

/// `value` as a value of type `ty`.
///
/// # Errors
/// When it is none and cannot be made one.
pub fn convert(value: &Value, ty: &Type) -> Result<Value, ConvertError> {
    let data = match (&value.data, ty) {
        (_, Type::Any) => return Ok(value.clone()),
        (Data::Null(_), ty) => Data::Null(ty.clone()),
        (Data::Unknown(have), ty) => unknown(have, ty)?,
        (Data::String(_), Type::String) | (Data::Number(_), Type::Number) | (Data::Bool(_), Type::Bool) => {
            return Ok(value.clone());
        }
        (Data::Number(number), Type::String) => Data::String(number.to_string().into()),
        (Data::Bool(flag), Type::String) => Data::String(flag.to_string().into()),
        (Data::String(text), Type::Number) => {
            Data::Number(Number::parse(text).ok_or_else(|| ConvertError::NotANumber(text.to_string()))?)
        }
        (Data::String(text), Type::Bool) => Data::Bool(bool_of(text)?),
        (Data::List(_, items) | Data::Set(_, items) | Data::Tuple(items), Type::List(element)) => {
            let (element, items) = elements(items, element)?;
            Data::List(element, Arc::new(items))
        }
        (Data::List(_, items) | Data::Set(_, items) | Data::Tuple(items), Type::Set(element)) => {
            let (element, items) = elements(items, element)?;
            Value::set(element, items).data
        }
        (Data::Map(_, fields) | Data::Object(fields), Type::Map(element)) => {
            let items: Vec<Value> = fields.values().cloned().collect();
            let names: Vec<&String> = fields.keys().collect();
            let (element, items) = elements_at(&items, element, |index| format!("element \"{}\"", names[index]))?;
            Data::Map(element, Arc::new(fields.keys().cloned().zip(items).collect()))
        }
        (Data::Map(_, fields) | Data::Object(fields), Type::Object(wanted)) => {
            Data::Object(Arc::new(object(fields, wanted)?))
        }
        (Data::Tuple(items) | Data::List(_, items), Type::Tuple(types)) if items.len() == types.len() => {
            let item = |(index, (item, ty)): (usize, (&Value, &Type))| {
                convert(item, ty).map_err(|reason| inside(format!("element {index}"), reason))
            };
            Data::Tuple(Arc::new(items.iter().zip(types).enumerate().map(item).collect::<Result<_, _>>()?))
        }
        _ => return Err(kind(&value.ty(), ty)),
    };
    Ok(Value { data, sensitive: value.sensitive })
}

fn kind(found: &Type, wanted: &Type) -> ConvertError {
    ConvertError::Kind { wanted: wanted.friendly(), found: found.friendly() }
}

fn inside(at: String, reason: ConvertError) -> ConvertError {
    ConvertError::Inside { at, reason: Box::new(reason) }
}

fn bool_of(text: &str) -> Result<bool, ConvertError> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(ConvertError::NotABool(text.to_owned())),
    }
}

/// Whether what is known later could be converted.
fn unknown(have: &Type, ty: &Type) -> Result<Data, ConvertError> {
    let fits = match (have, ty) {
        (Type::Any, _) => true,
        (have, ty) if have.is_primitive() && ty.is_primitive() => {
            !matches!((have, ty), (Type::Number, Type::Bool) | (Type::Bool, Type::Number))
        }
        (have, ty) => have.is_primitive() == ty.is_primitive(),
    };
    if fits { Ok(Data::Unknown(ty.clone())) } else { Err(kind(have, ty)) }
}

fn elements(items: &[Value], element: &Type) -> Result<(Type, Vec<Value>), ConvertError> {
    elements_at(items, element, |index| format!("element {index}"))
}

/// `items` converted to `element`, or to the type they have in common when that is left open.
fn elements_at(
    items: &[Value],
    element: &Type,
    at: impl Fn(usize) -> String,
) -> Result<(Type, Vec<Value>), ConvertError> {
    let element = if *element == Type::Any {
        let types: Vec<Type> = items.iter().map(Value::ty).collect();
        Type::unify(&types).ok_or(ConvertError::Mixed)?
    } else {
        element.clone()
    };
    let item = |(index, item)| convert(item, &element).map_err(|reason| inside(at(index), reason));
    let items: Vec<Value> = items.iter().enumerate().map(item).collect::<Result<_, _>>()?;
    let exact = if element.has_any() {
        let types: Vec<Type> = items.iter().map(Value::ty).collect();
        Type::unify(&types).unwrap_or(element)
    } else {
        element
    };
    Ok((exact, items))
}

fn object(
    have: &BTreeMap<String, Value>,
    wanted: &BTreeMap<String, Field>,
) -> Result<BTreeMap<String, Value>, ConvertError> {
    let mut fields = BTreeMap::new();
    for (name, field) in wanted {
        let value = match have.get(name) {
            Some(value) if !(value.is_null() && field.default.is_some()) => {
                convert(value, &field.ty).map_err(|reason| inside(format!("attribute \"{name}\""), reason))?
            }
            Some(_) | None if field.optional => match &field.default {
                Some(default) => default.clone(),
                None => Data::Null(field.ty.clone()).into(),
            },
            _ => return Err(ConvertError::Missing(name.clone())),
        };
        fields.insert(name.clone(), value);
    }
    Ok(fields)
}

/// Both values in the type they have in common; none when there is no such type.
pub fn together(values: &[Value]) -> Option<(Type, Vec<Value>)> {
    let types: Vec<Type> = values.iter().map(Value::ty).collect();
    let common = Type::unify(&types)?;
    let converted = values.iter().map(|value| convert(value, &common).ok()).collect::<Option<_>>()?;
    Some((common, converted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn converts_as_hcl_does() {
        assert_eq!(convert(&"12.50".into(), &Type::Number).unwrap(), Number::parse("12.5").unwrap().into());
        assert_eq!(convert(&Value::from(5_i64), &Type::String).unwrap(), "5".into());
        assert_eq!(convert(&"true".into(), &Type::Bool).unwrap(), true.into());
        assert!(convert(&"yes".into(), &Type::Bool).is_err());
        let tuple = Value::tuple(vec![1_i64.into(), "x".into(), true.into()]);
        assert_eq!(convert(&tuple, &Type::list(Type::Any)).unwrap(), Value::strings(["1", "x", "true"]));
        assert_eq!(
            convert(&tuple, &Type::list(Type::Number)).unwrap_err().to_string(),
            "element 1: a number is required, and `x` is none"
        );
    }

    #[test]
    fn fills_in_optional_attributes() {
        let field = |optional, default| Field { ty: Type::Number, optional, default };
        let wanted = Type::Object(BTreeMap::from([
            ("a".to_owned(), field(false, None)),
            ("b".to_owned(), field(true, Some(7_i64.into()))),
        ]));
        let have = Value::object(BTreeMap::from([("a".to_owned(), "1".into()), ("z".to_owned(), "?".into())]));
        let want = Value::object(BTreeMap::from([("a".to_owned(), 1_i64.into()), ("b".to_owned(), 7_i64.into())]));
        assert_eq!(convert(&have, &wanted).unwrap(), want);
        let empty = Value::object(BTreeMap::new());
        assert_eq!(convert(&empty, &wanted).unwrap_err(), ConvertError::Missing("a".to_owned()));
    }
}
