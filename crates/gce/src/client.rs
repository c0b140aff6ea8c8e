//! One call to one of the services: with a token, repeated where that makes sense, ended when the caller wants it to.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kiln_clouds::credentials::{Found, header_map};
use kiln_clouds::transport::{Parcel, Payload, Transport};
use kiln_clouds::{Config, Environment, answer, percent};
use kiln_http::{Again, Answer, Secret, Threads, after_status};
use reqwest::Method;
use serde_json::Value;
use url::Url;

use crate::auth::{Credentials, Keeper, With};
use crate::endpoints::{Endpoints, Service};
use crate::error::{GceError, Result};

/// Whether the caller wants to stop; asked often.
pub type Cancelled<'a> = &'a dyn Fn() -> bool;

type Failure = kiln_http::Failure<GceError>;

/// How often a call is repeated after the first try, and the first pause.
const RETRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(500);
/// How often a caller is asked whether it wants to stop.
const GLANCE: Duration = Duration::from_millis(50);
/// What a call that changes something still gets after that: with its answer it is known what was made.
const GRACE: Duration = Duration::from_millis(700);
/// No answer is longer: consoles have a mebibyte, lists a page.
const MAX_BODY: usize = 32 << 20;

/// A client of Compute Engine. Clones share connections and the token; all methods may be called from many threads at
/// once, and block. They must not be called from asynchronous code.
#[derive(Clone)]
pub struct Client {
    core: Arc<Core>,
    threads: Arc<Threads>,
}

struct Core {
    transport: Transport,
    environment: Environment,
    endpoints: Endpoints,
    keeper: Keeper,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoints", &self.core.endpoints).finish_non_exhaustive()
    }
}

/// One call.
#[derive(Clone)]
pub struct Ask {
    /// Whose.
    pub service: Service,
    /// `GET` and the like.
    pub method: Method,
    /// Below the service's address, encoded.
    pub path: String,
    /// What follows the `?`.
    pub query: Vec<(&'static str, String)>,
    /// The document that goes along.
    pub body: Option<Value>,
    /// In words, for errors: `instance packer-…`.
    pub what: String,
}

impl fmt::Debug for Ask {
    /// Without its document: that may hold keys that disks are encrypted with.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Ask");
        shown.field("service", &self.service).field("method", &self.method).field("path", &self.path);
        shown.field("what", &self.what).finish_non_exhaustive()
    }
}

impl Ask {
    /// A question of Compute's.
    pub fn get(path: impl Into<String>, what: impl Into<String>) -> Ask {
        let (path, what) = (path.into(), what.into());
        Ask { service: Service::Compute, method: Method::GET, path, query: Vec::new(), body: None, what }
    }

    /// A wish of Compute's.
    pub fn post(path: impl Into<String>, body: Value, what: impl Into<String>) -> Ask {
        Ask { method: Method::POST, body: Some(body), ..Ask::get(path, what) }
    }

    /// The end of something.
    pub fn delete(path: impl Into<String>, what: impl Into<String>) -> Ask {
        Ask { method: Method::DELETE, ..Ask::get(path, what) }
    }

    /// The same of another service.
    #[must_use]
    pub fn of(mut self, service: Service) -> Ask {
        self.service = service;
        self
    }

    /// The same with one more pair in its query.
    #[must_use]
    pub fn query(mut self, name: &'static str, value: impl Into<String>) -> Ask {
        self.query.push((name, value.into()));
        self
    }

    fn changes(&self) -> bool {
        self.method != Method::GET
    }
}

/// Segments of a path, each encoded.
pub fn path(segments: &[&str]) -> String {
    segments.iter().map(|s| percent::component(s)).collect::<Vec<_>>().join("/")
}

impl Client {
    /// Starts the network threads. Nothing is connected to, and no credentials are looked for yet.
    ///
    /// # Errors
    /// Proxies that are not addresses.
    pub fn new(credentials: Credentials, endpoints: Endpoints, environment: &Environment) -> Result<Client> {
        let config = Config { environment: environment.clone(), ..Config::default() };
        let core = Core {
            transport: Transport::new(config)?,
            environment: environment.clone(),
            endpoints,
            keeper: Keeper::new(credentials),
        };
        let threads = Threads::start("kiln-gce").map_err(GceError::Start)?;
        Ok(Client { core: Arc::new(core), threads: Arc::new(threads) })
    }

    /// Where it asks.
    pub fn endpoints(&self) -> &Endpoints {
        &self.core.endpoints
    }

    /// The environment it was given.
    pub fn environment(&self) -> &Environment {
        &self.core.environment
    }

    /// A token, for another client of the same account.
    ///
    /// # Errors
    /// When there is none.
    pub fn token(&self) -> Result<Secret> {
        let got = self.threads.block_on(self.core.token());
        got.unwrap_or(Err(GceError::Cancelled.into())).map_err(|f| f.error)
    }

    /// What the service answers; an empty answer is null.
    ///
    /// # Errors
    /// What it refuses, when it cannot be reached, and [`GceError::Cancelled`].
    pub fn call(&self, ask: &Ask, cancelled: Cancelled<'_>) -> Result<Value> {
        if cancelled() {
            return Err(GceError::Cancelled);
        }
        let grace = if ask.changes() { GRACE } else { Duration::ZERO };
        let work = async {
            tokio::select! {
                biased;
                answer = self.core.call(ask, cancelled) => answer,
                () = stopped(cancelled, grace) => Err(GceError::Cancelled),
            }
        };
        self.threads.block_on(work).unwrap_or(Err(GceError::Cancelled))
    }

