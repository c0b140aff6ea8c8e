//! A token signed with the RSA key of a Google service account, which buys an access token (RFC 7523).

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

/// How long such a token is good, in seconds; Google takes no longer ones.
const LIFETIME: u64 = 3600;

/// What it says.
pub(crate) struct Claims<'a> {
    /// The account.
    pub email: &'a str,
    /// The token service.
    pub audience: &'a str,
    /// What is asked for.
    pub scope: &'a str,
    /// The id of the key, where it has one.
    pub key_id: Option<&'a str>,
}

/// The token, signed with a PEM key. Errors never quote the key.
pub(crate) fn signed(claims: &Claims<'_>, pem: &str, now: SystemTime) -> Result<String, &'static str> {
    let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| "its private_key is not a PEM key")?;
    let key = match &der {
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
        _ => return Err("its private_key is not an RSA key"),
    };
    let key = key.map_err(|_| "its private_key is not an RSA key")?;
    let issued = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut header = serde_json::json!({ "alg": "RS256", "typ": "JWT" });
    if let Some(id) = claims.key_id {
        header["kid"] = id.into();
    }
    let body = serde_json::json!({
        "iss": claims.email,
        "scope": claims.scope,
        "aud": claims.audience,
        "iat": issued,
        "exp": issued + LIFETIME,
    });
    let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", encode(&header), encode(&body));
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature)
        .map_err(|_| "its private_key cannot sign")?;
    Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn the_public_key_verifies_it() {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&key).unwrap();
        let pem =
            format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der.as_ref()));
        let claims = Claims { email: "a@b", audience: "https://t.example/token", scope: "s", key_id: Some("k1") };
        let token = signed(&claims, &pem, UNIX_EPOCH + Duration::from_secs(1000)).unwrap();
        let (text, signature) = token.rsplit_once('.').unwrap();
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref());
        public.verify(text.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
        let parts: Vec<serde_json::Value> =
            text.split('.').map(|p| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(p).unwrap()).unwrap()).collect();
        assert_eq!(parts[0]["kid"], "k1");
        assert_eq!((&parts[1]["iss"], &parts[1]["exp"]), (&"a@b".into(), &4600.into()));
    }

    #[test]
    fn what_is_no_key_is_told_without_it() {
        let claims = Claims { email: "", audience: "", scope: "", key_id: None };
        for bad in ["", "hunter2", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            let why = signed(&claims, bad, UNIX_EPOCH).unwrap_err();
            assert!(why.starts_with("its private_key"), "{why}");
        }
    }
}
