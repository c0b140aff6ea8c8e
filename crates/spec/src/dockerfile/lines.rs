//! Physical lines → logical lines.

use std::collections::VecDeque;
use std::ops::Range;

use super::traced::Traced;
use crate::source::{Span, Word};

/// Reads a file from top to bottom.
pub(super) struct Lines<'a> {
    text: &'a str,
    at: usize,
    escape: char,
    /// Comments that start before here are directives.
    directives: usize,
}

/// As many comments above an instruction are kept, the nearest ones.
const MAX_COMMENTS: usize = 100;

/// An instruction on one line.
pub(super) struct Logical {
    pub(super) line: Traced,
    /// All physical lines it took.
    pub(super) span: Span,
    /// The first empty line inside it.
    pub(super) empty: Option<Span>,
    /// The comments right above it.
    pub(super) comments: Vec<Word>,
}

impl<'a> Lines<'a> {
    /// `directives` is where the parser directives of the file end.
    pub(super) fn new(text: &'a str, escape: char, directives: usize) -> Lines<'a> {
        let at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Lines { text, at, escape, directives }
    }

    /// How far it has been read.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// The next physical line, its newline included.
    pub(super) fn physical(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        let rest = &self.text[start..];
        if rest.is_empty() {
            return None;
        }
        self.at = rest.find('\n').map_or(self.text.len(), |newline| start + newline + 1);
        Some(start..self.at)
    }

    /// The next line with something on it, with those that continue it.
    ///
    /// The first piece loses its leading blanks, the others keep theirs. Comments and empty lines between pieces are
    /// passed over.
    pub(super) fn logical(&mut self) -> Option<Logical> {
        let text = self.text;
        let mut comments = VecDeque::new();
        loop {
            let first = self.physical()?;
            let content = trim_newline(&text[first.clone()]);
            let content = content.trim_start();
            let start = first.start + (text[first.clone()].len() - text[first.clone()].trim_start().len());
            if let Some(comment) = content.strip_prefix('#') {
                self.comment(comment, start + 1, &mut comments);
                continue;
            }
            if content.is_empty() {
                comments.clear();
                continue;
            }
            let (content, mut more) = self.without_continuation(content);
            let mut line = Traced::default();
            line.push(content, start);
            let (mut end, mut empty) = (start + content.len() + usize::from(more), None);
            while more {
                let Some(next) = self.physical() else { break };
                let content = trim_newline(&text[next.clone()]);
                let trimmed = content.trim_start();
                if trimmed.starts_with('#') {
                    continue;
                }
                if trimmed.is_empty() {
                    empty = empty.or(Some(Span::new(next.start, next.start + content.len())));
                    continue;
                }
                let (content, goes_on) = self.without_continuation(content);
                line.push(content, next.start);
                end = next.start + content.len() + usize::from(goes_on);
                more = goes_on;
            }
            return Some(Logical { line, span: Span::new(start, end), empty, comments: comments.into() });
        }
    }

    /// Keeps a comment, which starts at `at`. An empty one parts those above it from what follows.
    fn comment(&self, text: &str, at: usize, comments: &mut VecDeque<Word>) {
        let trimmed = text.trim();
        if trimmed.is_empty() {
            comments.clear();
            return;
        }
        if at <= self.directives {
            return;
        }
        if comments.len() == MAX_COMMENTS {
            comments.pop_front();
        }
        let start = at + (text.len() - text.trim_start().len());
        comments.push_back(Word { text: trimmed.to_owned(), span: Span::new(start, start + trimmed.len()) });
    }

    /// Cuts the escape character, and blanks behind it, off the end of a line that goes on. A doubled escape character
    /// does not continue a line.
    fn without_continuation<'t>(&self, line: &'t str) -> (&'t str, bool) {
        match line.trim_end_matches([' ', '\t']).strip_suffix(self.escape) {
            Some(before) if !before.ends_with(self.escape) => (before, true),
            _ => (line, false),
        }
    }
}

/// A line without its newline, of either kind.
pub(super) fn trim_newline(line: &str) -> &str {
    line.trim_end_matches(['\r', '\n'])
}
