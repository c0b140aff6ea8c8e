//! in-toto statements: somebody says something (the predicate, of a type) of something (the subjects, by digest).
//!
//! A statement travels as it is, in a manifest beside the image that BuildKit's readers and the referrers of OCI both
//! find ([`manifest`]), or signed, in an [envelope](crate::bundle).

use std::collections::BTreeMap;

use kiln_oci::manifest::Annotations;
use kiln_oci::{Descriptor, Digest, Manifest, Platform, Reference, media};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The media type of a statement.
pub const MEDIA_TYPE: &str = "application/vnd.in-toto+json";
/// The annotation of a layer that says what its statement is about.
pub const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";
/// Predicate type of an SBOM in SPDX.
pub const SPDX: &str = "https://spdx.dev/Document";
/// Predicate type of an SBOM in CycloneDX.
pub const CYCLONEDX: &str = "https://cyclonedx.org/bom";

/// The type of a manifest of attestations, as BuildKit names it.
pub const ARTIFACT_TYPE: &str = "application/vnd.docker.attestation.manifest.v1+json";
/// The annotation of its entry in an index that names the image.
pub const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
/// The annotation that says what such an entry is.
pub const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
/// Its value.
pub const ATTESTATION_MANIFEST: &str = "attestation-manifest";

/// BuildKit's readers expect this version in what is not signed; what is signed has the newer one.
const VERSION_0_1: &str = "https://in-toto.io/Statement/v0.1";
const VERSION_1: &str = "https://in-toto.io/Statement/v1";

/// What is said of what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    /// The version of the format.
    #[serde(rename = "_type")]
    pub version: String,
    /// What it is said of.
    pub subject: Vec<Subject>,
    /// What kind of thing is said.
    pub predicate_type: String,
    /// What is said.
    #[serde(default)]
    pub predicate: Value,
}

/// What something is said of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// What it is called.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What it is: digests by algorithm, without the algorithm.
    #[serde(default)]
    pub digest: BTreeMap<String, String>,
}

/// A digest as in-toto writes it.
#[must_use]
pub fn digest_set(digest: &Digest) -> BTreeMap<String, String> {
    BTreeMap::from([(digest.algorithm().to_owned(), digest.hex())])
}

impl Statement {
    /// A statement about an image with these names.
    #[must_use]
    pub fn about(
        image: &Digest,
        platform: &Platform,
        names: &[Reference],
        predicate_type: &str,
        predicate: Value,
    ) -> Statement {
        let digest = digest_set(image);
        let mut subject: Vec<Subject> =
            names.iter().map(|name| Subject { name: purl(name, Some(platform)), digest: digest.clone() }).collect();
        if subject.is_empty() {
            // in-toto's word for what has no name.
            subject.push(Subject { name: "_".to_owned(), digest });
        }
        Statement { version: VERSION_0_1.to_owned(), subject, predicate_type: predicate_type.to_owned(), predicate }
    }

    /// The statement that cosign signs for an image: nothing but that the signer knows it.
    #[must_use]
    pub fn signed(image: &Digest, predicate_type: &str) -> Statement {
        Statement {
            version: VERSION_1.to_owned(),
            subject: vec![Subject { name: String::new(), digest: digest_set(image) }],
            predicate_type: predicate_type.to_owned(),
            predicate: Value::Object(serde_json::Map::new()),
        }
    }

    /// The same to be signed, of one more image: the index that lists the first one.
    #[must_use]
    pub fn also_about(&self, image: &Digest) -> Statement {
        let mut statement = Statement { version: VERSION_1.to_owned(), ..self.clone() };
        if !self.is_about(image) {
            let name = self.subject.first().map(|subject| subject.name.clone()).unwrap_or_default();
            statement.subject.push(Subject { name, digest: digest_set(image) });
        }
        statement
    }

