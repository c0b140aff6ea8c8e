//! `kiln-verify`: profiles asked of what the provisioners before it made. It changes nothing, and fails the build when the
//! answers are wrong.

use std::path::PathBuf;

use kiln_packer::config::Config;

use super::Stage;
use crate::error::Result;
use crate::verify::{Wish, WishError};

/// The provisioner.
#[derive(Debug)]
pub struct Verify {
    wish: Wish,
}

impl Verify {
    /// From `profile` (a name or file, or several), `ignore` (checks that only warn) and `report` (files).
    ///
    /// # Errors
    /// When a profile is not there, or a key has a mistake.
    pub fn parse(config: &Config) -> Result<Verify> {
        let f = config.fields();
        let profiles = f.strings("profile")?.unwrap_or_default();
        let ignored = f.strings("ignore")?.unwrap_or_default();
        let reports = f.strings("report")?.unwrap_or_default().into_iter().map(PathBuf::from).collect::<Vec<_>>();
        if profiles.is_empty() {
            return Err(f.missing("profile").into());
        }
        let wish = Wish::of(&profiles, &ignored, &reports).map_err(|e| {
            let key = if matches!(e, WishError::Profile(_)) { "profile" } else { "report" };
            let fault = f.fault(key, "BadProfile", e.to_string());
            match e.hint() {
                Some(hint) => fault.hint(hint),
                None => fault,
            }
        })?;
        super::finish(f)?;
        Ok(Verify { wish })
    }

    /// Asks, and shows the answers.
    ///
    /// # Errors
    /// When the target is not as it must be.
    pub fn run(&self, stage: &mut Stage<'_>) -> Result<()> {
        let names: Vec<&str> = self.wish.profiles.iter().map(|profile| &*profile.name).collect();
        stage.ui.say(&format!("Verifying: {}", names.join(", ")));
        let ui = stage.ui;
        stage.target.system(&mut |system| self.wish.enforce(system, ui).map(drop))
    }
}
