//! Where the services are: Google's own, those of another universe, or what a template says.
//!
//! ```text
//! key             default in googleapis.com                    its calls
//! compute         https://compute.googleapis.com/compute/v1/   projects/…
//! storage         https://storage.googleapis.com/              upload/storage/v1/b/…, storage/v1/b/…
//! oslogin         https://oslogin.googleapis.com/              v1/users/…
//! oauth2          https://www.googleapis.com/                  oauth2/v2/tokeninfo
//! iamcredentials  https://iamcredentials.googleapis.com/       v1/projects/-/serviceAccounts/…:generateAccessToken
//! ```

use std::collections::BTreeMap;

use kiln_clouds::transport::is_loopback;
use url::Url;

use crate::error::{GceError, Result};

/// What may have an address of its own.
pub const SERVICES: [&str; 5] = ["compute", "storage", "oslogin", "oauth2", "iamcredentials"];

/// Google's own universe.
pub const UNIVERSE: &str = "googleapis.com";

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Instances, disks, images.
    Compute,
    /// Objects.
    Storage,
    /// Keys of accounts.
    OsLogin,
    /// Who a token is.
    Oauth2,
    /// Tokens of other accounts.
    IamCredentials,
}

impl Service {
    fn name(self) -> &'static str {
        SERVICES[self as usize]
    }
}

/// Where the services are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    universe: String,
    own: BTreeMap<String, String>,
}

impl Default for Endpoints {
    fn default() -> Self {
        Endpoints { universe: UNIVERSE.to_owned(), own: BTreeMap::new() }
    }
}

impl Endpoints {
    /// Those of a universe, with some in other places.
    ///
    /// # Errors
    /// What is no name of a universe; services that there are not; addresses that are not https and not on this machine,
    /// because tokens go there.
    pub fn new(universe: &str, own: &[(String, String)]) -> Result<Endpoints> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
        if universe.is_empty() || !universe.contains('.') || !universe.chars().all(fits) {
            return Err(bad("universe_domain", "it is no domain"));
        }
        for (name, address) in own {
            if !SERVICES.contains(&&**name) {
                return Err(bad(
                    &format!("custom_endpoints.{name}"),
                    &format!("the services are {}", SERVICES.join(", ")),
                ));
            }
            check(address).map_err(|why| bad(&format!("custom_endpoints.{name}"), why))?;
        }
        Ok(Endpoints { universe: universe.to_owned(), own: own.iter().cloned().collect() })
    }

    /// The address that paths of a service are appended to.
    pub fn of(&self, service: Service) -> String {
        if let Some(own) = self.own.get(service.name()) {
            return format!("{}/", own.trim_end_matches('/'));
        }
        let universe = &self.universe;
        match service {
            Service::Compute => format!("https://compute.{universe}/compute/v1/"),
            Service::Storage => format!("https://storage.{universe}/"),
            Service::OsLogin => format!("https://oslogin.{universe}/"),
            Service::Oauth2 => format!("https://www.{universe}/"),
            Service::IamCredentials => format!("https://iamcredentials.{universe}/"),
        }
    }

    /// The server of objects, without the path that its calls begin with.
    pub fn storage_server(&self) -> String {
        let address = self.of(Service::Storage);
        let address = address.trim_end_matches('/');
        address.strip_suffix("/storage/v1").unwrap_or(address).to_owned()
    }

    /// What of this is not as usual, for a ledger.
    pub fn remembered(&self) -> BTreeMap<String, String> {
        let mut all: BTreeMap<String, String> = BTreeMap::new();
        if self.universe != UNIVERSE {
            all.insert("universe_domain".to_owned(), self.universe.clone());
        }
        all.extend(self.own.iter().map(|(name, address)| (format!("endpoint_{name}"), address.clone())));
        all
    }

    /// The way back from [`remembered`](Endpoints::remembered).
    ///
    /// # Errors
    /// As [`Endpoints::new`]: a ledger is a file, too.
    pub fn recalled(about: &BTreeMap<String, String>) -> Result<Endpoints> {
        let own = about.iter().filter_map(|(k, v)| Some((k.strip_prefix("endpoint_")?.to_owned(), v.clone())));
        let universe = about.get("universe_domain").map_or(UNIVERSE, |u| u);
        Endpoints::new(universe, &own.collect::<Vec<_>>())
    }
}

fn bad(what: &str, why: &str) -> GceError {
    GceError::Input { what: what.to_owned(), why: why.to_owned(), hint: None }
}

fn check(address: &str) -> Result<(), &'static str> {
    let url = Url::parse(address).map_err(|_| "it is not a URL")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it holds a user or a password");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("it holds a `?` or a `#`");
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_loopback(&url) => Ok(()),
        _ => Err("it is not https, and tokens go there"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(pairs: &[(&str, &str)]) -> Result<Endpoints> {
        Endpoints::new(UNIVERSE, &pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Vec<_>>())
    }

    #[test]
    fn universes_and_own_places() {
        assert_eq!(Endpoints::default().of(Service::Compute), "https://compute.googleapis.com/compute/v1/");
        let other = Endpoints::new("apis-s3ns.fr", &[]).unwrap();
        assert_eq!(other.of(Service::OsLogin), "https://oslogin.apis-s3ns.fr/");
        let own =
            own(&[("compute", "http://127.0.0.1:9/compute/v1"), ("storage", "https://s.example/storage/v1/")]).unwrap();
        assert_eq!(own.of(Service::Compute), "http://127.0.0.1:9/compute/v1/");
        assert_eq!(own.storage_server(), "https://s.example");
        assert_eq!(Endpoints::recalled(&own.remembered()).unwrap(), own);
        assert_eq!(Endpoints::recalled(&other.remembered()).unwrap(), other);
    }

    #[test]
    fn tokens_go_nowhere_unsafe() {
        for (name, address, why) in [
            ("compute", "http://compute.example/", "not https"),
            ("compute", "https://u:hunter2@h/", "a user"),
            ("compute", "https://h/?a", "`?`"),
            ("computer", "https://h/", "the services are"),
            ("oslogin", "h", "not a URL"),
        ] {
            let error = own(&[(name, address)]).unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("hunter2"), "{error}");
        }
        assert!(Endpoints::new("evil/..", &[]).is_err() && Endpoints::new("", &[]).is_err());
    }
}
