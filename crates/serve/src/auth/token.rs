//! Tokens of Docker's protocol: JSON web tokens that say which actions on which repositories are allowed.
//!
//! Tokens made here are signed with a key that lives as long as the process (HS256), and nobody else can make or check
//! them. Those of another server are checked with its public keys (RS256, ES256, EdDSA): which algorithm is used is for
//! the key to say, never for the token.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::auth::htpasswd::Htpasswd;
use crate::auth::{Door, Need};
use crate::error::ServeError;

/// Tokens made here are good for this long.
const LIFE: Duration = Duration::from_secs(300);
/// Clocks may differ by this.
const SKEW: u64 = 60;
/// The longest token.
const LONGEST: usize = 16 << 10;
/// The most scopes of a request for a token.
const MAX_SCOPES: usize = 32;

/// Why a token counts for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is not a JSON web token.
    #[error("the token is not one")]
    Form,
    /// It was signed with another key, or not as the key demands.
    #[error("the token is not signed by a key that is known here")]
    Signature,
    /// It is for another service, or of another issuer.
    #[error("the token is not for this registry")]
    Audience,
    /// It is too old, or too new.
    #[error("the token is not valid at this time")]
    Time,
}

/// What is allowed on one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// `repository` or `registry`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What may be done.
    pub actions: Vec<String>,
}

/// What a token says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Claims {
    #[serde(default)]
    iss: String,
    #[serde(default)]
    sub: String,
    aud: Audience,
    exp: u64,
    #[serde(default)]
    nbf: u64,
    #[serde(default)]
    iat: u64,
    #[serde(default)]
    access: Vec<Access>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Claims {
    /// Whether they allow all that is needed.
    pub fn allow(&self, need: &Need) -> bool {
        let of_it = || self.access.iter().filter(|a| a.kind == need.kind && a.name == need.name);
        need.actions.iter().all(|action| of_it().any(|a| a.actions.iter().any(|b| b == action || b == "*")))
    }

    /// Who it was given to.
    pub fn user(&self) -> Option<&str> {
        Some(self.sub.as_str()).filter(|s| !s.is_empty())
    }
}

/// A key that signatures are checked with.
enum Key {
    /// Of this process.
    Secret(hmac::Key),
    /// RSA, as its two numbers.
    Rsa { n: Vec<u8>, e: Vec<u8> },
    /// P-256, as a point.
    P256(Vec<u8>),
    /// Ed25519.
    Ed25519(Vec<u8>),
    /// Any of these, in the form of `PUBLIC KEY` in PEM.
    Spki(Vec<u8>),
}

impl Key {
    fn checks(&self, algorithm: &str, message: &[u8], sig: &[u8]) -> bool {
        let verify = |algorithm: &'static dyn signature::VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(algorithm, key).verify(message, sig).is_ok()
        };
        match (self, algorithm) {
            (Key::Secret(key), "HS256") => hmac::verify(key, message, sig).is_ok(),
            (Key::Rsa { n, e }, "RS256") => {
                RsaPublicKeyComponents { n, e }.verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, sig).is_ok()
            }
            (Key::P256(point), "ES256") => verify(&signature::ECDSA_P256_SHA256_FIXED, point),
            (Key::Ed25519(point), "EdDSA") => verify(&signature::ED25519, point),
            (Key::Spki(der), "RS256") => verify(&signature::RSA_PKCS1_2048_8192_SHA256, der),
            (Key::Spki(der), "ES256") => verify(&signature::ECDSA_P256_SHA256_FIXED, der),
            (Key::Spki(der), "EdDSA") => verify(&signature::ED25519, der),
            _ => false,
        }
    }
}

/// Checks tokens.
pub struct Verifier {
    /// Where clients get them.
    pub realm: String,
    /// What this registry is called there.
    pub service: String,
    issuer: String,
    keys: Vec<(Option<String>, Key)>,
}

