//! Where a registry is: host, scheme, path prefix, and the state of being logged in to it.

use std::sync::Arc;

use kiln_oci::reference::DEFAULT_REGISTRY;
use reqwest::Method;
use reqwest::header::HeaderMap;
use tokio::sync::{OnceCell, Semaphore};
use url::Url;

use crate::auth::Auth;
use crate::config::{Config, is_loopback, listed};
use crate::error::Failure;
use crate::error::RegistryError;
use crate::transport::{Parcel, Transport};
use kiln_http::Again;

/// The host that serves `docker.io`.
pub(crate) const DOCKER_HUB: &str = "registry-1.docker.io";

/// A registry or mirror to send requests to.
pub(crate) struct Endpoint {
    /// The registry as people call it, which credentials are filed under.
    pub host: String,
    /// Path in front of repository names, without slashes at its ends; empty for registries.
    pub prefix: String,
    /// At the most this many requests at once.
    pub permits: Arc<Semaphore>,
    pub auth: Auth,
    /// Whether there is another place to ask when this one fails.
    pub is_mirror: bool,
    secure: Url,
    plain: Url,
    scheme: Scheme,
    base: OnceCell<Url>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Https,
    Http,
    /// https where the port speaks TLS, http otherwise.
    Either,
}

impl Endpoint {
    /// The endpoint of a registry, as references name it.
    pub(crate) fn registry(config: &Config, host: &str) -> Result<Endpoint, RegistryError> {
        let called = if host == DEFAULT_REGISTRY { DOCKER_HUB } else { host };
        Endpoint::new(config, host, called, "", None)
    }

    /// The endpoint of a mirror, `[scheme://]host[:port][/path]`.
    pub(crate) fn mirror(config: &Config, text: &str) -> Result<Endpoint, RegistryError> {
        let (scheme, rest) = match text.split_once("://") {
            Some(("https", rest)) => (Some(Scheme::Https), rest),
            Some(("http", rest)) => (Some(Scheme::Http), rest),
            Some(_) => return Err(RegistryError::BadHost(text.to_owned())),
            None => (None, text),
        };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        // Some write the API's own path into the address.
        let path = path.trim_matches('/');
        let path = if path == "v2" { "" } else { path.strip_prefix("v2/").unwrap_or(path) };
        let called = if host == DEFAULT_REGISTRY { DOCKER_HUB } else { host };
        Ok(Endpoint { is_mirror: true, ..Endpoint::new(config, host, called, path, scheme)? })
    }

    fn new(
        config: &Config,
        host: &str,
        called: &str,
        prefix: &str,
        scheme: Option<Scheme>,
    ) -> Result<Endpoint, RegistryError> {
        let bad = || RegistryError::BadHost(host.to_owned());
        let url = |scheme: &str| {
            let url = Url::parse(&format!("{scheme}://{called}/")).map_err(|_| bad())?;
            let plain = url.has_host() && url.path() == "/" && url.query().is_none() && url.fragment().is_none();
            if plain && url.username().is_empty() && url.password().is_none() { Ok(url) } else { Err(bad()) }
        };
        let scheme = scheme.unwrap_or_else(|| {
            if listed(&config.plain_http, host) {
                Scheme::Http
            } else if config.insecure_all || listed(&config.insecure_tls, host) || is_loopback(host) {
                Scheme::Either
            } else {
                Scheme::Https
            }
        });
        Ok(Endpoint {
            host: host.to_owned(),
            prefix: prefix.to_owned(),
            permits: Arc::new(Semaphore::new(config.connections_per_host.max(1))),
            auth: Auth::default(),
            is_mirror: false,
            secure: url("https")?,
            plain: url("http")?,
            scheme,
            base: OnceCell::new(),
        })
    }

    /// A repository's name at this endpoint.
    pub(crate) fn repository(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) }
    }

    /// Scheme and host; for hosts that may speak either scheme, found out by asking once.
    pub(crate) async fn base(&self, transport: &Transport) -> Result<&Url, Failure> {
        match self.scheme {
            Scheme::Https => Ok(&self.secure),
            Scheme::Http => Ok(&self.plain),
            Scheme::Either => self.base.get_or_try_init(|| self.probe(transport)).await,
        }
    }

    async fn probe(&self, transport: &Transport) -> Result<Url, Failure> {
        let ping = async |base: &Url| {
            let url = base.join("v2/").map_err(|_| RegistryError::BadHost(self.host.clone()))?;
            let parcel = Parcel {
                method: Method::GET,
                url,
                headers: HeaderMap::new(),
                authorization: None,
                body: bytes::Bytes::new(),
                what: "the registry's interface",
                wait: transport.config.idle_timeout,
                same_origin: false,
            };
            transport.send(parcel).await
        };
        let secure = match ping(&self.secure).await {
            Ok(_) => return Ok(self.secure.clone()),
            // TLS was spoken, so plain http would be a downgrade.
            Err(failure) if !matches!(failure.error, RegistryError::Connect { .. }) => return Err(failure),
            Err(failure) => failure,
        };
        match ping(&self.plain).await {
            Ok(_) => Ok(self.plain.clone()),
            Err(plain) => Err(if plain.again == Again::Unreachable { plain } else { secure }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_may_have_a_scheme_and_a_path() {
        let config = Config::default();
        let m = Endpoint::mirror(&config, "https://harbor.example/v2/hub-proxy/").unwrap();
        assert_eq!((&*m.host, &*m.prefix, m.scheme), ("harbor.example", "hub-proxy", Scheme::Https));
        assert_eq!(m.repository("library/busybox"), "hub-proxy/library/busybox");
        let m = Endpoint::mirror(&config, "http://10.0.0.1:5000").unwrap();
        assert_eq!((&*m.host, &*m.prefix, m.scheme), ("10.0.0.1:5000", "", Scheme::Http));
        assert_eq!(Endpoint::mirror(&config, "localhost:5000/x").unwrap().scheme, Scheme::Either);
        for bad in ["", "ftp://x", "user@host", "host:99999", "a b", "host?x", "https://"] {
            assert!(Endpoint::mirror(&config, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_hub_has_another_host() {
        let e = Endpoint::registry(&Config::default(), "docker.io").unwrap();
        assert_eq!((e.secure.as_str(), &*e.host), ("https://registry-1.docker.io/", "docker.io"));
        let config = Config { plain_http: vec!["reg".to_owned()], ..Config::default() };
        assert_eq!(Endpoint::registry(&config, "reg:5000").unwrap().scheme, Scheme::Http);
        assert_eq!(Endpoint::registry(&config, "example.com").unwrap().scheme, Scheme::Https);
    }
}
