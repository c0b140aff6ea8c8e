//! Image references, as `docker` reads them: `[registry/]repository[:tag][@digest]`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Digest;

/// Where an image is, normalised: `busybox` is `docker.io/library/busybox`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// Host and port; `docker.io` where none was written.
    pub registry: String,
    /// Path below the registry.
    pub repository: String,
    /// The tag, if written.
    pub tag: Option<String>,
    /// The digest, if written; it wins over the tag.
    pub digest: Option<Digest>,
}

/// Why a text is not a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Nothing there.
    #[error("an image reference must not be empty")]
    Empty,
    /// An upper-case letter in the repository.
    #[error("`{0}`: the repository name must be lower case")]
    UpperCase(String),
    /// Anything else.
    #[error("`{text}` is not an image reference: {why}")]
    Invalid {
        /// What was written.
        text: String,
        /// What is wrong with it.
        why: String,
    },
}

/// The registry of references that name none.
pub const DEFAULT_REGISTRY: &str = "docker.io";
const MAX_NAME: usize = 255;

impl Reference {
    /// The tag, or `latest` where neither tag nor digest was written.
    pub fn tag_or_latest(&self) -> Option<&str> {
        match (&self.tag, &self.digest) {
            (Some(tag), _) => Some(tag),
            (None, Some(_)) => None,
            (None, None) => Some("latest"),
        }
    }

    /// `registry/repository`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// What follows `/manifests/` in a registry request: the digest, else the tag, else `latest`.
    pub fn target(&self) -> String {
        self.digest.as_ref().map_or_else(|| self.tag_or_latest().unwrap_or("latest").to_owned(), Digest::to_string)
    }

    /// The reference with another digest and no tag.
    pub fn at(&self, digest: Digest) -> Reference {
        Reference { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// As people write it: without `docker.io/` and `library/`, where it is still the same reference.
    pub fn familiar(&self) -> String {
        let short = self.repository.strip_prefix("library/").filter(|short| !short.contains('/'));
        let name = match (&*self.registry, short, self.repository.split_once('/')) {
            (DEFAULT_REGISTRY, Some(short), _) => short.to_owned(),
            (DEFAULT_REGISTRY, None, Some((first, _))) if !looks_like_host(first) => self.repository.clone(),
            _ => self.name(),
        };
        name + &self.suffix()
    }

    fn suffix(&self) -> String {
        let tag = self.tag_or_latest().map(|t| format!(":{t}")).unwrap_or_default();
        let digest = self.digest.as_ref().map(|d| format!("@{d}")).unwrap_or_default();
        tag + &digest
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.name(), self.suffix())
    }
}

fn valid_component(part: &str) -> bool {
    let bytes = part.as_bytes();
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let mut i = 0;
    while i < bytes.len() {
        if alnum(bytes[i]) {
            i += 1;
            continue;
        }
        // A separator is one of `.`, `_`, `__` or any number of `-`, between two alphanumerics.
        let start = i;
        while i < bytes.len() && !alnum(bytes[i]) {
            i += 1;
        }
        let separator = &bytes[start..i];
        let ok = matches!(separator, b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-');
        if start == 0 || i == bytes.len() || !ok {
            return false;
        }
    }
    !bytes.is_empty()
}

fn valid_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((v6, port)) => {
                return v6.parse::<std::net::Ipv6Addr>().is_ok()
                    && (port.is_empty() || port.strip_prefix(':').is_some_and(|p| p.parse::<u16>().is_ok()));
            }
            None => return false,
        },
        None => host.split_once(':').map_or((host, None), |(n, p)| (n, Some(p))),
    };
    let label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    name.split('.').all(label) && port.is_none_or(|p| p.parse::<u16>().is_ok())
}

/// Whether what stands before the first slash is a registry, not a part of a repository's name.
fn looks_like_host(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase())
}

/// Whether `text` is a tag: `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`.
pub fn valid_tag(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
        && text.len() <= 128
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |why: String| ReferenceError::Invalid { text: text.to_owned(), why };
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>().map_err(|e| invalid(e.to_string()))?)),
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if let Some(tag) = tag.filter(|t| !valid_tag(t)) {
            return Err(invalid(format!("`{tag}` is not a tag")));
        }
        let (registry, repository) = match name.split_once('/') {
            Some((host, path)) if looks_like_host(host) => (host, path.to_owned()),
            Some(_) => (DEFAULT_REGISTRY, name.to_owned()),
            None => (DEFAULT_REGISTRY, format!("library/{name}")),
        };
        let (registry, repository) = match registry {
            "index.docker.io" | DEFAULT_REGISTRY if !repository.contains('/') => {
                (DEFAULT_REGISTRY, format!("library/{repository}"))
            }
            "index.docker.io" => (DEFAULT_REGISTRY, repository),
            other => (other, repository),
        };
        if !valid_host(registry) {
            return Err(invalid(format!("`{registry}` is not a registry host")));
        }
        if repository.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(ReferenceError::UpperCase(text.to_owned()));
        }
        if let Some(part) = repository.split('/').find(|p| !valid_component(p)) {
            return Err(invalid(format!("`{part}` is not a valid part of a repository name")));
        }
        if repository.len() > MAX_NAME {
            return Err(invalid(format!("the name is longer than {MAX_NAME} characters")));
        }
        Ok(Reference { registry: registry.to_owned(), repository, tag: tag.map(str::to_owned), digest })
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_completed() {
        for (text, full) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("user/app:v1", "docker.io/user/app:v1"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/a/b:c", "localhost:5000/a/b:c"),
            ("[::1]:5000/x", "[::1]:5000/x:latest"),
            ("index.docker.io/busybox", "docker.io/library/busybox:latest"),
            ("a__b/c-d.e", "docker.io/a__b/c-d.e:latest"),
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), full, "{text}");
        }
        let pinned = format!("busybox:1@{}", Digest::of(b""));
        let r: Reference = pinned.parse().unwrap();
        assert_eq!(r.target(), Digest::of(b"").to_string());
        assert_eq!(r.familiar(), pinned);
    }

    #[test]
    fn what_is_shortened_is_still_the_same() {
        for (text, short) in [
            ("docker.io/library/x:1", "x:1"),
            ("docker.io/user/x:1", "user/x:1"),
            ("docker.io/library/x/y:1", "library/x/y:1"),
            ("docker.io/foo.bar/x:1", "docker.io/foo.bar/x:1"),
            ("docker.io/localhost/x:1", "docker.io/localhost/x:1"),
            ("quay.io/library/x:1", "quay.io/library/x:1"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.familiar(), short);
            assert_eq!(short.parse::<Reference>().unwrap(), reference);
        }
    }

    #[test]
    fn bad_names_are_errors() {
        for bad in
            ["", ":x", "a:b:c", "a/B", "a//b", "a/../b", "-a", "a_", "a:..", "x@sha256:1", "a b", "ho st.x/a", "a..b"]
        {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
    }
}
