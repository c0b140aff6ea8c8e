//! JSON into values with places, telling every way it is malformed.

use std::collections::BTreeMap;
use std::sync::Arc;

use kiln_spec::source::{Source, Span};

use crate::config::{Entry, Node, Value};
use crate::fault::{Fault, Place};

/// Limits on what is read.
const MAX_BYTES: usize = 16 << 20;
const MAX_DEPTH: usize = 64;

struct Reader<'a> {
    source: &'a Arc<Source>,
    text: &'a str,
    at: usize,
    depth: usize,
}

/// The one value that a text holds.
pub(crate) fn parse(source: &Arc<Source>) -> Result<Node, Fault> {
    let mut reader = Reader { source, text: &source.text, at: 0, depth: 0 };
    if reader.text.len() > MAX_BYTES {
        return Err(reader.wrong(0, 0, format!("a template may have {MAX_BYTES} bytes at most")));
    }
    reader.blank();
    let node = reader.value()?;
    reader.blank();
    if reader.at < reader.text.len() {
        return Err(reader.unexpected("nothing more"));
    }
    Ok(node)
}

impl Reader<'_> {
    fn wrong(&self, start: usize, end: usize, message: impl Into<String>) -> Fault {
        Place::new(self.source, Span::new(start, end)).error("InvalidJson", message)
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn blank(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    fn take(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        self.at += if found { c.len_utf8() } else { 0 };
        found
    }

    /// That something else stands here than `wanted`.
    fn unexpected(&self, wanted: &str) -> Fault {
        let rest = &self.text[self.at..];
        let Some(c) = rest.chars().next() else {
            return self.wrong(self.at, self.at, format!("the text ends where {wanted} should stand"));
        };
        let fault = self.wrong(self.at, self.at + c.len_utf8(), format!("{wanted} should stand here, not {c:?}"));
        match c {
            '/' | '#' => fault.hint("JSON has no comments: Packer takes root keys that start with `_` for one"),
            '\'' => fault.hint("texts stand in double quotes"),
            '"' if wanted.contains("`,`") => fault.hint("a `,` is missing before this"),
            '\u{feff}' => fault.hint("remove the byte order mark"),
            _ => fault,
        }
    }

    fn value(&mut self) -> Result<Node, Fault> {
        let start = self.at;
        let value = match self.peek() {
            Some('{') => self.nested(Reader::object)?,
            Some('[') => self.nested(Reader::list)?,
            Some('"') => Value::String(self.string()?),
            Some('-' | '0'..='9') => self.number()?,
            Some(c) if c.is_ascii_alphabetic() => self.word()?,
            _ => return Err(self.unexpected("a value")),
        };
        Ok(Node { value, span: Span::new(start, self.at) })
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Value, Fault>) -> Result<Value, Fault> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.wrong(self.at, self.at + 1, format!("values are nested deeper than {MAX_DEPTH}")));
        }
        self.at += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    /// Steps over `,` or `end` behind an element; whether it was the end.
    fn ended(&mut self, end: char) -> Result<bool, Fault> {
        self.blank();
        let comma = self.at;
        if self.take(end) {
            return Ok(true);
        }
        if !self.take(',') {
            return Err(self.unexpected(&format!("`,` or `{end}`")));
        }
        self.blank();
        if self.peek() == Some(end) {
            return Err(self
                .wrong(comma, comma + 1, "a comma stands behind the last element")
                .label("nothing follows")
                .hint("remove it"));
        }
        Ok(false)
    }

    fn list(&mut self) -> Result<Value, Fault> {
        let mut items = Vec::new();
        self.blank();
        if self.take(']') {
            return Ok(Value::List(items));
        }
        loop {
            self.blank();
            items.push(self.value()?);
            if self.ended(']')? {
                return Ok(Value::List(items));
            }
        }
    }

    fn object(&mut self) -> Result<Value, Fault> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        self.blank();
        if self.take('}') {
            return Ok(Value::Object(entries));
        }
        loop {
            self.blank();
            let start = self.at;
            if self.peek() != Some('"') {
                return Err(self.unexpected("a key in double quotes"));
            }
            let key = self.string()?;
            let span = Span::new(start, self.at);
            // Comments may well have one name.
            if let Some(before) = seen.insert(key.clone(), start).filter(|_| !key.starts_with('_')) {
                let first = Place::new(self.source, Span::new(before, before));
                return Err(self
                    .wrong(span.start, span.end, format!("the key `{key}` is there twice"))
                    .note(format!("the first is at {first}"))
                    .hint("remove one: Packer would take the last without a word"));
            }
            self.blank();
            if !self.take(':') {
                return Err(self.unexpected("`:`"));
            }
            self.blank();
            let node = self.value()?;
            entries.push(Entry { key, span, node });
            if self.ended('}')? {
                return Ok(Value::Object(entries));
            }
        }
    }

    fn word(&mut self) -> Result<Value, Fault> {
        let start = self.at;
        let rest = &self.text[start..];
        let word = &rest[..rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len())];
        self.at += word.len();
        match word {
            "null" => Ok(Value::Null),
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => Err(self
                .wrong(start, self.at, format!("`{word}` is no value"))
                .hint("texts stand in double quotes; without are true, false and null")),
        }
    }

    fn number(&mut self) -> Result<Value, Fault> {
        let start = self.at;
        let rest = &self.text[start..];
        let length = rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))).unwrap_or(rest.len());
        let number = &rest[..length];
        self.at += length;
        let digits = number.strip_prefix('-').unwrap_or(number);
        let (mantissa, exponent) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
        let all = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        if !all(whole) || !all(fraction) || !all(exponent) || (whole.len() > 1 && whole.starts_with('0')) {
            return Err(self.wrong(start, self.at, format!("`{number}` is no number of JSON")));
        }
        Ok(Value::Number(number.to_owned()))
    }

    fn string(&mut self) -> Result<String, Fault> {
        let start = self.at;
        self.at += 1;
        let mut out = String::new();
        loop {
            let Some(c) = self.peek() else {
                return Err(self.wrong(start, start + 1, "a text is not closed with `\"`"));
            };
            match c {
                '"' => {
                    self.at += 1;
                    return Ok(out);
                }
                '\\' => out.push(self.escape()?),
                '\n' | '\r' => {
                    return Err(self
                        .wrong(start, self.at, "a text is not closed on its line")
                        .hint("write a line break as `\\n`, or close the text with `\"`"));
                }
                c if c < ' ' => {
                    return Err(self.wrong(self.at, self.at + 1, format!("{c:?} must be escaped in a text")));
                }
                c => {
                    out.push(c);
                    self.at += c.len_utf8();
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, Fault> {
        let start = self.at;
        self.at += 1;
        let c = self.peek().unwrap_or(' ');
        self.at = (self.at + c.len_utf8()).min(self.text.len());
        Ok(match c {
            '"' | '\\' | '/' => c,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let high = self.code(start)?;
                if !(0xd800..0xdc00).contains(&high) {
                    return char::from_u32(high).ok_or_else(|| self.half(start));
                }
                if !self.text[self.at..].starts_with("\\u") {
                    return Err(self.half(start));
                }
                self.at += 2;
                let low = self.code(start)?;
                let low = low.checked_sub(0xdc00).filter(|low| *low < 0x400).ok_or_else(|| self.half(start))?;
                char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + low).ok_or_else(|| self.half(start))?
            }
            other => {
                return Err(self
                    .wrong(start, self.at, format!("`\\{other}` is no escape"))
                    .hint("write `\\\\` for a backslash"));
            }
        })
    }

    fn half(&self, start: usize) -> Fault {
        self.wrong(start, self.at, "half of a surrogate pair is no character")
    }

    fn code(&mut self, start: usize) -> Result<u32, Fault> {
        let digits = self.text.get(self.at..self.at + 4).filter(|digits| digits.chars().all(|c| c.is_ascii_hexdigit()));
        let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let code = code.ok_or_else(|| self.wrong(start, self.at, "`\\u` wants four hexadecimal digits"))?;
        self.at += 4;
        Ok(code)
    }
}
