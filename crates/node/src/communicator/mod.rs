//! How builders reach their machines: Packer's `communicator` and its `ssh_*` keys.
//!
//! [`settings`] what a template says    [`login`] keys, passwords and agents out of it
//! [`connect`] until a machine answers    [`machine`] one that answered, as a target's communicator
//! [`forget`] the build's key, taken out again
//!
//! Adding a key: a field of [`settings::Settings`], its line in [`settings`], what it does in [`login`].

pub mod connect;
pub mod forget;
pub mod login;
pub mod machine;
pub mod settings;

use kiln_packer::fields::Fields;
use kiln_packer::model::BuildFacts;

use crate::error::Result;

pub use login::Login;
pub use machine::Machine;
pub use settings::Settings;

/// A way to a machine.
#[derive(Debug, Clone)]
pub enum Communicator {
    /// There is none: nothing can be run on it.
    None,
    /// SSH.
    Ssh(Box<Settings>),
}

/// What communicators of Packer there are.
const KINDS: [&str; 2] = ["ssh", "none"];

impl Communicator {
    /// Reads the keys of a builder's configuration.
    ///
    /// # Errors
    /// The first that has a mistake, or wants what there is not.
    pub fn parse(f: &Fields<'_>) -> Result<Communicator> {
        let communicator = Communicator::parse_in_cloud(f)?;
        match &communicator {
            Communicator::Ssh(settings) if settings.key_pair.is_some() => Err(Settings::no_key_pairs(f)),
            _ => Ok(communicator),
        }
    }

    /// The same for a cloud that has key pairs.
    ///
    /// # Errors
    /// The first that has a mistake, or wants what there is not.
    pub fn parse_in_cloud(f: &Fields<'_>) -> Result<Communicator> {
        let settings = Settings::parse(f)?;
        let kind = f.string("communicator")?.filter(|kind| !kind.is_empty()).unwrap_or_else(|| "ssh".to_owned());
        match &*kind {
            "ssh" => Ok(Communicator::Ssh(Box::new(settings))),
            "none" => Ok(Communicator::None),
            "winrm" => {
                let message = "the communicator `winrm` is not supported: it is for Windows guests";
                Err(f.fault("communicator", "UnsupportedCommunicator", message).into())
            }
            other => {
                let message = format!("there is no communicator `{other}`");
                Err(f.fault("communicator", "UnknownCommunicator", message).suggest(other, KINDS).into())
            }
        }
    }
}

/// Where a machine is, and who logs in.
#[derive(Debug, Clone, Copy)]
pub struct Address<'a> {
    /// Name or address.
    pub host: &'a str,
    /// The port.
    pub port: u16,
    /// Who.
    pub user: &'a str,
    /// The key that it proved to have; empty while it is not known.
    pub host_key: &'a str,
}

/// What templates may ask of a machine that is reached so.
pub fn facts(facts: BuildFacts, login: Option<&Login>, settings: &Settings, at: Address<'_>) -> BuildFacts {
    let private = login.and_then(Login::private_text);
    let file = login.and_then(|login| login.file.as_ref()).map(|file| file.display().to_string());
    BuildFacts {
        host: at.host.to_owned(),
        port: at.port.to_string(),
        user: at.user.to_owned(),
        password: settings.password.as_ref().map(|p| p.expose().to_owned()).unwrap_or_default(),
        conn_type: "ssh".to_owned(),
        ssh_public_key: login.map(Login::public_line).unwrap_or_default(),
        ssh_private_key: private.map(|text| text.expose().to_owned()).unwrap_or_default(),
        other: vec![
            ("SSHPrivateKeyFile".to_owned(), file.unwrap_or_default()),
            ("SSHHostKey".to_owned(), at.host_key.to_owned()),
        ],
        ..facts
    }
}
