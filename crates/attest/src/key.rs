//! Keys as cosign keeps them: ECDSA over P-256, in PEM. A private key is behind a password, or bare as `openssl` writes
//! it; a public key is an X.509 `SubjectPublicKeyInfo`.

use std::fmt;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, ParsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pem::{EncodeConfig, LineEnding, Pem};

use crate::{AttestError, sealed};

/// How cosign labels private keys, today and in its first versions.
const SEALED: [&str; 2] = ["ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"];

/// The half of a key that signs.
pub struct PrivateKey(EcdsaKeyPair);

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey")
    }
}

impl PrivateKey {
    /// A new key.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn generate() -> Result<PrivateKey, AttestError> {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map(PrivateKey).map_err(|_| AttestError::Random)
    }

    /// Whether a key file is behind a password.
    #[must_use]
    pub fn needs_password(text: &[u8]) -> bool {
        pem::parse(text).is_ok_and(|pem| SEALED.contains(&pem.tag()))
    }

    /// Reads a key file. `password` is used if the key is behind one.
    ///
    /// # Errors
    /// Another kind of key, no key, or another password.
    pub fn parse(text: &[u8], password: Option<&[u8]>) -> Result<PrivateKey, AttestError> {
        let pem = pem::parse(text).map_err(|_| AttestError::Key("it is not in PEM".to_owned()))?;
        let der = match pem.tag() {
            tag if SEALED.contains(&tag) => sealed::open(pem.contents(), password.ok_or(AttestError::NoPassword)?)?,
            "PRIVATE KEY" | "EC PRIVATE KEY" => pem.contents().to_vec(),
            "PUBLIC KEY" => return Err(AttestError::Key("it is the public half".to_owned())),
            other => return Err(AttestError::Key(format!("its PEM label is `{}`", other.escape_debug()))),
        };
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        EcdsaKeyPair::from_private_key_der(algorithm, &der)
            .map(PrivateKey)
            .map_err(|_| AttestError::Key("it is not an ECDSA key over P-256".to_owned()))
    }

    /// The key file, behind a password.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn sealed(&self, password: &[u8]) -> Result<String, AttestError> {
        let der = self.0.to_pkcs8v1().map_err(|_| AttestError::Random)?;
        Ok(text(SEALED[0], sealed::seal(der.as_ref(), password)?))
    }

    /// The other half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let der: Result<PublicKeyX509Der<'_>, _> = self.0.public_key().as_der();
        PublicKey(der.map(|der| der.as_ref().to_vec()).unwrap_or_default())
    }

    /// The signature of a message: ECDSA of its SHA-256, as ASN.1.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, AttestError> {
        let signature = self.0.sign(&SystemRandom::new(), message).map_err(|_| AttestError::Random)?;
        Ok(signature.as_ref().to_vec())
    }
}

/// The half of a key that verifies, as the DER of its `SubjectPublicKeyInfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(Vec<u8>);

impl PublicKey {
    /// Reads a key file.
    ///
    /// # Errors
    /// Another kind of key, or no key.
    pub fn parse(text: &[u8]) -> Result<PublicKey, AttestError> {
        let pem = pem::parse(text).map_err(|_| AttestError::Key("it is not in PEM".to_owned()))?;
        match pem.tag() {
            "PUBLIC KEY" => {}
            tag if tag.ends_with("PRIVATE KEY") => {
                return Err(AttestError::Key("it is a private key; give the public half".to_owned()));
            }
            other => return Err(AttestError::Key(format!("its PEM label is `{}`", other.escape_debug()))),
        }
        let der = pem.into_contents();
        match ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &der) {
            Ok(_) => Ok(PublicKey(der)),
            Err(_) => Err(AttestError::Key("it is not an ECDSA key over P-256".to_owned())),
        }
    }

    /// The key file.
    #[must_use]
    pub fn text(&self) -> String {
        text("PUBLIC KEY", self.0.clone())
    }

    /// What Sigstore bundles call the key by: the SHA-256 of its DER, in base64.
    #[must_use]
    pub fn hint(&self) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.0);
        STANDARD.encode(digest)
    }

    /// That this key signed a message.
    ///
    /// # Errors
    /// When it did not.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), AttestError> {
        let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.0).map_err(|_| AttestError::Signature)?;
        key.verify_sig(message, signature).map_err(|_| AttestError::Signature)
    }
}

fn text(tag: &str, contents: Vec<u8>) -> String {
    pem::encode_config(&Pem::new(tag, contents), EncodeConfig::new().set_line_ending(LineEnding::LF))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_file() {
        let key = PrivateKey::generate().unwrap();
        let file = key.sealed(b"pass").unwrap();
        assert!(file.starts_with("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n"), "{file}");
        assert!(PrivateKey::needs_password(file.as_bytes()));
        assert_eq!(PrivateKey::parse(file.as_bytes(), None).unwrap_err(), AttestError::NoPassword);
        assert_eq!(PrivateKey::parse(file.as_bytes(), Some(b"no")).unwrap_err(), AttestError::Password);
        let again = PrivateKey::parse(file.as_bytes(), Some(b"pass")).unwrap();
        let public = PublicKey::parse(key.public().text().as_bytes()).unwrap();
        assert_eq!(public, again.public());
        let signature = again.sign(b"message").unwrap();
        assert_eq!(public.verify(b"message", &signature), Ok(()));
        assert_eq!(public.verify(b"massage", &signature), Err(AttestError::Signature));
        assert_eq!(public.verify(b"message", &signature[1..]), Err(AttestError::Signature));
        assert_eq!(
            PrivateKey::generate().unwrap().public().verify(b"message", &signature),
            Err(AttestError::Signature)
        );
    }

    #[test]
    fn other_files_are_refused() {
        let key = PrivateKey::generate().unwrap();
        let (private, public) = (key.sealed(b"").unwrap(), key.public().text());
        let why = |text: &str| PublicKey::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(why(&private).contains("private key"), "{}", why(&private));
        assert!(why("").contains("PEM"));
        assert!(why("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n").contains("P-256"));
        assert!(why("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").contains("CERTIFICATE"));
        let why = |text: &str| PrivateKey::parse(text.as_bytes(), Some(b"")).unwrap_err().to_string();
        assert!(why(&public).contains("public half"));
        assert!(why("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").contains("P-256"));
        let bad =
            "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n";
        assert!(why(bad).contains("no key"));
    }
}
