//! What a build is made from, written down: the digest of every base, of every URL that `ADD` names, and the commit of
//! every Git reference. A build that is held to such a file uses exactly these, whatever tags and branches mean by then,
//! and refuses anything that is not in it.

use std::collections::BTreeMap;

use kiln_oci::{Digest, Platform, Reference};
use kiln_plan::facts::{Facts, GitFact, GitQuery, HttpFact, HttpQuery, ImageName, ImageQuery};
use kiln_spec::login;
use serde::{Deserialize, Serialize};

use crate::error::{EngineError, Result};

/// The version of the file's format.
const VERSION: u32 = 1;
/// The most bytes a file may have.
pub const MAX_SIZE: u64 = 16 << 20;

/// The contents of a lock file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    version: u32,
    /// Digests of manifests, by image and platform.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    images: BTreeMap<String, BTreeMap<String, Digest>>,
    /// Digests of contents, by URL.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    urls: BTreeMap<String, Digest>,
    /// Commits, by repository and reference.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    git: BTreeMap<String, BTreeMap<String, String>>,
}

impl Default for Lock {
    fn default() -> Lock {
        Lock { version: VERSION, images: BTreeMap::new(), urls: BTreeMap::new(), git: BTreeMap::new() }
    }
}

impl Lock {
    /// Reads a file's contents.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(bytes: &[u8]) -> std::result::Result<Lock, String> {
        let lock: Lock = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        let commits = lock.git.values().flat_map(BTreeMap::values);
        if let Some(bad) = commits.into_iter().find(|c| !crate::fetch::git::is_commit(c)) {
            return Err(format!("`{bad}` is no commit"));
        }
        match lock.version {
            VERSION => Ok(lock),
            other => Err(format!("it has version {other}; this Kiln reads version {VERSION}")),
        }
    }

    /// The file's contents.
    pub fn text(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Writes down what a plan rests on.
    pub fn add(&mut self, facts: &Facts) {
        for (query, fact) in &facts.images {
            let platforms = self.images.entry(image_name(query)).or_default();
            platforms.insert(query.platform.to_string(), fact.digest.clone());
        }
        for (query, fact) in &facts.http {
            self.urls.insert(login::removed(&query.url), fact.digest.clone());
        }
        for (query, fact) in &facts.git {
            let references = self.git.entry(login::removed(&query.remote)).or_default();
            references.insert(reference_of(query).to_owned(), fact.commit.clone());
        }
    }

    /// The question about an image, held to its digest.
    ///
    /// # Errors
    /// When it is not written down.
    pub fn image(&self, query: &ImageQuery) -> Result<ImageQuery> {
        let name = image_name(query);
        let digest = self.images.get(&name).and_then(|platforms| platforms.get(&query.platform.to_string()));
        let digest = digest.ok_or_else(|| missing(&platform_of(&name, &query.platform)))?;
        let name = match &query.name {
            ImageName::Reference(text) => match text.parse::<Reference>() {
                Ok(reference) => {
                    let held = Reference { digest: Some(digest.clone()), ..reference };
                    ImageName::Reference(held.to_string())
                }
                // Whoever answers says what is wrong with it.
                Err(_) => query.name.clone(),
            },
            ImageName::OciLayout(_) => query.name.clone(),
        };
        Ok(ImageQuery { name, platform: query.platform.clone() })
    }

    /// That an image is the one written down.
    ///
    /// # Errors
    /// When it is another one.
    pub fn check_image(&self, query: &ImageQuery, found: &Digest) -> Result<()> {
        let name = image_name(query);
        let digest = self.images.get(&name).and_then(|platforms| platforms.get(&query.platform.to_string()));
        same(&platform_of(&name, &query.platform), digest, found)
    }

    /// That the content of a URL is the one written down.
    ///
    /// # Errors
    /// When it is not written down, or another one.
    pub fn check_url(&self, query: &HttpQuery, fact: &HttpFact) -> Result<()> {
        let url = login::removed(&query.url);
        same(&crate::fetch::http::shown(&url), self.urls.get(&url), &fact.digest)
    }

    /// The commit of a reference.
    ///
    /// # Errors
    /// When it is not written down.
    pub fn git(&self, query: &GitQuery) -> Result<GitFact> {
        let remote = login::removed(&query.remote);
        let commit = self.git.get(&remote).and_then(|references| references.get(reference_of(query)));
        let commit = commit
            .ok_or_else(|| missing(&format!("{} at {}", crate::fetch::http::shown(&remote), reference_of(query))))?;
        Ok(GitFact { commit: commit.clone() })
    }
}

