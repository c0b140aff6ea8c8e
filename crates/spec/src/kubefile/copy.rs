//! Where `COPY` puts things in sealer's first dialect.
//!
//! Destinations are directories of the root file system, whatever they begin with. A source keeps its own name in there,
//! also a directory: `COPY apollo charts` makes `charts/apollo`. Only a destination that ends in the source's name is
//! the place itself: `COPY a.yml etc/a.yml`. (sealer 0.8, `pkg/image/…` collector; a file cannot be renamed.)

use crate::ast::{Add, Copy, Files, Op, Sourced};
use crate::source::Word;

/// The instructions that do what one `COPY` says.
pub(super) fn lower(copy: Copy) -> Vec<Op> {
    let Copy { files, from, parents } = copy;
    let Files { sources, dest, chown, chmod, link, exclude } = files;
    let base = directory(&dest.text);
    let with = |source: Sourced, dest: Word| Files {
        sources: vec![source],
        dest,
        chown: chown.clone(),
        chmod: chmod.clone(),
        link,
        exclude: exclude.clone(),
    };
    let at = |text: String| Word { text, span: dest.span };
    let one = |source: Sourced| {
        let word = match source {
            Sourced::Heredoc(heredoc) => {
                // A file without a name of its own: Dockerfiles call it by its delimiter.
                let place = if dest.text.ends_with('/') { format!("{base}/") } else { base.clone() };
                return Op::Copy(Copy {
                    files: with(Sourced::Heredoc(heredoc), at(absolute(&place))),
                    from: None,
                    parents,
                });
            }
            Sourced::Path(word) => word,
        };
        if is_remote(&word.text) {
            let files = with(Sourced::Path(word), at(format!("{}/", absolute(&base).trim_end_matches('/'))));
            return Op::Add(Add { files, checksum: None, keep_git_dir: None, unpack: None });
        }
        let (parents, source, place) = place(&word, &base);
        Op::Copy(Copy { files: with(Sourced::Path(source), at(absolute(&place))), from: from.clone(), parents })
    };
    if parents {
        let files = Files { sources, dest: at(absolute(&base)), chown, chmod, link, exclude };
        return vec![Op::Copy(Copy { files, from, parents })];
    }
    sources.into_iter().map(one).collect()
}

/// A destination without what it may begin and end with.
pub(super) fn directory(text: &str) -> String {
    let mut rest = text.trim_end_matches('/');
    loop {
        let before = rest;
        rest = rest.strip_prefix("./").or_else(|| rest.strip_prefix('/')).unwrap_or(rest);
        if rest == before {
            break;
        }
    }
    if rest == "." { String::new() } else { rest.to_owned() }
}

pub(super) fn absolute(relative: &str) -> String {
    format!("/{}", relative.trim_start_matches('/'))
}

/// The last part of a path as the name it will have; with a variable that may hold a path, the last part of its value.
pub(super) fn name(text: &str) -> String {
    let text = text.trim_end_matches('/');
    let last = text.rfind('/').map_or(text, |slash| &text[slash + 1..]);
    let variable = last.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).or_else(|| last.strip_prefix('$'));
    let plain = |name: &&str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    match variable.filter(plain) {
        Some(name) if last == text => format!("${{{name}##*/}}"),
        _ => last.to_owned(),
    }
}

/// How a source is copied: whether with its way below the pivot, from where, to where.
fn place(source: &Word, base: &str) -> (bool, Word, String) {
    let name = name(&source.text);
    if name.is_empty() || name == "." {
        return (false, source.clone(), base.to_owned());
    }
    if base == name || base.ends_with(&format!("/{name}")) {
        return (false, source.clone(), base.to_owned());
    }
    let text = source.text.trim_end_matches('/');
    let at = text.rfind('/').map_or(0, |slash| slash + 1);
    if text[at..].contains(['*', '?', '[']) {
        // Which names there are is known later; below the pivot they are kept.
        let pivoted = format!("{}./{}", if at == 0 { "./" } else { &text[..at] }, &text[at..]);
        return (true, Word { text: pivoted, span: source.span }, format!("{base}/"));
    }
    let place = if base.is_empty() { name } else { format!("{base}/{name}") };
    (false, source.clone(), place)
}

/// Whether a source is not in the context: a URL, or a repository.
fn is_remote(text: &str) -> bool {
    text.starts_with("http://")
        || text.starts_with("https://")
        || text.starts_with("git@")
        || text.starts_with("git://")
}
