//! A test double of a Kubernetes cluster: an API server that speaks the verbs that Kiln uses, and a node that runs what
//! its Jobs say. It is no cluster, and what works with it was not thereby tried on one.
//!
//! Real: HTTPS with tokens, the paths and documents of the API, watches, logs that are followed, attach over WebSocket,
//! Roles (a verb that the role does not grant is refused), and the program: the pod's command line runs with its
//! variables and files, and pushes to a registry. Not real: there is no scheduler, no kubelet and no container: paths of
//! the pod are directories of the machine, everything runs as who runs the test, and nothing is validated but what is
//! read.
//!
//! [`Behaviour`] what goes wrong     `http` requests and answers     `api` objects by path and verb
//! `node` pods     `role` who may do what

mod api;
mod http;
mod node;
mod role;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::Value;
use tempfile::TempDir;

use crate::tls::Certificates;
use role::Role;

/// The token of who has the role.
pub const BUILDER: &str = "token-of-builder";
/// The token of who has none.
pub const NOBODY: &str = "token-of-nobody";

/// What goes wrong.
#[derive(Debug, Clone, Default)]
pub struct Behaviour {
    /// The Job controller is refused: it says so instead of making a pod.
    pub no_pod: Option<String>,
    /// The Job stays suspended.
    pub suspended: bool,
    /// No node fits.
    pub unschedulable: Option<String>,
    /// The image cannot be pulled.
    pub no_image: Option<String>,
    /// Each log connection but the last of these breaks after so many lines.
    pub cut_log_after: Vec<usize>,
    /// Lines that the log has before the program's.
    pub prelude: Vec<u8>,
    /// Instead of the program's end, the pod is evicted when its log has this text.
    pub evict_at: Option<String>,
    /// The connection that carries the context breaks after so many bytes.
    pub cut_attach_after: Option<usize>,
    /// Only the older protocol for attaching, in which a stream cannot be closed alone.
    pub old_attach: bool,
    /// Deleting takes so long.
    pub slow_delete: Option<Duration>,
    /// So many requests are forbidden while a program runs and has said something: an API server that begins anew.
    pub forgetful: usize,
    /// `1.N`.
    pub minor: u32,
}

/// A running double; its programs end with it.
pub struct Cluster {
    shared: Arc<Shared>,
    address: String,
    dir: TempDir,
}

pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// The program that pods run.
    kiln: PathBuf,
    dir: PathBuf,
    role: Role,
}

#[derive(Default)]
pub(crate) struct State {
    behaviour: Behaviour,
    /// Objects by resource and name.
    objects: Vec<(String, String, Value)>,
    /// What happened to pods, by version.
    history: Vec<(u64, &'static str, Value)>,
    version: u64,
    runs: Vec<node::Run>,
    /// Verb and resource of what was asked.
    asked: Vec<(String, String)>,
    /// All Jobs and Secrets that ever were.
    made: Vec<Value>,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Cluster {
    /// Starts one whose pods run `kiln`; the builder has the Role in this text.
    ///
    /// # Panics
    /// If there is no port, or the text is no Role.
    pub fn start(kiln: impl Into<PathBuf>, role: &str) -> Cluster {
        let dir = tempfile::Builder::new().prefix("kiln-cluster-").tempdir().expect("make a temporary directory");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let certificates = Certificates::new();
        fs::write(dir.path().join("ca.pem"), &certificates.ca).expect("write the authority");
        let shared = Arc::new(Shared {
            state: Mutex::new(State { behaviour: Behaviour { minor: 33, ..Behaviour::default() }, ..State::default() }),
            changed: Condvar::new(),
            kiln: kiln.into(),
            dir: dir.path().to_owned(),
            role: Role::parse(role),
        });
        let (config, serving) = (certificates.server(), shared.clone());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (config, shared) = (config.clone(), serving.clone());
                thread::spawn(move || http::serve(stream, config, &shared));
            }
        });
        Cluster { shared, address, dir }
    }

    /// What goes wrong from now on.
    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.shared.lock().behaviour);
        self.shared.changed.notify_all();
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The certificate of the API server's authority.
    pub fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// A kubeconfig for a token; its namespace is `builds`.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn kubeconfig(&self, token: &str) -> PathBuf {
        self.kubeconfig_of(&format!("{{token: {token}}}"))
    }

    /// A kubeconfig for a user in YAML.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn kubeconfig_of(&self, user: &str) -> PathBuf {
        let cluster = format!("{{server: 'https://{}', certificate-authority: {}}}", self.address, self.ca().display());
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
             clusters: [{{name: test, cluster: {cluster}}}]\nusers: [{{name: test, user: {user}}}]\n\
             contexts: [{{name: test, context: {{cluster: test, user: test, namespace: builds}}}}]\n"
        );
        write_new(self.dir.path(), &text)
    }

    /// The objects of a resource that are there.
    pub fn objects(&self, resource: &str) -> Vec<Value> {
        let state = self.shared.lock();
        state.objects.iter().filter(|(r, _, _)| r == resource).map(|(_, _, object)| object.clone()).collect()
    }

    /// Puts a Secret there that nobody made.
    pub fn put_secret(&self, name: &str, data: &[(&str, &str)]) {
        let encoded = |text: &&str| base64::engine::general_purpose::STANDARD.encode(text);
        let data: serde_json::Map<String, Value> =
            data.iter().map(|(k, v)| ((*k).to_owned(), encoded(v).into())).collect();
        let secret = serde_json::json!({"kind": "Secret", "metadata": {"name": name, "uid": name}, "data": data});
        self.shared.lock().objects.push(("secrets".to_owned(), name.to_owned(), secret));
    }

    /// All Jobs and Secrets that were ever made, as they came.
    pub fn made(&self) -> Vec<Value> {
        self.shared.lock().made.clone()
    }

    /// Verb and resource of all requests, each once.
    pub fn asked(&self) -> Vec<(String, String)> {
        let mut asked = self.shared.lock().asked.clone();
        asked.sort();
        asked.dedup();
        asked
    }

    /// Verb and resource of all that the role grants.
    pub fn granted(&self) -> Vec<(String, String)> {
        self.shared.role.all()
    }

    /// The log of the last pod.
    pub fn log(&self) -> String {
        let state = self.shared.lock();
        state.runs.last().map(|run| String::from_utf8_lossy(&run.log).into_owned()).unwrap_or_default()
    }

    /// Whether a program of a pod runs.
    pub fn is_running(&self) -> bool {
        self.shared.lock().runs.iter().any(node::Run::is_running)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.runs.iter().for_each(node::Run::kill);
        // They write into the directory that goes now.
        let end = Instant::now() + Duration::from_secs(20);
        while state.runs.iter().any(node::Run::is_running) && Instant::now() < end {
            state = self.shared.changed.wait_timeout(state, Duration::from_millis(100)).unwrap().0;
        }
    }
}

fn write_new(dir: &Path, text: &str) -> PathBuf {
    let number = fs::read_dir(dir).map_or(0, Iterator::count);
    let path = dir.join(format!("kubeconfig-{number}"));
    fs::write(&path, text).unwrap_or_else(|e| panic!("write {}: {e}", path.display()));
    path
}
