//! Secrets behind a password, as go-securesystemslib writes them: scrypt makes a key of the password, NaCl's secretbox
//! (XSalsa20 and Poly1305) seals with it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit as _;
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit as _, StreamCipher as _};
use serde::{Deserialize, Serialize};

use crate::AttestError;

/// What scrypt is to cost for new secrets, as cosign has it: 64 MiB.
const COST: u8 = 16;
const BLOCK: u32 = 8;
/// The most a document that was read may ask for: 256 MiB, and eight times the work.
const MAX_COST: u64 = 1 << 18;
const MAX_PARALLEL: u32 = 8;
const SALT: usize = 32;
const KEY: usize = 32;
const NONCE: usize = 24;
const TAG: usize = 16;

#[derive(Serialize, Deserialize)]
struct Sealed {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Serialize, Deserialize)]
struct Kdf {
    name: String,
    params: Params,
    salt: String,
}

#[derive(Serialize, Deserialize)]
struct Params {
    #[serde(rename = "N")]
    cost: u64,
    r: u32,
    p: u32,
}

#[derive(Serialize, Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

/// Seals a secret.
pub fn seal(secret: &[u8], password: &[u8]) -> Result<Vec<u8>, AttestError> {
    let (mut salt, mut nonce) = ([0; SALT], [0; NONCE]);
    for random in [&mut salt[..], &mut nonce[..]] {
        aws_lc_rs::rand::fill(random).map_err(|_| AttestError::Random)?;
    }
    let params = Params { cost: 1 << COST, r: BLOCK, p: 1 };
    let key = derive(password, &salt, &params)?;
    let sealed = Sealed {
        kdf: Kdf { name: "scrypt".to_owned(), params, salt: STANDARD.encode(salt) },
        cipher: Cipher { name: "nacl/secretbox".to_owned(), nonce: STANDARD.encode(nonce) },
        ciphertext: STANDARD.encode(boxed(&key, &nonce, secret)),
    };
    Ok(serde_json::to_vec(&sealed).unwrap_or_default())
}

/// Opens a sealed secret.
pub fn open(document: &[u8], password: &[u8]) -> Result<Vec<u8>, AttestError> {
    let bad = |why: &str| AttestError::Key(why.to_owned());
    let sealed: Sealed = serde_json::from_slice(document).map_err(|e| AttestError::Key(e.to_string()))?;
    if (&*sealed.kdf.name, &*sealed.cipher.name) != ("scrypt", "nacl/secretbox") {
        return Err(bad("it is sealed with something else than scrypt and nacl/secretbox"));
    }
    let decode = |text: &str| STANDARD.decode(text).map_err(|_| bad("its parts are not in base64"));
    let salt = decode(&sealed.kdf.salt)?;
    let nonce: [u8; NONCE] = decode(&sealed.cipher.nonce)?.try_into().map_err(|_| bad("its nonce is not 24 bytes"))?;
    let key = derive(password, &salt, &sealed.kdf.params)?;
    unboxed(&key, &nonce, &decode(&sealed.ciphertext)?).ok_or(AttestError::Password)
}

fn derive(password: &[u8], salt: &[u8], params: &Params) -> Result<[u8; KEY], AttestError> {
    let bad = || AttestError::Key("its password would cost too much to check".to_owned());
    if !params.cost.is_power_of_two() || params.cost > MAX_COST || params.r > BLOCK || params.p > MAX_PARALLEL {
        return Err(bad());
    }
    let log = u8::try_from(params.cost.trailing_zeros()).map_err(|_| bad())?;
    let params = scrypt::Params::new(log, params.r, params.p).map_err(|_| bad())?;
    let mut key = [0; KEY];
    scrypt::scrypt(password, salt, &params, &mut key).map_err(|_| bad())?;
    Ok(key)
}

/// The cipher, and the key of the tag: the first 32 bytes of its stream.
fn start(key: &[u8; KEY], nonce: &[u8; NONCE]) -> (XSalsa20, Poly1305) {
    let mut stream = XSalsa20::new(key.into(), nonce.into());
    let mut first = [0; KEY];
    stream.apply_keystream(&mut first);
    (stream, Poly1305::new(&first.into()))
}

fn boxed(key: &[u8; KEY], nonce: &[u8; NONCE], secret: &[u8]) -> Vec<u8> {
    let (mut stream, tag) = start(key, nonce);
    let mut body = secret.to_vec();
    stream.apply_keystream(&mut body);
    let mut out = tag.compute_unpadded(&body).to_vec();
    out.extend(body);
    out
}

fn unboxed(key: &[u8; KEY], nonce: &[u8; NONCE], boxed: &[u8]) -> Option<Vec<u8>> {
    let (tag, body) = boxed.split_at_checked(TAG)?;
    let (mut stream, expected) = start(key, nonce);
    aws_lc_rs::constant_time::verify_slices_are_equal(tag, &expected.compute_unpadded(body)).ok()?;
    let mut out = body.to_vec();
    stream.apply_keystream(&mut out);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_its_password_only() {
        let sealed = seal(b"secret", b"pass").unwrap();
        assert_eq!(open(&sealed, b"pass").unwrap(), b"secret");
        assert_eq!(open(&sealed, b"other").unwrap_err(), AttestError::Password);
        assert_ne!(seal(b"secret", b"pass").unwrap(), sealed, "salt and nonce are new each time");
    }

    #[test]
    fn a_document_cannot_ask_for_all_memory() {
        let text = String::from_utf8(seal(b"secret", b"pass").unwrap()).unwrap();
        for (from, to) in [
            (r#""N":65536"#, r#""N":1073741824"#),
            (r#""N":65536"#, r#""N":65537"#),
            (r#""N":65536"#, r#""N":0"#),
            (r#""r":8"#, r#""r":4000000000"#),
            (r#""p":1"#, r#""p":4000000000"#),
            ("scrypt", "argon2"),
            ("nacl/secretbox", "none"),
        ] {
            assert!(text.contains(from));
            let error = open(text.replace(from, to).as_bytes(), b"pass").unwrap_err();
            assert!(matches!(error, AttestError::Key(_)), "{to}: {error}");
        }
        assert!(matches!(open(b"{}", b""), Err(AttestError::Key(_))));
    }
}
