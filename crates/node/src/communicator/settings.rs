//! What a template says about the way to its machine. The keys, their meaning and their defaults are those of the
//! communicator of packer-plugin-sdk; `kiln_host::ssh::options` has what each is over there. What is Kiln's:
//!
//! ```text
//! ssh_strict_host_key_checking  yes, accept-new, no: OpenSSH's StrictHostKeyChecking. Packer never looks at host keys.
//!                               `no` for guests that a builder made a moment ago, `yes` for all others
//! ssh_host_key                  the only key that the machine may have, as in its ssh_host_*_key.pub
//! temporary_key_pair_type       ed25519 unless said otherwise, where Packer has rsa
//! ```

use std::path::PathBuf;
use std::time::Duration;

use kiln_host::Secret;
use kiln_host::copy::Transfer;
use kiln_host::keys::{Kind, PublicKey};
use kiln_host::ssh::Family;
use kiln_packer::fields::Fields;

use crate::error::{NodeError, Result};

/// How long a machine is waited for.
const TIMEOUT: Duration = Duration::from_secs(300);
/// How often a login may be denied.
const ATTEMPTS: u32 = 10;
/// Between two questions whether the machine is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Whose host keys are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checking {
    /// Those that are known.
    Yes,
    /// Also new ones, which are kept.
    AcceptNew,
    /// Any.
    No,
}

impl Checking {
    const NAMES: [(&'static str, Checking); 3] =
        [("yes", Checking::Yes), ("accept-new", Checking::AcceptNew), ("no", Checking::No)];
}

/// A machine to go through.
#[derive(Debug, Clone)]
pub struct Bastion {
    /// Name or address.
    pub host: String,
    /// 22 unless said otherwise.
    pub port: u16,
    /// Who.
    pub user: String,
    /// A password.
    pub password: Option<Secret>,
    /// Whether the password answers what it asks.
    pub interactive: bool,
    /// Whether the agent logs in.
    pub agent: bool,
    /// A private key.
    pub key: Option<PathBuf>,
    /// A certificate for it.
    pub certificate: Option<PathBuf>,
}

/// A SOCKS proxy to go through.
#[derive(Debug, Clone)]
pub struct SocksProxy {
    /// Name or address.
    pub host: String,
    /// 1080 unless said otherwise.
    pub port: u16,
    /// Name and password.
    pub login: Option<(String, Secret)>,
}

/// The key pair that is made for one build.
#[derive(Debug, Clone)]
pub struct Temporary {
    /// Its comment.
    pub name: Option<String>,
    /// What kind it is.
    pub kind: Kind,
}

/// What is said about SSH.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The machine; builders that make one know it themselves.
    pub host: Option<String>,
    /// Its port, if that is said.
    pub port: Option<u16>,
    /// Who logs in.
    pub user: Option<String>,
    /// A password.
    pub password: Option<Secret>,
    /// A private key.
    pub key: Option<PathBuf>,
    /// A certificate for it.
    pub certificate: Option<PathBuf>,
    /// Whether the agent logs in.
    pub agent: bool,
    /// A key pair of the cloud, which has the key's public half.
    pub key_pair: Option<String>,
    /// The key pair that is made when no key is given.
    pub temporary: Temporary,
    /// Whether that is taken away from the machine at the end.
    pub clear: bool,
    /// Whether commands get a terminal.
    pub pty: bool,
    /// How long the machine is waited for.
    pub timeout: Duration,
    /// How often a login may be denied; 0 is without end.
    pub attempts: u32,
    /// Before the first try.
    pub pause: Duration,
    /// A machine to go through.
    pub bastion: Option<Bastion>,
    /// A proxy to go through.
    pub proxy: Option<SocksProxy>,
    /// Between two questions whether it is still there.
    pub keep_alive: Option<Duration>,
    /// How long it may be silent.
    pub silence: Option<Duration>,
    /// How files are copied.
    pub transfer: Transfer,
    /// Ciphers, the most wanted first.
    pub ciphers: Vec<String>,
    /// Key exchanges, the most wanted first.
    pub key_exchanges: Vec<String>,
    /// `PORT:HOST:PORT`: listens here.
    pub local_tunnels: Vec<Tunnel>,
    /// `PORT:HOST:PORT`: listens there.
    pub remote_tunnels: Vec<Tunnel>,
    /// Which addresses of a name.
    pub family: Family,
    /// Whose host keys are accepted, if that is said.
    pub checking: Option<Checking>,
    /// The only key the machine may have.
    pub host_key: Option<PublicKey>,
}

/// A tunnel: what listens at `port` leads to `host:to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnel {
    /// Where it begins.
    pub port: u16,
    /// Where it leads.
    pub host: String,
    /// The port there.
    pub to: u16,
}

