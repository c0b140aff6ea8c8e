//! Pattern text → tokens.

use super::{MAX_LENGTH, PatternError};

/// A character of a path: a code point, or a byte that is not UTF-8, moved beyond them all.
pub(super) type Symbol = u32;

/// Added to a byte that is not UTF-8.
const NOT_UTF8: u32 = 0x11_0000;
pub(super) const SLASH: Symbol = b'/' as Symbol;

/// What a pattern is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// This symbol.
    One(Symbol),
    /// `?`: a symbol other than `/`.
    NotSlash,
    /// `[…]`: a symbol in one of the ranges; `negated`, in none. `/` is no exception.
    Class { negated: bool, ranges: Vec<(Symbol, Symbol)> },
    /// `*`: any number of symbols other than `/`.
    Star,
    /// Any number of any symbols.
    Any,
    /// `**/`: nothing, or anything up to a `/`. Always followed by [`Token::InDirs`].
    Dirs,
    /// The inside of [`Token::Dirs`].
    InDirs,
}

/// Takes the first symbol off `bytes`.
pub(super) fn symbol(bytes: &[u8]) -> Option<(Symbol, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    if first < 0x80 {
        return Some((Symbol::from(first), rest));
    }
    let length = match first {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    };
    let decoded = bytes.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok()).and_then(|s| s.chars().next());
    Some(match decoded {
        Some(c) => (Symbol::from(c), &bytes[length..]),
        None => (NOT_UTF8 + Symbol::from(first), rest),
    })
}

/// The bytes of a symbol.
pub(super) fn push_bytes(symbol: Symbol, bytes: &mut Vec<u8>) {
    match char::from_u32(symbol) {
        Some(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        None => bytes.extend(u8::try_from(symbol - NOT_UTF8)),
    }
}

/// Reads a pattern. With `globstar`, `**` means directories.
pub(super) fn parse(pattern: &[u8], globstar: bool) -> Result<Vec<Token>, PatternError> {
    if pattern.len() > MAX_LENGTH {
        return Err(PatternError::TooLong);
    }
    let mut tokens = Vec::new();
    let mut rest = pattern;
    while let Some((c, after)) = symbol(rest) {
        rest = after;
        match u8::try_from(c).unwrap_or(0) {
            b'*' if globstar && rest.first() == Some(&b'*') => {
                let leading = tokens.is_empty();
                rest = globstar_tokens(&rest[1..], leading, &mut tokens);
            }
            b'*' => {
                if tokens.last() != Some(&Token::Star) {
                    tokens.push(Token::Star);
                }
            }
            b'?' => tokens.push(Token::NotSlash),
            b'[' => rest = class(rest, &mut tokens)?,
            b'\\' => {
                let (escaped, after) = symbol(rest).ok_or(PatternError::TrailingEscape)?;
                rest = after;
                tokens.push(Token::One(escaped));
            }
            _ => tokens.push(Token::One(c)),
        }
    }
    Ok(tokens)
}

/// What `**` means depends on where it stands; `rest` is what follows it.
///
/// At the end it is anything. In front of plain text without a slash between, as in `**.md`, it is anything too; in
/// all other places it is directories, with or without the slash behind it.
fn globstar_tokens<'a>(rest: &'a [u8], leading: bool, tokens: &mut Vec<Token>) -> &'a [u8] {
    let after = rest.strip_prefix(b"/").unwrap_or(rest);
    let plain = !after.iter().any(|byte| b"*?[]\\".contains(byte));
    if after.is_empty() || (leading && plain && after.len() == rest.len()) {
        tokens.push(Token::Any);
    } else {
        tokens.extend([Token::Dirs, Token::InDirs]);
    }
    after
}

/// Reads a class, from behind its `[`.
fn class<'a>(mut rest: &'a [u8], tokens: &mut Vec<Token>) -> Result<&'a [u8], PatternError> {
    let negated = rest.first() == Some(&b'^');
    if negated {
        rest = &rest[1..];
    }
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty()
            && let Some(after) = rest.strip_prefix(b"]")
        {
            tokens.push(Token::Class { negated, ranges });
            return Ok(after);
        }
        let (low, after) = class_symbol(rest)?;
        rest = after;
        let mut high = low;
        if let Some(after) = rest.strip_prefix(b"-") {
            (high, rest) = class_symbol(after)?;
        }
        if high < low {
            return Err(PatternError::BackwardsRange);
        }
        ranges.push((low, high));
    }
}

/// One end of a range in a class. Something must follow it: at least the `]`.
fn class_symbol(rest: &[u8]) -> Result<(Symbol, &[u8]), PatternError> {
    let rest = match rest.first() {
        None | Some(b'-' | b']') => return Err(PatternError::BadClass),
        Some(b'\\') => &rest[1..],
        Some(_) => rest,
    };
    let (c, after) = symbol(rest).ok_or(PatternError::BadClass)?;
    if after.is_empty() { Err(PatternError::BadClass) } else { Ok((c, after)) }
}
