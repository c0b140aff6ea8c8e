//! Keys, passwords and agents out of what a template says, and the options of the connection.

use std::io::Read;
use std::path::{Path, PathBuf};

use kiln_host::keys::{Certificate, PrivateKey};
use kiln_host::ssh::{Algorithms, Auth, HostKeys, Proxy, ProxyKind};
use kiln_host::{Secret, SshOptions};

use super::settings::{Bastion, Checking, Settings};
use crate::builder::Site;
use crate::error::{NodeError, Result};
use crate::ui::BuildUi;

/// More than any key has.
const KEY_LIMIT: u64 = 64 << 10;

/// What a machine is logged in to with.
#[derive(Debug, Clone)]
pub struct Login {
    /// The key, of a file or made for this build.
    pub key: Option<PrivateKey>,
    /// Whether it was made for this build.
    pub temporary: bool,
    /// Its file, if it came from one.
    pub file: Option<PathBuf>,
    certificate: Option<Certificate>,
    password: Option<Secret>,
    agent: Option<PathBuf>,
}

impl Login {
    /// Reads the key's file; or makes a key pair for this build if none is given and the machine is `made` by it, so
    /// that it can get the key.
    ///
    /// # Errors
    /// When a file cannot be read or is no key, or there is no agent.
    pub fn prepare(settings: &Settings, site: &Site, ui: &BuildUi, made: bool) -> Result<Login> {
        let mut login = Login {
            key: None,
            temporary: false,
            file: None,
            certificate: certificate("ssh_certificate_file", settings.certificate.as_deref(), site)?,
            password: settings.password.clone(),
            agent: agent("ssh_agent_auth", settings.agent, site)?,
        };
        match &settings.key {
            Some(path) => {
                ui.say("Using existing SSH private key");
                let path = expanded(path, site);
                login.key = Some(private_key("ssh_private_key_file", &path)?);
                login.file = Some(path);
            }
            None if settings.agent || !made => {}
            None => {
                let name = settings.temporary.name.as_deref().unwrap_or("kiln");
                let made = PrivateKey::generate(settings.temporary.kind, name);
                let key = made.map_err(|e| failed("temporary_key_pair_type", &e))?;
                ui.say(&format!("Creating temporary {} SSH key for instance...", key.public().algorithm()));
                (login.key, login.temporary) = (Some(key), true);
            }
        }
        Ok(login)
    }

    /// The line of `authorized_keys`.
    pub fn public_line(&self) -> String {
        self.key.as_ref().map(|key| key.public().line()).unwrap_or_default()
    }

    /// The private key in OpenSSH's format.
    pub fn private_text(&self) -> Option<Secret> {
        self.key.as_ref().and_then(|key| key.openssh().ok())
    }

    /// How the machine at `host:port` is reached. `fresh` says that it was made a moment ago, and is reached by nobody
    /// else.
    ///
    /// # Errors
    /// When a key of a bastion cannot be used, or no file of known hosts is known.
    pub fn options(
        &self,
        settings: &Settings,
        host: &str,
        port: u16,
        user: &str,
        fresh: bool,
        site: &Site,
    ) -> Result<SshOptions> {
        let checking = settings.checking.unwrap_or(if fresh { Checking::No } else { Checking::Yes });
        let host_keys = match &settings.host_key {
            Some(key) => HostKeys::Pinned(vec![key.clone()]),
            None => host_keys(checking, site),
        };
        let mut options = SshOptions::new(host, user, host_keys);
        options.port = port;
        options.auth = self.ways();
        options.family = settings.family;
        options.keep_alive = settings.keep_alive;
        options.silence = settings.silence;
        options.transfer = settings.transfer;
        options.algorithms = Algorithms {
            ciphers: settings.ciphers.clone(),
            key_exchanges: settings.key_exchanges.clone(),
            ..Algorithms::default()
        };
        if let Some(bastion) = &settings.bastion {
            let checking = settings.checking.unwrap_or(Checking::Yes);
            options.jump = Some(Box::new(through(bastion, checking, site)?));
        }
        options.proxy = settings.proxy.as_ref().map(|proxy| Proxy {
            kind: ProxyKind::Socks5,
            host: proxy.host.clone(),
            port: proxy.port,
            login: proxy.login.clone(),
        });
        Ok(options)
    }

