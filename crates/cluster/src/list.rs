//! Files that list images: `manifests/imageList`, `--image-list`, and sealer's list with logins.
//!
//! An image a line, as [`kiln_manifests::image_list`] reads it: blanks and quotes around it, empty lines and comments
//! from ` #` on are nothing. A name may have a tag and a digest, and `--platform=OS/ARCH,…` before it.

use std::collections::BTreeMap;

use kiln_manifests::{Rules, image_list};
use kiln_oci::{Platform, Reference};
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
    /// The platforms it is wanted for, if the line says: else those of the cluster image.
    pub platforms: Vec<Platform>,
}

/// Reads a list, without what is ignored.
///
/// # Errors
/// [`ClusterError::Mistakes`] with every line that names no image.
pub fn parse(source: &Source, rules: &Rules) -> Result<Vec<Line>> {
    let mut scan = image_list(source, rules);
    if let Some(first) = scan.images.get(MAX_IMAGES) {
        let message = format!("the list has more than {MAX_IMAGES} images");
        scan.diagnostics.push(Diagnostic::error("TooLong", first.place.span, message));
    }
    if scan.diagnostics.iter().any(Diagnostic::is_error) {
        return Err(ClusterError::Mistakes { source_file: Box::new(source.clone()), found: scan.diagnostics });
    }
    let line = |found: kiln_manifests::Found| Line {
        text: found.text,
        name: found.reference,
        line: found.place.line,
        platforms: found.platforms,
    };
    Ok(scan.images.into_iter().map(line).collect())
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
            lines.push(Line { text: whole, name, line, platforms: Vec::new() });
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
        let lines = parse(&source(text), &Rules::default()).unwrap();
        let names: Vec<String> = lines.iter().map(|line| format!("{}:{}", line.line, line.name.familiar())).collect();
        assert_eq!(names[..2], ["2:nginx:latest", "3:mysql:5.6"]);
        assert!(names[2].starts_with("5:a.example/b@sha256:e3b0"), "{names:?}");
    }

    #[test]
    fn every_wrong_line_is_told_with_its_place() {
        let source = source("nginx\nNginx:1\nx y\n--platform=plan9 z\n");
        let Err(ClusterError::Mistakes { found, .. }) = parse(&source, &Rules::default()) else {
            panic!("it is accepted")
        };
        let lines: Vec<usize> = found.iter().map(|d| source.position(d.span.start).0).collect();
        assert_eq!(lines, [2, 3, 4]);
    }

    #[test]
    fn a_name_that_cannot_be_parsed_is_no_mistake_where_it_is_ignored() {
        let source = source("nginx\nNginx:1\n");
        let (ignore, _) = kiln_manifests::Ignore::parse(&Source { name: "i".to_owned(), text: "Nginx*\n".to_owned() });
        let lines = parse(&source, &Rules { ignore }).unwrap();
        assert_eq!(lines.iter().map(|line| &*line.text).collect::<Vec<_>>(), ["nginx"]);
    }

    #[test]
    fn a_line_says_for_which_platforms() {
        let lines = parse(&source("--platform=linux/arm64,linux/amd64 nginx\nmysql\n"), &Rules::default()).unwrap();
        let shown: Vec<Vec<String>> =
            lines.iter().map(|line| line.platforms.iter().map(ToString::to_string).collect()).collect();
        assert_eq!(shown, [vec!["linux/arm64".to_owned(), "linux/amd64".to_owned()], vec![]]);
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
