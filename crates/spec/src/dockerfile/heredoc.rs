//! `<<EOF`: finding them in a line, and reading their bodies.

use super::lines::{Lines, trim_newline};
use crate::ast::Heredoc;
use crate::expand::Expander;
use crate::source::{Span, Word};

/// A heredoc announced in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Marker {
    pub(super) name: String,
    pub(super) expand: bool,
    pub(super) chomp: bool,
    pub(super) fd: u32,
    /// The word that announced it.
    pub(super) word: String,
}

/// A heredoc and its body as it stands in the file.
pub(super) struct Body {
    pub(super) heredoc: Heredoc,
    /// Tabs included.
    pub(super) raw: String,
}

/// The heredocs a line announces. A line whose quotes do not close announces none.
pub(super) fn markers(line: &str) -> Vec<Marker> {
    if !line.contains("<<") {
        return Vec::new();
    }
    // BuildKit splits with `\` as the escape character, whatever the directive says.
    let how = Expander::new('\\').raw_quotes().raw_escapes().keep_unset();
    let words = how.words(line, &|_| None).unwrap_or_default();
    words.into_iter().filter_map(|word| marker(&word)).collect()
}

/// Reads one word as `[fd]<<[-]NAME`.
pub(super) fn marker(word: &str) -> Option<Marker> {
    let digits = word.len() - word.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (fd, rest) = word.split_at(digits);
    let rest = rest.strip_prefix("<<")?;
    let (chomp, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace());
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let how = Expander::new('\\').keep_unset();
    let name = single(how.words(rest, &|_| None).ok()?)?;
    let raw = single(how.raw_quotes().words(rest, &|_| None).ok()?)?;
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    let expand = quotes(&name) == quotes(&raw);
    let fd = if fd.is_empty() { 0 } else { fd.parse().unwrap_or(u32::MAX) };
    Some(Marker { name, expand, chomp, fd, word: word.to_owned() })
}

fn single(mut words: Vec<String>) -> Option<String> {
    if words.len() == 1 { words.pop() } else { None }
}

/// Reads the body of a heredoc up to its terminator; `None` when the file ends before.
pub(super) fn body(marker: &Marker, lines: &mut Lines<'_>, text: &str) -> Option<Body> {
    let start = lines.position();
    loop {
        let line = lines.physical()?;
        let content = trim_newline(&text[line.clone()]);
        let content = if marker.chomp { content.trim_start_matches('\t') } else { content };
        if content != marker.name {
            continue;
        }
        let raw = text[start..line.start].to_owned();
        let body = if marker.chomp {
            raw.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
        } else {
            raw.clone()
        };
        let heredoc = Heredoc {
            name: marker.name.clone(),
            expand: marker.expand,
            chomp: marker.chomp,
            fd: marker.fd,
            body: Word { text: body, span: Span::new(start, line.start) },
        };
        return Some(Body { heredoc, raw });
    }
}
