//! What is wrong, and in which of the files that make up a template.

use std::fmt;
use std::sync::Arc;

use kiln_spec::diag::{Diagnostic, render};
use kiln_spec::source::{Source, Span};

/// A place in one of a template's files.
#[derive(Debug, Clone)]
pub struct Place {
    /// The file.
    pub source: Arc<Source>,
    /// Where in it.
    pub span: Span,
}

impl Place {
    /// The place `span` of `source`.
    pub fn new(source: &Arc<Source>, span: Span) -> Place {
        Place { source: Arc::clone(source), span }
    }

    /// An error at this place.
    pub fn error(&self, code: &'static str, message: impl Into<String>) -> Fault {
        Fault { source: Arc::clone(&self.source), diagnostic: Diagnostic::error(code, self.span, message) }
    }

    /// A warning at this place.
    pub fn warning(&self, code: &'static str, message: impl Into<String>) -> Fault {
        Fault { source: Arc::clone(&self.source), diagnostic: Diagnostic::warning(code, self.span, message) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.source.position(self.span.start.min(self.source.text.len()));
        write!(f, "{}:{line}:{column}", self.source.name)
    }
}

/// A diagnostic together with the file it is about: templates may have many, and variables have files of their own.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The file.
    pub source: Arc<Source>,
    /// What is wrong in it.
    pub diagnostic: Diagnostic,
}

impl Fault {
    /// The same with a label behind the caret.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Fault {
        self.diagnostic = self.diagnostic.label(label);
        self
    }

    /// The same with one more note.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Fault {
        self.diagnostic = self.diagnostic.note(note);
        self
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Fault {
        self.diagnostic = self.diagnostic.hint(hint);
        self
    }

    /// The same, asking whether the closest of `candidates` was meant instead of `word`.
    #[must_use]
    pub fn suggest<'a>(mut self, word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Fault {
        self.diagnostic = self.diagnostic.suggest(word, candidates);
        self
    }

    /// Whether it is an error, and no warning.
    pub fn is_error(&self) -> bool {
        self.diagnostic.is_error()
    }

    /// Where it is.
    pub fn place(&self) -> Place {
        Place { source: Arc::clone(&self.source), span: self.diagnostic.span }
    }

    /// As people read it, with the line and a caret; with `color`, for a terminal.
    pub fn render(&self, color: bool) -> String {
        render(&self.diagnostic, &self.source, color)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place(), self.diagnostic.message)
    }
}

impl std::error::Error for Fault {}
