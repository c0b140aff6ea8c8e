//! Text with a name, and places in it.

/// A text to parse: a file, or standard input.
#[derive(Debug, Clone)]
pub struct Source {
    /// What to call it in messages: a path relative to where the user stands, or `-`.
    pub name: String,
    /// Its content. Input that is not UTF-8 is turned into it before (with U+FFFD and a warning).
    pub text: String,
}

/// A byte range of a [`Source`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// The range `start..end`.
    pub fn new(start: usize, end: usize) -> Span {
        Span { start, end }
    }
}

/// A text as typed, with its place. Variables in it are not expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// As typed, quotes and escapes included; line continuations removed.
    pub text: String,
    /// Where.
    pub span: Span,
}

impl Source {
    /// Line and column of a byte offset, both from 1; columns count characters.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let before = &self.text[..self.text.floor_char_boundary(offset)];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}
