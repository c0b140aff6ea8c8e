//! Text put together from pieces of a source, still knowing where each piece was.

use std::ops::Range;

use crate::source::{Span, Word};

/// A text and the places its parts came from.
#[derive(Debug, Clone, Default)]
pub(super) struct Traced {
    pub(super) text: String,
    /// (where a piece starts in `text`, where it starts in the source), ascending in both.
    pieces: Vec<(usize, usize)>,
}

impl Traced {
    /// Adds `text`, which is at byte `at` of the source.
    pub(super) fn push(&mut self, text: &str, at: usize) {
        if text.is_empty() && !self.pieces.is_empty() {
            return;
        }
        let continues =
            self.pieces.last().is_some_and(|&(own, origin)| self.text.len().checked_sub(own) == at.checked_sub(origin));
        if !continues {
            self.pieces.push((self.text.len(), at));
        }
        self.text.push_str(text);
    }

    /// Where byte `at` of the text was in the source.
    pub(super) fn origin(&self, at: usize) -> usize {
        let next = self.pieces.partition_point(|&(own, _)| own <= at);
        match next.checked_sub(1).and_then(|i| self.pieces.get(i)) {
            Some(&(own, origin)) => origin + (at - own),
            None => 0,
        }
    }

    /// Where a range of the text was.
    pub(super) fn span(&self, range: Range<usize>) -> Span {
        let start = self.origin(range.start);
        // The end is taken from the last byte in the range: what follows it may be lines away.
        let end = if range.is_empty() { start } else { self.origin(range.end - 1) + 1 };
        Span::new(start, end)
    }

    /// A range of the text as a word.
    pub(super) fn word(&self, range: Range<usize>) -> Word {
        Word { text: self.text[range.clone()].to_owned(), span: self.span(range) }
    }

    /// All of it as a word.
    pub(super) fn whole(&self) -> Word {
        self.word(0..self.text.len())
    }

    /// A range of the text, traced.
    pub(super) fn slice(&self, range: Range<usize>) -> Traced {
        let first = self.pieces.partition_point(|&(own, _)| own <= range.start);
        let mut slice =
            Traced { text: self.text[range.clone()].to_owned(), pieces: vec![(0, self.origin(range.start))] };
        for &(own, origin) in self.pieces[first..].iter().take_while(|&&(own, _)| own < range.end) {
            slice.pieces.push((own - range.start, origin));
        }
        slice
    }

    /// The range without blanks at both ends.
    pub(super) fn trim(&self, range: Range<usize>) -> Range<usize> {
        let text = &self.text[range.clone()];
        let start = range.start + (text.len() - text.trim_start().len());
        start..start + text.trim().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_where_pieces_were() {
        let mut traced = Traced::default();
        traced.push("RUN a ", 10);
        traced.push("b", 16);
        traced.push("c d", 30);
        assert_eq!(traced.pieces.len(), 2);
        assert_eq!(traced.word(4..8), Word { text: "a bc".into(), span: Span::new(14, 31) });
        assert_eq!(traced.span(7..7), Span::new(30, 30));
        let slice = traced.slice(6..10);
        assert_eq!(
            (slice.text.as_str(), slice.span(0..1), slice.span(1..4)),
            ("bc d", Span::new(16, 17), Span::new(30, 33))
        );
    }
}
