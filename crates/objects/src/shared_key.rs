//! Azure's shared key, in the form of the Blob service since 2015-02-21.
//!
//! Format: "Authorize with Shared Key" of the Azure Storage REST reference.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use kiln_clouds::sign::hmac_sha256;

/// What a signature covers.
pub(crate) struct Request<'a> {
    pub method: &'a str,
    pub account: &'a str,
    /// Encoded, as it is sent: with the account again where the endpoint has it in its path.
    pub path: &'a str,
    /// Decoded pairs.
    pub query: &'a [(String, String)],
    /// Names in lower case.
    pub headers: &'a [(String, String)],
}

/// The headers that have a line of their own, in order.
const LINES: [&str; 11] = [
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

/// The text that is signed.
pub(crate) fn string_to_sign(request: &Request<'_>) -> String {
    let mut out = format!("{}\n", request.method);
    for line in LINES {
        let value = request.headers.iter().find(|(name, _)| name == line).map_or("", |(_, value)| value.trim());
        // No length is the same as none.
        out.push_str(if line == "content-length" && value == "0" { "" } else { value });
        out.push('\n');
    }
    let mut own: Vec<_> = request.headers.iter().filter(|(name, _)| name.starts_with("x-ms-")).collect();
    own.sort();
    for (name, value) in own {
        out.push_str(&format!("{name}:{}\n", value.trim()));
    }
    out.push_str(&format!("/{}{}", request.account, request.path));
    let mut query: Vec<_> = request.query.iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
    query.sort();
    for (name, value) in query {
        out.push_str(&format!("\n{name}:{value}"));
    }
    out
}

/// The value of the `Authorization` header. `key` is the account's key, decoded.
pub(crate) fn authorization(request: &Request<'_>, key: &[u8]) -> String {
    let signature = STANDARD.encode(hmac_sha256(key, string_to_sign(request).as_bytes()));
    format!("SharedKey {}:{signature}", request.account)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn the_text_of_a_listing() {
        let request = Request {
            method: "GET",
            account: "acct",
            path: "/ctx",
            query: &pairs(&[("restype", "container"), ("comp", "list"), ("Prefix", "a b/ü")]),
            headers: &pairs(&[
                ("x-ms-version", "2021-12-02"),
                ("x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT"),
                ("content-length", "0"),
            ]),
        };
        assert_eq!(
            string_to_sign(&request),
            "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2021-12-02\n\
             /acct/ctx\ncomp:list\nprefix:a b/ü\nrestype:container"
        );
    }

    #[test]
    fn the_text_of_an_upload_to_an_endpoint_with_the_account_in_its_path() {
        let request = Request {
            method: "PUT",
            account: "devstoreaccount1",
            path: "/devstoreaccount1/ctx/a%20b",
            query: &[],
            headers: &pairs(&[
                ("content-length", "11"),
                ("content-type", "text/plain"),
                ("if-match", "\"e\""),
                ("range", "bytes=5-"),
                ("x-ms-blob-type", "BlockBlob"),
                ("host", "ignored"),
            ]),
        };
        assert_eq!(
            string_to_sign(&request),
            "PUT\n\n\n11\n\ntext/plain\n\n\n\"e\"\n\n\nbytes=5-\nx-ms-blob-type:BlockBlob\n\
             /devstoreaccount1/devstoreaccount1/ctx/a%20b"
        );
        // HMAC-SHA256 of that text with the key "key", by openssl.
        assert_eq!(
            authorization(&request, b"key"),
            "SharedKey devstoreaccount1:sg+8T2A+VtzWbVFV25fv6yZMwoluljBqY02YhgMc07E="
        );
    }
}
