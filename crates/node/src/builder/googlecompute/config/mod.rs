//! Packer's keys of the builder, read strictly: [`account`] who asks and where, [`machine`] the instance, [`disks`] more
//! of them, [`image`] what comes of it. Where Kiln differs:
//!
//! ```text
//! use_iap                   an error: the tunnel is a program of Google's. ssh_bastion_host is a way in without it
//! communicator = winrm      an error: images of Windows are not built
//! vault_gcp_oauth_engine    an error: fetch the token and give it as access_token
//! disk_size                 the size of the source image where that is larger than 20, and nothing is said
//! wrap_startup_script       the script's end is told by guest attributes, and by metadata only where those are forbidden
//! ssh_strict_host_key_checking   see host_key: `yes` ends a build whose machine has no key that can be known
//! ```

mod account;
mod disks;
mod image;
mod machine;

use std::path::PathBuf;
use std::time::Duration;

use kiln_gce::{marks, names};
use kiln_packer::fault::Place;
use kiln_packer::fields::Fields;
use kiln_packer::model::Build;

use crate::communicator::Communicator;
use crate::error::Result;
use crate::guard;

pub use account::Account;
pub use disks::{Extra, Key, Kind};
pub use image::{ImageConfig, SourceImage};
pub use machine::MachineConfig;

/// How long a change of state may take.
const STATE: Duration = Duration::from_secs(300);
/// What names may be, in words.
const NAME: &str = "up to 63 lower-case letters, digits and hyphens, a letter first, no hyphen last";

/// OS Login.
#[derive(Debug, Clone, Default)]
pub struct OsLogin {
    /// Whether it is used; the project's metadata says so when the template does not.
    pub wanted: Option<bool>,
    /// Another name than the profile's.
    pub user: Option<String>,
    /// How long the key is good there.
    pub expires: Option<Duration>,
}

/// The configuration.
pub struct Config {
    /// Who asks, and where.
    pub account: Account,
    /// The zone.
    pub zone: String,
    /// The region that it is in.
    pub region: String,
    /// The instance.
    pub machine: MachineConfig,
    /// More disks.
    pub disks: Vec<Extra>,
    /// Where it starts from.
    pub source: SourceImage,
    /// What comes of it; `None` when none is to.
    pub image: ImageConfig,
    /// OS Login.
    pub os_login: OsLogin,
    /// Between the creation of the instance and its SSH keys.
    pub wait_for_keys: Duration,
    /// How long a change of state may take.
    pub timeout: Duration,
    /// How the instance is reached.
    pub communicator: Communicator,
    /// Who logs in; empty where OS Login says it.
    pub user: String,
    /// The builder's configuration, for errors that come later.
    pub place: Place,
    /// What is probably not what was meant.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads all keys.
    ///
    /// # Errors
    /// The first that has a mistake.
    pub fn parse(build: &Build) -> Result<Config> {
        let f = build.config.fields();
        f.ignore(&guard::KEYS);
        let mut warnings = Vec::new();
        let communicator = communicator(&f)?;
        refuse(&f)?;
        let account = account::parse(&f, &mut warnings)?;
        let zone = required_name(&f, "zone")?;
        let region = name(&f, "region")?.unwrap_or_else(|| names::region_of(&zone).to_owned());
        let machine = machine::parse(&f, &mut warnings)?;
        let os_login = os_login(&f, &machine)?;
        let user = match &communicator {
            Communicator::Ssh(settings) if os_login.wanted != Some(true) => settings.user(&f)?,
            Communicator::Ssh(settings) => settings.user.clone().unwrap_or_default(),
            Communicator::None => String::new(),
        };
        let config = Config {
            disks: disks::parse(&f)?,
            source: image::source(&f)?,
            image: image::parse(&f, build)?,
            wait_for_keys: f.duration("wait_to_add_ssh_keys")?.unwrap_or_default(),
            timeout: f.duration("state_timeout")?.filter(|t| !t.is_zero()).unwrap_or(STATE),
            place: build.config.place(),
            account,
            zone,
            region,
            machine,
            os_login,
            communicator,
            user,
            warnings,
        };
        f.finish()?;
        Ok(config)
    }
}

fn communicator(f: &Fields<'_>) -> Result<Communicator> {
    if f.string("communicator")?.is_some_and(|kind| kind == "winrm") {
        let message = "images of Windows are not built: the communicator `winrm` is not supported";
        return Err(f.fault("communicator", "UnsupportedCommunicator", message).into());
    }
    Communicator::parse(f)
}

