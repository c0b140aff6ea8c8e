//! What may be configured about registries, as plain values: nothing is read from files here, and the environment is
//! read only by the functions named `from_env`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::credentials::Credentials;

/// A client certificate for one registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCert {
    /// The registry, `host[:port]`.
    pub host: String,
    /// PEM file with the certificate and its chain.
    pub cert: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
}

/// An extra certificate authority for one registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostCa {
    /// The registry, `host[:port]`.
    pub host: String,
    /// PEM file with one or more certificates.
    pub path: PathBuf,
}

/// Another place to pull the images of a registry from. Mirrors are asked in order before the registry itself, for
/// manifests and blobs; never for pushes. A mirror's bytes are verified like the registry's, but what a tag points to
/// is the mirror's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The registry that is mirrored, as in references: `docker.io`.
    pub registry: String,
    /// `[http://|https://]host[:port][/path]`. The path is put in front of repository names.
    pub endpoint: String,
}

/// The proxies to use. Loopback addresses never go through one.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For `http:` addresses.
    pub http: Option<String>,
    /// For `https:` addresses.
    pub https: Option<String>,
    /// For either, where the above are absent.
    pub all: Option<String>,
    /// Hosts, domains, addresses and networks that are reached directly, separated by commas.
    pub no_proxy: Option<String>,
}

impl Proxies {
    /// Reads `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in upper and then lower case.
    pub fn from_env() -> Proxies {
        Proxies::from_lookup(&|name| std::env::var(name).ok())
    }

    /// The same from any source of variables.
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Proxies {
        let get = |name: &str| {
            lookup(name).or_else(|| lookup(&name.to_ascii_lowercase())).filter(|value| !value.trim().is_empty())
        };
        Proxies { http: get("HTTP_PROXY"), https: get("HTTPS_PROXY"), all: get("ALL_PROXY"), no_proxy: get("NO_PROXY") }
    }
}

/// Proxy addresses may hold passwords, so only their presence is shown.
impl std::fmt::Debug for Proxies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxies")
            .field("http", &self.http.is_some())
            .field("https", &self.https.is_some())
            .field("all", &self.all.is_some())
            .field("no_proxy", &self.no_proxy)
            .finish()
    }
}

/// How registries are reached. Hosts are written `host[:port]`; one without a port stands for the host on any port.
///
/// Loopback registries (`localhost`, 127.0.0.0/8, `[::1]`) need no entry: https is tried first, verified, and plain
/// http if the port does not speak TLS.
#[derive(Debug, Clone)]
pub struct Config {
    /// Hosts spoken to in plain http only.
    pub plain_http: Vec<String>,
    /// Hosts whose certificate is not verified; plain http is tried if they do not speak TLS.
    pub insecure_tls: Vec<String>,
    /// Treats every registry as if it were listed in `insecure_tls`.
    pub insecure_all: bool,
    /// PEM files with authorities trusted for every host, besides the system's.
    pub ca_files: Vec<PathBuf>,
    /// Authorities trusted for one host each.
    pub host_ca: Vec<HostCa>,
    /// Client certificates.
    pub client_certs: Vec<ClientCert>,
    /// Directories laid out as `/etc/docker/certs.d`: `HOST[:PORT]/{*.crt,*.cert,*.key}`. Absent ones are skipped.
    pub certs_dirs: Vec<PathBuf>,
    /// A PEM bundle that replaces the system's (`SSL_CERT_FILE`). One that cannot be read is skipped.
    pub ssl_cert_file: Option<PathBuf>,
    /// A directory of PEM files that replaces the system's (`SSL_CERT_DIR`).
    pub ssl_cert_dir: Option<PathBuf>,
    /// Mirrors, in order.
    pub mirrors: Vec<Mirror>,
    /// Whether a registry that has mirrors is never asked itself.
    pub mirrors_only: bool,
    /// How many times a request is repeated after the first try.
    pub retries: u32,
    /// The pause before the first repetition; it doubles with each, with jitter, up to 30 s.
    pub backoff: Duration,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long nothing may come, or be accepted, on a connection.
    pub idle_timeout: Duration,
    /// How long a registry may take to answer after the last byte of an upload: it verifies and moves the blob.
    pub commit_timeout: Duration,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// Where credentials are found.
    pub credentials: Credentials,
    /// How many requests to one registry run at the same time.
    pub connections_per_host: usize,
    /// Blobs of this size in bytes or more are pushed in chunks from the start; smaller ones in one request.
    pub chunk_above: u64,
    /// Size of a chunk in bytes.
    pub chunk_size: u64,
    /// The proxies.
    pub proxies: Proxies,
    /// Set to true by anyone, at any time, to make every call return [`Cancelled`](crate::RegistryError::Cancelled)
    /// within a fraction of a second.
    pub cancel: Arc<AtomicBool>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            plain_http: Vec::new(),
            insecure_tls: Vec::new(),
            insecure_all: false,
            ca_files: Vec::new(),
            host_ca: Vec::new(),
            client_certs: Vec::new(),
            certs_dirs: vec![PathBuf::from("/etc/docker/certs.d"), PathBuf::from("/etc/containers/certs.d")],
            ssl_cert_file: None,
            ssl_cert_dir: None,
            mirrors: Vec::new(),
            mirrors_only: false,
            retries: 5,
            backoff: Duration::from_millis(500),
            connect_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            commit_timeout: Duration::from_secs(900),
            user_agent: concat!("kiln/", env!("CARGO_PKG_VERSION")).to_owned(),
            credentials: Credentials::none(),
            connections_per_host: 4,
            chunk_above: 1 << 30,
            chunk_size: 64 << 20,
            proxies: Proxies::default(),
            cancel: Arc::default(),
        }
    }
}

