//! Logging in to registries: which header a request gets, and what a 401 changes about it.
//!
//! Who sees a credential, for a registry `R`:
//!
//! ```text
//! R itself          user and password, only if R asks for Basic, over TLS (or R was allowed in plain http)
//! R's token server  user and password, or identity token: R names it in its challenge, and the protocol has no other
//!                   way to find it, so it may be any host, but over https (plain http only if R speaks it, too)
//! R's redirects     nothing: a 401 from a host R redirected to is not answered
//! R's mirrors       nothing of R's: a mirror is a registry of its own, with its own credentials
//! ```
//! A registry can thus learn only what was stored for that registry.

pub(crate) mod challenge;
pub(crate) mod token;

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{HeaderMap, HeaderValue};
use tokio::sync::Mutex;
use url::Url;

use crate::auth::challenge::{Challenge, Scope};
use crate::auth::token::TokenRequest;
use crate::credentials::Credential;
use crate::endpoint::Endpoint;
use crate::error::Failure;
use crate::error::RegistryError;
use crate::transport::Transport;

/// What is known about being logged in to one registry. The lock is held while a token is fetched, so that many
/// threads wanting the same one cause one request.
#[derive(Default)]
pub(crate) struct Auth {
    state: Mutex<State>,
    /// Why there are no credentials, though there should be.
    trouble: std::sync::Mutex<Option<String>>,
}

#[derive(Default)]
struct State {
    challenge: Option<Challenge>,
    headers: HashMap<String, Login>,
    /// Rights the registry asked for besides those expected, by the same key.
    extra: HashMap<String, Vec<Scope>>,
}

/// The header for one set of rights.
#[derive(Clone)]
pub(crate) struct Login {
    /// The value of `Authorization`; none where the registry gave no challenge, or nothing to answer it with exists.
    pub header: Option<HeaderValue>,
    /// Whether a credential is behind it.
    pub logged_in: bool,
    expires: Option<Instant>,
}

impl Login {
    fn anonymous() -> Login {
        Login { header: None, logged_in: false, expires: None }
    }

    fn lasting(value: &str, logged_in: bool, expires: Option<Instant>) -> Option<Login> {
        let mut header = HeaderValue::from_str(value).ok()?;
        header.set_sensitive(true);
        Some(Login { header: Some(header), logged_in, expires })
    }
}

/// What a login is wanted for.
pub(crate) struct Wanted<'a> {
    pub transport: &'a Transport,
    pub endpoint: &'a Endpoint,
    /// Scheme and host of the registry.
    pub base: &'a Url,
    /// The repository credentials are looked up for; empty for the registry as a whole.
    pub repository: &'a str,
    pub scopes: &'a [Scope],
    /// Instead of the configured credentials.
    pub credential: Option<&'a Credential>,
}

impl Wanted<'_> {
    fn key(&self) -> String {
        let scopes: Vec<String> = self.scopes.iter().map(Scope::to_string).collect();
        format!("{} {}", self.repository, scopes.join(" "))
    }

    async fn credential(&self) -> Result<Option<Credential>, RegistryError> {
        if let Some(credential) = self.credential {
            return Ok(Some(credential.clone()));
        }
        let (credentials, host) = (&self.transport.config.credentials, &self.endpoint.host);
        let found = credentials.find_async(host, self.repository, Some(self.base)).await;
        let found = found.map_err(|source| RegistryError::Credentials { host: host.clone(), source })?;
        *self.endpoint.auth.trouble.lock().unwrap_or_else(PoisonError::into_inner) = found.trouble;
        Ok(found.credential)
    }

    /// Whether another credential can be had than the one that was refused: what clouds sell ends.
    async fn renew(&self) -> bool {
        self.credential.is_none() && self.transport.config.credentials.forget(&self.endpoint.host).await
    }
}

impl Auth {
    /// The header to try first: a cached one, or a fresh one if the registry's challenge is known.
    pub(crate) async fn first(&self, wanted: &Wanted<'_>) -> Result<Login, Failure> {
        let mut state = self.state.lock().await;
        let key = wanted.key();
        if let Some(login) = state.headers.get(&key).filter(|l| l.expires.is_none_or(|e| e > Instant::now())) {
            return Ok(login.clone());
        }
        let Some(challenge) = state.challenge.clone() else { return Ok(Login::anonymous()) };
        state.login(wanted, &key, &challenge).await
    }

