//! The files `~/.aws/credentials` and `~/.aws/config`.

use std::collections::BTreeMap;

/// Neither file is read beyond this many bytes.
pub(crate) const MAX_FILE: u64 = 1 << 20;

/// The sections of a file, by name. A name that comes twice goes on; a setting that comes twice has its last value.
/// Never shown: it holds secrets.
#[derive(Default)]
pub(crate) struct Profiles(BTreeMap<String, BTreeMap<String, String>>);

/// How the sections of a file are named.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `[name]`.
    Credentials,
    /// `[profile name]` and `[default]`; sections of other kinds (`sso-session`, `services`) are left out.
    Config,
}

impl Profiles {
    /// Reads a file's text; an error names the line and quotes nothing of it.
    pub(crate) fn parse(text: &str, dialect: Dialect) -> Result<Profiles, String> {
        let mut profiles = Profiles::default();
        let mut section: Option<String> = None;
        let mut seen_section = false;
        for (number, line) in text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate() {
            let bad = |why: &str| Err(format!("line {}: {why}", number + 1));
            let trimmed = line.trim();
            if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
                continue;
            }
            if let Some(rest) = trimmed.strip_prefix('[') {
                let Some((name, _)) = rest.split_once(']') else { return bad("a `[` without its `]`") };
                section = section_name(name, dialect);
                seen_section = true;
                if let Some(name) = &section {
                    profiles.0.entry(name.clone()).or_default();
                }
                continue;
            }
            if !seen_section {
                return bad("a setting before the first section");
            }
            // Settings that belong to the setting above, as those of `s3 =`.
            if line.starts_with([' ', '\t']) {
                continue;
            }
            let Some((name, value)) = trimmed.split_once('=') else { return bad("neither a section nor a setting") };
            if let Some(settings) = section.as_ref().and_then(|s| profiles.0.get_mut(s)) {
                settings.insert(name.trim().to_ascii_lowercase(), without_comment(value).to_owned());
            }
        }
        Ok(profiles)
    }

    /// Whether there is such a section.
    pub(crate) fn has(&self, profile: &str) -> bool {
        self.0.contains_key(profile)
    }

    /// A setting that is not empty.
    pub(crate) fn get(&self, profile: &str, name: &str) -> Option<&str> {
        self.0.get(profile)?.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }
}

fn section_name(name: &str, dialect: Dialect) -> Option<String> {
    let name = name.trim();
    let quotes: &[char] = &['"', '\''];
    match (dialect, name.split_once(char::is_whitespace)) {
        (Dialect::Credentials, _) | (Dialect::Config, None) => {
            let known = dialect == Dialect::Credentials || name == "default";
            known.then(|| name.trim_matches(quotes).to_owned())
        }
        (Dialect::Config, Some(("profile", name))) => Some(name.trim().trim_matches(quotes).to_owned()),
        (Dialect::Config, Some(_)) => None,
    }
}

/// A `#` or `;` begins a comment only after white space: keys may hold either.
fn without_comment(value: &str) -> &str {
    let cut = value.match_indices(['#', ';']).find(|(at, _)| value[..*at].ends_with([' ', '\t']));
    cut.map_or(value, |(at, _)| &value[..at]).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files() {
        let text = "\u{feff}# c\r\n[default]\r\naws_access_key_id = A\r\naws_secret_access_key=s=/+#x # tail\r\n\r\n[ two ]\nREGION=r\n[default]\naws_access_key_id=B";
        let p = Profiles::parse(text, Dialect::Credentials).unwrap();
        assert_eq!(p.get("default", "aws_access_key_id"), Some("B"), "the last one, without a newline");
        assert_eq!(p.get("default", "aws_secret_access_key"), Some("s=/+#x"));
        assert_eq!(p.get("two", "region"), Some("r"));
        let text = "[default]\nregion = a\ns3 =\n  region = nested\n[profile \"x y\"]\nregion=b\n[two]\nregion=c\n[sso-session z]\nregion=d\n[profile e]\n";
        let p = Profiles::parse(text, Dialect::Config).unwrap();
        assert_eq!((p.get("default", "region"), p.get("x y", "region")), (Some("a"), Some("b")));
        assert!(!p.has("two") && !p.has("z") && p.has("e"));
        assert_eq!(p.get("default", "s3"), None);
    }

    #[test]
    fn hostile_files() {
        for (text, want) in [
            ("hunter2", "line 1: a setting before"),
            ("[a\nx=1", "line 1: a `[`"),
            ("[a]\nhunter2", "line 2: neither"),
            ("=hunter2", "before the first"),
        ] {
            let why = Profiles::parse(text, Dialect::Credentials).err().unwrap();
            assert!(why.contains(want) && !why.contains("hunter2"), "{why}");
        }
        let long = format!("[a]\n{}={}", "k".repeat(400_000), "v".repeat(400_000));
        assert!(Profiles::parse(&long, Dialect::Credentials).unwrap().has("a"));
        let many = "[a]\n".repeat(200_000);
        assert!(Profiles::parse(&many, Dialect::Config).unwrap().0.is_empty());
        assert!(Profiles::parse("", Dialect::Config).unwrap().0.is_empty());
        let p = Profiles::parse("[]\n=x\n[a]]\nb=\n", Dialect::Credentials).unwrap();
        assert_eq!((p.has(""), p.get("a", "b")), (true, None));
    }
}
