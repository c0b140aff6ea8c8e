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
pub struct Error(Box<Details>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Details {
    reason: Reason,
    template: String,
    hint: Option<String>,
    span: (usize, usize),
    position: (usize, usize),
    expression: String,
    callers: Vec<Caller>,
}

/// Who executed the template that failed: an action of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The name of the template the action is in.
    pub template: String,
    /// Its line and column, from 1.
    pub position: (usize, usize),
    /// The action.
    pub expression: String,
}

/// As many callers are kept, the inner ones.
const CALLERS: usize = 16;

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
        let (template, span) = (template.to_owned(), (start, end));
        Error(Box::new(Details { reason, template, hint: None, span, position, expression, callers: Vec::new() }))
    }

    /// The same, executed by the action that `outer` is about.
    pub(crate) fn called(mut self, outer: &Error) -> Error {
        if self.0.callers.len() < CALLERS {
            let Details { template, position, expression, .. } = &*outer.0;
            let (template, position, expression) = (template.clone(), *position, expression.clone());
            self.0.callers.push(Caller { template, position, expression });
        }
        self
    }

    pub(crate) fn with_hint(mut self, hint: Option<String>) -> Error {
        self.0.hint = hint;
        self
    }

    /// Why.
    pub fn reason(&self) -> &Reason {
        &self.0.reason
    }

    /// What to do, if the function that failed knows.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The actions that executed the template, the innermost first; of a long chain only its inner end.
    pub fn callers(&self) -> &[Caller] {
        &self.0.callers
    }

    /// The name of the template.
    pub fn template(&self) -> &str {
        &self.0.template
    }

    /// The first byte of the place in the template's text.
    pub fn start(&self) -> usize {
        self.0.span.0
    }

    /// One past its last byte.
    pub fn end(&self) -> usize {
        self.0.span.1
    }

    /// Line and column, both from 1; columns count characters.
    pub fn position(&self) -> (usize, usize) {
        self.0.position
    }

    /// The expression that failed, shortened when long.
    pub fn expression(&self) -> &str {
        &self.0.expression
    }

    /// Whether it is about what the data holds, and not about the template alone: other data may have no such error.
    pub fn is_about_data(&self) -> bool {
        matches!(self.0.reason, Reason::NoField { .. } | Reason::MissingKey(_) | Reason::WrongType(_))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.0.position;
        write!(f, "{}:{line}:{column}: {}", self.0.template, self.0.reason)?;
        if self.0.expression.is_empty() { Ok(()) } else { write!(f, " in `{}`", self.0.expression) }
    }
}

impl std::error::Error for Error {}

/// Why a function of a template failed; where is added by the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// An error of a template executed by the function: kept as it is.
    pub(crate) inner: Option<Error>,
}

impl Failure {
    /// A failure for the reason `message`.
    pub fn new(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), hint: None, inner: None }
    }

    /// What it says.
    pub fn message(&self) -> &str {
        &self.message
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
        Failure { message: error.to_string(), hint: error.0.hint.clone(), inner: Some(error) }
    }
}
