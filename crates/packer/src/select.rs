//! `-only` and `-except`: globs on the names of builds.
//!
//! `*` stands for any text, `?` for one character, `[a-z]` and `[!a-z]` for one of a set, `{a,b}` for one of several
//! texts, and `\` takes a sign's meaning away. Names hold no directories: `*` matches all characters.

use std::sync::Arc;

use kiln_spec::source::{Source, Span};

use crate::fault::{Fault, Place};

/// The longest pattern, and the most texts its braces may stand for.
const MAX_PATTERN: usize = 1024;
const MAX_ALTERNATIVES: usize = 256;

/// What is left of a template's builds.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    only: Vec<Glob>,
    except: Vec<Glob>,
}

/// A pattern and what its braces make of it.
#[derive(Debug, Clone)]
struct Glob {
    pattern: String,
    alternatives: Vec<Vec<Token>>,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Char(char),
    One,
    Any,
    Set { chars: Vec<(char, char)>, negated: bool },
}

impl Selection {
    /// What `-only` and `-except` say.
    ///
    /// # Errors
    /// A sentence naming the pattern that is malformed.
    pub fn new(only: &[String], except: &[String]) -> Result<Selection, String> {
        let globs = |patterns: &[String]| patterns.iter().map(|pattern| Glob::new(pattern)).collect::<Result<_, _>>();
        Ok(Selection { only: globs(only)?, except: globs(except)? })
    }

    /// Whether a build of any of `names` is built: HCL2's have a name with and one without that of their block.
    pub fn takes(&self, names: &[&str]) -> bool {
        let any = |globs: &[Glob]| globs.iter().any(|glob| names.iter().any(|name| glob.matches(name)));
        (self.only.is_empty() || any(&self.only)) && !any(&self.except)
    }

    /// Whether `-except` names the post-processor `name`.
    pub fn excepts(&self, name: &str) -> bool {
        self.except.iter().any(|glob| glob.matches(name))
    }

    /// The patterns that match none of `names`.
    pub fn unmatched<'s>(&'s self, names: &[&str]) -> Vec<&'s str> {
        let globs = self.only.iter().chain(&self.except);
        globs.filter(|glob| !names.iter().any(|name| glob.matches(name))).map(|glob| glob.pattern.as_str()).collect()
    }

    /// A warning for each pattern that matches none of `names`, those of all builds and post-processors.
    pub fn warnings(&self, names: &[&str]) -> Vec<Fault> {
        let source = Arc::new(Source { name: "command line".to_owned(), text: String::new() });
        let place = Place::new(&source, Span::default());
        let warning = |pattern: &str| {
            let message = format!("`{pattern}` matches no build and no post-processor");
            place.warning("UnmatchedPattern", message).suggest(pattern, names.iter().copied())
        };
        self.unmatched(names).into_iter().map(warning).collect()
    }
}

impl Glob {
    fn new(pattern: &str) -> Result<Glob, String> {
        if pattern.len() > MAX_PATTERN {
            return Err(format!(
                "the pattern `{}…` is longer than {MAX_PATTERN} bytes",
                &pattern[..pattern.floor_char_boundary(40)]
            ));
        }
        let wrong = |why: &str| format!("the pattern `{pattern}` is malformed: {why}");
        let expanded = expanded(pattern).map_err(|why| wrong(&why))?;
        let alternatives =
            expanded.iter().map(|text| tokens(text)).collect::<Result<_, _>>().map_err(|why| wrong(&why))?;
        Ok(Glob { pattern: pattern.to_owned(), alternatives })
    }

    fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        self.alternatives.iter().any(|tokens| matches(tokens, &name))
    }
}

