//! One request of the protocol: logged in as its registry wants, repeated when that helps, its answer read to a limit.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use kiln_oci::Reference;
use reqwest::header::HeaderMap;
use reqwest::{Method, Response};
use tokio::sync::OwnedSemaphorePermit;
use url::Url;

use kiln_http::Pace;

use crate::answer;
use crate::auth::challenge::Scope;
use crate::auth::{Login, Wanted};
use crate::config::{Config, same_host};
use crate::credentials::Credential;
use crate::endpoint::Endpoint;
use crate::error::Failure;
use crate::error::{Answer, RegistryError};
use crate::transport::{Parcel, Transport, broken};
use kiln_http::{Retry, after_status, retry_after};

/// What all calls share.
pub(crate) struct Core {
    pub config: Arc<Config>,
    pub transport: Transport,
    /// For plain URLs, where the wish to trust every registry says nothing.
    plain: Option<Transport>,
    endpoints: Mutex<HashMap<String, Arc<Endpoint>>>,
}

/// A request whose body is in memory.
pub(crate) struct Call<'a> {
    pub method: Method,
    pub target: Target,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The repository at the endpoint; empty for the registry as a whole.
    pub repository: &'a str,
    pub scopes: &'a [Scope],
    pub what: &'a str,
    pub credential: Option<&'a Credential>,
}

/// Where a call goes.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// What follows `/v2/`.
    Path(String),
    /// An address the registry gave.
    Address(Url),
}

impl<'a> Call<'a> {
    pub(crate) fn new(
        method: Method,
        target: Target,
        repository: &'a str,
        scopes: &'a [Scope],
        what: &'a str,
    ) -> Call<'a> {
        let (headers, body) = (HeaderMap::new(), Bytes::new());
        Call { method, target, headers, body, repository, scopes, what, credential: None }
    }
}

/// The head of an answer, its body still to come. Counts against the registry's connections until it is dropped.
pub(crate) struct Reply {
    pub response: Response,
    pub logged_in: bool,
    /// Scheme and host of the endpoint.
    pub base: Url,
    pub _permit: Option<OwnedSemaphorePermit>,
}

impl Core {
    pub(crate) fn new(config: Config) -> Result<Core, RegistryError> {
        let config = Arc::new(config);
        for mirror in &config.mirrors {
            Endpoint::mirror(&config, &mirror.endpoint)?;
        }
        let strict = || Transport::new(Arc::new(Config { insecure_all: false, ..(*config).clone() }));
        let plain = config.insecure_all.then(strict).transpose()?;
        Ok(Core { transport: Transport::new(config.clone())?, plain, config, endpoints: Mutex::default() })
    }

    /// What plain URLs are reached by.
    pub(crate) fn plain(&self) -> &Transport {
        self.plain.as_ref().unwrap_or(&self.transport)
    }

    /// The registry's own endpoint.
    pub(crate) fn endpoint(&self, host: &str) -> Result<Arc<Endpoint>, RegistryError> {
        self.remembered(host.to_owned(), || Endpoint::registry(&self.config, host))
    }

    /// Where to pull from: mirrors first.
    pub(crate) fn sources(&self, reference: &Reference) -> Result<Vec<Arc<Endpoint>>, RegistryError> {
        let host = &reference.registry;
        let mut found = Vec::new();
        for mirror in self.config.mirrors.iter().filter(|m| same_host(&m.registry, host)) {
            let text = &mirror.endpoint;
            found.push(self.remembered(format!("mirror {text}"), || Endpoint::mirror(&self.config, text))?);
        }
        if found.is_empty() || !self.config.mirrors_only {
            found.push(self.endpoint(host)?);
        }
        Ok(found)
    }

    fn remembered(
        &self,
        key: String,
        make: impl FnOnce() -> Result<Endpoint, RegistryError>,
    ) -> Result<Arc<Endpoint>, RegistryError> {
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = endpoints.get(&key) {
            return Ok(endpoint.clone());
        }
        let endpoint = Arc::new(make()?);
        endpoints.insert(key, endpoint.clone());
        Ok(endpoint)
    }

    /// How often to try at an endpoint. Waiting for a mirror is not worth it: there is another place to ask.
    pub(crate) fn retry(&self, endpoint: &Endpoint) -> Retry {
        let limit = if endpoint.is_mirror { self.config.retries.min(1) } else { self.config.retries };
        Retry::new(limit, self.config.backoff)
    }

    /// Sends until there is an answer that is not a passing failure.
    pub(crate) async fn call(&self, endpoint: &Endpoint, call: &Call<'_>) -> Result<Reply, RegistryError> {
        let mut retry = self.retry(endpoint);
        loop {
            match self.attempt(endpoint, call).await {
                Ok(reply) => return Ok(reply),
                Err(failure) => retry.pause(failure).await?,
            }
        }
    }

