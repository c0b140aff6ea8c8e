//! cosign's signatures beside an image: a manifest under the tag `sha256-HEX.sig`, with a layer for each signature. The
//! layer's blob is what was signed, in the "simple signing" format; the signature is an annotation.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_oci::config::RootFs;
use kiln_oci::manifest::Annotations;
use kiln_oci::{Descriptor, Digest, Manifest, Reference, media};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{AttestError, PrivateKey, PublicKey};

/// The media type of what is signed.
pub const MEDIA_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation that holds the signature in base64.
pub const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const KIND: &str = "cosign container image signature";
/// The most bytes of what is signed.
pub const MAX_PAYLOAD: u64 = 1 << 20;

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    critical: Critical,
    #[serde(default)]
    optional: Option<serde_json::Map<String, serde_json::Value>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Critical {
    identity: Identity,
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Identity {
    docker_reference: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Image {
    docker_manifest_digest: String,
}

impl Payload {
    /// That this repository has this image.
    #[must_use]
    pub fn of(repository: &Reference, image: &Digest) -> Payload {
        let identity = Identity { docker_reference: claimed(repository) };
        let image = Image { docker_manifest_digest: image.to_string() };
        Payload { critical: Critical { identity, image, kind: KIND.to_owned() }, optional: None }
    }

    /// What the signer called the image.
    #[must_use]
    pub fn reference(&self) -> &str {
        &self.critical.identity.docker_reference
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a payload that `key` signed, and that is about `image`.
    ///
    /// # Errors
    /// Another key, another image, another document.
    pub fn verified(
        bytes: &[u8],
        annotations: &Annotations,
        image: &Digest,
        key: &PublicKey,
    ) -> Result<Payload, AttestError> {
        let signature = annotations.get(SIGNATURE).and_then(|text| STANDARD.decode(text).ok());
        key.verify(bytes, &signature.ok_or(AttestError::Signature)?)?;
        let payload: Payload = serde_json::from_slice(bytes).map_err(|e| AttestError::Document(e.to_string()))?;
        if payload.critical.kind != KIND {
            return Err(AttestError::Document(format!("it is a `{}`", payload.critical.kind.escape_debug())));
        }
        let named = &payload.critical.image.docker_manifest_digest;
        match *named == image.to_string() {
            true => Ok(payload),
            false => Err(AttestError::Document(format!("it is about {}", named.escape_debug()))),
        }
    }
}

/// How cosign writes a repository: Docker Hub by the name of its index.
fn claimed(repository: &Reference) -> String {
    match &*repository.registry {
        kiln_oci::reference::DEFAULT_REGISTRY => format!("index.docker.io/{}", repository.repository),
        _ => repository.name(),
    }
}

/// The tag that an image's signatures are under.
#[must_use]
pub fn tag(image: &Digest) -> String {
    format!("{}-{}.sig", image.algorithm(), image.hex())
}

/// The layer of a new signature.
///
/// # Errors
/// When the system gives no random numbers.
pub fn layer(payload: &[u8], key: &PrivateKey) -> Result<Descriptor, AttestError> {
    let signature = STANDARD.encode(key.sign(payload)?);
    let annotations = Annotations::from([(SIGNATURE.to_owned(), signature)]);
    Ok(Descriptor { annotations, ..Descriptor::of(MEDIA_TYPE, payload) })
}

/// The manifest of these signatures, and its configuration.
#[must_use]
pub fn manifest(layers: Vec<Descriptor>) -> (Manifest, Vec<u8>) {
    let rootfs = RootFs { diff_ids: layers.iter().map(|l| l.digest.clone()).collect(), ..RootFs::default() };
    let never = "0001-01-01T00:00:00Z";
    let config = json!({
        "architecture": "",
        "created": never,
        "history": layers.iter().map(|_| json!({ "created": never })).collect::<Vec<_>>(),
        "os": "",
        "rootfs": rootfs,
        "config": {},
    });
    let config = serde_json::to_vec(&config).unwrap_or_default();
    (Manifest::new(Descriptor::of(media::OCI_CONFIG, &config), layers), config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_image_and_key() {
        let (key, other) = (PrivateKey::generate().unwrap(), PrivateKey::generate().unwrap());
        let image = Digest::of(b"image");
        let payload = Payload::of(&"debian:12".parse().unwrap(), &image);
        assert_eq!(payload.reference(), "index.docker.io/library/debian");
        let layer = layer(&payload.bytes(), &key).unwrap();
        let verified = |bytes: &[u8], image: &Digest, key: &PrivateKey| {
            Payload::verified(bytes, &layer.annotations, image, &key.public())
        };
        assert_eq!(verified(&payload.bytes(), &image, &key).unwrap(), payload);
        assert_eq!(verified(&payload.bytes(), &image, &other).unwrap_err(), AttestError::Signature);
        assert_eq!(verified(b"{}", &image, &key).unwrap_err(), AttestError::Signature);
        let error = verified(&payload.bytes(), &Digest::of(b"other"), &key).unwrap_err();
        assert!(error.to_string().contains("it is about sha256:"), "{error}");
        assert_eq!(
            Payload::verified(&payload.bytes(), &Annotations::new(), &image, &key.public()).unwrap_err(),
            AttestError::Signature
        );
    }

    #[test]
    fn the_tag_is_made_of_the_digest() {
        let image = Digest::of(b"image");
        assert_eq!(tag(&image), format!("sha256-{}.sig", image.hex()));
    }
}
