//! One pass over a text, character by character.

use std::collections::HashSet;

use super::pattern::{self, PatternError};
use super::{ExpandError, Expanded, Expander, Lookup, MAX_DEPTH, MAX_LENGTH, Problem};

/// The state of one expansion.
pub(super) struct Lexer<'a> {
    how: Expander,
    text: &'a str,
    at: usize,
    lookup: Lookup<'a>,
    /// Whether escapes are kept just now: on inside patterns, where they mean something else.
    raw_escapes: bool,
    depth: usize,
    matched: Vec<String>,
    unmatched: Vec<String>,
    /// The names in both lists.
    asked: HashSet<String>,
}

type Outcome<T> = Result<T, ExpandError>;

impl<'a> Lexer<'a> {
    pub(super) fn new(how: Expander, text: &'a str, lookup: Lookup<'a>) -> Lexer<'a> {
        let raw_escapes = how.raw_escapes;
        let (matched, unmatched, asked) = (Vec::new(), Vec::new(), HashSet::new());
        Lexer { how, text, at: 0, lookup, raw_escapes, depth: 0, matched, unmatched, asked }
    }

    pub(super) fn run(mut self) -> Outcome<Expanded> {
        let (value, words) = self.until(None, self.raw_escapes)?;
        Ok(Expanded { value, words, matched: self.matched, unmatched: self.unmatched })
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn error<T>(&self, problem: Problem, offset: usize) -> Outcome<T> {
        Err(ExpandError { problem, offset })
    }

    fn check_length(&self, length: usize) -> Outcome<()> {
        if length > MAX_LENGTH { self.error(Problem::TooLong, self.at) } else { Ok(()) }
    }

    /// Reads up to `stop` (consumed) or the end of the text.
    fn until(&mut self, stop: Option<char>, raw_escapes: bool) -> Outcome<(String, Vec<String>)> {
        let outer = std::mem::replace(&mut self.raw_escapes, raw_escapes);
        let result = self.until_inner(stop);
        self.raw_escapes = outer;
        result
    }

    fn until_inner(&mut self, stop: Option<char>) -> Outcome<(String, Vec<String>)> {
        let start = self.at;
        let mut value = String::new();
        let mut words = Words::default();
        // Words are wanted of the whole text only; those of `${x:-word}` are not used.
        let wanted = stop.is_none();
        while let Some(c) = self.peek() {
            if Some(c) == stop {
                self.next();
                return Ok((value, words.finish()));
            }
            let special = match c {
                '$' => Some(self.dollar()?),
                '\'' if !self.how.skip_quotes => Some(self.single_quoted()?),
                '"' if !self.how.skip_quotes => Some(self.double_quoted()?),
                '<' => Some(self.less_than()),
                _ => None,
            };
            match special {
                Some(text) => {
                    value.push_str(&text);
                    if wanted && c == '$' {
                        text.chars().for_each(|c| words.push(c));
                    } else if wanted {
                        words.push_raw(&text);
                    }
                }
                None => {
                    if !self.ordinary(&mut value, wanted.then_some(&mut words)) {
                        break;
                    }
                }
            }
            self.check_length(value.len())?;
        }
        match stop {
            Some('/') => self.error(Problem::MissingSlash, start),
            Some(_) => self.error(Problem::OpenBrace, start),
            None => Ok((value, words.finish())),
        }
    }

    /// Reads one character without a meaning of its own, or an escaped one; false at the end of the text.
    fn ordinary(&mut self, value: &mut String, words: Option<&mut Words>) -> bool {
        let Some(c) = self.next() else { return false };
        let mut sink = words;
        let mut put = |c: char, raw: bool| {
            value.push(c);
            match sink.as_deref_mut() {
                Some(words) if raw => words.push_raw(c.encode_utf8(&mut [0; 4])),
                Some(words) => words.push(c),
                None => {}
            }
        };
        if c != self.how.escape {
            put(c, false);
            return true;
        }
        if self.raw_escapes {
            put(c, true);
        }
        match self.next() {
            Some(c) => {
                put(c, true);
                true
            }
            None => false,
        }
    }

    fn single_quoted(&mut self) -> Outcome<String> {
        let start = self.at;
        let rest = &self.text[start + 1..];
        let Some(length) = rest.find('\'') else { return self.error(Problem::OpenQuote('\''), start) };
        self.at = start + 1 + length + 1;
        let quoted = if self.how.raw_quotes { &self.text[start..self.at] } else { &rest[..length] };
        Ok(quoted.to_owned())
    }

    fn double_quoted(&mut self) -> Outcome<String> {
        let start = self.at;
        let mut value = String::new();
        self.next();
        if self.how.raw_quotes {
            value.push('"');
        }
        loop {
            match self.peek() {
                None => return self.error(Problem::OpenQuote('"'), start),
                Some('"') => {
                    self.next();
                    if self.how.raw_quotes {
                        value.push('"');
                    }
                    return Ok(value);
                }
                Some('$') => {
                    let text = self.dollar()?;
                    value.push_str(&text);
                }
                Some(c) => {
                    self.next();
                    self.in_double_quotes(c, &mut value);
                }
            }
            self.check_length(value.len())?;
        }
    }

    /// In double quotes an escape character stands for itself, except before `"`, `$` and itself.
    fn in_double_quotes(&mut self, c: char, value: &mut String) {
        if c != self.how.escape {
            value.push(c);
            return;
        }
        if self.raw_escapes {
            value.push(c);
        }
        match self.peek() {
            // The missing quote is the error to report.
            None => {}
            Some(next) if next == '"' || next == '$' || next == c => {
                self.next();
                value.push(next);
            }
            Some(_) => value.push(c),
        }
    }

    /// `<<` takes the blanks after it into its word, so that `<< EOF` is one heredoc.
    fn less_than(&mut self) -> String {
        let start = self.at;
        self.next();
        if self.peek() == Some('<') {
            self.next();
            while matches!(self.peek(), Some(' ' | '\t' | '\n' | '\r')) {
                self.next();
            }
        }
        self.text[start..self.at].to_owned()
    }

    /// `$…`
    fn dollar(&mut self) -> Outcome<String> {
        let start = self.at;
        self.next();
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(match self.value_of(name) {
                None if self.how.keep_unset => self.text[start..self.at].to_owned(),
                value => value.unwrap_or_default(),
            });
        }
        self.next();
        match self.peek() {
            None => return self.error(Problem::OpenBrace, start),
            Some('{' | '}' | ':') => return self.error(Problem::MissingName, start),
            Some(_) => {}
        }
        if self.depth == MAX_DEPTH {
            return self.error(Problem::TooDeep, start);
        }
        self.depth += 1;
        let name = self.name();
        let value = self.braced(name, start);
        self.depth -= 1;
        value
    }

    /// `${name…`, from behind the name.
    fn braced(&mut self, name: &'a str, start: usize) -> Outcome<String> {
        let modifier_at = self.at;
        let Some(first) = self.next() else { return self.error(Problem::OpenBrace, start) };
        match first {
            '}' => Ok(match self.value_of(name) {
                None if self.how.keep_unset => format!("${{{name}}}"),
                value => value.unwrap_or_default(),
            }),
            ':' | '+' | '-' | '?' | '#' | '%' => {
                let kind = if first == ':' { self.next() } else { Some(first) };
                let Some(kind) = kind else { return self.error(Problem::OpenBrace, start) };
                let modifier = &self.text[modifier_at..self.at];
                let (word, _) = self.until(Some('}'), kind == '#' || kind == '%')?;
                self.modified(name, modifier, kind, word, start)
            }
            '/' => self.replaced(name, start),
            _ => {
                let modifier = first.to_string();
                self.error(Problem::UnknownModifier { name: name.to_owned(), modifier }, modifier_at)
            }
        }
    }

    /// `${name` `modifier` `word}`; `kind` is the modifier without its colon.
    fn modified(&mut self, name: &str, modifier: &str, kind: char, word: String, start: usize) -> Outcome<String> {
        let value = self.value_of(name);
        if value.is_none() && self.how.keep_unset {
            return Ok(format!("${{{name}{modifier}{word}}}"));
        }
        let colon = modifier.starts_with(':');
        let missing = value.as_ref().is_none_or(|v| colon && v.is_empty());
        let unset = value.is_none();
        let value = value.unwrap_or_default();
        match kind {
            '-' => Ok(if missing { word } else { value }),
            '+' => Ok(if missing { String::new() } else { word }),
            '?' if missing => {
                let state = if unset { "is not allowed to be unset" } else { "is not allowed to be empty" };
                let message = if word.is_empty() { state.to_owned() } else { word };
                self.error(Problem::Required { name: name.to_owned(), message }, start)
            }
            '?' => Ok(value),
            '#' | '%' => {
                let (word, greedy) = match word.strip_prefix(kind) {
                    Some(rest) => (rest, true),
                    None => (word.as_str(), false),
                };
                let cut = if kind == '#' { pattern::cut_prefix } else { pattern::cut_suffix };
                cut(word, &value, greedy).map_err(|error| self.bad_pattern(&error, name, word, start))
            }
            _ => {
                let modifier = modifier.to_owned();
                self.error(Problem::UnknownModifier { name: name.to_owned(), modifier }, start)
            }
        }
    }

    /// `${name/pattern/replacement}` and `${name//pattern/replacement}`, from behind the first slash.
    fn replaced(&mut self, name: &str, start: usize) -> Outcome<String> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let (pattern, _) = self.until(Some('/'), true)?;
        let (replacement, _) = self.until(Some('}'), true)?;
        let value = self.value_of(name);
        if value.is_none() && self.how.keep_unset {
            return Ok(format!("${{{name}/{pattern}/{replacement}}}"));
        }
        let value = value.unwrap_or_default();
        let result = if all {
            pattern::replace_all(&pattern, &value, &replacement)
        } else {
            pattern::replace_first(&pattern, &value, &replacement)
        };
        let result = result.map_err(|error| self.bad_pattern(&error, name, &pattern, start))?;
        self.check_length(result.len())?;
        Ok(result)
    }

    fn bad_pattern(&self, error: &PatternError, name: &str, pattern: &str, offset: usize) -> ExpandError {
        let problem = match error {
            PatternError::Bad => Problem::BadPattern { name: name.to_owned(), pattern: pattern.to_owned() },
            PatternError::TooLong => Problem::TooLong,
        };
        ExpandError { problem, offset }
    }

    /// A name: letters, digits and `_`; or only digits; or one special character.
    fn name(&mut self) -> &'a str {
        let text = self.text;
        let rest = &text[self.at..];
        let digits = rest.len() - rest.trim_start_matches(char::is_numeric).len();
        let length = if digits > 0 {
            digits
        } else if rest.starts_with(['@', '*', '#', '?', '-', '$', '!']) {
            1
        } else {
            rest.len() - rest.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_').len()
        };
        self.at += length;
        &rest[..length]
    }

    fn value_of(&mut self, name: &str) -> Option<String> {
        let value = (self.lookup)(name);
        if !self.asked.contains(name) {
            self.asked.insert(name.to_owned());
            let list = if value.is_some() { &mut self.matched } else { &mut self.unmatched };
            list.push(name.to_owned());
        }
        value
    }
}

/// Words as they form.
#[derive(Default)]
struct Words {
    done: Vec<String>,
    word: String,
}

impl Words {
    /// Adds a character that was not quoted: a blank ends the word.
    fn push(&mut self, c: char) {
        if !c.is_whitespace() {
            self.word.push(c);
        } else if !self.word.is_empty() {
            self.done.push(std::mem::take(&mut self.word));
        }
    }

    /// Adds quoted text: blanks in it are part of the word.
    fn push_raw(&mut self, text: &str) {
        self.word.push_str(text);
    }

    fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.done.push(self.word);
        }
        self.done
    }
}
