//! What may be configured about stores, as plain values.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use kiln_clouds::Environment;
use kiln_http::Secret;

/// Hands out an access token that is good for the next minutes, or says why there is none. It may block.
pub type Tokens = Arc<dyn Fn() -> Result<Secret, String> + Send + Sync>;

/// Google Cloud Storage as somebody else asks it: what is not given is as the environment says.
#[derive(Clone, Default)]
pub struct Google {
    /// Another server, as `https://storage.example`.
    pub server: Option<String>,
    /// Who asks.
    pub tokens: Option<Tokens>,
}

impl fmt::Debug for Google {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Google").field("server", &self.server).finish_non_exhaustive()
    }
}

/// Settings of a [`Client`](crate::Client).
#[derive(Debug, Clone)]
pub struct Config {
    /// Endpoints, credentials, proxies and certificates, as the clouds' own tools name them.
    pub environment: Environment,
    /// PEM files with authorities that are trusted besides the system's.
    pub ca_files: Vec<PathBuf>,
    /// How many times a request is repeated after the first try; a transfer that made progress starts counting again.
    pub retries: u32,
    /// The pause before the first repetition; it doubles with each, with jitter, up to 30 s.
    pub backoff: Duration,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long nothing may come, or be accepted, on a connection.
    pub idle_timeout: Duration,
    /// How long a store may take to answer after the last byte of an upload.
    pub commit_timeout: Duration,
    /// How long a metadata service beside the machine or pod may take to answer: where there is none, this is lost.
    pub metadata_timeout: Duration,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// Objects of more bytes than this are uploaded in parts.
    pub multipart_above: u64,
    /// Size of a part in bytes. Raised where a store wants larger ones, or fewer.
    pub part_size: u64,
    /// How Google Cloud Storage is asked, where it is not the environment that says so.
    pub google: Google,
    /// Set to true by anyone, at any time, to make every call return
    /// [`Cancelled`](crate::ObjectError::Cancelled) within a fraction of a second.
    pub cancel: Arc<AtomicBool>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            environment: Environment::empty(),
            ca_files: Vec::new(),
            retries: 5,
            backoff: Duration::from_millis(500),
            connect_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            commit_timeout: Duration::from_secs(300),
            metadata_timeout: Duration::from_secs(1),
            user_agent: concat!("kiln/", env!("CARGO_PKG_VERSION")).to_owned(),
            multipart_above: 32 << 20,
            part_size: 16 << 20,
            google: Google::default(),
            cancel: Arc::default(),
        }
    }
}

impl Config {
    /// What of it is about connections.
    pub(crate) fn connections(&self) -> kiln_clouds::Config {
        kiln_clouds::Config {
            environment: self.environment.clone(),
            ca_files: self.ca_files.clone(),
            connect_timeout: self.connect_timeout,
            idle_timeout: self.idle_timeout,
            commit_timeout: self.commit_timeout,
            metadata_timeout: self.metadata_timeout,
            user_agent: self.user_agent.clone(),
        }
    }

    /// The defaults with the environment of this process.
    pub fn from_env() -> Config {
        Config { environment: Environment::of_process(), ..Config::default() }
    }
}
