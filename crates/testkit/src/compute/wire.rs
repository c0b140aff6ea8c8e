//! HTTP by hand, TLS for whoever comes through the proxy, and the order of things around one call.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::{Call, Shared, When, api, locked, storage};

/// Longest head and body of a request.
const MAX_HEAD: usize = 64 << 10;
const MAX_BODY: usize = 256 << 20;

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// Without the query, as it came.
    pub path: String,
    pub query: HashMap<String, String>,
    headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub fn form(&self) -> HashMap<String, String> {
        pairs(&String::from_utf8_lossy(&self.body))
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn json(status: u16, body: Value) -> Reply {
        let headers = vec![("Content-Type".to_owned(), "application/json; charset=UTF-8".to_owned())];
        Reply { status, headers, body: body.to_string().into_bytes() }
    }

    pub fn ok(body: Value) -> Reply {
        Reply::json(200, body)
    }

    pub fn empty(status: u16) -> Reply {
        Reply { status, headers: Vec::new(), body: Vec::new() }
    }

    /// A refusal as Google's services word it.
    pub fn refused(status: u16, reason: &str, message: &str) -> Reply {
        let one = json!({ "domain": "global", "reason": reason, "message": message });
        Reply::json(status, json!({ "error": { "code": status, "message": message, "errors": [one] } }))
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Reply {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// The text an encoded one means.
pub fn decoded(text: &str) -> String {
    let (mut out, mut rest) = (Vec::new(), text.bytes());
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let hex: String = rest.by_ref().take(2).map(char::from).collect();
                out.push(u8::from_str_radix(&hex, 16).unwrap_or(b'?'));
            }
            byte => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn pairs(text: &str) -> HashMap<String, String> {
    let pair = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (decoded(name), decoded(value))
    };
    text.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

/// An authority, and certificates for whatever host is asked for.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    configs: Mutex<HashMap<String, Arc<ServerConfig>>>,
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "kiln test authority of clouds");
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
        Authority { issuer, configs: Mutex::default() }
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    fn config(&self, host: &str) -> Arc<ServerConfig> {
        let mut configs = locked(&self.configs);
        let made = || {
            let params = CertificateParams::new([host.to_owned()]).expect("a name for a certificate");
            let key = KeyPair::generate().expect("a key");
            let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let config = ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .expect("versions of TLS")
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone()], key)
                .expect("a certificate that fits its key");
            Arc::new(config)
        };
        configs.entry(host.to_owned()).or_insert_with(made).clone()
    }
}

pub fn listen(listener: TcpListener, shared: &Arc<Shared>) {
    let shared = shared.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(stream), shared) = (stream, shared.clone()) else { return };
            thread::spawn(move || first(stream, &shared));
        }
    });
}

/// A connection: plain, or to be handed on to a host, which is this one again.
fn first(stream: TcpStream, shared: &Shared) {
    let _ = stream.set_nodelay(true);
    let Ok(raw) = stream.try_clone() else { return };
    let mut plain = Connection { stream, pending: Vec::new() };
    let Some(request) = plain.request() else { return };
    if request.method != "CONNECT" {
        return serve(plain, Some(request), &raw, shared);
    }
    if plain.stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").is_err() {
        return;
    }
    let host = request.path.rsplit_once(':').map_or(&*request.path, |(host, _)| host).to_owned();
    let Ok(tls) = ServerConnection::new(shared.authority.config(&host)) else { return };
    let secure = Connection { stream: StreamOwned::new(tls, plain.stream), pending: Vec::new() };
    serve(secure, None, &raw, shared);
}

struct Connection<S> {
    stream: S,
    pending: Vec<u8>,
}

impl<S: Read + Write> Connection<S> {
    fn more(&mut self) -> Option<()> {
        let mut piece = [0; 64 << 10];
        let count = self.stream.read(&mut piece).ok().filter(|count| *count > 0)?;
        self.pending.extend_from_slice(&piece[..count]);
        Some(())
    }