/// The texts that a pattern with braces stands for.
fn expanded(pattern: &str) -> Result<Vec<String>, String> {
    let mut done = vec![String::new()];
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                let escaped = chars.next().ok_or("a `\\` at the end escapes nothing")?;
                done.iter_mut().for_each(|text| text.extend(['\\', escaped]));
            }
            '{' => {
                let inner: String = chars.by_ref().take_while(|&c| c != '}').collect();
                if inner.contains('{') {
                    return Err("`{` inside of `{`".to_owned());
                }
                if !pattern.contains('}') {
                    return Err("a `{` is not closed".to_owned());
                }
                let parts: Vec<&str> = inner.split(',').collect();
                if done.len() * parts.len() > MAX_ALTERNATIVES {
                    return Err(format!("it stands for more than {MAX_ALTERNATIVES} texts"));
                }
                done = done.iter().flat_map(|text| parts.iter().map(move |part| format!("{text}{part}"))).collect();
            }
            c => done.iter_mut().for_each(|text| text.push(c)),
        }
    }
    Ok(done)
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' if tokens.last() == Some(&Token::Any) => continue,
            '*' => Token::Any,
            '?' => Token::One,
            '\\' => Token::Char(chars.next().ok_or("a `\\` at the end escapes nothing")?),
            '[' => {
                let negated = chars.next_if(|&c| c == '!' || c == '^').is_some();
                let mut set = Vec::new();
                loop {
                    let from = chars.next().ok_or("a `[` is not closed")?;
                    if from == ']' && !set.is_empty() {
                        break;
                    }
                    let to = match chars.next_if_eq(&'-') {
                        Some(_) => chars.next().ok_or("a `[` is not closed")?,
                        None => from,
                    };
                    set.push((from, to));
                }
                Token::Set { chars: set, negated }
            }
            c => Token::Char(c),
        });
    }
    Ok(tokens)
}

/// Whether all of `name` matches: after a mismatch, the last `*` takes one character more.
fn matches(tokens: &[Token], name: &[char]) -> bool {
    let (mut token, mut at) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while at < name.len() {
        let fits = match tokens.get(token) {
            Some(Token::Any) => {
                retry = Some((token, at));
                token += 1;
                continue;
            }
            Some(Token::One) => true,
            Some(Token::Char(c)) => name[at] == *c,
            Some(Token::Set { chars, negated }) => {
                chars.iter().any(|&(from, to)| (from..=to).contains(&name[at])) != *negated
            }
            None => false,
        };
        if fits {
            (token, at) = (token + 1, at + 1);
        } else if let Some((any, from)) = retry {
            (token, at) = (any + 1, from + 1);
            retry = Some((any, from + 1));
        } else {
            return false;
        }
    }
    tokens.get(token..).unwrap_or_default().iter().all(|token| *token == Token::Any)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(only: &[&str], except: &[&str], name: &str) -> bool {
        let owned = |patterns: &[&str]| patterns.iter().map(|&pattern| pattern.to_owned()).collect::<Vec<_>>();
        Selection::new(&owned(only), &owned(except)).is_ok_and(|selection| selection.takes(&[name]))
    }

    #[test]
    fn globs_match_whole_names() {
        assert!(takes(&[], &[], "qemu.base"));
        assert!(takes(&["qemu.*"], &[], "qemu.base"));
        assert!(takes(&["q?mu", "null.*"], &[], "null.x"));
        assert!(takes(&["{qemu,null}.b*e"], &[], "null.base"));
        assert!(takes(&["*.[a-c]"], &[], "qemu.b"));
        assert!(!takes(&["*.[!a-c]"], &[], "qemu.b"));
        assert!(!takes(&["qemu"], &[], "qemu.base"));
        assert!(!takes(&[], &["*base"], "qemu.base"));
        assert!(!takes(&["qemu.*"], &["*.base"], "qemu.base"));
        assert!(takes(&["a\\*"], &[], "a*"));
        assert!(!takes(&["a\\*"], &[], "ab"));
    }

    #[test]
    fn malformed_and_hostile_patterns_end() {
        for pattern in ["[a", "{a", "a\\", "{a{b}}", &"{a,b}".repeat(9), &"x".repeat(2000)] {
            assert!(Selection::new(&[pattern.to_owned()], &[]).is_err(), "{pattern}");
        }
        assert!(!takes(&[&"*a".repeat(400)], &[], &"a".repeat(399)));
    }

    #[test]
    fn says_what_matched_nothing() {
        let selection = Selection::new(&["qemu*".to_owned(), "nul".to_owned()], &[]).expect("patterns");
        assert_eq!(selection.unmatched(&["qemu", "null"]), ["nul"]);
    }
}
