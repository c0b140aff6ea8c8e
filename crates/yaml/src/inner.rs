//! Texts in texts: a YAML document in a string of another, as ConfigMaps have them.

use kiln_spec::source::Span;

use crate::node::{Node, Style};

/// Where the bytes of a string are in the text around it.
#[derive(Debug, Clone)]
pub struct Places {
    /// Of each line: where it starts in the string, and in the text around it.
    lines: Vec<(usize, usize)>,
    whole: Span,
}

impl Places {
    /// Of the string of `node`, written in `text`. Exact for `|` blocks; anything in strings of another style, whose
    /// lines are joined or escaped, is at the place of the whole string.
    pub fn of(node: &Node, text: &str) -> Places {
        let lines = match (node.style, node.text()) {
            (Style::Literal, Some(inner)) => lines(inner, node.span, text).unwrap_or_default(),
            _ => Vec::new(),
        };
        Places { lines, whole: node.span }
    }

    /// Whether each byte of the string has a place of its own.
    pub fn is_exact(&self) -> bool {
        !self.lines.is_empty()
    }

    /// Where a span of the string is in the text around it.
    pub fn outer(&self, inner: Span) -> Span {
        match (self.place(inner.start), self.place(inner.end)) {
            (Some(start), Some(end)) if start <= end => Span::new(start, end),
            _ => self.whole,
        }
    }

    fn place(&self, offset: usize) -> Option<usize> {
        let i = self.lines.partition_point(|(inner, _)| *inner <= offset).checked_sub(1)?;
        let (inner, outer) = self.lines[i];
        Some(outer + (offset - inner))
    }
}

/// The lines of a `|` block, if each is found in the text with the same indent.
fn lines(inner: &str, span: Span, text: &str) -> Option<Vec<(usize, usize)>> {
    let before = text.get(..span.start)?;
    let mut outer = before.rfind('\n').map_or(0, |i| i + 1);
    if text[span.start..].starts_with('|') {
        outer = span.start + text[span.start..].find('\n')? + 1;
    }
    let (mut found, mut at) = (Vec::new(), 0);
    let mut indent = None;
    for line in inner.split_inclusive('\n') {
        let rest = text.get(outer..)?;
        let length = rest.find('\n').map_or(rest.len(), |i| i + 1);
        let written = rest[..length].trim_end_matches(['\n', '\r']);
        let content = line.trim_end_matches('\n');
        if content.is_empty() {
            found.push((at, outer + indent.unwrap_or(0).min(written.len())));
        } else {
            let indent = *indent.get_or_insert(written.len().checked_sub(content.len())?);
            if written.get(indent..) != Some(content) {
                return None;
            }
            found.push((at, outer + indent));
        }
        at += line.len();
        outer += length;
    }
    Some(found)
}
