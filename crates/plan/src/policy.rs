//! Which sources a build may use: a policy file, as BuildKit reads it from `EXPERIMENTAL_BUILDKIT_SOURCE_POLICY`.
//!
//! Every source has an identifier. Rules are tried in their order; each that matches allows the source, denies it, or
//! puts another in its place, with which the rules are tried from the start. The last word counts, and a source that no
//! rule matches is allowed.
//!
//! ```text
//! source                            identifier                                        may be converted
//! an image, of FROM, COPY, RUN      docker-image://docker.io/library/debian:12        yes, to another image
//! an OCI layout                     oci-layout://DIR                                  no
//! a URL, of ADD, context            https://host/path                                 yes; `http.checksum` pins it
//! a Git repository                  git://host/path#REFERENCE                         no
//! a context that is a directory     local://context, or local:// and its name         no
//! ```

use std::collections::BTreeMap;

use regex::Regex;
use serde::Deserialize;

use crate::facts::{ContextId, GitQuery, HttpQuery, ImageName, ImageQuery};
use kiln_oci::Reference;
use kiln_spec::login;
use url::Url;

/// Conversions of one source after which the rules must be going round in circles.
const MAX_CONVERSIONS: usize = 20;
/// The most bytes a policy may have.
pub const MAX_SIZE: u64 = 4 << 20;

const IMAGE: &str = "docker-image://";
const LAYOUT: &str = "oci-layout://";
const CHECKSUM: &str = "http.checksum";
const FULL_URL: &str = "git.fullurl";

/// Rules about sources.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    rules: Vec<Rule>,
    /// Whether the main context came from elsewhere, and has an identifier of its own.
    main_is_foreign: bool,
}

/// Why a source may not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A rule says so.
    #[error("the source policy denies {identifier} (rule {rule}: `{selector}`)")]
    Denied {
        /// What was asked for.
        identifier: String,
        /// Which rule, counted from 1.
        rule: usize,
        /// What it matches.
        selector: String,
    },
    /// Rules that convert each other's results.
    #[error("the source policy converts {0} without end")]
    Endless(String),
    /// A conversion that cannot be done.
    #[error("the source policy (rule {rule}) converts {from} to {to}: {why}")]
    Conversion {
        /// Which rule, counted from 1.
        rule: usize,
        /// What was asked for.
        from: String,
        /// What it would be.
        to: String,
        /// Why not.
        why: String,
    },
}

#[derive(Debug, Clone)]
struct Rule {
    action: Action,
    text: String,
    pattern: Regex,
    constraints: Vec<Constraint>,
    updates: Option<Updates>,
    /// Whether the identifier of the updates may name parts of what was matched.
    refers: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Allow,
    Deny,
    Convert,
}

#[derive(Debug, Clone)]
struct Constraint {
    key: String,
    condition: Condition,
}