/// Keys that exist, and that mean something which Kiln does not do.
fn refuse(f: &Fields<'_>) -> Result<()> {
    if f.bool("use_iap")?.unwrap_or(false) {
        let message = "use_iap is not supported: the tunnel is a program of Google's, which Kiln does not start";
        let hint = "reach the instance by its address, or through another machine: ssh_bastion_host";
        return Err(f.fault("use_iap", "Unsupported", message).hint(hint).into());
    }
    // What they say is about a tunnel that there is not.
    f.ignore(&["iap_ext", "iap_hashbang", "iap_localhost_port", "iap_tunnel_launch_wait"]);
    if f.has("windows_password_timeout") {
        let message = "windows_password_timeout is not supported: images of Windows are not built";
        return Err(f.fault("windows_password_timeout", "Unsupported", message).into());
    }
    if f.has("max_retries") {
        let message = "max_retries is not supported: a call is made again as often as makes sense";
        return Err(f.fault("max_retries", "Unsupported", message).into());
    }
    Ok(())
}

fn os_login(f: &Fields<'_>, machine: &MachineConfig) -> Result<OsLogin> {
    let said = machine.metadata.get("enable-oslogin").map(|value| value.eq_ignore_ascii_case("true"));
    Ok(OsLogin {
        wanted: f.bool("use_os_login")?.or(said),
        user: text(f, "oslogin_ssh_username")?.filter(|user| user != "__auto__"),
        expires: f.duration("oslogin_ssh_key_expire_after")?.filter(|t| !t.is_zero()),
    })
}

/// A text that is not empty.
fn text(f: &Fields<'_>, key: &str) -> Result<Option<String>> {
    Ok(f.string(key)?.filter(|text| !text.is_empty()))
}

/// The name of something there.
fn name(f: &Fields<'_>, key: &str) -> Result<Option<String>> {
    let Some(name) = text(f, key)? else { return Ok(None) };
    match names::is_name(&name) {
        true => Ok(Some(name)),
        false => Err(f.fault(key, "BadName", format!("`{name}` cannot be a name: {NAME}")).into()),
    }
}

fn required_name(f: &Fields<'_>, key: &str) -> Result<String> {
    name(f, key)?.ok_or_else(|| f.missing(key).into())
}

/// One of several words.
fn word(f: &Fields<'_>, key: &str, words: &[&'static str]) -> Result<Option<&'static str>> {
    let Some(text) = text(f, key)? else { return Ok(None) };
    match words.iter().find(|word| word.eq_ignore_ascii_case(&text)) {
        Some(word) => Ok(Some(word)),
        None => {
            let message = format!("`{key}` is `{text}`, which is none of {}", words.join(", "));
            Err(f.fault(key, "BadValue", message).suggest(&text, words.iter().copied()).into())
        }
    }
}

/// A file that is there.
fn file(f: &Fields<'_>, key: &str) -> Result<Option<PathBuf>> {
    let Some(path) = text(f, key)?.map(PathBuf::from) else { return Ok(None) };
    there(f, key, path).map(Some)
}

fn there(f: &Fields<'_>, key: &str, path: PathBuf) -> Result<PathBuf> {
    match path.is_file() {
        true => Ok(path),
        false => Err(f.fault(key, "NoFile", format!("{key}: {}: there is no such file", path.display())).into()),
    }
}

fn labels(f: &Fields<'_>, key: &str) -> Result<std::collections::BTreeMap<String, String>> {
    let all = f.map(key)?.unwrap_or_default();
    for (name, value) in &all {
        if !names::is_label_key(name) || !names::is_label_value(value) {
            let message = format!("the label `{name}={value}` cannot be");
            let hint = "up to 63 lower-case letters, digits, `_` and `-`; a key begins with a letter";
            return Err(f.fault(key, "BadLabel", message).hint(hint).into());
        }
        if marks::is_ours(name) {
            let message = format!("the label `{name}` is Kiln's own: leftovers are found by it");
            return Err(f.fault(key, "BadLabel", message).into());
        }
    }
    Ok(all.into_iter().collect())
}

/// A size in GB.
fn gigabytes(f: &Fields<'_>, key: &str) -> Result<Option<u64>> {
    let Some(size) = f.uint(key)?.filter(|size| *size > 0) else { return Ok(None) };
    match size <= 65_536 {
        true => Ok(Some(size)),
        false => Err(f.fault(key, "BadSize", format!("`{key}` is {size} GB, and the largest disk has 65536")).into()),
    }
}
