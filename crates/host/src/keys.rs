//! Private keys and certificates, read and made.

use std::fmt;
use std::sync::Arc;

use russh::keys::ssh_key::private::{EcdsaKeypair, KeypairData, RsaKeypair};
use russh::keys::ssh_key::{Algorithm, EcdsaCurve, HashAlg, LineEnding};

use crate::{HostError, Secret};

/// More than any key has.
const KEY_LIMIT: usize = 64 << 10;

/// A private key. It prints as its public half.
#[derive(Clone)]
pub struct PrivateKey(pub(crate) Arc<russh::keys::PrivateKey>);

/// A certificate for a key, as `id_ed25519-cert.pub` has it.
#[derive(Clone)]
pub struct Certificate(pub(crate) Arc<russh::keys::Certificate>);

/// A public key, of a user or of a machine.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(pub(crate) russh::keys::PublicKey);

/// What kind of key to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Small and fast; every server since 2014 has it.
    Ed25519,
    /// With this many bits: 2048 to 8192.
    Rsa(u32),
    /// With this many bits: 256, 384 or 521.
    Ecdsa(u32),
}

impl PrivateKey {
    /// Reads a key in OpenSSH's own format, PKCS#8, PKCS#1 or SEC1. `name` is what errors call it.
    ///
    /// # Errors
    /// When it is none of these, or encrypted and the passphrase is missing or wrong.
    pub fn parse(name: &str, text: &Secret, passphrase: Option<&Secret>) -> Result<PrivateKey, HostError> {
        let fail = |why: String| HostError::Key { name: name.to_owned(), why };
        if text.expose().len() > KEY_LIMIT {
            return Err(fail(format!("it has more than {KEY_LIMIT} bytes")));
        }
        if text.expose().trim_start().starts_with("ssh-") {
            return Err(fail("this is the public half; the private one has the same name without .pub".to_owned()));
        }
        if text.expose().contains("BEGIN PUTTY") || text.expose().starts_with("PuTTY-User-Key-File") {
            return Err(fail("it is PuTTY's own format; `puttygen KEY -O private-openssh` converts it".to_owned()));
        }
        // With a passphrase for a key that has none the parser would complain.
        if let Ok(key) = russh::keys::decode_secret_key(text.expose(), None)
            && !key.is_encrypted()
        {
            return Ok(PrivateKey(Arc::new(key)));
        }
        let encrypted = ["BEGIN ENCRYPTED PRIVATE KEY", "Proc-Type: 4,ENCRYPTED"];
        let Some(passphrase) = passphrase else {
            if encrypted.iter().any(|mark| text.expose().contains(mark)) {
                return Err(fail("it is encrypted: a passphrase is needed".to_owned()));
            }
            return Err(match russh::keys::decode_secret_key(text.expose(), None) {
                Ok(_) | Err(russh::keys::Error::KeyIsEncrypted) => {
                    fail("it is encrypted: a passphrase is needed".into())
                }
                Err(error) => fail(explain(&error, text)),
            });
        };
        match russh::keys::decode_secret_key(text.expose(), Some(passphrase.expose())) {
            Ok(key) => Ok(PrivateKey(Arc::new(key))),
            Err(_) => Err(fail("the passphrase does not open it".to_owned())),
        }
    }

    /// Makes a key.
    ///
    /// # Errors
    /// When there is no such kind.
    pub fn generate(kind: Kind, comment: &str) -> Result<PrivateKey, HostError> {
        let fail = |why: String| HostError::Key { name: "to be made".to_owned(), why };
        let mut random = russh::keys::key::safe_rng();
        let data = match kind {
            Kind::Ed25519 => return PrivateKey::random(Algorithm::Ed25519, comment),
            Kind::Ecdsa(bits) => {
                let curve = match bits {
                    256 => EcdsaCurve::NistP256,
                    384 => EcdsaCurve::NistP384,
                    521 => EcdsaCurve::NistP521,
                    _ => return Err(fail(format!("ECDSA has 256, 384 or 521 bits, not {bits}"))),
                };
                KeypairData::from(EcdsaKeypair::random(&mut random, curve).map_err(|error| fail(error.to_string()))?)
            }
            Kind::Rsa(bits) if (2048..=8192).contains(&bits) => KeypairData::from(
                RsaKeypair::random(&mut random, bits as usize).map_err(|error| fail(error.to_string()))?,
            ),
            Kind::Rsa(bits) => return Err(fail(format!("RSA has 2048 to 8192 bits, not {bits}"))),
        };
        let key = russh::keys::PrivateKey::new(data, comment).map_err(|error| fail(error.to_string()))?;
        Ok(PrivateKey(Arc::new(key)))
    }