#[derive(Debug, Clone)]
enum Condition {
    Equal(String),
    NotEqual(String),
    Matches(Regex),
}

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    #[expect(dead_code, reason = "BuildKit has it and uses it for nothing")]
    version: Option<i64>,
    #[serde(default)]
    rules: Vec<FileRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRule {
    #[serde(default)]
    action: Name,
    selector: Selector,
    #[serde(default)]
    updates: Option<Updates>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Selector {
    identifier: String,
    #[serde(default, rename = "matchType", alias = "match_type")]
    match_type: Name,
    #[serde(default)]
    constraints: Vec<FileConstraint>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileConstraint {
    key: String,
    value: String,
    #[serde(default)]
    condition: Name,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Updates {
    #[serde(default)]
    identifier: String,
    #[serde(default)]
    attrs: BTreeMap<String, String>,
}

/// A constant of the protocol, by name or number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Number(usize),
}

impl Default for Name {
    fn default() -> Name {
        Name::Number(0)
    }
}

impl Name {
    /// Its position among `names`.
    fn of(&self, what: &str, names: [&str; 3]) -> Result<usize, String> {
        let found = match self {
            Name::Text(text) => names.iter().position(|name| name.eq_ignore_ascii_case(text)),
            Name::Number(n) => Some(*n).filter(|n| *n < names.len()),
        };
        found.ok_or_else(|| format!("{what} is none of {}", names.join(", ")))
    }
}

/// What is asked for.
struct Asked {
    identifier: String,
    attrs: BTreeMap<String, String>,
    /// The rule that put it in the place of another.
    by: usize,
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(bytes: &[u8]) -> Result<Policy, String> {
        let file: File = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        let rule = |(index, rule)| Rule::read(rule).map_err(|why| format!("rule {}: {why}", index + 1));
        let rules = file.rules.into_iter().enumerate().map(rule).collect::<Result<_, _>>()?;
        Ok(Policy { rules, main_is_foreign: false })
    }

    /// The same, where the main context is no directory of this machine and was looked at by its address.
    #[must_use]
    pub fn with_foreign_main(self) -> Policy {
        Policy { main_is_foreign: true, ..self }
    }

    /// The image that is to be used for the one asked for.
    ///
    /// # Errors
    /// When none may be.
    pub fn image(&self, query: &ImageQuery) -> Result<ImageQuery, Refused> {
        let identifier = match &query.name {
            ImageName::Reference(text) => {
                let full = text.parse::<Reference>().map_or_else(|_| text.clone(), |r| one_name(r).to_string());
                format!("{IMAGE}{full}")
            }
            ImageName::OciLayout(text) => format!("{LAYOUT}{text}"),
        };
        let asked = self.apply(&identifier, BTreeMap::new())?;
        if asked.identifier == identifier {
            return Ok(query.clone());
        }
        let refuse = |why: &str| asked.refused(&identifier, why);
        if matches!(query.name, ImageName::OciLayout(_)) {
            return Err(refuse("only references of images can be converted"));
        }
        let name = asked.identifier.strip_prefix(IMAGE).ok_or_else(|| refuse("an image stays an image"))?;
        let reference = name.parse::<Reference>().map_err(|e| refuse(&e.to_string()))?;
        Ok(ImageQuery { name: ImageName::Reference(reference.to_string()), platform: query.platform.clone() })
    }

    /// The URL that is to be fetched for the one asked for.
    ///
    /// # Errors
    /// When none may be.
    pub fn url(&self, query: &HttpQuery) -> Result<HttpQuery, Refused> {
        let known = query.checksum.iter().map(|sum| (CHECKSUM.to_owned(), sum.clone())).collect();
        let identifier = one_address(&query.url);
        let mut asked = self.apply(&identifier, known)?;
        if asked.identifier == identifier {
            // As it was written, with the login that may be in it.
            asked.identifier.clone_from(&query.url);
        }
        if !asked.identifier.starts_with("https://") && !asked.identifier.starts_with("http://") {
            return Err(asked.refused(&query.url, "a URL stays a URL"));
        }
        let checksum = asked.attrs.get(CHECKSUM).cloned();
        match (&query.checksum, &checksum) {
            (Some(own), Some(other)) if own != other => {
                Err(asked.refused(&query.url, "the Dockerfile says another checksum"))
            }
            _ => Ok(HttpQuery { url: asked.identifier, checksum }),
        }
    }

    /// That a Git repository may be used.
    ///
    /// # Errors
    /// When it may not.
    pub fn git(&self, query: &GitQuery) -> Result<(), Refused> {
        let reference = query.reference.as_ref().map(|r| format!("#{r}")).unwrap_or_default();
        let identifier = format!("git://{}{reference}", one_repository(&query.remote));
        let attrs = BTreeMap::from([(FULL_URL.to_owned(), login::removed(&query.remote))]);
        self.unconverted(&identifier, attrs, "a Git repository cannot be converted here; deny it")
    }

    /// That a context that is a directory may be used.
    ///
    /// # Errors
    /// When it may not.
    pub fn context(&self, id: &ContextId) -> Result<(), Refused> {
        let name = match id {
            ContextId::Main if self.main_is_foreign => return Ok(()),
            ContextId::Main => "context",
            ContextId::Named(name) => name,
        };
        self.unconverted(&format!("local://{name}"), BTreeMap::new(), "a directory cannot be converted")
    }

    /// That a main context may be used that is an object of an object store.
    ///
    /// # Errors
    /// When it may not.
    pub fn object(&self, url: &str) -> Result<(), Refused> {
        self.unconverted(url, BTreeMap::new(), "a context in an object store cannot be converted")
    }

    fn unconverted(&self, identifier: &str, attrs: BTreeMap<String, String>, why: &str) -> Result<(), Refused> {
        let asked = self.apply(identifier, attrs)?;
        if asked.identifier == identifier { Ok(()) } else { Err(asked.refused(identifier, why)) }
    }

    fn apply(&self, identifier: &str, attrs: BTreeMap<String, String>) -> Result<Asked, Refused> {
        let mut asked = Asked { identifier: identifier.to_owned(), attrs, by: 0 };
        for _ in 0..MAX_CONVERSIONS {
            let mut denied = None;
            let mut converted = false;
            for (index, rule) in self.rules.iter().enumerate() {
                match rule.action {
                    _ if !rule.matches(&asked) => {}
                    Action::Allow => denied = None,
                    Action::Deny => denied = Some((index, rule)),
                    Action::Convert => converted = rule.convert(&mut asked, index + 1),
                }
                if converted {
                    break;
                }
            }
            match (converted, denied) {
                (true, _) => {}
                (false, None) => return Ok(asked),
                (false, Some((index, rule))) => {
                    let identifier = login::hidden(&asked.identifier);
                    return Err(Refused::Denied { identifier, rule: index + 1, selector: rule.text.clone() });
                }
            }
        }
        Err(Refused::Endless(login::hidden(identifier)))
    }
}

impl Asked {
    fn refused(&self, from: &str, why: &str) -> Refused {
        let (from, to) = (login::hidden(from), login::hidden(&self.identifier));
        Refused::Conversion { rule: self.by, from, to, why: why.to_owned() }
    }
}

impl Rule {
    fn read(rule: FileRule) -> Result<Rule, String> {
        let action = match rule.action.of("action", ["ALLOW", "DENY", "CONVERT"])? {
            0 => Action::Allow,
            1 => Action::Deny,
            _ => Action::Convert,
        };
        let text = rule.selector.identifier;
        let kind = rule.selector.match_type.of("matchType", ["WILDCARD", "EXACT", "REGEX"])?;
        let pattern = match kind {
            0 => Regex::new(&wildcard(&text)),
            1 => Regex::new(&format!("(?s)\\A{}\\z", regex::escape(&text))),
            _ => Regex::new(&text),
        };
        let pattern = pattern.map_err(|e| format!("the identifier is no pattern: {e}"))?;
        let constraints = rule.selector.constraints.into_iter().map(Constraint::read).collect::<Result<_, _>>()?;
        match (&rule.updates, action) {
            (None, Action::Convert) => return Err("it converts and has no updates".to_owned()),
            (Some(updates), _) => {
                if let Some(other) = updates.attrs.keys().find(|key| *key != CHECKSUM) {
                    return Err(format!("the attribute `{other}` is not supported; only {CHECKSUM} is"));
                }
            }
            (None, _) => {}
        }
        Ok(Rule { action, text, pattern, constraints, updates: rule.updates, refers: kind != 1 })
    }

    fn matches(&self, asked: &Asked) -> bool {
        self.pattern.is_match(&asked.identifier) && self.constraints.iter().all(|c| c.holds(asked))
    }

    /// Puts another source in place of the one asked for; whether that changed anything.
    fn convert(&self, asked: &mut Asked, number: usize) -> bool {
        let Some(updates) = &self.updates else { return false };
        let identifier = match (&*updates.identifier, self.refers) {
            ("", _) => asked.identifier.clone(),
            (new, true) => self.pattern.replace_all(&asked.identifier, new).into_owned(),
            (new, false) => new.to_owned(),
        };
        let mut changed = identifier != asked.identifier;
        asked.identifier = identifier;
        for (key, value) in &updates.attrs {
            changed |= asked.attrs.insert(key.clone(), value.clone()).as_ref() != Some(value);
        }
        if changed {
            asked.by = number;
        }
        changed
    }
}

impl Constraint {
    fn read(file: FileConstraint) -> Result<Constraint, String> {
        let condition = match file.condition.of("condition", ["EQUAL", "NOTEQUAL", "MATCHES"])? {
            0 => Condition::Equal(file.value),
            1 => Condition::NotEqual(file.value),
            _ => Condition::Matches(Regex::new(&file.value).map_err(|e| format!("the constraint: {e}"))?),
        };
        Ok(Constraint { key: file.key, condition })
    }

    fn holds(&self, asked: &Asked) -> bool {
        let value = asked.attrs.get(&self.key).map_or("", String::as_str);
        match &self.condition {
            Condition::Equal(wanted) => value == wanted,
            Condition::NotEqual(other) => value != other,
            Condition::Matches(pattern) => pattern.is_match(value),
        }
    }
}

/// An image by the one name that its registry has.
fn one_name(mut image: Reference) -> Reference {
    let host = image.registry.to_ascii_lowercase();
    image.registry = host.strip_suffix(":443").map_or(host.clone(), str::to_owned);
    if matches!(&*image.registry, "registry-1.docker.io" | "index.docker.io" | "docker.io") {
        image.registry = kiln_oci::reference::DEFAULT_REGISTRY.to_owned();
        if !image.repository.contains('/') {
            image.repository.insert_str(0, "library/");
        }
    }
    image
}

/// A URL as whoever fetches it reads it, without user and password.
fn one_address(url: &str) -> String {
    let Ok(mut parsed) = Url::parse(url) else { return login::removed(url) };
    // Only URLs without a host refuse this, and they have no user either.
    let _ = parsed.set_username("");
    let _ = parsed.set_password(None);
    parsed.to_string()
}

/// A repository as `host/path`, whichever way it is reached.
fn one_repository(remote: &str) -> String {
    let (scheme, rest) = match remote.split_once("://") {
        Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest.to_owned()),
        // `user@host:path`, as SSH has it.
        None => ("ssh".to_owned(), remote.replacen(':', "/", 1)),
    };
    let (host, path) = rest.split_once('/').unwrap_or((&rest, ""));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host).to_ascii_lowercase();
    let port = match &*scheme {
        "https" => ":443",
        "http" => ":80",
        "ssh" => ":22",
        _ => ":9418",
    };
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    format!("{}/{}", host.strip_suffix(port).unwrap_or(&host), segments.join("/"))
}

