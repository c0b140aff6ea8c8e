//! Logins to registries that clouds run, bought with the credentials that a pod, machine or user has there already.
//!
//! ```text
//! ecr      ACCOUNT.dkr.ecr.REGION.amazonaws.com, public.ecr.aws     keys, at GetAuthorizationToken
//! google   gcr.io, *.gcr.io, *.pkg.dev                              an access token, as it is
//! acr      *.azurecr.io (.cn, .us, .de)                             an access token, at the registry's /oauth2/exchange
//! gitlab   the host of CI_REGISTRY                                  CI_REGISTRY_USER and CI_REGISTRY_PASSWORD
//! env      any host                                                 DOCKER_<HOST>_USR and _PSW; GITHUB_TOKEN for ghcr.io
//! ```
//!
//! Hosts are compared as a whole: no registry is asked for, or told, what belongs to one with a similar name. A login is
//! kept in memory until it ends.

mod acr;
mod ecr;
mod variables;

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime};

use kiln_http::{Retry, Secret};
use tokio::sync::Mutex;
use url::Url;

use crate::config::Config;
use crate::credentials::aws::{self, Keys};
use crate::credentials::{Cache, Found, azure, google};
use crate::environ::Environment;
use crate::error::{CloudError, Failure};
use crate::transport::Transport;

/// Logins are renewed so long before they end.
const MARGIN: Duration = Duration::from_secs(300);
/// How often a service that fails is asked again.
const RETRIES: u32 = 3;
const BACKOFF: Duration = Duration::from_millis(250);
/// So long what failed is taken to fail again.
const GIVEN_UP: Duration = Duration::from_secs(60);
/// What Google's registries take for a user with an access token.
const TOKEN_USER: &str = "oauth2accesstoken";
const GOOGLE_SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const AZURE_SCOPE: &str = "https://containerregistry.azure.net/.default";

/// One way to get logins, by the name that kaniko has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Helper {
    /// Variables that name a host.
    Env,
    /// Google's registries.
    Google,
    /// Amazon's.
    Ecr,
    /// Azure's.
    Acr,
    /// GitLab's, in its pipelines.
    Gitlab,
}

impl Helper {
    /// All of them, in the order in which they are asked.
    pub const ALL: [Helper; 5] = [Helper::Env, Helper::Google, Helper::Ecr, Helper::Acr, Helper::Gitlab];

    /// Whether a registry is one of these.
    fn serves(self, host: &str, environment: &Environment) -> bool {
        match self {
            Helper::Env => variables::of_host(host, environment).is_some(),
            Helper::Gitlab => variables::of_gitlab(host, environment).is_some(),
            Helper::Google => host == "gcr.io" || host.ends_with(".gcr.io") || host.ends_with(".pkg.dev"),
            Helper::Ecr => ecr::Registry::of(host).is_some(),
            Helper::Acr => acr::is_registry(host),
        }
    }

    /// Whether strangers may read there, so that a login that cannot be had need not matter.
    fn has_strangers(self, host: &str) -> bool {
        match self {
            Helper::Google | Helper::Acr => true,
            Helper::Ecr => host == ecr::PUBLIC,
            Helper::Env | Helper::Gitlab => false,
        }
    }
}

impl fmt::Display for Helper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Helper::Env => "env",
            Helper::Google => "google",
            Helper::Ecr => "ecr",
            Helper::Acr => "acr",
            Helper::Gitlab => "gitlab",
        })
    }
}

impl FromStr for Helper {
    type Err = ();

    fn from_str(text: &str) -> Result<Helper, ()> {
        Helper::ALL.into_iter().find(|helper| helper.to_string() == text).ok_or(())
    }
}

/// What to log in with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// A user and a password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A token that the registry's token server takes.
    Refresh(Secret),
}

/// Why there is no login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What failed, in words, and without what is secret.
    pub why: String,
    /// Whether the registry may be asked without one.
    pub passable: bool,
}

/// A login, and until when it is good.
type Lasting = (Login, Option<SystemTime>);

/// What is known of one registry.
#[derive(Debug)]
enum Kept {
    Login(Lasting),
    Trouble(Trouble, Instant),
}

/// Gets logins, and keeps them.
#[derive(Debug)]
pub struct Logins {
    helpers: Vec<Helper>,
    environment: Environment,
    transport: Transport,
    aws: Cache<Keys>,
    google: Cache<Secret>,
    azure: Cache<Secret>,
    /// By host.
    kept: Mutex<HashMap<String, Kept>>,
}

impl Logins {
    /// By these helpers. Nothing is connected to, or looked for, yet.
    ///
    /// # Errors
    /// Proxies that are not addresses.
    pub fn new(config: Config, helpers: &[Helper]) -> Result<Logins, CloudError> {
        let environment = config.environment.clone();
        let transport = Transport::new(config)?;
        let (aws, google, azure, kept) = Default::default();
        Ok(Logins { helpers: helpers.to_vec(), environment, transport, aws, google, azure, kept })
    }

    /// Whether any helper is for this registry.
    pub fn serve(&self, host: &str) -> bool {
        self.helper(&host.to_ascii_lowercase()).is_some()
    }

    fn helper(&self, host: &str) -> Option<Helper> {
        self.helpers.iter().copied().find(|helper| helper.serves(host, &self.environment))
    }