    fn random(algorithm: Algorithm, comment: &str) -> Result<PrivateKey, HostError> {
        let made = russh::keys::PrivateKey::random(&mut russh::keys::key::safe_rng(), algorithm);
        let mut key = made.map_err(|error| HostError::Key { name: "to be made".to_owned(), why: error.to_string() })?;
        key.set_comment(comment);
        Ok(PrivateKey(Arc::new(key)))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.public_key().clone())
    }

    /// The whole key in OpenSSH's format, for a file of mode 0600.
    ///
    /// # Errors
    /// When it cannot be written so.
    pub fn openssh(&self) -> Result<Secret, HostError> {
        let text = self.0.to_openssh(LineEnding::LF);
        let text = text.map_err(|error| HostError::Key { name: "to be written".to_owned(), why: error.to_string() })?;
        Ok(Secret::new(text.as_str()))
    }
}

fn explain(error: &russh::keys::Error, text: &Secret) -> String {
    if !text.expose().contains("-----BEGIN") {
        return "there is no `-----BEGIN … PRIVATE KEY-----` in it".to_owned();
    }
    error.to_string()
}

impl PublicKey {
    /// Reads `ssh-ed25519 AAAA… comment`.
    ///
    /// # Errors
    /// When it is no such line.
    pub fn parse(line: &str) -> Result<PublicKey, HostError> {
        let fail = |why: String| HostError::Key { name: crate::error::printable(line.as_bytes()), why };
        let mut words = line.split_whitespace();
        let (Some(kind), Some(body)) = (words.next(), words.next()) else {
            return Err(fail("a public key is `TYPE BASE64 [COMMENT]`".to_owned()));
        };
        let key = russh::keys::parse_public_key_base64(body).map_err(|error| fail(error.to_string()))?;
        if key.algorithm().as_str() != kind {
            return Err(fail(format!("it says {kind} and is {}", key.algorithm().as_str())));
        }
        Ok(PublicKey(key))
    }

    /// The line for `authorized_keys`, without a line end.
    pub fn line(&self) -> String {
        self.0.to_openssh().unwrap_or_default()
    }

    /// `SHA256:…`, as ssh shows it.
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint(HashAlg::Sha256).to_string()
    }

    /// `ssh-ed25519`, `ecdsa-sha2-nistp256`, `ssh-rsa`, …
    pub fn algorithm(&self) -> String {
        self.0.algorithm().as_str().to_owned()
    }

    /// Whether both are one key; comments do not count.
    pub fn same(&self, other: &PublicKey) -> bool {
        self.0.key_data() == other.0.key_data()
    }
}

impl Certificate {
    /// Reads `ssh-ed25519-cert-v01@openssh.com AAAA…`.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(name: &str, line: &str) -> Result<Certificate, HostError> {
        let fail = |why: String| HostError::Key { name: name.to_owned(), why };
        if line.len() > KEY_LIMIT {
            return Err(fail(format!("it has more than {KEY_LIMIT} bytes")));
        }
        match russh::keys::Certificate::from_openssh(line.trim()) {
            Ok(certificate) => Ok(Certificate(Arc::new(certificate))),
            Err(error) => Err(fail(format!("it is no certificate: {error}"))),
        }
    }

    /// The key it is for.
    pub fn key(&self) -> PublicKey {
        PublicKey(russh::keys::PublicKey::new(self.0.public_key().clone(), ""))
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "private key of {}", self.public().fingerprint())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.algorithm(), self.fingerprint())
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "certificate for {}", self.key().fingerprint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_keys_are_read_back() {
        for (kind, algorithm) in [
            (Kind::Ed25519, "ssh-ed25519"),
            (Kind::Ecdsa(256), "ecdsa-sha2-nistp256"),
            (Kind::Ecdsa(384), "ecdsa-sha2-nistp384"),
            (Kind::Ecdsa(521), "ecdsa-sha2-nistp521"),
            (Kind::Rsa(2048), "ssh-rsa"),
        ] {
            let key = PrivateKey::generate(kind, "made for a build").unwrap();
            let again = PrivateKey::parse("k", &key.openssh().unwrap(), None).unwrap();
            assert!(again.public().same(&key.public()));
            let line = key.public().line();
            assert!(line.starts_with(algorithm) && line.ends_with(" made for a build"), "{line}");
            assert!(PublicKey::parse(&line).unwrap().same(&key.public()));
            assert!(!format!("{key:?}").contains("BEGIN"));
        }
    }

    #[test]
    fn keys_that_are_none_say_why() {
        let why = |text: &str| PrivateKey::parse("id", &Secret::new(text), None).unwrap_err().to_string();
        insta::assert_snapshot!(why("ssh-ed25519 AAAA me"), @"cannot use the key id: this is the public half; the private one has the same name without .pub");
        insta::assert_snapshot!(why("PuTTY-User-Key-File-3: ssh-ed25519"), @"cannot use the key id: it is PuTTY's own format; `puttygen KEY -O private-openssh` converts it");
        insta::assert_snapshot!(why("hello"), @"cannot use the key id: there is no `-----BEGIN … PRIVATE KEY-----` in it");
        insta::assert_snapshot!(PrivateKey::generate(Kind::Rsa(512), "").unwrap_err(), @"cannot use the key to be made: RSA has 2048 to 8192 bits, not 512");
        insta::assert_snapshot!(PrivateKey::generate(Kind::Ecdsa(255), "").unwrap_err(), @"cannot use the key to be made: ECDSA has 256, 384 or 521 bits, not 255");
    }
}
