//! Links of Markdown files lead to files of the repository.

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

#[cfg(test)]
mod tests {
    use super::*;

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
