//! One call of a service, and when it is made again.
//!
//! ```text
//! the connection failed or broke, HTTP 5xx       again; what creates carries a ClientToken, so it is made once
//! Throttling, ServiceUnavailable, …              again
//! a code that the call itself names              again: something else is still going away, or on its way
//! anything else                                  an error, with code and request
//! ```

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kiln_clouds::transport::{Parcel, Payload, is_loopback};
use kiln_clouds::{Config, Environment, date, percent};
use kiln_http::connection::authority;
use kiln_http::{Again, Failure};
use kiln_ledger::poll::{self, Backoff};
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderValue};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use crate::account::Account;
use crate::credentials::{Keychain, Keys};
use crate::sign::{self, acs3};
use crate::wire::Wire;
use crate::{AlicloudError, Refusal, Result, Stop};

/// How long a call that fails for a reason that passes is made again.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often a host that cannot be connected to is tried.
const CONNECTS: u32 = 3;
/// How long the answer to a call that changes something is waited for after a cancel.
const GRACE: Duration = Duration::from_millis(600);
/// Of any list.
const PAGE: usize = 50;
const PAGES: usize = 200;

/// Codes that pass, whatever was asked.
const PASSING: &[&str] = &["Throttling", "ServiceUnavailable", "InternalError", "UnknownError", "SystemError"];

/// Which service a call is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Machines, their networks, images.
    Ecs,
    /// Temporary keys.
    Sts,
    /// Roles.
    Ram,
}

impl Service {
    fn version(self) -> &'static str {
        match self {
            Service::Ecs => "2014-05-26",
            Service::Sts => "2015-04-01",
            Service::Ram => "2015-05-01",
        }
    }

    /// Where it is: what the template says, what the environment says, or its address on the Internet.
    ///
    /// # Errors
    /// When one of these is no address.
    pub(crate) fn endpoint(self, environment: &Environment, region: &str, own: Option<&str>) -> Result<Url> {
        let (variable, usual) = match self {
            Service::Ecs => ("ALICLOUD_ECS_ENDPOINT", format!("https://ecs.{region}.aliyuncs.com")),
            Service::Sts => ("ALICLOUD_STS_ENDPOINT", format!("https://sts.{region}.aliyuncs.com")),
            Service::Ram => ("ALICLOUD_RAM_ENDPOINT", "https://ram.aliyuncs.com".to_owned()),
        };
        let told = own.or_else(|| environment.get(variable));
        address(told.unwrap_or(&usual), if own.is_some() { "custom_endpoint_ecs" } else { variable })
    }
}

/// An endpoint: a host is one of TLS; `http://` has to be said.
pub(crate) fn address(text: &str, name: &str) -> Result<Url> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let url = Url::parse(&whole).ok().filter(|url| matches!(url.scheme(), "https" | "http") && url.has_host());
    url.ok_or_else(|| {
        AlicloudError::setting(format!("{name}: this is no address"), "write HOST, HOST:PORT or https://HOST")
    })
}

/// A call and its parameters.
#[derive(Clone)]
pub struct Call {
    pub(crate) action: &'static str,
    service: Service,
    parameters: Vec<(String, String)>,
    again: &'static [&'static str],
}

impl fmt::Debug for Call {
    /// The names of its parameters: their values may be passwords and keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.parameters.iter().map(|(name, _)| &**name).collect();
        f.debug_struct("Call").field("action", &self.action).field("parameters", &names).finish_non_exhaustive()
    }
}

impl Call {
    /// A call of ECS without parameters.
    pub fn new(action: &'static str) -> Call {
        Call { action, service: Service::Ecs, parameters: Vec::new(), again: &[] }
    }

    /// The same of another service.
    #[must_use]
    pub fn of(mut self, service: Service) -> Call {
        self.service = service;
        self
    }

    /// One more parameter.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Call {
        self.parameters.push((name.to_owned(), value.into()));
        self
    }

    /// One more parameter, if there is a value.
    #[must_use]
    pub fn maybe(self, name: &str, value: Option<impl Into<String>>) -> Call {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// `NAME.1`, `NAME.2`, …
    #[must_use]
    pub fn list<T: AsRef<str>>(self, name: &str, values: &[T]) -> Call {
        values.iter().enumerate().fold(self, |call, (n, value)| call.with(&format!("{name}.{}", n + 1), value.as_ref()))
    }

    /// `Tag.1.Key`, `Tag.1.Value`, …
    #[must_use]
    pub fn tags(self, tags: &[(String, String)]) -> Call {
        tags.iter().enumerate().fold(self, |call, (n, (key, value))| {
            let n = n + 1;
            call.with(&format!("Tag.{n}.Key"), key).with(&format!("Tag.{n}.Value"), value)
        })
    }

    /// Codes that mean: ask again.
    #[must_use]
    pub fn again(mut self, codes: &'static [&'static str]) -> Call {
        self.again = codes;
        self
    }

    fn changes(&self) -> bool {
        !self.action.starts_with("Describe") && !self.action.starts_with("List")
    }
}

