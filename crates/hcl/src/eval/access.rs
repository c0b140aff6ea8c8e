//! Attributes and indexes.

use kiln_spec::diag::Diagnostic;
use kiln_spec::source::Span;

use super::{Fault, fault};
use crate::convert::convert;
use crate::types::Type;
use crate::value::{Data, Value};

/// The attribute `name` of `value`; `path` is how the value is written, if that is plain.
pub(super) fn attribute(value: &Value, name: &str, span: Span, path: Option<Vec<&str>>) -> Result<Value, Fault> {
    match &value.data {
        Data::Unknown(_) => Ok(Value::unknown(Type::Any).marked(value.sensitive)),
        Data::Null(_) => fault("NullValue", span, format!("null has no attribute `{name}`")),
        Data::Map(_, fields) | Data::Object(fields) => match fields.get(name) {
            Some(field) => Ok(field.clone().marked(value.sensitive)),
            None => {
                let of = path
                    .map_or_else(|| format!("this {}", value.ty().friendly()), |path| format!("`{}`", path.join(".")));
                let diagnostic = Diagnostic::error("UnknownAttribute", span, format!("{of} has no attribute `{name}`"));
                Err(Box::new(diagnostic.suggest(name, fields.keys().map(String::as_str))))
            }
        },
        _ => fault("NoAttributes", span, format!("a {} has no attributes", value.ty().friendly())),
    }
}

/// The element of `value` at `key`, which stands at `span`.
pub(super) fn index(value: &Value, key: &Value, span: Span) -> Result<Value, Fault> {
    let marked = value.sensitive || key.sensitive;
    if key.is_null() {
        return fault("NullKey", span, "an index must not be null");
    }
    match &value.data {
        Data::Unknown(_) => Ok(Value::unknown(Type::Any).marked(marked)),
        Data::Null(_) => fault("NullValue", span, "null has no elements"),
        _ if key.is_unknown() => Ok(Value::unknown(Type::Any).marked(marked)),
        Data::List(_, items) | Data::Tuple(items) => {
            let number = convert(key, &Type::Number).ok().and_then(|key| key.as_number().cloned());
            let Some(number) = number else { return fault("BadIndex", span, "an index is a whole number") };
            match number.to_usize().and_then(|at| items.get(at)) {
                Some(item) => Ok(item.clone().marked(marked)),
                None if key.sensitive => fault("OutOfRange", span, "there is no element with this index"),
                None => fault("OutOfRange", span, format!("there is no element {number}: there are {}", items.len())),
            }
        }
        Data::Map(_, fields) | Data::Object(fields) => {
            let name = convert(key, &Type::String).ok();
            let Some(name) = name.as_ref().and_then(Value::as_str) else {
                return fault("BadIndex", span, "a key is a text");
            };
            match fields.get(name) {
                Some(item) => Ok(item.clone().marked(marked)),
                None if key.sensitive => fault("OutOfRange", span, "there is no element with this key"),
                None => {
                    let diagnostic = Diagnostic::error("OutOfRange", span, format!("there is no element `{name}`"));
                    Err(Box::new(diagnostic.suggest(name, fields.keys().map(String::as_str))))
                }
            }
        }
        Data::Set(..) => fault("BadIndex", span, "the elements of a set have no index"),
        _ => fault("BadIndex", span, format!("a {} has no elements", value.ty().friendly())),
    }
}
