//! JSON: values with places, and how HCL writes them.

use kiln_spec::diag::Diagnostic;
use kiln_spec::source::Span;

use crate::number::Number;
use crate::value::{Data, Value};

/// How deep values may nest.
const MAX_DEPTH: usize = 100;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The value.
    pub json: Json,
    /// Where.
    pub span: Span,
}

/// A value of JSON.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text.
    String(String),
    /// A list.
    Array(Vec<Node>),
    /// Keys with their places and values, as written; a key may be there twice.
    Object(Vec<(String, Span, Node)>),
}

/// Reads one value with nothing behind it.
///
/// # Errors
/// What is wrong, and where.
pub fn parse(text: &str) -> Result<Node, Box<Diagnostic>> {
    let mut reader = Reader { text, at: 0, depth: 0 };
    if text.starts_with('\u{feff}') {
        reader.at = 3;
    }
    let node = reader.value()?;
    reader.spaces();
    if reader.at < text.len() {
        return reader.fail("expected the end of the text");
    }
    Ok(node)
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
}

type Read<T> = Result<T, Box<Diagnostic>>;

impl Reader<'_> {
    fn fail<T>(&self, message: &str) -> Read<T> {
        let length = self.text[self.at..].chars().next().map_or(0, char::len_utf8);
        let fault = Diagnostic::error("BadJson", Span::new(self.at, self.at + length), message);
        let next = self.text[self.at..].chars().next();
        Err(Box::new(match next {
            Some('\'') => fault.hint("texts of JSON stand between double quotes"),
            Some('/' | '#') => fault.hint("JSON has no comments; a key `//` is one in the JSON syntax of HCL"),
            _ => fault,
        }))
    }

    fn spaces(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    fn take(&mut self, c: char) -> bool {
        self.spaces();
        let taken = self.text[self.at..].starts_with(c);
        self.at += usize::from(taken);
        taken
    }

    fn value(&mut self) -> Read<Node> {
        self.spaces();
        let start = self.at;
        let rest = &self.text[self.at..];
        let json = match rest.as_bytes().first() {
            Some(b'{') => self.nested(Reader::object)?,
            Some(b'[') => self.nested(Reader::array)?,
            Some(b'"') => Json::String(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b'a'..=b'z') => {
                let length = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
                let json = match &rest[..length] {
                    "null" => Json::Null,
                    "true" => Json::Bool(true),
                    "false" => Json::Bool(false),
                    _ => return self.fail("expected a value; texts need quotes"),
                };
                self.at += length;
                json
            }
            _ => return self.fail("expected a value"),
        };
        Ok(Node { json, span: Span::new(start, self.at) })
    }

    fn nested(&mut self, inner: fn(&mut Self) -> Read<Json>) -> Read<Json> {
        if self.depth >= MAX_DEPTH {
            return self.fail("nested too deeply");
        }
        self.depth += 1;
        self.at += 1;
        let json = inner(self)?;
        self.depth -= 1;
        Ok(json)
    }

    fn array(&mut self) -> Read<Json> {
        let mut items = Vec::new();
        if self.take(']') {
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value()?);
            if self.take(']') {
                return Ok(Json::Array(items));
            }
            if !self.take(',') {
                return self.fail("expected `,` or `]`");
            }
        }
    }

    fn object(&mut self) -> Read<Json> {
        let mut fields = Vec::new();
        if self.take('}') {
            return Ok(Json::Object(fields));
        }
        loop {
            self.spaces();
            let start = self.at;
            if !self.text[self.at..].starts_with('"') {
                return self.fail("expected a key between double quotes");
            }
            let key = self.string()?;
            let span = Span::new(start, self.at);
            if !self.take(':') {
                return self.fail("expected `:`");
            }
            fields.push((key, span, self.value()?));
            if self.take('}') {
                return Ok(Json::Object(fields));
            }
            if !self.take(',') {
                return self.fail("expected `,` or `}`");
            }
        }
    }

    fn number(&mut self) -> Read<Json> {
        let rest = &self.text[self.at..];
        let length = rest.find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E')).unwrap_or(rest.len());
        let digits = rest[..length].trim_start_matches('-');
        let leading_zero = digits.len() > 1 && digits.starts_with('0') && digits.as_bytes()[1].is_ascii_digit();
        match Number::parse(&rest[..length]).filter(|_| !leading_zero && !digits.starts_with('.')) {
            Some(number) => {
                self.at += length;
                Ok(Json::Number(number))
            }
            None => self.fail("this is no number"),
        }
    }

    fn string(&mut self) -> Read<String> {
        self.at += 1;
        let mut text = String::new();
        loop {
            let rest = &self.text[self.at..];
            let Some(c) = rest.chars().next() else { return self.fail("a text is not closed") };
            match c {
                '"' => {
                    self.at += 1;
                    return Ok(text);
                }
                '\\' => text.push(self.escape()?),
                c if u32::from(c) < 0x20 => return self.fail("a control character must be escaped"),
                c => {
                    text.push(c);
                    self.at += c.len_utf8();
                }
            }
        }
    }

    fn escape(&mut self) -> Read<char> {
        let letter = self.text[self.at + 1..].chars().next();
        let meant = match letter {
            Some('"' | '\\' | '/') => letter.unwrap_or_default(),
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => return self.unicode(),
            _ => return self.fail("this is no escape"),
        };
        self.at += 2;
        Ok(meant)
    }

    fn unit(&self, at: usize) -> Option<u32> {
        let hex = self.text.get(at..at + 6)?.strip_prefix("\\u")?;
        let digits = hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        u32::from_str_radix(hex, 16).ok().filter(|_| digits)
    }

    fn unicode(&mut self) -> Read<char> {
        let Some(high) = self.unit(self.at) else { return self.fail("`\\u` is followed by four hexadecimal digits") };
        let low = self.unit(self.at + 6).filter(|low| (0xdc00..0xe000).contains(low));
        if let (0xd800..0xdc00, Some(low)) = (high, low) {
            self.at += 12;
            let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
            return Ok(char::from_u32(code).unwrap_or('\u{fffd}'));
        }
        self.at += 6;
        Ok(char::from_u32(high).unwrap_or('\u{fffd}'))
    }
}

