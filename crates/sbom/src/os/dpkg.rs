//! dpkg: `status`, a paragraph for each package it knows, and `status.d`, a file for each in distroless images.

use super::fields::{Paragraph, paragraphs};
use crate::{Finding, Kind, Package, Source, Unreadable};

/// States in which a package's files are not there.
const ABSENT: [&str; 3] = ["not-installed", "config-files", "half-installed"];

/// Every package whose files are there.
pub fn read(bytes: &[u8]) -> Finding {
    let text = String::from_utf8_lossy(bytes);
    let mut found = Finding::default();
    for paragraph in paragraphs(&text) {
        if is_absent(paragraph) {
            continue;
        }
        match paragraph.line("Package") {
            Some(name) => found.push(package(paragraph, name)),
            None => found.doubt(unnamed()),
        }
    }
    found
}

fn unnamed() -> Unreadable {
    "it has a paragraph without a `Package` field".into()
}

/// What dpkg wants, a flag and the state; files of `status.d` have no such field, and are there.
fn is_absent(paragraph: Paragraph<'_>) -> bool {
    let state = paragraph.line("Status").and_then(|status| status.split_whitespace().nth(2));
    state.is_some_and(|state| ABSENT.contains(&state))
}

fn package(paragraph: Paragraph<'_>, name: &str) -> Package {
    let owned = |field: &str| paragraph.line(field).map(str::to_owned);
    let mut package = Package::new(Kind::Deb, name, paragraph.line("Version").unwrap_or_default());
    package.architecture = owned("Architecture");
    package.maintainer = owned("Maintainer");
    package.homepage = owned("Homepage");
    package.source = paragraph.line("Source").map(source);
    package
}

/// `name (version)`; the version is left out where it is the package's.
fn source(field: &str) -> Source {
    match field.split_once('(') {
        Some((name, version)) => {
            let version = version.trim_end().trim_end_matches(')').trim();
            Source { name: name.trim().to_owned(), version: (!version.is_empty()).then(|| version.to_owned()) }
        }
        None => Source { name: field.trim().to_owned(), version: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_that_are_there_are_found_with_their_sources() {
        let found = read(
            b"Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nSource: glibc\nVersion: 2.36-9\n\
            Description: x\n Package: not-this\n\n\
            Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
            Package: held\nStatus: hold ok installed\nVersion: 1:2+b1\nSource: other (1:2)\n\n\
            Version: 3\n\nPackage: half\nStatus: install reinstreq half-installed\n\n\
            Package: triggered\nStatus: install ok triggers-pending\nVersion: 4\n",
        );
        let seen: Vec<_> = found.packages.iter().map(|p| (p.name.as_str(), p.version.as_str())).collect();
        assert_eq!(seen, [("libc6", "2.36-9"), ("held", "1:2+b1"), ("triggered", "4")]);
        assert_eq!(found.packages[0].source, Some(Source { name: "glibc".into(), version: None }));
        assert_eq!(found.packages[1].source, Some(Source { name: "other".into(), version: Some("1:2".into()) }));
        assert_eq!(found.packages[0].architecture.as_deref(), Some("amd64"));
        assert_eq!(found.doubts, [unnamed()]);
    }
}
