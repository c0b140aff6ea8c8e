//! `ARG`, `ENV` and `LABEL`.

use std::ops::Range;

use super::file::{Context, missing};
use super::header::Header;
use super::words::BLANKS;
use crate::ast::{ArgDecl, Op, Pair};
use crate::diag::Diagnostic;

/// `ARG name[=default] …`
pub(super) fn arg(header: &Header<'_>, context: &mut Context<'_>) -> Option<Op> {
    header.flags(&[], context.sink);
    let words = header.quoted_words(context.escape, context.sink)?;
    if words.is_empty() {
        missing(header, "a name", context.sink);
        return None;
    }
    let declared: Option<Vec<ArgDecl>> = words
        .into_iter()
        .map(|range| match header.line.text[range.clone()].find('=') {
            Some(length) => {
                let (name, default) = split_at(header, range, length, context)?;
                Some(ArgDecl { name: header.line.word(name), default: Some(header.line.word(default)) })
            }
            None => Some(ArgDecl { name: header.line.word(range), default: None }),
        })
        .collect();
    declared.map(Op::Arg)
}

/// `ENV …`
pub(super) fn env(header: &Header<'_>, context: &mut Context<'_>) -> Option<Op> {
    pairs(header, context).map(Op::Env)
}

/// `LABEL …`
pub(super) fn label(header: &Header<'_>, context: &mut Context<'_>) -> Option<Op> {
    pairs(header, context).map(Op::Label)
}

/// `key=value …`, or the old `key value`: the first word decides.
fn pairs(header: &Header<'_>, context: &mut Context<'_>) -> Option<Vec<Pair>> {
    header.flags(&[], context.sink);
    let line = header.line;
    let words = header.quoted_words(context.escape, context.sink)?;
    let Some(first) = words.first() else {
        missing(header, "a key and a value", context.sink);
        return None;
    };
    if !line.text[first.clone()].contains('=') {
        return legacy(header, context).map(|pair| vec![pair]);
    }
    words
        .into_iter()
        .map(|range| match line.text[range.clone()].find('=') {
            Some(length) => {
                let (key, value) = split_at(header, range, length, context)?;
                Some(Pair { key: line.word(key), value: line.word(value), legacy: false })
            }
            None => {
                let shown = &line.text[range.clone()];
                let message = format!("`{shown}` has no `=`");
                context.sink.push(
                    Diagnostic::error("MissingEquals", line.span(range), message)
                        .hint("write `key=value`, with quotes around a value that has blanks: `key=\"a b\"`"),
                );
                None
            }
        })
        .collect()
}

/// `key value`: everything behind the first blanks is the value.
fn legacy(header: &Header<'_>, context: &mut Context<'_>) -> Option<Pair> {
    let (line, args) = (header.line, header.args.clone());
    let text = &line.text[args.clone()];
    let Some(key_length) = text.find(BLANKS) else {
        missing(header, "a value for the key", context.sink);
        return None;
    };
    let value_start = args.start + text.len() - text[key_length..].trim_start_matches(BLANKS).len();
    let key = line.word(args.start..args.start + key_length);
    Some(Pair { key, value: line.word(value_start..args.end), legacy: true })
}

/// Splits a word at its `=`; the name must not be empty.
fn split_at(
    header: &Header<'_>,
    range: Range<usize>,
    length: usize,
    context: &mut Context<'_>,
) -> Option<(Range<usize>, Range<usize>)> {
    if length == 0 {
        let message = format!("a name of `{}` is empty", header.name);
        let span = header.line.span(range);
        context.sink.push(Diagnostic::error("EmptyName", span, message).hint("write `name=value` without blanks"));
        return None;
    }
    let equals = range.start + length;
    Some((range.start..equals, equals + 1..range.end))
}
