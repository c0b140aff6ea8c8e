//! What a request is answered with.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::time::{Duration, SystemTime};

use rustix::io::Errno;

use super::Tree;
use super::files::{Found, list};
use super::request::Request;

/// An answer.
pub(super) struct Answer {
    pub status: u16,
    headers: Vec<(&'static str, String)>,
    body: Body,
}

enum Body {
    Bytes(Vec<u8>),
    /// So many bytes from there.
    File(File, u64, u64),
}

impl Answer {
    fn new(status: u16, body: Body) -> Answer {
        Answer { status, headers: Vec::new(), body }
    }

    /// A sentence.
    pub(super) fn text(status: u16, text: &str) -> Answer {
        let answer = Answer::new(status, Body::Bytes(format!("{text}\n").into_bytes()));
        answer.with("Content-Type", "text/plain; charset=utf-8")
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Answer {
        self.headers.push((name, value.into()));
        self
    }

    /// Sends it; without its body if only the head was asked for.
    pub(super) fn send(self, mut to: impl Write, head: bool, last: bool) -> std::io::Result<()> {
        let length = match &self.body {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::File(_, _, length) => *length,
        };
        let mut out = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        let _ = write!(out, "Date: {}\r\n", httpdate::fmt_http_date(SystemTime::now()));
        for (name, value) in &self.headers {
            let _ = write!(out, "{name}: {value}\r\n");
        }
        if self.status != 304 {
            let _ = write!(out, "Content-Length: {length}\r\n");
        }
        out.push_str(if last { "Connection: close\r\n\r\n" } else { "\r\n" });
        to.write_all(out.as_bytes())?;
        if !head && self.status != 304 {
            match self.body {
                Body::Bytes(bytes) => to.write_all(&bytes)?,
                Body::File(mut file, from, length) => {
                    file.seek(SeekFrom::Start(from))?;
                    // A file that became shorter meanwhile: the connection must end, for the length is promised.
                    if std::io::copy(&mut file.take(length), &mut to)? != length {
                        return Err(std::io::ErrorKind::UnexpectedEof.into());
                    }
                }
            }
        }
        to.flush()
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        301 => "Moved Permanently",
        304 => "Not Modified",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        414 => "URI Too Long",
        416 => "Range Not Satisfiable",
        431 => "Request Header Fields Too Large",
        505 => "HTTP Version Not Supported",
        _ => "Internal Server Error",
    }
}

/// The answer of a tree.
pub(super) fn answer(tree: &Tree, request: &Request) -> Answer {
    match tree {
        Tree::Content { files, since } => match files.get(&request.path) {
            Some(bytes) => whole(request, Content::Bytes(bytes), *since),
            None => Answer::text(404, "404 page not found"),
        },
        Tree::Directory(root) => match root.find(&request.path) {
            Ok(Found::File { .. }) if request.path.ends_with('/') => redirect(request.path.trim_end_matches('/')),
            Ok(Found::File { .. }) if request.path.ends_with("/index.html") => {
                redirect(request.path.trim_end_matches("index.html"))
            }
            Ok(Found::File { file, size, modified }) => whole(request, Content::File(file, size), time(modified)),
            Ok(Found::Directory(_)) if !request.path.ends_with('/') => redirect(&format!("{}/", request.path)),
            Ok(Found::Directory(dir)) => match root.find(&format!("{}index.html", request.path)) {
                Ok(Found::File { file, size, modified }) => {
                    let index = Content::Named(file, size, "index.html");
                    whole(request, index, time(modified))
                }
                _ => list(&dir).map_or_else(refuse, |names| listing(&names)),
            },
            Err(e) => refuse(e),
        },
    }
}

fn refuse(error: Errno) -> Answer {
    match error {
        Errno::ACCESS | Errno::PERM => Answer::text(403, "403 Forbidden"),
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::NAMETOOLONG => {
            Answer::text(404, "404 page not found")
        }
        Errno::TOOBIG => Answer::text(500, "the directory is too large to be listed"),
        _ => Answer::text(500, "500 Internal Server Error"),
    }
}

fn redirect(to: &str) -> Answer {
    Answer::new(301, Body::Bytes(Vec::new())).with("Location", encode(to))
}

/// A list as Go's file server gives it; guests read such lists by pattern.
fn listing(names: &[String]) -> Answer {
    let mut page = "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n".to_owned();
    for name in names {
        let _ = writeln!(page, "<a href=\"{}\">{}</a>", encode(name), html(name));
    }
    page.push_str("</pre>\n");
    Answer::new(200, Body::Bytes(page.into_bytes())).with("Content-Type", "text/html; charset=utf-8")
}

fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

fn encode(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/$+,;=@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn time(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

enum Content<'a> {
    Bytes(&'a [u8]),
    File(File, u64),
    Named(File, u64, &'static str),
}

/// A content, or the part of it that was asked for, or that it has not changed.
fn whole(request: &Request, content: Content<'_>, modified: SystemTime) -> Answer {
    let stamp = httpdate::fmt_http_date(modified);
    let size = match &content {
        Content::Bytes(bytes) => bytes.len() as u64,
        Content::File(_, size) | Content::Named(_, size, _) => *size,
    };
    let seen = request.since.as_deref().and_then(|s| httpdate::parse_http_date(s).ok());
    if seen.is_some_and(|seen| seconds(modified) <= seconds(seen)) {
        return Answer::new(304, Body::Bytes(Vec::new())).with("Last-Modified", stamp);
    }
    let same = request.if_range.as_ref().is_none_or(|s| *s == stamp);
    let asked = request.range.as_deref().filter(|_| same).map_or(Asked::Whole, |r| range(r, size));
    let (status, from, length) = match asked {
        Asked::Whole => (200, 0, size),
        Asked::Part(from, length) => (206, from, length),
        Asked::Nothing => {
            return Answer::text(416, "no such part").with("Content-Range", format!("bytes */{size}"));
        }
    };
    let kind = kind(match &content {
        Content::Named(_, _, name) => name,
        _ => &request.path,
    });
    let body = match content {
        Content::Bytes(bytes) => {
            let start = usize::try_from(from).unwrap_or(usize::MAX).min(bytes.len());
            let end = start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)).min(bytes.len());
            Body::Bytes(bytes[start..end].to_vec())
        }
        Content::File(file, _) | Content::Named(file, _, _) => Body::File(file, from, length),
    };
    let mut answer = Answer::new(status, body).with("Content-Type", kind).with("Accept-Ranges", "bytes");
    if status == 206 {
        answer = answer.with("Content-Range", format!("bytes {from}-{}/{size}", from + length - 1));
    }
    answer.with("Last-Modified", stamp)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Whole,
    Part(u64, u64),
    Nothing,
}

/// What of so many bytes a `Range` asks for. Several ranges at once, which a server may refuse to give, are answered
/// with the whole, and so is what is no range.
fn range(text: &str, size: u64) -> Asked {
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|r| r.trim().split_once('-')) else {
        return Asked::Whole;
    };
    let number = |s: &str| if s.bytes().all(|b| b.is_ascii_digit()) { s.parse::<u64>().ok() } else { None };
    let (from, until) = match (first.is_empty(), last.is_empty()) {
        (true, false) => match number(last) {
            Some(count) => (size.saturating_sub(count), size),
            None => return Asked::Whole,
        },
        (false, true) => match number(first) {
            Some(from) => (from, size),
            None => return Asked::Whole,
        },
        (false, false) => match (number(first), number(last)) {
            (Some(from), Some(last)) if from <= last => (from, last.saturating_add(1).min(size)),
            _ => return Asked::Whole,
        },
        (true, true) => return Asked::Whole,
    };
    if from < until { Asked::Part(from, until - from) } else { Asked::Nothing }
}

/// Types of what installers fetch; everything else is bytes.
fn kind(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or_default();
    match name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()).as_deref() {
        Some("html" | "htm") => "text/html; charset=utf-8",
        Some("txt" | "cfg" | "ks" | "sh" | "conf" | "seed" | "preseed" | "md") => "text/plain; charset=utf-8",
        Some("json") => "application/json",
        Some("xml") => "text/xml; charset=utf-8",
        Some("yaml" | "yml") => "application/yaml",
        Some("gz" | "tgz") => "application/gzip",
        // `user-data`, `meta-data`, `answers`
        None => "text/plain; charset=utf-8",
        Some(_) => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let cases = [
            ("bytes=0-4", Asked::Part(0, 5)),
            ("bytes=5-", Asked::Part(5, 5)),
            ("bytes=-3", Asked::Part(7, 3)),
            ("bytes=-30", Asked::Part(0, 10)),
            ("bytes=9-18446744073709551615", Asked::Part(9, 1)),
            ("bytes=10-", Asked::Nothing),
            ("bytes=-0", Asked::Nothing),
            ("bytes=4-2", Asked::Whole),
            ("bytes=0-1,3-4", Asked::Whole),
            ("bytes=+1-4", Asked::Whole),
            ("bytes=99999999999999999999-", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("lines=1-2", Asked::Whole),
        ];
        for (text, asked) in cases {
            assert_eq!(range(text, 10), asked, "{text}");
        }
        assert_eq!(range("bytes=0-", 0), Asked::Nothing);
    }

    #[test]
    fn names_in_lists_are_harmless() {
        let Body::Bytes(page) = listing(&["a b/".to_owned(), "<script>\"x'&".to_owned()]).body else { panic!() };
        insta::assert_snapshot!(String::from_utf8(page).unwrap(), @r#"
        <!doctype html>
        <meta name="viewport" content="width=device-width">
        <pre>
        <a href="a%20b/">a b/</a>
        <a href="%3Cscript%3E%22x%27%26">&lt;script&gt;&#34;x&#39;&amp;</a>
        </pre>
        "#);
    }
}
