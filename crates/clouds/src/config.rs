//! How services are reached.

use std::path::PathBuf;
use std::time::Duration;

use crate::environ::Environment;

/// Settings of a [`Transport`](crate::transport::Transport).
#[derive(Debug, Clone)]
pub struct Config {
    /// Endpoints, credentials, proxies and certificates, as the clouds' own tools name them.
    pub environment: Environment,
    /// PEM files with authorities that are trusted besides the system's.
    pub ca_files: Vec<PathBuf>,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long nothing may come, or be accepted, on a connection.
    pub idle_timeout: Duration,
    /// How long a service may take to answer after the last byte of an upload.
    pub commit_timeout: Duration,
    /// How long a metadata service beside the machine or pod may take to answer: where there is none, this is lost.
    pub metadata_timeout: Duration,
    /// The `User-Agent` header.
    pub user_agent: String,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            environment: Environment::empty(),
            ca_files: Vec::new(),
            connect_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            commit_timeout: Duration::from_secs(300),
            metadata_timeout: Duration::from_secs(1),
            user_agent: concat!("kiln/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}
