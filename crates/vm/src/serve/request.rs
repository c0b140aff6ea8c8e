//! Reading a request, without believing a word of it.

use std::io::{BufRead, Read};

use super::response::Answer;

/// Of the request line and all headers.
const LARGEST_HEAD: u64 = 16 << 10;
const MOST_HEADERS: usize = 100;

/// A request for a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// "GET" or "HEAD".
    pub method: String,
    /// As it was sent, for the log.
    pub target: String,
    /// Decoded and clean: begins with a slash, has no empty or dotted parts, and ends with a slash if it was sent so.
    pub path: String,
    /// `Range`.
    pub range: Option<String>,
    /// `If-Range`.
    pub if_range: Option<String>,
    /// `If-Modified-Since`.
    pub since: Option<String>,
    /// Whether the connection ends after the answer.
    pub last: bool,
}

/// A request that is not answered with a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub status: u16,
    pub why: &'static str,
}

impl Refusal {
    pub(super) fn answer(&self) -> Answer {
        Answer::text(self.status, self.why)
    }
}

const fn refused(status: u16, why: &'static str) -> Refusal {
    Refusal { status, why }
}

impl Request {
    /// The next request, or none if the other side has hung up.
    pub(super) fn read(reader: &mut impl BufRead) -> Result<Option<Request>, Refusal> {
        let mut head = reader.take(LARGEST_HEAD);
        let mut line = String::new();
        // An empty line before a request is tolerated once.
        for _ in 0..2 {
            line = match next_line(&mut head)? {
                None => return Ok(None),
                Some(line) => line,
            };
            if !line.is_empty() {
                break;
            }
        }
        let mut request = first_line(&line)?;
        let old = line.ends_with("HTTP/1.0");
        request.last = old;
        let mut hosts = 0;
        for _ in 0..=MOST_HEADERS {
            let line = next_line(&mut head)?.ok_or(refused(400, "the headers do not end"))?;
            if line.is_empty() {
                return if hosts == 1 || old { Ok(Some(request)) } else { Err(refused(400, "not one Host header")) };
            }
            let (name, value) = line.split_once(':').ok_or(refused(400, "a header without a colon"))?;
            if name.is_empty() || !name.bytes().all(is_token) {
                return Err(refused(400, "a header with a bad name"));
            }
            request.header(&name.to_ascii_lowercase(), value.trim_matches([' ', '\t']), &mut hosts)?;
        }
        Err(refused(431, "too many headers"))
    }

    fn header(&mut self, name: &str, value: &str, hosts: &mut u32) -> Result<(), Refusal> {
        match name {
            "host" => *hosts += 1,
            "range" => self.range = Some(value.to_owned()),
            "if-range" => self.if_range = Some(value.to_owned()),
            "if-modified-since" => self.since = Some(value.to_owned()),
            "connection" if value.eq_ignore_ascii_case("close") => self.last = true,
            "connection" if value.eq_ignore_ascii_case("keep-alive") => self.last = false,
            // A body would be taken for the next request.
            "transfer-encoding" => return Err(refused(400, "requests have no body here")),
            "content-length" if value != "0" => return Err(refused(400, "requests have no body here")),
            _ => {}
        }
        Ok(())
    }
}

fn next_line(head: &mut impl BufRead) -> Result<Option<String>, Refusal> {
    let mut line = Vec::new();
    match head.read_until(b'\n', &mut line) {
        Ok(0) if line.is_empty() => return Ok(None),
        // The time is up, or the connection broke.
        Err(_) => return Ok(None),
        Ok(_) => {}
    }
    if line.pop() != Some(b'\n') {
        return Err(refused(431, "the head is too long, or broken off"));
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    if line.iter().any(|b| (*b < 0x20 && *b != b'\t') || *b == 0x7f) {
        return Err(refused(400, "a control character"));
    }
    String::from_utf8(line).map(Some).map_err(|_| refused(400, "the head is not text"))
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn first_line(line: &str) -> Result<Request, Refusal> {
    let mut parts = line.split(' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(refused(400, "not a request line"));
    };
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
        return Err(refused(505, "HTTP/1.1 is spoken here"));
    }
    if !matches!(method, "GET" | "HEAD") {
        return Err(refused(405, "only GET and HEAD"));
    }
    // The absolute form is for proxies, but servers must take it.
    let path = match target.strip_prefix("http://") {
        Some(rest) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => target,
    };
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let path = clean(&decode(path)?)?;
    let (method, target) = (method.to_owned(), target.to_owned());
    Ok(Request { method, target, path, range: None, if_range: None, since: None, last: false })
}

fn decode(path: &str) -> Result<String, Refusal> {
    let mut out = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else { return Err(refused(400, "a broken % escape")) };
        out.push(u8::try_from(high * 16 + low).unwrap_or(0));
    }
    if out.contains(&0) {
        return Err(refused(400, "a zero byte"));
    }
    String::from_utf8(out).map_err(|_| refused(400, "a path that is not UTF-8"))
}

