//! Go's own functions.

use crate::compare;
use crate::error::Failure;
use crate::print::{self, Bounded, printable};
use crate::printf::printf;
use crate::value::Value;

type Builtin = fn(&[Value]) -> Result<Value, Failure>;

/// By name. `and` and `or` are here for functions that get all their arguments; the engine has its own, which stop early.
const BUILTINS: &[(&str, Builtin)] = &[
    ("and", |arguments| junction("and", arguments)),
    ("call", call),
    ("eq", compare::eq),
    ("ge", compare::ge),
    ("gt", compare::gt),
    ("html", |arguments| escaped(arguments, html)),
    ("index", index),
    ("js", |arguments| escaped(arguments, js)),
    ("le", compare::le),
    ("len", len),
    ("lt", compare::lt),
    ("ne", compare::ne),
    ("not", |arguments| one("not", arguments).map(|value| Value::Bool(!value.truth()))),
    ("or", |arguments| junction("or", arguments)),
    ("print", |arguments| print(arguments).map(Value::from)),
    ("printf", formatted),
    ("println", println),
    ("slice", slice),
    ("urlquery", |arguments| escaped(arguments, urlquery)),
];

pub(crate) fn find(name: &str) -> Option<Builtin> {
    BUILTINS.iter().find(|(known, _)| *known == name).map(|&(_, function)| function)
}

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    BUILTINS.iter().map(|&(name, _)| name)
}

fn one<'v>(name: &str, arguments: &'v [Value]) -> Result<&'v Value, Failure> {
    match arguments {
        [value] => Ok(value),
        _ => Err(Failure::new(format!("`{name}` wants 1 argument, not {}", arguments.len()))),
    }
}

fn first<'v>(name: &str, arguments: &'v [Value]) -> Result<(&'v Value, &'v [Value]), Failure> {
    arguments.split_first().ok_or_else(|| Failure::new(format!("`{name}` wants an argument")))
}

fn junction(name: &str, arguments: &[Value]) -> Result<Value, Failure> {
    first(name, arguments)?;
    let decides = name == "or";
    let decisive = arguments.iter().find(|argument| argument.truth() == decides);
    Ok(decisive.or(arguments.last()).cloned().unwrap_or_default())
}

fn call(arguments: &[Value]) -> Result<Value, Failure> {
    match first("call", arguments)? {
        (Value::Function(function), rest) => function(rest),
        (other, _) => Err(Failure::new(format!("{} cannot be called", other.noun()))),
    }
}

fn formatted(arguments: &[Value]) -> Result<Value, Failure> {
    match first("printf", arguments)? {
        (Value::String(format), rest) => printf(format, rest).map(Value::from),
        (other, _) => Err(Failure::new(format!("the format of `printf` must be a text, not {}", other.noun()))),
    }
}

/// Arguments one behind the other, with a blank between two that are no texts.
fn print(arguments: &[Value]) -> Result<String, Failure> {
    let mut out = Bounded::new();
    let mut before_text = true;
    for argument in arguments {
        let text = matches!(argument, Value::String(_));
        if !text && !before_text {
            out.push(" ");
        }
        print::value(&mut out, argument);
        before_text = text;
    }
    out.finish()
}

fn println(arguments: &[Value]) -> Result<Value, Failure> {
    let mut out = Bounded::new();
    for (at, argument) in arguments.iter().enumerate() {
        if at > 0 {
            out.push(" ");
        }
        print::value(&mut out, argument);
    }
    out.push("\n");
    out.finish().map(Value::from)
}

fn len(arguments: &[Value]) -> Result<Value, Failure> {
    let length = match one("len", arguments)? {
        Value::String(text) => text.len(),
        Value::List(items) => items.len(),
        Value::Map(map) => map.len(),
        other => return Err(Failure::new(format!("{} has no length", other.noun()))),
    };
    Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
}

/// A position in something `length` long; `end` may be one past the last.
fn position(value: &Value, length: usize, end: bool) -> Result<usize, Failure> {
    let (Value::Int(number) | Value::Int64(number)) = value else {
        return Err(Failure::new(format!("a position must be a whole number, not {}", value.noun())));
    };
    let at = usize::try_from(*number).ok().filter(|&at| at < length || (end && at == length));
    at.ok_or_else(|| Failure::new(format!("there is no position {number} in a length of {length}")))
}

