//! Lines of files that are no YAML.

use kiln_spec::source::Span;

use crate::finder::{Candidate, Finder, Scene};
use crate::found::Certainty;
use crate::{rule, word};

/// Searches lines for `image: NAME`. `offset` is where the text starts in what the scene searches.
pub fn search(finder: &mut Finder<'_>, scene: &Scene, text: &str, offset: usize) {
    let mut at = offset;
    for line in text.split_inclusive('\n') {
        if !line.trim_start().starts_with('#') {
            values(line, |value, span| {
                let path = "";
                let span = Span::new(at + span.start, at + span.end);
                let certainty = match word::is_structured(value) || word::is_template(value) {
                    true => Certainty::Named,
                    false => Certainty::Possible,
                };
                finder.take(scene, &Candidate { text: value, span, path, rule: &rule::LINE, certainty });
            });
        }
        at += line.len();
    }
}

/// The values of keys for images on a line, in block style, flow style and JSON.
fn values(line: &str, mut take: impl FnMut(&str, Span)) {
    let mut from = 0;
    while let Some(found) = line[from..].find(':') {
        let colon = from + found;
        from = colon + 1;
        let before = line[..colon].trim_end_matches(['"', '\'']);
        let key = before
            .rsplit(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')))
            .next()
            .unwrap_or_default();
        let rest = &line[from..];
        let quoted = line[..colon].ends_with('"');
        if !word::is_image_key(key) || !(quoted || rest.starts_with([' ', '\t', '\n', '\r'])) {
            continue;
        }
        let start = from + (rest.len() - rest.trim_start().len());
        let Some(span) = value(line, start) else { continue };
        let text = &line[span.start..span.end];
        from = span.end;
        if !text.is_empty() && !text.starts_with(['&', '*', '|', '>', '[', '#']) && !word::is_something_else_here(text)
        {
            take(text, span);
        }
    }
}

/// Where a value that starts at `start` ends: at its quote, at a comment, or where its map in flow style does.
fn value(line: &str, start: usize) -> Option<Span> {
    let rest = line.get(start..)?;
    for quote in ['"', '\''] {
        if let Some(inner) = rest.strip_prefix(quote) {
            let end = inner.find(quote).unwrap_or(inner.trim_end().len());
            return Some(Span::new(start + 1, start + 1 + end));
        }
    }
    // What a template writes may have any of these characters in it.
    if rest.starts_with("{{") {
        let end = rest.rfind("}}").map_or(rest.trim_end().len(), |i| {
            i + 2
                + rest[i + 2..].find(|c: char| c.is_whitespace() || c == ',' || c == '}').unwrap_or(rest.len() - i - 2)
        });
        return Some(Span::new(start, start + end));
    }
    if rest.starts_with('{') {
        return None;
    }
    let end = rest.find([',', '}', ']']).filter(|_| !rest.contains("{{")).unwrap_or(rest.len());
    let end = rest[..end].find(" #").or_else(|| rest[..end].find("\t#")).unwrap_or(end);
    Some(Span::new(start, start + rest[..end].trim_end().len()))
}
