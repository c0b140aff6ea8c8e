//! Any request to any store: prepared by the module of the store, sent, refused in words, tried again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use reqwest::header::LOCATION;
use reqwest::{Method, Response, StatusCode};
use url::Url;

use crate::azure::Identity;
use crate::config::Config;
use crate::error::{Answer, Failure, ObjectError, lift};
use crate::location::Location;
use crate::put::Progress;
use kiln_clouds::CloudError;
use kiln_clouds::answer;
use kiln_clouds::credentials::{Cache, aws, header_map};
use kiln_clouds::transport::{Parcel, Payload, Transport};
use kiln_http::Secret;
use kiln_http::connection::authority;
use kiln_http::{Retry, after_status};

/// How often one request may be sent to another region.
const MAX_MOVES: u32 = 2;

/// What all calls share.
pub(crate) struct Core {
    pub config: Arc<Config>,
    pub transport: Transport,
    pub aws: Cache<aws::Keys>,
    pub google: Cache<Secret>,
    pub azure: Cache<Identity>,
    /// Where buckets of S3 turned out to be.
    pub regions: Mutex<HashMap<String, String>>,
    /// The region of the configuration.
    pub home_region: OnceLock<String>,
}

/// A request to a store, without what proves who asks.
pub(crate) struct Ask<'a> {
    pub method: Method,
    pub location: &'a Location,
    /// Encoded; for S3 without the bucket.
    pub path: String,
    pub query: Vec<(String, String)>,
    /// Instead of `query`: as a store wrote it, where nothing signs it (Google).
    pub verbatim: Option<String>,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub payload: Payload<'a>,
    /// Statuses besides 2xx that are answers and not failures.
    pub also: &'static [u16],
    /// Who is told how much of the payload was sent, and where in the object it begins.
    pub progress: Option<(&'a Progress<'a>, u64)>,
}

