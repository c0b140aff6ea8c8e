//! HTTP/1.1 as much of it as the doubles of services need: whole requests come in, whole answers go out.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};

use serde_json::Value;

/// The longest line, and so many of them, before a body.
const LONGEST: u64 = 64 << 10;
const MOST: usize = 256;

/// A request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    /// `GET` and the like.
    pub(crate) method: String,
    /// Without the query, and without the host that a proxy is told; not decoded.
    pub(crate) path: String,
    /// Decoded, in its order.
    pub(crate) query: Vec<(String, String)>,
    /// By their names in lower case.
    pub(crate) headers: HashMap<String, String>,
    /// What came along.
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// A header by its name in lower case; empty if it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// A value of the query.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// The body as JSON; null if it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The body as a form.
    pub(crate) fn form(&self) -> HashMap<String, String> {
        pairs(&String::from_utf8_lossy(&self.body)).into_iter().collect()
    }
}

/// One side of a connection.
pub(crate) struct Wire<S>(BufReader<S>);

impl<S: Read + Write> Wire<S> {
    pub(crate) fn new(stream: S) -> Wire<S> {
        Wire(BufReader::new(stream))
    }

    /// The stream, for whoever goes on with something else than HTTP. The other side must be waiting.
    pub(crate) fn into_inner(self) -> S {
        self.0.into_inner()
    }

    /// The next request with a body of `most` bytes at the most; nothing when there comes none.
    pub(crate) fn request(&mut self, most: usize) -> Option<Request> {
        let line = self.line()?;
        let mut words = line.split_whitespace();
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let headers = self.headers()?;
        if headers.get("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
            self.0.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
        }
        let length: usize = headers.get("content-length").map_or(Some(0), |text| text.parse().ok())?;
        if length > most {
            return None;
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).ok()?;
        let target = match target.split_once("://") {
            Some((_, rest)) => rest.find(['/', '?']).map_or("/", |at| &rest[at..]),
            None => &target,
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Some(Request { method, path: path.to_owned(), query: pairs(query), headers, body })
    }

    fn headers(&mut self) -> Option<HashMap<String, String>> {
        let mut headers = HashMap::new();
        for _ in 0..MOST {
            let line = self.line()?;
            match line.split_once(':') {
                Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.trim().to_owned()),
                None => return Some(headers),
            };
        }
        None
    }

    fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        (&mut self.0).take(LONGEST).read_until(b'\n', &mut line).ok()?;
        let whole = line.strip_suffix(b"\n")?;
        Some(String::from_utf8_lossy(whole).trim_end().to_owned())
    }

    /// Sends an answer.
    pub(crate) fn answer(&mut self, status: u16, headers: &[(String, String)], body: &[u8]) -> io::Result<()> {
        let mut head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let stream = self.0.get_mut();
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        stream.flush()
    }
}

/// The text that a part of an address or form means.
pub(crate) fn decoded(text: &str) -> String {
    let (mut out, bytes, mut at) = (Vec::new(), text.as_bytes(), 0);
    while at < bytes.len() {
        let code =
            bytes.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (bytes[at], code) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn pairs(text: &str) -> Vec<(String, String)> {
    let pair = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (decoded(name), decoded(value))
    };
    text.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read, and what was written.
    struct Both(io::Cursor<Vec<u8>>, Vec<u8>);

    impl Read for Both {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.0.read(buf)
        }
    }

    impl Write for Both {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.1.write(buf)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn wire(text: &str) -> Wire<Both> {
        Wire::new(Both(io::Cursor::new(text.as_bytes().to_vec()), Vec::new()))
    }

    #[test]
    fn requests_come_one_after_the_other() {
        let mut wire = wire(
            "POST http://h:1/a%20b?x=1+2&y HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\na=%41GET / HTTP/1.1\n\n",
        );
        let first = wire.request(10).unwrap();
        assert_eq!((&*first.method, &*first.path, first.header("host")), ("POST", "/a%20b", "h"));
        assert_eq!((first.parameter("x"), first.parameter("y"), first.parameter("z")), (Some("1 2"), Some(""), None));
        assert_eq!((first.form()["a"].as_str(), first.json()), ("A", Value::Null));
        assert_eq!(wire.request(10).unwrap().path, "/");
        assert!(wire.request(10).is_none());
        wire.answer(200, &[("A".to_owned(), "b".to_owned())], b"body").unwrap();
        let said = String::from_utf8(wire.into_inner().1).unwrap();
        assert_eq!(said, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 X\r\nContent-Length: 4\r\nA: b\r\n\r\nbody");
    }

    #[test]
    fn what_is_too_long_or_cut_off_is_no_request() {
        for text in [
            "",
            "GET",
            "GET / HTTP/1.1\r\nA: b",
            "POST / HTTP/1.1\r\nContent-Length: 11\r\n\r\n12345678901",
            "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n123",
            "POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        ] {
            assert!(wire(text).request(10).is_none(), "{text}");
        }
        assert!(wire(&format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(70_000))).request(10).is_none());
    }

    #[test]
    fn what_is_no_code_is_left_as_it_is() {
        assert_eq!(decoded("a%2Fb+c%zz%4"), "a/b c%zz%4");
        assert_eq!(decoded("%ff"), "\u{fffd}");
    }
}