    /// The header to try after a 401 to a request that was sent with `used`; none if nothing else can be tried.
    pub(crate) async fn after_refusal(
        &self,
        wanted: &Wanted<'_>,
        headers: &HeaderMap,
        used: &Login,
    ) -> Result<Option<Login>, Failure> {
        let challenge = match Challenge::strongest(headers) {
            Ok(challenge) => challenge,
            // Nothing to follow: with a header sent, the refusal itself is the better story.
            Err(_) if used.header.is_some() => return Ok(None),
            Err(why) => return Err(RegistryError::Challenge { host: wanted.endpoint.host.clone(), why }.into()),
        };
        let mut state = self.state.lock().await;
        let key = wanted.key();
        // Another thread may have got a newer header while this one waited.
        if let Some(newer) = state.headers.get(&key).filter(|l| l.header.is_some() && l.header != used.header) {
            return Ok(Some(newer.clone()));
        }
        if let Challenge::Bearer { scopes, .. } = &challenge {
            let mut expected = wanted.scopes.to_vec();
            if Scope::merge(&mut expected, scopes) {
                Scope::merge(state.extra.entry(key.clone()).or_default(), scopes);
            }
        }
        state.headers.remove(&key);
        state.challenge = Some(challenge.clone());
        if matches!(challenge, Challenge::Basic) && used.header.is_some() && !wanted.renew().await {
            return Ok(None);
        }
        state.login(wanted, &key, &challenge).await.map(|login| login.header.is_some().then_some(login))
    }

    /// Why there are no credentials, though there should be.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl State {
    async fn login(&mut self, wanted: &Wanted<'_>, key: &str, challenge: &Challenge) -> Result<Login, Failure> {
        let credential = wanted.credential().await?;
        let login = match challenge {
            Challenge::Basic => basic(wanted, credential.as_ref())?,
            Challenge::Bearer { realm, service, .. } => {
                if let Some(Credential::RegistryToken(token)) = &credential {
                    Login::lasting(&format!("Bearer {}", token.expose()), true, None)
                        .ok_or_else(|| refuse(wanted, "the stored registry token cannot be sent in a header"))?
                } else {
                    let mut scopes = wanted.scopes.to_vec();
                    Scope::merge(&mut scopes, self.extra.get(key).map_or(&[], Vec::as_slice));
                    let request = TokenRequest { realm, service: service.as_deref(), scopes: &scopes };
                    let sent = request.send(wanted, credential.as_ref()).await;
                    let (token, credential) = match sent {
                        Err(Failure { error: RegistryError::TokenRefused { .. }, .. }) if wanted.renew().await => {
                            let credential = wanted.credential().await?;
                            (request.send(wanted, credential.as_ref()).await?, credential)
                        }
                        sent => (sent?, credential),
                    };
                    Login::lasting(
                        &format!("Bearer {}", token.value.expose()),
                        credential.is_some(),
                        Some(token.expires),
                    )
                    .ok_or_else(|| refuse(wanted, "its token server sends a token that is not one"))?
                }
            }
        };
        self.headers.insert(key.to_owned(), login.clone());
        Ok(login)
    }
}

fn basic(wanted: &Wanted<'_>, credential: Option<&Credential>) -> Result<Login, RegistryError> {
    match credential {
        Some(Credential::Basic { username, password }) => {
            let value = format!("Basic {}", basic_value(username, password.expose()));
            Login::lasting(&value, true, None)
                .ok_or_else(|| refuse(wanted, "the stored credentials cannot be sent in a header"))
        }
        Some(Credential::RegistryToken(token)) => Login::lasting(&format!("Bearer {}", token.expose()), true, None)
            .ok_or_else(|| refuse(wanted, "the stored registry token cannot be sent in a header")),
        Some(Credential::IdentityToken { .. }) => {
            Err(refuse(wanted, "it wants a user name and a password, but an identity token is stored for it"))
        }
        None => Ok(Login::anonymous()),
    }
}

fn refuse(wanted: &Wanted<'_>, why: &str) -> RegistryError {
    RegistryError::Challenge { host: wanted.endpoint.host.clone(), why: why.to_owned() }
}

/// `user:password` in base64.
pub(crate) fn basic_value(username: &str, password: &str) -> String {
    STANDARD.encode(format!("{username}:{password}"))
}