impl<'a> Ask<'a> {
    pub(crate) fn new(method: Method, location: &'a Location, path: String) -> Ask<'a> {
        let (query, headers, verbatim) = (Vec::new(), Vec::new(), None);
        Ask { method, location, path, query, verbatim, headers, payload: Payload::None, also: &[], progress: None }
    }

    pub(crate) fn query(mut self, name: &str, value: impl Into<String>) -> Self {
        self.query.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn payload(mut self, payload: Payload<'a>) -> Self {
        self.payload = payload;
        self
    }

    pub(crate) fn also(mut self, also: &'static [u16]) -> Self {
        self.also = also;
        self
    }

    pub(crate) fn progress(mut self, progress: &'a Progress<'a>, offset: u64) -> Self {
        self.progress = Some((progress, offset));
        self
    }
}

/// A request as it is sent.
pub(crate) struct Ready {
    pub url: Url,
    pub headers: Vec<(String, String)>,
    /// Where credentials were looked for in vain; `None` if it carries some.
    pub looked: Option<Vec<String>>,
    /// The region it is signed for.
    pub region: Option<String>,
}

impl Core {
    pub(crate) fn new(config: Config) -> Result<Core, ObjectError> {
        let config = Arc::new(config);
        let transport = Transport::new(config.connections())?;
        let (aws, google, azure) = (Cache::default(), Cache::default(), Cache::default());
        Ok(Core { config, transport, aws, google, azure, regions: Mutex::default(), home_region: OnceLock::new() })
    }

    pub(crate) fn retry(&self) -> Retry {
        Retry::new(self.config.retries, self.config.backoff)
    }

    async fn ready(&self, ask: &Ask<'_>) -> Result<Ready, Failure> {
        match ask.location {
            Location::S3 { bucket, .. } => self.s3_ready(ask, bucket).await,
            Location::Gcs { .. } => self.gcs_ready(ask).await,
            Location::Azure { account, host, sas, .. } => self.azure_ready(ask, account, host, sas.as_ref()).await,
        }
    }

    /// Asks until there is an answer or no hope.
    pub(crate) async fn call(&self, ask: &Ask<'_>) -> Result<Response, ObjectError> {
        let mut retry = self.retry();
        loop {
            match self.once(ask).await {
                Ok(response) => return Ok(response),
                Err(failure) => retry.pause(failure).await?,
            }
        }
    }

    /// Asks, and reads the whole answer, until it is there or no hope.
    pub(crate) async fn document(&self, ask: &Ask<'_>, limit: usize) -> Result<Vec<u8>, ObjectError> {
        let mut retry = self.retry();
        let what = ask.location.to_string();
        loop {
            let read = async { self.transport.body(self.once(ask).await?, limit, &what).await.map_err(lift) };
            match read.await {
                Ok(body) => return Ok(body),
                Err(failure) => retry.pause(failure).await?,
            }
        }
    }

    /// Asks once; follows a bucket to its region, and renews credentials that have ended.
    pub(crate) async fn once(&self, ask: &Ask<'_>) -> Result<Response, Failure> {
        let what = ask.location.to_string();
        let (mut moves, mut renewed) = (0, false);
        loop {
            let ready = self.ready(ask).await?;
            // What is sent again has been told already.
            if let Some((progress, offset)) = ask.progress {
                progress.back_to(offset);
            }
            let sent = |bytes| {
                if let Some((progress, _)) = ask.progress {
                    progress.sent(bytes);
                }
            };
            let host = authority(&ready.url);
            let parcel = Parcel {
                method: ask.method.clone(),
                url: ready.url.clone(),
                headers: header_map(&ready.headers).map_err(ObjectError::from)?,
                payload: ask.payload.clone(),
                what: &what,
                metadata: false,
                sent: &sent,
            };
            let response = self.transport.send(parcel).await.map_err(lift)?;
            let status = response.status();
            if status.is_success() || ask.also.contains(&status.as_u16()) {
                return Ok(response);
            }
            let again = after_status(status, response.headers());
            let target = redirect_target(&ready.url, &response);
            let refusal = answer::read(response).await;
            if moves < MAX_MOVES && self.moved(ask, status, &ready, refusal.region.as_deref()) {
                moves += 1;
                continue;
            }
            if status.is_redirection() {
                let target = target.unwrap_or_else(|| "nowhere".to_owned());
                return Err(ObjectError::Redirect { host, what, target }.into());
            }
            if !renewed && ready.looked.is_none() && ended(&refusal.answer) && self.forget(ask.location).await {
                renewed = true;
                continue;
            }
            return Err(Failure { error: refused(host, what, refusal.answer, ready.looked), again });
        }
    }

    /// Whether the refusal says that the bucket is in another region, which is then remembered. The host of the next
    /// try is made from the region's name: where a redirect points is not looked at.
    fn moved(&self, ask: &Ask<'_>, status: StatusCode, ready: &Ready, region: Option<&str>) -> bool {
        let (Location::S3 { bucket, .. }, Some(region)) = (ask.location, region) else { return false };
        let named =
            matches!(status.as_u16(), 301 | 302 | 307 | 400) && kiln_clouds::credentials::aws::is_region(region);
        if !named || ready.region.as_deref() == Some(region) {
            return false;
        }
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        regions.insert(bucket.clone(), region.to_owned());
        true
    }

    async fn forget(&self, location: &Location) -> bool {
        match location {
            Location::S3 { .. } => self.aws.forget().await,
            Location::Gcs { .. } => self.google.forget().await,
            Location::Azure { .. } => self.azure.forget().await,
        }
    }

    /// The host that objects of a bucket are on.
    pub(crate) fn host_of(&self, location: &Location) -> String {
        let server = match location {
            Location::S3 { bucket, .. } => self.s3_server(bucket),
            Location::Gcs { .. } => self.gcs_server(),
            Location::Azure { account, host, .. } => self.azure_server(account, host),
        };
        server.map(|(url, _)| authority(&url)).unwrap_or_default()
    }

    /// A document that breaks the protocol.
    pub(crate) fn wrong(&self, location: &Location, why: &str) -> ObjectError {
        let host = self.host_of(location);
        CloudError::Protocol { host, what: location.to_string(), why: why.to_owned() }.into()
    }

    /// An answer that breaks the protocol.
    pub(crate) fn protocol(&self, response: &Response, location: &Location, why: impl Into<String>) -> ObjectError {
        let host = authority(response.url());
        CloudError::Protocol { host, what: location.to_string(), why: why.into() }.into()
    }
}

/// The URL of a request. What the URL's parser would tidy is refused: another address would be asked than is signed.
pub(crate) fn request_url(base: &Url, path: &str, query: &str) -> Result<Url, ObjectError> {
    let mark = if query.is_empty() { "" } else { "?" };
    let text = format!("{}://{}{path}{mark}{query}", base.scheme(), authority(base));
    let bad = || ObjectError::Cloud(CloudError::Setup(format!("`{path}` cannot be the path of a request")));
    let url = Url::parse(&text).map_err(|_| bad())?;
    if url.path() == path { Ok(url) } else { Err(bad()) }
}

/// The address of a server in a variable: its origin, and the path before all others without its last slash.
pub(crate) fn endpoint(variable: &'static str, text: &str) -> Result<(Url, String), ObjectError> {
    let bad = |why: &str| ObjectError::Cloud(CloudError::Variable { variable, why: why.to_owned() });
    if !text.starts_with("http://") && !text.starts_with("https://") {
        return Err(bad("it does not begin with http:// or https://"));
    }
    let url = Url::parse(text).map_err(|_| bad("it is not a URL"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("it holds a user or a password"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad("it holds a `?` or a `#`"));
    }
    let prefix = url.path().trim_end_matches('/').to_owned();
    Ok((url, prefix))
}

/// Scheme and host a redirect points to.
fn redirect_target(from: &Url, response: &Response) -> Option<String> {
    let target = from.join(response.headers().get(LOCATION)?.to_str().ok()?).ok()?;
    Some(kiln_http::printable(&format!("{}://{}", target.scheme(), authority(&target))))
}

/// Whether credentials were good once.
fn ended(answer: &Answer) -> bool {
    answer.status == 401 || matches!(&*answer.code, "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired")
}

/// A refusal as the error it means.
fn refused(host: String, what: String, answer: Box<Answer>, looked: Option<Vec<String>>) -> ObjectError {
    // Azure tells a stranger that a private container does not exist, or that the account has nothing public.
    let stranger = looked.is_some() && matches!(&*answer.code, "ResourceNotFound" | "PublicAccessNotPermitted");
    match answer.status {
        _ if stranger => ObjectError::Denied { host, what, answer, looked },
        401 | 403 => ObjectError::Denied { host, what, answer, looked },
        404 => ObjectError::NotFound { what, answer },
        _ => ObjectError::Refused { host, what, answer },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_sent_as_it_is_signed_or_not_at_all() {
        let base = Url::parse("http://127.0.0.1:9000").unwrap();
        let url = request_url(&base, "/b/a%20b//c%2Fd", "x=%20").unwrap();
        assert_eq!(url.as_str(), "http://127.0.0.1:9000/b/a%20b//c%2Fd?x=%20");
        for bad in ["/a/../b", "/a/%2e%2e/b", "/a/.", "/a b", "//\\"] {
            assert!(request_url(&base, bad, "").is_err(), "{bad}");
        }
    }

    #[test]
    fn endpoints() {
        let (url, prefix) = endpoint("S3_ENDPOINT", "http://h:9000/base/").unwrap();
        assert_eq!((authority(&url).as_str(), &*prefix), ("h:9000", "/base"));
        for bad in ["h:9000", "ftp://h", "http://", "http://u:hunter2@h", "https://h/?x"] {
            let error = endpoint("S3_ENDPOINT", bad).unwrap_err().to_string();
            assert!(error.contains("S3_ENDPOINT") && !error.contains("hunter2"), "{error}");
        }
    }
}
