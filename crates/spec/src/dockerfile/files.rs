//! `COPY` and `ADD`.

use super::file::{Context, Exec, exec_form, missing};
use super::header::{Flags, Header, Takes};
use super::heredoc;
use crate::ast::{Add, Copy, Files, Heredoc, Op, Sourced};
use crate::diag::Diagnostic;
use crate::source::Word;

const COPY_FLAGS: [(&str, Takes); 6] = [
    ("from", Takes::Value),
    ("chown", Takes::Value),
    ("chmod", Takes::Value),
    ("link", Takes::Bool),
    ("parents", Takes::Bool),
    ("exclude", Takes::Values),
];

const ADD_FLAGS: [(&str, Takes); 7] = [
    ("keep-git-dir", Takes::Bool),
    ("checksum", Takes::Value),
    ("chown", Takes::Value),
    ("chmod", Takes::Value),
    ("link", Takes::Bool),
    ("unpack", Takes::Bool),
    ("exclude", Takes::Values),
];

/// `COPY`
pub(super) fn copy(header: &Header<'_>, heredocs: Vec<Heredoc>, context: &mut Context<'_>) -> Option<Op> {
    let flags = header.flags(&COPY_FLAGS, context.sink);
    let files = files(header, &flags, heredocs, context)?;
    Some(Op::Copy(Copy { files, from: flags.value("from"), parents: flags.bool("parents").unwrap_or(false) }))
}

/// `ADD`
pub(super) fn add(header: &Header<'_>, heredocs: Vec<Heredoc>, context: &mut Context<'_>) -> Option<Op> {
    let flags = header.flags(&ADD_FLAGS, context.sink);
    let files = files(header, &flags, heredocs, context)?;
    Some(Op::Add(Add {
        files,
        checksum: flags.value("checksum"),
        keep_git_dir: flags.bool("keep-git-dir"),
        unpack: flags.bool("unpack"),
    }))
}

fn files(header: &Header<'_>, flags: &Flags, heredocs: Vec<Heredoc>, context: &mut Context<'_>) -> Option<Files> {
    let mut words: Vec<Word> = match exec_form(header, header.args.clone(), context.sink) {
        Exec::Strings(words) => words,
        Exec::No => header.words(context.sink)?,
        Exec::Wrong => return None,
    };
    let dest = words.pop().filter(|_| !words.is_empty());
    let Some(dest) = dest else {
        let message = format!("`{}` needs a source and a destination", header.name);
        context.sink.push(Diagnostic::error("MissingArgument", header.span(), message));
        return None;
    };
    if let (Some(_), false) = (heredoc::marker(&dest.text), heredocs.is_empty()) {
        let message = "a heredoc cannot be the destination";
        let hint = format!("write `{} <<EOF /path`", header.name);
        context.sink.push(Diagnostic::error("InvalidHeredoc", dest.span, message).hint(hint));
        return None;
    }
    let sources = sources(header, words, heredocs, context)?;
    Some(Files {
        sources,
        dest,
        chown: flags.value("chown"),
        chmod: flags.value("chmod"),
        link: flags.bool("link").unwrap_or(false),
        exclude: flags.values("exclude").map(super::traced::Traced::whole).collect(),
    })
}

/// Tells inline files from paths. Each heredoc of the line must be a source of its own.
fn sources(
    header: &Header<'_>,
    words: Vec<Word>,
    heredocs: Vec<Heredoc>,
    context: &mut Context<'_>,
) -> Option<Vec<Sourced>> {
    if heredocs.is_empty() {
        unread_heredoc(header, &words, context)?;
        return Some(words.into_iter().map(Sourced::Path).collect());
    }
    let mut bodies = heredocs.into_iter().peekable();
    let mut sources = Vec::with_capacity(words.len());
    for word in words {
        let body = match heredoc::marker(&word.text) {
            Some(marker) => bodies.next_if(|body| body.name == marker.name),
            None => None,
        };
        sources.push(body.map_or(Sourced::Path(word), Sourced::Heredoc));
    }
    if let Some(left) = bodies.next() {
        let message = format!("the heredoc `{}` is no source of its own", left.name);
        let hint = format!("write it as one word without blanks: `{} <<EOF /path`", header.name);
        context.sink.push(Diagnostic::error("InvalidHeredoc", header.span(), message).hint(hint));
        return None;
    }
    if sources.is_empty() {
        missing(header, "a source", context.sink);
        return None;
    }
    Some(sources)
}

/// A line whose quotes do not close announces no heredoc; one that looks like it does is a mistake.
fn unread_heredoc(header: &Header<'_>, words: &[Word], context: &mut Context<'_>) -> Option<()> {
    let exec = header.args_text().starts_with('[');
    let Some(word) = words.iter().find(|word| !exec && heredoc::marker(&word.text).is_some()) else {
        return Some(());
    };
    let message = format!("the heredoc `{}` is not read", word.text);
    context.sink.push(
        Diagnostic::error("InvalidHeredoc", word.span, message)
            .note("a quote elsewhere in the line is not closed")
            .hint("escape the quote, or close it"),
    );
    None
}