impl Verifier {
    /// Checks tokens of another server. `keys` is a JSON Web Key Set, or PEM with `PUBLIC KEY`s.
    ///
    /// # Errors
    /// When there is no usable key in it.
    pub fn external(realm: &str, service: &str, issuer: &str, keys: &str) -> Result<Verifier, ServeError> {
        let keys = match keys.trim_start().starts_with('{') {
            true => jwks(keys),
            false => pem(keys),
        };
        let keys = keys.map_err(ServeError::Keys)?;
        if keys.is_empty() {
            return Err(ServeError::Keys("there is no public key in it".to_owned()));
        }
        let (realm, service, issuer) = (realm.to_owned(), service.to_owned(), issuer.to_owned());
        Ok(Verifier { realm, service, issuer, keys })
    }

    /// What a token says, if it is for this registry, now.
    ///
    /// # Errors
    /// When it is not.
    pub fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        self.verify_at(token, now)
    }

    fn verify_at(&self, token: &str, now: u64) -> Result<Claims, TokenError> {
        #[derive(Deserialize)]
        struct Header {
            alg: String,
            kid: Option<String>,
        }
        if token.len() > LONGEST {
            return Err(TokenError::Form);
        }
        let (message, sig) = token.rsplit_once('.').ok_or(TokenError::Form)?;
        let (header, claims) = message.split_once('.').ok_or(TokenError::Form)?;
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Form);
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| TokenError::Form)?;
        let sig = decode(sig)?;
        let fits = |id: &Option<String>| id.is_none() || header.kid.is_none() || *id == header.kid;
        let mut keys = self.keys.iter().filter(|(id, _)| fits(id));
        if !keys.any(|(_, key)| key.checks(&header.alg, message.as_bytes(), &sig)) {
            return Err(TokenError::Signature);
        }
        let claims: Claims = serde_json::from_slice(&decode(claims)?).map_err(|_| TokenError::Form)?;
        let audience = match &claims.aud {
            Audience::One(one) => *one == self.service,
            Audience::Many(many) => many.contains(&self.service),
        };
        if !audience || claims.iss != self.issuer {
            return Err(TokenError::Audience);
        }
        match claims.nbf <= now.saturating_add(SKEW) && now < claims.exp.saturating_add(SKEW) {
            true => Ok(claims),
            false => Err(TokenError::Time),
        }
    }
}

/// Makes tokens for users of a file, and checks them.
pub struct Issuer {
    /// The users.
    pub users: Htpasswd,
    key: hmac::Key,
    verifier: Verifier,
}

/// A scope that is asked for: `repository:team/app:pull,push`.
fn parse_scope(text: &str) -> Option<Access> {
    let (kind, rest) = text.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    let actions = actions.split(',').filter(|a| matches!(*a, "pull" | "push" | "delete" | "*"));
    let kind = kind.split_once('(').map_or(kind, |(kind, _)| kind);
    (matches!(kind, "repository" | "registry") && !name.is_empty()).then(|| Access {
        kind: kind.to_owned(),
        name: name.to_owned(),
        actions: actions.map(str::to_owned).collect(),
    })
}

impl Issuer {
    /// Makes tokens for these users, with a new key.
    ///
    /// # Errors
    /// When the machine has no random numbers.
    pub fn new(users: Htpasswd, service: &str) -> Result<Issuer, ServeError> {
        let mut secret = [0; 32];
        aws_lc_rs::rand::fill(&mut secret).map_err(|_| ServeError::Random)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let verifier = Verifier {
            realm: String::new(),
            service: service.to_owned(),
            issuer: "kiln".to_owned(),
            keys: vec![(None, Key::Secret(key.clone()))],
        };
        Ok(Issuer { users, key, verifier })
    }

    /// Where tokens are to be had: here, as the client calls this server.
    pub fn realm(&self, door: &Door<'_>) -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
        let host = door.host.filter(|h| !h.is_empty() && h.len() <= 255 && h.chars().all(plain));
        format!("{}://{}/token", door.scheme, host.unwrap_or("localhost"))
    }

    /// What the registry is called in tokens.
    pub fn service(&self) -> &str {
        &self.verifier.service
    }

