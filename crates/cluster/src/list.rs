//! Files that list images: `manifests/imageList`, `--image-list`, and sealer's list with logins.
//!
//! An image a line; blanks and quotes around it, empty lines and comments from ` #` on are nothing. A name may have a
//! tag and a digest.

use std::collections::BTreeMap;

use kiln_oci::Reference;
use kiln_spec::diag::Diagnostic;
use kiln_spec::source::{Source, Span};
use serde::Deserialize;

use crate::error::{ClusterError, Result};

/// As many images an image may contain, and a list may have.
pub const MAX_IMAGES: usize = 10_000;

/// The longest list, in bytes.
pub const MAX_LENGTH: u64 = 4 << 20;

/// A line of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The name, as written.
    pub text: String,
    /// The name.
    pub name: Reference,
    /// The line's number, from 1.
    pub line: usize,
}

/// Reads a list.
///
/// # Errors
/// [`ClusterError::Mistakes`] with every line that names no image.
pub fn parse(source: &Source) -> Result<Vec<Line>> {
    let (mut lines, mut found, mut at) = (Vec::new(), Vec::new(), 0);
    for (number, raw) in source.text.split_inclusive('\n').enumerate() {
        let start = at;
        at += raw.len();
        let text = name_in(raw);
        if text.is_empty() {
            continue;
        }
        match text.parse::<Reference>() {
            Ok(name) => lines.push(Line { text: text.to_owned(), name, line: number + 1 }),
            Err(e) => {
                let from = start + (text.as_ptr() as usize - raw.as_ptr() as usize);
                let span = Span::new(from, from + text.len());
                found.push(
                    Diagnostic::error("InvalidImage", span, e.to_string())
                        .hint("an image a line, such as `nginx:1.27` or `registry.example/app@sha256:…`"),
                );
            }
        }
        if lines.len() > MAX_IMAGES {
            let message = format!("the list has more than {MAX_IMAGES} images");
            found.push(Diagnostic::error("TooLong", Span::new(start, start), message));
            break;
        }
    }
    match found.is_empty() {
        true => Ok(lines),
        false => Err(ClusterError::Mistakes { source_file: Box::new(source.clone()), found }),
    }
}

fn name_in(line: &str) -> &str {
    let line = line.trim_start_matches('\u{feff}');
    let comment =
        line.char_indices().find(|&(at, c)| c == '#' && line[..at].chars().last().is_none_or(char::is_whitespace));
    let text = comment.map_or(line, |(at, _)| &line[..at]).trim();
    let text = text.strip_prefix("- ").unwrap_or(text).trim();
    text.trim_matches(['"', '\''])
}

/// A login that belongs to a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Its host.
    pub registry: String,
    /// Who.
    pub username: String,
    /// The password.
    pub password: String,
}

/// An entry of sealer's `imageListWithAuth.yaml`.
#[derive(Deserialize)]
struct Entry {
    registry: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    images: Vec<String>,
}

/// Reads a list with logins: `registry`, `username`, `password` and `images` of each registry. Names without the
/// registry get it.
///
/// # Errors
/// [`ClusterError::Mistakes`], in which no password is shown.
pub fn parse_with_logins(source: &Source) -> Result<(Vec<Line>, Vec<Login>)> {
    let bad = |message: String| {
        let hint = "a list of entries with `registry`, `username`, `password` and `images`";
        let found = vec![Diagnostic::error("InvalidList", Span::default(), message).hint(hint)];
        // The text holds passwords: it is not quoted.
        let source_file = Box::new(Source { name: source.name.clone(), text: String::new() });
        ClusterError::Mistakes { source_file, found }
    };
    let entries: Vec<Entry> =
        serde_saphyr::from_str(&source.text).map_err(|_| bad("this is no list of images with logins".to_owned()))?;
    let (mut lines, mut logins) = (Vec::new(), BTreeMap::new());
    for entry in entries {
        let registry = entry.registry.trim_start_matches("https://").trim_start_matches("http://");
        let registry = registry.trim_end_matches('/').to_owned();
        for text in entry.images {
            let whole = match text.starts_with(&format!("{registry}/")) {
                true => text.clone(),
                false => format!("{registry}/{text}"),
            };
            let name = whole.parse::<Reference>().map_err(|e| bad(e.to_string()))?;
            let line = source.text.lines().position(|line| line.contains(&text)).map_or(1, |at| at + 1);
            lines.push(Line { text: whole, name, line });
        }
        if !entry.username.is_empty() {
            let Entry { username, password, .. } = entry;
            logins.insert(registry.clone(), Login { registry, username, password });
        }
    }
    if lines.len() > MAX_IMAGES {
        return Err(bad(format!("the list has more than {MAX_IMAGES} images")));
    }
    Ok((lines, logins.into_values().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source { name: "imageList".to_owned(), text: text.to_owned() }
    }

    #[test]
    fn lists_are_read_as_people_write_them() {
        let text = "\u{feff}# all\nnginx:latest\n  'mysql:5.6'  # the old one\n\n- \"a.example/b@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"\n";
        let lines = parse(&source(text)).unwrap();
        let names: Vec<String> = lines.iter().map(|line| format!("{}:{}", line.line, line.name.familiar())).collect();
        assert_eq!(names[..2], ["2:nginx:latest", "3:mysql:5.6"]);
        assert!(names[2].starts_with("5:a.example/b@sha256:e3b0"), "{names:?}");
    }

    #[test]
    fn every_wrong_line_is_told_with_its_place() {
        let source = source("nginx\nNginx:1\nx y\n");
        let Err(ClusterError::Mistakes { found, .. }) = parse(&source) else { panic!("it is accepted") };
        let lines: Vec<usize> = found.iter().map(|d| source.position(d.span.start).0).collect();
        assert_eq!(lines, [2, 3]);
    }

    #[test]
    fn logins_come_with_their_images_and_are_in_no_message() {
        let text = "- registry: r.example\n  username: u\n  password: hush\n  images: [app:1, r.example/b:2]\n";
        let (lines, logins) = parse_with_logins(&source(text)).unwrap();
        let names: Vec<String> = lines.iter().map(|l| l.name.familiar()).collect();
        assert_eq!((names, logins.len()), (vec!["r.example/app:1".to_owned(), "r.example/b:2".to_owned()], 1));
        let wrong = parse_with_logins(&source("- registry: r\n  password: hush\n  images: 3\n")).unwrap_err();
        assert!(!format!("{wrong:?}").contains("hush"));
    }
}
