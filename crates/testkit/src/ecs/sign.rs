//! Signatures, verified as the services describe them; written without looking at Kiln's own.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::users;
use crate::http::Request;

/// Why a request is not accepted: status, code.
pub(super) type Refusal = (u16, &'static str);

const UNKNOWN: Refusal = (404, "InvalidAccessKeyId.NotFound");
const WRONG: Refusal = (400, "SignatureDoesNotMatch");
const MALFORMED: Refusal = (400, "IncompleteSignature");

/// Who asks ECS, STS or RAM.
pub(super) fn rpc(request: &Request) -> Result<(), Refusal> {
    match request.header("authorization").strip_prefix("ACS3-HMAC-SHA256 ") {
        Some(rest) => acs3(request, rest),
        None => version1(request),
    }
}

fn version1(request: &Request) -> Result<(), Refusal> {
    let get = |name: &str| request.parameter(name);
    if get("SignatureMethod") != Some("HMAC-SHA1")
        || get("SignatureVersion") != Some("1.0")
        || get("Timestamp").is_none()
    {
        return Err(MALFORMED);
    }
    let (secret, token) = users::of(get("AccessKeyId").unwrap_or_default()).ok_or(UNKNOWN)?;
    if token.is_some_and(|token| get("SecurityToken") != Some(token)) {
        return Err((400, "InvalidSecurityToken.MismatchWithAccessKey"));
    }
    let mut pairs: Vec<_> =
        request.query.iter().filter(|(n, _)| n != "Signature").map(|(n, v)| (encoded(n), encoded(v))).collect();
    pairs.sort();
    let canonical = pairs.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join("&");
    let text = format!("{}&%2F&{}", request.method, encoded(&canonical));
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, format!("{secret}&").as_bytes());
    let given = STANDARD.decode(get("Signature").unwrap_or_default()).map_err(|_| MALFORMED)?;
    hmac::verify(&key, text.as_bytes(), &given).map_err(|_| WRONG)
}

/// `NAME=VALUE` of an authorization, separated by commas.
fn fields(text: &str) -> BTreeMap<&str, &str> {
    text.split(',').filter_map(|field| field.trim().split_once('=')).collect()
}

fn acs3(request: &Request, rest: &str) -> Result<(), Refusal> {
    let fields = fields(rest);
    let field = |name: &str| fields.get(name).copied().ok_or(MALFORMED);
    let (secret, token) = users::of(field("Credential")?).ok_or(UNKNOWN)?;
    let names: Vec<&str> = field("SignedHeaders")?.split(';').collect();
    let needed =
        ["host", "x-acs-action", "x-acs-content-sha256", "x-acs-date", "x-acs-signature-nonce", "x-acs-version"];
    if needed.iter().any(|name| !names.contains(name) || request.header(name).is_empty()) || !names.is_sorted() {
        return Err(MALFORMED);
    }
    if let Some(token) = token
        && (request.header("x-acs-security-token") != token || !names.contains(&"x-acs-security-token"))
    {
        return Err((400, "InvalidSecurityToken.MismatchWithAccessKey"));
    }
    let hash = sha256(&request.body);
    if request.header("x-acs-content-sha256") != hash {
        return Err(WRONG);
    }
    let mut query: Vec<_> = request.query.iter().map(|(n, v)| format!("{}={}", encoded(n), encoded(v))).collect();
    query.sort();
    let mut canonical = format!("{}\n{}\n{}\n", request.method, request.path, query.join("&"));
    for name in &names {
        let _ = writeln!(canonical, "{name}:{}", request.header(name).trim());
    }
    let _ = write!(canonical, "\n{}\n{hash}", names.join(";"));
    let text = format!("ACS3-HMAC-SHA256\n{}", sha256(canonical.as_bytes()));
    match hex(&sha256_hmac(secret.as_bytes(), &text)) == field("Signature")? {
        true => Ok(()),
        false => Err(WRONG),
    }
}

/// Who asks OSS; the region that the request is for.
pub(super) fn oss(request: &Request) -> Result<String, Refusal> {
    let fields = fields(request.header("authorization").strip_prefix("OSS4-HMAC-SHA256 ").ok_or(MALFORMED)?);
    let field = |name: &str| fields.get(name).copied().ok_or((400, "InvalidArgument"));
    let scope: Vec<&str> = field("Credential")?.split('/').collect();
    let [id, day, region, "oss", "aliyun_v4_request"] = scope[..] else { return Err((400, "InvalidArgument")) };
    let (secret, token) = users::of(id).ok_or((403, "InvalidAccessKeyId"))?;
    if token.is_some_and(|token| request.header("x-oss-security-token") != token) {
        return Err((403, "InvalidAccessKeyId"));
    }
    let date = request.header("x-oss-date");
    if !date.starts_with(day) || request.header("x-oss-content-sha256") != "UNSIGNED-PAYLOAD" {
        return Err((400, "InvalidArgument"));
    }
    let mut query: Vec<(String, String)> = request.query.iter().map(|(n, v)| (encoded(n), encoded(v))).collect();
    query.sort();
    let query: Vec<String> =
        query.into_iter().map(|(n, v)| if v.is_empty() { n } else { format!("{n}={v}") }).collect();
    let signed = |name: &str| name.starts_with("x-oss-") || name == "content-type" || name == "content-md5";
    let headers: BTreeMap<_, _> = request.headers.iter().filter(|(name, _)| signed(name)).collect();
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let path = request.path.split('/').map(encoded).collect::<Vec<_>>().join("/");
    let path = if path.matches('/').count() == 1 && path.len() > 1 { format!("{path}/") } else { path };
    let canonical = format!("{}\n{path}\n{}\n{lines}\n\nUNSIGNED-PAYLOAD", request.method, query.join("&"));
    let text =
        format!("OSS4-HMAC-SHA256\n{date}\n{day}/{region}/oss/aliyun_v4_request\n{}", sha256(canonical.as_bytes()));
    let parts = [day, region, "oss", "aliyun_v4_request"];
    let key = parts.iter().fold(format!("aliyun_v4{secret}").into_bytes(), |key, part| sha256_hmac(&key, part));
    match hex(&sha256_hmac(&key, &text)) == field("Signature")? {
        true => Ok(region.to_owned()),
        false => Err((403, "SignatureDoesNotMatch")),
    }
}

fn sha256_hmac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            byte => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
        out
    })
}
