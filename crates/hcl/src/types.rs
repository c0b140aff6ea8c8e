//! Types of values, and constraints as variables declare them.

use std::collections::BTreeMap;
use std::fmt;

use crate::value::Value;

/// A type.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    /// Any: the type of a value that is not known yet.
    Any,
    /// Texts.
    String,
    /// Numbers.
    Number,
    /// True and false.
    Bool,
    /// Lists of one type.
    List(Box<Type>),
    /// Sets of one type.
    Set(Box<Type>),
    /// Maps to one type.
    Map(Box<Type>),
    /// Objects with these attributes.
    Object(BTreeMap<String, Field>),
    /// Tuples of these types.
    Tuple(Vec<Type>),
}

/// The type of an object's attribute.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Of its values.
    pub ty: Type,
    /// Whether it may be left out: `optional(…)`.
    pub optional: bool,
    /// What stands for it then; null when not given.
    pub default: Option<Value>,
}

impl Field {
    /// An attribute that must be there.
    pub fn required(ty: Type) -> Field {
        Field { ty, optional: false, default: None }
    }
}

impl Type {
    /// A list of `element`.
    pub fn list(element: Type) -> Type {
        Type::List(Box::new(element))
    }

    /// A set of `element`.
    pub fn set(element: Type) -> Type {
        Type::Set(Box::new(element))
    }

    /// A map to `element`.
    pub fn map(element: Type) -> Type {
        Type::Map(Box::new(element))
    }

    /// Whether it is a text, a number, or true or false.
    pub fn is_primitive(&self) -> bool {
        matches!(self, Type::String | Type::Number | Type::Bool)
    }

    /// Whether some part of it is not decided.
    pub fn has_any(&self) -> bool {
        match self {
            Type::Any => true,
            Type::String | Type::Number | Type::Bool => false,
            Type::List(element) | Type::Set(element) | Type::Map(element) => element.has_any(),
            Type::Object(fields) => fields.values().any(|field| field.ty.has_any()),
            Type::Tuple(types) => types.iter().any(Type::has_any),
        }
    }

    /// As messages call it: `list of string`, `object`.
    pub fn friendly(&self) -> String {
        match self {
            Type::Any => "any value".to_owned(),
            Type::String => "string".to_owned(),
            Type::Number => "number".to_owned(),
            Type::Bool => "bool".to_owned(),
            Type::List(element) => format!("list of {}", element.friendly()),
            Type::Set(element) => format!("set of {}", element.friendly()),
            Type::Map(element) => format!("map of {}", element.friendly()),
            Type::Object(_) => "object".to_owned(),
            Type::Tuple(_) => "tuple".to_owned(),
        }
    }

    /// The type to which values of all `types` convert: the same, text for a mix of primitives, collections by element.
    /// None when there is no such type.
    pub fn unify<'a>(types: impl IntoIterator<Item = &'a Type>) -> Option<Type> {
        let mut types = types.into_iter();
        let Some(first) = types.next() else { return Some(Type::Any) };
        types.try_fold(first.clone(), |common, ty| unify_two(&common, ty))
    }
}

fn unify_two(a: &Type, b: &Type) -> Option<Type> {
    use Type::{Any, List, Map, Object, Set, String, Tuple};
    Some(match (a, b) {
        (Any, other) | (other, Any) => other.clone(),
        (a, b) if a == b => a.clone(),
        (a, b) if a.is_primitive() && b.is_primitive() && (*a == String || *b == String) => String,
        (List(x), List(y)) | (List(x), Set(y)) | (Set(x), List(y)) => Type::list(unify_two(x, y)?),
        (Set(x), Set(y)) => Type::set(unify_two(x, y)?),
        (Map(x), Map(y)) => Type::map(unify_two(x, y)?),
        (Tuple(x), Tuple(y)) if x.len() == y.len() => {
            Tuple(x.iter().zip(y).map(|(x, y)| unify_two(x, y)).collect::<Option<_>>()?)
        }
        (Tuple(x), Tuple(y)) => Type::list(Type::unify(x.iter().chain(y))?),
        (Tuple(x), List(y)) | (List(y), Tuple(x)) => {
            Type::list(Type::unify(x.iter().chain(std::iter::once(y.as_ref())))?)
        }
        (Tuple(x), Set(y)) | (Set(y), Tuple(x)) => Type::set(Type::unify(x.iter().chain(std::iter::once(y.as_ref())))?),
        (Object(x), Object(y)) if x.keys().eq(y.keys()) => {
            let field = |(name, field): (&std::string::String, &Field)| {
                Some((name.clone(), Field::required(unify_two(&field.ty, &y.get(name)?.ty)?)))
            };
            Object(x.iter().map(field).collect::<Option<_>>()?)
        }
        (Object(x), Object(y)) => Type::map(Type::unify(x.values().chain(y.values()).map(|field| &field.ty))?),
        (Object(x), Map(y)) | (Map(y), Object(x)) => {
            Type::map(Type::unify(x.values().map(|field| &field.ty).chain(std::iter::once(y.as_ref())))?)
        }
        _ => return None,
    })
}

impl fmt::Display for Type {
    /// As a variable declares it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Any => f.write_str("any"),
            Type::String | Type::Number | Type::Bool => f.write_str(&self.friendly()),
            Type::List(element) => write!(f, "list({element})"),
            Type::Set(element) => write!(f, "set({element})"),
            Type::Map(element) => write!(f, "map({element})"),
            Type::Object(fields) => {
                f.write_str("object({")?;
                for (index, (name, field)) in fields.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    let ty = &field.ty;
                    if field.optional {
                        write!(f, "{comma}{name}=optional({ty})")?
                    } else {
                        write!(f, "{comma}{name}={ty}")?
                    }
                }
                f.write_str("})")
            }
            Type::Tuple(types) => {
                let types: Vec<String> = types.iter().map(ToString::to_string).collect();
                write!(f, "tuple([{}])", types.join(","))
            }
        }
    }
}
