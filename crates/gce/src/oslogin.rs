//! OS Login: the key of a build in the profile of the account that asks, and the name that it logs in with.

use std::time::Duration;

use kiln_clouds::percent;
use kiln_ledger::poll::Backoff;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use crate::client::{Ask, Cancelled, Client};
use crate::endpoints::Service;
use crate::error::{GceError, Result};
use crate::operation::given_up;

/// How long another import into the same profile is waited for.
const BUSY: Duration = Duration::from_secs(120);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Imported {
    login_profile: Profile,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    #[serde(default)]
    posix_accounts: Vec<Account>,
}

#[derive(Deserialize)]
struct Account {
    #[serde(default)]
    primary: bool,
    username: String,
}

impl Client {
    /// The address of the account that asks.
    ///
    /// # Errors
    /// When the token is that of no account.
    pub fn who(&self, cancelled: Cancelled<'_>) -> Result<String> {
        let ask = Ask { method: Method::POST, ..Ask::get("oauth2/v2/tokeninfo", "the account that asks") };
        let ask = ask.of(Service::Oauth2);
        let answer = self.call(&ask, cancelled)?;
        let email = answer["email"].as_str().filter(|email| crate::names::is_email(email)).map(str::to_owned);
        let why = "the token does not say whose it is".to_owned();
        email.ok_or(GceError::Protocol { what: ask.what, why })
    }

    /// Puts a public key into the profile of an account; the name that it logs in with.
    ///
    /// # Errors
    /// When it may not, or has none.
    pub fn import_key(
        &self,
        account: &str,
        key: &str,
        expires: Option<u128>,
        cancelled: Cancelled<'_>,
    ) -> Result<String> {
        let place = format!("v1/users/{}:importSshPublicKey", percent::component(account));
        let mut body = json!({ "key": key });
        if let Some(at) = expires {
            body["expirationTimeUsec"] = at.to_string().into();
        }
        let ask = Ask::post(place, body, format!("SSH key of {account}")).of(Service::OsLogin);
        let mut backoff = Backoff::new(BUSY);
        let answer = loop {
            match self.call(&ask, cancelled) {
                // Another build changes the same profile.
                Err(error) if error.status() == Some(409) => {
                    backoff.wait(cancelled).map_err(|stop| given_up(stop, error))?;
                }
                other => break other?,
            }
        };
        let wrong = |why: &str| GceError::Protocol { what: ask.what.clone(), why: why.to_owned() };
        let imported: Imported = serde_json::from_value(answer).map_err(|_| wrong("it is no profile"))?;
        let accounts = imported.login_profile.posix_accounts;
        let primary = accounts.iter().find(|a| a.primary).or_else(|| accounts.first());
        primary.map(|a| a.username.clone()).ok_or_else(|| wrong("the profile has no account to log in with"))
    }

    /// Takes a key out of a profile again; whether it was there.
    ///
    /// # Errors
    /// When it may not.
    pub fn remove_key(&self, account: &str, fingerprint: &str, cancelled: Cancelled<'_>) -> Result<bool> {
        let place =
            format!("v1/users/{}/sshPublicKeys/{}", percent::component(account), percent::component(fingerprint));
        let ask = Ask::delete(place, format!("SSH key {fingerprint} of {account}")).of(Service::OsLogin);
        Ok(self.look(&ask, cancelled)?.is_some())
    }
}
