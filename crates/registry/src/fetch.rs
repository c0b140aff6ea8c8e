//! Plain URLs, for `ADD` and for files that are written to one: the same TLS, proxies, redirects and retries as registries get, and none of their logins.

use std::time::UNIX_EPOCH;

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, LAST_MODIFIED};
use url::Url;

use crate::answer;
use crate::call::{Core, next_chunk};
use crate::error::Failure;
use crate::error::RegistryError;
use crate::pull::BlobSink;
use crate::transport::{Parcel, authority};
use kiln_http::Pace;
use kiln_http::{Retry, after_status};

/// What a server said about the content of a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlHead {
    /// The entity tag, to ask again with.
    pub etag: Option<String>,
    /// When the content was last modified, in seconds since the epoch.
    pub last_modified: Option<i64>,
}

impl Core {
    /// Fetches a URL into a sink; `None` if the server says that `etag` is still right.
    pub(crate) async fn fetch_url(
        &self,
        text: &str,
        etag: Option<&str>,
        limit: u64,
        sink: &mut dyn BlobSink,
        progress: &dyn Fn(u64),
    ) -> Result<Option<UrlHead>, RegistryError> {
        let (url, authorization) = split_login(text)?;
        let mut retry = Retry::new(self.config.retries, self.config.backoff);
        loop {
            match self.fetch_once(&url, authorization.as_ref(), etag, limit, sink, progress).await {
                Ok(head) => return Ok(head),
                Err(failure) => retry.pause(failure).await?,
            }
            sink.reset().map_err(|source| RegistryError::Keep { what: "the fetched content".to_owned(), source })?;
        }
    }

    /// Sends a document to a URL.
    pub(crate) async fn put_url(&self, text: &str, media_type: &str, body: Bytes) -> Result<(), RegistryError> {
        let (url, authorization) = split_login(text)?;
        let mut headers = HeaderMap::new();
        headers.extend(HeaderValue::from_str(media_type).ok().map(|value| (CONTENT_TYPE, value)));
        let mut retry = Retry::new(self.config.retries, self.config.backoff);
        loop {
            let (host, what) = (authority(&url), url.path().to_owned());
            let parcel = Parcel {
                method: Method::PUT,
                url: url.clone(),
                headers: headers.clone(),
                authorization: authorization.clone(),
                body: body.clone(),
                what: &what,
                wait: self.config.idle_timeout,
                same_origin: true,
            };
            let failure = match self.plain().send(parcel).await {
                Ok(response) if response.status().is_success() => return Ok(()),
                Ok(response) => {
                    let again = after_status(response.status(), response.headers());
                    let error =
                        RegistryError::Refused { host, what: what.clone(), answer: answer::read(response).await };
                    Failure { error, again }
                }
                Err(failure) => failure,
            };
            retry.pause(failure).await?;
        }
    }

    async fn fetch_once(
        &self,
        url: &Url,
        authorization: Option<&HeaderValue>,
        etag: Option<&str>,
        limit: u64,
        sink: &mut dyn BlobSink,
        progress: &dyn Fn(u64),
    ) -> Result<Option<UrlHead>, Failure> {
        let (host, what) = (authority(url), url.path().to_owned());
        let mut headers = HeaderMap::new();
        if let Some(value) = etag.and_then(|e| HeaderValue::from_str(e).ok()) {
            headers.insert(IF_NONE_MATCH, value);
        }
        let parcel = Parcel {
            method: Method::GET,
            url: url.clone(),
            headers,
            authorization: authorization.cloned(),
            body: Bytes::new(),
            what: &what,
            wait: self.config.idle_timeout,
            same_origin: false,
        };
        let mut response = self.plain().send(parcel).await?;
        let status = response.status();
        match status.as_u16() {
            200 => {}
            304 if etag.is_some() => return Ok(None),
            404 | 410 => {
                return Err(RegistryError::NotFound { host, what, answer: answer::read(response).await }.into());
            }
            _ => {
                let again = after_status(status, response.headers());
                let error = RegistryError::Refused { host, what, answer: answer::read(response).await };
                return Err(Failure { error, again });
            }
        }
        let head = head_of(response.headers());
        let announced = response.content_length();
        let (mut taken, mut pace) = (0, Pace::new());
        while let Some(chunk) = next_chunk(self, &mut response, &mut pace, &host, &what).await? {
            taken += chunk.len() as u64;
            if taken > limit {
                return Err(RegistryError::TooLarge { host, what, limit }.into());
            }
            sink.write(&chunk).map_err(|source| RegistryError::Keep { what: what.clone(), source })?;
            progress(chunk.len() as u64);
        }
        if announced.is_some_and(|n| n != taken) {
            let why = format!("it announced {} bytes and sent {taken}", announced.unwrap_or(0));
            return Err(Failure::soon(RegistryError::Protocol { host, what, why }));
        }
        Ok(Some(head))
    }
}

/// The URL without user and password, which go into a header.
fn split_login(text: &str) -> Result<(Url, Option<HeaderValue>), RegistryError> {
    // Neither a password nor a query, which may hold a signature, is shown.
    let shown = text.split(['?', '#']).next().unwrap_or_default();
    let bad = || RegistryError::BadHost(shown.rsplit_once('@').map_or(shown, |(_, rest)| rest).to_owned());
    let mut url = Url::parse(text).map_err(|_| bad())?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(bad());
    }
    let mut authorization = None;
    if !url.username().is_empty() || url.password().is_some() {
        let decode = |t: &str| percent_decoded(t);
        let login = format!("{}:{}", decode(url.username()), decode(url.password().unwrap_or("")));
        let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, login);
        let mut value = HeaderValue::from_str(&format!("Basic {encoded}")).map_err(|_| bad())?;
        value.set_sensitive(true);
        authorization = Some(value);
        url.set_username("").map_err(|()| bad())?;
        url.set_password(None).map_err(|()| bad())?;
    }
    Ok((url, authorization))
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = match (first, tail) {
            (b'%', [a, b, ..]) => std::str::from_utf8(&[*a, *b]).ok().and_then(|h| u8::from_str_radix(h, 16).ok()),
            _ => None,
        };
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn head_of(headers: &HeaderMap) -> UrlHead {
    let text = |name| headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok()).map(str::to_owned);
    let last_modified = text(LAST_MODIFIED).and_then(|t| httpdate::parse_http_date(&t).ok()).map(|time| {
        let seconds = |d: std::time::Duration| i64::try_from(d.as_secs()).unwrap_or(i64::MAX);
        time.duration_since(UNIX_EPOCH).map_or_else(|e| -seconds(e.duration()), seconds)
    });
    UrlHead { etag: text(ETAG), last_modified }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_in_urls_become_headers() {
        let (url, login) = split_login("https://us%40er:p%3Aw@h:1/x?y=1").unwrap();
        assert_eq!(url.as_str(), "https://h:1/x?y=1");
        let login = login.unwrap();
        assert!(login.is_sensitive());
        assert_eq!(login.to_str().unwrap(), "Basic dXNAZXI6cDp3");
        for bad in ["file:///etc/passwd", "ftp://h/x", "https://", "nonsense"] {
            assert!(split_login(bad).is_err(), "{bad}");
        }
    }
}
