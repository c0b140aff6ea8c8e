//! Mistakes as they may be shown where a template has sensitive variables.
//!
//! A mistake in a file of variables is shown with its line, and the line may hold a password: that of the variable with
//! the mistake, of one beside it, or of one whose name is misspelt, which nobody could know to be sensitive. So none of
//! their values is shown. Offsets stay, so that places and carets are where they were. What is said of the template
//! itself may quote a value that is known by then.

use std::sync::Arc;

use kiln_spec::diag::Diagnostic;
use kiln_spec::source::Source;

use crate::fault::Fault;

/// Signs of syntax, which say nothing of a value.
const SIGNS: &str = "=:,\"{}[]";

/// The text with stars in place of all words but `names`.
fn starred(text: &str, names: &[&str]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let word = &rest[..rest.find(|c: char| c.is_whitespace() || SIGNS.contains(c)).unwrap_or(rest.len())];
        if word.is_empty() {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        }
        match names.contains(&word) {
            true => out.push_str(word),
            // One for each byte.
            false => out.extend(std::iter::repeat_n('*', word.len())),
        }
        rest = &rest[word.len()..];
    }
    out
}

/// What a message quotes of the text, starred too.
fn quoted(message: &str, names: &[&str]) -> String {
    let parts = message.split('`').enumerate();
    let part = |(at, part): (usize, &str)| if at % 2 == 1 { starred(part, names) } else { part.to_owned() };
    parts.map(part).collect::<Vec<_>>().join("`")
}

/// Takes the values out of faults that stand in one of `files`; `names` are the variables that there are.
pub(crate) fn hide(faults: &mut [Fault], files: &[Arc<Source>], names: &[&str]) {
    for fault in faults {
        if !files.iter().any(|file| Arc::ptr_eq(file, &fault.source)) {
            continue;
        }
        let Source { name, text } = &*fault.source;
        fault.source = Arc::new(Source { name: name.clone(), text: starred(text, names) });
        // The misspelt name is what this one is about.
        if fault.diagnostic.code != "UndeclaredVariable" {
            fault.diagnostic.message = quoted(&fault.diagnostic.message, names);
        }
    }
}

/// Takes values that are known to be sensitive out of what is said.
pub(crate) fn mask(faults: &mut [Fault], values: &[String]) {
    for fault in faults {
        let Diagnostic { message, label, notes, hint, .. } = &mut *fault.diagnostic;
        for text in [message, label].into_iter().chain(notes).chain(hint) {
            for value in values.iter().filter(|value| text.contains(value.as_str())).collect::<Vec<_>>() {
                *text = text.replace(value.as_str(), "<sensitive>");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_stars_of_the_same_length() {
        let text = "password = \"hünter 2\"\nlist=[a1,\"x\"]\n";
        let shown = starred(text, &["password", "list"]);
        assert_eq!(shown, "password = \"******* *\"\nlist=[**,\"*\"]\n");
        assert_eq!(shown.len(), text.len());
        assert_eq!(quoted("`hunter2` is no value of `password`", &["password"]), "`*******` is no value of `password`");
        assert_eq!(quoted("a lone ` stays", &[]), "a lone ` *****");
    }
}
