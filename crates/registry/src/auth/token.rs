//! Getting a token from the token server a registry names.

use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Response};
use serde::Deserialize;
use url::Url;

use crate::answer;
use crate::auth::challenge::Scope;
use crate::auth::{Wanted, basic_value};
use crate::credentials::{Credential, Secret};
use crate::error::Failure;
use crate::error::RegistryError;
use crate::transport::{Parcel, authority};
use kiln_http::after_status;

/// No answer of a token server is read beyond this many bytes.
const MAX_ANSWER: u64 = 1 << 20;
/// What the protocol says a token lasts when its server does not say.
const USUAL_LIFE: u64 = 60;
const LONGEST_LIFE: u64 = 24 * 3600;
const CLIENT_ID: &str = "kiln";

/// A token and when to stop using it.
pub(crate) struct Token {
    pub value: Secret,
    pub expires: Instant,
}

/// What to ask a token server for.
pub(crate) struct TokenRequest<'a> {
    pub realm: &'a str,
    pub service: Option<&'a str>,
    pub scopes: &'a [Scope],
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<Secret>,
    #[serde(default)]
    access_token: Option<Secret>,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl TokenRequest<'_> {
    /// Asks with what is there: an identity token by OAuth2 POST, a password by GET with Basic, nothing by GET.
    pub(crate) async fn send(&self, wanted: &Wanted<'_>, credential: Option<&Credential>) -> Result<Token, Failure> {
        let realm = self.address(wanted)?;
        let asked = Instant::now();
        let response = match credential {
            Some(Credential::IdentityToken { token }) => {
                let form = self.form(&[("grant_type", "refresh_token"), ("refresh_token", token.expose())]);
                self.post(wanted, realm.clone(), form).await?
            }
            Some(Credential::Basic { username, password }) => {
                let response = self.get(wanted, &realm, Some((username, password))).await?;
                // Servers that speak OAuth2 only.
                if matches!(response.status().as_u16(), 404 | 405) {
                    let form = self.form(&[
                        ("grant_type", "password"),
                        ("username", username),
                        ("password", password.expose()),
                    ]);
                    self.post(wanted, realm.clone(), form).await?
                } else {
                    response
                }
            }
            Some(Credential::RegistryToken(_)) | None => self.get(wanted, &realm, None).await?,
        };
        read(wanted, &realm, response, credential.is_some(), asked).await
    }

    /// The token server's address, if credentials may go there.
    fn address(&self, wanted: &Wanted<'_>) -> Result<Url, RegistryError> {
        let refuse = |why: &str| RegistryError::Challenge { host: wanted.endpoint.host.clone(), why: why.to_owned() };
        let realm = Url::parse(self.realm).map_err(|_| refuse("its token server is not a URL"))?;
        if !realm.username().is_empty() || realm.password().is_some() || !realm.has_host() {
            return Err(refuse("its token server is not a plain address"));
        }
        match (realm.scheme(), wanted.base.scheme()) {
            ("https", _) | ("http", "http") => Ok(realm),
            ("http", _) => Err(refuse("its token server is reached in plain http, though the registry is not")),
            _ => Err(refuse("its token server is not an http address")),
        }
    }

    async fn get(&self, wanted: &Wanted<'_>, realm: &Url, login: Option<(&str, &Secret)>) -> Result<Response, Failure> {
        let mut url = realm.clone();
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = self.service {
                query.append_pair("service", service);
            }
            for scope in self.scopes {
                query.append_pair("scope", &scope.to_string());
            }
            query.append_pair("client_id", CLIENT_ID);
            if let Some((username, _)) = login {
                query.append_pair("account", username);
            }
        }
        let authorization = login.map(|(username, password)| sensitive(&basic_value(username, password.expose())));
        exchange(wanted, Method::GET, url, authorization, Bytes::new()).await
    }

    async fn post(&self, wanted: &Wanted<'_>, url: Url, form: String) -> Result<Response, Failure> {
        exchange(wanted, Method::POST, url, None, Bytes::from(form)).await
    }

    fn form(&self, fields: &[(&str, &str)]) -> String {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields);
        form.append_pair("client_id", CLIENT_ID);
        form.append_pair("service", self.service.unwrap_or_default());
        if !self.scopes.is_empty() {
            let scopes: Vec<String> = self.scopes.iter().map(Scope::to_string).collect();
            form.append_pair("scope", &scopes.join(" "));
        }
        form.finish()
    }
}

fn sensitive(basic: &str) -> HeaderValue {
    // Base64 is always a valid header value.
    let mut value = HeaderValue::from_str(&format!("Basic {basic}")).unwrap_or(HeaderValue::from_static("Basic"));
    value.set_sensitive(true);
    value
}

async fn exchange(
    wanted: &Wanted<'_>,
    method: Method,
    url: Url,
    authorization: Option<HeaderValue>,
    body: Bytes,
) -> Result<Response, Failure> {
    let mut headers = HeaderMap::new();
    if method == Method::POST {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    }
    let posted = !body.is_empty();
    let what = format!("a token for {}", wanted.endpoint.host);
    let wait = wanted.transport.config.idle_timeout;
    let parcel = Parcel { method, url, headers, authorization, body, what: &what, wait, same_origin: posted };
    wanted.transport.send(parcel).await
}

async fn read(
    wanted: &Wanted<'_>,
    realm: &Url,
    mut response: Response,
    logged_in: bool,
    asked: Instant,
) -> Result<Token, Failure> {
    let server = authority(realm);
    let what = format!("a token for {}", wanted.endpoint.host);
    if !response.status().is_success() {
        let again = after_status(response.status(), response.headers());
        let status = response.status().as_u16();
        let answer = answer::read(response).await;
        let host = wanted.endpoint.host.clone();
        let error = match status {
            429 => RegistryError::RateLimited { host: server, what, answer, retry_after: None },
            400 | 401 | 403 => {
                let trouble = wanted.endpoint.auth.trouble();
                RegistryError::TokenRefused { host, realm: server, answer, logged_in, trouble }
            }
            _ => RegistryError::Refused { host: server, what, answer },
        };
        return Err(Failure { error, again });
    }
    let mut body = Vec::new();
    let idle = wanted.transport.config.idle_timeout;
    loop {
        match tokio::time::timeout(idle, response.chunk()).await {
            Err(_) => return Err(Failure::soon(RegistryError::Stalled { host: server, what, after: idle })),
            Ok(Err(e)) => return Err(crate::transport::broken(&server, &what, &e)),
            Ok(Ok(None)) => break,
            Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
        }
        if body.len() as u64 > MAX_ANSWER {
            return Err(RegistryError::TooLarge { host: server, what, limit: MAX_ANSWER }.into());
        }
    }
    let protocol =
        |why: &str| RegistryError::Protocol { host: server.clone(), what: what.clone(), why: why.to_owned() };
    // The parser's own message could quote the token.
    let answer: TokenAnswer = serde_json::from_slice(&body).map_err(|_| protocol("not the JSON of a token"))?;
    let value = answer.token.filter(|t| !t.expose().is_empty()).or(answer.access_token);
    let value = value.filter(|t| !t.expose().is_empty()).ok_or_else(|| protocol("there is no token in it"))?;
    // A tenth of its life in hand, for slow requests and clocks; servers may not give less than a minute.
    let life = answer.expires_in.unwrap_or(USUAL_LIFE).clamp(1, LONGEST_LIFE);
    Ok(Token { value, expires: asked + Duration::from_secs(life) * 9 / 10 })
}