fn index(arguments: &[Value]) -> Result<Value, Failure> {
    let (value, keys) = first("index", arguments)?;
    if matches!(value, Value::Nil) {
        return Err(Failure::new("nothing has no parts"));
    }
    let mut value = value.clone();
    for key in keys {
        value = match (&value, key) {
            (Value::List(items), key) => items.get(position(key, items.len(), false)?).cloned().unwrap_or_default(),
            (Value::String(text), key) => {
                let at = position(key, text.len(), false)?;
                Value::Int(text.as_bytes().get(at).map_or(0, |&byte| i64::from(byte)))
            }
            (Value::Map(map), Value::String(key)) => map.get(key).unwrap_or_default(),
            (Value::Map(_), key) => {
                return Err(Failure::new(format!("a key of a map must be a text, not {}", key.noun())));
            }
            (Value::Object(object), Value::String(name)) => {
                object.field(name).ok_or_else(|| Failure::new(format!("there is no `{name}` in an object")))?
            }
            (other, _) => return Err(Failure::new(format!("{} has no parts", other.noun()))),
        };
    }
    Ok(value)
}

fn slice(arguments: &[Value]) -> Result<Value, Failure> {
    let (value, ends) = first("slice", arguments)?;
    let length = match value {
        Value::String(text) => text.len(),
        Value::List(items) => items.len(),
        other => return Err(Failure::new(format!("{} cannot be sliced", other.noun()))),
    };
    if ends.len() > 3 {
        return Err(Failure::new(format!("`slice` takes 3 positions at most, not {}", ends.len())));
    }
    if ends.len() == 3 && matches!(value, Value::String(_)) {
        return Err(Failure::new("a text is sliced with 2 positions at most"));
    }
    let positions = ends.iter().map(|end| position(end, length, true)).collect::<Result<Vec<_>, _>>()?;
    if !positions.is_sorted() {
        return Err(Failure::new("the positions of `slice` run backwards"));
    }
    let from = positions.first().copied().unwrap_or(0);
    let to = positions.get(1).copied().unwrap_or(length);
    match value {
        Value::String(text) => {
            let part = text.get(from..to).ok_or_else(|| Failure::new("`slice` would cut a character in two"))?;
            Ok(Value::from(part))
        }
        Value::List(items) => Ok(Value::list(items.get(from..to).unwrap_or_default().iter().cloned())),
        _ => Ok(Value::Nil),
    }
}

/// What the arguments print as, with `escape` applied to each character.
fn escaped(arguments: &[Value], escape: fn(&mut Bounded, char)) -> Result<Value, Failure> {
    // Here, unlike in `print`, nothing looks as it does outside of functions.
    let shown = |value: &Value| if *value == Value::Nil { Value::from("<no value>") } else { value.clone() };
    let text = print(&arguments.iter().map(shown).collect::<Vec<_>>())?;
    let mut out = Bounded::new();
    text.chars().for_each(|c| escape(&mut out, c));
    out.finish().map(Value::from)
}

fn html(out: &mut Bounded, c: char) {
    match c {
        '\0' => out.push("\u{fffd}"),
        '"' => out.push("&#34;"),
        '\'' => out.push("&#39;"),
        '&' => out.push("&amp;"),
        '<' => out.push("&lt;"),
        '>' => out.push("&gt;"),
        c => out.push(c.encode_utf8(&mut [0; 4])),
    }
}

fn js(out: &mut Bounded, c: char) {
    match c {
        '\\' => out.push("\\\\"),
        '\'' => out.push("\\'"),
        '"' => out.push("\\\""),
        '<' | '>' | '&' | '=' | '\0'..' ' => out.push(&format!("\\u{:04X}", u32::from(c))),
        c if c.is_ascii() || printable(c) => out.push(c.encode_utf8(&mut [0; 4])),
        c => out.push(&format!("\\u{:04X}", u32::from(c))),
    }
}

fn urlquery(out: &mut Bounded, c: char) {
    match c {
        ' ' => out.push("+"),
        c if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~') => out.push(c.encode_utf8(&mut [0; 4])),
        c => c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| out.push(&format!("%{byte:02X}"))),
    }
}
