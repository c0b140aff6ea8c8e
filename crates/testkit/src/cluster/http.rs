//! HTTP/1.1 over TLS, as much of it as the API needs.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::{Shared, api};
use crate::server::decoded;

/// A connection.
pub(super) type Stream = StreamOwned<ServerConnection, TcpStream>;

/// The largest request.
const MAX: usize = 4 << 20;

/// A request.
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: HashMap<String, String>,
    pub(super) headers: HashMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(super) fn parameter(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }
}

/// Answers the requests of a connection.
pub(super) fn serve(stream: TcpStream, config: Arc<ServerConfig>, shared: &Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let Ok(connection) = ServerConnection::new(config) else { return };
    let mut stream = StreamOwned::new(connection, stream);
    while let Ok(Some(request)) = read(&mut stream) {
        match api::answer(&request, stream, shared) {
            Some(back) => stream = back,
            None => return,
        }
    }
}

fn read(stream: &mut Stream) -> io::Result<Option<Request>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if head.len() > MAX || stream.read(&mut byte)? == 0 {
            return Ok(None);
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.lines();
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let header = |line: &str| line.split_once(':').map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned()));
    let headers: HashMap<String, String> = lines.filter_map(header).collect();
    let length: usize = headers.get("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length.min(MAX)];
    stream.read_exact(&mut body)?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pair = |pair: &str| pair.split_once('=').map(|(name, value)| (decoded(name), decoded(value)));
    let query = query.split('&').filter_map(pair).collect();
    Ok(Some(Request { method: method.to_owned(), path: path.to_owned(), query, headers, body }))
}

/// A whole answer.
pub(super) fn say(mut stream: Stream, code: u16, body: &Value) -> Option<Stream> {
    let text = body.to_string();
    let head = format!("HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", text.len());
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(text.as_bytes())).ok()?;
    stream.flush().ok()?;
    Some(stream)
}

/// A refusal as the API words it.
pub(super) fn refuse(stream: Stream, code: u16, reason: &str, message: &str) -> Option<Stream> {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code});
    say(stream, code, &status)
}

/// An answer that comes bit by bit.
pub(super) struct Chunks(Stream);

impl Chunks {
    pub(super) fn begin(mut stream: Stream, kind: &str) -> io::Result<Chunks> {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes())?;
        stream.flush()?;
        Ok(Chunks(stream))
    }

    pub(super) fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        write!(self.0, "{:x}\r\n", bytes.len())?;
        self.0.write_all(bytes)?;
        self.0.write_all(b"\r\n")?;
        self.0.flush()
    }

    pub(super) fn end(mut self) {
        let _ = self.0.write_all(b"0\r\n\r\n").and_then(|()| self.0.flush());
        self.0.conn.send_close_notify();
        let _ = self.0.flush();
    }
}