    fn ways(&self) -> Vec<Auth> {
        let mut ways = Vec::new();
        if let Some(socket) = &self.agent {
            ways.push(Auth::Agent { socket: socket.clone(), only: None });
        }
        if let Some(key) = &self.key {
            if self.certificate.is_some() {
                ways.push(Auth::Key { key: key.clone(), certificate: self.certificate.clone() });
            }
            ways.push(Auth::Key { key: key.clone(), certificate: None });
        }
        if let Some(password) = &self.password {
            ways.push(Auth::Password(password.clone()));
            ways.push(Auth::Interactive(password.clone()));
        }
        ways
    }
}

fn host_keys(checking: Checking, site: &Site) -> HostKeys {
    let mut files: Vec<PathBuf> = site.home.iter().map(|home| home.join(".ssh/known_hosts")).collect();
    files.push(PathBuf::from("/etc/ssh/ssh_known_hosts"));
    match checking {
        Checking::Yes => HostKeys::Known(files),
        Checking::AcceptNew => HostKeys::AcceptNew(files),
        Checking::No => HostKeys::Any,
    }
}

fn through(bastion: &Bastion, checking: Checking, site: &Site) -> Result<SshOptions> {
    let mut options = SshOptions::new(&bastion.host, &bastion.user, host_keys(checking, site));
    options.port = bastion.port;
    if let Some(socket) = agent("ssh_bastion_agent_auth", bastion.agent, site)? {
        options.auth.push(Auth::Agent { socket, only: None });
    }
    if let Some(path) = &bastion.key {
        let key = private_key("ssh_bastion_private_key_file", &expanded(path, site))?;
        let certificate = certificate("ssh_bastion_certificate_file", bastion.certificate.as_deref(), site)?;
        if certificate.is_some() {
            options.auth.push(Auth::Key { key: key.clone(), certificate });
        }
        options.auth.push(Auth::Key { key, certificate: None });
    }
    if let Some(password) = &bastion.password {
        options.auth.push(Auth::Password(password.clone()));
        if bastion.interactive {
            options.auth.push(Auth::Interactive(password.clone()));
        }
    }
    Ok(options)
}

fn agent(key: &'static str, wanted: bool, site: &Site) -> Result<Option<PathBuf>> {
    match (&site.agent, wanted) {
        (_, false) => Ok(None),
        (Some(socket), true) => Ok(Some(socket.clone())),
        (None, true) => {
            let why = "there is no agent: SSH_AUTH_SOCK is not set".to_owned();
            Err(NodeError::Login { key, why })
        }
    }
}

fn private_key(key: &'static str, path: &Path) -> Result<PrivateKey> {
    let text = Secret::new(small_file(path)?);
    PrivateKey::parse(&path.display().to_string(), &text, None).map_err(|e| failed(key, &e))
}

fn certificate(key: &'static str, path: Option<&Path>, site: &Site) -> Result<Option<Certificate>> {
    let Some(path) = path else { return Ok(None) };
    let path = expanded(path, site);
    let text = small_file(&path)?;
    Certificate::parse(&path.display().to_string(), &text).map(Some).map_err(|e| failed(key, &e))
}

fn failed(key: &'static str, error: &kiln_host::HostError) -> NodeError {
    NodeError::Login { key, why: error.to_string() }
}

/// With the user's directory in the place of `~`.
fn expanded(path: &Path, site: &Site) -> PathBuf {
    match (path.strip_prefix("~"), &site.home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

fn small_file(path: &Path) -> Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(NodeError::file("read the key", path))?;
    file.take(KEY_LIMIT).read_to_string(&mut text).map_err(NodeError::file("read the key", path))?;
    Ok(text)
}
