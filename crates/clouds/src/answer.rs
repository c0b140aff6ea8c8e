//! What a store says when it refuses: XML of S3, Azure and Amazon's token service, JSON of Google and other token
//! services, made safe to show.

use kiln_http::answer::{self, Answer, printable};
use reqwest::Response;

use crate::xml::{self, Element};

/// A refusal, and the region it names, if it does.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What it says.
    pub answer: Box<Answer>,
    /// Where the thing is instead.
    pub region: Option<String>,
}

/// Reads the refusal out of a response, up to limits of size and time; a body that breaks off is used as far as it came.
pub async fn read(mut response: Response) -> Refusal {
    let status = response.status().as_u16();
    let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    // Answers to HEAD have no body; Azure repeats the code here, S3 the region.
    let code = header("x-ms-error-code").map(|code| printable(&code));
    let region = header("x-amz-bucket-region");
    let body = answer::body(&mut response).await;
    let mut refusal = parse(status, &body);
    refusal.region = region.or(refusal.region);
    if let Some(code) = code.filter(|_| refusal.answer.code.is_empty()) {
        refusal.answer.code = code;
    }
    refusal
}

/// The refusal in `body`.
pub fn parse(status: u16, body: &[u8]) -> Refusal {
    let found = match body.iter().find(|b| !b.is_ascii_whitespace()) {
        Some(b'{') => from_json(body),
        _ => xml::parse(body).ok().as_ref().and_then(from_xml),
    };
    let (code, message, region) = found.unwrap_or_default();
    let answer = Box::new(Answer::new(status, &code, &message));
    Refusal { answer, region: region.filter(|r| !r.is_empty()) }
}

type Found = (String, String, Option<String>);

fn from_xml(root: &Element) -> Option<Found> {
    let error = if root.name == "Error" { root } else { root.child("Error")? };
    let text = |name: &str| error.text_of(name).unwrap_or_default().to_owned();
    // The later lines of Azure's messages are a request id and a time.
    let message = text("Message").lines().next().unwrap_or_default().to_owned();
    Some((text("Code"), message, error.text_of("Region").map(str::to_owned)))
}

fn from_json(body: &[u8]) -> Option<Found> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let error = &value["error"];
    if error.is_object() {
        let code = text(&error["errors"][0]["reason"]);
        let code = if code.is_empty() { text(&error["status"]) } else { code };
        return Some((code, text(&error["message"]), None));
    }
    let message = text(&value["error_description"]).lines().next().unwrap_or_default().to_owned();
    let message = if message.is_empty() { text(&value["message"]) } else { message };
    let code = if error.is_string() { text(error) } else { text(&value["code"]) };
    Some((code, message, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, body: &str) -> String {
        parse(status, body.as_bytes()).answer.to_string()
    }

    #[test]
    fn every_stores_words_are_found() {
        let s3 = "<?xml version='1.0'?><Error><Code>PermanentRedirect</Code><Message>Use it</Message><Region>eu-west-1</Region></Error>";
        assert_eq!(told(301, s3), "HTTP 301 PermanentRedirect: Use it");
        assert_eq!(parse(301, s3.as_bytes()).region.as_deref(), Some("eu-west-1"));
        let sts = "<ErrorResponse xmlns='u'><Error><Type>Sender</Type><Code>InvalidIdentityToken</Code><Message>no</Message></Error></ErrorResponse>";
        assert_eq!(told(400, sts), "HTTP 400 InvalidIdentityToken: no");
        let azure = "\u{feff}<Error><Code>BlobNotFound</Code><Message>Gone.\nRequestId:1\nTime:2</Message></Error>";
        assert_eq!(told(404, azure), "HTTP 404 BlobNotFound: Gone.");
        let google = r#"{"error":{"code":404,"message":"No such object: b/o","errors":[{"reason":"notFound"}]}}"#;
        assert_eq!(told(404, google), "HTTP 404 notFound: No such object: b/o");
        let token = r#" {"error":"invalid_grant","error_description":"bad\u001b[31m key\r\nTrace ID: 1"}"#;
        assert_eq!(told(400, token), "HTTP 400 invalid_grant: bad [31m key");
        let agent = r#"{"code":"AccessDenied","message":"no role"}"#;
        assert_eq!(told(403, agent), "HTTP 403 AccessDenied: no role");
    }

    #[test]
    fn other_bodies_are_not_shown() {
        for body in ["", "<html>hi</html>", "{", "[]", r#"{"error":7}"#, "<Error/>", "<Error><Code/></Error>"] {
            assert_eq!(told(502, body), "HTTP 502: Bad Gateway", "{body}");
        }
        assert_eq!(printable(&"é".repeat(500)).chars().count(), 401);
    }
}
