//! `# syntax=`, `# escape=` and `# check=`: only at the very top, each once.

use super::file::Sink;
use super::lines::trim_newline;
use crate::ast::Directives;
use crate::diag::Diagnostic;
use crate::source::{Span, Word};

const KNOWN: [&str; 3] = ["syntax", "escape", "check"];

/// Reads the directives of a file, and says where the last of them ends.
///
/// The first line that is no directive, a blank one included, ends them. A line starting in `#!` may come before, but
/// then BuildKit does not see `escape`.
pub(super) fn parse(text: &str, sink: &mut Sink) -> (Directives, usize) {
    let mut end = 0;
    let mut directives = Directives::default();
    let mut at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let mut seen = Vec::new();
    let mut after_shebang = false;
    for line in text[at..].split_inclusive('\n') {
        let start = at;
        at += line.len();
        if start <= 3 && !after_shebang && line.starts_with("#!") {
            after_shebang = true;
            continue;
        }
        let Some((name, value)) = split(trim_newline(line)) else { break };
        let offset = |part: &str| start + (part.as_ptr() as usize - line.as_ptr() as usize);
        let word = Word { text: value.to_owned(), span: Span::new(offset(value), offset(value) + value.len()) };
        let Some(known) = KNOWN.into_iter().find(|known| known.eq_ignore_ascii_case(name)) else { break };
        if seen.contains(&known) {
            let span = Span::new(offset(name), word.span.end);
            let message = format!("more than one `{known}` parser directive");
            end = at;
            sink.push(Diagnostic::error("DuplicateDirective", span, message).hint("remove all but one"));
            continue;
        }
        seen.push(known);
        end = at;
        match known {
            "syntax" => directives.syntax = Some(first_token(word)),
            "check" => directives.check = Some(word),
            _ if after_shebang => break,
            _ => match value {
                "\\" => directives.escape = '\\',
                "`" => directives.escape = '`',
                _ => sink.push(
                    Diagnostic::error("InvalidEscape", word.span, format!("`{value}` cannot be the escape character"))
                        .hint("use `\\`, the default, or a backtick"),
                ),
            },
        }
    }
    (directives, end)
}

/// Takes `# name = value` apart.
fn split(line: &str) -> Option<(&str, &str)> {
    let rest = line.trim_start().strip_prefix('#')?.trim_start();
    let (name, value) = rest.split_once('=')?;
    let name = name.trim_end_matches(|c: char| c.is_ascii_whitespace());
    let value = value.trim_matches(|c: char| c.is_ascii_whitespace());
    let valid = name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.bytes().all(|b| b.is_ascii_alphanumeric());
    (valid && !value.is_empty()).then_some((name, value))
}

/// The frontend is the first part; what follows are arguments for it.
fn first_token(mut word: Word) -> Word {
    if let Some(end) = word.text.find(' ') {
        word.text.truncate(end);
        word.span.end = word.span.start + end;
    }
    word
}