    fn request(&mut self) -> Option<Request> {
        let end = loop {
            if let Some(at) = self.pending.windows(4).position(|w| w == b"\r\n\r\n") {
                break at;
            }
            if self.pending.len() > MAX_HEAD {
                return None;
            }
            self.more()?;
        };
        let head = String::from_utf8_lossy(&self.pending[..end]).into_owned();
        self.pending.drain(..end + 4);
        let mut lines = head.split("\r\n");
        let mut words = lines.next()?.split(' ');
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let headers: HashMap<String, String> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        if headers.get("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
        }
        let length: usize = headers.get("content-length").map_or(Some(0), |text| text.parse().ok())?;
        if length > MAX_BODY {
            return None;
        }
        while self.pending.len() < length {
            self.more()?;
        }
        let body = self.pending.drain(..length).collect();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        Some(Request { method, path: path.to_owned(), query: pairs(query), headers, body })
    }

    fn answer(&mut self, reply: &Reply) -> Option<()> {
        let mut head = format!("HTTP/1.1 {} X\r\nContent-Length: {}\r\n", reply.status, reply.body.len());
        for (name, value) in &reply.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.stream.write_all(head.as_bytes()).ok()?;
        self.stream.write_all(&reply.body).ok()?;
        self.stream.flush().ok()
    }
}

fn serve<S: Read + Write>(mut connection: Connection<S>, first: Option<Request>, raw: &TcpStream, shared: &Shared) {
    let mut next = first;
    loop {
        let Some(request) = next.take().or_else(|| connection.request()) else { return };
        let Some(reply) = handle(&request, shared) else {
            let _ = raw.shutdown(Shutdown::Both);
            return;
        };
        if connection.answer(&reply).is_none() {
            return;
        }
    }
}

/// What a call is about, before it is answered: its action and the name of the thing.
type About = (String, String);

/// One call; `None` when the connection is to be cut.
fn handle(request: &Request, shared: &Shared) -> Option<Reply> {
    if let Some(reply) = shared.accounts.answer(request) {
        return Some(reply);
    }
    let (action, name): About = if request.path.contains("/storage/v1/") || request.path.contains("/upload-session/") {
        storage::about(request)
    } else {
        api::about(request)
    };
    let line = format!("{} {}", request.method, request.path);
    let mut call = Call { number: 0, action, name, line, status: 0 };
    {
        let mut trace = locked(&shared.trace);
        call.number = trace.len() + 1;
        trace.push(call.clone());
    }
    let cut = shared.faults.cut.filter(|cut| cut.at == call.number || (cut.lasting && call.number > cut.at));
    hooked(&call, When::Before, shared);
    if cut.is_some_and(|cut| cut.when == When::Before || call.number > cut.at) {
        return None;
    }
    let reply = answer(request, &call, shared);
    let mut trace = locked(&shared.trace);
    if let Some(kept) = trace.iter_mut().find(|kept| kept.number == call.number) {
        kept.status = reply.status;
    }
    drop(trace);
    call.status = reply.status;
    hooked(&call, When::After, shared);
    if cut.is_some() { None } else { Some(reply) }
}

fn hooked(call: &Call, when: When, shared: &Shared) {
    let mut hook = locked(&shared.hook);
    if let Some((number, at, run)) = hook.as_mut()
        && *number == call.number
        && *at == when
    {
        run(call);
    }
}

fn answer(request: &Request, call: &Call, shared: &Shared) -> Reply {
    if !shared.accounts.knows(request) {
        return Reply::refused(401, "authError", "Invalid Credentials");
    }
    if shared.faults.throttled.contains(&call.number) {
        return Reply::refused(403, "rateLimitExceeded", "Rate Limit Exceeded");
    }
    if shared.faults.forbidden.contains(&call.action) {
        let message = format!("Required '{}' permission for '{}'", call.action, call.name);
        return Reply::refused(403, "forbidden", &message);
    }
    let mut state = locked(&shared.state);
    let reply = match call.action.starts_with("objects.") {
        true => storage::answer(request, call, &mut state),
        false => api::answer(request, call, &mut state),
    };
    if let Some(path) = &*locked(&shared.keys) {
        // A server that reads it meanwhile must not see it empty.
        let keys = state.ssh_keys();
        if std::fs::read_to_string(path).is_ok_and(|now| now != keys) {
            std::fs::write(path, keys).expect("write the keys of instances");
        }
    }
    reply
}
