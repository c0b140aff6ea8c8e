//! `FROM [--platform=…] base [AS name]`

use super::file::{Context, missing};
use super::header::{Header, Takes};
use crate::ast::Stage;
use crate::diag::Diagnostic;
use crate::source::{Span, Word};

/// Names that mean something else where stages are named.
const RESERVED: [&str; 2] = ["context", "scratch"];

/// Parses a `FROM`. There is a stage in any case, so that what follows it has a place.
pub(super) fn parse(header: &Header<'_>, span: Span, context: &mut Context<'_>) -> Stage {
    let flags = header.flags(&[("platform", Takes::Value)], context.sink);
    let words = header.words(context.sink).unwrap_or_default();
    let name = match words.as_slice() {
        [] if header.args.is_empty() => {
            missing(header, "an image or stage to start from", context.sink);
            None
        }
        [] | [_] => None,
        [_, keyword, name] if keyword.text.eq_ignore_ascii_case("as") => {
            check_casing(header, keyword, context);
            check_name(name, context);
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
    Stage { base, platform: flags.value("platform"), name, span, instructions: Vec::new() }
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
    } else if lower != name.text {
        let message = format!("the stage name `{}` should be lowercase", name.text);
        context.sink.push(Diagnostic::warning("StageNameCasing", name.span, message));
    }
    if RESERVED.contains(&lower.as_str()) {
        let message = format!("the stage name `{}` is reserved", name.text);
        context.sink.push(Diagnostic::warning("ReservedStageName", name.span, message).hint("choose another one"));
    }
}

/// `FROM … as` and `from … AS` look like two people wrote them.
fn check_casing(header: &Header<'_>, keyword: &Word, context: &mut Context<'_>) {
    let from = &header.keyword.text;
    let same = if *from == from.to_lowercase() {
        keyword.text == keyword.text.to_lowercase()
    } else if *from == from.to_uppercase() {
        keyword.text == keyword.text.to_uppercase()
    } else {
        true
    };
    if !same {
        let message = format!("`{}` and `{}` are cased differently", from, keyword.text);
        context.sink.push(Diagnostic::warning("FromAsCasing", keyword.span, message));
    }
}
