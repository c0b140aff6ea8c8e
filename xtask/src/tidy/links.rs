//! Links of Markdown files, and the files that heads of Rust files name, are in the repository.

use std::path::{Component, Path};

use super::tree::TextFile;
use crate::cargo;

/// Relative links that lead nowhere.
pub(super) fn check(files: &[TextFile]) -> Vec<String> {
    let exists = |path: &str| cargo::root().join(path).exists();
    files.iter().filter(|f| f.path.ends_with(".md")).flat_map(|f| broken(f, &exists)).collect()
}

fn broken(file: &TextFile, exists: &dyn Fn(&str) -> bool) -> Vec<String> {
    let dir = Path::new(&file.path).parent().unwrap_or(Path::new(""));
    let mut found = Vec::new();
    for (number, line) in prose(&file.text) {
        for target in targets(line) {
            if target.contains("://") || target.starts_with('#') || target.starts_with("mailto:") {
                continue;
            }
            let path = target.split('#').next().unwrap_or(target);
            let inside = normalise(&dir.join(path));
            if !inside.as_deref().is_some_and(exists) {
                found.push(format!("{}:{number}: the link to `{target}` leads nowhere", file.path));
            }
        }
    }
    found
}

/// Lines outside of fenced code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// The `target` of each `[text](target)` outside of inline code.
fn targets(line: &str) -> Vec<&str> {
    let outside = line.split('`').step_by(2);
    // Inline code inside a link's text splits the link; its target is then after the next backtick.
    outside
        .flat_map(|part| part.split("](").skip(1))
        .filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
        .collect()
}

/// The path with `..` resolved; `None` if it leaves the repository.
fn normalise(path: &Path) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => parts.push(name.to_str()?),
            Component::ParentDir => drop(parts.pop()?),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts.join("/"))
}

/// Rust files named in heads that are nowhere: from the repository's directory, from one between it and the file, or from
/// `src` or `crates` in such a one.
pub(super) fn named_in_heads(files: &[TextFile]) -> Vec<String> {
    let exists = |path: &Path| cargo::root().join(path).exists();
    files.iter().filter(|f| f.path.ends_with(".rs")).flat_map(|f| unknown(f, &exists)).collect()
}

fn unknown(file: &TextFile, exists: &dyn Fn(&Path) -> bool) -> Vec<String> {
    let head = (1..).zip(file.text.lines()).take_while(|(_, line)| line.starts_with("//!"));
    let named = head.flat_map(|(number, line)| line.split('`').skip(1).step_by(2).map(move |name| (number, name)));
    let is_path = |name: &str| name.ends_with(".rs") && !name.contains(char::is_whitespace);
    let above = |name: &str| {
        let dirs = Path::new(&file.path).ancestors().skip(1);
        dirs.flat_map(|dir| [dir.join(name), dir.join("src").join(name), dir.join("crates").join(name)])
            .any(|path| exists(&path))
    };
    named
        .filter(|(_, name)| is_path(name) && !above(name))
        .map(|(number, name)| format!("{}:{number}: the head names `{name}`, which is nowhere", file.path))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_that_are_nowhere_are_found_in_heads() {
        let text = "//! `a.rs` `tests/it/b.rs` `host/src/c.rs` `no.rs` `let x = y.rs`\n//! `lib`\nuse x; // `no.rs`\n//! `no.rs`";
        let file = TextFile { path: "crates/x/src/lib.rs".into(), text: text.into() };
        let there = ["crates/x/src/a.rs", "crates/x/tests/it/b.rs", "crates/host/src/c.rs"];
        assert_eq!(
            unknown(&file, &|path| there.iter().any(|known| Path::new(known) == path)),
            ["crates/x/src/lib.rs:1: the head names `no.rs`, which is nowhere"]
        );
    }

    #[test]
    fn only_links_that_lead_nowhere_are_found() {
        let text = "[a](b.md) [`c`](../up.md#x) [w](https://e.org) `[n](no.md)`\n```\n[n](no.md)\n```\n[n](no.md) [o](../../o)";
        let file = TextFile { path: "docs/x.md".into(), text: text.into() };
        let there = |path: &str| ["docs/b.md", "up.md"].contains(&path);
        assert_eq!(
            broken(&file, &there),
            ["docs/x.md:5: the link to `no.md` leads nowhere", "docs/x.md:5: the link to `../../o` leads nowhere"]
        );
    }
}
