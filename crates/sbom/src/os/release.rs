//! `os-release`: which distribution this is, as assignments of a shell.

use crate::{Distribution, Finding};

/// The distribution; none when the file has no `ID`.
pub fn read(bytes: &[u8]) -> Finding {
    let text = String::from_utf8_lossy(bytes);
    let value = |name: &str| {
        let mut pairs = text.lines().filter_map(|line| line.trim().split_once('='));
        // As in a shell, the last assignment holds.
        pairs.by_ref().filter(|(key, _)| *key == name).last().map(|(_, v)| unquote(v)).filter(|v| !v.is_empty())
    };
    let distribution = value("ID").map(|id| Distribution {
        id,
        version: value("VERSION_ID"),
        name: value("PRETTY_NAME").or_else(|| value("NAME")),
    });
    Finding { distribution, ..Finding::default() }
}

/// A value without its quotes; after a backslash a character stands for itself.
fn unquote(value: &str) -> String {
    let value = value.trim();
    let inner = ['"', '\''].iter().find_map(|q| value.strip_prefix(*q)?.strip_suffix(*q));
    let mut out = String::new();
    let mut chars = inner.unwrap_or(value).chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_in_several_ways() {
        let found = read(b"# x\nNAME='Debian'\nVERSION_ID=\"12\"\nID=debian\nPRETTY_NAME=\"a \\\"b\\\"\"\n")
            .distribution
            .unwrap();
        assert_eq!(
            (found.id.as_str(), found.version.as_deref(), found.name.as_deref()),
            ("debian", Some("12"), Some("a \"b\""))
        );
        assert_eq!(read(b"NAME=x\nID=\n\xff=\"").distribution, None);
    }
}
