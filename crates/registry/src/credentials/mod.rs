//! Where credentials are: the configuration files of docker and podman, credential helpers, and what a caller hands in.
//!
//! ```text
//! handed in                         Credentials::with
//! DOCKER_AUTH_CONFIG                JSON in the variable
//! REGISTRY_AUTH_FILE                a file
//! $DOCKER_CONFIG/config.json        else ~/.docker/config.json
//! $XDG_RUNTIME_DIR/containers/auth.json
//! what this machine has           logins that clouds sell for it (`kiln-clouds`), by the host's name
//! ```
//! The first place that knows the registry wins. In a file, `credHelpers` wins over `credsStore`, and that over `auths`;
//! a program that is named there and not here matters only where nothing else has a login.

pub(crate) mod file;
mod helper;
mod login;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kiln_clouds::{Login, Logins};
use url::Url;

pub use kiln_clouds::Helper;
pub use login::{LoginStore, StoredIn};

pub use kiln_http::Secret;

use file::AuthFile;

/// What to log in with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A user name and a password or personal access token.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: Secret,
    },
    /// An OAuth2 refresh token, exchanged at the registry's token server.
    IdentityToken {
        /// The refresh token.
        token: Secret,
    },
    /// A bearer token, sent to the registry as it is.
    RegistryToken(Secret),
}

impl Credential {
    /// A user name and password.
    pub fn basic(username: impl Into<String>, password: impl Into<String>) -> Credential {
        Credential::Basic { username: username.into(), password: Secret::new(password) }
    }
}

/// Why a credential cannot be had or stored. Never holds one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// A file cannot be read or written.
    #[error("cannot {action} {}: {why}", path.display())]
    File {
        /// `read`, `write`, `lock`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The contents are not what they should be.
    #[error("{place} is not valid: {why}")]
    Invalid {
        /// The file or variable.
        place: String,
        /// What is wrong, without quoting it.
        why: String,
    },
    /// A credential helper cannot be run.
    #[error("cannot run the credential helper docker-credential-{name}: {why}")]
    HelperMissing {
        /// Its name.
        name: String,
        /// Why.
        why: String,
    },
    /// A credential helper failed.
    #[error("the credential helper docker-credential-{name} failed: {why}")]
    HelperFailed {
        /// Its name.
        name: String,
        /// Why, in its words.
        why: String,
    },
    /// A cloud does not sell a login for what this machine has.
    #[error("cannot log in to {host} with the credentials that were found: {why}")]
    Cloud {
        /// The registry.
        host: String,
        /// Why.
        why: String,
    },
    /// There is no home directory to keep a configuration in.
    #[error("there is no place for credentials: neither HOME nor DOCKER_CONFIG is set")]
    NoHome,
}

impl CredentialError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            CredentialError::HelperMissing { name, .. } => Some(format!(
                "install docker-credential-{name}, or remove it from credsStore and credHelpers of the docker config.json"
            )),
            CredentialError::Cloud { host, .. } => {
                Some(format!("mend what is wrong there, or log in by hand: kiln login {host}"))
            }
            CredentialError::NoHome => Some("set DOCKER_CONFIG to a directory".to_owned()),
            _ => None,
        }
    }
}

/// Where to look for credentials. Files are read when a credential is asked for, so a login elsewhere is seen.
#[derive(Debug, Clone)]
pub struct Credentials {
    given: Vec<(String, Credential)>,
    places: Vec<Place>,
    helper_timeout: Duration,
    /// What clouds sell.
    logins: Option<Arc<Logins>>,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// What to log in with.
    pub credential: Option<Credential>,
    /// Why there is nothing, though there should be.
    pub trouble: Option<String>,
}

#[derive(Clone)]
enum Place {
    Text { name: &'static str, json: String },
    File(PathBuf),
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Text { name, .. } => f.write_str(name),
            Place::File(path) => path.fmt(f),
        }
    }
}

const HELPER_TIMEOUT: Duration = Duration::from_secs(30);

impl Credentials {
    /// No credentials at all.
    pub fn none() -> Credentials {
        Credentials { given: Vec::new(), places: Vec::new(), helper_timeout: HELPER_TIMEOUT, logins: None }
    }

    /// The usual places, and what clouds sell for the credentials that this process has.
    pub fn from_env() -> Credentials {
        let places = Credentials::from_lookup(&|name| std::env::var(name).ok());
        places.with_helpers(kiln_clouds::Environment::of_process(), &Helper::ALL)
    }

    /// Asks clouds last, by these helpers and no others.
    #[must_use]
    pub fn with_helpers(self, environment: kiln_clouds::Environment, helpers: &[Helper]) -> Credentials {
        let config = kiln_clouds::Config { environment, ..kiln_clouds::Config::default() };
        // Proxies that are no addresses are told by who connects to the registry.
        Credentials { logins: Logins::new(config, helpers).ok().map(Arc::new), ..self }
    }

    /// The usual places, found with any source of variables.
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Credentials {
        let get = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let mut places = Vec::new();
        if let Some(json) = get("DOCKER_AUTH_CONFIG") {
            places.push(Place::Text { name: "DOCKER_AUTH_CONFIG", json });
        }
        if let Some(path) = get("REGISTRY_AUTH_FILE") {
            places.push(Place::File(path.into()));
        }
        if let Some(path) = docker_config(lookup) {
            places.push(Place::File(path));
        }
        if let Some(dir) = get("XDG_RUNTIME_DIR") {
            places.push(Place::File(Path::new(&dir).join("containers/auth.json")));
        }
        Credentials { places, ..Credentials::none() }
    }