    /// Whether it is said of an image.
    #[must_use]
    pub fn is_about(&self, image: &Digest) -> bool {
        self.subject.iter().any(|subject| subject.digest.get(image.algorithm()).is_some_and(|hex| *hex == image.hex()))
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// The package URL of an image: `pkg:docker/NAME@TAG?platform=OS%2FARCH`. The host of its registry is part of the name, as
/// BuildKit has it.
#[must_use]
pub fn purl(name: &Reference, platform: Option<&Platform>) -> String {
    let plain = Reference { tag: None, digest: None, ..name.clone() }.familiar();
    // A name without a tag means this one, which the package URL is not to repeat.
    let path = plain.strip_suffix(":latest").unwrap_or(&plain);
    let mut url = format!("pkg:docker/{}", escaped(path, b"/"));
    let version = name.tag_or_latest().map(str::to_owned).or_else(|| name.digest.as_ref().map(Digest::to_string));
    if let Some(version) = version {
        url += &format!("@{}", escaped(&version, b""));
    }
    if let Some(platform) = platform {
        url += &format!("?platform={}", escaped(&platform.to_string(), b""));
    }
    url
}

/// Percent-encoded but for letters, digits, `.-_~:` and `keep`.
fn escaped(text: &str, keep: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() || b".-_~:".contains(&byte) || keep.contains(&byte) {
            true => out.push(char::from(byte)),
            false => out += &format!("%{byte:02X}"),
        }
    }
    out
}

/// The manifest of statements about an image, and its entry for the index that lists the image.
///
/// BuildKit's readers find it there by its annotations; as its subject is the image, a registry lists it among the
/// image's referrers too.
#[must_use]
pub fn manifest(image: &Descriptor, statements: &[(Statement, Descriptor)]) -> (Manifest, Vec<u8>, Descriptor) {
    let layers = statements.iter().map(|(statement, blob)| Descriptor {
        annotations: Annotations::from([(PREDICATE_TYPE.to_owned(), statement.predicate_type.clone())]),
        ..blob.clone()
    });
    let manifest = Manifest {
        artifact_type: Some(ARTIFACT_TYPE.to_owned()),
        subject: Some(Descriptor::new(&image.media_type, image.digest.clone(), image.size)),
        ..Manifest::new(Descriptor::empty(), layers.collect())
    };
    let bytes = serde_json::to_vec(&manifest).unwrap_or_default();
    let descriptor = Descriptor {
        annotations: Annotations::from([
            (REFERENCE_DIGEST.to_owned(), image.digest.to_string()),
            (REFERENCE_TYPE.to_owned(), ATTESTATION_MANIFEST.to_owned()),
        ]),
        platform: Some(Platform::unknown()),
        artifact_type: Some(ARTIFACT_TYPE.to_owned()),
        ..Descriptor::of(media::OCI_MANIFEST, &bytes)
    };
    (manifest, bytes, descriptor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Reference {
        text.parse().unwrap()
    }

    #[test]
    fn images_have_package_urls() {
        let amd64 = Platform::linux("amd64");
        let digest = Digest::of(b"x");
        for (text, url) in [
            ("debian", "pkg:docker/debian@latest?platform=linux%2Famd64".to_owned()),
            ("me/app:1", "pkg:docker/me/app@1?platform=linux%2Famd64".to_owned()),
            ("reg.example:5000/a/b:c_d", "pkg:docker/reg.example:5000/a/b@c_d?platform=linux%2Famd64".to_owned()),
            (&format!("debian@{digest}"), format!("pkg:docker/debian@{digest}?platform=linux%2Famd64")),
        ] {
            assert_eq!(purl(&name(text), Some(&amd64)), url);
        }
    }

    #[test]
    fn a_statement_knows_what_it_is_about() {
        let (image, other) = (Digest::of(b"image"), Digest::of(b"other"));
        let about = Statement::about(&image, &Platform::linux("amd64"), &[], "t", Value::Null);
        assert!(about.is_about(&image) && !about.is_about(&other));
        assert_eq!(about.subject[0].name, "_");
        assert_eq!(serde_json::from_slice::<Statement>(&about.bytes()).unwrap(), about);
    }

    #[test]
    fn the_manifest_points_at_its_image() {
        let mut image = Descriptor::of(media::OCI_MANIFEST, b"image");
        image.platform = Some(Platform::linux("amd64"));
        let statement = Statement::about(&image.digest, &Platform::linux("amd64"), &[], SPDX, Value::Null);
        let blob = Descriptor::of(MEDIA_TYPE, &statement.bytes());
        let (manifest, bytes, entry) = manifest(&image, &[(statement, blob)]);
        assert_eq!(entry.digest, Digest::of(&bytes));
        assert_eq!(entry.annotations[REFERENCE_DIGEST], image.digest.to_string());
        assert_eq!(entry.platform.unwrap().to_string(), "unknown/unknown");
        assert_eq!(manifest.subject.unwrap().digest, image.digest);
        assert_eq!(manifest.layers[0].annotations[PREDICATE_TYPE], SPDX);
        assert!(!String::from_utf8(bytes).unwrap().contains("amd64"), "the subject is not an entry of an index");
    }
}
