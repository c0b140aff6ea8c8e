//! How a host is reached over SSH: what a verb or a Clusterfile says of it, over what the user's own settings say.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use kiln_clusterfile::Host;
use kiln_host::keys::PrivateKey;
use kiln_host::ssh::Auth;
use kiln_host::ssh::target::{Target, User};
use kiln_host::{Secret, SshOptions};

use crate::error::CliError;

/// Bytes of a file with a key.
const MAX_KEY: u64 = 64 << 10;

/// What is said of a host.
#[derive(Debug)]
pub struct Login {
    /// Who, where, at which port.
    pub target: Target,
    /// A file with a private key, tried first; `~/` is the user's home.
    pub key: Option<String>,
    /// The passphrase of that key.
    pub passphrase: Option<Secret>,
    /// A password, tried last.
    pub password: Option<Secret>,
    /// Hosts to go through, the first is the one that is dialled.
    pub jump: Vec<Target>,
}

impl Login {
    /// Nothing but who and where.
    pub fn at(target: Target) -> Login {
        Login { target, key: None, passphrase: None, password: None, jump: Vec::new() }
    }

    /// What a cluster says of a host.
    pub fn of(host: &Host) -> Login {
        let ssh = &host.ssh;
        let secret = |said: &kiln_clusterfile::Secret| Secret::new(said.expose());
        Login {
            target: Target {
                user: ssh.user.as_ref().map(|user| user.value.clone()),
                host: host.address().to_string(),
                port: ssh.port.as_ref().map(|port| port.value),
            },
            key: ssh.key.as_ref().map(|key| key.value.clone()),
            passphrase: ssh.passphrase.as_ref().map(|said| secret(&said.value)),
            password: ssh.password.as_ref().map(|said| secret(&said.value)),
            jump: ssh.jump.iter().map(|hop| target(&hop.value)).collect(),
        }
    }

    /// The options of a connection. Warnings are about the user's own settings.
    pub fn options(&self, user: &User, warnings: &mut Vec<String>) -> Result<SshOptions, CliError> {
        self.options_with(user, warnings, |_| ())
    }

    /// The same, with something changed in those of the host and of each host on the way, as the user's settings make them.
    pub fn options_with(
        &self,
        user: &User,
        warnings: &mut Vec<String>,
        change: impl Fn(&mut SshOptions),
    ) -> Result<SshOptions, CliError> {
        let mut one = |target: &Target| {
            let options = target.options(user, &mut |_| None, warnings);
            let mut options = options.map_err(|error| CliError::input(error.to_string()))?;
            change(&mut options);
            Ok::<SshOptions, CliError>(options)
        };
        let mut options = one(&self.target)?;
        // The last is the one next to the host.
        let mut before: Option<Box<SshOptions>> = None;
        for hop in &self.jump {
            let mut next = one(hop)?;
            next.jump = before.take().or(next.jump);
            before = Some(Box::new(next));
        }
        options.jump = before.or(options.jump);
        if let Some(path) = &self.key {
            let key = key(path, self.passphrase.as_ref(), &user.home)?;
            options.auth.insert(0, Auth::Key { key, certificate: None });
        }
        if let Some(password) = &self.password {
            options.auth.extend([Auth::Password(password.clone()), Auth::Interactive(password.clone())]);
        }
        Ok(options)
    }
}

fn target(jump: &kiln_clusterfile::model::Jump) -> Target {
    Target { user: jump.user.clone(), host: jump.host.clone(), port: jump.port }
}

/// The private key of a file.
pub fn key(path: &str, passphrase: Option<&Secret>, home: &Path) -> Result<PrivateKey, CliError> {
    let full = path.strip_prefix("~/").map_or_else(|| PathBuf::from(path), |rest| home.join(rest));
    let failed = |why: String| CliError::input(format!("cannot read the key {path}: {why}"));
    let mut text = String::new();
    let file = std::fs::File::open(&full).map_err(|e| failed(e.to_string()))?;
    file.take(MAX_KEY).read_to_string(&mut text).map_err(|e| failed(e.to_string()))?;
    PrivateKey::parse(path, &Secret::new(text), passphrase).map_err(|e| {
        let told = CliError::input(e.to_string());
        match passphrase {
            None => told.with_hint("a key with a passphrase: ssh-add it, and do not name it"),
            Some(_) => told,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(home: &Path) -> User {
        User { name: "me".into(), home: home.to_owned(), agent: None, accept_new: false }
    }

    fn at(host: &str) -> Target {
        Target { user: None, host: host.into(), port: None }
    }

    #[test]
    fn hosts_on_the_way_are_in_the_order_that_they_are_dialled() {
        let home = tempfile::tempdir().unwrap();
        let login = Login { jump: vec![at("gate"), at("inner")], ..Login::at(at("10.0.0.1")) };
        let options = login.options_with(&user(home.path()), &mut Vec::new(), |options| options.port = 2222).unwrap();
        let inner = options.jump.unwrap();
        let gate = inner.jump.as_ref().unwrap();
        assert_eq!((inner.host.as_str(), gate.host.as_str()), ("inner", "gate"));
        assert!(gate.jump.is_none() && gate.port == 2222 && options.port == 2222, "each is changed");
    }

    #[test]
    fn a_key_is_first_a_password_last_and_a_key_that_is_not_there_is_told() {
        let home = tempfile::tempdir().unwrap();
        let login = Login { password: Some(Secret::new("p")), ..Login::at(at("10.0.0.1")) };
        let options = login.options(&user(home.path()), &mut Vec::new()).unwrap();
        assert!(matches!(options.auth.last(), Some(Auth::Interactive(_))));
        let login = Login { key: Some("~/none".into()), ..Login::at(at("10.0.0.1")) };
        let error = login.options(&user(home.path()), &mut Vec::new()).unwrap_err().message();
        assert!(error.starts_with("cannot read the key ~/none: "), "{error}");
    }
}
