//! HTTP/1.1 over TLS, as much of it as the API needs.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::{Shared, api};
use crate::http::Wire;

/// A connection.
pub(super) type Stream = StreamOwned<ServerConnection, TcpStream>;

/// The largest request.
const MAX: usize = 4 << 20;

/// Answers the requests of a connection.
pub(super) fn serve(stream: TcpStream, config: Arc<ServerConfig>, shared: &Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let Ok(connection) = ServerConnection::new(config) else { return };
    let mut wire = Wire::new(StreamOwned::new(connection, stream));
    while let Some(request) = wire.request(MAX) {
        // Who asks waits for the answer: nothing of another request has come yet.
        match api::answer(&request, wire.into_inner(), shared) {
            Some(back) => wire = Wire::new(back),
            None => return,
        }
    }
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
