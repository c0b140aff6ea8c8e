//! `FROM [--platform=…] base [AS name]`

use super::file::{Context, missing};
use super::header::{Header, Takes};
use crate::ast::Stage;
use crate::diag::Diagnostic;
use crate::source::{Span, Word};

/// Parses a `FROM`. There is a stage in any case, so that what follows it has a place.
pub(super) fn parse(header: &Header<'_>, span: Span, context: &mut Context<'_>) -> Stage {
    let flags = header.flags(&[("platform", Takes::Value)], context.sink);
    let words = header.words(context.sink).unwrap_or_default();
    let mut as_keyword = None;
    let name = match words.as_slice() {
        [] if header.args.is_empty() => {
            missing(header, "an image or stage to start from", context.sink);
            None
        }
        [] | [_] => None,
        [_, keyword, name] if keyword.text.eq_ignore_ascii_case("as") => {
            check_name(name, context);
            as_keyword = Some(keyword.clone());
            Some(name.clone())
        }
        [_, keyword, ..] => {
            let diagnostic = if keyword.text.eq_ignore_ascii_case("as") && words.len() == 2 {
                Diagnostic::error("InvalidFrom", keyword.span, "`AS` needs a name")
            } else {
                let rest = Span::new(keyword.span.start, header.span().end);
                Diagnostic::error("InvalidFrom", rest, "`FROM` takes an image, and `AS name` at most")
            };
            context.sink.push(diagnostic.hint("write `FROM image AS name`"));
            None
        }
    };
    let base = words.into_iter().next().unwrap_or_else(|| header.args_word());
    Stage {
        base,
        platform: flags.value("platform"),
        name,
        span,
        keyword: header.keyword.clone(),
        as_keyword,
        comments: Vec::new(),
        instructions: Vec::new(),
    }
}

fn check_name(name: &Word, context: &mut Context<'_>) {
    let lower = name.text.to_lowercase();
    let starts_well = lower.starts_with(|c: char| c.is_ascii_lowercase());
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    if !starts_well || !lower.chars().all(valid) {
        context.sink.push(
            Diagnostic::error("InvalidStageName", name.span, format!("`{}` cannot name a stage", name.text))
                .hint("a name starts with a letter, and has letters, digits, `-`, `_` and `.` only"),
        );
    }
}
