//! Who asks Azure, where the URL holds no shared access signature:
//!
//! 1. `AZURE_STORAGE_ACCESS_KEY`, the account's key
//! 2. workload identity: the token in `AZURE_FEDERATED_TOKEN_FILE`, for `AZURE_CLIENT_ID` of `AZURE_TENANT_ID`

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Found, Fresh, Place};
use crate::environ::Environment;
use crate::error::Failure;
use crate::error::ObjectError;
use crate::transport::Transport;
use kiln_http::Secret;

const STORE: &str = "Azure";
const AUTHORITY: &str = "https://login.microsoftonline.com";
const SCOPE: &str = "https://storage.azure.com/.default";

/// How to identify.
pub(crate) enum Identity {
    /// The account's key, decoded.
    Key(Vec<u8>),
    /// An access token.
    Token(Secret),
}

/// Looks for an identity.
pub(crate) struct Finder<'a> {
    pub transport: &'a Transport,
    pub environment: &'a Environment,
}

impl Finder<'_> {
    pub(crate) async fn find(&self) -> Result<Fresh<Identity>, Failure> {
        let get = |name| self.environment.get(name);
        if let Some(key) = get("AZURE_STORAGE_ACCESS_KEY") {
            let key = STANDARD.decode(key).map_err(|_| ObjectError::Variable {
                variable: "AZURE_STORAGE_ACCESS_KEY",
                why: "it is not base64".to_owned(),
            })?;
            return Ok((Found::Some(Identity::Key(key)), None));
        }
        let Some(file) = get("AZURE_FEDERATED_TOKEN_FILE") else {
            let looked = ["the URL", "AZURE_STORAGE_ACCESS_KEY", "AZURE_FEDERATED_TOKEN_FILE"];
            return Ok((Found::None(looked.map(str::to_owned).to_vec()), None));
        };
        let need = |name: &'static str| {
            get(name).ok_or_else(|| ObjectError::Variable {
                variable: "AZURE_FEDERATED_TOKEN_FILE",
                why: format!("{name} is not set"),
            })
        };
        let (client, tenant) = (need("AZURE_CLIENT_ID")?, need("AZURE_TENANT_ID")?);
        if !tenant.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c)) {
            let why = "it is not the name of a tenant".to_owned();
            return Err(ObjectError::Variable { variable: "AZURE_TENANT_ID", why }.into());
        }
        let token = Place { store: STORE, name: file, transport: self.transport }.file(file)?;
        let place = Place { store: STORE, name: "the token service (Entra)", transport: self.transport };
        let authority = get("AZURE_AUTHORITY_HOST").unwrap_or(AUTHORITY).trim_end_matches('/');
        let url = place.address(&format!("{authority}/{tenant}/oauth2/v2.0/token"))?;
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", client),
            ("scope", SCOPE),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", token.expose()),
        ];
        let body = place.post(url, &form).await?;
        let (token, until) = place.access_token(&body)?;
        Ok((Found::Some(Identity::Token(token)), Some(until)))
    }
}
