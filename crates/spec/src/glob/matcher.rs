//! Tokens against paths.
//!
//! Most patterns are a name, a directory, an extension: those compare bytes. The others simulate all ways to match at
//! once, so that no pattern takes exponential time.

use super::parse::{SLASH, Symbol, Token, push_bytes, symbol};

/// A pattern ready to match.
#[derive(Debug, Clone)]
pub(super) struct Matcher {
    tokens: Vec<Token>,
    /// What every match starts with.
    prefix: Vec<u8>,
    /// What every match ends with.
    suffix: Vec<u8>,
    shape: Shape,
}

/// What stands between prefix and suffix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Nothing: all is in the prefix.
    Literal,
    /// Anything.
    Any,
    /// Anything without a slash.
    Star,
    /// Nothing, or directories.
    Dirs,
    /// Something else.
    General,
}

impl Matcher {
    pub(super) fn new(tokens: Vec<Token>) -> Matcher {
        let literal = |token: &Token| matches!(token, Token::One(_));
        let head = tokens.iter().take_while(|token| literal(token)).count();
        let tail = tokens[head..].iter().rev().take_while(|token| literal(token)).count();
        let middle = &tokens[head..tokens.len() - tail];
        let shape = match middle {
            [] => Shape::Literal,
            // Directories and then anything but a slash: anything.
            [Token::Any] | [Token::Dirs, Token::InDirs, Token::Star] => Shape::Any,
            [Token::Star] => Shape::Star,
            [Token::Dirs, Token::InDirs] => Shape::Dirs,
            _ => Shape::General,
        };
        let (prefix, suffix) = (bytes(&tokens[..head]), bytes(&tokens[tokens.len() - tail..]));
        Matcher { tokens, prefix, suffix, shape }
    }

    pub(super) fn matches(&self, path: &[u8]) -> bool {
        if self.shape == Shape::Literal {
            return path == self.prefix;
        }
        // Prefix and suffix must not overlap.
        let Some(rest) = path.strip_prefix(self.prefix.as_slice()) else { return false };
        let Some(middle) = rest.strip_suffix(self.suffix.as_slice()) else { return false };
        match self.shape {
            Shape::Literal | Shape::Any => true,
            Shape::Star => !middle.contains(&b'/'),
            Shape::Dirs => middle.is_empty() || middle.ends_with(b"/"),
            Shape::General => {
                let mut states = States::new(&self.tokens);
                states.read_all(path) && states.accepts()
            }
        }
    }

    pub(super) fn may_match_below(&self, dir: &[u8]) -> bool {
        let mut states = States::new(&self.tokens);
        let inside = dir.is_empty() || (states.read_all(dir) && states.read(SLASH));
        inside && states.unfinished()
    }

    pub(super) fn literal(&self) -> Option<&[u8]> {
        (self.shape == Shape::Literal).then_some(&self.prefix)
    }
}

fn bytes(tokens: &[Token]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for token in tokens {
        if let Token::One(symbol) = token {
            push_bytes(*symbol, &mut bytes);
        }
    }
    bytes
}

/// All places in the pattern that what was read so far can lead to.
struct States<'a> {
    tokens: &'a [Token],
    now: Vec<bool>,
    next: Vec<bool>,
}

impl<'a> States<'a> {
    fn new(tokens: &'a [Token]) -> States<'a> {
        let mut states = States { tokens, now: vec![false; tokens.len() + 1], next: vec![false; tokens.len() + 1] };
        States::enter(tokens, &mut states.now, 0);
        states
    }

    /// Marks a place, and those reached from it without reading.
    fn enter(tokens: &[Token], set: &mut [bool], mut at: usize) {
        while !std::mem::replace(&mut set[at], true) {
            match tokens.get(at) {
                Some(Token::Star | Token::Any) => at += 1,
                Some(Token::Dirs) => {
                    set[at + 1] = true;
                    at += 2;
                }
                _ => return,
            }
        }
    }

    /// Reads a symbol; false when no match is possible any more.
    fn read(&mut self, symbol: Symbol) -> bool {
        self.next.fill(false);
        let mut alive = false;
        for at in (0..self.tokens.len()).filter(|&at| self.now[at]) {
            let (stay, go) = match &self.tokens[at] {
                Token::One(own) => (false, *own == symbol),
                Token::NotSlash => (false, symbol != SLASH),
                Token::Class { negated, ranges } => {
                    let inside = ranges.iter().any(|&(low, high)| (low..=high).contains(&symbol));
                    (false, inside != *negated)
                }
                Token::Star => (symbol != SLASH, false),
                Token::Any => (true, false),
                Token::Dirs => (false, false),
                Token::InDirs => (true, symbol == SLASH),
            };
            if stay {
                States::enter(self.tokens, &mut self.next, at);
            }
            if go {
                States::enter(self.tokens, &mut self.next, at + 1);
            }
            alive |= stay || go;
        }
        std::mem::swap(&mut self.now, &mut self.next);
        alive
    }

    fn read_all(&mut self, mut path: &[u8]) -> bool {
        while let Some((next, rest)) = symbol(path) {
            if !self.read(next) {
                return false;
            }
            path = rest;
        }
        true
    }

    fn accepts(&self) -> bool {
        self.now[self.tokens.len()]
    }

    /// Whether something more could be read.
    fn unfinished(&self) -> bool {
        self.now[..self.tokens.len()].contains(&true)
    }
}
