//! A master file as entries: what stands on one line, or on several within parentheses.

use alloc::vec::Vec;

use super::{Wrong, ZoneError};

/// One word, or text in quotes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'a> {
    /// As it is written, with `\` and without quotes.
    pub(super) text: &'a [u8],
    /// Whether it stood in quotes.
    pub(super) quoted: bool,
    pub(super) place: Place,
}

/// Where something stands, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: u32,
    pub(super) column: u32,
}

impl Place {
    pub(super) fn error(self, wrong: Wrong) -> ZoneError {
        ZoneError { line: self.line, column: self.column, wrong }
    }
}

/// What belongs together.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    /// Whether it begins with a blank: then it is about the name of the entry before.
    pub(super) indented: bool,
    pub(super) tokens: Vec<Token<'a>>,
    /// Its end, for what is missing there.
    pub(super) end: Place,
}

/// More words than a record can have.
const MAX_TOKENS: usize = 1024;

/// A file that is read entry by entry.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    line: u32,
    line_start: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a [u8]) -> Lexer<'a> {
        Lexer { text, at: 0, line: 1, line_start: 0 }
    }

    fn place(&self) -> Place {
        let column = u32::try_from(self.at - self.line_start + 1).unwrap_or(u32::MAX);
        Place { line: self.line, column }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn newline(&mut self) {
        self.at += 1;
        self.line = self.line.saturating_add(1);
        self.line_start = self.at;
    }

    /// The next entry that is not empty.
    pub(super) fn entry(&mut self) -> Result<Option<Entry<'a>>, ZoneError> {
        loop {
            if self.peek().is_none() {
                return Ok(None);
            }
            let indented = matches!(self.peek(), Some(b' ' | b'\t'));
            let entry = self.tokens(indented)?;
            if !entry.tokens.is_empty() {
                return Ok(Some(entry));
            }
        }
    }

    /// Reads up to the end of a line that is not within parentheses.
    fn tokens(&mut self, indented: bool) -> Result<Entry<'a>, ZoneError> {
        let mut tokens = Vec::new();
        let mut open: Option<Place> = None;
        loop {
            let place = self.place();
            match self.peek() {
                None => match open {
                    Some(open) => return Err(open.error(Wrong::Unclosed("parenthesis"))),
                    None => return Ok(Entry { indented, tokens, end: place }),
                },
                Some(b'\n') => {
                    self.newline();
                    if open.is_none() {
                        return Ok(Entry { indented, tokens, end: place });
                    }
                }
                Some(b'\r') if self.text.get(self.at + 1) == Some(&b'\n') => self.at += 1,
                Some(b' ' | b'\t') => self.at += 1,
                Some(b';') => {
                    while self.peek().is_some_and(|byte| byte != b'\n') {
                        self.at += 1;
                    }
                }
                Some(b'(') if open.is_some() => return Err(place.error(Wrong::Nested)),
                Some(b'(') => {
                    open = Some(place);
                    self.at += 1;
                }
                Some(b')') if open.is_none() => return Err(place.error(Wrong::Unopened)),
                Some(b')') => {
                    open = None;
                    self.at += 1;
                }
                Some(_) if tokens.len() == MAX_TOKENS => return Err(place.error(Wrong::Many("words in one record"))),
                Some(b'"') => tokens.push(self.quoted(place)?),
                Some(_) => tokens.push(self.word(place)?),
            }
        }
    }

    fn quoted(&mut self, place: Place) -> Result<Token<'a>, ZoneError> {
        self.at += 1;
        let start = self.at;
        loop {
            match self.peek() {
                None | Some(b'\n') => return Err(place.error(Wrong::Unclosed("quotation mark"))),
                Some(b'"') => break,
                Some(b'\\') if self.text.get(self.at + 1).is_some_and(|byte| *byte != b'\n') => self.at += 2,
                Some(_) => self.at += 1,
            }
        }
        let text = &self.text[start..self.at];
        self.at += 1;
        Ok(Token { text, quoted: true, place })
    }

    fn word(&mut self, place: Place) -> Result<Token<'a>, ZoneError> {
        let start = self.at;
        loop {
            match self.peek() {
                None | Some(b' ' | b'\t' | b'\n' | b'\r' | b';' | b'(' | b')' | b'"') => break,
                Some(b'\\') if self.text.get(self.at + 1).is_some_and(|byte| *byte != b'\n') => self.at += 2,
                Some(byte) if byte < b' ' || byte == 0x7f => return Err(self.place().error(Wrong::Control)),
                Some(_) => self.at += 1,
            }
        }
        if self.at == start {
            // A carriage return that ends no line.
            return Err(place.error(Wrong::Control));
        }
        Ok(Token { text: &self.text[start..self.at], quoted: false, place })
    }
}
