//! Whose account, and where it is reached.

use std::collections::BTreeMap;

use kiln_clouds::{Config, Environment};
use kiln_ledger::sweep::Cloud;

use crate::client::{Client, checked};
use crate::credentials::Asked;
use crate::sweep::Sweeper;
use crate::{AlicloudError, Result};

/// The name of this cloud in ledgers.
pub const CLOUD: &str = "alicloud-ecs";

/// An account, as a template or a command line has it.
#[derive(Debug, Clone, Default)]
pub struct Account {
    /// Where machines and images are; else `ALICLOUD_REGION`, else what the profile says.
    pub region: Option<String>,
    /// `custom_endpoint_ecs`: `HOST`, `HOST:PORT` or a URL.
    pub endpoint: Option<String>,
    /// Who asks.
    pub keys: Asked,
}

impl Account {
    pub(crate) fn region(&self, environment: &Environment, profile: Option<&str>) -> Result<String> {
        match self.region.as_deref().or_else(|| environment.get("ALICLOUD_REGION")).or(profile) {
            Some(region) => checked(region),
            None => Err(AlicloudError::setting("no region is given", "set region, or ALICLOUD_REGION")),
        }
    }

    /// What a later clean-up must know to ask again; no secrets.
    pub fn about(&self, region: &str) -> BTreeMap<String, String> {
        let keys = &self.keys;
        let all = [
            ("region", Some(region)),
            ("endpoint", self.endpoint.as_deref()),
            ("profile", keys.profile.as_deref()),
            ("shared_credentials_file", keys.shared_credentials_file.as_deref()),
            ("ram_role_name", keys.ram_role_name.as_deref()),
            ("ram_role_arn", keys.ram_role_arn.as_deref()),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect()
    }
}

/// What deletes resources of an account, from what a [ledger](kiln_ledger::About) says of it and with the environment's
/// credentials.
///
/// # Errors
/// Credentials that are not there, settings that make no sense.
pub fn account(about: &BTreeMap<String, String>, environment: &Environment) -> Result<Box<dyn Cloud>> {
    let text = |name: &str| about.get(name).cloned();
    let keys = Asked {
        profile: text("profile"),
        shared_credentials_file: text("shared_credentials_file"),
        ram_role_name: text("ram_role_name"),
        ram_role_arn: text("ram_role_arn"),
        ..Asked::default()
    };
    let account = Account { region: text("region"), endpoint: text("endpoint"), keys };
    let config = Config { environment: environment.clone(), ..Config::default() };
    Ok(Box::new(Sweeper::new(Client::new(&account, config)?)))
}
