//! Exec forms: is this text a JSON array of strings?
//!
//! What is not valid JSON is a shell form, silently, as `RUN [ -f x ] && y` must be. Valid arrays of something other
//! than strings are mistakes. Elements keep their places, for messages.

use std::ops::Range;

use super::MAX_ARGUMENTS;

/// An element: its value, and where in the text it is, quotes included.
pub(super) type Element = (String, Range<usize>);

/// What a text is, if not an array of strings.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotStrings {
    /// Not a JSON array at all.
    NotJson,
    /// A JSON array, this of whose elements is no string.
    Element(Range<usize>),
}

/// Values nest no deeper than this; more is not JSON to us.
const MAX_DEPTH: usize = 200;

/// Reads `text`, from which blanks at the end are trimmed. Stops keeping elements at one too many.
pub(super) fn strings(text: &str) -> Result<Vec<Element>, NotStrings> {
    let mut reader = Reader { text, at: text.len() - text.trim_start().len() };
    if reader.peek() != Some(b'[') {
        return Err(NotStrings::NotJson);
    }
    let (mut elements, mut other) = (Vec::new(), None);
    let done = reader.array(0, &mut |reader, range: Range<usize>| {
        if elements.len() > MAX_ARGUMENTS {
            // One too many is enough to know.
        } else if text[range.clone()].starts_with('"') {
            elements.push((reader.unescape(range.clone()), range));
        } else {
            other.get_or_insert(range);
        }
    });
    reader.blanks();
    if done.is_none() || reader.at < text.len() {
        return Err(NotStrings::NotJson);
    }
    match other {
        Some(range) => Err(NotStrings::Element(range)),
        None => Ok(elements),
    }
}

/// Checks JSON grammar; every method returns `None` where the text is not JSON.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// `[…]`, calling `each` with the range of every element.
    fn array(&mut self, depth: usize, each: &mut dyn FnMut(&Self, Range<usize>)) -> Option<()> {
        self.take(b'[')?;
        self.blanks();
        if self.take(b']').is_some() {
            return Some(());
        }
        loop {
            self.blanks();
            let start = self.at;
            self.value(depth + 1)?;
            each(self, start..self.at);
            self.blanks();
            if self.take(b']').is_some() {
                return Some(());
            }
            self.take(b',')?;
        }
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        self.take(b'{')?;
        self.blanks();
        if self.take(b'}').is_some() {
            return Some(());
        }
        loop {
            self.blanks();
            self.string()?;
            self.blanks();
            self.take(b':')?;
            self.blanks();
            self.value(depth + 1)?;
            self.blanks();
            if self.take(b'}').is_some() {
                return Some(());
            }
            self.take(b',')?;
        }
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        match self.peek()? {
            b'"' => self.string(),
            b'[' => self.array(depth, &mut |_, _| ()),
            b'{' => self.object(depth),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            _ => self.number(),
        }
    }

    fn literal(&mut self, word: &str) -> Option<()> {
        self.text.as_bytes()[self.at..].starts_with(word.as_bytes()).then(|| self.at += word.len())
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn number(&mut self) -> Option<()> {
        let _ = self.take(b'-');
        if self.take(b'0').is_none() {
            self.digits()?;
        }
        if self.take(b'.').is_some() {
            self.digits()?;
        }
        if self.take(b'e').or_else(|| self.take(b'E')).is_some() {
            let _ = self.take(b'+').or_else(|| self.take(b'-'));
            self.digits()?;
        }
        Some(())
    }

    fn string(&mut self) -> Option<()> {
        self.take(b'"')?;
        loop {
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b'"' => return Some(()),
                b'\\' => {
                    let escaped = self.peek()?;
                    self.at += 1;
                    match escaped {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                        b'u' => {
                            for _ in 0..4 {
                                self.peek().filter(u8::is_ascii_hexdigit)?;
                                self.at += 1;
                            }
                        }
                        _ => return None,
                    }
                }
                0..=0x1f => return None,
                _ => {}
            }
        }
    }

    /// The value of a string that has been checked. Half a surrogate pair becomes U+FFFD.
    fn unescape(&self, range: Range<usize>) -> String {
        let inner = &self.text[range.start + 1..range.end - 1];
        let mut value = String::with_capacity(inner.len());
        let mut rest = inner;
        while let Some(backslash) = rest.find('\\') {
            value.push_str(&rest[..backslash]);
            let escaped = rest.as_bytes()[backslash + 1];
            let mut length = 2;
            value.push(match escaped {
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                b'n' => '\n',
                b'r' => '\r',
                b't' => '\t',
                b'u' => {
                    let (c, used) = unicode_escape(&rest[backslash..]);
                    length = used;
                    c
                }
                other => char::from(other),
            });
            rest = &rest[backslash + length..];
        }
        value.push_str(rest);
        value
    }
}

/// The character of `\uXXXX`, or of two of them that make a pair, and the bytes it took.
fn unicode_escape(text: &str) -> (char, usize) {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u32::from_str_radix(digits, 16).ok()
    };
    let Some(first) = unit(0) else { return (char::REPLACEMENT_CHARACTER, 2) };
    if let (0xd800..=0xdbff, Some(second @ 0xdc00..=0xdfff)) = (first, unit(6)) {
        let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        return (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12);
    }
    (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<String> {
        strings(text).unwrap().into_iter().map(|(value, _)| value).collect()
    }

    #[test]
    fn reads_arrays_of_strings() {
        assert_eq!(values(r#"["a", "b c"]"#), ["a", "b c"]);
        assert_eq!(values("[]"), Vec::<String>::new());
        assert_eq!(values(r#" [ "a\n\"\u00e9\ud83d\ude00\ud800x" ]"#), ["a\n\"é😀\u{fffd}x"]);
        assert_eq!(strings(r#"["a", "b"]"#).unwrap()[1].1, 6..9);
    }

    #[test]
    fn everything_else_is_a_shell_form_or_a_mistake() {
        for text in [
            "",
            "a",
            "['a']",
            "[ -f x ] && y",
            r#"["a",]"#,
            r#"["a"] b"#,
            r#"["a""#,
            "[\"\t\"]",
            r#"["\x"]"#,
            "[01]",
            "[",
        ] {
            assert_eq!(strings(text), Err(NotStrings::NotJson), "{text}");
        }
        assert_eq!(strings("[\"a\", 1]"), Err(NotStrings::Element(6..7)));
        assert_eq!(strings(r#"[{"a": [null, -1.5e3]}]"#), Err(NotStrings::Element(1..22)));
        assert_eq!(strings(&"[".repeat(100_000)), Err(NotStrings::NotJson));
    }
}
