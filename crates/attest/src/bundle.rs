//! Sigstore bundles: one document with a statement in a DSSE envelope, its signature, and what to verify it with. cosign
//! puts each in an artefact of its own, whose subject is the image.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_oci::manifest::Annotations;
use kiln_oci::{Descriptor, Digest, Manifest, media};
use serde::{Deserialize, Serialize};

use crate::statement::{self, Statement};
use crate::{AttestError, PrivateKey, PublicKey};

/// The media type of a bundle, and the type of the artefact that holds it.
pub const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// The predicate type of a plain signature.
pub const SIGNED: &str = "https://sigstore.dev/cosign/sign/v1";
const CONTENT: &str = "dev.sigstore.bundle.content";
const PREDICATE_TYPE: &str = "dev.sigstore.bundle.predicateType";
/// The most bytes of a bundle.
pub const MAX_BUNDLE: u64 = 64 << 20;

/// A signed statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bundle {
    media_type: String,
    verification_material: Material,
    dsse_envelope: Envelope,
}

/// What a signature is verified with. Kiln goes by the key it is given, not by what a bundle says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    public_key: Option<KeyHint>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeyHint {
    #[serde(default)]
    hint: String,
}

/// Dead Simple Signing Envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Signature {
    sig: String,
}

/// What of a statement is signed: its bytes, after their type and both lengths.
fn to_sign(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    out.extend(payload);
    out
}

impl Bundle {
    /// Signs a statement.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn sign(statement: &Statement, key: &PrivateKey) -> Result<Bundle, AttestError> {
        let payload = statement.bytes();
        let signature = key.sign(&to_sign(statement::MEDIA_TYPE, &payload))?;
        Ok(Bundle {
            media_type: MEDIA_TYPE.to_owned(),
            verification_material: Material { public_key: Some(KeyHint { hint: key.public().hint() }) },
            dsse_envelope: Envelope {
                payload: STANDARD.encode(payload),
                payload_type: statement::MEDIA_TYPE.to_owned(),
                signatures: vec![Signature { sig: STANDARD.encode(signature) }],
            },
        })
    }

    /// Reads a bundle.
    ///
    /// # Errors
    /// Another document.
    pub fn parse(bytes: &[u8]) -> Result<Bundle, AttestError> {
        serde_json::from_slice(bytes).map_err(|e| AttestError::Document(e.to_string()))
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The statement, if `key` signed it and it is about `image`.
    ///
    /// # Errors
    /// Another key, another image, another document.
    pub fn verified(&self, image: &Digest, key: &PublicKey) -> Result<Statement, AttestError> {
        let envelope = &self.dsse_envelope;
        let payload = STANDARD.decode(&envelope.payload).map_err(|_| AttestError::Signature)?;
        let signed = to_sign(&envelope.payload_type, &payload);
        let by_key = |signature: &Signature| {
            STANDARD.decode(&signature.sig).is_ok_and(|signature| key.verify(&signed, &signature).is_ok())
        };
        if !envelope.signatures.iter().any(by_key) {
            return Err(AttestError::Signature);
        }
        if envelope.payload_type != statement::MEDIA_TYPE {
            return Err(AttestError::Document(format!("it holds `{}`", envelope.payload_type.escape_debug())));
        }
        let statement: Statement =
            serde_json::from_slice(&payload).map_err(|e| AttestError::Document(e.to_string()))?;
        match statement.is_about(image) {
            true => Ok(statement),
            false => Err(AttestError::Document("it is about something else".to_owned())),
        }
    }
}

/// The artefact that holds a bundle about an image: its manifest, and its entry in a list of referrers.
#[must_use]
pub fn manifest(image: &Descriptor, bundle: &[u8], predicate_type: &str) -> (Manifest, Vec<u8>, Descriptor) {
    let annotations = Annotations::from([
        (CONTENT.to_owned(), "dsse-envelope".to_owned()),
        (PREDICATE_TYPE.to_owned(), predicate_type.to_owned()),
    ]);
    let manifest = Manifest {
        artifact_type: Some(MEDIA_TYPE.to_owned()),
        subject: Some(Descriptor::new(&image.media_type, image.digest.clone(), image.size)),
        annotations,
        ..Manifest::new(Descriptor::empty(), vec![Descriptor::of(MEDIA_TYPE, bundle)])
    };
    let bytes = serde_json::to_vec(&manifest).unwrap_or_default();
    let entry = manifest.as_referrer(&Descriptor::of(media::OCI_MANIFEST, &bytes));
    (manifest, bytes, entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_holds_for_its_image_and_key() {
        let (key, other) = (PrivateKey::generate().unwrap(), PrivateKey::generate().unwrap());
        let image = Digest::of(b"image");
        let statement = Statement::signed(&image, SIGNED);
        let bundle = Bundle::parse(&Bundle::sign(&statement, &key).unwrap().bytes()).unwrap();
        assert_eq!(bundle.verified(&image, &key.public()).unwrap(), statement);
        assert_eq!(bundle.verified(&image, &other.public()).unwrap_err(), AttestError::Signature);
        let error = bundle.verified(&Digest::of(b"other"), &key.public()).unwrap_err();
        assert!(error.to_string().contains("something else"), "{error}");
        let mut changed = bundle.clone();
        changed.dsse_envelope.payload_type = "text/plain".to_owned();
        assert_eq!(changed.verified(&image, &key.public()).unwrap_err(), AttestError::Signature, "the type is signed");
        let mut none = bundle;
        none.dsse_envelope.signatures.clear();
        assert_eq!(none.verified(&image, &key.public()).unwrap_err(), AttestError::Signature);
    }

    #[test]
    fn what_is_signed_is_written_as_dsse_says() {
        assert_eq!(to_sign("a/b", b"hi"), b"DSSEv1 3 a/b 2 hi");
    }

    #[test]
    fn other_documents_are_refused() {
        for text in ["", "{}", "[]", r#"{"mediaType":"x","verificationMaterial":{},"messageSignature":{}}"#] {
            assert!(matches!(Bundle::parse(text.as_bytes()), Err(AttestError::Document(_))), "{text}");
        }
    }
}
