//! What a user writes for a machine, and what becomes of it with their settings of ssh.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::options::{Auth, Family, HostKeys, SshOptions};
use crate::keys::{Certificate, PrivateKey};
use crate::ssh_config::{self, Settings};
use crate::{HostError, Secret};

/// Keys that ssh looks for when nothing is said.
const DEFAULT_KEYS: [&str; 3] = ["id_ed25519", "id_ecdsa", "id_rsa"];
/// Jump hosts that name jump hosts.
const DEPTH: usize = 8;
const KEY_LIMIT: u64 = 64 << 10;

/// `ssh://user@host:port`, or without the scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Who, if it says so.
    pub user: Option<String>,
    /// A name, an address, or a `Host` of the user's settings.
    pub host: String,
    /// The port, if it says so.
    pub port: Option<u16>,
}

/// Who runs Kiln, and what the environment says of them.
#[derive(Debug, Clone)]
pub struct User {
    /// The name to log in with when nothing else says one.
    pub name: String,
    /// Their directory.
    pub home: PathBuf,
    /// What `SSH_AUTH_SOCK` names.
    pub agent: Option<PathBuf>,
    /// Whether new host keys are to be accepted and kept.
    pub accept_new: bool,
}

impl Target {
    /// Reads what a user wrote. Addresses of IPv6 with a port are in brackets.
    ///
    /// # Errors
    /// When it is none; a password in it is refused, as it would be in everybody's `ps`.
    pub fn parse(text: &str) -> Result<Target, HostError> {
        let fail = |why: &str| {
            let what = format!("`{}` as a machine", crate::error::printable(text.as_bytes()));
            Err(HostError::Unsupported { what, why: why.to_owned() })
        };
        let rest = text.strip_prefix("ssh://").unwrap_or(text);
        let rest = if rest.len() < text.len() { rest.trim_end_matches('/') } else { rest };
        let (user, rest) = match rest.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, rest),
        };
        if user.is_some_and(|user| user.contains(':')) {
            let what = "a password in the name of a machine".to_owned();
            return Err(HostError::Unsupported { what, why: "others could see it; say it another way".to_owned() });
        }
        let (host, port) = match rest.strip_prefix('[') {
            Some(inner) => match inner.split_once(']') {
                Some((host, "")) => (host, None),
                Some((host, port)) => (host, port.strip_prefix(':').or(Some(""))),
                None => return fail("a bracket is not closed"),
            },
            None if rest.matches(':').count() > 1 => (rest, None),
            None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
        };
        let port = match port.map(str::parse::<u16>) {
            None => None,
            Some(Ok(port)) if port > 0 => Some(port),
            Some(_) => return fail("what is behind the colon is no port"),
        };
        let odd = |c: char| c.is_whitespace() || c.is_control() || c == '/' || c == '@';
        if host.is_empty() || host.starts_with('-') || host.contains(odd) || user.is_some_and(str::is_empty) {
            return fail("it is `[ssh://][USER@]HOST[:PORT]`");
        }
        Ok(Target { user: user.map(str::to_owned), host: host.to_owned(), port })
    }

    /// How to reach it: what the target says, then what the user's `~/.ssh/config` says, then what ssh does by itself.
    /// The settings' warnings are appended to `warnings`. `passphrase` is asked for each key that is encrypted; keys it
    /// has none for are left out with a warning.
    ///
    /// # Errors
    /// When the settings, or a key that they name, cannot be used.
    pub fn options(
        &self,
        user: &User,
        passphrase: &mut dyn FnMut(&Path) -> Option<Secret>,
        warnings: &mut Vec<String>,
    ) -> Result<SshOptions, HostError> {
        self.options_at(user, passphrase, warnings, 0)
    }

    fn options_at(
        &self,
        user: &User,
        passphrase: &mut dyn FnMut(&Path) -> Option<Secret>,
        warnings: &mut Vec<String>,
        depth: usize,
    ) -> Result<SshOptions, HostError> {
        let ssh = user.home.join(".ssh");
        let settings = ssh_config::read(&ssh.join("config"), &self.host, &user.home)?;
        warnings.extend(settings.warnings.iter().cloned());
        let known = settings.known_hosts.clone().unwrap_or_else(|| vec![ssh.join("known_hosts")]);
        let files = known.into_iter().chain([PathBuf::from("/etc/ssh/ssh_known_hosts")]).collect();
        let accept = user.accept_new || settings.strict_host_keys.as_deref() == Some("accept-new");
        let host_keys = if accept { HostKeys::AcceptNew(files) } else { HostKeys::Known(files) };
        let host = settings.host_name.clone().unwrap_or_else(|| self.host.clone());
        let name = self.user.clone().or_else(|| settings.user.clone()).unwrap_or_else(|| user.name.clone());
        let mut options = SshOptions::new(host, name, host_keys);
        options.port = self.port.or(settings.port).unwrap_or(22);
        options.host_key_alias = settings.host_key_alias.clone();
        options.connect_timeout = settings.connect_timeout.map_or(options.connect_timeout, Duration::from_secs);
        if let Some(seconds) = settings.alive_interval {
            options.keep_alive = (seconds > 0).then(|| Duration::from_secs(seconds));
        }
        options.family = match settings.address_family.as_deref() {
            Some("inet") => Family::V4,
            Some("inet6") => Family::V6,
            _ => Family::Any,
        };
        options.auth = ways(&settings, user, &ssh, passphrase, warnings)?;
        for jump in settings.jumps.iter().flatten() {
            if depth >= DEPTH {
                let what = format!("reaching {}", self.host);
                return Err(HostError::Unsupported { what, why: "its jump hosts lead in a circle".to_owned() });
            }
            let target = Target::parse(jump)?;
            let mut next = target.options_at(user, passphrase, warnings, depth + 1)?;
            // Of several, each is reached through the one before it.
            if let Some(before) = options.jump.take() {
                next.jump = Some(before);
            }
            options.jump = Some(Box::new(next));
        }
        Ok(options)
    }
}

