//! What went wrong, and where.

use std::fmt;

/// Why a template cannot be parsed or executed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// It is not a template.
    #[error("{0}")]
    Syntax(String),
    /// A function that nobody registered.
    #[error("there is no function `{0}`")]
    UnknownFunction(String),
    /// A `$variable` that is not declared here.
    #[error("the variable `{0}` is not declared")]
    UndeclaredVariable(String),
    /// A template that is not defined.
    #[error("there is no template named `{0}`")]
    UnknownTemplate(String),
    /// A field of something that has none by this name.
    #[error("there is no `{name}` in {of}")]
    NoField {
        /// The field.
        name: String,
        /// What has no such field, with an article.
        of: String,
    },
    /// A key that a map does not hold, where that is an error.
    #[error("nothing is known by the name `{0}` here")]
    MissingKey(String),
    /// An operation on a value of another kind.
    #[error("{0}")]
    WrongType(String),
    /// A function failed.
    #[error("{message}")]
    Failed {
        /// Its name.
        function: String,
        /// What it said.
        message: String,
    },
    /// A limit was reached.
    #[error("{what} beyond the limit of {limit}")]
    Limit {
        /// What has a limit.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

/// A failure in a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    reason: Reason,
    template: String,
    hint: Option<String>,
    span: (usize, usize),
    position: (usize, usize),
    expression: String,
}

/// The longest expression quoted in a message.
const QUOTED: usize = 80;

impl Error {
    /// An error at bytes `span` of the text of `template`.
    pub(crate) fn new(reason: Reason, template: &str, text: &str, span: (usize, usize)) -> Error {
        let start = text.floor_char_boundary(span.0.min(text.len()));
        let end = text.floor_char_boundary(span.1.clamp(start, text.len()));
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let position = (text[..start].matches('\n').count() + 1, text[line_start..start].chars().count() + 1);
        let mut expression = text[start..end].trim().to_owned();
        if expression.len() > QUOTED {
            expression.truncate(expression.floor_char_boundary(QUOTED));
            expression.push('…');
        }
        Error { reason, template: template.to_owned(), hint: None, span: (start, end), position, expression }
    }

    pub(crate) fn with_hint(mut self, hint: Option<String>) -> Error {
        self.hint = hint;
        self
    }

    /// Why.
    pub fn reason(&self) -> &Reason {
        &self.reason
    }

    /// What to do, if the function that failed knows.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The name of the template.
    pub fn template(&self) -> &str {
        &self.template
    }

    /// The first byte of the place in the template's text.
    pub fn start(&self) -> usize {
        self.span.0
    }

    /// One past its last byte.
    pub fn end(&self) -> usize {
        self.span.1
    }

    /// Line and column, both from 1; columns count characters.
    pub fn position(&self) -> (usize, usize) {
        self.position
    }

    /// The expression that failed, shortened when long.
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// Whether it is about what the data holds, and not about the template alone: other data may have no such error.
    pub fn is_about_data(&self) -> bool {
        matches!(self.reason, Reason::NoField { .. } | Reason::MissingKey(_) | Reason::WrongType(_))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.position;
        write!(f, "{}:{line}:{column}: {}", self.template, self.reason)?;
        if self.expression.is_empty() { Ok(()) } else { write!(f, " in `{}`", self.expression) }
    }
}

impl std::error::Error for Error {}

/// Why a function of a template failed; where is added by the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// An error of a template executed by the function: kept as it is.
    pub(crate) inner: Option<Box<Error>>,
}

impl Failure {
    /// A failure for the reason `message`.
    pub fn new(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), hint: None, inner: None }
    }

    /// The same with what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Failure {
        Failure::new(message)
    }
}

impl From<&str> for Failure {
    fn from(message: &str) -> Failure {
        Failure::new(message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { message: error.to_string(), hint: error.hint.clone(), inner: Some(Box::new(error)) }
    }
}
