//! Who asks: a token, a key file, or what Google's own tools would find; and, with it, another account.
//!
//! ```text
//! access_token                     as it is; it cannot be renewed
//! credentials_file, account_file   the key of a service account, or a login with its refresh token
//! credentials_json                 the same as text
//! none of them                     GOOGLE_APPLICATION_CREDENTIALS, gcloud's file, the metadata server of this machine
//! impersonate_service_account      a token of that account, bought with what is found otherwise
//! ```

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use kiln_clouds::credentials::google::Finder;
use kiln_clouds::credentials::{Cache, Found, Fresh, header_map};
use kiln_clouds::date::parse_rfc3339;
use kiln_clouds::transport::{Parcel, Payload, Transport};
use kiln_clouds::{CloudError, Environment, Failure, answer};
use kiln_http::{Secret, after_status};
use reqwest::Method;
use serde::Deserialize;
use url::Url;

use crate::endpoints::{Endpoints, Service};

/// What a token is to be good for.
const SCOPES: [&str; 3] = [
    "https://www.googleapis.com/auth/compute",
    "https://www.googleapis.com/auth/devstorage.full_control",
    "https://www.googleapis.com/auth/userinfo.email",
];
/// What buys a token of another account.
const PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";
const MAX_TOKEN: usize = 256 << 10;

/// Where the credentials are.
#[derive(Debug, Clone, Default)]
pub enum Source {
    /// Where Google's own tools look.
    #[default]
    Default,
    /// An access token.
    Token(Secret),
    /// A key file.
    File(PathBuf),
    /// The text of one.
    Json(Secret),
}

/// Who asks.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// Where they are.
    pub source: Source,
    /// The account that is asked as, if it is another.
    pub impersonate: Option<String>,
}

/// Keeps a token until it ends.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    pub credentials: Credentials,
    cache: Cache<Secret>,
}

impl Keeper {
    pub(crate) fn new(credentials: Credentials) -> Keeper {
        Keeper { credentials, cache: Cache::default() }
    }

    /// A token, or where was looked for one in vain.
    pub(crate) async fn token(&self, with: &With<'_>) -> Result<std::sync::Arc<Found<Secret>>, Failure> {
        self.cache.get(self.find(with)).await
    }

    /// Forgets a token that was not accepted; whether another can be had.
    pub(crate) async fn forget(&self) -> bool {
        self.cache.forget().await
    }

    async fn find(&self, with: &With<'_>) -> Result<Fresh<Secret>, Failure> {
        let wide = self.credentials.impersonate.is_some() || matches!(self.credentials.source, Source::Default);
        let mut scopes = SCOPES.to_vec();
        if wide {
            scopes.push(PLATFORM);
        }
        let scope = scopes.join(" ");
        let finder = Finder { transport: with.transport, environment: with.environment, scope: &scope };
        let some = |(token, until)| (Found::Some(token), Some(until));
        let found = match &self.credentials.source {
            Source::Default => finder.find().await?,
            Source::Token(token) => (Found::Some(token.clone()), None),
            Source::File(path) => some(finder.in_file(&path.display().to_string()).await?),
            Source::Json(text) => some(finder.in_text("credentials_json", text).await?),
        };
        match (&self.credentials.impersonate, &found.0) {
            (Some(account), Found::Some(token)) => impersonate(with, account, token).await,
            _ => Ok(found),
        }
    }
}

/// What a token is looked for with.
pub(crate) struct With<'a> {
    pub transport: &'a Transport,
    pub environment: &'a Environment,
    pub endpoints: &'a Endpoints,
}

/// What buys somebody else's token.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bought {
    access_token: String,
    expire_time: Option<String>,
}

async fn impersonate(with: &With<'_>, account: &str, token: &Secret) -> Result<Fresh<Secret>, Failure> {
    let place = format!("the impersonation of {account}");
    let error = |why: String| CloudError::Credentials { cloud: "Google Cloud", place: place.clone(), why };
    let path =
        format!("v1/projects/-/serviceAccounts/{}:generateAccessToken", kiln_clouds::percent::component(account));
    let url = Url::parse(&format!("{}{path}", with.endpoints.of(Service::IamCredentials)));
    let url = url.map_err(|_| error("its address is not a URL".to_owned()))?;
    let headers = header_map(&[
        ("authorization".to_owned(), format!("Bearer {}", token.expose())),
        ("content-type".to_owned(), "application/json".to_owned()),
    ])?;
    let body = serde_json::json!({ "scope": SCOPES, "lifetime": "3600s" }).to_string();
    let payload = Payload::Bytes(Bytes::from(body));
    let parcel = Parcel { method: Method::POST, url, headers, payload, what: &place, metadata: false, sent: &|_| {} };
    let response = with.transport.send(parcel).await?;
    let status = response.status();
    if !status.is_success() {
        let again = after_status(status, response.headers());
        let refusal = answer::read(response).await;
        return Err(Failure { error: error(refusal.answer.to_string()), again });
    }
    let body = with.transport.body(response, MAX_TOKEN, &place).await?;
    let bought: Bought =
        serde_json::from_slice(&body).map_err(|_| error("its answer holds no access token".to_owned()))?;
    let until = bought.expire_time.as_deref().and_then(parse_rfc3339);
    let until = until.unwrap_or_else(|| SystemTime::now() + Duration::from_secs(3600));
    Ok((Found::Some(Secret::new(bought.access_token)), Some(until)))
}
