//! Values that templates work on.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use crate::error::Failure;

/// A value.
#[derive(Clone, Default)]
pub enum Value {
    /// Nothing.
    #[default]
    Nil,
    /// True or false.
    Bool(bool),
    /// A whole number: Go's `int`.
    Int(i64),
    /// A whole number of Go's type `int64`, which prints and compares as the other, but is not of its type.
    Int64(i64),
    /// Any other number.
    Float(f64),
    /// A text.
    String(Arc<str>),
    /// Values in order.
    List(Arc<Vec<Value>>),
    /// Values by name.
    Map(Dict),
    /// Something with fields and methods of its own.
    Object(Arc<dyn Object>),
    /// A function, to be called with `call`.
    Function(Callable),
}

/// A function as a value.
pub type Callable = Arc<dyn Fn(&[Value]) -> Result<Value, Failure> + Send + Sync>;

/// Something with fields and methods that is no plain map.
pub trait Object: Send + Sync {
    /// The field `name`.
    fn field(&self, name: &str) -> Option<Value>;

    /// Calls the method `name`; none when there is no such method.
    fn call(&self, name: &str, arguments: &[Value]) -> Option<Result<Value, Failure>> {
        let _ = (name, arguments);
        None
    }

    /// What it looks like when printed.
    fn print(&self) -> String;

    /// What it is made of, where functions that write JSON, or look into it, want to know: a map, a list, a text.
    fn content(&self) -> Option<Value> {
        None
    }

    /// Names and values that `range` goes over, and `index` finds, if it is a map to them.
    fn entries(&self) -> Option<Vec<(String, Value)>> {
        None
    }

    /// Itself, for functions that know its type.
    fn any(&self) -> Option<&dyn std::any::Any> {
        None
    }

    /// Go's name for its type.
    fn type_name(&self) -> &'static str {
        "*object"
    }

    /// Whether it counts as true.
    fn truth(&self) -> bool {
        true
    }
}

/// Values by name. Copies share their content, as maps do in Go: a function may change one in place.
#[derive(Clone, Default)]
pub struct Dict(Arc<RwLock<BTreeMap<String, Value>>>);

impl Dict {
    /// An empty one.
    pub fn new() -> Dict {
        Dict::default()
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<Value> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Sets `key`, in every copy.
    pub fn insert(&self, key: impl Into<String>, value: Value) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(key.into(), value);
    }

    /// Removes `key`, in every copy.
    pub fn remove(&self, key: &str) {
        let removed = self.0.write().unwrap_or_else(PoisonError::into_inner).remove(key);
        // Dropped only after the lock is given back.
        drop(removed);
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keys and values in the order of the keys, as they are now.
    pub fn entries(&self) -> Vec<(String, Value)> {
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        map.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// Whether both are one and the same, so that a change of one is a change of the other.
    pub fn is(&self, other: &Dict) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl FromIterator<(String, Value)> for Dict {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(entries: I) -> Dict {
        Dict(Arc::new(RwLock::new(entries.into_iter().collect())))
    }
}

impl Value {
    /// A map.
    pub fn dict(entries: impl IntoIterator<Item = (String, Value)>) -> Value {
        Value::Map(entries.into_iter().collect())
    }

    /// A list.
    pub fn list(items: impl IntoIterator<Item = Value>) -> Value {
        Value::List(Arc::new(items.into_iter().collect()))
    }

    /// An object.
    pub fn object(object: impl Object + 'static) -> Value {
        Value::Object(Arc::new(object))
    }

    /// A function.
    pub fn function(function: impl Fn(&[Value]) -> Result<Value, Failure> + Send + Sync + 'static) -> Value {
        Value::Function(Arc::new(function))
    }

    /// Whether `if` takes it for true: it is not false, zero, empty or nothing.
    pub fn truth(&self) -> bool {
        match self {
            Value::Nil => false,
            Value::Bool(yes) => *yes,
            Value::Int(number) | Value::Int64(number) => *number != 0,
            Value::Float(number) => *number != 0.0,
            Value::String(text) => !text.is_empty(),
            Value::List(items) => !items.is_empty(),
            Value::Map(map) => !map.is_empty(),
            Value::Object(object) => object.truth(),
            Value::Function(_) => true,
        }
    }

    /// What it is, with an article: for messages.
    pub fn noun(&self) -> &'static str {
        match self {
            Value::Nil => "nothing",
            Value::Bool(_) => "true or false",
            Value::Int(_) | Value::Int64(_) => "a whole number",
            Value::Float(_) => "a number",
            Value::String(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
            Value::Object(_) => "an object",
            Value::Function(_) => "a function",
        }
    }

    /// Go's name for its type, which `%T` prints.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Nil => "<nil>",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Int64(_) => "int64",
            Value::Float(_) => "float64",
            Value::String(_) => "string",
            Value::List(_) => "[]interface {}",
            Value::Map(_) => "map[string]interface {}",
            Value::Object(object) => object.type_name(),
            Value::Function(_) => "func()",
        }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::String(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::String(text.into())
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Value {
        Value::Bool(yes)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Int(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Value {
        Value::Float(number)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::print::go_syntax(self))
    }
}

/// Equal kinds with equal content; objects and functions are equal to themselves only.
impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Nil, Value::Nil) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(a), Value::Int(b)) | (Value::Int64(a), Value::Int64(b)) => a == b,
            (Value::Float(a), Value::Float(b)) => a == b,
            (Value::String(a), Value::String(b)) => a == b,
            (Value::List(a), Value::List(b)) => Arc::ptr_eq(a, b) || a == b,
            (Value::Map(a), Value::Map(b)) => a.is(b) || a.entries() == b.entries(),
            (Value::Object(a), Value::Object(b)) => Arc::ptr_eq(a, b),
            (Value::Function(a), Value::Function(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}