    /// The login to a registry that is spoken to at `base`; `None` if there are no credentials for its cloud.
    ///
    /// # Errors
    /// When credentials are configured and cannot be had, or the cloud refuses them.
    pub async fn find(&self, host: &str, base: &Url) -> Result<Option<Login>, Trouble> {
        let host = host.to_ascii_lowercase();
        let Some(helper) = self.helper(&host) else { return Ok(None) };
        // One caller looks while others wait.
        let mut kept = self.kept.lock().await;
        let good = |until: &Option<SystemTime>| until.is_none_or(|until| SystemTime::now() + MARGIN < until);
        match kept.get(&host) {
            Some(Kept::Login((login, until))) if good(until) => return Ok(Some(login.clone())),
            Some(Kept::Trouble(trouble, since)) if since.elapsed() < GIVEN_UP => return Err(trouble.clone()),
            _ => {}
        }
        match self.persist(helper, &host, base).await {
            Ok(None) => Ok(None),
            Ok(Some((login, until))) => {
                kept.insert(host, Kept::Login((login.clone(), until)));
                Ok(Some(login))
            }
            Err(error) => {
                let trouble = Trouble { why: error.to_string(), passable: helper.has_strangers(&host) };
                kept.insert(host, Kept::Trouble(trouble.clone(), Instant::now()));
                Err(trouble)
            }
        }
    }

    /// Looks until there is an answer or no hope.
    async fn persist(&self, helper: Helper, host: &str, base: &Url) -> Result<Option<Lasting>, CloudError> {
        let mut retry = Retry::new(RETRIES, BACKOFF);
        loop {
            match self.look(helper, host, base).await {
                Ok(found) => return Ok(found),
                Err(failure) => retry.pause(failure).await?,
            }
        }
    }

    /// Forgets a login that a registry did not accept; whether looking again can find another one.
    pub async fn forget(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let Some(Kept::Login((_, Some(_)))) = self.kept.lock().await.remove(&host) else { return false };
        match self.helper(&host) {
            Some(Helper::Google) => drop(self.google.forget().await),
            Some(Helper::Ecr) => drop(self.aws.forget().await),
            Some(Helper::Acr) => drop(self.azure.forget().await),
            Some(Helper::Env | Helper::Gitlab) | None => {}
        }
        true
    }

    async fn look(&self, helper: Helper, host: &str, base: &Url) -> Result<Option<Lasting>, Failure> {
        match helper {
            Helper::Env => Ok(variables::of_host(host, &self.environment).map(|login| (login, None))),
            Helper::Gitlab => Ok(variables::of_gitlab(host, &self.environment).map(|login| (login, None))),
            Helper::Google => self.google().await,
            Helper::Ecr => match ecr::Registry::of(host) {
                Some(registry) => self.ecr(&registry).await,
                None => Ok(None),
            },
            Helper::Acr => self.acr(host, base).await,
        }
    }

    async fn google(&self) -> Result<Option<Lasting>, Failure> {
        let (transport, environment) = (&self.transport, &self.environment);
        let finder = google::Finder { transport, environment, scope: GOOGLE_SCOPE };
        let found = self.google.lasting(finder.find()).await?;
        let login = |token: &Secret| Login::Password { user: TOKEN_USER.to_owned(), password: token.clone() };
        Ok(match &*found.0 {
            Found::Some(token) => Some((login(token), found.1)),
            Found::None(_) => None,
        })
    }

    async fn ecr(&self, registry: &ecr::Registry) -> Result<Option<Lasting>, Failure> {
        let (transport, environment) = (&self.transport, &self.environment);
        let finder = aws::Finder { transport, environment };
        match &*self.aws.get(finder.find()).await? {
            Found::Some(keys) => registry.login(transport, environment, keys).await.map(Some),
            Found::None(_) => Ok(None),
        }
    }

    async fn acr(&self, host: &str, base: &Url) -> Result<Option<Lasting>, Failure> {
        let (transport, environment) = (&self.transport, &self.environment);
        let finder = azure::Finder { transport, environment, scope: AZURE_SCOPE };
        match &*self.azure.get(finder.find()).await? {
            Found::Some(token) => acr::exchange(transport, environment, host, base, token).await.map(Some),
            Found::None(_) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn helper(host: &str) -> Option<Helper> {
        let environment = Environment::empty()
            .with("CI_REGISTRY", "registry.gitlab.example:5050")
            .with("CI_REGISTRY_USER", "u")
            .with("CI_REGISTRY_PASSWORD", "p");
        Logins::new(Config { environment, ..Config::default() }, &Helper::ALL).unwrap().helper(host)
    }

    #[test]
    fn hosts_are_compared_as_a_whole() {
        for (host, want) in [
            ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", Some(Helper::Ecr)),
            ("public.ecr.aws", Some(Helper::Ecr)),
            ("gcr.io", Some(Helper::Google)),
            ("eu.gcr.io", Some(Helper::Google)),
            ("europe-west1-docker.pkg.dev", Some(Helper::Google)),
            ("team.azurecr.io", Some(Helper::Acr)),
            ("team.azurecr.cn", Some(Helper::Acr)),
            ("registry.gitlab.example:5050", Some(Helper::Gitlab)),
            ("docker.io", None),
            ("evilgcr.io", None),
            ("gcr.io.evil.example", None),
            ("team.azurecr.io.evil.example", None),
            ("azurecr.io", None),
            ("team.azurecr.io:8443", None),
            ("evil.example/team.azurecr.io", None),
            ("xpkg.dev", None),
            ("123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example", None),
            ("public.ecr.aws.evil.example", None),
        ] {
            assert_eq!(helper(host), want, "{host}");
        }
    }

    #[test]
    fn names_are_kanikos() {
        for name in ["env", "google", "ecr", "acr", "gitlab"] {
            assert_eq!(name.parse::<Helper>().unwrap().to_string(), name);
        }
        assert!("".parse::<Helper>().is_err() && "ECR".parse::<Helper>().is_err());
    }
}