    /// Checks them.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// A token for a user, or for nobody: with what was asked for, as far as it is allowed. The answer's body.
    pub fn issue<'a>(&self, user: Option<&str>, scopes: impl Iterator<Item = &'a str>) -> String {
        let mut access: Vec<Access> =
            scopes.flat_map(|s| s.split(' ')).take(MAX_SCOPES).filter_map(parse_scope).collect();
        if user.is_none() {
            // Who has no name may pull, at the most.
            let may = self.users.anonymous_pull;
            access.retain(|a| a.kind == "repository" && may);
            for one in &mut access {
                one.actions.retain(|action| action == "pull");
            }
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let claims = Claims {
            iss: self.verifier.issuer.clone(),
            sub: user.unwrap_or_default().to_owned(),
            aud: Audience::One(self.verifier.service.clone()),
            exp: now + LIFE.as_secs(),
            nbf: now,
            iat: now,
            access,
        };
        let part = |value: String| URL_SAFE_NO_PAD.encode(value);
        let header = json!({"alg": "HS256", "typ": "JWT"}).to_string();
        let message = format!("{}.{}", part(header), part(serde_json::to_string(&claims).unwrap_or_default()));
        let tag = hmac::sign(&self.key, message.as_bytes());
        let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()));
        json!({
            "token": token, "access_token": token, "expires_in": LIFE.as_secs(),
            "issued_at": kiln_oci::time::rfc3339(kiln_oci::Mtime { secs: i64::try_from(now).unwrap_or(0), nanos: 0 }),
        })
        .to_string()
    }
}

type Keys = Vec<(Option<String>, Key)>;

fn jwks(text: &str) -> Result<Keys, String> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Jwk>,
    }
    #[derive(Deserialize)]
    struct Jwk {
        kty: String,
        kid: Option<String>,
        crv: Option<String>,
        n: Option<String>,
        e: Option<String>,
        x: Option<String>,
        y: Option<String>,
    }
    let set: Set = serde_json::from_str(text).map_err(|e| format!("it is not a JSON Web Key Set: {e}"))?;
    let mut keys = Keys::new();
    for jwk in set.keys {
        let part = |text: &Option<String>, what: &str| {
            let text = text.as_deref().ok_or_else(|| format!("a key has no `{what}`"))?;
            URL_SAFE_NO_PAD.decode(text).map_err(|_| format!("`{what}` of a key is not base64"))
        };
        let key = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => Key::Rsa { n: part(&jwk.n, "n")?, e: part(&jwk.e, "e")? },
            ("EC", Some("P-256")) => Key::P256([vec![4], part(&jwk.x, "x")?, part(&jwk.y, "y")?].concat()),
            ("OKP", Some("Ed25519")) => Key::Ed25519(part(&jwk.x, "x")?),
            (kind, curve) => {
                return Err(format!("keys of type {kind} {} are not supported", curve.unwrap_or_default()));
            }
        };
        keys.push((jwk.kid, key));
    }
    Ok(keys)
}