impl Settings {
    /// Reads the keys.
    ///
    /// # Errors
    /// The first that has a mistake.
    pub fn parse(f: &Fields<'_>) -> Result<Settings> {
        let key = path(f, "ssh_private_key_file")?;
        // Their old name; both are a time.
        let wait = f.duration("ssh_wait_timeout")?;
        let settings = Settings {
            host: text(f, "ssh_host")?,
            port: port(f, "ssh_port")?,
            user: text(f, "ssh_username")?,
            password: secret(f, "ssh_password")?,
            certificate: path(f, "ssh_certificate_file")?,
            agent: f.bool("ssh_agent_auth")?.unwrap_or(false),
            key_pair: text(f, "ssh_keypair_name")?,
            temporary: temporary(f)?,
            clear: f.bool("ssh_clear_authorized_keys")?.unwrap_or(false),
            pty: f.bool("ssh_pty")?.unwrap_or(false),
            timeout: f.duration("ssh_timeout")?.or(wait).filter(|t| !t.is_zero()).unwrap_or(TIMEOUT),
            attempts: number(f, "ssh_handshake_attempts")?.filter(|n| *n > 0).unwrap_or(ATTEMPTS),
            pause: f.duration("pause_before_connecting")?.unwrap_or_default(),
            bastion: bastion(f, key.as_ref())?,
            proxy: proxy(f)?,
            keep_alive: keep_alive(f)?,
            silence: f.duration("ssh_read_write_timeout")?.filter(|t| !t.is_zero()),
            transfer: transfer(f)?,
            ciphers: f.strings("ssh_ciphers")?.unwrap_or_default(),
            key_exchanges: f.strings("ssh_key_exchange_algorithms")?.unwrap_or_default(),
            local_tunnels: tunnels(f, "ssh_local_tunnels")?,
            remote_tunnels: tunnels(f, "ssh_remote_tunnels")?,
            family: family(f)?,
            checking: checking(f)?,
            host_key: host_key(f)?,
            key,
        };
        // The agent is never forwarded, so this says what is so.
        f.bool("ssh_disable_agent_forwarding")?;
        settings.check(f)
    }

    /// That a key pair of a cloud is named where there is no cloud.
    pub(super) fn no_key_pairs(f: &Fields<'_>) -> NodeError {
        let message = "`ssh_keypair_name` is one of a cloud, and there is none here";
        f.fault("ssh_keypair_name", "NoKeyPair", message).hint("give the file: ssh_private_key_file").into()
    }

    fn check(self, f: &Fields<'_>) -> Result<Settings> {
        if self.certificate.is_some() && self.key.is_none() {
            let message = "a certificate needs its private key: ssh_private_key_file";
            return Err(f.fault("ssh_certificate_file", "BadLogin", message).into());
        }
        if self.bastion.is_some() && self.proxy.is_some() {
            let message = "please specify either an ssh_bastion_host or an ssh_proxy_host";
            return Err(f.fault("ssh_proxy_host", "BadProxy", message).into());
        }
        if self.agent && (self.key.is_some() || self.password.is_some()) {
            let message = "only one of ssh_agent_auth, ssh_password, and ssh_private_key_file must be specified";
            return Err(f.fault("ssh_agent_auth", "BadLogin", message).into());
        }
        Ok(self)
    }

    /// The user, who has to be said.
    ///
    /// # Errors
    /// That nobody is.
    pub fn user(&self, f: &Fields<'_>) -> Result<String> {
        self.user.clone().ok_or_else(|| f.missing("ssh_username").hint("who logs in: often \"root\"").into())
    }
}

fn text(f: &Fields<'_>, key: &str) -> Result<Option<String>> {
    Ok(f.string(key)?.filter(|text| !text.is_empty()))
}

