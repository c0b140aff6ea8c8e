//! A diagnostic as a person reads it.
//!
//! ```text
//! error: `COPY dist/ /srv/` matches nothing
//!   --> Dockerfile:14:6
//!    |
//! 14 | COPY dist/ /srv/
//!    |      ^^^^^ not in the build context
//!    = `.dockerignore:3` excludes `dist`
//! hint: add `!dist/` to `.dockerignore`
//! ```

use std::fmt::Write as _;

use unicode_width::UnicodeWidthChar;

use super::{Diagnostic, Severity};
use crate::login;
use crate::source::Source;

/// Columns of source shown at most.
const WIDTH: usize = 120;
/// Of these, before the place that is wrong when the line is longer.
const BEFORE: usize = 40;
/// Lines shown of a place that has many.
const LINES: usize = 3;
/// Bytes of a message shown: it may quote the text.
const MESSAGE: usize = 2000;

/// Writes a diagnostic the way it is shown to people; the last line ends in a newline. With `color`, for a terminal.
///
/// Everything that comes from the text is made harmless to a terminal: control characters are replaced. Passwords in URLs
/// are not shown.
pub fn render(diagnostic: &Diagnostic, source: &Source, color: bool) -> String {
    let paint = Paint { color };
    let (word, style) = match diagnostic.severity {
        Severity::Error => ("error", "1;31"),
        Severity::Warning => ("warning", "1;33"),
    };
    let mut out = String::new();
    let message = paint.bold(&printable(&login::hidden(&diagnostic.message)));
    let _ = writeln!(out, "{}{message}", paint.with(style, &format!("{word}: ")));

    let start = source.text.floor_char_boundary(diagnostic.span.start.min(source.text.len()));
    let end = source.text.floor_char_boundary(diagnostic.span.end.clamp(start, source.text.len()));
    let (line, column) = source.position(start);
    let lines = excerpt(&source.text, start, end);
    let gutter = (line + lines.len() - 1).to_string().len();
    let bar = |out: &mut String, number: &str, sign: char, rest: &str| {
        let left = paint.with("1;34", &format!("{number:>gutter$} {sign}"));
        let _ = writeln!(out, "{}", format!("{left} {rest}").trim_end());
    };
    let name = printable(&source.name);
    let _ = writeln!(out, "{:gutter$}{} {name}:{line}:{column}", "", paint.with("1;34", "-->"));
    if !source.text.is_empty() {
        bar(&mut out, "", '|', "");
        for (i, shown) in lines.iter().enumerate() {
            bar(&mut out, &(line + i).to_string(), '|', &shown.text);
            if i == 0 {
                let carets = "^".repeat(shown.carets.max(1));
                let label = [carets.as_str(), &printable(&diagnostic.label)].join(" ");
                let indent = " ".repeat(shown.indent);
                bar(&mut out, "", '|', &format!("{indent}{}", paint.with(style, label.trim_end())));
            }
        }
    }
    for note in &diagnostic.notes {
        bar(&mut out, "", '=', &printable(&login::hidden(note)));
    }
    if let Some(hint) = &diagnostic.hint {
        let _ = writeln!(out, "{}{}", paint.with("1;36", "hint: "), printable(&login::hidden(hint)));
    }
    out
}

struct Paint {
    color: bool,
}

impl Paint {
    fn with(&self, style: &str, text: &str) -> String {
        if self.color { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn bold(&self, text: &str) -> String {
        self.with("1", text)
    }
}

/// A line as it is shown.
struct Shown {
    text: String,
    /// Columns before the place.
    indent: usize,
    /// Columns of the place.
    carets: usize,
}

/// The lines of `start..end`, the first few of them, each cut to the width.
fn excerpt(text: &str, start: usize, end: usize) -> Vec<Shown> {
    let mut lines = Vec::new();
    let mut at = start;
    loop {
        // Only as much of a line as can be shown is looked at, however long it is.
        let window = text.floor_char_boundary(at.saturating_sub(4 * WIDTH));
        let line_start = text[window..at].rfind('\n').map_or(window, |i| window + i + 1);
        let reach = text.floor_char_boundary(text.len().min(at + 4 * WIDTH));
        let newline = text[at..reach].find('\n').map(|i| at + i);
        let line_end = newline.unwrap_or(reach);
        let cut = Cut {
            left: line_start > 0 && text.as_bytes()[line_start - 1] != b'\n',
            right: newline.is_none() && reach < text.len(),
        };
        lines.push(show(&text[line_start..line_end], at - line_start, end.min(line_end) - line_start, cut));
        let Some(newline) = text[at..].find('\n').map(|i| at + i).filter(|&newline| newline + 1 < end) else { break };
        at = newline + 1;
        if lines.len() == LINES {
            lines.push(Shown { text: "…".to_owned(), indent: 0, carets: 0 });
            break;
        }
    }
    lines
}

/// Whether a line goes on beyond what was given of it.
struct Cut {
    left: bool,
    right: bool,
}

fn show(line: &str, start: usize, end: usize, cut: Cut) -> Shown {
    let line = &*login::hidden_in_place(line.trim_end_matches('\r'));
    let (start, end) = (start.min(line.len()), end.min(line.len()));
    let mut first = 0;
    if cut.left || columns(line) > WIDTH {
        // Start a little before the place.
        first = line[..start].char_indices().rev().nth(BEFORE - 1).map_or(0, |(i, _)| i);
    }
    let ellipsis = cut.left || first > 0;
    let mut text = if ellipsis { "…".to_owned() } else { String::new() };
    let indent = usize::from(ellipsis) + columns(&line[first..start]);
    let (mut width, mut carets) = (usize::from(ellipsis), 0);
    let mut shown_all = !cut.right;
    for (i, c) in line[first..].char_indices().map(|(i, c)| (first + i, c)) {
        let (c, columns) = printable_char(c);
        if width + columns > WIDTH {
            shown_all = false;
            break;
        }
        width += columns;
        if (start..end).contains(&i) {
            carets += columns;
        }
        text.push_str(&c);
    }
    if !shown_all {
        text.push('…');
    }
    Shown { text, indent, carets }
}

fn columns(text: &str) -> usize {
    text.chars().map(|c| printable_char(c).1).sum()
}

/// A character that cannot disturb a terminal, and its width.
fn printable_char(c: char) -> (String, usize) {
    match c {
        '\t' => ("    ".to_owned(), 4),
        c if harmful(c) => ('\u{fffd}'.to_string(), 1),
        c => (c.to_string(), c.width().unwrap_or(0)),
    }
}

/// Whether a terminal would act on a character: control characters, and those that change the direction of text.
pub fn harmful(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text of a stranger's as text of HTML or XML, attributes included: what means something there is escaped, and what
/// may not be there, or is [`harmful`], is U+FFFD. Line ends stay.
pub fn markup(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            '\n' => out.push('\n'),
            c if harmful(c) || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A message without harmful characters and of bearable length.
fn printable(text: &str) -> String {
    let cut = text.floor_char_boundary(MESSAGE.min(text.len()));
    let mut printable: String = text[..cut].chars().map(|c| if harmful(c) { '\u{fffd}' } else { c }).collect();
    if cut < text.len() {
        printable.push('…');
    }
    printable
}
