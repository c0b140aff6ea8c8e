//! A double of Alibaba Cloud: ECS with its networks, OSS, STS, RAM and the metadata server, on one port of loopback.
//!
//! It speaks plain HTTP, also as a proxy (Packer 1.6.6 asks ECS so), and TLS; verifies signatures of version 1, ACS3 and
//! OSS4; and keeps state: what is made is pending for some questions, what is in use cannot be deleted, names are unique,
//! tokens make a call idempotent. No machine runs: whoever wants one hooks in with [`Ecs::on_boot`].
//!
//! [`faults`] what goes wrong, and when     [`state`] what there is     [`rpc`] calls of ECS, STS and RAM, by their names
//! [`oss`] objects     [`metadata`] keys of a machine's role     [`sign`] who asks     [`http`] the wire

mod faults;
mod http;
mod images;
mod instances;
mod metadata;
mod networks;
mod oss;
mod rpc;
mod sign;
mod state;
mod users;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::tls::Certificates;
pub use faults::{Cut, Faults, Moment, Refuse};
use state::State;
pub use users::{ACCESS_KEY, ROLE, SECRET_KEY};

/// The region that bases are in.
pub const REGION: &str = "cn-hangzhou";
/// A public image.
pub const SOURCE: &str = "centos_7_06_64_20G_alibase_20190711.vhd";
/// The type of machines that some zone has.
pub const KIND: &str = "ecs.n1.large";

/// A call as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// From 1 on, in the order in which they came.
    pub number: usize,
    /// `CreateVpc`.
    pub action: String,
    /// The kind of what it was about, as the double calls it: `vpc`.
    pub resource: String,
    /// The id of what it was about; empty for lists and refusals.
    pub id: String,
    /// The code of a refusal.
    pub code: Option<String>,
    /// Its parameters but for those that sign.
    pub parameters: Vec<(String, String)>,
}

impl Call {
    /// Whether it makes something that has to be deleted again.
    pub fn creates(&self) -> bool {
        let made = ["Create", "Run", "Allocate", "Import", "Copy", "InitiateMultipartUpload", "PutBucket"];
        self.code.is_none() && made.iter().any(|word| self.action.starts_with(word))
    }

    /// Whether it deletes something.
    pub fn deletes(&self) -> bool {
        self.code.is_none() && ["Delete", "Release", "Abort"].iter().any(|word| self.action.starts_with(word))
    }

    /// The value of a parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }
}

/// A machine that starts.
#[derive(Debug, Clone, Default)]
pub struct Boot {
    /// `i-…`.
    pub instance: String,
    /// The line of `authorized_keys` of its key pair, if it has one.
    pub public_key: Option<String>,
    /// What it was given for cloud-init, decoded.
    pub user_data: String,
    /// The private host key in that, if there is one.
    pub host_key: Option<String>,
}

type Hook = dyn Fn(&Boot) + Send + Sync;

struct Shared {
    state: Mutex<State>,
    faults: Mutex<Faults>,
    trace: Mutex<Vec<Call>>,
    /// How many calls have come, also those that were not answered.
    came: Mutex<usize>,
    arrived: Condvar,
    boot: Mutex<Option<Arc<Hook>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The double; its threads end with the process, its port is closed when it is dropped no sooner.
pub struct Ecs {
    shared: Arc<Shared>,
    address: SocketAddr,
    scratch: TempDir,
}

impl Default for Ecs {
    fn default() -> Self {
        Ecs::start()
    }
}

impl Ecs {
    /// One where all goes well, and everything is pending for one question.
    pub fn start() -> Ecs {
        Ecs::with(Faults::default())
    }

