//! Access tokens for Azure's services, in the order of Azure's own tools:
//!
//! 1. workload identity: the token in `AZURE_FEDERATED_TOKEN_FILE`, for `AZURE_CLIENT_ID` of `AZURE_TENANT_ID`
//! 2. a service principal: `AZURE_CLIENT_SECRET` of `AZURE_CLIENT_ID`
//! 3. the identity that is managed for the container (`IDENTITY_ENDPOINT`, `IDENTITY_HEADER`) or the machine

use reqwest::Method;
use url::Url;

use super::{Found, Fresh, Place};
use crate::environ::Environment;
use crate::error::{CloudError, Failure};
use crate::percent;
use crate::transport::Transport;
use kiln_http::Secret;

const CLOUD: &str = "Azure";
const AUTHORITY: &str = "https://login.microsoftonline.com";
const METADATA: &str = "http://169.254.169.254";
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Looks for an access token.
#[derive(Debug)]
pub struct Finder<'a> {
    /// How services are asked.
    pub transport: &'a Transport,
    /// Where they are, and what is given.
    pub environment: &'a Environment,
    /// What the token is to be good for: `https://SERVICE/.default`.
    pub scope: &'a str,
}

impl Finder<'_> {
    /// The first token in the order of the list, or all places that have none.
    ///
    /// # Errors
    /// A place that is configured and has none.
    pub async fn find(&self) -> Result<Fresh<Secret>, Failure> {
        let (file, secret) = (self.get("AZURE_FEDERATED_TOKEN_FILE"), self.get("AZURE_CLIENT_SECRET"));
        let proof = match (file, secret) {
            (Some(file), _) => {
                let token = self.place(file).file(file)?;
                Some((
                    "AZURE_FEDERATED_TOKEN_FILE",
                    vec![
                        ("client_assertion_type", ASSERTION.to_owned()),
                        ("client_assertion", token.expose().to_owned()),
                    ],
                ))
            }
            (None, Some(secret)) => Some(("AZURE_CLIENT_SECRET", vec![("client_secret", secret.to_owned())])),
            (None, None) => None,
        };
        if let Some((variable, proof)) = proof {
            return self.exchange(variable, &proof).await;
        }
        if let Some(fresh) = self.managed().await? {
            return Ok(fresh);
        }
        let looked = ["AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_SECRET", "the managed identity of the machine"];
        Ok((Found::None(looked.map(str::to_owned).to_vec()), None))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.environment.get(name)
    }

    fn place<'a>(&'a self, name: &'a str) -> Place<'a> {
        Place { cloud: CLOUD, name, transport: self.transport }
    }

    /// Shows a proof to the token service.
    async fn exchange(&self, variable: &'static str, proof: &[(&str, String)]) -> Result<Fresh<Secret>, Failure> {
        let need = |name: &'static str| {
            let why = || CloudError::Variable { variable, why: format!("{name} is not set") };
            self.get(name).ok_or_else(why)
        };
        let (client, tenant) = (need("AZURE_CLIENT_ID")?, need("AZURE_TENANT_ID")?);
        if !tenant.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c)) {
            let why = "it is not the name of a tenant".to_owned();
            return Err(CloudError::Variable { variable: "AZURE_TENANT_ID", why }.into());
        }
        let place = self.place("the token service (Entra)");
        let authority = self.get("AZURE_AUTHORITY_HOST").unwrap_or(AUTHORITY).trim_end_matches('/');
        let url = place.address(&format!("{authority}/{tenant}/oauth2/v2.0/token"))?;
        let mut form = vec![("grant_type", "client_credentials"), ("client_id", client), ("scope", self.scope)];
        form.extend(proof.iter().map(|(name, value)| (*name, &**value)));
        let body = place.post(url, &form).await?;
        let (token, until) = place.access_token(&body)?;
        Ok((Found::Some(token), Some(until)))
    }

    /// Asks the service beside the container or the machine; `None` if there is none, or it has no identity.
    async fn managed(&self) -> Result<Option<Fresh<Secret>>, Failure> {
        let resource = self.scope.trim_end_matches("/.default");
        let place = self.place("the managed identity");
        let beside = self.get("IDENTITY_ENDPOINT").zip(self.get("IDENTITY_HEADER"));
        let (base, version, header) = match beside {
            Some((endpoint, secret)) => (endpoint.to_owned(), "2019-08-01", ("x-identity-header", secret)),
            None => {
                let host = self.get("AZURE_POD_IDENTITY_AUTHORITY_HOST").unwrap_or(METADATA).trim_end_matches('/');
                (format!("{host}/metadata/identity/oauth2/token"), "2018-02-01", ("metadata", "true"))
            }
        };
        let mut query = vec![("api-version", version), ("resource", resource)];
        query.extend(self.get("AZURE_CLIENT_ID").map(|id| ("client_id", id)));
        let url = Url::parse(&format!("{base}?{}", percent::query(&query)))
            .map_err(|_| place.error("its address is not a URL"))?;
        let Some(response) = place.ask(Method::GET, url, &[header]).await? else { return Ok(None) };
        // Other clouds have another service at this address, and a machine need not have an identity.
        if beside.is_none() && response.status().is_client_error() {
            return Ok(None);
        }
        let body = place.accept(response).await?;
        let (token, until) = place.access_token(&body)?;
        Ok(Some((Found::Some(token), Some(until))))
    }
}
