//! ACS3-HMAC-SHA256: method, path, query, chosen headers and the hash of the body, signed with the secret itself.

use kiln_clouds::percent;
use kiln_clouds::sign::{hex, hmac_sha256, sha256_hex};

use crate::credentials::Keys;

const ALGORITHM: &str = "ACS3-HMAC-SHA256";

/// A request to sign. Its path is `/`, its body empty. Never shown: a parameter may be a password.
pub struct Request<'a> {
    /// `POST`.
    pub method: &'a str,
    /// `HOST[:PORT]`, as the `Host` header will have it.
    pub host: &'a str,
    /// The parameters.
    pub query: &'a [(String, String)],
    /// The call.
    pub action: &'a str,
    /// The version of the API, a date.
    pub version: &'a str,
    /// When, as `YYYY-MM-DDTHH:MM:SSZ`.
    pub date: &'a str,
    /// What no other request has.
    pub nonce: &'a str,
}

/// The headers that prove it, `host` not among them.
pub fn headers(request: &Request<'_>, keys: &Keys) -> Vec<(String, String)> {
    let hash = sha256_hex(b"");
    let mut headers = vec![
        ("host", request.host.to_owned()),
        ("x-acs-action", request.action.to_owned()),
        ("x-acs-content-sha256", hash.clone()),
        ("x-acs-date", request.date.to_owned()),
        ("x-acs-signature-nonce", request.nonce.to_owned()),
        ("x-acs-version", request.version.to_owned()),
    ];
    if let Some(token) = &keys.token {
        headers.push(("x-acs-security-token", token.expose().to_owned()));
        headers.sort();
    }
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let (names, query) = (names.join(";"), percent::query(request.query));
    let canonical = format!("{}\n/\n{query}\n{lines}\n{names}\n{hash}", request.method);
    let to_sign = format!("{ALGORITHM}\n{}", sha256_hex(canonical.as_bytes()));
    let signature = hex(&hmac_sha256(keys.secret.expose().as_bytes(), to_sign.as_bytes()));
    let proof = format!("{ALGORITHM} Credential={},SignedHeaders={names},Signature={signature}", keys.id);
    let rest = headers.into_iter().skip(1).map(|(name, value)| (name.to_owned(), value));
    rest.chain([("authorization".to_owned(), proof)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_http::Secret;

    fn signed(token: Option<&str>) -> Vec<(String, String)> {
        let keys = Keys {
            id: "YourAccessKeyId".to_owned(),
            secret: Secret::new("YourAccessKeySecret"),
            token: token.map(Secret::new),
        };
        let query = [
            ("ImageId".to_owned(), "win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd".to_owned()),
            ("RegionId".to_owned(), "cn-shanghai".to_owned()),
        ];
        let request = Request {
            method: "POST",
            host: "ecs.cn-shanghai.aliyuncs.com",
            query: &query,
            action: "RunInstances",
            version: "2014-05-26",
            date: "2023-10-26T10:22:32Z",
            nonce: "3156853299f313e23d1673dc12e1703d",
        };
        headers(&request, &keys)
    }

    #[test]
    fn the_published_example() {
        let (_, proof) = signed(None).into_iter().find(|(name, _)| name == "authorization").unwrap();
        assert_eq!(
            proof,
            "ACS3-HMAC-SHA256 Credential=YourAccessKeyId,SignedHeaders=host;x-acs-action;x-acs-content-sha256;x-acs-date;\
             x-acs-signature-nonce;x-acs-version,\
             Signature=06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0"
        );
    }

    #[test]
    fn a_token_is_signed_too() {
        let headers = signed(Some("token"));
        assert!(headers.iter().any(|(name, value)| name == "x-acs-security-token" && value == "token"));
        let (_, proof) = headers.iter().find(|(name, _)| name == "authorization").unwrap();
        assert!(proof.contains("x-acs-date;x-acs-security-token;x-acs-signature-nonce;"), "{proof}");
    }
}
