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