/// What `.` and `..` mean is worked out here, and never above the root.
fn clean(path: &str) -> Result<String, Refusal> {
    if !path.starts_with('/') {
        return Err(refused(400, "a path begins with a slash"));
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part if part.len() > 255 => return Err(refused(414, "a name is too long")),
            part => parts.push(part),
        }
    }
    let mut out = format!("/{}", parts.join("/"));
    if out.len() > 1 && (path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..")) {
        out.push('/');
    }
    Ok(out)
}

/// Whether a path is one that a request can have.
pub(super) fn is_clean(path: &str) -> bool {
    !path.contains('\0') && clean(path).is_ok_and(|c| c == path) && !path.ends_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        match Request::read(&mut text.as_bytes()) {
            Ok(Some(r)) => format!("{} {} last={}", r.method, r.path, r.last),
            Ok(None) => "end".to_owned(),
            Err(refusal) => format!("{} {}", refusal.status, refusal.why),
        }
    }

    #[test]
    fn requests_are_read_and_cleaned() {
        let get = |target: &str| read(&format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
        let cases =
            ["/", "/a/b%20c?x=1#y", "/a/../../../etc/passwd", "/a//./b/", "/a/..", "/%2e%2e/%2E%2e/x", "http://h:1/y"];
        insta::assert_snapshot!(cases.map(get).join("\n"), @"
        GET / last=false
        GET /a/b c last=false
        GET /etc/passwd last=false
        GET /a/b/ last=false
        GET / last=false
        GET /x last=false
        GET /y last=false
        ");
        assert_eq!(read("\r\nHEAD /f HTTP/1.0\n\n"), "HEAD /f last=true");
        assert_eq!(read("GET / HTTP/1.1\r\nHost: x\r\nConnection: Close\r\n\r\n"), "GET / last=true");
        assert_eq!(read(""), "end");
    }

    #[test]
    fn hostile_requests_are_refused() {
        let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(300));
        let endless = format!("GET / HTTP/1.1\r\nHost: {}", "x".repeat(20_000));
        let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "a: b\r\n".repeat(200));
        let cases = [
            "hello\r\n\r\n",
            "GET  / HTTP/1.1\r\n\r\n",
            "GET / HTTP/2.0\r\n\r\n",
            "PUT / HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET x HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /%ff HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
            "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
            "GET / HTTP/1.1\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nA: \u{1}\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\n",
            &long,
            &endless,
            &many,
        ];
        insta::assert_snapshot!(cases.map(read).join("\n"), @"
        400 not a request line
        400 not a request line
        505 HTTP/1.1 is spoken here
        405 only GET and HEAD
        400 a path begins with a slash
        400 a broken % escape
        400 a zero byte
        400 a path that is not UTF-8
        400 not one Host header
        400 not one Host header
        400 requests have no body here
        400 requests have no body here
        400 a header with a bad name
        400 a header without a colon
        400 a control character
        400 the headers do not end
        414 a name is too long
        431 the head is too long, or broken off
        431 too many headers
        ");
    }

    /// Whatever comes, a path that is found is one that cannot lead out.
    #[test]
    fn no_request_leads_out() {
        let pieces =
            ["/", "..", ".", "%2e", "%2F", "a", "%00", "%", "?", "#", "http://", "\\", " ", "//", "%c0%ae", "%5c"];
        let mut state = 7_u64;
        for _ in 0..20_000 {
            let mut target = "/".to_owned();
            for _ in 0..8 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                target.push_str(pieces[(state >> 60) as usize]);
            }
            let text = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
            if let Ok(Some(request)) = Request::read(&mut text.as_bytes()) {
                let path = request.path;
                assert!(path.starts_with('/') && !path.contains("//") && !path.contains('\0'), "{target}");
                assert!(path.split('/').all(|part| part != ".." && part != "."), "{target}");
            }
        }
    }
}