/// Asks one region.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) wire: Arc<Wire>,
    pub(crate) keychain: Arc<Keychain>,
    region: String,
    own: Option<String>,
}

impl Client {
    /// For an account.
    ///
    /// # Errors
    /// Settings that make no sense; credentials that are nowhere.
    pub fn new(account: &Account, config: Config) -> Result<Client> {
        let found = account.keys.find(&config.environment)?;
        let region = account.region(&config.environment, found.region.as_deref())?;
        let wire = Arc::new(Wire::new(config)?);
        let keychain = Arc::new(Keychain::new(found.source, &region));
        let client = Client { wire, keychain, region, own: account.endpoint.clone() };
        client.endpoint(Service::Ecs)?;
        Ok(client)
    }

    /// The region.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The same account in another region.
    ///
    /// # Errors
    /// What cannot be the name of a region.
    pub fn in_region(&self, region: &str) -> Result<Client> {
        Ok(Client { region: checked(region)?, ..self.clone() })
    }

    /// Where a service is.
    ///
    /// # Errors
    /// An address that is none.
    pub fn endpoint(&self, service: Service) -> Result<Url> {
        let own = self.own.as_deref().filter(|_| service == Service::Ecs);
        service.endpoint(&self.wire.environment, &self.region, own)
    }

    /// Whether ECS is on this machine: a double of it.
    pub fn is_local(&self) -> bool {
        self.endpoint(Service::Ecs).is_ok_and(|url| is_loopback(&url))
    }

    /// Makes a call until it is answered for good.
    ///
    /// # Errors
    /// What is refused, what cannot be reached, and that the caller wants to stop.
    pub fn call(&self, call: &Call, stop: Stop<'_>) -> Result<Value> {
        answered(stop, || self.once(call, stop)).map(|(value, _)| value)
    }

    fn once(&self, call: &Call, stop: Stop<'_>) -> Result<Value, Failure<AlicloudError>> {
        if stop() {
            return Err(AlicloudError::Cancelled.into());
        }
        let keys = self.keychain.keys(&self.wire, stop)?;
        let endpoint = self.endpoint(call.service)?;
        let mut call = call.clone();
        if call.service == Service::Ecs {
            call.parameters.push(("RegionId".to_owned(), self.region.clone()));
        }
        let (url, headers) = signed(&call, &endpoint, &keys)?;
        let (payload, what) = (Payload::None, call.action);
        let parcel = Parcel { method: Method::POST, url, headers, payload, what, metadata: false, sent: &|_| {} };
        let grace = if call.changes() { GRACE } else { Duration::ZERO };
        let heard = self.wire.ask(parcel, stop, grace)?;
        if heard.status == 200 {
            let wrong = |_| AlicloudError::Protocol { action: call.action.to_owned(), why: "it is no JSON".to_owned() };
            // An answer that is cut off is a lost one.
            return serde_json::from_slice(&heard.body).map_err(|e| Failure::soon(wrong(e)));
        }
        let refusal = Refusal::parse(heard.status, &heard.body);
        let passes =
            matches!(heard.status, 429 | 500 | 502 | 503 | 504) || refusal.is(PASSING) || refusal.is(call.again);
        let again = if passes { Again::Soon } else { Again::Never };
        let error = AlicloudError::Refused { action: call.action.to_owned(), refusal: Box::new(refusal) };
        Err(Failure { error, again })
    }

    /// The text of an answer at a path such as `/VpcId`.
    ///
    /// # Errors
    /// Those of [`Client::call`], and that it is not there.
    pub fn text(&self, call: &Call, path: &str, stop: Stop<'_>) -> Result<String> {
        let answer = self.call(call, stop)?;
        let text = answer.pointer(path).and_then(Value::as_str).filter(|text| !text.is_empty());
        let missing = || AlicloudError::Protocol { action: call.action.to_owned(), why: format!("it has no {path}") };
        text.map(str::to_owned).ok_or_else(missing)
    }

    /// All entries of a list at a path such as `/Vpcs/Vpc`, page by page.
    ///
    /// # Errors
    /// Those of [`Client::call`], and entries that are not what they should be.
    pub fn list<T: DeserializeOwned>(&self, call: &Call, path: &str, stop: Stop<'_>) -> Result<Vec<T>> {
        let wrong = |why: String| AlicloudError::Protocol { action: call.action.to_owned(), why };
        let mut all = Vec::new();
        for page in 1..=PAGES {
            let mut call = call.clone();
            if page > 1 {
                call = call.with("PageNumber", page.to_string());
            }
            let mut answer = self.call(&call.with("PageSize", PAGE.to_string()), stop)?;
            let items = answer.pointer_mut(path).map(Value::take).unwrap_or_default();
            let items: Vec<T> = match items {
                Value::Null => Vec::new(),
                items => serde_json::from_value(items).map_err(|e| wrong(e.to_string()))?,
            };
            let full = items.len() >= PAGE;
            all.extend(items);
            let total = answer
                .get("TotalCount")
                .and_then(Value::as_u64)
                .map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
            if !full || all.len() >= total {
                return Ok(all);
            }
        }
        Err(wrong(format!("it has more than {PAGES} pages")))
    }
}

