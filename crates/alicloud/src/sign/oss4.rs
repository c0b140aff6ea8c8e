//! OSS4-HMAC-SHA256: verb, bucket and key, query and the headers of OSS, signed with a key for the day and region. Bodies
//! are not signed: TLS guards them, and every part has its MD5.

use kiln_clouds::percent;
use kiln_clouds::sign::{hex, hmac_sha256, sha256_hex};

use crate::credentials::Keys;

const ALGORITHM: &str = "OSS4-HMAC-SHA256";
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// A request to sign.
#[derive(Debug)]
pub struct Request<'a> {
    /// `GET` and the like.
    pub method: &'a str,
    /// `/BUCKET/KEY`, not encoded, wherever the bucket is in the address.
    pub resource: &'a str,
    /// Its query.
    pub query: &'a [(String, String)],
    /// Headers it has besides; `content-type`, `content-md5` and those of OSS are signed.
    pub headers: &'a [(String, String)],
    /// Where the bucket is, as `cn-hangzhou`.
    pub region: &'a str,
    /// When, as `YYYYMMDDTHHMMSSZ`.
    pub date: &'a str,
}

/// All its headers, those that prove it included.
pub fn headers(request: &Request<'_>, keys: &Keys) -> Vec<(String, String)> {
    let mut headers = request.headers.to_vec();
    headers.push(("x-oss-content-sha256".to_owned(), UNSIGNED.to_owned()));
    headers.push(("x-oss-date".to_owned(), request.date.to_owned()));
    if let Some(token) = &keys.token {
        headers.push(("x-oss-security-token".to_owned(), token.expose().to_owned()));
    }
    let day = request.date.get(..8).unwrap_or_default();
    let scope = format!("{day}/{}/oss/aliyun_v4_request", request.region);
    let canonical = canonical(request, &headers);
    let to_sign = format!("{ALGORITHM}\n{}\n{scope}\n{}", request.date, sha256_hex(canonical.as_bytes()));
    let mut key = format!("aliyun_v4{}", keys.secret.expose()).into_bytes();
    for part in [day, request.region, "oss", "aliyun_v4_request"] {
        key = hmac_sha256(&key, part.as_bytes());
    }
    let signature = hex(&hmac_sha256(&key, to_sign.as_bytes()));
    let proof = format!("{ALGORITHM} Credential={}/{scope},Signature={signature}", keys.id);
    headers.push(("authorization".to_owned(), proof));
    headers
}

fn canonical(request: &Request<'_>, headers: &[(String, String)]) -> String {
    let signed = |name: &str| name.starts_with("x-oss-") || matches!(name, "content-type" | "content-md5");
    let mut lines: Vec<String> = headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim()))
        .filter(|(name, _)| signed(name))
        .map(|(name, value)| format!("{name}:{value}\n"))
        .collect();
    lines.sort();
    let (path, query) = (percent::path(request.resource), query(request.query));
    format!("{}\n{path}\n{query}\n{}\n\n{UNSIGNED}", request.method, lines.concat())
}

/// The query, sorted; a name without a value stands alone.
pub fn query(pairs: &[(String, String)]) -> String {
    let mut encoded: Vec<_> = pairs.iter().map(|(n, v)| (percent::component(n), percent::component(v))).collect();
    encoded.sort();
    let one = |(name, value): &(String, String)| match value.is_empty() {
        true => name.clone(),
        false => format!("{name}={value}"),
    };
    encoded.iter().map(one).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_http::Secret;

    /// The request that the tests of Alibaba Cloud's own SDKs sign.
    #[test]
    fn the_example_of_the_sdks() {
        let text = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
        };
        let query = text(&[
            ("param1", "value1"),
            ("+param1", "value3"),
            ("|param1", "value4"),
            ("+param2", ""),
            ("|param2", ""),
            ("param2", ""),
        ]);
        let headers_in =
            text(&[("x-oss-head1", "value"), ("abc", "value"), ("ZAbc", "value"), ("content-type", "text/plain")]);
        let request = Request {
            method: "PUT",
            resource: "/bucket/1234+-/123/1.txt",
            query: &query,
            headers: &headers_in,
            region: "cn-hangzhou",
            date: "20231216T162057Z",
        };
        let keys = Keys { id: "ak".to_owned(), secret: Secret::new("sk"), token: None };
        let (_, proof) = headers(&request, &keys).pop().unwrap();
        assert_eq!(
            proof,
            "OSS4-HMAC-SHA256 Credential=ak/20231216/cn-hangzhou/oss/aliyun_v4_request,\
             Signature=e21d18daa82167720f9b1047ae7e7f1ce7cb77a31e8203a7d5f4624fa0284afe"
        );
    }
}