impl Node {
    /// As a value: arrays are tuples, objects are objects; of a key that is there twice the last counts.
    pub fn to_value(&self) -> Value {
        match &self.json {
            Json::Null => Value::null(),
            Json::Bool(flag) => (*flag).into(),
            Json::Number(number) => number.clone().into(),
            Json::String(text) => text.as_str().into(),
            Json::Array(items) => Value::tuple(items.iter().map(Node::to_value).collect()),
            Json::Object(fields) => {
                Value::object(fields.iter().map(|(name, _, node)| (name.clone(), node.to_value())).collect())
            }
        }
    }
}

/// A value as JSON without spaces, as `jsonencode` writes it: `<`, `>` and `&` are escaped, keys are sorted.
pub fn write(value: &Value) -> String {
    let mut text = String::new();
    write_to(value, &mut text);
    text
}

fn write_to(value: &Value, to: &mut String) {
    match &value.data {
        Data::Null(_) | Data::Unknown(_) => to.push_str("null"),
        Data::Bool(flag) => to.push_str(if *flag { "true" } else { "false" }),
        Data::Number(number) => to.push_str(&number.to_string()),
        Data::String(text) => write_text(text, to),
        Data::List(_, items) | Data::Set(_, items) | Data::Tuple(items) => {
            to.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    to.push(',');
                }
                write_to(item, to);
            }
            to.push(']');
        }
        Data::Map(_, fields) | Data::Object(fields) => {
            to.push('{');
            for (index, (name, item)) in fields.iter().enumerate() {
                if index > 0 {
                    to.push(',');
                }
                write_text(name, to);
                to.push(':');
                write_to(item, to);
            }
            to.push('}');
        }
    }
}

fn write_text(text: &str, to: &mut String) {
    to.push('"');
    for c in text.chars() {
        match c {
            '"' => to.push_str("\\\""),
            '\\' => to.push_str("\\\\"),
            '\n' => to.push_str("\\n"),
            '\r' => to.push_str("\\r"),
            '\t' => to.push_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => to.push_str(&format!("\\u{:04x}", u32::from(c))),
            c if u32::from(c) < 0x20 => to.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => to.push(c),
        }
    }
    to.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes() {
        let text = r#"{"a":[1,2.5,-3e2,true,null],"b":"\u00e9\ud83d\ude00\n\/<"}"#;
        let written = write(&parse(text).unwrap().to_value());
        assert_eq!(written, r#"{"a":[1,2.5,-300,true,null],"b":"é😀\n/\u003c"}"#);
    }

    #[test]
    fn refuses_what_is_no_json() {
        for bad in [
            "",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "01",
            "'x'",
            "\"\n\"",
            "\"\\x\"",
            "\"\\u12\"",
            "nul",
            "1 2",
            "{a:1}",
            "-",
            "+1",
            ".5",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse(&"[".repeat(1_000_000)).is_err());
    }
}
