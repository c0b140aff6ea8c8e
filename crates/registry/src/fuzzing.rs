//! Everything a registry, a token server or a credentials file may say, in one call: for the fuzz target, which cannot
//! reach private parsers. Panics when one of them handles an answer wrongly.

use kiln_oci::{Index, media};
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};

use crate::auth::challenge::{Challenge, Scope};
use crate::credentials::file::AuthFile;
use crate::{answer, listing, manifest, upload};

/// Reads an answer; its first byte says what it is an answer to.
pub fn answer(bytes: &[u8]) {
    let Some((kind, body)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(body);
    match kind % 8 {
        0 => refusal(body),
        1 => challenge(body),
        2 => manifest_type(body),
        3 => {
            let next = listing::next_link(&text);
            assert!(next.is_none_or(|next| text.contains(next)));
        }
        4 => {
            if let Some(header) = header(body) {
                let _ = kiln_http::retry_after(&HeaderMap::from_iter([(RETRY_AFTER, header)]));
            }
        }
        5 => drop(upload::range_end(&text)),
        6 => credentials(body),
        _ => drop(serde_json::from_slice::<Index>(body)),
    }
}

fn header(bytes: &[u8]) -> Option<HeaderValue> {
    HeaderValue::from_bytes(bytes).ok()
}

/// Whether a terminal can show it; of what a registry says it has 400 characters and an ellipsis.
fn is_printable(text: &str) -> bool {
    !text.contains(|c: char| c.is_control()) && text.chars().count() <= 401
}

fn refusal(body: &[u8]) {
    let answer = answer::parse(403, body);
    assert!(is_printable(&answer.code) && is_printable(&answer.message), "{answer:?}");
}

fn challenge(body: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in body.split(|b| *b == b'\n').take(4) {
        headers.extend(header(line).map(|value| (WWW_AUTHENTICATE, value)));
    }
    match Challenge::strongest(&headers) {
        Ok(Challenge::Basic) => {}
        Ok(Challenge::Bearer { mut scopes, .. }) => {
            assert!(scopes.len() <= 16);
            let same = scopes.clone();
            let before = scopes.len();
            Scope::merge(&mut scopes, &same);
            assert_eq!(scopes.len(), before, "merging what is there adds nothing");
        }
        Err(why) => {
            let theirs = why.strip_suffix("` is neither Basic nor Bearer").and_then(|w| w.strip_prefix('`'));
            assert!(is_printable(theirs.unwrap_or(&why)), "{why:?}");
        }
    }
}

/// What is taken for a manifest is one thing only.
fn manifest_type(body: &[u8]) {
    for header in [None, Some(media::OCI_MANIFEST), Some(media::DOCKER_LIST), Some("application/json")] {
        if let Ok(found) = manifest::type_of(header, body) {
            assert!(media::is_index(&found) != media::is_manifest(&found));
            assert_eq!(manifest::type_of(Some(&found), body).as_ref(), Ok(&found), "the type is its own type");
        }
    }
}

fn credentials(body: &[u8]) {
    match AuthFile::parse(body, "place") {
        Ok(file) => {
            for (host, repository) in [("docker.io", "library/x"), ("reg.example:5000", "a/b")] {
                let _ = (file.direct(host, repository), file.helper_for(host));
            }
        }
        Err(error) => assert!(is_printable(&error.to_string()), "{error}"),
    }
}
