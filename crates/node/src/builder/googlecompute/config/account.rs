//! Who asks, in which project, and where the services are.

use std::path::PathBuf;

use kiln_gce::{Credentials, Endpoints, GceError, Secret, Source, endpoints, names};
use kiln_packer::fields::Fields;

use super::{file, text};
use crate::error::Result;

/// The account.
#[derive(Debug, Clone)]
pub struct Account {
    /// The project that the instance is in.
    pub project: String,
    /// Who asks.
    pub credentials: Credentials,
    /// Where the services are.
    pub endpoints: Endpoints,
}

/// Ways to say who asks, of which one may be used.
const WAYS: [&str; 5] =
    ["access_token", "account_file", "credentials_file", "credentials_json", "impersonate_service_account"];

pub fn parse(f: &Fields<'_>, warnings: &mut Vec<String>) -> Result<Account> {
    let project = project(f, "project_id")?.ok_or_else(|| f.missing("project_id"))?;
    Ok(Account { project, credentials: credentials(f, warnings)?, endpoints: places(f)? })
}

/// The identifier of a project.
pub fn project(f: &Fields<'_>, key: &str) -> Result<Option<String>> {
    let Some(project) = text(f, key)? else { return Ok(None) };
    match names::is_project(&project) {
        true => Ok(Some(project)),
        false => Err(f.fault(key, "BadProject", format!("`{project}` is no identifier of a project")).into()),
    }
}

fn credentials(f: &Fields<'_>, warnings: &mut Vec<String>) -> Result<Credentials> {
    if f.has("vault_gcp_oauth_engine") {
        let message = "vault_gcp_oauth_engine is not supported: Kiln does not speak to Vault";
        let hint = "fetch the token (`vault read -field=token PATH`) and give it as access_token";
        return Err(f.fault("vault_gcp_oauth_engine", "Unsupported", message).hint(hint).into());
    }
    let given: Vec<&str> = WAYS.into_iter().filter(|key| f.has(key)).collect();
    if let [_, second, ..] = given[..] {
        let message = format!("several ways to say who asks ({}): choose only one", given.join(", "));
        return Err(f.fault(second, "TooManyLogins", message).into());
    }
    let mut source = Source::Default;
    if let Some(token) = text(f, "access_token")? {
        source = Source::Token(Secret::new(token));
    }
    if let Some(json) = text(f, "credentials_json")? {
        source = Source::Json(Secret::new(json));
    }
    if let Some(path) = file(f, "credentials_file")? {
        source = Source::File(path);
    }
    if let Some(account) = text(f, "account_file")? {
        warnings.push("account_file is deprecated: write credentials_file or credentials_json".to_owned());
        source = match account.trim_start().starts_with('{') {
            true => Source::Json(Secret::new(account)),
            false => Source::File(super::there(f, "account_file", PathBuf::from(account))?),
        };
    }
    let impersonate = text(f, "impersonate_service_account")?;
    if let Some(account) = impersonate.as_ref().filter(|account| !names::is_email(account)) {
        let message = format!("`{account}` is not the address of a service account");
        return Err(f.fault("impersonate_service_account", "BadAccount", message).into());
    }
    Ok(Credentials { source, impersonate })
}

fn places(f: &Fields<'_>) -> Result<Endpoints> {
    let universe = text(f, "universe_domain")?.unwrap_or_else(|| endpoints::UNIVERSE.to_owned());
    let own = f.map("custom_endpoints")?.unwrap_or_default();
    Endpoints::new(&universe, &own).map_err(|error| {
        let key = if error.to_string().starts_with("universe") { "universe_domain" } else { "custom_endpoints" };
        let fault = f.fault(key, "BadEndpoint", error.to_string());
        let GceError::Input { what, .. } = &error else { return fault.into() };
        let name = what.rsplit('.').next().unwrap_or_default();
        match endpoints::SERVICES.contains(&name) || key == "universe_domain" {
            true => fault.into(),
            false => fault.suggest(name, endpoints::SERVICES).into(),
        }
    })
}
