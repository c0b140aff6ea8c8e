//! One request to one host: TLS as that host wants it, proxies, redirects that keep to the rules, errors in words.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Body, Method, Proxy, Request, Response, redirect};
use url::Url;

pub(crate) use kiln_http::connection::authority;
use kiln_http::connection::{self, innermost, tls_error};

use crate::config::{Config, is_loopback};
use crate::error::Failure;
use crate::error::RegistryError;
use crate::tls::{HostTls, Roots};

const MAX_REDIRECTS: usize = 10;

/// Sends requests, with one connection pool per host.
pub(crate) struct Transport {
    pub(crate) config: Arc<Config>,
    clients: Mutex<HashMap<String, reqwest::Client>>,
    roots: Arc<Roots>,
}

/// A request that can be repeated, because its body is in memory.
pub(crate) struct Parcel<'a> {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    /// Goes to the URL's own origin only, never to where it redirects.
    pub authorization: Option<HeaderValue>,
    pub body: Bytes,
    /// In words, for errors.
    pub what: &'a str,
    /// How long the head of the answer may take.
    pub wait: Duration,
    /// Whether redirects to other hosts are refused, because the body is secret.
    pub same_origin: bool,
}

impl Transport {
    pub(crate) fn new(config: Arc<Config>) -> Result<Transport, RegistryError> {
        proxies(&config, false)?;
        let roots = Arc::new(Roots::new(&config)?);
        Ok(Transport { config, clients: Mutex::default(), roots })
    }

    /// The connection pool for the host of `url`.
    pub(crate) fn client(&self, url: &Url) -> Result<reqwest::Client, RegistryError> {
        let authority = authority(url);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&authority) {
            return Ok(client.clone());
        }
        let client = self.build(url, &authority)?;
        clients.insert(authority, client.clone());
        Ok(client)
    }

    fn build(&self, url: &Url, authority: &str) -> Result<reqwest::Client, RegistryError> {
        let config = &self.config;
        let tls = HostTls::of(config, &names(url, authority))?.client_config(authority, &self.roots)?;
        // HTTP/1.1 only: parallel transfers get a TCP connection each instead of sharing one flow-control window,
        // and a broken connection costs one transfer.
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .http1_only()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(config.connect_timeout)
            .tcp_keepalive(Duration::from_secs(15))
            .pool_max_idle_per_host(config.connections_per_host.max(1))
            .user_agent(&*config.user_agent);
        for proxy in proxies(config, is_loopback(authority))? {
            builder = builder.proxy(proxy);
        }
        builder.build().map_err(|e| RegistryError::TlsSetup { host: authority.to_owned(), why: innermost(&e) })
    }

    /// Sends, and follows redirects: from https to https only, without credentials to other hosts, and for requests
    /// other than GET and HEAD only where the method stays the same.
    pub(crate) async fn send(&self, parcel: Parcel<'_>) -> Result<Response, Failure> {
        let Parcel { method, mut url, headers, authorization, body, what, wait, same_origin } = parcel;
        let origin = url.origin();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = Request::new(method.clone(), url.clone());
            *request.headers_mut() = headers.clone();
            request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            if let Some(value) = authorization.as_ref().filter(|_| url.origin() == origin) {
                request.headers_mut().insert(AUTHORIZATION, value.clone());
            }
            if !body.is_empty() {
                *request.body_mut() = Some(Body::from(body.clone()));
            } else if matches!(method, Method::POST | Method::PUT | Method::PATCH) {
                // Some servers refuse a request of these kinds that does not say it is empty.
                request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            }
            let response = self.exchange(request, what, wait).await?;
            let fetch = matches!(method, Method::GET | Method::HEAD);
            match response.status().as_u16() {
                301..=303 if fetch => {}
                307 | 308 => {}
                _ => return Ok(response),
            }
            let target = redirect_target(&url, &response, what)?;
            if same_origin && target.origin() != origin {
                let (host, target) = (authority(&url), origin_text(&target));
                let why = "the request holds a secret";
                return Err(RegistryError::Redirect { host, what: what.to_owned(), target, why }.into());
            }
            url = target;
        }
        Err(RegistryError::Redirect {
            host: authority(&url),
            what: what.to_owned(),
            target: origin_text(&url),
            why: "there were too many redirects before it",
        }
        .into())
    }

    /// One request and the head of its answer.
    async fn exchange(&self, request: Request, what: &str, wait: Duration) -> Result<Response, Failure> {
        let host = authority(request.url());
        let sent = self.client(request.url())?.execute(request);
        match tokio::time::timeout(wait, sent).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(broken(&host, what, &error)),
            Err(_) => Err(Failure::soon(RegistryError::Stalled { host, what: what.to_owned(), after: wait })),
        }
    }
}

