//! Paths, with slashes: Go's `path`, and `filepath` on Linux, which are the same but for nothing.

use kiln_gotmpl::{Failure, Value};

use super::Table;
use super::arguments::{exact, text};

pub(crate) const TABLE: Table = &[
    ("base", |a| map(a, base)),
    ("dir", |a| map(a, dir)),
    ("clean", |a| map(a, clean)),
    ("ext", |a| map(a, ext)),
    ("isAbs", |a| exact(a).and_then(|[path]| Ok(text(path)?.starts_with('/').into()))),
    ("osBase", |a| map(a, base)),
    ("osDir", |a| map(a, dir)),
    ("osClean", |a| map(a, clean)),
    ("osExt", |a| map(a, ext)),
    ("osIsAbs", |a| exact(a).and_then(|[path]| Ok(text(path)?.starts_with('/').into()))),
];

fn map(arguments: &[Value], change: fn(&str) -> String) -> Result<Value, Failure> {
    let [path] = exact(arguments)?;
    Ok(change(text(path)?).into())
}

fn base(path: &str) -> String {
    if path.is_empty() {
        return ".".to_owned();
    }
    let path = path.trim_end_matches('/');
    let last = path.rsplit('/').next().unwrap_or(path);
    if last.is_empty() { "/" } else { last }.to_owned()
}

fn dir(path: &str) -> String {
    clean(path.rfind('/').map_or("", |at| &path[..=at]))
}

fn ext(path: &str) -> String {
    let last = path.rsplit('/').next().unwrap_or(path);
    last.rfind('.').map_or("", |at| &last[at..]).to_owned()
}

/// `path.Clean`.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|&last| last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}
