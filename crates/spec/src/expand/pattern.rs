//! The patterns of `${x#p}`, `${x%p}` and `${x/p/r}`: `*`, `?`, and nothing else.
//!
//! They become regular expressions, because the rules for which of several matches counts are those of the `regex`
//! crate's family: leftmost, and as short or as long as asked.

use regex::{NoExpand, Regex, RegexBuilder};

use super::MAX_LENGTH;

/// Why a pattern gives nothing.
#[derive(Debug)]
pub(super) enum PatternError {
    /// It cannot be read.
    Bad,
    /// What it gives is longer than [`MAX_LENGTH`].
    TooLong,
}

/// Compiled patterns may take this many bytes.
const SIZE_LIMIT: usize = 4 << 20;

fn compile(pattern: &str, greedy: bool, anchored: bool) -> Result<Regex, PatternError> {
    let mut text = String::with_capacity(pattern.len() + 4);
    if anchored {
        text.push('^');
    }
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' => text.push_str(if greedy { ".*" } else { ".*?" }),
            '?' => text.push('.'),
            '\\' => match chars.peek() {
                // Escaped only so that they do not end the substitution; what follows stands for itself.
                Some('}' | '/') => {}
                Some('*' | '?' | '\\') => {
                    text.push('\\');
                    text.extend(chars.next());
                }
                _ => return Err(PatternError::Bad),
            },
            c => text.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    RegexBuilder::new(&text).size_limit(SIZE_LIMIT).build().map_err(|_| PatternError::Bad)
}

/// Removes the shortest (`greedy`: longest) prefix matching `pattern`.
pub(super) fn cut_prefix(pattern: &str, value: &str, greedy: bool) -> Result<String, PatternError> {
    let found = compile(pattern, greedy, true)?.find(value).map_or(0, |found| found.end());
    Ok(value[found..].to_owned())
}

/// Removes the shortest (`greedy`: longest) suffix matching `pattern`.
///
/// The shortest match at the end is found by looking for it at the start of everything reversed.
pub(super) fn cut_suffix(pattern: &str, value: &str, greedy: bool) -> Result<String, PatternError> {
    let reversed: String = value.chars().rev().collect();
    let rest = cut_prefix(&reverse_pattern(pattern), &reversed, greedy)?;
    Ok(rest.chars().rev().collect())
}

/// Reverses a pattern, keeping each escape before the character it belongs to.
fn reverse_pattern(pattern: &str) -> String {
    let mut units: Vec<(bool, char)> = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some(&escaped)) => {
                chars.next();
                units.push((true, escaped));
            }
            _ => units.push((false, c)),
        }
    }
    let mut reversed = String::with_capacity(pattern.len());
    for (escaped, c) in units.into_iter().rev() {
        if escaped {
            reversed.push('\\');
        }
        reversed.push(c);
    }
    reversed
}

/// Replaces the first match.
pub(super) fn replace_first(pattern: &str, value: &str, replacement: &str) -> Result<String, PatternError> {
    Ok(compile(pattern, true, false)?.replace(value, NoExpand(replacement)).into_owned())
}

/// Replaces every match. An escaped `$0` in the replacement stands for the match, as it does in BuildKit.
pub(super) fn replace_all(pattern: &str, value: &str, replacement: &str) -> Result<String, PatternError> {
    let mut result = String::with_capacity(value.len());
    let mut copied = 0;
    for found in compile(pattern, true, false)?.captures_iter(value) {
        let whole = found.get_match();
        result.push_str(&value[copied..whole.start()]);
        found.expand(replacement, &mut result);
        copied = whole.end();
        if result.len() > MAX_LENGTH {
            return Err(PatternError::TooLong);
        }
    }
    result.push_str(&value[copied..]);
    Ok(result)
}