fn secret(f: &Fields<'_>, key: &str) -> Result<Option<Secret>> {
    Ok(text(f, key)?.map(Secret::new))
}

/// A file, which must be there. What begins with `~` is looked for when it is needed.
fn path(f: &Fields<'_>, key: &str) -> Result<Option<PathBuf>> {
    let Some(text) = text(f, key)? else { return Ok(None) };
    // A text that is only known when the build runs is looked at then.
    let open = text.contains("<build ");
    let path = PathBuf::from(text);
    match open || path.starts_with("~") || path.is_file() {
        true => Ok(Some(path)),
        false => {
            Err(f.fault(key, "NoFile", format!("{key} is invalid: {}: there is no such file", path.display())).into())
        }
    }
}

fn port(f: &Fields<'_>, key: &str) -> Result<Option<u16>> {
    let Some(number) = f.uint(key)?.filter(|n| *n > 0) else { return Ok(None) };
    match u16::try_from(number) {
        Ok(port) => Ok(Some(port)),
        Err(_) => Err(f.fault(key, "BadPort", format!("{number} is no port: they end at 65535")).into()),
    }
}

fn number(f: &Fields<'_>, key: &str) -> Result<Option<u32>> {
    let Some(number) = f.uint(key)? else { return Ok(None) };
    match u32::try_from(number) {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(f.fault(key, "BadNumber", format!("{number} is too large")).into()),
    }
}

fn temporary(f: &Fields<'_>) -> Result<Temporary> {
    let name = text(f, "temporary_key_pair_name")?;
    let bits = number(f, "temporary_key_pair_bits")?.filter(|n| *n > 0);
    let kind = match text(f, "temporary_key_pair_type")?.as_deref() {
        None if bits.is_some() => Kind::Rsa(bits.unwrap_or_default()),
        None | Some("ed25519") => Kind::Ed25519,
        Some("rsa") => Kind::Rsa(bits.unwrap_or(2048)),
        Some("ecdsa") => Kind::Ecdsa(bits.unwrap_or(521)),
        Some("dsa") => {
            let message = "keys of DSA are refused by every server since OpenSSH 7.0";
            return Err(f.fault("temporary_key_pair_type", "BadKeyType", message).into());
        }
        Some(other) => {
            let fault = f.fault("temporary_key_pair_type", "BadKeyType", format!("there is no type of keys `{other}`"));
            return Err(fault.suggest(other, ["ed25519", "ecdsa", "rsa"]).into());
        }
    };
    let good = match kind {
        Kind::Ed25519 => true,
        Kind::Rsa(bits) => (2048..=8192).contains(&bits),
        Kind::Ecdsa(bits) => [256, 384, 521].contains(&bits),
    };
    match good {
        true => Ok(Temporary { name, kind }),
        false => {
            let message = "keys of RSA have 2048 to 8192 bits, those of ECDSA 256, 384 or 521";
            Err(f.fault("temporary_key_pair_bits", "BadKeyType", message).into())
        }
    }
}

fn bastion(f: &Fields<'_>, key: Option<&PathBuf>) -> Result<Option<Bastion>> {
    let keys = ["port", "username", "password", "interactive", "agent_auth", "private_key_file", "certificate_file"];
    let Some(host) = text(f, "ssh_bastion_host")? else {
        let names = keys.map(|key| format!("ssh_bastion_{key}"));
        return match names.iter().find(|name| f.has(name)) {
            Some(name) => Err(f.fault(name, "NoBastion", format!("{name} needs ssh_bastion_host")).into()),
            None => Ok(None),
        };
    };
    let Some(user) = text(f, "ssh_bastion_username")? else {
        return Err(f.missing("ssh_bastion_username").into());
    };
    let bastion = Bastion {
        host,
        port: port(f, "ssh_bastion_port")?.unwrap_or(22),
        user,
        password: secret(f, "ssh_bastion_password")?,
        interactive: f.bool("ssh_bastion_interactive")?.unwrap_or(false),
        agent: f.bool("ssh_bastion_agent_auth")?.unwrap_or(false),
        // As Packer has it, the machine's own key is good for both.
        key: path(f, "ssh_bastion_private_key_file")?.or_else(|| key.cloned()),
        certificate: path(f, "ssh_bastion_certificate_file")?,
    };
    if bastion.password.is_none() && bastion.key.is_none() && !bastion.agent {
        let message = "ssh_bastion_password, ssh_bastion_private_key_file or ssh_bastion_agent_auth must be specified";
        return Err(f.fault("ssh_bastion_host", "NoLogin", message).into());
    }
    Ok(Some(bastion))
}

