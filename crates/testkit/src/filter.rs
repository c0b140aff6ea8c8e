//! What changes from run to run, and what a snapshot shows in its place.

use std::path::Path;

use regex::Regex;

/// Replacements, applied in order.
#[derive(Debug, Clone)]
pub struct Filters(Vec<(Regex, String)>);

impl Filters {
    /// Digests, times, dates, loopback ports and process-made names.
    ///
    /// # Panics
    /// Never: the patterns are constants.
    pub fn standard() -> Filters {
        let rules = [
            (r"sha256:[0-9a-f]{64}", "sha256:[DIGEST]"),
            (r"\b[0-9a-f]{64}\b", "[HEX]"),
            (r"sha256:[0-9a-f]{12}\b", "sha256:[DIGEST]"),
            (r"\b[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(?:Z|[+-][0-9:]{5})", "[DATE]"),
            (r"\b[0-9]+m[0-9]+(?:\.[0-9]+)?s\b", "[TIME]"),
            (r"\b[0-9]+(?:\.[0-9]+)? ?(?:ns|µs|us|ms|s)\b", "[TIME]"),
            (r"(127\.0\.0\.1|localhost):[0-9]{2,5}", "$1:[PORT]"),
        ];
        Filters(rules.map(|(p, r)| (Regex::new(p).expect("a constant pattern"), r.to_owned())).into())
    }

    /// One more rule, before all others.
    ///
    /// # Panics
    /// If `pattern` is not a regular expression.
    #[must_use]
    pub fn first(mut self, pattern: &str, replacement: &str) -> Filters {
        let regex = Regex::new(pattern).unwrap_or_else(|e| panic!("{e}"));
        self.0.insert(0, (regex, replacement.to_owned()));
        self
    }

    /// A path, under its own name and under the one its symbolic links resolve to.
    #[must_use]
    pub fn path(self, path: &Path, replacement: &str) -> Filters {
        let resolved = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let both = [resolved, path.to_owned()];
        both.iter().fold(self, |filters, p| filters.first(&regex::escape(&p.to_string_lossy()), replacement))
    }

    /// `text` with every rule applied.
    pub fn apply(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (rule, to)| rule.replace_all(&text, to).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_is_hidden_and_the_rest_is_not() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let filters = Filters::standard().path(Path::new("/tmp/kiln-test-x"), "[TMP]");
        for (text, want) in [
            (format!("{digest} done in 3.4s"), "sha256:[DIGEST] done in [TIME]".to_owned()),
            ("127.0.0.1:43121/a/b".into(), "127.0.0.1:[PORT]/a/b".into()),
            ("at 2026-01-02T03:04:05.123Z 12 ms".into(), "at [DATE] [TIME]".into()),
            ("/tmp/kiln-test-x/out/a".into(), "[TMP]/out/a".into()),
            ("step 3 of 12, 5 files, 2.1 kB".into(), "step 3 of 12, 5 files, 2.1 kB".into()),
        ] {
            assert_eq!(filters.apply(&text), want);
        }
    }
}