fn pem(text: &str) -> Result<Keys, String> {
    let mut keys = Keys::new();
    for block in text.split("-----BEGIN ").skip(1) {
        let (label, rest) = block.split_once("-----").ok_or("it is not PEM")?;
        let body = rest.split_once("-----END").map_or("", |(body, _)| body);
        if label == "CERTIFICATE" {
            return Err("it holds a certificate: `openssl x509 -pubkey -noout` makes a public key of it".to_owned());
        }
        if label != "PUBLIC KEY" {
            return Err(format!("it holds a {label}, not a PUBLIC KEY"));
        }
        let body: String = body.split_whitespace().collect();
        keys.push((None, Key::Spki(STANDARD.decode(body).map_err(|_| "its base64 is damaged")?)));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

    use super::*;

    fn need(name: &str, actions: &'static [&'static str]) -> Need {
        Need { kind: "repository", name: name.to_owned(), actions }
    }

    fn issuer(anonymous_pull: bool) -> (Issuer, tempfile::NamedTempFile) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let users = Htpasswd::open(file.path(), "kiln", anonymous_pull).unwrap();
        (Issuer::new(users, "here").unwrap(), file)
    }

    fn token(answer: &str) -> String {
        serde_json::from_str::<serde_json::Value>(answer).unwrap()["token"].as_str().unwrap().to_owned()
    }

    #[test]
    fn tokens_allow_what_was_asked_for_and_no_more() {
        let (issuer, _file) = issuer(true);
        let scopes = ["repository:a/b:pull,push", "nonsense", "secret:x:*"];
        let claims = issuer.verifier().verify(&token(&issuer.issue(Some("me"), scopes.into_iter()))).unwrap();
        assert_eq!(claims.user(), Some("me"));
        assert!(claims.allow(&need("a/b", &["pull", "push"])));
        assert!(!claims.allow(&need("a/b", &["delete"])) && !claims.allow(&need("a", &["pull"])));
        let nobody = token(&issuer.issue(None, scopes.into_iter()));
        let claims = issuer.verifier().verify(&nobody).unwrap();
        assert!(claims.allow(&need("a/b", &["pull"])) && !claims.allow(&need("a/b", &["push"])));
    }

    #[test]
    fn forged_tokens_count_for_nothing() {
        let (issuer, _file) = issuer(false);
        let good = token(&issuer.issue(Some("me"), ["repository:a:pull"].into_iter()));
        let verifier = issuer.verifier();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert!(verifier.verify_at(&good, now).is_ok());
        assert_eq!(verifier.verify_at(&good, now + 3600).unwrap_err(), TokenError::Time);
        assert_eq!(verifier.verify_at(&good, 1000).unwrap_err(), TokenError::Time);
        let parts: Vec<&str> = good.split('.').collect();
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        for bad in [
            String::new(),
            "a.b".to_owned(),
            format!("{}.{}.", parts[0], parts[1]),
            format!("{none}.{}.", parts[1]),
            format!("{none}.{}.{}", parts[1], parts[2]),
            format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode("{}"), parts[2]),
            format!("{good}x"),
            "x".repeat(100_000),
        ] {
            assert!(verifier.verify_at(&bad, now).is_err(), "{bad:.80}");
        }
        let other = self::issuer(false);
        assert_eq!(other.0.verifier().verify(&good).unwrap_err(), TokenError::Signature);
    }

    #[test]
    fn tokens_of_other_servers_are_checked_with_their_keys() {
        let rng = SystemRandom::new();
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let point = pair.public_key().as_ref();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
        let keys = json!({"keys": [{"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": "1"}]}).to_string();
        let verifier = Verifier::external("https://auth.example/token", "here", "there", &keys).unwrap();
        let sign = |header: &str, claims: &str| {
            let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
            let sig = pair.sign(&rng, message.as_bytes()).unwrap();
            format!("{message}.{}", URL_SAFE_NO_PAD.encode(sig.as_ref()))
        };
        let claims = r#"{"iss":"there","sub":"me","aud":["here"],"exp":100,"access":[]}"#;
        let es = r#"{"alg":"ES256","kid":"1"}"#;
        assert!(verifier.verify_at(&sign(es, claims), 50).is_ok());
        assert_eq!(verifier.verify_at(&sign(es, &claims.replace("here", "x")), 50).unwrap_err(), TokenError::Audience);
        assert_eq!(verifier.verify_at(&sign(es, &claims.replace("there", "x")), 50).unwrap_err(), TokenError::Audience);
        for header in [r#"{"alg":"HS256"}"#, r#"{"alg":"none"}"#, r#"{"alg":"ES256","kid":"2"}"#, r#"{"alg":"RS256"}"#]
        {
            assert_eq!(verifier.verify_at(&sign(header, claims), 50).unwrap_err(), TokenError::Signature, "{header}");
        }
        // The public key used as if it were a secret.
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#), URL_SAFE_NO_PAD.encode(claims));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, point), message.as_bytes());
        let forged = format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()));
        assert_eq!(verifier.verify_at(&forged, 50).unwrap_err(), TokenError::Signature);
        for bad in ["", "{}", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"AA"}]}"#, "-----BEGIN CERTIFICATE-----"] {
            assert!(Verifier::external("r", "s", "i", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_address_of_the_token_server_holds_nothing_that_a_header_must_not() {
        let (issuer, _file) = issuer(false);
        let realm = |host| issuer.realm(&Door { scheme: "http", host });
        assert_eq!(realm(Some("sea.hub:5000")), "http://sea.hub:5000/token");
        assert_eq!(realm(Some("x\",evil=\"")), "http://localhost/token");
        assert_eq!(realm(None), "http://localhost/token");
    }
}
