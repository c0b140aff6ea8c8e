//! Options that several verbs share.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use kiln_registry::{Config, HostCa, Mirror};
use kiln_spec::{duration, size};

use crate::error::CliError;

/// How registries are reached.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Registries")]
pub struct RegistryOptions {
    /// Speak plain http, or https without verification, with HOST (repeat), or with every registry
    #[arg(long, value_name = "HOST", num_args = 0..=1, default_missing_value = "", require_equals = true)]
    pub insecure: Vec<String>,
    /// Speak only plain http with HOST (repeat)
    #[arg(long, value_name = "HOST")]
    pub plain_http: Vec<String>,
    /// Trust the certificate authorities in FILE, for every registry or only for HOST (repeat)
    #[arg(long, value_name = "[HOST=]FILE")]
    pub registry_ca: Vec<String>,
    /// Pull images of REGISTRY from MIRROR first (repeat): docker.io=mirror.example/hub
    #[arg(long, value_name = "REGISTRY=MIRROR")]
    pub registry_mirror: Vec<String>,
    /// How often a failing request is repeated
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub retries: u32,
}

impl RegistryOptions {
    /// The client's configuration: the environment's, with these options on top.
    pub fn config(&self) -> Result<Config, CliError> {
        let mut config = Config::from_env();
        config.retries = self.retries;
        for host in &self.insecure {
            match &**host {
                "" => config.insecure_all = true,
                host => config.insecure_tls.push(host.to_owned()),
            }
        }
        config.plain_http.extend(self.plain_http.iter().cloned());
        for text in &self.registry_ca {
            match text.split_once('=') {
                Some((host, path)) => config.host_ca.push(HostCa { host: host.to_owned(), path: PathBuf::from(path) }),
                None => config.ca_files.push(PathBuf::from(text)),
            }
        }
        for text in &self.registry_mirror {
            let Some((registry, endpoint)) = text.split_once('=') else {
                return Err(CliError::usage(format!("--registry-mirror {text}: expected REGISTRY=MIRROR"))
                    .with_hint("for Docker Hub: --registry-mirror docker.io=mirror.example"));
            };
            config.mirrors.push(Mirror { registry: registry.to_owned(), endpoint: endpoint.to_owned() });
        }
        Ok(config)
    }
}

/// A size such as `20GB`, in bytes, if one was given to `flag`.
pub fn size(flag: &str, text: Option<&str>) -> Result<Option<u64>, CliError> {
    let parse = |text| size::parse(text).map_err(|e| CliError::usage(format!("{flag} {text}: {e}")));
    text.map(parse).transpose()
}

/// Whether a text says yes; `what` is what it belongs to.
pub fn flag(what: &str, text: &str) -> Result<bool, CliError> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        other => Err(CliError::usage(format!("{what}: `{other}` is neither true nor false"))),
    }
}

/// A time such as `24h`, if one was given to `flag`.
pub fn time(flag: &str, text: Option<&str>) -> Result<Option<Duration>, CliError> {
    let parse = |text| {
        let nanos = duration::parse(text).ok().and_then(|n| u64::try_from(n).ok());
        let bad = || CliError::usage(format!("{flag} {text}: expected a time such as 24h or 90m"));
        nanos.map(Duration::from_nanos).ok_or_else(bad)
    };
    text.map(parse).transpose()
}

/// The credentials' files, which `login` and `logout` change.
pub fn key_value(text: &str) -> Option<(&str, &str)> {
    text.split_once('=').filter(|(k, _)| !k.is_empty())
}