    /// Adds a file in docker's or podman's form, asked after the places known so far.
    #[must_use]
    pub fn with_file(mut self, path: impl Into<PathBuf>) -> Credentials {
        self.places.push(Place::File(path.into()));
        self
    }

    /// Adds a credential for a registry (`host[:port]`) that wins over everything found elsewhere.
    #[must_use]
    pub fn with(mut self, host: impl Into<String>, credential: Credential) -> Credentials {
        self.given.insert(0, (host.into(), credential));
        self
    }

    /// Limits how long a credential helper may take.
    #[must_use]
    pub fn with_helper_timeout(mut self, timeout: Duration) -> Credentials {
        self.helper_timeout = timeout;
        self
    }

    /// The credential for a repository of a registry, if one is stored anywhere. Blocks while a helper runs; not to be
    /// called from asynchronous code.
    pub fn find(&self, host: &str, repository: &str) -> Result<Option<Credential>, CredentialError> {
        let base = Url::parse(&format!("https://{host}/")).ok();
        let find = async { Ok(self.find_async(host, repository, base.as_ref()).await?.credential) };
        helper::blocking(find)?
    }

    /// What to log in with to the registry that is spoken to at `base`.
    pub(crate) async fn find_async(
        &self,
        host: &str,
        repository: &str,
        base: Option<&Url>,
    ) -> Result<Found, CredentialError> {
        let served = self.logins.as_ref().filter(|logins| logins.serve(host)).zip(base);
        let credential = match (self.stored(host, repository).await, served) {
            (Ok(None), None) => None,
            (Ok(None), Some((logins, base))) => return sold(logins, host, base).await,
            (Err(missing @ CredentialError::HelperMissing { .. }), Some((logins, base))) => {
                let found = sold(logins, host, base).await?;
                return if found.credential.is_some() || found.trouble.is_some() { Ok(found) } else { Err(missing) };
            }
            (stored, _) => stored?,
        };
        Ok(Found { credential, trouble: None })
    }

    /// Forgets a login that a cloud sold and the registry does not accept; whether another one can be had.
    pub(crate) async fn forget(&self, host: &str) -> bool {
        match &self.logins {
            Some(logins) => logins.forget(host).await,
            None => false,
        }
    }

    async fn stored(&self, host: &str, repository: &str) -> Result<Option<Credential>, CredentialError> {
        if let Some((_, credential)) = self.given.iter().find(|(h, _)| file::canonical(h) == file::canonical(host)) {
            return Ok(Some(credential.clone()));
        }
        for place in &self.places {
            let file = match place {
                Place::Text { name, json } => AuthFile::parse(json.as_bytes(), name)?,
                Place::File(path) => match AuthFile::read(path)? {
                    Some(file) => file,
                    None => continue,
                },
            };
            if let Some(credential) = file.find(host, repository, self.helper_timeout).await? {
                return Ok(Some(credential));
            }
        }
        Ok(None)
    }
}

/// A login that a cloud sells. Where strangers may read, one that cannot be had is told if they turn out not to.
async fn sold(logins: &Logins, host: &str, base: &Url) -> Result<Found, CredentialError> {
    match logins.find(host, base).await {
        Ok(login) => {
            let credential = login.map(|login| match login {
                Login::Password { user, password } => Credential::Basic { username: user, password },
                Login::Refresh(token) => Credential::IdentityToken { token },
            });
            Ok(Found { credential, trouble: None })
        }
        Err(trouble) if trouble.passable => Ok(Found { credential: None, trouble: Some(trouble.why) }),
        Err(trouble) => Err(CredentialError::Cloud { host: host.to_owned(), why: trouble.why }),
    }
}

/// `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`.
fn docker_config(lookup: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let get = |name: &str| lookup(name).filter(|value| !value.is_empty());
    let dir =
        get("DOCKER_CONFIG").map(PathBuf::from).or_else(|| get("HOME").map(|home| Path::new(&home).join(".docker")))?;
    Some(dir.join("config.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_asked_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        std::fs::create_dir(at("docker")).unwrap();
        std::fs::create_dir_all(at("run/containers")).unwrap();
        let auths = |pairs: &[(&str, &str)]| {
            let entries: Vec<String> =
                pairs.iter().map(|(h, u)| format!(r#""{h}":{{"username":"{u}","password":"p"}}"#)).collect();
            format!(r#"{{"auths":{{{}}}}}"#, entries.join(","))
        };
        std::fs::write(at("reg.json"), auths(&[("b", "file"), ("a", "file")])).unwrap();
        std::fs::write(at("docker/config.json"), auths(&[("b", "docker"), ("c", "docker")])).unwrap();
        std::fs::write(at("run/containers/auth.json"), auths(&[("c", "podman"), ("d", "podman")])).unwrap();
        let credentials = Credentials::from_lookup(&|name| match name {
            "DOCKER_AUTH_CONFIG" => Some(auths(&[("a", "env")])),
            "REGISTRY_AUTH_FILE" => Some(at("reg.json")),
            "DOCKER_CONFIG" => Some(at("docker")),
            "XDG_RUNTIME_DIR" => Some(at("run")),
            _ => None,
        })
        .with("given:1", Credential::basic("given", "hunter2"));
        let user = |host: &str| match credentials.find(host, "x").unwrap() {
            Some(Credential::Basic { username, .. }) => username,
            other => format!("{other:?}"),
        };
        assert_eq!(
            ["a", "b", "c", "d", "given:1", "e"].map(user),
            ["env", "file", "docker", "podman", "given", "None"]
        );
        assert!(!format!("{credentials:?}").contains("hunter2"));
    }
}
