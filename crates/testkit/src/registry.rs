//! Debian's docker-registry as a process of its own on a free loopback port.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::command::{Output, run};
use crate::filter::Filters;
use crate::layout::Layout;
use crate::tls::Certificates;
use crate::tools::tool;

/// How a registry treats those who knock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// Plain HTTP, everyone may push.
    None,
    /// Plain HTTP, [`USER`] with [`PASSWORD`] only.
    Basic,
    /// HTTPS with a certificate of [`Registry::ca`], everyone may push.
    Tls,
}

/// The user of a registry with [`Auth::Basic`].
pub const USER: &str = "kiln";
/// The password of [`USER`]; with characters that careless encoders break.
pub const PASSWORD: &str = "p:a ss/+w%rd";

/// How long a registry may take to come up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running registry; stopped, and its data removed, when dropped.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    address: String,
    auth: Auth,
    dir: TempDir,
    data: PathBuf,
    log: Log,
}

/// What a registry has logged, a line each.
type Log = Arc<Mutex<Vec<String>>>;

impl Registry {
    /// Starts one and waits until it listens.
    ///
    /// # Panics
    /// If docker-registry (or htpasswd, for [`Auth::Basic`]) is not installed, or it does not come up in 30 s.
    pub fn start(auth: Auth) -> Registry {
        let dir = tempfile::Builder::new().prefix("kiln-registry-").tempdir().expect("make a temporary directory");
        let data = dir.path().join("data");
        Registry::start_in(auth, dir, data)
    }

    /// Starts one on a directory that is there, with `docker/registry/v2` in it.
    ///
    /// # Panics
    /// As [`Registry::start`].
    pub fn on(data: &Path) -> Registry {
        let dir = tempfile::Builder::new().prefix("kiln-registry-").tempdir().expect("make a temporary directory");
        Registry::start_in(Auth::None, dir, data.to_path_buf())
    }

    fn start_in(auth: Auth, dir: TempDir, data: PathBuf) -> Registry {
        let config = dir.path().join("config.yml");
        let mut text = format!(
            "version: 0.1\nlog: {{level: info, formatter: json}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n",
            data.display()
        );
        let tls = match auth {
            Auth::Tls => tls_section(&dir),
            Auth::None | Auth::Basic => String::new(),
        };
        if auth == Auth::Basic {
            text += &basic_section(&dir);
        }
        text += &format!("http: {{addr: \"127.0.0.1:0\", secret: kiln{tls}}}\n");
        fs::write(&config, text).unwrap_or_else(|e| panic!("write {}: {e}", config.display()));
        let log = Log::default();
        let (child, address) = spawn(&config, log.clone());
        Registry { child, address, auth, dir, data, log }
    }

