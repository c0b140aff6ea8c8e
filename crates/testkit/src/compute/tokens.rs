//! Who asks: tokens are sold for what a service account signs, or for a refresh token, and to machines.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::locked;
use super::wire::Reply;
use crate::http::Request;

/// The service account.
pub const EMAIL: &str = "builder@kiln-test.iam.gserviceaccount.com";
const REFRESH: &str = "1//refresh-of-a-user";
const CLIENT: &str = "client.apps.example";

/// Accounts, and the tokens they have.
pub struct Accounts {
    key: RsaKeyPair,
    service: String,
    issued: Mutex<BTreeSet<String>>,
}

impl Accounts {
    pub fn new(service: &str) -> Accounts {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).expect("an RSA key");
        Accounts { key, service: service.to_owned(), issued: Mutex::default() }
    }

    /// The key file of the service account.
    pub fn key_file(&self) -> String {
        let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&self.key).expect("the key as DER");
        let body = STANDARD.encode(der.as_ref());
        let lines: Vec<&str> = body.as_bytes().chunks(64).map(|c| std::str::from_utf8(c).unwrap_or_default()).collect();
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
        json!({
            "type": "service_account",
            "project_id": super::PROJECT,
            "private_key_id": "key-1",
            "private_key": pem,
            "client_email": EMAIL,
            "client_id": "1",
            "token_uri": self.service,
        })
        .to_string()
    }

    pub fn login_file(&self) -> String {
        json!({
            "type": "authorized_user",
            "client_id": CLIENT,
            "client_secret": "client-secret",
            "refresh_token": REFRESH,
            "token_uri": self.service,
        })
        .to_string()
    }

    pub fn issue(&self) -> String {
        let mut issued = locked(&self.issued);
        let token = format!("ya29.token-{}", issued.len() + 1);
        issued.insert(token.clone());
        token
    }

    fn sold(&self) -> Reply {
        Reply::ok(json!({ "access_token": self.issue(), "expires_in": 3600, "token_type": "Bearer" }))
    }

    /// Whether a request has a token that was sold.
    pub fn knows(&self, request: &Request) -> bool {
        let token = request.header("authorization").strip_prefix("Bearer ");
        token.is_some_and(|token| locked(&self.issued).contains(token))
    }

    /// The answer to calls that are about tokens; `None` for others.
    pub fn answer(&self, request: &Request) -> Option<Reply> {
        match (&*request.method, &*request.path) {
            ("POST", "/token") => Some(self.sell(&request.form())),
            ("GET", path) if path.starts_with("/computeMetadata/") => Some(self.machine(request)),
            ("POST", path) if path.starts_with("/iam/") && path.ends_with(":generateAccessToken") => {
                Some(self.impersonate(request))
            }
            _ => None,
        }
    }

    fn sell(&self, form: &HashMap<String, String>) -> Reply {
        let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        let refused = |why: &str| Reply::json(400, json!({ "error": "invalid_grant", "error_description": why }));
        match field("grant_type") {
            "urn:ietf:params:oauth:grant-type:jwt-bearer" => match self.check(field("assertion")) {
                Ok(()) => self.sold(),
                Err(why) => refused(why),
            },
            "refresh_token" if field("refresh_token") == REFRESH && field("client_id") == CLIENT => self.sold(),
            "refresh_token" => refused("Bad Request"),
            _ => Reply::json(400, json!({ "error": "unsupported_grant_type" })),
        }
    }

    fn check(&self, token: &str) -> Result<(), &'static str> {
        let (text, signature) = token.rsplit_once('.').ok_or("it is no token")?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| "its signature is no base64")?;
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.key.public_key().as_ref());
        public.verify(text.as_bytes(), &signature).map_err(|_| "Invalid JWT Signature.")?;
        let parts: Vec<Value> = text
            .split('.')
            .filter_map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok())
            .collect();
        let [header, claims] = &parts[..] else { return Err("it has not two parts") };
        let scope = claims["scope"].as_str().unwrap_or_default();
        match () {
            () if header["alg"] != "RS256" => Err("its algorithm is another"),
            () if claims["iss"] != EMAIL => Err("the account is not known"),
            () if claims["aud"] != *self.service => Err("it is meant for another service"),
            () if claims["exp"].as_u64() <= claims["iat"].as_u64() => Err("it ended before it began"),
            () if !scope.contains("auth/compute") || !scope.contains("devstorage") => Err("invalid_scope"),
            () => Ok(()),
        }
    }

    fn machine(&self, request: &Request) -> Reply {
        let asks = request.header("metadata-flavor") == "Google";
        match asks && request.path.ends_with("/service-accounts/default/token") {
            true => self.sold().with("Metadata-Flavor", "Google"),
            false => Reply::json(403, json!({})),
        }
    }

    fn impersonate(&self, request: &Request) -> Reply {
        if !self.knows(request) {
            return Reply::refused(401, "authError", "Invalid Credentials");
        }
        match request.path.contains("other@kiln-test") || request.path.contains("other%40kiln-test") {
            true => Reply::ok(json!({ "accessToken": self.issue(), "expireTime": "2099-01-01T00:00:00Z" })),
            false => Reply::refused(403, "forbidden", "Permission 'iam.serviceAccounts.getAccessToken' denied"),
        }
    }
}
