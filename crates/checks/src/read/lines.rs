//! Texts of lines with comments, and directories of drop-in files.

use std::collections::BTreeMap;

use crate::system::{MAX_CONFIG, Result, System};

/// A file as text; bytes that are no UTF-8 become U+FFFD.
pub fn text(system: &dyn System, path: &str) -> Result<Option<String>> {
    Ok(system.read(path, MAX_CONFIG)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// The lines of a text that say something: their number from 1, and what is left without white space around.
pub fn meaningful<'a>(text: &'a str, comments: &'a [char]) -> impl Iterator<Item = (usize, &'a str)> + 'a {
    let numbered = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    numbered.filter(move |(_, line)| !line.is_empty() && !line.starts_with(comments))
}

/// `path:line`.
pub fn place(path: &str, line: usize) -> String {
    format!("{path}:{line}")
}

/// The paths of drop-in files with a suffix, in the order they are read: sorted by name, and of files of one name only
/// that of the first directory. One that is a link to `/dev/null`, or empty, is what takes others of its name away.
pub fn drop_ins(system: &dyn System, dirs: &[&str], suffix: &str) -> Result<Vec<String>> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for dir in dirs {
        for name in system.list(dir)?.unwrap_or_default() {
            if name.ends_with(suffix) && name.len() > suffix.len() {
                let path = format!("{dir}/{name}");
                found.entry(name).or_insert(path);
            }
        }
    }
    let mut paths = Vec::new();
    for path in found.into_values() {
        if !is_null(system, &path)? {
            paths.push(path);
        }
    }
    Ok(paths)
}

/// Whether a path is a link to `/dev/null`.
pub fn is_null(system: &dyn System, path: &str) -> Result<bool> {
    use crate::system::Kind;
    let stat = system.stat(path, false)?;
    Ok(
        matches!(stat.map(|stat| stat.kind), Some(Kind::Link(target)) if target.trim_end_matches('/').ends_with("dev/null")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::Memory;

    #[test]
    fn drop_ins_of_one_name_hide_each_other() {
        let system = Memory::new()
            .file("/etc/x.d/20-b.conf", "")
            .file("/usr/x.d/20-b.conf", "")
            .file("/usr/x.d/10-a.conf", "")
            .file("/usr/x.d/30-c.conf", "")
            .file("/usr/x.d/README", "")
            .link("/etc/x.d/30-c.conf", "/dev/null");
        let found = drop_ins(&system, &["/etc/x.d", "/run/x.d", "/usr/x.d"], ".conf").unwrap();
        assert_eq!(found, ["/usr/x.d/10-a.conf", "/etc/x.d/20-b.conf"]);
    }
}
