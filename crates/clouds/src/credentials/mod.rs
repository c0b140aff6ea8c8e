//! Who asks: keys and tokens, where they are found, and how long they are good.
//!
//! Each cloud has a list of places that are looked at in order; the first that has something wins. A place that is
//! configured and broken is an error and not passed over. Where no place has anything, requests go out anonymously,
//! and a refusal says where was looked.

pub mod aws;
pub mod azure;
pub mod google;
mod profile;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response};
use tokio::sync::Mutex;
use url::Url;

use crate::answer;
use crate::error::{CloudError, Failure};
use crate::percent;
use crate::transport::{Parcel, Payload, Transport, is_loopback, read_file};
use kiln_http::Secret;
use kiln_http::after_status;

/// Credentials are renewed so long before they end.
const MARGIN: Duration = Duration::from_secs(300);
/// No answer of a token service, and no file with a token, is longer.
const MAX_TOKEN: usize = 256 << 10;

/// What was found, or where was looked in vain.
#[derive(Debug)]
pub enum Found<T> {
    /// This.
    Some(T),
    /// Nothing, in these places.
    None(Vec<String>),
}

/// What was found, and until when it is good.
pub type Fresh<T> = (Found<T>, Option<SystemTime>);

/// What is kept, and until when it is good.
pub type Held<T> = (Arc<Found<T>>, Option<SystemTime>);

/// Credentials that are got once and kept until they end.
#[derive(Debug)]
pub struct Cache<T>(Mutex<Option<Held<T>>>);

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Cache(Mutex::new(None))
    }
}

impl<T> Cache<T> {
    /// What is kept, or else what `find` finds. One caller looks while others wait.
    ///
    /// # Errors
    /// Those of `find`.
    pub async fn get(&self, find: impl Future<Output = Result<Fresh<T>, Failure>>) -> Result<Arc<Found<T>>, Failure> {
        Ok(self.lasting(find).await?.0)
    }

    /// The same, and until when it is good.
    ///
    /// # Errors
    /// Those of `find`.
    pub async fn lasting(&self, find: impl Future<Output = Result<Fresh<T>, Failure>>) -> Result<Held<T>, Failure> {
        let mut slot = self.0.lock().await;
        let good = |until: &Option<SystemTime>| until.is_none_or(|until| SystemTime::now() + MARGIN < until);
        if let Some(held) = slot.as_ref().filter(|(_, until)| good(until)) {
            return Ok(held.clone());
        }
        let (found, until) = find.await?;
        Ok(slot.insert((Arc::new(found), until)).clone())
    }

    /// Forgets what was not accepted; whether looking again can find something else.
    pub async fn forget(&self) -> bool {
        let mut slot = self.0.lock().await;
        let renewable = slot.as_ref().is_some_and(|(_, until)| until.is_some());
        if renewable {
            *slot = None;
        }
        renewable
    }
}

/// One place where credentials may be, for errors.
pub(crate) struct Place<'a> {
    pub cloud: &'static str,
    pub name: &'a str,
    pub transport: &'a Transport,
}

