//! What a server says when it refuses.

use std::fmt;
use std::time::Duration;

use reqwest::{Response, StatusCode};

/// No refusal is read beyond this many bytes.
const MAX_BODY: usize = 64 << 10;
const MAX_MESSAGE: usize = 400;
/// How long a refusal may take to be told.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a server said about a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The server's own code, such as `MANIFEST_UNKNOWN` or `NoSuchKey`; empty when it gave none.
    pub code: String,
    /// The server's message, without control characters and cut to a few hundred characters; may be empty.
    pub message: String,
}

impl Answer {
    /// Code and message made safe to show; where there is neither, the message is what the status means.
    pub fn new(status: u16, code: &str, message: &str) -> Answer {
        let meaning = || StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("");
        let message = if message.is_empty() && code.is_empty() { meaning() } else { message };
        Answer { status, code: printable(code), message: printable(message) }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HTTP {}", self.status)?;
        if !self.code.is_empty() {
            write!(f, " {}", self.code)?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

/// The body of a refusal, up to limits of size and time; one that breaks off is used as far as it came.
pub async fn body(response: &mut Response) -> Vec<u8> {
    let mut body = Vec::new();
    let fill = async {
        while body.len() < MAX_BODY {
            match response.chunk().await {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                _ => break,
            }
        }
    };
    // What is slower only keeps the user from learning that it was refused.
    let _ = tokio::time::timeout(PATIENCE, fill).await;
    body.truncate(MAX_BODY);
    body
}

/// Text from outside, without control characters (which could drive a terminal) and not too long.
pub fn printable(text: &str) -> String {
    let clean = |c: char| {
        if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') { ' ' } else { c }
    };
    let mut out: String = text.trim().chars().map(clean).take(MAX_MESSAGE).collect();
    if text.trim().chars().count() > MAX_MESSAGE {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_made_safe_and_never_missing() {
        assert_eq!(printable(&"é".repeat(500)).chars().count(), 401);
        assert_eq!(Answer::new(404, "", "bad\u{1b}[31m").to_string(), "HTTP 404: bad [31m");
        assert_eq!(Answer::new(502, "", "").to_string(), "HTTP 502: Bad Gateway");
        assert_eq!(Answer::new(502, "Code", "").to_string(), "HTTP 502 Code");
    }
}
