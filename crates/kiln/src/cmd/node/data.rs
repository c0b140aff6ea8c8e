//! What addresses answer that templates ask: `data "http"`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kiln_http::Threads;
use kiln_http::connection::{innermost, proxies, roots};
use kiln_packer::world::{Answer, Request};
use kiln_registry::config::Proxies;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, redirect};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use url::Url;

/// As much of an answer is taken.
const MAX_BODY: usize = 8 << 20;
/// As long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// As often an answer may send to somewhere else.
const MAX_REDIRECTS: usize = 10;

/// Asks an address.
///
/// # Errors
/// A sentence that says why there is no answer. Addresses are shown without what may be secret in them.
pub fn fetch(request: &Request) -> Result<Answer, String> {
    let shown = kiln_engine::fetch::http::shown(&request.url);
    let failed = |why: String| format!("{shown}: {why}");
    let url = Url::parse(&request.url).map_err(|e| failed(e.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(failed("it is no http:// or https:// address".to_owned()));
    }
    let client = client(url.scheme() == "https").map_err(failed)?;
    let method = Method::from_bytes(request.method.as_bytes()).map_err(|e| failed(e.to_string()))?;
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        // A value may be secret, and is not shown.
        let bad = |_| failed(format!("the header `{}` cannot be sent", name.escape_debug()));
        let mut value = HeaderValue::from_str(value).map_err(|e| bad(e.to_string()))?;
        value.set_sensitive(true);
        headers.append(HeaderName::from_bytes(name.as_bytes()).map_err(|e| bad(e.to_string()))?, value);
    }
    let body = request.body.clone();
    let work = async move {
        let sent = client.request(method, url).headers(headers).timeout(PATIENCE).body(body).send();
        let mut response = sent.await.map_err(|e| innermost(&e))?;
        let status = response.status();
        if !status.is_success() {
            return Err(format!("it answers {status}"));
        }
        let mut named: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in response.headers() {
            let value = String::from_utf8_lossy(value.as_bytes());
            named.entry(name.to_string()).and_modify(|all| *all += &format!(", {value}")).or_insert(value.into());
        }
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|e| innermost(&e))? {
            if bytes.len() + piece.len() > MAX_BODY {
                return Err("it answers with more than 8 MiB".to_owned());
            }
            bytes.extend_from_slice(&piece);
        }
        let body = String::from_utf8(bytes).map_err(|_| "its answer is no text (UTF-8)".to_owned())?;
        Ok(Answer { headers: named, body })
    };
    let threads = Threads::start("kiln-data").map_err(|e| failed(e.to_string()))?;
    threads.block_on(work).unwrap_or_else(|| Err("it was stopped".to_owned())).map_err(failed)
}

fn client(tls: bool) -> Result<reqwest::Client, String> {
    let variable = |name: &str| std::env::var_os(name).map(std::path::PathBuf::from);
    // The system's authorities are hundreds of files, which plain http does not need.
    let roots = match tls {
        true => roots(variable("SSL_CERT_FILE").as_deref(), variable("SSL_CERT_DIR").as_deref()),
        false => rustls::RootCertStore::empty(),
    };
    let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let own = Proxies::from_env();
    fn named<'v>(name: &'static str, value: Option<&'v String>) -> Option<(&'static str, &'v str)> {
        value.map(|value| (name, value.as_str()))
    }
    let values = kiln_http::connection::Proxies {
        http: named("HTTP_PROXY", own.http.as_ref()),
        https: named("HTTPS_PROXY", own.https.as_ref()),
        all: named("ALL_PROXY", own.all.as_ref()),
        none_for: own.no_proxy.as_deref(),
    };
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(redirect::Policy::limited(MAX_REDIRECTS))
        .no_proxy()
        .referer(false)
        .user_agent(concat!("kiln/", env!("CARGO_PKG_VERSION")));
    for proxy in proxies(&values).map_err(|name| format!("{name} is no address of a proxy"))? {
        builder = builder.proxy(proxy);
    }
    builder.build().map_err(|e| innermost(&e))
}
