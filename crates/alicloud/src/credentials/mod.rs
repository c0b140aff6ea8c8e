//! Who asks: keys, and where they are found.
//!
//! ```text
//! 1  access_key and secret_key, security_token            of the template, else ALICLOUD_ACCESS_KEY and so on
//! 2  profile, shared_credentials_file                     else ALICLOUD_PROFILE; ~/.aliyun/config.json
//! 3  ram_role_name                                        the metadata server of the ECS machine that Kiln runs on
//! +  ram_role_arn, ram_session_name                       AssumeRole with one of these
//! ```
//!
//! The first that is said is taken, and is an error when it cannot be used: another one is not tried in its place.

mod profile;
mod role;

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use kiln_clouds::Environment;
use kiln_http::Secret;

use crate::wire::Wire;
use crate::{AlicloudError, Result, Stop};

/// Keys are renewed so long before they end.
const MARGIN: Duration = Duration::from_secs(300);

/// A key, and the token of one that ends.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// Its identifier.
    pub id: String,
    /// What signs.
    pub secret: Secret,
    /// Goes along with temporary keys.
    pub token: Option<Secret>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({}…)", self.id.chars().take(4).collect::<String>())
    }
}

/// Keys, and until when they are good.
type Fresh = (Keys, Option<SystemTime>);

/// What a template says about who asks.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// `access_key`.
    pub access_key: Option<String>,
    /// `secret_key`.
    pub secret_key: Option<Secret>,
    /// `security_token`.
    pub security_token: Option<Secret>,
    /// `ram_role_name`: of the machine of ECS that Kiln runs on.
    pub ram_role_name: Option<String>,
    /// `ram_role_arn`: a role to take on.
    pub ram_role_arn: Option<String>,
    /// `ram_session_name`: how that is called in logs.
    pub ram_session_name: Option<String>,
    /// `profile`.
    pub profile: Option<String>,
    /// `shared_credentials_file`.
    pub shared_credentials_file: Option<String>,
}

/// Where keys come from, decided without asking anybody.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    Keys(Keys),
    /// The role of this machine; `None` asks which it has.
    Machine(Option<String>),
    /// A role that is taken on with the keys of another source.
    Role {
        base: Box<Source>,
        arn: String,
        session: String,
        seconds: u64,
    },
}

/// A source, and what its profile says besides.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) source: Source,
    pub(crate) region: Option<String>,
}

impl Asked {
    /// Finds out where the keys are.
    pub(crate) fn find(&self, environment: &Environment) -> Result<Found> {
        let mut found = self.base(environment)?;
        if let Some(arn) = &self.ram_role_arn {
            let session = self.ram_session_name.clone().unwrap_or_else(|| "kiln".to_owned());
            found.source = Source::Role { base: Box::new(found.source), arn: arn.clone(), session, seconds: 3600 };
        }
        Ok(found)
    }

    fn base(&self, environment: &Environment) -> Result<Found> {
        let text = |name| environment.get(name).map(str::to_owned);
        let here = |source| Ok(Found { source, region: None });
        // A template that names a profile or role means it, whatever is in the environment.
        let elsewhere = self.profile.is_some() || self.ram_role_name.is_some();
        let id = self.access_key.clone().or_else(|| text("ALICLOUD_ACCESS_KEY").filter(|_| !elsewhere));
        if let Some(id) = id {
            let secret = self.secret_key.clone().or_else(|| text("ALICLOUD_SECRET_KEY").map(Secret::new));
            let Some(secret) = secret else {
                let why = "there is an access key without its secret: secret_key, ALICLOUD_SECRET_KEY".to_owned();
                return Err(AlicloudError::Credentials { place: "access_key".to_owned(), why });
            };
            let token = self.security_token.clone().or_else(|| text("SECURITY_TOKEN").map(Secret::new));
            return here(Source::Keys(Keys { id, secret, token }));
        }
        if let Some(role) = self.ram_role_name.clone().filter(|_| self.profile.is_none()) {
            return here(Source::Machine(Some(role)));
        }
        let named = self.profile.clone().or_else(|| text("ALICLOUD_PROFILE"));
        let file = match &self.shared_credentials_file {
            Some(path) => Some(expanded(path, environment)),
            None => environment.file("ALICLOUD_SHARED_CREDENTIALS_FILE", ".aliyun/config.json"),
        };
        match (named, file) {
            (named, Some(path)) if named.is_some() || path.is_file() => profile::read(&path, named.as_deref()),
            (Some(name), _) => {
                let why = format!("the profile `{name}` is wanted, and HOME is not set");
                Err(AlicloudError::Credentials { place: "~/.aliyun/config.json".to_owned(), why })
            }
            (None, _) => {
                let place = "the template, the environment and ~/.aliyun/config.json".to_owned();
                Err(AlicloudError::Credentials { place, why: "there are none".to_owned() })
            }
        }
    }
}