/// The expression of a wildcard: `*` is anything, `?` is one character, and each is a part that updates can name.
fn wildcard(text: &str) -> String {
    let mut out = String::from("(?s)\\A");
    for c in text.chars() {
        match c {
            '*' => out += "(.*?)",
            '?' => out += "(.)",
            other => out += &regex::escape(other.encode_utf8(&mut [0; 4])),
        }
    }
    out + "\\z"
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_oci::Platform;

    fn policy(rules: &str) -> Policy {
        Policy::parse(format!(r#"{{"rules":[{rules}]}}"#).as_bytes()).unwrap()
    }

    fn image(policy: &Policy, name: &str) -> Result<String, Refused> {
        let query = ImageQuery { name: ImageName::Reference(name.to_owned()), platform: Platform::linux("amd64") };
        policy.image(&query).map(|query| match query.name {
            ImageName::Reference(text) => text,
            ImageName::OciLayout(text) => text,
        })
    }

    fn url(policy: &Policy, url: &str, checksum: Option<&str>) -> Result<HttpQuery, Refused> {
        policy.url(&HttpQuery { url: url.to_owned(), checksum: checksum.map(str::to_owned) })
    }

    #[test]
    fn the_last_rule_that_matches_decides() {
        let rules = r#"{"action":"DENY","selector":{"identifier":"docker-image://*"}},
            {"action":"ALLOW","selector":{"identifier":"docker-image://docker.io/library/*"}},
            {"action":"DENY","selector":{"identifier":"docker-image://docker.io/library/debian:10","matchType":"EXACT"}}"#;
        let policy = policy(rules);
        assert_eq!(image(&policy, "debian:12").unwrap(), "debian:12");
        let error = image(&policy, "quay.io/x/y").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the source policy denies docker-image://quay.io/x/y:latest (rule 1: `docker-image://*`)"
        );
        assert!(matches!(image(&policy, "debian:10"), Err(Refused::Denied { rule: 3, .. })));
        assert!(url(&policy, "https://example.com/x", None).is_ok(), "what no rule matches is allowed");
    }

    #[test]
    fn an_image_is_converted_and_looked_at_again() {
        let digest = kiln_oci::Digest::of(b"x");
        let policy = policy(&format!(
            r#"{{"action":"CONVERT","selector":{{"identifier":"docker-image://docker.io/library/*"}},
                "updates":{{"identifier":"docker-image://mirror.example/hub/${{1}}"}}}},
               {{"action":2,"selector":{{"identifier":"^docker-image://mirror\\.example/hub/debian:12$","matchType":"REGEX"}},
                "updates":{{"identifier":"docker-image://mirror.example/hub/debian:12@{digest}"}}}},
               {{"action":"DENY","selector":{{"identifier":"docker-image://mirror.example/hub/bad:?"}}}}"#
        ));
        assert_eq!(image(&policy, "debian:12").unwrap(), format!("mirror.example/hub/debian:12@{digest}"));
        assert_eq!(image(&policy, "busybox").unwrap(), "mirror.example/hub/busybox:latest");
        assert!(matches!(image(&policy, "bad:1"), Err(Refused::Denied { .. })));
    }

    #[test]
    fn a_url_can_be_pinned() {
        let rule = r#"{"action":"CONVERT","selector":{"identifier":"https://example.com/tool"},
            "updates":{"attrs":{"http.checksum":"sha256:aa"}}}"#;
        let pinned = url(&policy(rule), "https://example.com/tool", None).unwrap();
        assert_eq!(pinned.checksum.as_deref(), Some("sha256:aa"));
        assert!(url(&policy(rule), "https://example.com/tool", Some("sha256:aa")).is_ok());
        let error = url(&policy(rule), "https://example.com/tool", Some("sha256:bb"));
        // The rule gives its own sum, and the Dockerfile's is not forgotten for it.
        assert!(error.unwrap_err().to_string().contains("another checksum"));
        let unpinned = r#"{"action":"DENY","selector":{"identifier":"https://*","constraints":
            [{"key":"http.checksum","value":"^sha256:","condition":"MATCHES"}]}}"#;
        assert!(url(&policy(unpinned), "https://x/y", Some("sha256:bb")).is_err());
        assert!(url(&policy(unpinned), "https://x/y", None).is_ok());
    }

    #[test]
    fn git_and_directories_can_be_denied_and_not_converted() {
        let denied = policy(
            r#"{"action":"DENY","selector":{"identifier":"git://github.com/*"}},
            {"action":"DENY","selector":{"identifier":"local://secret"}}"#,
        );
        let git = |remote: &str| GitQuery { remote: remote.to_owned(), reference: Some("v1".to_owned()) };
        let error = denied.git(&git("https://user:hunter2@github.com/a/b.git")).unwrap_err().to_string();
        assert!(error.contains("git://github.com/a/b.git#v1") && !error.contains("hunter2"), "{error}");
        assert!(denied.git(&git("https://example.com/a/b.git")).is_ok());
        assert!(denied.context(&ContextId::Main).is_ok());
        assert!(denied.context(&ContextId::Named("secret".to_owned())).is_err());
        let converts = policy(
            r#"{"action":"CONVERT","selector":{"identifier":"git://*"},"updates":{"identifier":"git://mirror/${1}"}},
               {"action":"CONVERT","selector":{"identifier":"docker-image://docker.io/library/x:latest"},"updates":{"identifier":"https://x"}}"#,
        );
        assert!(matches!(converts.git(&git("https://example.com/a")), Err(Refused::Endless(_))));
        assert!(image(&converts, "x").unwrap_err().to_string().contains("stays an image"));
    }

    #[test]
    fn another_spelling_is_no_way_around() {
        let rules = r#"{"action":"DENY","selector":{"identifier":"docker-image://quay.io/*"}},
            {"action":"DENY","selector":{"identifier":"docker-image://docker.io/library/debian:10"}},
            {"action":"DENY","selector":{"identifier":"https://evil.example/*"}},
            {"action":"DENY","selector":{"identifier":"git://github.com/org/*"}}"#;
        let policy = policy(rules);
        for name in ["quay.io/x", "QUAY.IO/x", "quay.io:443/x", "registry-1.docker.io/debian:10", "debian:10"] {
            assert!(matches!(image(&policy, name), Err(Refused::Denied { .. })), "{name}");
        }
        for address in [
            "https://evil.example/t",
            "https://x@evil.example/t",
            "https://x:hunter2@EVIL.example:443/t",
            "HTTPS://evil.example/./t",
            "https:///evil.example/t",
        ] {
            let error = url(&policy, address, None).unwrap_err().to_string();
            assert!(
                error.contains("denies https://evil.example/t") && !error.contains("hunter2"),
                "{address}: {error}"
            );
        }
        for remote in [
            "https://github.com/org/x.git",
            "https://GITHUB.com:443//org/x.git",
            "git@github.com:org/x.git",
            "ssh://git@github.com:22/other/../org/x.git",
            "git://github.com/org/x.git",
        ] {
            let query = GitQuery { remote: remote.to_owned(), reference: None };
            assert!(matches!(policy.git(&query), Err(Refused::Denied { .. })), "{remote}");
        }
        let kept = url(&policy, "https://user:hunter2@fine.example:443/./t", None).unwrap();
        assert_eq!(kept.url, "https://user:hunter2@fine.example:443/./t", "what is allowed stays as it is written");
        assert_eq!(image(&policy, "Fine.example:443/x").unwrap(), "Fine.example:443/x");
    }

    #[test]
    fn a_main_context_from_elsewhere_is_no_directory() {
        let denied = policy(r#"{"action":"DENY","selector":{"identifier":"local://*"}}"#);
        assert!(denied.context(&ContextId::Main).is_err());
        assert!(denied.with_foreign_main().context(&ContextId::Main).is_ok());
    }

    #[test]
    fn bad_files_say_what_is_wrong() {
        for (text, why) in [
            ("", "EOF"),
            (r#"{"rule":[]}"#, "unknown field"),
            (r#"{"rules":[{"action":"MAYBE","selector":{"identifier":"*"}}]}"#, "rule 1: action is none of ALLOW"),
            (r#"{"rules":[{"action":7,"selector":{"identifier":"*"}}]}"#, "action is none of"),
            (r#"{"rules":[{"action":"DENY","selector":{"identifier":"(","matchType":"REGEX"}}]}"#, "no pattern"),
            (r#"{"rules":[{"action":"CONVERT","selector":{"identifier":"*"}}]}"#, "no updates"),
            (
                r#"{"rules":[{"action":"CONVERT","selector":{"identifier":"*"},"updates":{"attrs":{"git.fullurl":"x"}}}]}"#,
                "`git.fullurl` is not supported",
            ),
        ] {
            let error = Policy::parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
