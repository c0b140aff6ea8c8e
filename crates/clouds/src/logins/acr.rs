//! Azure's registries: an access token of Azure becomes a refresh token of the registry.

use std::time::{Duration, SystemTime};

use kiln_http::Secret;
use serde::Deserialize;
use url::Url;

use super::{Lasting, Login};
use crate::credentials::Place;
use crate::environ::Environment;
use crate::error::{CloudError, Failure};
use crate::transport::Transport;

/// Registries of Azure's clouds, after their name.
const DOMAINS: [&str; 4] = [".azurecr.io", ".azurecr.cn", ".azurecr.us", ".azurecr.de"];
/// How long a refresh token is used; it is good for three hours.
const LIFETIME: Duration = Duration::from_secs(3600);

/// Whether a registry is one of these.
pub(super) fn is_registry(host: &str) -> bool {
    let name = DOMAINS.iter().find_map(|domain| host.strip_suffix(domain)).unwrap_or_default();
    // One of a data endpoint or of a region has a dot.
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'))
}

/// Asks the registry for a refresh token. It is asked where it is spoken to: over plain http only if the user said so.
pub(super) async fn exchange(
    transport: &Transport,
    environment: &Environment,
    host: &str,
    base: &Url,
    token: &Secret,
) -> Result<Lasting, Failure> {
    #[derive(Deserialize)]
    struct Answer {
        refresh_token: Secret,
    }
    let place = Place { cloud: "Azure", name: "the registry (/oauth2/exchange)", transport };
    let url = base.join("/oauth2/exchange").ok().filter(|url| url.host_str() == Some(host));
    let url = url.ok_or_else(|| CloudError::Setup(format!("{host} is spoken to at another address")))?;
    let mut form = vec![("grant_type", "access_token"), ("service", host), ("access_token", token.expose())];
    form.extend(environment.get("AZURE_TENANT_ID").map(|tenant| ("tenant", tenant)));
    let body = place.post(url, &form).await?;
    let answer: Answer = serde_json::from_slice(&body).map_err(|_| place.error("its answer holds no refresh token"))?;
    Ok((Login::Refresh(answer.refresh_token), Some(SystemTime::now() + LIFETIME)))
}
