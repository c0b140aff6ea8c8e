//! A registry in this process, a client that says just what a test writes, and images to push.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kiln_oci::{Descriptor, Digest, media};
use kiln_serve::auth::Auth;
use kiln_serve::log::{Form, Log};
use kiln_serve::{Policy, Running, Settings};
use kiln_store::Store;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A registry with a store of its own.
pub struct Server {
    pub dir: TempDir,
    pub running: Running,
}

/// Settings for a store in `dir`: open to all, deleting enabled.
pub fn settings(dir: &Path) -> Settings {
    Settings {
        store: Store::open(dir).unwrap(),
        images: Vec::new(),
        address: "127.0.0.1:0".parse().unwrap(),
        certificate: None,
        debug_address: Some("127.0.0.1:0".parse().unwrap()),
        auth: Auth::Open,
        policy: Policy { delete: true, ..Policy::default() },
        max_upload: 64 << 20,
        connections: 1024,
        connections_per_address: 1024,
        patience: Duration::from_secs(60),
        proxy: None,
        log: Arc::new(Log::start(Form::Plain, true, Box::new(std::io::stderr())).unwrap()),
    }
}

impl Server {
    pub fn start() -> Server {
        Server::with(|settings| settings)
    }

    pub fn with(change: impl FnOnce(Settings) -> Settings) -> Server {
        let dir = tempfile::Builder::new().prefix("kiln-serve-").tempdir().unwrap();
        let running = Running::start(change(settings(&dir.path().join("store")))).unwrap();
        Server { dir, running }
    }

    /// The same store, served by a new server.
    pub fn again(self) -> Server {
        let Server { dir, running } = self;
        running.stop(std::future::ready(()));
        let running = Running::start(settings(&dir.path().join("store"))).unwrap();
        Server { dir, running }
    }

    pub fn store(&self) -> Store {
        Store::open(self.dir.path().join("store")).unwrap()
    }

    pub fn address(&self) -> SocketAddr {
        self.running.address()
    }

    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address())
    }

    /// One request on a connection of its own.
    pub fn ask(&self, method: &str, path: &str) -> Answer {
        self.send(method, path, &[], b"")
    }

    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        request(self.address(), method, path, headers, body)
    }

    /// Uploads a blob at once.
    pub fn blob(&self, name: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let answer = self.send("POST", &format!("/v2/{name}/blobs/uploads/?digest={digest}"), &[], bytes);
        assert_eq!(answer.status, 201, "{answer:?}");
        digest
    }

    /// Pushes a manifest.
    pub fn manifest(&self, name: &str, target: &str, kind: &str, document: &Value) -> Answer {
        let bytes = serde_json::to_vec(document).unwrap();
        self.send("PUT", &format!("/v2/{name}/manifests/{target}"), &[("Content-Type", kind)], &bytes)
    }

    /// Pushes a small image, and says what its manifest is.
    pub fn image(&self, name: &str, tag: &str, layer: &[u8]) -> Descriptor {
        let document = self.parts(name, layer);
        let bytes = serde_json::to_vec(&document).unwrap();
        let answer = self.manifest(name, tag, media::OCI_MANIFEST, &document);
        assert_eq!(answer.status, 201, "{answer:?}");
        Descriptor::of(media::OCI_MANIFEST, &bytes)
    }

    /// Uploads what an image needs, and returns its manifest.
    pub fn parts(&self, name: &str, layer: &[u8]) -> Value {
        let config = json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [
            Digest::of(layer).to_string()]}});
        let config = serde_json::to_vec(&config).unwrap();
        self.blob(name, &config);
        self.blob(name, layer);
        json!({
            "schemaVersion": 2, "mediaType": media::OCI_MANIFEST,
            "config": Descriptor::of(media::OCI_CONFIG, &config),
            "layers": [Descriptor::of(media::OCI_LAYER, layer)],
        })
    }
}

/// What came back.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The code in the body of a refusal.
    pub fn code(&self) -> String {
        self.json()["errors"][0]["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Status and code, for tables.
    pub fn verdict(&self) -> String {
        match self.status {
            400.. => format!("{} {}", self.status, self.code()),
            status => status.to_string(),
        }
    }

    pub fn location(&self) -> &str {
        self.header("location").unwrap_or_else(|| panic!("no Location: {self:?}"))
    }
}

/// One request, and the whole answer.
pub fn request(to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n");
    if !headers
        .iter()
        .any(|(n, _)| n.eq_ignore_ascii_case("content-length") || n.eq_ignore_ascii_case("transfer-encoding"))
    {
        text += &format!("Content-Length: {}\r\n", body.len());
    }
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += "\r\n";
    parse(&raw(to, &[text.as_bytes(), body].concat()), method == "HEAD")
}

/// Sends bytes, and reads until the server closes.
pub fn raw(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let bytes = bytes.to_vec();
    // The server may answer, and close, before it has read all.
    let sending = std::thread::spawn(move || drop(writer.write_all(&bytes)));
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let _ = stream.shutdown(Shutdown::Both);
    sending.join().unwrap();
    answer
}

/// Reads an answer apart.
pub fn parse(bytes: &[u8], head: bool) -> Answer {
    let end = bytes
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(300)])));
    let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|l| l.split(' ').nth(1)?.parse().ok()).unwrap_or(0);
    let headers = lines.filter_map(|l| l.split_once(": ")).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    let answer = Answer { status, headers, body: bytes[end + 4..].to_vec() };
    if status == 100 {
        return parse(&bytes[end + 4..], head);
    }
    if !head && let Some(length) = answer.header("content-length") {
        assert_eq!(answer.body.len().to_string(), length, "the body has its length");
    }
    answer
}
