//! Quotes, escapes and `$variables`, exactly as BuildKit's shell-word lexer reads them.
//!
//! It resembles a POSIX shell, and is none: there are no commands, no field separators, no globbing, and values are
//! never expanded again. The forms are `$x` `${x}`, with a default `${x:-w}` `${x-w}`, an alternative `${x:+w}`
//! `${x+w}`, a demand `${x:?w}` `${x?w}`, a cut prefix `${x#p}` `${x##p}` or suffix `${x%p}` `${x%%p}`, and a
//! replacement `${x/p/r}` `${x//p/r}`; the words inside are expanded themselves. Patterns know `*` and `?`.
//! `$$`, `$1`, `$@` and their like name variables nobody can set, so they come out empty.

mod lexer;
mod pattern;

use lexer::Lexer;

/// The longest text one expansion may give, in bytes: a value that doubles itself line by line ends here.
pub const MAX_LENGTH: usize = 64 << 20;

/// How deep `${a:-${b:-…}}` may nest.
pub const MAX_DEPTH: usize = 64;

/// Where values come from: `None` for a variable that is not set.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// How to read a text. Cheap to make and to copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expander {
    escape: char,
    raw_quotes: bool,
    raw_escapes: bool,
    skip_quotes: bool,
    keep_unset: bool,
}

/// The outcome of an expansion.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expanded {
    /// The whole text, expanded.
    pub value: String,
    /// The same, split at unquoted blanks; empty words are not among them.
    pub words: Vec<String>,
    /// Names that were asked for and found, each once, in order of appearance.
    pub matched: Vec<String>,
    /// Names that were asked for and not set, each once, in order of appearance.
    pub unmatched: Vec<String>,
}

/// Why a text could not be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct ExpandError {
    /// What is wrong.
    pub problem: Problem,
    /// Byte offset in the text where it is wrong.
    pub offset: usize,
}

/// What is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A `'` or `"` is never closed.
    #[error("the quote {0} is not closed")]
    OpenQuote(char),
    /// A `${` is never closed.
    #[error("`${{` is not closed: missing `}}`")]
    OpenBrace,
    /// `${x/pattern` without the second `/`.
    #[error("missing `/` after the pattern in `${{name/pattern/replacement}}`")]
    MissingSlash,
    /// `${}`, `${:x}`, `${{x}}`.
    #[error("bad substitution: `${{` must be followed by a name")]
    MissingName,
    /// `${x=y}` and other forms that do not exist here.
    #[error("unsupported modifier `{modifier}` in the substitution of `{name}`")]
    UnknownModifier {
        /// The variable.
        name: String,
        /// What followed it.
        modifier: String,
    },
    /// `${x:?message}` of a variable that has no value.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// What the author of the text says about it.
        message: String,
    },
    /// A pattern that cannot be read.
    #[error("invalid pattern `{pattern}` in the substitution of `{name}`")]
    BadPattern {
        /// The variable.
        name: String,
        /// The pattern.
        pattern: String,
    },
    /// `${…}` nested too deep.
    #[error("substitutions nest deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// The result is too long.
    #[error("the expanded text is longer than {} MiB", MAX_LENGTH >> 20)]
    TooLong,
}

impl Expander {
    /// Reads text whose escape character is `escape`, as set by the `# escape=` directive.
    pub fn new(escape: char) -> Expander {
        Expander { escape, raw_quotes: false, raw_escapes: false, skip_quotes: false, keep_unset: false }
    }

    /// Reads the body of an unquoted `COPY <<EOF`: quotes are ordinary characters, and the escape character is `\`
    /// whatever the directive says.
    pub fn heredoc() -> Expander {
        Expander { skip_quotes: true, ..Expander::new('\\') }
    }

    /// Keeps quotes in the result. They still protect what is between them.
    pub fn raw_quotes(self) -> Expander {
        Expander { raw_quotes: true, ..self }
    }

    /// Keeps escape characters in the result. They still protect what follows.
    pub fn raw_escapes(self) -> Expander {
        Expander { raw_escapes: true, ..self }
    }

    /// Leaves references to variables that are not set as they were typed.
    pub fn keep_unset(self) -> Expander {
        Expander { keep_unset: true, ..self }
    }

    /// Expands `text` as one word: blanks are kept.
    ///
    /// # Errors
    /// When quotes or braces do not close, a form does not exist, a required variable is missing, or a limit is hit.
    pub fn word(self, text: &str, lookup: Lookup<'_>) -> Result<Expanded, ExpandError> {
        if self.is_plain(text) {
            return Ok(Expanded { value: text.to_owned(), ..Expanded::default() });
        }
        let mut expanded = Lexer::new(self, text, lookup).run()?;
        expanded.words.clear();
        Ok(expanded)
    }

    /// Expands `text` and splits it at unquoted blanks, those in values included.
    ///
    /// # Errors
    /// As for [`Expander::word`].
    pub fn words(self, text: &str, lookup: Lookup<'_>) -> Result<Vec<String>, ExpandError> {
        Ok(Lexer::new(self, text, lookup).run()?.words)
    }

    /// Expands `text` and gives both forms, [`Expanded::value`] and [`Expanded::words`].
    ///
    /// # Errors
    /// As for [`Expander::word`].
    pub fn both(self, text: &str, lookup: Lookup<'_>) -> Result<Expanded, ExpandError> {
        Lexer::new(self, text, lookup).run()
    }

    /// Whether nothing in `text` is special, so that it stands for itself.
    fn is_plain(self, text: &str) -> bool {
        text.len() <= MAX_LENGTH
            && !text.contains(|c| c == '$' || c == self.escape || (!self.skip_quotes && (c == '\'' || c == '"')))
    }
}

/// Whether a text, as typed, refers to a variable: cheap, and true for an escaped `$` too.
pub fn mentions_variable(text: &str) -> bool {
    text.contains('$')
}