impl Config {
    /// The defaults with credentials, proxies and certificate locations from the environment.
    pub fn from_env() -> Config {
        let path = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        Config {
            credentials: Credentials::from_env(),
            proxies: Proxies::from_env(),
            ssl_cert_file: path("SSL_CERT_FILE"),
            ssl_cert_dir: path("SSL_CERT_DIR"),
            ..Config::default()
        }
    }
}

/// Whether `host[:port]` is meant by one of the patterns.
pub(crate) fn listed<'a>(patterns: impl IntoIterator<Item = &'a String>, authority: &str) -> bool {
    patterns.into_iter().any(|pattern| same_host(pattern, authority))
}

/// Whether the pattern, with or without a port, means `authority`.
pub(crate) fn same_host(pattern: &str, authority: &str) -> bool {
    let pattern = pattern.trim_end_matches('/');
    pattern.eq_ignore_ascii_case(authority)
        || (port_of(pattern).is_none() && pattern.eq_ignore_ascii_case(name_of(authority)))
}

/// The host of `host[:port]`, with the brackets of an IPv6 address.
pub(crate) fn name_of(authority: &str) -> &str {
    port_of(authority).map_or(authority, |port| &authority[..authority.len() - port.len() - 1])
}

fn port_of(authority: &str) -> Option<&str> {
    let (_, port) = authority.rsplit_once(':')?;
    (!port.contains(']')).then_some(port)
}

/// Whether `host[:port]` is this machine.
pub(crate) fn is_loopback(authority: &str) -> bool {
    let name = name_of(authority).trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_without_port_means_every_port() {
        assert!(same_host("reg.local", "reg.local:5000"));
        assert!(same_host("REG.local:5000", "reg.local:5000"));
        assert!(!same_host("reg.local:5001", "reg.local:5000"));
        assert!(!same_host("reg.local:5000", "reg.local"));
        assert!(!same_host("reg.local", "evil-reg.local"));
        assert!(same_host("[::1]", "[::1]:5000"));
        assert!(!same_host("[::1]:1", "[::1]:5000"));
    }

    #[test]
    fn loopback_is_recognised() {
        for yes in ["localhost", "localhost:5000", "127.0.0.1:1", "127.9.9.9", "[::1]:5000", "[::1]"] {
            assert!(is_loopback(yes), "{yes}");
        }
        for no in ["localhost.example.com", "10.0.0.1", "128.0.0.1:5000", "[::2]", "example.com"] {
            assert!(!is_loopback(no), "{no}");
        }
    }

    #[test]
    fn proxies_are_read_and_not_shown() {
        let vars = |name: &str| match name {
            "https_proxy" => Some("http://u:hunter2@proxy:3128".to_owned()),
            "NO_PROXY" => Some("example.com".to_owned()),
            "HTTP_PROXY" => Some(" ".to_owned()),
            _ => None,
        };
        let proxies = Proxies::from_lookup(&vars);
        assert_eq!(proxies.https.as_deref(), Some("http://u:hunter2@proxy:3128"));
        assert_eq!(proxies.http, None);
        assert!(!format!("{proxies:?}").contains("hunter2"));
    }
}
