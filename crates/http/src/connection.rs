//! Ways to a host, and what went wrong on them, in words without addresses: those may hold signatures and passwords.

use std::error::Error;
use std::io;
use std::path::Path;

use reqwest::{NoProxy, Proxy};
use rustls::RootCertStore;
use url::Url;

use crate::answer::printable;
use crate::retry::Again;

/// `host[:port]` of a URL; the port only where it is not the scheme's own.
pub fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Values of `HTTP_PROXY`, `HTTPS_PROXY` and `ALL_PROXY`, each with the variable it is of.
pub struct Proxies<'a> {
    /// For `http:` addresses.
    pub http: Option<(&'static str, &'a str)>,
    /// For `https:` addresses.
    pub https: Option<(&'static str, &'a str)>,
    /// For either, where the above are absent.
    pub all: Option<(&'static str, &'a str)>,
    /// Hosts that are reached directly (`NO_PROXY`).
    pub none_for: Option<&'a str>,
}

/// The proxies to use.
///
/// # Errors
/// The variable whose value is no http, https or socks URL; the value may hold a password.
pub fn proxies(values: &Proxies<'_>) -> Result<Vec<Proxy>, &'static str> {
    let bypass = values.none_for.and_then(NoProxy::from_string);
    let mut out = Vec::new();
    for (value, make) in [
        (values.http, Proxy::http as fn(String) -> reqwest::Result<Proxy>),
        (values.https, Proxy::https),
        (values.all, Proxy::all),
    ] {
        let Some((variable, value)) = value else { continue };
        // As curl does: a proxy without a scheme is an http proxy.
        let address = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
        let usable = Url::parse(&address).is_ok_and(|u| {
            u.has_host() && matches!(u.scheme(), "http" | "https" | "socks4" | "socks4a" | "socks5" | "socks5h")
        });
        if !usable {
            return Err(variable);
        }
        out.push(make(address).map_err(|_| variable)?.no_proxy(bypass.clone()));
    }
    Ok(out)
}

/// The authorities that hosts are checked against: those of the bundle (`SSL_CERT_FILE`) and the directory
/// (`SSL_CERT_DIR`), else the system's, else the ones built in. The system's are hundreds of files.
pub fn roots(bundle: Option<&Path>, dir: Option<&Path>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    if bundle.is_some() || dir.is_some() {
        roots.add_parsable_certificates(rustls_native_certs::load_certs_from_paths(bundle, dir).certs);
    }
    if roots.is_empty() {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

/// The same as documents, but for those built in.
pub fn certificates(bundle: Option<&Path>, dir: Option<&Path>) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    if bundle.is_some() || dir.is_some() {
        found = rustls_native_certs::load_certs_from_paths(bundle, dir).certs;
    }
    if found.is_empty() {
        found = rustls_native_certs::load_native_certs().certs;
    }
    let usable = found.into_iter().filter(|certificate| RootCertStore::empty().add(certificate.clone()).is_ok());
    usable.map(|certificate| certificate.to_vec()).collect()
}

/// Whether to try again after a failure of the connection.
pub fn again(error: &reqwest::Error) -> Again {
    if error.is_connect() { Again::Unreachable } else { Again::Soon }
}

/// The TLS error somewhere inside `error`. I/O errors hide what they wrap from `source`.
pub fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

/// The last error of the chain: the outer ones repeat the address.
pub fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    match last.downcast_ref::<reqwest::Error>() {
        Some(_) => "the connection failed".to_owned(),
        None => printable(&last.to_string()),
    }
}