/// Where a response redirects to, if the rules allow it.
fn redirect_target(from: &Url, response: &Response, what: &str) -> Result<Url, RegistryError> {
    let protocol =
        |why: &str| RegistryError::Protocol { host: authority(from), what: what.to_owned(), why: why.to_owned() };
    let location = response.headers().get(LOCATION).ok_or_else(|| protocol("a redirect without a location"))?;
    let text = location.to_str().map_err(|_| protocol("a redirect to an unreadable location"))?;
    let target = from.join(text).map_err(|_| protocol("a redirect to a location that is not a URL"))?;
    let refuse = |why| RegistryError::Redirect {
        host: authority(from),
        what: what.to_owned(),
        target: origin_text(&target),
        why,
    };
    match (from.scheme(), target.scheme()) {
        ("https", "https") | ("http", "http" | "https") => {}
        ("https", "http") => return Err(refuse("it would leave TLS")),
        _ => return Err(refuse("only http and https are")),
    }
    if !target.username().is_empty() || target.password().is_some() {
        return Err(refuse("it carries credentials in the address"));
    }
    Ok(target)
}

fn proxies(config: &Config, loopback: bool) -> Result<Vec<Proxy>, RegistryError> {
    if loopback {
        return Ok(Vec::new());
    }
    let p = &config.proxies;
    let values = connection::Proxies {
        http: p.http.as_deref().map(|value| ("HTTP_PROXY", value)),
        https: p.https.as_deref().map(|value| ("HTTPS_PROXY", value)),
        all: p.all.as_deref().map(|value| ("ALL_PROXY", value)),
        none_for: p.no_proxy.as_deref(),
    };
    connection::proxies(&values).map_err(RegistryError::Proxy)
}

/// Scheme and host, which are safe to show: paths and queries of redirects may hold signatures.
pub(crate) fn origin_text(url: &Url) -> String {
    format!("{}://{}", url.scheme(), authority(url))
}

/// The names a host may be configured by.
fn names(url: &Url, authority: &str) -> Vec<String> {
    let mut names = vec![authority.to_owned()];
    if let (None, Some(port)) = (url.port(), url.port_or_known_default()) {
        names.push(format!("{authority}:{port}"));
    }
    if authority == crate::endpoint::DOCKER_HUB {
        names.push(kiln_oci::reference::DEFAULT_REGISTRY.to_owned());
    }
    names
}

/// A failure of the connection, in words.
pub(crate) fn broken(host: &str, what: &str, error: &reqwest::Error) -> Failure {
    let (host, what) = (host.to_owned(), what.to_owned());
    if let Some(tls @ (rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented)) =
        tls_error(error)
    {
        return RegistryError::Untrusted { host, why: tls.to_string() }.into();
    }
    let again = connection::again(error);
    Failure { error: RegistryError::Connect { host, what, why: innermost(error) }, again }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Proxies;

    #[test]
    fn bad_proxies_are_errors_without_their_value() {
        for bad in ["ftp://u:hunter2@p", "http://", "http://u:hunter2@:99999"] {
            let config =
                Config { proxies: Proxies { https: Some(bad.to_owned()), ..Proxies::default() }, ..Config::default() };
            let error = proxies(&config, false).unwrap_err().to_string();
            assert!(error.contains("HTTPS_PROXY") && !error.contains("hunter2"), "{error}");
            assert!(proxies(&config, true).unwrap().is_empty());
        }
        let config = Config {
            proxies: Proxies {
                http: Some("proxy:3128".to_owned()),
                all: Some("socks5://p".to_owned()),
                ..Proxies::default()
            },
            ..Config::default()
        };
        assert_eq!(proxies(&config, false).unwrap().len(), 2);
    }

    #[test]
    fn hosts_have_several_names() {
        let url = Url::parse("https://registry-1.docker.io/v2/").unwrap();
        assert_eq!(names(&url, &authority(&url)), ["registry-1.docker.io", "registry-1.docker.io:443", "docker.io"]);
        let url = Url::parse("http://[::1]:5000/v2/").unwrap();
        assert_eq!(authority(&url), "[::1]:5000");
    }
}
