//! Packer's keys of the builder, read strictly: [`access`], [`image`], [`machine`]. What is different:
//!
//! ```text
//! classic network              there is none: a VPC always. associate_public_ip_address says nothing more
//! temporary key pair           RSA, 2048 bits, unless temporary_key_pair_type says otherwise: what ECS certainly takes
//! security_group_source_cidrs  Kiln's own: whom the temporary security group lets in; else the address of this machine
//! ```

mod access;
mod image;
mod machine;

use std::collections::BTreeMap;
use std::time::Duration;

use kiln_alicloud::Account;
use kiln_host::keys::Kind;
use kiln_packer::fault::{Fault, Place};
use kiln_packer::fields::Fields;
use kiln_packer::model::Build;

use crate::builder::keys;
use crate::communicator::{Communicator, Settings};
use crate::error::Result;
use crate::guard;

pub use image::ImageConfig;
pub use machine::{MachineConfig, NetworkConfig, Source};

/// Snapshots and copies take long.
const HOUR: Duration = Duration::from_secs(3600);

/// The configuration.
pub struct Config {
    /// Whose account, and where it is reached.
    pub account: Account,
    /// Regions are taken as they are written.
    pub trust_regions: bool,
    /// Images are taken as they are written.
    pub trust_images: bool,
    /// What becomes of it.
    pub image: ImageConfig,
    /// The machine.
    pub machine: MachineConfig,
    /// What it is in.
    pub network: NetworkConfig,
    /// How it is reached.
    pub communicator: Communicator,
    /// Who logs in.
    pub user: String,
    /// How long a snapshot may take.
    pub snapshot_limit: Duration,
    /// How long an image may take.
    pub copy_limit: Duration,
    places: BTreeMap<&'static str, Place>,
    place: Place,
}

impl Config {
    /// Reads all keys.
    ///
    /// # Errors
    /// The first that has a mistake.
    pub fn parse(build: &Build) -> Result<Config> {
        let f = build.config.fields();
        f.ignore(&guard::KEYS);
        let mut communicator = Communicator::parse_in_cloud(&f)?;
        let mut user = String::new();
        if let Communicator::Ssh(settings) = &mut communicator {
            user = settings.user(&f)?;
            if !f.has("temporary_key_pair_type") && !f.has("temporary_key_pair_bits") {
                settings.temporary.kind = Kind::Rsa(2048);
            }
            key_pair(&f, settings)?;
        }
        let limit = |key: &str| -> Result<Duration> {
            Ok(f.uint(key)?.filter(|seconds| *seconds > 0).map_or(HOUR, Duration::from_secs))
        };
        let config = Config {
            account: access::account(&f)?,
            trust_regions: f.bool("skip_region_validation")?.unwrap_or(false),
            trust_images: f.bool("skip_image_validation")?.unwrap_or(false),
            image: image::image(&f)?,
            machine: machine::machine(&f)?,
            network: machine::network(&f)?,
            snapshot_limit: limit("wait_snapshot_ready_timeout")?,
            copy_limit: limit("wait_copying_image_ready_timeout")?,
            places: [
                "region",
                "image_name",
                "source_image",
                "instance_type",
                "zone_id",
                "image_copy_regions",
                "vswitch_id",
            ]
            .into_iter()
            .map(|key| (key, f.place(key)))
            .collect(),
            place: build.config.place(),
            communicator,
            user,
        };
        if let Some(unknown) = unknown(&f) {
            return Err(unknown.into());
        }
        f.finish()?;
        Ok(config)
    }

    /// An error about the value of a key, found when the cloud was asked.
    pub fn fault(&self, key: &'static str, code: &'static str, message: impl Into<String>) -> Fault {
        self.places.get(key).unwrap_or(&self.place).error(code, message)
    }
}

/// `ssh_keypair_name` is a key pair of ECS, whose private half has to be here.
fn key_pair(f: &Fields<'_>, settings: &Settings) -> Result<()> {
    if settings.key_pair.is_some() && settings.key.is_none() && !settings.agent {
        let message = "the private half of the key pair has to be here: ssh_private_key_file or ssh_agent_auth";
        return Err(f.fault("ssh_keypair_name", "NoLogin", message).into());
    }
    Ok(())
}

/// The first key that nobody reads, with what may have been meant of all that the builder has.
fn unknown(f: &Fields<'_>) -> Option<Fault> {
    let (key, place) = f.unread().into_iter().next()?;
    let fault = place.error("UnknownKey", format!("unknown key `{key}`")).label("the builder has no such key");
    Some(fault.suggest(&key, keys::of("alicloud-ecs")))
}

pub(super) fn text(f: &Fields<'_>, key: &str) -> Result<Option<String>> {
    Ok(f.string(key)?.filter(|text| !text.is_empty()))
}

pub(super) fn flag(f: &Fields<'_>, key: &str) -> Result<bool> {
    Ok(f.bool(key)?.unwrap_or(false))
}

/// One of these words, if any.
pub(super) fn one_of(f: &Fields<'_>, key: &str, words: &[&str]) -> Result<Option<String>> {
    match text(f, key)? {
        Some(word) if !words.contains(&&*word) => {
            let fault = f.fault(key, "BadWord", format!("`{word}` is none of {}", words.join(", ")));
            Err(fault.suggest(&word, words.iter().copied()).into())
        }
        word => Ok(word),
    }
}