fn ways(
    settings: &Settings,
    user: &User,
    ssh: &Path,
    passphrase: &mut dyn FnMut(&Path) -> Option<Secret>,
    warnings: &mut Vec<String>,
) -> Result<Vec<Auth>, HostError> {
    let named = !settings.identity_files.is_empty();
    let paths = match named {
        true => settings.identity_files.clone(),
        false => DEFAULT_KEYS.iter().map(|name| ssh.join(name)).filter(|path| path.exists()).collect(),
    };
    let mut ways = Vec::new();
    if let (Some(socket), false) = (&user.agent, settings.identities_only == Some(true)) {
        ways.push(Auth::Agent { socket: socket.clone(), only: None });
    }
    for path in paths {
        let name = path.display().to_string();
        let text = Secret::new(small_file(&path)?);
        let key = match PrivateKey::parse(&name, &text, None) {
            Ok(key) => key,
            Err(HostError::Key { why, .. }) if why.starts_with("it is encrypted") => match passphrase(&path) {
                Some(phrase) => PrivateKey::parse(&name, &text, Some(&phrase))?,
                None => {
                    warnings.push(format!("{name} is encrypted and left out: there is no passphrase for it"));
                    continue;
                }
            },
            Err(error) if named => return Err(error),
            Err(error) => {
                warnings.push(error.to_string());
                continue;
            }
        };
        let beside = PathBuf::from(format!("{name}-cert.pub"));
        for file in settings.certificate_files.iter().chain([&beside]).filter(|file| file.exists()) {
            let certificate = Certificate::parse(&file.display().to_string(), &small_file(file)?)?;
            if certificate.key().same(&key.public()) {
                ways.push(Auth::Key { key: key.clone(), certificate: Some(certificate) });
            }
        }
        ways.push(Auth::Key { key, certificate: None });
    }
    Ok(ways)
}

fn small_file(path: &Path) -> Result<String, HostError> {
    let fail = |source| HostError::File { what: "read", path: path.to_owned(), source };
    let mut text = String::new();
    fs::File::open(path).map_err(fail)?.take(KEY_LIMIT).read_to_string(&mut text).map_err(fail)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Kind;

    fn target(user: Option<&str>, host: &str, port: Option<u16>) -> Target {
        Target { user: user.map(str::to_owned), host: host.to_owned(), port }
    }

    #[test]
    fn machines_as_users_write_them() {
        let parse = |text| Target::parse(text).unwrap();
        assert_eq!(parse("ssh://root@10.0.0.1:2222/"), target(Some("root"), "10.0.0.1", Some(2222)));
        assert_eq!(parse("web"), target(None, "web", None));
        assert_eq!(parse("me@[::1]:22"), target(Some("me"), "::1", Some(22)));
        assert_eq!(parse("fe80::1"), target(None, "fe80::1", None));
        for bad in ["", "ssh://", "a b", "h:0", "h:x", "h:99999", "@h", "-oProxyCommand=x", "[::1", "[::1]22", "h/x"] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
        let error = Target::parse("ssh://root:hunter2@h").unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn settings_make_options() {
        let home = tempfile::tempdir().unwrap();
        let ssh = home.path().join(".ssh");
        fs::create_dir(&ssh).unwrap();
        let key = PrivateKey::generate(Kind::Ed25519, "").unwrap();
        fs::write(ssh.join("k"), key.openssh().unwrap().expose()).unwrap();
        let config = "Host web\n HostName 10.0.0.9\n IdentityFile ~/.ssh/k\n IdentitiesOnly yes\n ProxyJump a,b@b:9\n\
                      Host circle\n ProxyJump circle\nHost *\n ServerAliveInterval 0\n";
        fs::write(ssh.join("config"), config).unwrap();
        let user = User {
            name: "me".to_owned(),
            home: home.path().to_owned(),
            agent: Some("/agent".into()),
            accept_new: false,
        };
        let options = |host| target(None, host, None).options(&user, &mut |_| None, &mut Vec::new());
        let web = options("web").unwrap();
        assert_eq!((web.name(), web.keep_alive), ("me@10.0.0.9:22".to_owned(), None));
        assert!(matches!(&web.auth[..], [Auth::Key { certificate: None, .. }]), "{:?}", web.auth);
        let jump = web.jump.unwrap();
        assert_eq!(jump.name(), "b@b:9");
        assert_eq!(jump.jump.unwrap().name(), "me@a:22");
        assert!(options("circle").unwrap_err().to_string().ends_with("its jump hosts lead in a circle"));
        assert!(matches!(&options("other").unwrap().auth[..], [Auth::Agent { .. }]));
    }
}
