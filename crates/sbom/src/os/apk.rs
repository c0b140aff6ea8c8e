//! apk: `installed`, a paragraph for each package; fields are single letters, and their case matters.

use super::fields::{Paragraph, paragraphs};
use crate::{Finding, Kind, Licence, Package, Source};

/// Every package.
pub fn read(bytes: &[u8]) -> Finding {
    let text = String::from_utf8_lossy(bytes);
    let mut found = Finding::default();
    for paragraph in paragraphs(&text) {
        match field(paragraph, "P") {
            Some(name) => found.push(package(paragraph, name)),
            None => found.doubt("it has a paragraph without a `P:` line"),
        }
    }
    found
}

fn field<'a>(paragraph: Paragraph<'a>, name: &str) -> Option<&'a str> {
    paragraph.exact(name).filter(|value| !value.is_empty())
}

fn package(paragraph: Paragraph<'_>, name: &str) -> Package {
    let owned = |letter: &str| field(paragraph, letter).map(str::to_owned);
    let mut package = Package::new(Kind::Apk, name, field(paragraph, "V").unwrap_or_default());
    package.architecture = owned("A");
    package.maintainer = owned("m");
    package.homepage = owned("U");
    package.licences = field(paragraph, "L").map(Licence::spdx).into_iter().collect();
    package.source = field(paragraph, "o").filter(|o| *o != name).map(|o| Source { name: o.to_owned(), version: None });
    package
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_found_with_origin_and_licence() {
        let found = read(
            b"C:Q1abc=\nP:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\no:musl\nm:Timo <t@a>\nF:lib\nR:ld.so\na:0:0:755\n\n\
            P:ssl_client\nV:1.36.1-r15\nL:GPL-2.0-only\no:busybox\n\nV:2\n\n",
        );
        let seen: Vec<_> = found.packages.iter().map(|p| (p.name.as_str(), p.version.as_str())).collect();
        assert_eq!(seen, [("musl", "1.2.5-r0"), ("ssl_client", "1.36.1-r15")]);
        assert_eq!(found.packages[0].architecture.as_deref(), Some("x86_64"));
        assert_eq!(found.packages[0].source, None);
        assert_eq!(found.packages[1].source.as_ref().unwrap().name, "busybox");
        assert_eq!(found.packages[1].licences[0].expression.as_deref(), Some("GPL-2.0-only"));
        assert_eq!(found.doubts.len(), 1);
    }
}