    /// The same for a question, whose answer may be that it is not there.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn look(&self, ask: &Ask, cancelled: Cancelled<'_>) -> Result<Option<Value>> {
        match self.call(ask, cancelled) {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.status() == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

async fn stopped(cancelled: Cancelled<'_>, grace: Duration) {
    while !cancelled() {
        tokio::time::sleep(GLANCE).await;
    }
    tokio::time::sleep(grace).await;
}

impl Core {
    async fn token(&self) -> Result<Secret, Failure> {
        let with = With { transport: &self.transport, environment: &self.environment, endpoints: &self.endpoints };
        let lift = |f: kiln_clouds::Failure| Failure { error: f.error.into(), again: f.again };
        match &*self.keeper.token(&with).await.map_err(lift)? {
            Found::Some(token) => Ok(token.clone()),
            Found::None(looked) => Err(GceError::Anonymous { looked: looked.clone() }.into()),
        }
    }

    /// Again and again, until there is an answer, or an error that will stay.
    async fn call(&self, ask: &Ask, cancelled: Cancelled<'_>) -> Result<Value> {
        let mut retry = kiln_http::Retry::new(RETRIES, PAUSE);
        loop {
            let failure = match self.once(ask).await {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            if cancelled() {
                return Err(if failure.again == Again::Never { failure.error } else { GceError::Cancelled });
            }
            retry.pause(failure).await?;
            if cancelled() {
                return Err(GceError::Cancelled);
            }
        }
    }

    async fn once(&self, ask: &Ask) -> Result<Value, Failure> {
        let mut renewed = false;
        loop {
            let token = self.token().await?;
            let response = self.send(ask, &token).await?;
            let status = response.status();
            if status.is_success() {
                let body = self.transport.body(response, MAX_BODY, &ask.what).await;
                let body = body.map_err(|f| Failure { error: f.error.into(), again: f.again })?;
                return parse(&body, &ask.what).map_err(Failure::from);
            }
            let again = after_status(status, response.headers());
            let answer = answer::read(response).await.answer;
            if status.as_u16() == 401 && !renewed && self.keeper.forget().await {
                renewed = true;
                continue;
            }
            let again = if throttled(&answer) && again == Again::Never { Again::Soon } else { again };
            return Err(Failure { error: GceError::Refused { what: ask.what.clone(), answer }, again });
        }
    }

    async fn send(&self, ask: &Ask, token: &Secret) -> Result<reqwest::Response, Failure> {
        let mut query: Vec<(&str, String)> = ask.query.clone();
        if ask.service == Service::Compute {
            query.push(("prettyPrint", "false".to_owned()));
        }
        let mark = if query.is_empty() { "" } else { "?" };
        let text = format!("{}{}{mark}{}", self.endpoints.of(ask.service), ask.path, percent::query(&query));
        let wrong = |why: &str| GceError::Protocol { what: ask.what.clone(), why: why.to_owned() };
        let url = Url::parse(&text).map_err(|_| wrong("its address is not a URL"))?;
        // What the parser would tidy leads somewhere else than it was meant to.
        if !url.path().ends_with(&ask.path) {
            return Err(wrong("its address is not one").into());
        }
        let mut headers = vec![("authorization".to_owned(), format!("Bearer {}", token.expose()))];
        let payload = match &ask.body {
            Some(body) => {
                headers.push(("content-type".to_owned(), "application/json".to_owned()));
                Payload::Bytes(Bytes::from(body.to_string()))
            }
            None => Payload::None,
        };
        let headers = header_map(&headers).map_err(GceError::from)?;
        let method = ask.method.clone();
        let parcel = Parcel { method, url, headers, payload, what: &ask.what, metadata: false, sent: &|_| {} };
        let sent = self.transport.send(parcel).await;
        sent.map_err(|f| Failure { error: f.error.into(), again: f.again })
    }
}

/// A project that asks too often is refused with 403, too.
fn throttled(answer: &Answer) -> bool {
    matches!(&*answer.code, "rateLimitExceeded" | "userRateLimitExceeded" | "RATE_LIMIT_EXCEEDED")
}

fn parse(body: &[u8], what: &str) -> Result<Value> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Null);
    }
    serde_json::from_slice(body)
        .map_err(|_| GceError::Protocol { what: what.to_owned(), why: "it is no JSON".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_along_is_not_shown() {
        let body = serde_json::json!({ "diskEncryptionKey": { "rawKey": "hunter2" } });
        let shown = format!("{:?}", Ask::post("projects/p/zones/z/disks", body, "disk d"));
        assert!(shown.contains("disk d") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn paths_cannot_be_climbed() {
        assert_eq!(path(&["projects", "a/../b", "x y"]), "projects/a%2F..%2Fb/x%20y");
    }

    #[test]
    fn what_is_no_json_is_not_shown() {
        let error = parse(b"<html>hunter2</html>", "disk d").unwrap_err().to_string();
        assert_eq!(error, "disk d: the service answers wrongly: it is no JSON");
        assert_eq!(parse(b" \n", "").unwrap(), Value::Null);
    }
}
