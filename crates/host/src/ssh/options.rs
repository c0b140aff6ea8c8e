//! How to reach a machine.
//!
//! What Packer's communicator keys are here:
//! ```text
//! ssh_host, ssh_port, ssh_username          SshOptions::new(host, user), port
//! ssh_password                              Auth::Password and Auth::Interactive, in this order
//! ssh_private_key_file, ssh_certificate_file  Auth::Key { key, certificate }
//! ssh_agent_auth                            Auth::Agent (Packer's default while no other way is given)
//! temporary_key_pair_type, _bits            keys::PrivateKey::generate, public().line() for the machine
//! ssh_clear_authorized_keys                 the caller's last command
//! ssh_disable_agent_forwarding              the agent is never forwarded
//! ssh_ciphers, ssh_key_exchange_algorithms  Algorithms::ciphers, key_exchanges
//! ssh_pty                                   Command::terminal(Terminal::default())
//! ssh_timeout, ssh_wait_timeout             WaitOptions::timeout
//! ssh_handshake_attempts                    WaitOptions::denials
//! pause_before_connecting                   the caller's sleep before Ssh::wait, which makes it needless
//! ssh_bastion_*                             jump: Some(Box::new(SshOptions …)); ssh_bastion_interactive: Auth::Interactive
//! ssh_proxy_host, _port, _username, _password  proxy: Some(Proxy { kind: ProxyKind::Socks5, … })
//! ssh_keep_alive_interval                   keep_alive (negative in Packer is None here)
//! ssh_read_write_timeout                    silence
//! ssh_remote_tunnels, ssh_local_tunnels     Ssh::forward_remote, Ssh::forward_local
//! ssh_file_transfer_method                  copy::Put::method, and SshOptions::transfer for reading
//! ssh_interface                             the builder's choice of address
//! ssh_ip_version                            family
//! (host keys are never looked at)           host_keys: HostKeys::Any is the same; the caller has to say so
//! ```

use std::path::PathBuf;
use std::time::Duration;

use crate::Secret;
use crate::copy::Transfer;
use crate::keys::{Certificate, PrivateKey, PublicKey};

/// How to reach a machine. `Debug` shows no secrets.
#[derive(Debug, Clone)]
pub struct SshOptions {
    /// A name or an address.
    pub host: String,
    /// 22 unless said otherwise.
    pub port: u16,
    /// The name to log in with.
    pub user: String,
    /// Ways to log in, tried in this order. That the server wants none at all is always tried first.
    pub auth: Vec<Auth>,
    /// Whose keys are accepted.
    pub host_keys: HostKeys,
    /// The name host keys are filed under, if it is not `host`.
    pub host_key_alias: Option<String>,
    /// A machine through which to connect; it may itself have one.
    pub jump: Option<Box<SshOptions>>,
    /// A proxy through which to connect (to the first jump host, if there is one).
    pub proxy: Option<Proxy>,
    /// Which addresses of a name to use.
    pub family: Family,
    /// For a connection of TCP; 15 s.
    pub connect_timeout: Duration,
    /// From there to the end of the key exchange; 20 s.
    pub handshake_timeout: Duration,
    /// For all attempts to log in; 30 s.
    pub login_timeout: Duration,
    /// After how much silence to ask whether the server is still there; after three questions it is not. 5 s.
    pub keep_alive: Option<Duration>,
    /// After how much silence, answers to those questions included, to give up. Never unless said otherwise.
    pub silence: Option<Duration>,
    /// What to offer in the handshake.
    pub algorithms: Algorithms,
    /// How many commands and transfers may run at once on one connection; others wait. 8, as OpenSSH's server has 10.
    pub sessions: usize,
    /// How files are read, and written where [`Put`](crate::copy::Put) says nothing.
    pub transfer: Transfer,
}

/// A way to log in.
#[derive(Debug, Clone)]
pub enum Auth {
    /// By a key, and with a certificate for it.
    Key {
        /// The key.
        key: PrivateKey,
        /// The certificate.
        certificate: Option<Certificate>,
    },
    /// By the keys that an agent has.
    Agent {
        /// Its socket, what `SSH_AUTH_SOCK` names.
        socket: PathBuf,
        /// Only this key of the agent's.
        only: Option<PublicKey>,
    },
    /// By a password.
    Password(Secret),
    /// By answering every question that is not to be shown on the screen with this; others with nothing.
    Interactive(Secret),
}

impl Auth {
    /// The name in the protocol.
    pub(crate) fn method(&self) -> &'static str {
        match self {
            Auth::Key { .. } | Auth::Agent { .. } => "publickey",
            Auth::Password(_) => "password",
            Auth::Interactive(_) => "keyboard-interactive",
        }
    }
}

/// Whose host keys are accepted.
#[derive(Debug, Clone)]
pub enum HostKeys {
    /// Only keys, and certificates by authorities, that are in these files.
    Known(Vec<PathBuf>),
    /// Also keys of machines of which the files know nothing; those are added to the first file.
    AcceptNew(Vec<PathBuf>),
    /// Only these keys.
    Pinned(Vec<PublicKey>),
    /// Any. Whoever answers at that address gets to see everything: only for machines that were made a moment ago and are
    /// reached over a network of one's own.
    Any,
}

/// Which addresses of a name to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Family {
    /// All, in the order the resolver gives.
    #[default]
    Any,
    /// Of IPv4.
    V4,
    /// Of IPv6.
    V6,
}

/// A proxy of TCP.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// What it speaks.
    pub kind: ProxyKind,
    /// A name or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Name and password.
    pub login: Option<(String, Secret)>,
}

/// What a proxy speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyKind {
    /// RFC 1928; names are resolved by the proxy.
    Socks5,
    /// `CONNECT`.
    Http,
}

/// What to offer in the handshake, by OpenSSH's names, the most wanted first. An empty list is what is safe today.
#[derive(Debug, Clone, Default)]
pub struct Algorithms {
    /// `aes256-gcm@openssh.com`, …
    pub ciphers: Vec<String>,
    /// `curve25519-sha256`, …
    pub key_exchanges: Vec<String>,
    /// `ssh-ed25519`, …
    pub host_keys: Vec<String>,
    /// `hmac-sha2-256-etm@openssh.com`, …
    pub macs: Vec<String>,
}

impl SshOptions {
    /// A machine, with nothing but its name and a user. Host keys have to be in `known_hosts`.
    pub fn new(host: impl Into<String>, user: impl Into<String>, host_keys: HostKeys) -> SshOptions {
        SshOptions {
            host: host.into(),
            port: 22,
            user: user.into(),
            auth: Vec::new(),
            host_keys,
            host_key_alias: None,
            jump: None,
            proxy: None,
            family: Family::default(),
            connect_timeout: Duration::from_secs(15),
            handshake_timeout: Duration::from_secs(20),
            login_timeout: Duration::from_secs(30),
            keep_alive: Some(Duration::from_secs(5)),
            silence: None,
            algorithms: Algorithms::default(),
            sessions: 8,
            transfer: Transfer::default(),
        }
    }

    /// How the machine is called in messages: `user@host:port`.
    pub fn name(&self) -> String {
        let host = crate::error::printable(self.host.as_bytes());
        let user = crate::error::printable(self.user.as_bytes());
        if host.contains(':') {
            format!("{user}@[{host}]:{}", self.port)
        } else {
            format!("{user}@{host}:{}", self.port)
        }
    }

    /// The name host keys are filed under.
    pub(crate) fn filed_as(&self) -> &str {
        self.host_key_alias.as_deref().unwrap_or(&self.host)
    }
}