    /// One where these things go wrong.
    ///
    /// # Panics
    /// If there is no port to listen on.
    pub fn with(faults: Faults) -> Ecs {
        let certificates = Certificates::new();
        let scratch = tempfile::tempdir().expect("make a temporary directory");
        std::fs::write(scratch.path().join("ca.pem"), &certificates.ca).expect("write a certificate");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of loopback");
        let address = listener.local_addr().expect("the address of a listener");
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new()),
            faults: Mutex::new(faults),
            trace: Mutex::default(),
            came: Mutex::default(),
            arrived: Condvar::new(),
            boot: Mutex::default(),
        });
        let (tls, with) = (certificates.server(), shared.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (tls, shared) = (tls.clone(), with.clone());
                thread::spawn(move || http::serve(stream, tls, &shared));
            }
        });
        Ecs { shared, address, scratch }
    }

    /// `http://127.0.0.1:PORT`, also as `HTTP_PROXY`.
    pub fn http(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `https://127.0.0.1:PORT`, by a certificate of [`Ecs::authority`].
    pub fn https(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The certificate that must be trusted: `SSL_CERT_FILE`.
    pub fn authority(&self) -> PathBuf {
        self.scratch.path().join("ca.pem")
    }

    /// What `kiln` must be told to ask this double instead of the cloud, as the user it knows.
    pub fn environment(&self) -> Vec<(String, String)> {
        let endpoints = ["ECS", "OSS", "STS", "RAM"].map(|name| (format!("ALICLOUD_{name}_ENDPOINT"), self.https()));
        let rest = [
            ("ALICLOUD_METADATA_ENDPOINT", self.http()),
            ("ALICLOUD_ACCESS_KEY", ACCESS_KEY.to_owned()),
            ("ALICLOUD_SECRET_KEY", SECRET_KEY.to_owned()),
            ("SSL_CERT_FILE", self.authority().display().to_string()),
            ("KILN_CLOUD_POLL", "0.01".to_owned()),
        ];
        endpoints.into_iter().chain(rest.into_iter().map(|(name, value)| (name.to_owned(), value))).collect()
    }

    /// Is called when a machine starts, before the call that starts it is answered.
    pub fn on_boot(&self, hook: impl Fn(&Boot) + Send + Sync + 'static) {
        *lock(&self.shared.boot) = Some(Arc::new(hook));
    }

    /// From now on other things go wrong.
    pub fn set(&self, faults: Faults) {
        *lock(&self.shared.faults) = faults;
    }

    /// What the faults have become: those that have a count are counted down.
    pub fn faults(&self) -> Faults {
        lock(&self.shared.faults).clone()
    }

    /// Puts a private image there, as an earlier build left it.
    pub fn add_image(&self, region: &str, name: &str) -> String {
        lock(&self.shared.state).add_image(region, name)
    }

    /// Puts a network, a part of it and a security group there, as users have them: their ids.
    pub fn add_network(&self, zone: &str) -> (String, String, String) {
        lock(&self.shared.state).add_network(zone)
    }

    /// The calls that were answered, or acted on and not answered, in their order.
    pub fn trace(&self) -> Vec<Call> {
        lock(&self.shared.trace).clone()
    }

    /// How many calls have come.
    pub fn calls(&self) -> usize {
        *lock(&self.shared.came)
    }

    /// Waits until so many calls have come; whether they did in time.
    pub fn wait_for(&self, calls: usize, time: Duration) -> bool {
        let end = Instant::now() + time;
        let mut came = lock(&self.shared.came);
        while *came < calls {
            let Some(left) = end.checked_duration_since(Instant::now()) else { return false };
            came = self.shared.arrived.wait_timeout(came, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// What was made and is still there, as `KIND ID`; finished images are not among it, see [`Ecs::images`].
    pub fn left(&self) -> Vec<String> {
        lock(&self.shared.state).left()
    }

    /// Images that were made and can be used: region, id, name.
    pub fn images(&self) -> Vec<(String, String, String)> {
        lock(&self.shared.state).finished_images()
    }

    /// Accounts that an image is shared with.
    pub fn shared_with(&self, image: &str) -> Vec<String> {
        lock(&self.shared.state).image(image).map(|image| image.shares.clone()).unwrap_or_default()
    }

    /// Whether an image is encrypted.
    pub fn is_encrypted(&self, image: &str) -> bool {
        lock(&self.shared.state).image(image).is_some_and(|image| image.encrypted)
    }

    /// The tags of an image.
    pub fn tags_of(&self, image: &str) -> Vec<(String, String)> {
        lock(&self.shared.state).image(image).map(|image| image.tags.clone()).unwrap_or_default()
    }

    /// The rules of all security groups that there ever were: `tcp 22/22 127.0.0.1/32`.
    pub fn rules(&self) -> Vec<String> {
        lock(&self.shared.state).rules.clone()
    }

    /// An object of OSS.
    pub fn object(&self, bucket: &str, key: &str) -> Option<Vec<u8>> {
        lock(&self.shared.state).oss.object(bucket, key)
    }

    /// Whether ECS may read OSS: whether the RAM role is there.
    pub fn allow_import(&self, yes: bool) {
        lock(&self.shared.state).import_role = yes;
    }
}
