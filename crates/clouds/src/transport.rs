//! One request to one host: TLS, proxies, streamed bodies, failures in words. Redirects are never followed.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderValue};
use reqwest::{Body, Method, Proxy, Request, Response, redirect};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use url::Url;

use kiln_http::Pace;
use kiln_http::connection::authority;
use kiln_http::connection::{self, innermost, tls_error};
use kiln_http::upload::{self, Answered, Exchange, Pieces};

use crate::config::Config;
use crate::environ::Environment;
use crate::error::{CloudError, Failure};
use crate::source::Part;

/// No certificate file is read beyond this many bytes.
const MAX_PEM: u64 = 16 << 20;

/// Sends requests, with a connection pool for each way of connecting.
#[derive(Debug)]
pub struct Transport {
    config: Config,
    pools: Mutex<HashMap<Way, reqwest::Client>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Way {
    tls: bool,
    direct: bool,
    metadata: bool,
}

/// What goes along with a request.
#[derive(Clone)]
pub enum Payload<'a> {
    /// Nothing.
    None,
    /// These bytes.
    Bytes(Bytes),
    /// What is read as it is sent.
    Part(Part<'a>),
}

impl Payload<'_> {
    /// How many bytes.
    pub fn length(&self) -> u64 {
        match self {
            Payload::None => 0,
            Payload::Bytes(bytes) => bytes.len() as u64,
            Payload::Part(part) => part.length,
        }
    }
}

/// A request that may be sent again and again.
pub struct Parcel<'a> {
    /// `GET` and the like.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// Besides those that every request has.
    pub headers: HeaderMap,
    /// What goes along.
    pub payload: Payload<'a>,
    /// In words, for errors.
    pub what: &'a str,
    /// Whether this is a service beside the machine, which is not asked through a proxy or for long.
    pub metadata: bool,
    /// Is told how many bytes of the payload have been handed to the connection.
    pub sent: &'a dyn Fn(u64),
}

impl Transport {
    /// With these settings. Nothing is connected to yet.
    ///
    /// # Errors
    /// Proxies that are not addresses.
    pub fn new(config: Config) -> Result<Transport, CloudError> {
        proxies(&config.environment)?;
        Ok(Transport { config, pools: Mutex::default() })
    }

    fn pool(&self, url: &Url, metadata: bool) -> Result<reqwest::Client, CloudError> {
        let way = Way { tls: url.scheme() == "https", direct: metadata || is_loopback(url), metadata };
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get(&way) {
            return Ok(pool.clone());
        }
        let pool = self.build(way)?;
        pools.insert(way, pool.clone());
        Ok(pool)
    }