    /// The requests it has answered since the last call: `METHOD PATH STATUS`, with the query.
    pub fn requests(&self) -> Vec<String> {
        // An answer is logged after it was sent.
        thread::sleep(Duration::from_millis(200));
        let lines = std::mem::take(&mut *self.log.lock().unwrap_or_else(PoisonError::into_inner));
        let request = |line: &String| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            let text = |name: &str| line[name].as_str();
            (text("msg")? == "response completed").then_some(())?;
            let status = &line["http.response.status"];
            Some(format!("{} {} {status}", text("http.request.method")?, text("http.request.uri")?))
        };
        lines.iter().filter_map(request).collect()
    }

    /// `127.0.0.1:PORT`: what comes before the slash in a reference.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A reference into this registry.
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// The certificate a client must trust, as a file; `None` over plain HTTP.
    pub fn ca(&self) -> Option<PathBuf> {
        (self.auth == Auth::Tls).then(|| self.dir.path().join("ca.pem"))
    }

    /// Where the registry keeps its blobs and manifests, for tests that damage them.
    pub fn data(&self) -> PathBuf {
        self.data.join("docker/registry/v2")
    }

    /// Puts an image of one manifest into the registry by writing its files, which is faster than a push.
    ///
    /// # Panics
    /// If the layout has no such image, or the files cannot be written.
    pub fn place(&self, layout: &Layout, image: &str, name: &str) {
        let (repository, tag) = name.rsplit_once(':').expect("a name with a tag");
        let read =
            |hex: &str| fs::read(layout.dir().join("blobs/sha256").join(hex)).expect("read a blob of the layout");
        let write = |path: PathBuf, bytes: &[u8]| {
            fs::create_dir_all(path.parent().expect("below the data")).expect("make directories of the registry");
            fs::write(&path, bytes).unwrap_or_else(|e| panic!("write {}: {e}", path.display()));
        };
        let root = layout.digest(image);
        let bytes = read(&root.hex());
        let manifest: kiln_oci::Manifest = serde_json::from_slice(&bytes).expect("an image of one manifest");
        let own = self.data().join("repositories").join(repository);
        for digest in manifest.layers.iter().chain([&manifest.config]).map(|blob| &blob.digest).chain([&root]) {
            let hex = digest.hex();
            write(self.data().join("blobs/sha256").join(&hex[..2]).join(&hex).join("data"), &read(&hex));
            let place = if *digest == root { "_manifests/revisions" } else { "_layers" };
            write(own.join(place).join("sha256").join(&hex).join("link"), digest.to_string().as_bytes());
        }
        let tagged = own.join("_manifests/tags").join(tag);
        let text = root.to_string();
        write(tagged.join("index/sha256").join(root.hex()).join("link"), text.as_bytes());
        write(tagged.join("current/link"), text.as_bytes());
    }

    /// Copies an image of a layout into the registry, by skopeo.
    ///
    /// # Panics
    /// If skopeo is not installed or fails.
    pub fn push(&self, layout: &Layout, image: &str, name: &str) {
        let (from, to) = (layout.skopeo(image), format!("docker://{}", self.reference(name)));
        let _ = self.skopeo(&["copy", "--all", &from, &to], "--dest").ok();
    }

    /// Copies an image of the registry to a place skopeo can name (`oci:DIR:TAG`, `docker-archive:FILE`).
    ///
    /// # Panics
    /// If skopeo is not installed or fails.
    pub fn pull(&self, name: &str, to: &str) {
        let _ = self.skopeo(&["copy", "--all", &format!("docker://{}", self.reference(name)), to], "--src").ok();
    }

    /// The digest of what the registry has under a name, asked by skopeo.
    ///
    /// # Panics
    /// If skopeo is not installed or fails.
    pub fn digest(&self, name: &str) -> String {
        let from = format!("docker://{}", self.reference(name));
        self.skopeo(&["inspect", "--format", "{{.Digest}}", &from], "-").ok().text().to_owned()
    }

    /// Runs skopeo with the registry's credentials; `side` is the prefix of its options: `--src`, `--dest`, or `-`
    /// for commands that know one side only.
    fn skopeo(&self, args: &[&str], side: &str) -> Output {
        let option = |name: &str| if side == "-" { format!("--{name}") } else { format!("{side}-{name}") };
        let mut command = Command::new(tool("skopeo"));
        command.arg("--insecure-policy").arg(args[0]);
        match self.auth {
            Auth::None => command.arg(option("tls-verify=false")),
            Auth::Basic => {
                command.arg(option("tls-verify=false")).arg(option("creds")).arg(format!("{USER}:{PASSWORD}"))
            }
            Auth::Tls => command.arg(option("cert-dir")).arg(self.dir.path().join("trust")),
        };
        command.args(&args[1..]);
        run(command, b"", Duration::from_secs(120), &Filters::standard())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn basic_section(dir: &TempDir) -> String {
    let made = Command::new(tool("htpasswd")).args(["-Bbn", USER, PASSWORD]).output();
    let made = made.unwrap_or_else(|e| panic!("run htpasswd: {e}"));
    assert!(made.status.success(), "htpasswd: {}", String::from_utf8_lossy(&made.stderr));
    let file = dir.path().join("htpasswd");
    fs::write(&file, made.stdout).unwrap_or_else(|e| panic!("write {}: {e}", file.display()));
    format!("auth: {{htpasswd: {{realm: kiln, path: {}}}}}\n", file.display())
}

fn tls_section(dir: &TempDir) -> String {
    let made = Certificates::new();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir(path("trust")).unwrap_or_else(|e| panic!("make {}: {e}", path("trust").display()));
    for (name, text) in
        [("ca.pem", &made.ca), ("trust/ca.crt", &made.ca), ("cert.pem", &made.certificate), ("key.pem", &made.key)]
    {
        fs::write(path(name), text).unwrap_or_else(|e| panic!("write {}: {e}", path(name).display()));
    }
    format!(", tls: {{certificate: {}, key: {}}}", path("cert.pem").display(), path("key.pem").display())
}

/// Starts the process from the thread that reads its log. The kernel kills it when that thread ends, so that a test
/// run killed in its midst leaves no registry behind; and the port is read from the log, so that none has to be
/// guessed free.
fn spawn(config: &std::path::Path, log: Log) -> (Child, String) {
    let mut command = Command::new(tool("setpriv"));
    command.args(["--pdeathsig", "KILL", "--"]).arg(tool("docker-registry")).arg("serve").arg(config);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let (send, receive) = mpsc::channel();
    let reader = move || {
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(e) => return drop(send.send(Err(format!("start {command:?}: {e}")))),
        };
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let (mut waiting, mut said) = (Some(child), String::new());
        for line in lines.map_while(Result::ok) {
            if waiting.is_some() {
                said += &line;
                said.push('\n');
            }
            if let Some(rest) = line.split_once("listening on ").map(|(_, rest)| rest)
                && let Some(child) = waiting.take()
            {
                let end = rest.find(|c: char| !matches!(c, '0'..='9' | '.' | ':')).unwrap_or(rest.len());
                drop(send.send(Ok((child, rest[..end].to_owned()))));
            }
            log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
        if waiting.is_some() {
            drop(send.send(Err(format!("docker-registry ended before it listened:\n{said}"))));
        }
    };
    thread::Builder::new().name("registry".to_owned()).spawn(reader).expect("start a thread");
    match receive.recv_timeout(PATIENCE) {
        Ok(Ok(started)) => started,
        Ok(Err(message)) => panic!("{message}"),
        Err(_) => panic!("docker-registry did not listen within {} s", PATIENCE.as_secs()),
    }
}