fn same(what: &str, wanted: Option<&Digest>, found: &Digest) -> Result<()> {
    match wanted {
        Some(wanted) if wanted == found => Ok(()),
        Some(wanted) => Err(EngineError::Locked(format!("{what} is {found}, but the lock file says {wanted}"))),
        None => Err(missing(what)),
    }
}

fn missing(what: &str) -> EngineError {
    EngineError::Locked(format!("{what} is not in the lock file"))
}

fn platform_of(name: &str, platform: &Platform) -> String {
    format!("{name} for {platform}")
}

/// The image as the file names it: two ways to write one name are one.
fn image_name(query: &ImageQuery) -> String {
    match &query.name {
        ImageName::Reference(text) => text.parse::<Reference>().map_or_else(|_| text.clone(), |r| r.to_string()),
        ImageName::OciLayout(text) => format!("oci-layout://{text}"),
    }
}

fn reference_of(query: &GitQuery) -> &str {
    query.reference.as_deref().unwrap_or("HEAD")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(text: &str) -> ImageQuery {
        ImageQuery { name: ImageName::Reference(text.to_owned()), platform: Platform::linux("amd64") }
    }

    #[test]
    fn what_is_written_is_read() {
        let digest = Digest::of(b"x");
        let text = format!(
            r#"{{"version":1,"images":{{"docker.io/library/debian:12":{{"linux/amd64":"{digest}"}}}},
                "git":{{"https://h/r.git":{{"HEAD":"{}"}}}}}}"#,
            "0123456789".repeat(4)
        );
        let lock = Lock::parse(text.as_bytes()).unwrap();
        assert_eq!(Lock::parse(lock.text().as_bytes()).unwrap(), lock);
        let ImageName::Reference(held) = lock.image(&image("debian:12")).unwrap().name else { panic!("a reference") };
        assert_eq!(held, format!("docker.io/library/debian:12@{digest}"));
        assert!(lock.image(&image("debian:13")).unwrap_err().to_string().contains("is not in the lock file"));
        assert!(lock.check_image(&image("debian:12"), &digest).is_ok());
        let other = lock.check_image(&image("debian:12"), &Digest::of(b"y")).unwrap_err();
        assert!(other.to_string().contains("but the lock file says"), "{other}");
        let query = GitQuery { remote: "https://user:hunter2@h/r.git".to_owned(), reference: None };
        let hidden = login::removed(&query.remote);
        assert!(!hidden.contains("hunter2"));
        assert_eq!(lock.git(&query).is_ok(), hidden == "https://h/r.git");
    }

    #[test]
    fn other_files_are_refused() {
        for (text, why) in [
            ("", "EOF"),
            ("{}", "version"),
            (r#"{"version":2}"#, "version 2"),
            (r#"{"version":1,"image":{}}"#, "unknown field"),
            (r#"{"version":1,"git":{"r":{"HEAD":"--upload-pack=x"}}}"#, "is no commit"),
            (r#"{"version":1,"git":{"r":{"HEAD":"main"}}}"#, "is no commit"),
            (r#"{"version":1,"urls":{"u":"md5:0"}}"#, ""),
        ] {
            assert!(Lock::parse(text.as_bytes()).unwrap_err().contains(why), "{text}");
        }
    }
}
