//! HTTP/1.1 in the plain, to a proxy and over TLS, as much of it as clients of the cloud need.

use std::collections::HashMap;
use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::faults::{Cut, Moment};
use super::{Call, Shared, lock, metadata, oss, rpc};
use crate::server::{Seen, decoded, read_head};

/// The largest request: a part of an upload.
const MAX: usize = 64 << 20;

trait Connection: Read + Write + Send {}
impl<T: Read + Write + Send> Connection for T {}

/// A request.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) method: String,
    /// Decoded.
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: HashMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }
}

/// An answer, and what it says of the call for the trace.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) call: Option<Call>,
}

/// Answers the requests of a connection.
pub(super) fn serve(stream: TcpStream, tls: Arc<ServerConfig>, shared: &Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let Ok(raw) = stream.try_clone() else { return };
    let mut first = [0];
    let Ok(1) = stream.peek(&mut first) else { return };
    let connection: Box<dyn Connection> = match first[0] {
        0x16 => match ServerConnection::new(tls) {
            Ok(connection) => Box::new(StreamOwned::new(connection, stream)),
            Err(_) => return,
        },
        _ => Box::new(stream),
    };
    let mut connection = BufReader::new(connection);
    while let Some(request) = read(&mut connection) {
        let Some(answer) = answer(request, shared) else {
            let _ = raw.shutdown(Shutdown::Both);
            return;
        };
        if write(connection.get_mut(), &answer).is_err() {
            return;
        }
    }
}

fn read(connection: &mut BufReader<Box<dyn Connection>>) -> Option<Request> {
    let Seen { method, path: target, headers, .. } = read_head(connection)?;
    let length: usize = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    if length > MAX {
        return None;
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).ok()?;
    // A proxy is told the whole address.
    let target = match target.split_once("://") {
        Some((_, rest)) => rest.find(['/', '?']).map_or("/".to_owned(), |at| rest[at..].to_owned()),
        None => target,
    };
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    };
    let query = query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect();
    Some(Request { method, path: decoded(path), query, headers, body })
}

/// What a request comes to; nothing if its connection is to break.
fn answer(request: Request, shared: &Arc<Shared>) -> Option<Answer> {
    if request.method == "CONNECT" {
        return Some(Answer { status: 501, ..Answer::default() });
    }
    if request.path.starts_with("/latest/") {
        return Some(metadata::answer(&request));
    }
    let number = {
        let mut came = lock(&shared.came);
        *came += 1;
        shared.arrived.notify_all();
        *came
    };
    let faults = lock(&shared.faults).clone();
    let at = |when: Moment| Some(Cut { call: number, when });
    let interrupted = |when: Moment| {
        if faults.hold == at(when) {
            std::thread::sleep(Duration::from_secs(600));
        }
        faults.cut == at(when)
    };
    if interrupted(Moment::Before) {
        return None;
    }
    let mut answer = match request.header("authorization").starts_with("OSS4-") {
        true => oss::answer(&request, number, shared),
        false => rpc::answer(&request, number, shared),
    };
    lock(&shared.trace).extend(answer.call.take());
    if interrupted(Moment::After) { None } else { Some(answer) }
}

fn write(connection: &mut Box<dyn Connection>, answer: &Answer) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {} X\r\nContent-Length: {}\r\n", answer.status, answer.body.len());
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    connection.write_all(head.as_bytes())?;
    connection.write_all(&answer.body)?;
    connection.flush()
}
