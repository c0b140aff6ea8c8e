//! Amazon's signature version 4, in the form that S3 takes: paths are encoded once and not tidied.
//!
//! Format: "Authenticating Requests (AWS Signature Version 4)" of the S3 API reference.

use std::time::SystemTime;

use super::{hex, hmac_sha256, sha256_hex};
use crate::date;
use kiln_http::Secret;

/// What a signature covers.
#[derive(Debug)]
pub struct Request<'a> {
    /// `GET` and the like.
    pub method: &'a str,
    /// Encoded, from the first slash.
    pub path: &'a str,
    /// Encoded and sorted, as [`query`](crate::percent::query) makes it.
    pub query: &'a str,
    /// With `host` and `x-amz-date`; all of them are signed. Names in lower case.
    pub headers: &'a [(String, String)],
    /// SHA-256 of the body, in hex.
    pub payload: &'a str,
}

/// Who signs, and for what.
#[derive(Debug)]
pub struct Signer<'a> {
    /// The id of the key.
    pub key_id: &'a str,
    /// The key.
    pub secret: &'a Secret,
    /// Where the service is.
    pub region: &'a str,
    /// `s3` and the like.
    pub service: &'a str,
    /// When.
    pub time: SystemTime,
}

impl Signer<'_> {
    /// The value of the `Authorization` header.
    pub fn authorization(&self, request: &Request<'_>) -> String {
        let (canonical, signed) = canonical(request);
        let stamp = date::compact(self.time);
        let day = &stamp[..8];
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let text = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", sha256_hex(canonical.as_bytes()));
        let mut key = format!("AWS4{}", self.secret.expose()).into_bytes();
        for part in [day, self.region, self.service, "aws4_request"] {
            key = hmac_sha256(&key, part.as_bytes());
        }
        let signature = hex(&hmac_sha256(&key, text.as_bytes()));
        format!("AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}", self.key_id)
    }
}

/// The canonical request, and the names of the headers it covers.
fn canonical(request: &Request<'_>) -> (String, String) {
    let mut headers: Vec<(&str, String)> =
        request.headers.iter().map(|(name, value)| (&**name, single_spaced(value))).collect();
    headers.sort();
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let signed = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let Request { method, path, query, payload, .. } = request;
    (format!("{method}\n{path}\n{query}\n{lines}\n{signed}\n{payload}"), signed)
}

fn single_spaced(value: &str) -> String {
    value.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::percent;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    /// Signs as the examples of the S3 API reference do: their key, bucket and time.
    fn example(method: &str, path: &str, query: &[(&str, &str)], headers: &[(&str, &str)], payload: &str) -> String {
        let mut all: Vec<(String, String)> = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        for (name, value) in [
            ("host", "examplebucket.s3.amazonaws.com"),
            ("x-amz-date", "20130524T000000Z"),
            ("x-amz-content-sha256", payload),
        ] {
            all.push((name.to_owned(), value.to_owned()));
        }
        let signer = Signer {
            key_id: "AKIAIOSFODNN7EXAMPLE",
            secret: &Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
            region: "us-east-1",
            service: "s3",
            time: date::parse_rfc3339("2013-05-24T00:00:00Z").unwrap(),
        };
        let query = percent::query(query);
        let request = Request { method, path: &percent::path(path), query: &query, headers: &all, payload };
        signer.authorization(&request)
    }

    #[test]
    fn the_examples_of_the_reference() {
        let got = example("GET", "/test.txt", &[], &[("range", "bytes=0-9")], EMPTY);
        assert_eq!(
            got,
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
             SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, \
             Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
        let got = example(
            "PUT",
            "/test$file.text",
            &[],
            &[("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")],
            &sha256_hex(b"Welcome to Amazon S3."),
        );
        assert!(got.ends_with("98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"), "{got}");
        let got = example("GET", "/", &[("lifecycle", "")], &[], EMPTY);
        assert!(got.ends_with("fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"), "{got}");
        let got = example("GET", "/", &[("prefix", "J"), ("max-keys", "2")], &[], EMPTY);
        assert!(got.ends_with("34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"), "{got}");
    }

    #[test]
    fn the_first_of_the_test_suite() {
        let headers = [("x-amz-date", "20150830T123600Z"), ("host", "example.amazonaws.com")]
            .map(|(n, v)| (n.to_owned(), v.to_owned()));
        let signer = Signer {
            key_id: "AKIDEXAMPLE",
            secret: &Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            region: "us-east-1",
            service: "service",
            time: date::parse_rfc3339("2015-08-30T12:36:00Z").unwrap(),
        };
        let request = Request { method: "GET", path: "/", query: "", headers: &headers, payload: EMPTY };
        let got = signer.authorization(&request);
        assert!(got.ends_with("5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"), "{got}");
    }

    #[test]
    fn headers_are_sorted_and_single_spaced() {
        let headers = [("b".to_owned(), "  x   y ".to_owned()), ("a".to_owned(), "1".to_owned())];
        let request = Request { method: "GET", path: "/", query: "", headers: &headers, payload: "-" };
        assert_eq!(canonical(&request), ("GET\n/\n\na:1\nb:x y\n\na;b\n-".to_owned(), "a;b".to_owned()));
    }
}
