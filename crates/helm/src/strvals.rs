//! The language of `--set`: `name=value,outer.inner=value,list[0].x=value,list={a,b}`, with `\` before what is meant.

use crate::yaml::{Map, Yaml};

/// Keys inside of each other.
const MAX_LEVEL: usize = 30;
/// The largest index of a list.
const MAX_INDEX: usize = 65_536;

/// Which option it is.
#[derive(Clone, Copy)]
pub enum SetKind<'a> {
    /// `--set`: numbers, true, false and null are such.
    Typed,
    /// `--set-string`: all values are texts.
    Text,
    /// `--set-json`: values are JSON, or the whole is one object.
    Json,
    /// `--set-literal`: all behind the first `=` is one text.
    Literal,
    /// `--set-file`: values are names of files, whose contents the function gives.
    File(&'a dyn Fn(&str) -> Result<String, String>),
}

/// Why such an option cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{expression}`: {message}")]
pub struct SetError {
    /// The whole option.
    pub expression: String,
    /// What is wrong.
    pub message: String,
}

pub(crate) fn apply(data: &mut Map, expression: &str, kind: SetKind<'_>) -> Result<(), SetError> {
    let failed = |message: String| SetError { expression: expression.to_owned(), message };
    if matches!(kind, SetKind::Json) && expression.trim_start().starts_with('{') {
        let Yaml::Map(map) = crate::json::parse(expression).map_err(failed)? else {
            return Err(failed("an object is expected".to_owned()));
        };
        let mut values = crate::values::Values(std::mem::take(data));
        values.merge(crate::values::Values(map));
        *data = values.0;
        return Ok(());
    }
    let mut parser = Parser { text: expression, at: 0, kind };
    while parser.at < expression.len() {
        parser.key(data, 0).map_err(failed)?;
    }
    Ok(())
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    kind: SetKind<'a>,
}