impl Place<'_> {
    pub(crate) fn error(&self, why: impl Into<String>) -> CloudError {
        CloudError::Credentials { cloud: self.cloud, place: self.name.to_owned(), why: why.into() }
    }

    /// The text of a file without the space around it.
    pub(crate) fn file(&self, path: &str) -> Result<Secret, CloudError> {
        let bytes = read_file(Path::new(path), MAX_TOKEN as u64).map_err(|why| self.error(why))?;
        let text = String::from_utf8(bytes).map_err(|_| self.error("it is not UTF-8"))?;
        if text.trim().is_empty() { Err(self.error("it is empty")) } else { Ok(Secret::new(text.trim())) }
    }

    /// An address that secrets go to: TLS, or this machine.
    pub(crate) fn address(&self, text: &str) -> Result<Url, CloudError> {
        let url = Url::parse(text).map_err(|_| self.error("its address is not a URL"))?;
        let safe = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
        if safe { Ok(url) } else { Err(self.error("its address is not https, and secrets go there")) }
    }

    /// Posts a form to a token service; the body of its answer.
    pub(crate) async fn post(&self, url: Url, form: &[(&str, &str)]) -> Result<Vec<u8>, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let body = Bytes::from(percent::query(form));
        let payload = Payload::Bytes(body);
        let parcel =
            Parcel { method: Method::POST, url, headers, payload, what: self.name, metadata: false, sent: &|_| {} };
        let response = self.transport.send(parcel).await?;
        self.accept(response).await
    }

    /// Asks a service beside the machine; `None` if there is none.
    pub(crate) async fn ask(
        &self,
        method: Method,
        url: Url,
        headers: &[(&'static str, &str)],
    ) -> Result<Option<Response>, Failure> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let mut value = HeaderValue::from_str(value).map_err(|_| self.error("its token is not one line"))?;
            value.set_sensitive(true);
            map.insert(HeaderName::from_static(name), value);
        }
        let parcel = Parcel {
            method,
            url,
            headers: map,
            payload: Payload::None,
            what: self.name,
            metadata: true,
            sent: &|_| {},
        };
        match self.transport.send(parcel).await {
            Ok(response) => Ok(Some(response)),
            Err(Failure { error: CloudError::Connect { .. } | CloudError::Stalled { .. }, .. }) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The body of an answer that is none of a failure.
    pub(crate) async fn accept(&self, response: Response) -> Result<Vec<u8>, Failure> {
        let status = response.status();
        if status.is_success() {
            return self.transport.body(response, MAX_TOKEN, self.name).await;
        }
        let again = after_status(status, response.headers());
        let refusal = answer::read(response).await;
        Err(Failure { error: self.error(refusal.answer.to_string()), again })
    }

    /// The access token in the answer of an OAuth2 token service.
    pub(crate) fn access_token(&self, body: &[u8]) -> Result<(Secret, SystemTime), CloudError> {
        #[derive(serde::Deserialize)]
        struct Answer {
            access_token: String,
            expires_in: Option<serde_json::Value>,
        }
        let answer: Answer =
            serde_json::from_slice(body).map_err(|_| self.error("its answer holds no access token"))?;
        let seconds = match &answer.expires_in {
            Some(serde_json::Value::String(text)) => text.parse().ok(),
            Some(value) => value.as_u64(),
            None => None,
        };
        let lifetime = Duration::from_secs(seconds.unwrap_or(3600).min(7 * 86_400));
        Ok((Secret::new(answer.access_token), SystemTime::now() + lifetime))
    }
}

/// Headers that prove who asks.
const SENSITIVE: [&str; 5] = [
    "authorization",
    "x-acs-security-token",
    "x-aliyun-ecs-metadata-token",
    "x-amz-security-token",
    "x-oss-security-token",
];

/// Headers, of which those that prove who asks are never shown.
///
/// # Errors
/// Names and values that no header may have.
pub fn header_map(headers: &[(String, String)]) -> Result<HeaderMap, CloudError> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let bad =
            || CloudError::Setup(format!("the value of the header `{name}` has characters that no header may have"));
        let mut text = HeaderValue::from_str(value).map_err(|_| bad())?;
        text.set_sensitive(SENSITIVE.contains(&&**name));
        map.insert(HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?, text);
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_prove_who_asks_are_not_shown() {
        for name in SENSITIVE {
            let map = header_map(&[(name.to_owned(), "hunter2".to_owned())]).unwrap();
            assert!(!format!("{map:?}").contains("hunter2"), "{name}");
        }
    }

    #[test]
    fn headers_that_cannot_be_sent_are_not_quoted() {
        let error = header_map(&[("x-amz-security-token".to_owned(), "hunter2\n".to_owned())]).unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
    }
}