    /// Sends once, or twice where the registry first wants a login.
    pub(crate) async fn attempt(&self, endpoint: &Endpoint, call: &Call<'_>) -> Result<Reply, Failure> {
        let base = endpoint.base(&self.transport).await?;
        let url = match &call.target {
            Target::Path(path) => endpoint_url(base, path, endpoint)?,
            Target::Address(url) => url.clone(),
        };
        let wanted = self.wanted(endpoint, base, call.repository, call.scopes, call.credential);
        let mut login = endpoint.auth.first(&wanted).await?;
        let mut refused_before = false;
        loop {
            let permit = endpoint.permits.clone().acquire_owned().await.ok();
            let parcel = Parcel {
                method: call.method.clone(),
                url: url.clone(),
                headers: call.headers.clone(),
                // An address on another host gets no login.
                authorization: login.header.clone().filter(|_| url.origin() == base.origin()),
                body: call.body.clone(),
                what: call.what,
                wait: self.wait(call),
                same_origin: false,
            };
            let response = self.transport.send(parcel).await?;
            let (status, logged_in) = (response.status(), login.logged_in);
            let ours = response.url().origin() == base.origin();
            if status.as_u16() != 401 || !ours || refused_before {
                let reply = Reply { response, logged_in, base: base.clone(), _permit: permit };
                return reply.unless_passing(endpoint, call.what).await;
            }
            refused_before = true;
            let headers = response.headers().clone();
            let answer = answer::read(response).await;
            drop(permit);
            match endpoint.auth.after_refusal(&wanted, &headers, &login).await? {
                Some(other) => login = other,
                None => return Err(refusal(endpoint, call.what, answer, None, logged_in).into()),
            }
        }
    }

    fn wait(&self, call: &Call<'_>) -> Duration {
        // Registries do their work at the end of an upload.
        if call.method == Method::PUT { self.config.commit_timeout } else { self.config.idle_timeout }
    }

    /// What a login to an endpoint is for.
    pub(crate) fn wanted<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        base: &'a Url,
        repository: &'a str,
        scopes: &'a [Scope],
        credential: Option<&'a Credential>,
    ) -> Wanted<'a> {
        Wanted { transport: &self.transport, endpoint, base, repository, scopes, credential }
    }

    /// The login for a request with a streamed body, which cannot be sent twice in one try.
    pub(crate) async fn login(
        &self,
        endpoint: &Endpoint,
        repository: &str,
        scopes: &[Scope],
    ) -> Result<(Url, Login), Failure> {
        let base = endpoint.base(&self.transport).await?;
        let login = endpoint.auth.first(&self.wanted(endpoint, base, repository, scopes, None)).await?;
        Ok((base.clone(), login))
    }
}

fn endpoint_url(base: &Url, path: &str, endpoint: &Endpoint) -> Result<Url, RegistryError> {
    base.join(&format!("v2/{path}")).map_err(|_| RegistryError::BadHost(endpoint.host.clone()))
}

impl Reply {
    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// Turns passing failures into ones that are tried again.
    pub(crate) async fn unless_passing(self, endpoint: &Endpoint, what: &str) -> Result<Reply, Failure> {
        let status = self.response.status();
        if !matches!(status.as_u16(), 408 | 429 | 500 | 502..=504) {
            return Ok(self);
        }
        let again = after_status(status, self.response.headers());
        Err(Failure { error: self.error(endpoint, what).await, again })
    }

    /// The answer as an error.
    pub(crate) async fn error(self, endpoint: &Endpoint, what: &str) -> RegistryError {
        let after = retry_after(self.response.headers());
        let logged_in = self.logged_in;
        refusal(endpoint, what, answer::read(self.response).await, after, logged_in)
    }

    /// The reply if its status is one of those expected.
    pub(crate) async fn expect(
        self,
        statuses: &[u16],
        endpoint: &Endpoint,
        what: &str,
    ) -> Result<Reply, RegistryError> {
        if statuses.contains(&self.status()) { Ok(self) } else { Err(self.error(endpoint, what).await) }
    }

    /// The whole body, which may not be longer than `limit` bytes.
    pub(crate) async fn body(
        mut self,
        core: &Core,
        endpoint: &Endpoint,
        what: &str,
        limit: u64,
    ) -> Result<Bytes, Failure> {
        let host = || endpoint.host.clone();
        let too_large = || RegistryError::TooLarge { host: host(), what: what.to_owned(), limit };
        if self.response.content_length().is_some_and(|length| length > limit) {
            return Err(too_large().into());
        }
        let (mut body, mut pace) = (Vec::new(), Pace::new());
        while let Some(chunk) = next_chunk(core, &mut self.response, &mut pace, &endpoint.host, what).await? {
            if (body.len() + chunk.len()) as u64 > limit {
                return Err(too_large().into());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.into())
    }
}

/// The next piece of a body, or none at its end.
pub(crate) async fn next_chunk(
    core: &Core,
    response: &mut Response,
    pace: &mut Pace,
    host: &str,
    what: &str,
) -> Result<Option<Bytes>, Failure> {
    let after = core.config.idle_timeout;
    match tokio::time::timeout(after, response.chunk()).await {
        Ok(Ok(Some(chunk))) if !pace.too_slow(chunk.len(), after) => Ok(Some(chunk)),
        Ok(Ok(None)) => Ok(None),
        Ok(Err(error)) => Err(broken(host, what, &error)),
        Ok(Ok(Some(_))) | Err(_) => {
            Err(Failure::soon(RegistryError::Stalled { host: host.to_owned(), what: what.to_owned(), after }))
        }
    }
}

/// A refusal as the error it means.
pub(crate) fn refusal(
    endpoint: &Endpoint,
    what: &str,
    answer: Box<Answer>,
    retry_after: Option<Duration>,
    logged_in: bool,
) -> RegistryError {
    let (host, what, trouble) = (endpoint.host.clone(), what.to_owned(), endpoint.auth.trouble());
    match answer.status {
        401 => RegistryError::Unauthorized { host, what, answer, logged_in, trouble },
        // Immutable tags and quotas are 403, too: with a login, the rights are not certain to be the reason.
        403 if !logged_in => RegistryError::Unauthorized { host, what, answer, logged_in, trouble },
        404 => RegistryError::NotFound { host, what, answer },
        429 => RegistryError::RateLimited { host, what, answer, retry_after },
        _ => RegistryError::Refused { host, what, answer },
    }
}
