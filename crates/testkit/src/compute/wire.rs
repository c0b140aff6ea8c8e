//! TLS for whoever comes through the proxy, and the order of things around one call.

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
use crate::http::{Request, Wire};

/// The longest body of a request.
const MAX_BODY: usize = 256 << 20;

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
    let mut plain = Wire::new(stream);
    let Some(request) = plain.request(MAX_BODY) else { return };
    if request.method != "CONNECT" {
        return serve(plain, Some(request), &raw, shared);
    }
    let mut stream = plain.into_inner();
    if stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").is_err() {
        return;
    }
    let host = request.path.rsplit_once(':').map_or(&*request.path, |(host, _)| host).to_owned();
    let Ok(tls) = ServerConnection::new(shared.authority.config(&host)) else { return };
    serve(Wire::new(StreamOwned::new(tls, stream)), None, &raw, shared);
}

fn serve<S: Read + Write>(mut wire: Wire<S>, first: Option<Request>, raw: &TcpStream, shared: &Shared) {
    let mut next = first;
    loop {
        let Some(request) = next.take().or_else(|| wire.request(MAX_BODY)) else { return };
        let Some(reply) = handle(&request, shared) else {
            let _ = raw.shutdown(Shutdown::Both);
            return;
        };
        if wire.answer(reply.status, &reply.headers, &reply.body).is_err() {
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
    if let Some((action, times)) = &mut state.faults.refused
        && call.action == *action
        && *times > 0
    {
        *times -= 1;
        return Reply::refused(403, "forbidden", &format!("'{action}' is not allowed just now"));
    }
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
