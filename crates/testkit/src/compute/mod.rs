//! A double of Google's Compute Engine, with the services a build needs beside it: tokens, OS Login, Cloud Storage, the
//! metadata server. It keeps state as the real one does, verifies signatures and tokens, and fails on demand.
//!
//! It answers plain HTTP for clients that can be told where to go (`custom_endpoints`), and as a proxy that opens TLS with
//! an authority of its own for those that cannot: `HTTPS_PROXY` and `SSL_CERT_FILE` bring Debian's packer here.
//!
//! [`faults`] what goes wrong     [`state`] what there is     [`api`] calls of Compute     [`storage`] of Cloud Storage
//! [`tokens`] who asks            [`wire`] HTTP, TLS and the proxy

mod api;
mod faults;
mod instances;
mod policy;
mod state;
mod storage;
mod tokens;
mod wire;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

pub use faults::{Cut, Faults, OperationError, When};
use state::State;
use tokens::Accounts;
use wire::Authority;

/// The project that builds are in.
pub const PROJECT: &str = "kiln-test";
/// The zone.
pub const ZONE: &str = "europe-west1-b";
/// The bucket that is there.
pub const BUCKET: &str = "kiln-test-images";
/// The family that is there, in `debian-cloud`.
pub const FAMILY: &str = "debian-12";

/// A call that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Which it was, from 1 on; calls for tokens do not count.
    pub number: usize,
    /// `instances.insert`, `images.get`, …
    pub action: String,
    /// What it was about: the name of an instance, an image, an object.
    pub name: String,
    /// `GET` and the like, and the path.
    pub line: String,
    /// What was answered; 0 for a connection that was cut before.
    pub status: u16,
}

impl Call {
    /// Whether it makes or deletes something.
    pub fn changes(&self) -> bool {
        [".insert", ".delete", ".import", ".setMetadata", ".deprecate"].iter().any(|end| self.action.ends_with(end))
    }
}

type Hook = Box<dyn FnMut(&Call) + Send>;

/// What all threads of the double share.
struct Shared {
    state: Mutex<State>,
    faults: Faults,
    trace: Mutex<Vec<Call>>,
    hook: Mutex<Option<(usize, When, Hook)>>,
    accounts: Accounts,
    authority: Authority,
    /// Where the SSH keys of instances go.
    keys: Mutex<Option<PathBuf>>,
}

/// A running double; it ends with the test's process.
pub struct Compute {
    shared: Arc<Shared>,
    address: SocketAddr,
    directory: tempfile::TempDir,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for Compute {
    fn default() -> Self {
        Compute::start()
    }
}

impl Compute {
    /// One that does what it is asked.
    pub fn start() -> Compute {
        Compute::with(Faults::default())
    }

    /// One that fails on demand.
    ///
    /// # Panics
    /// If there is no port to listen on.
    pub fn with(faults: Faults) -> Compute {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        let address = listener.local_addr().expect("the port's address");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let accounts = Accounts::new(&format!("http://{address}/token"));
        let authority = Authority::new();
        std::fs::write(directory.path().join("account.json"), accounts.key_file()).expect("write the account's key");
        std::fs::write(directory.path().join("ca.pem"), authority.pem()).expect("write the authority");
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(&faults)),
            faults,
            trace: Mutex::default(),
            hook: Mutex::default(),
            accounts,
            authority,
            keys: Mutex::default(),
        });
        wire::listen(listener, &shared);
        Compute { shared, address, directory }
    }

    /// `127.0.0.1:PORT`: also for `GCE_METADATA_HOST`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// For `HTTPS_PROXY`.
    pub fn proxy(&self) -> String {
        format!("http://{}", self.address)
    }

    /// For `SSL_CERT_FILE`.
    pub fn authority(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A service account's key file.
    pub fn account(&self) -> PathBuf {
        self.directory.path().join("account.json")
    }

    /// A login with a refresh token, as `gcloud auth application-default login` leaves it.
    pub fn login(&self) -> String {
        self.shared.accounts.login_file()
    }

    /// A token that is accepted.
    pub fn token(&self) -> String {
        self.shared.accounts.issue()
    }

    /// `custom_endpoints` of a template, as JSON.
    pub fn endpoints(&self) -> String {
        let host = self.address;
        format!(
            r#"{{"compute": "http://{host}/compute/v1/", "storage": "http://{host}/storage/v1/",
                "oslogin": "http://{host}/oslogin/", "oauth2": "http://{host}/", "iamcredentials": "http://{host}/iam/"}}"#
        )
    }

    /// Writes the SSH keys of instances into this file, as the guest agent does.
    pub fn keys_into(&self, path: &Path) {
        *locked(&self.shared.keys) = Some(path.to_owned());
    }

    /// The host key that instances publish, as a line of known hosts.
    pub fn host_key(&self, line: &str) {
        locked(&self.shared.state).host_key = Some(line.to_owned());
    }

    /// What instances write to their console.
    pub fn console(&self, text: &str) {
        locked(&self.shared.state).console = text.to_owned();
    }

    /// Puts an image there, as somebody else's.
    pub fn add_image(&self, project: &str, name: &str) {
        locked(&self.shared.state).add_image(project, name, None, &[]);
    }

    /// Puts an instance there, as somebody else's.
    pub fn add_instance(&self, name: &str) {
        locked(&self.shared.state).add_instance(name);
    }

    /// Calls `hook` when call number `n` comes, or after it had its effect and before it is answered.
    pub fn at(&self, n: usize, when: When, hook: impl FnMut(&Call) + Send + 'static) {
        *locked(&self.shared.hook) = Some((n, when, Box::new(hook)));
    }

    /// The calls so far, in the order in which they came.
    pub fn trace(&self) -> Vec<Call> {
        let mut trace = locked(&self.shared.trace).clone();
        trace.sort_by_key(|call| call.number);
        trace
    }

    /// What is still there that a build made, and that is no image: instances, disks, objects, keys.
    pub fn left(&self) -> Vec<String> {
        let mut state = locked(&self.shared.state);
        state.settle();
        state.left()
    }

    /// Images that builds made.
    pub fn images(&self) -> Vec<String> {
        let mut state = locked(&self.shared.state);
        state.settle();
        state.made_images().into_iter().map(|(name, _)| name).collect()
    }

    /// What an image was asked to be.
    pub fn image(&self, name: &str) -> Option<Value> {
        locked(&self.shared.state).made_images().into_iter().find(|(n, _)| n == name).map(|(_, body)| body)
    }

    /// Who may use an image besides the project.
    pub fn policy(&self, image: &str) -> Option<Value> {
        policy::of(&locked(&self.shared.state), &format!("projects/{PROJECT}/global/images/{image}"))
    }

    /// What instances were asked to be, all that there ever were.
    pub fn asked_instances(&self) -> Vec<Value> {
        locked(&self.shared.state).asked.clone()
    }

    /// Objects, as `gs://BUCKET/NAME`.
    pub fn objects(&self) -> Vec<String> {
        locked(&self.shared.state).objects.keys().map(|(bucket, name)| format!("gs://{bucket}/{name}")).collect()
    }
}
