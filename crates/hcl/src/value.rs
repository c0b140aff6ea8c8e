//! Values: what expressions give.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::number::Number;
use crate::types::{Field, Type};

/// A value, and whether it must not be shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// The value.
    pub data: Data,
    /// Whether it, or what it was made from, is marked sensitive.
    pub sensitive: bool,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// No value of a type.
    Null(Type),
    /// A value of a type that is known later.
    Unknown(Type),
    /// True or false.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text.
    String(Arc<str>),
    /// Values of one type, in order.
    List(Type, Arc<Vec<Value>>),
    /// Values of one type, each once, in the order of [`Value::order`].
    Set(Type, Arc<Vec<Value>>),
    /// Values of one type by name.
    Map(Type, Arc<BTreeMap<String, Value>>),
    /// Values in order, each with its own type.
    Tuple(Arc<Vec<Value>>),
    /// Values by name, each with its own type.
    Object(Arc<BTreeMap<String, Value>>),
}

impl From<Data> for Value {
    fn from(data: Data) -> Value {
        Value { data, sensitive: false }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Data::Bool(value).into()
    }
}

impl From<Number> for Value {
    fn from(value: Number) -> Value {
        Data::Number(value).into()
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Value {
        Data::Number(Number::from(value)).into()
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Value {
        Data::Number(Number::from(value)).into()
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Value {
        Data::String(value.into()).into()
    }
}

impl From<String> for Value {
    fn from(value: String) -> Value {
        Data::String(value.into()).into()
    }
}

impl Value {
    /// Null of no particular type.
    pub fn null() -> Value {
        Data::Null(Type::Any).into()
    }

    /// A value that is known later.
    pub fn unknown(ty: Type) -> Value {
        Data::Unknown(ty).into()
    }

    /// A tuple.
    pub fn tuple(items: Vec<Value>) -> Value {
        Data::Tuple(Arc::new(items)).into()
    }

    /// An object.
    pub fn object(fields: BTreeMap<String, Value>) -> Value {
        Data::Object(Arc::new(fields)).into()
    }

    /// A list; the items must be of type `element`.
    pub fn list(element: Type, items: Vec<Value>) -> Value {
        Data::List(element, Arc::new(items)).into()
    }

    /// A list of texts.
    pub fn strings(items: impl IntoIterator<Item = impl Into<String>>) -> Value {
        Value::list(Type::String, items.into_iter().map(|item| Value::from(item.into())).collect())
    }

    /// A map; the values must be of type `element`.
    pub fn map(element: Type, values: BTreeMap<String, Value>) -> Value {
        Data::Map(element, Arc::new(values)).into()
    }

    /// A set of items of type `element`; doubles are dropped.
    pub fn set(element: Type, mut items: Vec<Value>) -> Value {
        items.sort_by(Value::order);
        items.dedup_by(|a, b| a.order(b) == Ordering::Equal);
        Data::Set(element, Arc::new(items)).into()
    }

    /// The same, sensitive if `mark`.
    #[must_use]
    pub fn marked(mut self, mark: bool) -> Value {
        self.sensitive |= mark;
        self
    }

    /// Its type.
    pub fn ty(&self) -> Type {
        match &self.data {
            Data::Null(ty) | Data::Unknown(ty) => ty.clone(),
            Data::Bool(_) => Type::Bool,
            Data::Number(_) => Type::Number,
            Data::String(_) => Type::String,
            Data::List(element, _) => Type::list(element.clone()),
            Data::Set(element, _) => Type::set(element.clone()),
            Data::Map(element, _) => Type::map(element.clone()),
            Data::Tuple(items) => Type::Tuple(items.iter().map(Value::ty).collect()),
            Data::Object(fields) => {
                Type::Object(fields.iter().map(|(name, value)| (name.clone(), Field::required(value.ty()))).collect())
            }
        }
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        matches!(self.data, Data::Null(_))
    }

    /// Whether it itself is not known yet.
    pub fn is_unknown(&self) -> bool {
        matches!(self.data, Data::Unknown(_))
    }

    /// Whether it and all in it is known.
    pub fn is_wholly_known(&self) -> bool {
        !self.is_unknown() && self.children().all(Value::is_wholly_known)
    }

    /// Whether it or anything in it is sensitive.
    pub fn has_marks(&self) -> bool {
        self.sensitive || self.children().any(Value::has_marks)
    }

    /// Its elements, whatever kind of collection it is; none for anything else.
    pub fn children(&self) -> Box<dyn Iterator<Item = &Value> + '_> {
        match &self.data {
            Data::List(_, items) | Data::Set(_, items) | Data::Tuple(items) => Box::new(items.iter()),
            Data::Map(_, fields) | Data::Object(fields) => Box::new(fields.values()),
            _ => Box::new(std::iter::empty()),
        }
    }

    /// The items of a list, set or tuple.
    pub fn items(&self) -> Option<&[Value]> {
        match &self.data {
            Data::List(_, items) | Data::Set(_, items) | Data::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// The values of a map or object.
    pub fn fields(&self) -> Option<&BTreeMap<String, Value>> {
        match &self.data {
            Data::Map(_, fields) | Data::Object(fields) => Some(fields),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.data {
            Data::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if it is one.
    pub fn as_number(&self) -> Option<&Number> {
        match &self.data {
            Data::Number(number) => Some(number),
            _ => None,
        }
    }

    /// True or false, if it is that.
    pub fn as_bool(&self) -> Option<bool> {
        match self.data {
            Data::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// About how many bytes it takes, up to `limit`.
    pub fn size(&self, limit: usize) -> usize {
        let mut total = match &self.data {
            Data::String(text) => text.len() + 16,
            _ => 16,
        };
        for child in self.children() {
            if total >= limit {
                break;
            }
            total += child.size(limit - total);
        }
        total
    }

    /// Whether it is what `other` is; marks do not count. Numbers equal numbers, tuples equal tuples.
    pub fn same(&self, other: &Value) -> bool {
        match (&self.data, &other.data) {
            (Data::Null(_), Data::Null(_)) => true,
            (Data::Bool(a), Data::Bool(b)) => a == b,
            (Data::Number(a), Data::Number(b)) => a == b,
            (Data::String(a), Data::String(b)) => a == b,
            (Data::List(_, a), Data::List(_, b))
            | (Data::Set(_, a), Data::Set(_, b))
            | (Data::Tuple(a), Data::Tuple(b)) => a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| a.same(b)),
            (Data::Map(_, a), Data::Map(_, b)) | (Data::Object(a), Data::Object(b)) => {
                a.len() == b.len() && a.iter().zip(b.iter()).all(|((x, a), (y, b))| x == y && a.same(b))
            }
            _ => false,
        }
    }

    /// The order of values in sets: nulls, then by kind, then by value.
    pub fn order(&self, other: &Value) -> Ordering {
        match (&self.data, &other.data) {
            (Data::Bool(a), Data::Bool(b)) => a.cmp(b),
            (Data::Number(a), Data::Number(b)) => a.cmp(b),
            (Data::String(a), Data::String(b)) => a.cmp(b),
            _ => {
                let rank = self.rank().cmp(&other.rank());
                rank.then_with(|| self.order_children(other))
            }
        }
    }

    fn order_children(&self, other: &Value) -> Ordering {
        if let (Some(a), Some(b)) = (self.fields(), other.fields()) {
            let keys = a.keys().cmp(b.keys());
            if keys != Ordering::Equal {
                return keys;
            }
        }
        let (mut a, mut b) = (self.children(), other.children());
        loop {
            match (a.next(), b.next()) {
                (None, None) => return Ordering::Equal,
                (None, Some(_)) => return Ordering::Less,
                (Some(_), None) => return Ordering::Greater,
                (Some(x), Some(y)) => match x.order(y) {
                    Ordering::Equal => {}
                    decided => return decided,
                },
            }
        }
    }

    fn rank(&self) -> u8 {
        match self.data {
            Data::Null(_) => 0,
            Data::Unknown(_) => 1,
            Data::Bool(_) => 2,
            Data::Number(_) => 3,
            Data::String(_) => 4,
            Data::List(..) => 5,
            Data::Set(..) => 6,
            Data::Map(..) => 7,
            Data::Tuple(_) => 8,
            Data::Object(_) => 9,
        }
    }
}