fn proxy(f: &Fields<'_>) -> Result<Option<SocksProxy>> {
    let (user, password) = (text(f, "ssh_proxy_username")?, secret(f, "ssh_proxy_password")?);
    let port = port(f, "ssh_proxy_port")?.unwrap_or(1080);
    let Some(host) = text(f, "ssh_proxy_host")? else { return Ok(None) };
    let login = user.map(|user| (user, password.unwrap_or_else(|| Secret::new(""))));
    Ok(Some(SocksProxy { host, port, login }))
}

/// A negative time is never.
fn keep_alive(f: &Fields<'_>) -> Result<Option<Duration>> {
    match text(f, "ssh_keep_alive_interval")? {
        Some(text) if text.starts_with('-') => Ok(None),
        Some(_) => Ok(f.duration("ssh_keep_alive_interval")?.filter(|t| !t.is_zero()).or(Some(KEEP_ALIVE))),
        None => Ok(Some(KEEP_ALIVE)),
    }
}

fn transfer(f: &Fields<'_>) -> Result<Transfer> {
    match text(f, "ssh_file_transfer_method")?.as_deref() {
        None | Some("scp") => Ok(Transfer::Scp),
        Some("sftp") => Ok(Transfer::Sftp),
        Some(other) => {
            let message = format!("ssh_file_transfer_method ('{other}') is invalid, valid methods: sftp, scp");
            Err(f.fault("ssh_file_transfer_method", "BadTransfer", message).into())
        }
    }
}

fn tunnels(f: &Fields<'_>, key: &str) -> Result<Vec<Tunnel>> {
    let parse = |text: &String| {
        let (first, rest) = text.split_once(':')?;
        let (host, last) = rest.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let (port, to) = (first.parse().ok()?, last.parse().ok()?);
        (!host.is_empty() && to > 0).then(|| Tunnel { port, host: host.to_owned(), to })
    };
    let mut all = Vec::new();
    for text in f.strings(key)?.unwrap_or_default() {
        match parse(&text) {
            Some(tunnel) => all.push(tunnel),
            None => {
                let message = format!("`{text}` is no tunnel: write PORT:HOST:PORT");
                return Err(f.fault(key, "BadTunnel", message).into());
            }
        }
    }
    Ok(all)
}

fn family(f: &Fields<'_>) -> Result<Family> {
    match text(f, "ssh_ip_version")?.as_deref() {
        None => Ok(Family::Any),
        Some("ipv4") => Ok(Family::V4),
        Some("ipv6") => Ok(Family::V6),
        Some(other) => {
            Err(f.fault("ssh_ip_version", "BadFamily", format!("`{other}` is neither ipv4 nor ipv6")).into())
        }
    }
}

fn checking(f: &Fields<'_>) -> Result<Option<Checking>> {
    const KEY: &str = "ssh_strict_host_key_checking";
    let Some(name) = text(f, KEY)? else { return Ok(None) };
    // A boolean is a text here, and what `yes` and `no` of YAML and HCL become.
    let name = match &*name {
        "1" | "true" => "yes",
        "0" | "false" => "no",
        name => name,
    };
    match Checking::NAMES.iter().find(|(n, _)| *n == name) {
        Some((_, checking)) => Ok(Some(*checking)),
        None => {
            let fault = f.fault(KEY, "BadChecking", format!("`{name}` is none of yes, accept-new, no"));
            Err(fault.suggest(name, Checking::NAMES.map(|(n, _)| n)).into())
        }
    }
}

fn host_key(f: &Fields<'_>) -> Result<Option<PublicKey>> {
    let Some(line) = text(f, "ssh_host_key")? else { return Ok(None) };
    match PublicKey::parse(&line) {
        Ok(key) => Ok(Some(key)),
        Err(error) => Err(f.fault("ssh_host_key", "BadHostKey", error.to_string()).into()),
    }
}
