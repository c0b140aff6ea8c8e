//! Wildcards in paths: `*`, `?`, `[a-z]`, `\*`, and `**` where it is known.
//!
//! Two dialects share one grammar. [`Pattern::new`] is Go's `filepath.Match`, for the sources of `COPY` and `ADD`;
//! [`Pattern::with_globstar`] is moby's `patternmatcher`, for `.dockerignore`, `--exclude` and `--parents`. Both match
//! the whole path. Matching takes time proportional to path × pattern whatever either holds; paths are bytes and need
//! not be UTF-8.
//!
//! Compared with moby on random rules and paths, three oddities are left out, all accidents of its translation to
//! regular expressions: `\d`, `\b` and the like are the letters here, `*` and `?` between `[` and `]` are characters,
//! and a malformed pattern is an error wherever it is malformed.
//!
//! [`fnmatch`] is for names that are no paths: units, devices, users.

mod matcher;
mod parse;

use matcher::Matcher;

/// The longest pattern, in bytes: no path is longer.
pub const MAX_LENGTH: usize = 8192;

/// Why a pattern cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A `[` that is not closed, is empty, or holds a `-` or `]` that is not escaped.
    #[error("a `[` is not closed, or its content is not a set of characters")]
    BadClass,
    /// A range such as `[z-a]`.
    #[error("a range between `[` and `]` runs backwards")]
    BackwardsRange,
    /// A `\` with nothing behind it.
    #[error("a `\\` at the end escapes nothing")]
    TrailingEscape,
    /// Longer than [`MAX_LENGTH`].
    #[error("the pattern is longer than {MAX_LENGTH} bytes")]
    TooLong,
}

/// A compiled pattern.
#[derive(Debug, Clone)]
pub struct Pattern {
    matcher: Matcher,
}

impl Pattern {
    /// Compiles a pattern of `filepath.Match`: `*` and `?` stop at `/`, `**` is no more than `*`.
    ///
    /// # Errors
    /// When the pattern is malformed.
    pub fn new(pattern: impl AsRef<[u8]>) -> Result<Pattern, PatternError> {
        parse::parse(pattern.as_ref(), false).map(|tokens| Pattern { matcher: Matcher::new(tokens) })
    }

    /// Compiles a pattern in which `**` stands for any number of directories, none included.
    ///
    /// # Errors
    /// When the pattern is malformed.
    pub fn with_globstar(pattern: impl AsRef<[u8]>) -> Result<Pattern, PatternError> {
        parse::parse(pattern.as_ref(), true).map(|tokens| Pattern { matcher: Matcher::new(tokens) })
    }

    /// Whether the pattern matches all of `path`.
    pub fn matches(&self, path: impl AsRef<[u8]>) -> bool {
        self.matcher.matches(path.as_ref())
    }

    /// Whether the pattern could match a path below the directory `dir` (the root when empty).
    pub fn may_match_below(&self, dir: impl AsRef<[u8]>) -> bool {
        self.matcher.may_match_below(dir.as_ref())
    }

    /// The only path it matches, when it has no wildcards.
    pub fn literal(&self) -> Option<&[u8]> {
        self.matcher.literal()
    }
}

/// Whether a source of `COPY` has wildcards: an unescaped `*`, `?` or `[`.
pub fn has_wildcards(pattern: impl AsRef<[u8]>) -> bool {
    let mut bytes = pattern.as_ref().iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

/// Whether a name matches a pattern in which `*` stands for any text, slashes too, and `?` for one character; nothing else
/// has a meaning. systemd, sysctl, sshd and NetworkManager have such patterns. Takes pattern × name steps at most.
pub fn fnmatch(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p, n));
                p += 1;
            }
            Some(&c) if c == '?' || c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match retry {
                Some((star, from)) => {
                    retry = Some((star, from + 1));
                    p = star + 1;
                    n = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_in_a_shell() {
        for (pattern, name, wanted) in [
            ("*.conf", "a.conf", true),
            ("a*b*c", "a--b-bc", true),
            ("a?c", "ac", false),
            ("*", "", true),
            ("", "x", false),
            ("*", "a", true),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("?b", "ab", true),
            ("*.ks", "x.ks", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*c", "abd", false),
            ("?", "", false),
            ("?b", "b", false),
            ("*.ks", "x.cfg", false),
            ("a", "ab", false),
            ("*", "cni0", true),
            ("cni*", "cni0", true),
            ("cni?", "cni0", true),
            ("cni0", "cni0", true),
            ("*0", "cni0", true),
            ("en*", "cni0", false),
            ("cni", "cni0", false),
        ] {
            assert_eq!(fnmatch(pattern, name), wanted, "{pattern} {name}");
        }
        assert!(!fnmatch(&"*a".repeat(2000), &"a".repeat(1999)), "patterns of many stars end soon");
    }
}
