//! The inventory as documents that others read.
//!
//! [`spdx`] SPDX 2.3     [`cyclonedx`] CycloneDX 1.6
//!
//! Both are functions of [`Inventory`](crate::Inventory), [`Subject`] and [`Created`]: names that must be unique in the
//! world are made from a hash of what the document says.

pub mod cyclonedx;
pub mod spdx;

use kiln_oci::entry::Mtime;
use kiln_oci::{Digest, Platform, Reference, time};
use serde::Serialize;
use serde_json::Value;

use crate::purl;

/// The image that a document is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subject {
    /// What users call it, such as a reference; any name that says something.
    pub name: String,
    /// The digest of its manifest, once there is one.
    pub digest: Option<Digest>,
    /// What it runs on.
    pub platform: Option<Platform>,
}

/// When a document was made, and with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// When: the time that images of the same build have.
    pub at: Mtime,
    /// The version of Kiln.
    pub version: String,
}

impl Created {
    /// RFC 3339 in whole seconds, the only form that SPDX knows.
    fn timestamp(&self) -> String {
        time::rfc3339(Mtime::secs(self.at.secs))
    }
}

impl Subject {
    /// The name, or a word where there is none: documents must have one.
    fn title(&self) -> &str {
        if self.name.is_empty() { "image" } else { &self.name }
    }

    /// `pkg:oci/NAME@DIGEST`, for an image with a digest and a name of a repository.
    fn purl(&self) -> Option<String> {
        let digest = self.digest.as_ref()?;
        let reference: Reference = self.name.parse().ok()?;
        let repository = format!("{}/{}", reference.registry, reference.repository);
        let name = reference.repository.rsplit('/').next().unwrap_or_default().to_lowercase();
        let architecture = self.platform.as_ref().map(|p| format!("arch={}&", purl::value(&p.architecture)));
        let (architecture, repository) = (architecture.unwrap_or_default(), purl::value(&repository));
        Some(format!("pkg:oci/{name}@{digest}?{architecture}repository_url={repository}"))
    }
}

/// `text` with everything but letters, digits, `.` and `-` replaced by `-`, and cut: a part of an identifier.
fn identifier(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    text.chars().take(64).map(plain).collect()
}

/// A short hash, for names that must differ.
fn short_hash(text: &str) -> String {
    Digest::of(text.as_bytes()).hex()[..16].to_owned()
}

/// Whether the validators of the documents take it for the address of a page.
fn is_url(text: &str) -> bool {
    let rest = ["http://", "https://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    let host = rest.and_then(|rest| rest.split(['/', ':', '?', '#']).next()).unwrap_or_default();
    let labels =
        host.split(['.', '-']).all(|label| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric()));
    let top =
        host.rsplit_once('.').is_some_and(|(_, top)| top.len() > 1 && top.bytes().all(|b| b.is_ascii_alphabetic()));
    labels && top && text.len() <= 2048 && text.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b))
}

/// A document as JSON; its parts are structs of strings.
fn value(document: &impl Serialize) -> Value {
    serde_json::to_value(document).expect("strings, lists and structs have a form in JSON")
}