    fn build(&self, way: Way) -> Result<reqwest::Client, CloudError> {
        let config = &self.config;
        // The system's authorities are hundreds of files, which plain http does not need.
        let roots = if way.tls { roots(config)? } else { RootCertStore::empty() };
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| CloudError::Setup(e.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .http1_only()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(if way.metadata { config.metadata_timeout } else { config.connect_timeout })
            .tcp_keepalive(Duration::from_secs(15))
            .user_agent(&*config.user_agent);
        if !way.direct {
            for proxy in proxies(&config.environment)? {
                builder = builder.proxy(proxy);
            }
        }
        builder.build().map_err(|e| CloudError::Setup(innermost(&e)))
    }

    /// Sends a request; returns the head of the answer, whatever its status.
    ///
    /// # Errors
    /// When there is no connection, or no answer, or what is sent cannot be read.
    pub async fn send(&self, parcel: Parcel<'_>) -> Result<Response, Failure> {
        let Parcel { method, url, headers, payload, what, metadata, sent } = parcel;
        let client = self.pool(&url, metadata)?;
        let host = authority(&url);
        let wait = if metadata { self.config.metadata_timeout } else { self.config.idle_timeout };
        let empty_body = payload.length() == 0 && matches!(method, Method::POST | Method::PUT);
        let mut request = Request::new(method, url);
        *request.headers_mut() = headers;
        request.headers_mut().entry(ACCEPT_ENCODING).or_insert(HeaderValue::from_static("identity"));
        if empty_body {
            request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        match payload {
            Payload::Part(part) if part.length > 0 => self.stream(&client, request, part, &host, what, sent).await,
            payload => {
                if let Payload::Bytes(bytes) = payload {
                    *request.body_mut() = Some(Body::from(bytes));
                }
                match tokio::time::timeout(wait, client.execute(request)).await {
                    Ok(Ok(response)) => Ok(response),
                    Ok(Err(error)) => Err(broken(&host, what, &error)),
                    Err(_) => Err(stalled(&host, what, wait)),
                }
            }
        }
    }

    /// Reads the part on this thread while the connection runs on another.
    async fn stream(
        &self,
        client: &reqwest::Client,
        mut request: Request,
        part: Part<'_>,
        host: &str,
        what: &str,
        sent: &dyn Fn(u64),
    ) -> Result<Response, Failure> {
        let (pieces, body) = upload::body();
        request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(part.length));
        *request.body_mut() = Some(body);
        let mut exchange = Exchange(tokio::spawn(client.execute(request)));
        let early = self.feed(&mut exchange, pieces, part, host, what, sent).await?;
        let after = self.config.commit_timeout;
        let answer = match early {
            Some(answer) => answer,
            None => tokio::time::timeout(after, &mut exchange.0).await.map_err(|_| stalled(host, what, after))?,
        };
        match answer {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(broken(host, what, &error)),
            Err(stopped) => Err(CloudError::Setup(stopped.to_string()).into()),
        }
    }

    /// Hands the part to the connection. Returns the answer if it comes before the end.
    async fn feed(
        &self,
        exchange: &mut Exchange,
        pieces: Pieces,
        part: Part<'_>,
        host: &str,
        what: &str,
        sent: &dyn Fn(u64),
    ) -> Result<Option<Answered>, Failure> {
        let after = self.config.idle_timeout;
        let mut done = 0;
        while done < part.length {
            let piece = part.piece(done).map_err(|source| CloudError::Source { what: what.to_owned(), source })?;
            let length = piece.len() as u64;
            tokio::select! {
                biased;
                answer = &mut exchange.0 => return Ok(Some(answer)),
                taken = tokio::time::timeout(after, pieces.send(Ok(piece))) => match taken {
                    Ok(Ok(())) => sent(length),
                    // The connection takes no more: its answer, or its failure, is on the way.
                    Ok(Err(_)) => return Ok(None),
                    Err(_) => return Err(stalled(host, what, after)),
                },
            }
            done += length;
        }
        Ok(None)
    }

    /// The next piece of a body, or none at its end.
    ///
    /// # Errors
    /// When the connection breaks, or hardly anything comes.
    pub async fn chunk(&self, response: &mut Response, pace: &mut Pace, what: &str) -> Result<Option<Bytes>, Failure> {
        let after = self.config.idle_timeout;
        match tokio::time::timeout(after, response.chunk()).await {
            Ok(Ok(Some(chunk))) if !pace.too_slow(chunk.len(), after) => Ok(Some(chunk)),
            Ok(Ok(None)) => Ok(None),
            Ok(Err(error)) => Err(broken(&authority(response.url()), what, &error)),
            Ok(Ok(Some(_))) | Err(_) => Err(stalled(&authority(response.url()), what, after)),
        }
    }

    /// The whole of a body, which may not be longer than `limit` bytes.
    ///
    /// # Errors
    /// When it is longer, or the connection breaks.
    pub async fn body(&self, mut response: Response, limit: usize, what: &str) -> Result<Vec<u8>, Failure> {
        let (mut body, mut pace) = (Vec::new(), Pace::new());
        while let Some(chunk) = self.chunk(&mut response, &mut pace, what).await? {
            if body.len() + chunk.len() > limit {
                let why = format!("its answer is longer than {limit} bytes");
                let host = authority(response.url());
                return Err(CloudError::Protocol { host, what: what.to_owned(), why }.into());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

/// The authorities that hosts are checked against: `SSL_CERT_FILE` and `SSL_CERT_DIR`, else the system's, else the ones
/// built in, plus the configured ones.
fn roots(config: &Config) -> Result<RootCertStore, CloudError> {
    let path = |name| config.environment.get(name).map(Path::new);
    let mut roots = connection::roots(path("SSL_CERT_FILE"), path("SSL_CERT_DIR"));
    for path in &config.ca_files {
        let fail = |why: &str| CloudError::Certificate { path: path.clone(), why: why.to_owned() };
        let pem = read_file(path, MAX_PEM).map_err(|why| fail(&why))?;
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let found = found.map_err(|_| fail("it is not valid PEM"))?;
        if found.is_empty() {
            return Err(fail("it holds no certificate"));
        }
        for certificate in found {
            roots.add(certificate).map_err(|e| fail(&e.to_string()))?;
        }
    }
    Ok(roots)
}

/// A file of at most `limit` bytes.
///
/// # Errors
/// Why it cannot be read, or that it is larger: nothing is cut off.
pub fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let file = std::fs::File::open(path).map_err(|e| e.to_string())?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() as u64 > limit { Err(format!("it is larger than {limit} bytes")) } else { Ok(bytes) }
}

fn proxies(environment: &Environment) -> Result<Vec<Proxy>, CloudError> {
    let values = connection::Proxies {
        http: environment.first(&["HTTP_PROXY", "http_proxy"]),
        https: environment.first(&["HTTPS_PROXY", "https_proxy"]),
        all: environment.first(&["ALL_PROXY", "all_proxy"]),
        none_for: environment.first(&["NO_PROXY", "no_proxy"]).map(|(_, value)| value),
    };
    let bad = |variable| CloudError::Variable { variable, why: "it is no http, https or socks5 URL".to_owned() };
    connection::proxies(&values).map_err(bad)
}

/// Whether a URL leads to this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

fn stalled(host: &str, what: &str, after: Duration) -> Failure {
    Failure::soon(CloudError::Stalled { host: host.to_owned(), what: what.to_owned(), after })
}

/// A failure of the connection, in words.
fn broken(host: &str, what: &str, error: &reqwest::Error) -> Failure {
    let (host, what) = (host.to_owned(), what.to_owned());
    if let Some(tls @ rustls::Error::InvalidCertificate(_)) = tls_error(error) {
        return CloudError::Untrusted { host, why: tls.to_string() }.into();
    }
    let again = connection::again(error);
    Failure { error: CloudError::Connect { host, what, why: innermost(error) }, again }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_proxies_are_errors_without_their_value() {
        for bad in ["ftp://u:hunter2@p", "http://", "http://u:hunter2@:99999"] {
            let error = proxies(&Environment::empty().with("https_proxy", bad)).unwrap_err().to_string();
            assert!(error.contains("https_proxy") && !error.contains("hunter2"), "{error}");
        }
        let good = Environment::empty().with("HTTP_PROXY", "proxy:3128").with("ALL_PROXY", "socks5://p");
        assert_eq!(proxies(&good).unwrap().len(), 2);
    }

    #[test]
    fn files_have_a_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read_file(&path, 5).unwrap(), b"12345");
        assert!(read_file(&path, 4).unwrap_err().contains("larger than 4 bytes"));
        assert!(read_file(&dir.path().join("none"), 4).unwrap_err().contains("No such file"));
    }

    #[test]
    fn loopback_is_recognised() {
        for (url, want) in [
            ("http://localhost:1", true),
            ("http://127.9.9.9", true),
            ("http://[::1]", true),
            ("http://localhost.example", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), want, "{url}");
        }
    }
}
