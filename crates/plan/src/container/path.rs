//! Path arithmetic on slash-separated texts; nothing here looks at a file system.

/// `path` made absolute against `cwd` and cleaned: no `.`, no `..`, no double slash. `..` stops at the root.
/// With `keep_slash`, a path that names a directory by a trailing `/` or `/.` keeps a trailing slash.
pub fn normalise(cwd: &str, path: &str, keep_slash: bool) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let start = if path.starts_with('/') { "" } else { cwd };
    for part in start.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    let names_dir = path.ends_with('/') || path.ends_with("/.") || matches!(path, "." | "..");
    let slash = if keep_slash && names_dir && !parts.is_empty() { "/" } else { "" };
    format!("/{}{slash}", parts.join("/"))
}

/// Whether a source is a pattern rather than a name.
pub fn has_wildcard(path: &str) -> bool {
    let mut bytes = path.bytes();
    while let Some(b) = bytes.next() {
        match b {
            b'*' | b'?' | b'[' => return true,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
    false
}

/// The last component, ignoring trailing slashes.
pub fn base_name(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_and_stop_at_the_root() {
        for (cwd, path, keep, want) in [
            ("/", "../f", false, "/f"),
            ("/w", "a", true, "/w/a"),
            ("/w", "a/", true, "/w/a/"),
            ("/w", "/g3/.", true, "/g3/"),
            ("/w", ".", true, "/w/"),
            ("/", "/", true, "/"),
            ("/w", "/f4/../f5", true, "/f5"),
            ("/w/x/", "b/../c", false, "/w/x/c"),
        ] {
            assert_eq!(normalise(cwd, path, keep), want, "{cwd} {path}");
        }
        assert!(has_wildcard("a/*.c") && !has_wildcard("a/\\*.c"));
    }
}
