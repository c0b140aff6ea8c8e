//! What a registry says when it refuses: its JSON errors, made safe to show.

use kiln_http::answer::{self, Answer};
use reqwest::Response;
use serde::Deserialize;

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    errors: Vec<Entry>,
    // Token servers and proxies use other forms.
    #[serde(default)]
    code: Option<serde_json::Value>,
    #[serde(default)]
    error: Option<serde_json::Value>,
    #[serde(default)]
    error_description: Option<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    details: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    code: serde_json::Value,
    #[serde(default)]
    message: serde_json::Value,
}

/// Reads the refusal out of a response, up to limits of size and time; a body that breaks off is used as far as it came.
pub(crate) async fn read(mut response: Response) -> Box<Answer> {
    let body = answer::body(&mut response).await;
    Box::new(parse(response.status().as_u16(), &body))
}

/// The refusal in `body`.
pub(crate) fn parse(status: u16, body: &[u8]) -> Answer {
    let Ok(parsed) = serde_json::from_slice::<Body>(body) else { return Answer::new(status, "", "") };
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned).unwrap_or_default();
    let (code, message) = match parsed.errors.first() {
        Some(first) => (text(&first.code), text(&first.message)),
        None => (
            parsed.code.as_ref().or(parsed.error.as_ref()).map(text).unwrap_or_default(),
            parsed
                .error_description
                .or(parsed.message)
                .or_else(|| parsed.details.as_ref().map(text))
                .unwrap_or_default(),
        ),
    };
    Answer::new(status, &code, &message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registrys_words_are_found() {
        let a = parse(404, br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{}}]}"#);
        assert_eq!(a.to_string(), "HTTP 404 MANIFEST_UNKNOWN: manifest unknown");
        let a = parse(401, br#"{"details":"incorrect username or password"}"#);
        assert_eq!(a.to_string(), "HTTP 401: incorrect username or password");
        let a = parse(400, br#"{"error":"invalid_grant","error_description":"bad\u001b[31m token"}"#);
        assert_eq!(a.to_string(), "HTTP 400 invalid_grant: bad [31m token");
    }

    #[test]
    fn other_bodies_are_not_shown() {
        assert_eq!(parse(502, b"<html>").to_string(), "HTTP 502: Bad Gateway");
        assert_eq!(parse(418, b"[]").to_string(), "HTTP 418: I'm a teapot");
        assert_eq!(parse(500, br#"{"errors":[{"code":7,"message":null}]}"#).message, "Internal Server Error");
    }
}