impl Parser<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.text.get(self.at..)?.chars().next()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn peek(&self) -> Option<char> {
        self.text.get(self.at..)?.chars().next()
    }

    /// The text up to one of `stops`, and which; none at the end. `\` takes what follows as it is, unless all is literal.
    fn until(&mut self, stops: &[char]) -> (String, Option<char>) {
        let mut text = String::new();
        while let Some(c) = self.next() {
            if stops.contains(&c) {
                return (text, Some(c));
            }
            if c == '\\' && !self.literal() {
                text.extend(self.next());
            } else {
                text.push(c);
            }
        }
        (text, None)
    }

    fn literal(&self) -> bool {
        matches!(self.kind, SetKind::Literal)
    }

    fn key(&mut self, data: &mut Map, level: usize) -> Result<(), String> {
        let stops: &[char] = if self.literal() { &['=', '[', '.'] } else { &['=', '[', ',', '.'] };
        let (key, stop) = self.until(stops);
        match stop {
            None if key.is_empty() => Ok(()),
            None => Err(format!("key `{key}` has no value")),
            Some('[') => {
                let index = self.index()?;
                let mut list = match data.remove(&key) {
                    Some(Yaml::List(items)) => items,
                    _ => Vec::new(),
                };
                self.item(&mut list, index, level)?;
                put(data, key, Yaml::List(list));
                Ok(())
            }
            Some('=') => {
                let value = self.value()?;
                put(data, key, value);
                Ok(())
            }
            Some('.') => {
                if level >= MAX_LEVEL {
                    return Err(format!("keys are nested deeper than {MAX_LEVEL}"));
                }
                let mut inner = match data.remove(&key) {
                    Some(Yaml::Map(map)) => map,
                    _ => Map::new(),
                };
                self.key(&mut inner, level + 1)?;
                if inner.is_empty() {
                    return Err(format!("key map `{key}` has no value"));
                }
                put(data, key, Yaml::Map(inner));
                Ok(())
            }
            Some(_) => Err(format!("key `{key}` has no value (cannot end with ,)")),
        }
    }

    fn index(&mut self) -> Result<usize, String> {
        let (digits, stop) = self.until(&[']']);
        if stop.is_none() {
            return Err("an index must end with `]`".to_owned());
        }
        let index: i64 = digits.parse().map_err(|_| format!("`{digits}` is no index"))?;
        let index = usize::try_from(index).map_err(|_| format!("negative index {index}"))?;
        if index > MAX_INDEX {
            return Err(format!("index {index} is beyond the limit of {MAX_INDEX}"));
        }
        Ok(index)
    }

    fn item(&mut self, list: &mut Vec<Yaml>, index: usize, level: usize) -> Result<(), String> {
        let (extra, stop) = self.until(&['[', '.', '=']);
        if !extra.is_empty() {
            return Err(format!("unexpected data at end of array index: `{extra}`"));
        }
        if level >= MAX_LEVEL {
            return Err(format!("keys are nested deeper than {MAX_LEVEL}"));
        }
        while list.len() <= index {
            list.push(Yaml::Null);
        }
        let Some(place) = list.get_mut(index) else { return Ok(()) };
        match stop {
            Some('=') => *place = self.value()?,
            Some('[') => {
                let next = self.index()?;
                let mut inner = match std::mem::take(place) {
                    Yaml::List(items) => items,
                    _ => Vec::new(),
                };
                self.item(&mut inner, next, level + 1)?;
                *place = Yaml::List(inner);
            }
            Some('.') => {
                let mut inner = match std::mem::take(place) {
                    Yaml::Map(map) => map,
                    _ => Map::new(),
                };
                self.key(&mut inner, level + 1)?;
                *place = Yaml::Map(inner);
            }
            _ => return Err(format!("the index {index} has no value")),
        }
        Ok(())
    }

    fn value(&mut self) -> Result<Yaml, String> {
        match self.kind {
            SetKind::Literal => {
                let text = self.text.get(self.at..).unwrap_or_default().to_owned();
                self.at = self.text.len();
                return Ok(Yaml::String(text));
            }
            SetKind::Json => return self.json(),
            _ => {}
        }
        if self.peek() == Some('{') {
            self.next();
            return self.list();
        }
        let (text, _) = self.until(&[',']);
        self.typed(text)
    }

    fn list(&mut self) -> Result<Yaml, String> {
        let mut items = Vec::new();
        loop {
            let (text, stop) = self.until(&[',', '}']);
            match stop {
                None => return Err("list must terminate with '}'".to_owned()),
                // `{}` has one text in it, which is empty: as Helm reads it.
                Some('}') => {
                    items.push(self.typed(text)?);
                    if self.peek() == Some(',') {
                        self.next();
                    }
                    return Ok(Yaml::List(items));
                }
                Some(_) => items.push(self.typed(text)?),
            }
        }
    }

    fn json(&mut self) -> Result<Yaml, String> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        if rest.is_empty() || rest.starts_with(',') {
            self.at += usize::from(!rest.is_empty());
            return Ok(Yaml::Null);
        }
        let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<serde_json::Value>();
        let value = match stream.next() {
            Some(Ok(value)) => value,
            Some(Err(error)) => return Err(error.to_string()),
            None => return Err("a value in JSON is expected".to_owned()),
        };
        self.at += stream.byte_offset();
        let behind = self.text.get(self.at..).unwrap_or_default().trim_start();
        match behind.strip_prefix(',') {
            Some(more) => self.at = self.text.len() - more.len(),
            None if behind.is_empty() => self.at = self.text.len(),
            None => return Err(format!("unexpected `{behind}` behind a value in JSON")),
        }
        crate::json::parse(&value.to_string())
    }

    fn typed(&self, text: String) -> Result<Yaml, String> {
        match self.kind {
            SetKind::Text => return Ok(Yaml::String(text)),
            SetKind::File(read) => return read(&text).map(Yaml::String),
            _ => {}
        }
        Ok(match text.to_ascii_lowercase().as_str() {
            "true" => Yaml::Bool(true),
            "false" => Yaml::Bool(false),
            "null" => Yaml::Null,
            "0" => Yaml::Int(0),
            _ => match text.parse::<i64>() {
                Ok(number) if !text.starts_with('0') => Yaml::Int(number),
                _ => Yaml::String(text),
            },
        })
    }
}

fn put(data: &mut Map, key: String, value: Yaml) {
    if !key.is_empty() {
        data.insert(key, value);
    }
}
