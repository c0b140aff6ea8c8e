//! `yarn.lock`: Yarn 1's own format, and what later versions write, which is near enough to be read the same way.
//!
//! ```text
//! "@s/name@^1.0.0", "@s/name@~1":        "name@npm:^1.0.0":
//!   version "1.2.3"                        version: 1.2.3
//!   integrity sha512-…                     resolution: "name@npm:1.2.3"
//! ```

use super::npm::checksums;
use crate::{Evidence, Finding, Kind, Package};

/// Every package.
pub fn lock(bytes: &[u8]) -> Finding {
    let text = String::from_utf8_lossy(bytes);
    let mut found = Finding::default();
    let mut lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')).peekable();
    while let Some(line) = lines.next() {
        let Some(key) = line.strip_suffix(':').filter(|line| !line.starts_with(' ')) else { continue };
        let mut entry = Entry::default();
        while let Some(field) = lines.next_if(|line| line.starts_with(' ')) {
            entry.take(field);
        }
        package(key, &entry).into_iter().for_each(|package| found.push(package));
    }
    found
}

#[derive(Default)]
struct Entry<'a> {
    version: &'a str,
    resolution: &'a str,
    integrity: &'a str,
}

impl<'a> Entry<'a> {
    /// A field of the entry itself has two spaces in front, those of its parts have more.
    fn take(&mut self, line: &'a str) {
        let Some((name, value)) = line.strip_prefix("  ").and_then(|line| line.split_once(' ')) else { return };
        let value = value.trim().trim_matches('"');
        match name.trim_end_matches(':') {
            "version" => self.version = value,
            "resolution" => self.resolution = value,
            "integrity" => self.integrity = value,
            _ => {}
        }
    }
}

fn package(key: &str, entry: &Entry<'_>) -> Option<Package> {
    let specifier = key.trim_matches('"').split(',').next()?.trim().trim_matches('"');
    let resolved = if entry.resolution.is_empty() { specifier } else { entry.resolution };
    let (name, range) = parted(resolved)?;
    if entry.version.is_empty() || range.starts_with("workspace:") {
        return None;
    }
    // An alias: what stands behind it is what is installed.
    let real = range.strip_prefix("npm:").and_then(parted).map_or(name, |(real, _)| real);
    let mut package = Package::new(Kind::Npm, real, entry.version).known(Evidence::Locked);
    package.checksums = checksums(entry.integrity);
    Some(package)
}

/// `name@range`; a scope's `@` is part of the name.
fn parted(specifier: &str) -> Option<(&str, &str)> {
    let start = usize::from(specifier.starts_with('@'));
    let at = specifier.get(start..)?.find('@')? + start;
    Some((&specifier[..at], &specifier[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_are_read() {
        let old = b"# yarn lockfile v1\n\n\"@s/a@^1.0\", \"@s/a@~1\":\n  version \"1.2.3\"\n  resolved \"x\"\n  \
            integrity sha1-AAAAAAAAAAAAAAAAAAAAAAAAAAA=\n  dependencies:\n    version \"9\"\n\nb@^2:\n  version \"2.0.0\"\n\n\
            c@npm:real@^3:\n  version \"3.0.0\"\n\nno-version@1:\n";
        let new = b"__metadata:\n  version: 8\n\n\"a@npm:^1.0\":\n  version: 1.2.3\n  resolution: \"a@npm:1.2.3\"\n\n\
            \"me@workspace:.\":\n  version: 0.0.0-use.local\n  resolution: \"me@workspace:.\"\n\n\
            \"n@npm:@s/r@^1\":\n  version: 1.0.0\n  resolution: \"@s/r@npm:1.0.0\"\n";
        let seen = |bytes: &[u8]| lock(bytes).packages.iter().map(|p| format!("{} {}", p.name, p.version)).collect();
        let (old_seen, new_seen): (Vec<String>, Vec<String>) = (seen(old), seen(new));
        assert_eq!(old_seen, ["@s/a 1.2.3", "b 2.0.0", "real 3.0.0"]);
        assert_eq!(new_seen, ["a 1.2.3", "@s/r 1.0.0"]);
        assert_eq!(lock(old).packages[0].checksums.len(), 1);
        assert_eq!(lock(b"@:\n  version 1\n\xff\n").packages, []);
    }
}