fn expanded(path: &str, environment: &Environment) -> std::path::PathBuf {
    match (path.strip_prefix("~/"), environment.get("HOME")) {
        (Some(rest), Some(home)) => std::path::Path::new(home).join(rest),
        _ => path.into(),
    }
}

/// The keys in use, renewed when they end.
#[derive(Debug)]
pub(crate) struct Keychain {
    source: Source,
    region: String,
    held: Mutex<Option<Fresh>>,
}

impl Keychain {
    pub(crate) fn new(source: Source, region: &str) -> Keychain {
        Keychain { source, region: region.to_owned(), held: Mutex::new(None) }
    }

    /// Keys that are good for some time yet.
    pub(crate) fn keys(&self, wire: &Wire, stop: Stop<'_>) -> Result<Keys> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let good = |until: Option<SystemTime>| until.is_none_or(|until| SystemTime::now() + MARGIN < until);
        if let Some((keys, _)) = held.as_ref().filter(|(_, until)| good(*until)) {
            return Ok(keys.clone());
        }
        let fresh = self.get(&self.source, wire, stop)?;
        Ok(held.insert(fresh).0.clone())
    }

    fn get(&self, source: &Source, wire: &Wire, stop: Stop<'_>) -> Result<Fresh> {
        match source {
            Source::Keys(keys) => Ok((keys.clone(), None)),
            Source::Machine(role) => role::of_machine(role.as_deref(), wire, stop),
            Source::Role { base, arn, session, seconds } => {
                let (keys, _) = self.get(base, wire, stop)?;
                role::assume(&keys, &role::Role { arn, session, seconds: *seconds, region: &self.region }, wire, stop)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(source: &Source) -> String {
        match source {
            Source::Keys(keys) => format!("{}/{}", keys.id, keys.token.is_some()),
            Source::Machine(role) => format!("machine {role:?}"),
            Source::Role { base, arn, session, seconds } => format!("{} as {arn} {session} {seconds}", keys(base)),
        }
    }

    #[test]
    fn the_template_comes_before_the_environment_and_that_before_files() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join(".aliyun");
        std::fs::create_dir(&home).unwrap();
        let profiles = r#"{"current": "work", "profiles": [
            {"name": "work", "mode": "StsToken", "access_key_id": "file", "access_key_secret": "s", "sts_token": "t", "region_id": "cn-beijing"},
            {"name": "role", "mode": "RamRoleArn", "access_key_id": "base", "access_key_secret": "s", "ram_role_arn": "acs:ram::1:role/r", "ram_session_name": "me", "expired_seconds": 900},
            {"name": "box", "mode": "EcsRamRole", "ram_role_name": "builder"},
            {"name": "sso", "mode": "CloudSSO"}]}"#;
        std::fs::write(home.join("config.json"), profiles).unwrap();
        let bare = Environment::empty().with("HOME", dir.path().display().to_string());
        let env = bare.clone().with("ALICLOUD_ACCESS_KEY", "env").with("ALICLOUD_SECRET_KEY", "s");
        let some = |text: &str| Some(text.to_owned());
        let own = Asked { access_key: some("own"), secret_key: Some(Secret::new("s")), ..Asked::default() };
        let said = |asked: &Asked, env: &Environment| keys(&asked.find(env).unwrap().source);
        assert_eq!(said(&own, &env), "own/false");
        assert_eq!(said(&Asked::default(), &env.clone().with("SECURITY_TOKEN", "t")), "env/true");
        let found = Asked::default().find(&bare).unwrap();
        assert_eq!((keys(&found.source).as_str(), found.region.as_deref()), ("file/true", Some("cn-beijing")));
        let named = |name: &str| Asked { profile: some(name), ..Asked::default() };
        assert_eq!(said(&named("role"), &env), "base/false as acs:ram::1:role/r me 900");
        assert_eq!(said(&named("box"), &env), r#"machine Some("builder")"#);
        let role = Asked { ram_role_name: some("r"), ram_role_arn: some("arn"), ..Asked::default() };
        assert_eq!(said(&role, &env), r#"machine Some("r") as arn kiln 3600"#);
        for (asked, words) in [
            (named("sso"), "CloudSSO"),
            (named("none"), "no profile `none`"),
            (Asked { access_key: some("x"), ..Asked::default() }, "without its secret"),
        ] {
            let error = asked.find(&bare).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let error = Asked::default().find(&Environment::empty()).unwrap_err();
        assert!(error.to_string().contains("there are none") && error.hint().unwrap().contains("ALICLOUD_ACCESS_KEY"));
    }

    #[test]
    fn keys_are_not_shown() {
        let keys =
            Keys { id: "LTAI1234567".to_owned(), secret: Secret::new("hunter2"), token: Some(Secret::new("tok")) };
        assert_eq!(format!("{keys:?}"), "Keys(LTAI…)");
    }
}
