//! Access tokens for Google's services, in the order of Google's own tools:
//!
//! 1. the key file `GOOGLE_APPLICATION_CREDENTIALS`
//! 2. `application_default_credentials.json` below `CLOUDSDK_CONFIG`, else `~/.config/gcloud`
//! 3. the metadata server of the machine or pod
//!
//! A key file holds a service account (`service_account`) or a login (`authorized_user`); other kinds are errors.

use std::time::SystemTime;

use reqwest::Method;
use serde::Deserialize;
use url::Url;

use super::{Found, Fresh, Place};
use crate::environ::Environment;
use crate::error::{CloudError, Failure};
use crate::sign::jwt::{self, Claims};
use crate::transport::Transport;
use kiln_http::Secret;

const CLOUD: &str = "Google Cloud";
const TOKEN_SERVICE: &str = "https://oauth2.googleapis.com/token";
const WELL_KNOWN: &str = "application_default_credentials.json";
/// The address of `metadata.google.internal`: where there is no such service, no name lookup is waited for.
const METADATA: &str = "169.254.169.254";

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum KeyFile {
    ServiceAccount {
        client_email: String,
        private_key: String,
        private_key_id: Option<String>,
        token_uri: Option<String>,
    },
    AuthorizedUser {
        client_id: String,
        client_secret: String,
        refresh_token: String,
        token_uri: Option<String>,
    },
    #[serde(other)]
    Other,
}

/// Looks for an access token.
#[derive(Debug)]
pub struct Finder<'a> {
    /// How services are asked.
    pub transport: &'a Transport,
    /// Where they are, and what is given.
    pub environment: &'a Environment,
    /// What the token is to be good for.
    pub scope: &'a str,
}

impl Finder<'_> {
    /// The first token in the order of the list, or all places that have none.
    ///
    /// # Errors
    /// A place that is configured and has none.
    pub async fn find(&self) -> Result<Fresh<Secret>, Failure> {
        let some = |(token, until)| Ok((Found::Some(token), Some(until)));
        if let Some(file) = self.environment.get("GOOGLE_APPLICATION_CREDENTIALS") {
            return some(self.in_file(file).await?);
        }
        let well_known = match self.environment.get("CLOUDSDK_CONFIG") {
            Some(dir) => Some(format!("{dir}/{WELL_KNOWN}")),
            None => self.environment.get("HOME").map(|home| format!("{home}/.config/gcloud/{WELL_KNOWN}")),
        };
        if let Some(file) = well_known.filter(|file| std::path::Path::new(file).exists()) {
            return some(self.in_file(&file).await?);
        }
        if let Some(got) = self.in_machine().await? {
            return some(got);
        }
        let looked = ["GOOGLE_APPLICATION_CREDENTIALS", "~/.config/gcloud", "the metadata server of the machine"];
        Ok((Found::None(looked.map(str::to_owned).to_vec()), None))
    }

    fn place<'a>(&'a self, name: &'a str) -> Place<'a> {
        Place { cloud: CLOUD, name, transport: self.transport }
    }

    /// The token that the key file at `path` buys.
    ///
    /// # Errors
    /// When it cannot be read, is of an unknown kind, or is not accepted.
    pub async fn in_file(&self, path: &str) -> Result<(Secret, SystemTime), Failure> {
        let text = self.place(path).file(path)?;
        self.in_text(path, &text).await
    }

    /// The token that the text of a key file buys; `name` is what errors call it.
    ///
    /// # Errors
    /// When it is of an unknown kind, or is not accepted.
    pub async fn in_text(&self, name: &str, text: &Secret) -> Result<(Secret, SystemTime), Failure> {
        let place = self.place(name);
        // What serde says may quote the file.
        let key: KeyFile = serde_json::from_str(text.expose())
            .map_err(|_| place.error("it is not the JSON of a service account or of a login"))?;
        let (service, form) = match &key {
            KeyFile::ServiceAccount { client_email, private_key, private_key_id, token_uri } => {
                let service = place.address(token_uri.as_deref().unwrap_or(TOKEN_SERVICE))?;
                let audience = token_uri.as_deref().unwrap_or(TOKEN_SERVICE);
                let claims =
                    Claims { email: client_email, audience, scope: self.scope, key_id: private_key_id.as_deref() };
                let token = jwt::signed(&claims, private_key, SystemTime::now()).map_err(|why| place.error(why))?;
                let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer".to_owned();
                (service, vec![("grant_type", grant), ("assertion", token)])
            }
            KeyFile::AuthorizedUser { client_id, client_secret, refresh_token, token_uri } => (
                place.address(token_uri.as_deref().unwrap_or(TOKEN_SERVICE))?,
                vec![
                    ("grant_type", "refresh_token".to_owned()),
                    ("client_id", client_id.clone()),
                    ("client_secret", client_secret.clone()),
                    ("refresh_token", refresh_token.clone()),
                ],
            ),
            KeyFile::Other => {
                let why = "only keys of the types service_account and authorized_user are supported";
                return Err(place.error(why).into());
            }
        };
        let form: Vec<_> = form.iter().map(|(name, value)| (*name, &**value)).collect();
        let body = place.post(service, &form).await?;
        Ok(place.access_token(&body)?)
    }

    async fn in_machine(&self) -> Result<Option<(Secret, SystemTime)>, Failure> {
        let host = self.environment.get("GCE_METADATA_HOST").unwrap_or(METADATA);
        let place = self.place("the metadata server of the machine");
        let path = "computeMetadata/v1/instance/service-accounts/default/token";
        let url = Url::parse(&format!("http://{host}/{path}"))
            .map_err(|_| CloudError::Variable { variable: "GCE_METADATA_HOST", why: "it is not a host".to_owned() })?;
        let response = place.ask(Method::GET, url, &[("metadata-flavor", "Google")]).await?;
        // Other clouds have another service at this address; theirs does not say that it is Google's.
        let google = |r: &reqwest::Response| r.headers().get("metadata-flavor").is_some_and(|v| v == "Google");
        let Some(response) = response.filter(google) else { return Ok(None) };
        // A machine without a service account.
        if response.status().as_u16() == 404 {
            return Ok(None);
        }
        let body = place.accept(response).await?;
        Ok(Some(place.access_token(&body)?))
    }
}