/// Asks until there is an answer for good: it, and whether that to an earlier try was lost.
pub(crate) fn answered<T>(stop: Stop<'_>, once: impl Fn() -> Result<T, Failure<AlicloudError>>) -> Result<(T, bool)> {
    let mut backoff = Backoff::new(PATIENCE);
    let (mut connects, mut lost) = (0, false);
    loop {
        let Failure { mut error, again } = match once() {
            Ok(answer) => return Ok((answer, lost)),
            Err(failure) => failure,
        };
        if let AlicloudError::Refused { refusal, .. } = &mut error {
            refusal.repeated = lost;
        }
        connects = if again == Again::Unreachable { connects + 1 } else { 0 };
        if again == Again::Never || connects >= CONNECTS {
            return Err(error);
        }
        // A service may have acted although its answer did not come, or was a failure of its own.
        lost |= error.refusal().is_none_or(|refusal| refusal.status >= 500);
        match backoff.wait(stop) {
            Ok(()) => {}
            Err(poll::Stop::Cancelled) => return Err(AlicloudError::Cancelled),
            Err(poll::Stop::TimedOut(_)) => return Err(error),
        }
    }
}

/// What cannot be the name of a region must not become part of a host's.
pub(crate) fn checked(region: &str) -> Result<String> {
    let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    match (2..=40).contains(&region.len()) && region.bytes().all(fits) {
        true => Ok(region.to_owned()),
        false => {
            let what = format!("`{}` is no region", kiln_http::printable(region));
            Err(AlicloudError::setting(what, "regions are called cn-hangzhou, eu-central-1, …"))
        }
    }
}

/// A request that is ready to be sent.
pub(crate) fn signed(call: &Call, endpoint: &Url, keys: &Keys) -> Result<(Url, HeaderMap)> {
    let (date, nonce) = (date::rfc3339(SystemTime::now()), sign::nonce());
    let request = acs3::Request {
        method: "POST",
        host: &authority(endpoint),
        query: &call.parameters,
        action: call.action,
        version: call.service.version(),
        date: &date,
        nonce: &nonce,
    };
    let headers = acs3::headers(&request, keys);
    let mut map = kiln_clouds::credentials::header_map(&headers)?;
    map.insert("accept", HeaderValue::from_static("application/json"));
    let mut url = endpoint.clone();
    url.set_path("/");
    url.set_query(Some(&percent::query(&call.parameters)));
    Ok((url, map))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_of_tls_unless_said_otherwise() {
        let empty = Environment::empty();
        let at = |own: Option<&str>| Service::Ecs.endpoint(&empty, "cn-hangzhou", own).map(|url| url.to_string());
        assert_eq!(at(None).unwrap(), "https://ecs.cn-hangzhou.aliyuncs.com/");
        assert_eq!(at(Some("ecs.example:8443")).unwrap(), "https://ecs.example:8443/");
        assert_eq!(at(Some("http://127.0.0.1:1")).unwrap(), "http://127.0.0.1:1/");
        assert!(at(Some("ftp://x")).unwrap_err().to_string().contains("custom_endpoint_ecs"));
        let env = Environment::empty().with("ALICLOUD_STS_ENDPOINT", "sts.example");
        assert_eq!(Service::Sts.endpoint(&env, "x", None).unwrap().to_string(), "https://sts.example/");
        assert!(checked("cn-hangzhou").is_ok());
        for bad in ["evil.example/", "", "x", "CN-HANGZHOU", "a@b"] {
            assert!(checked(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_parameters_hold_is_not_shown() {
        let shown = format!("{:?}", Call::new("RunInstances").with("Password", "hunter2"));
        assert!(shown.contains("Password") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn parameters_are_numbered_from_one() {
        let tags = [("a".to_owned(), "1".to_owned())];
        let call = Call::new("X").list("Id", &["p", "q"]).tags(&tags).maybe("N", None::<String>).maybe("M", Some("m"));
        let names: Vec<String> = call.parameters.iter().map(|(n, v)| format!("{n}={v}")).collect();
        assert_eq!(names, ["Id.1=p", "Id.2=q", "Tag.1.Key=a", "Tag.1.Value=1", "M=m"]);
        assert!(call.changes() && !Call::new("DescribeX").changes());
    }
}
