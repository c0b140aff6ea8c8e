//! Debian's `copyright` files, where they are machine-readable: which licences the files of a package have.

use std::collections::BTreeSet;

use super::fields::paragraphs;
use crate::{Finding, Licence};

/// More names than this are not the licences of one package.
const MAX_LICENCES: usize = 200;

/// The licences named in paragraphs of files, each once; none when the file is prose.
pub fn read(bytes: &[u8]) -> Finding {
    let text = String::from_utf8_lossy(bytes);
    let mut all = paragraphs(&text);
    let header = all.next().and_then(|p| p.get("Format").or_else(|| p.get("Format-Specification")));
    if header.is_none() {
        return Finding::default();
    }
    // A paragraph of a licence alone gives its text, and need not be one that applies.
    let of_files = all.filter(|p| p.get("Files").is_some());
    let names: BTreeSet<&str> = of_files.filter_map(|p| p.line("License")).take(MAX_LICENCES).collect();
    Finding { licences: names.into_iter().map(Licence::debian).collect(), ..Finding::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_of_files_are_named_once() {
        let found = read(
            b"Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: x\n\n\
            Files: *\nCopyright: a\nLicense: GPL-2+\n Text: of it\n\nFiles: b\nLicense: GPL-2+\n\n\
            Files: c\nLicense: odd\n\nLicense: MIT\n text\n",
        );
        let written: Vec<_> = found.licences.iter().map(|l| (l.written.as_str(), l.expression.as_deref())).collect();
        assert_eq!(written, [("GPL-2+", Some("GPL-2.0-or-later")), ("odd", None)]);
        assert_eq!(read(b"This package was made by me.\n\nFiles: *\nLicense: MIT\n").licences, []);
    }
}
