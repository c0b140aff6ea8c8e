//! `sleep` and `breakpoint`: builds that wait.

use std::time::Duration;

use kiln_packer::config::Config;

use super::{Stage, finish};
use crate::error::Result;
use crate::target::pause;

/// A `sleep` block.
pub struct Sleep {
    duration: Duration,
}

impl Sleep {
    /// Reads a block.
    ///
    /// # Errors
    /// When it has mistakes.
    pub fn parse(config: &Config) -> Result<Sleep> {
        let f = config.fields();
        let duration = f.duration("duration")?.unwrap_or_default();
        finish(f)?;
        Ok(Sleep { duration })
    }

    /// Waits, where there is something to wait for.
    ///
    /// # Errors
    /// When the user stops it.
    pub fn run(&self, stage: &mut Stage<'_>) -> Result<()> {
        if stage.target.is_offline() {
            stage.ui.message(&format!("offline: no need to sleep {}", crate::ui::words(self.duration)));
            return Ok(());
        }
        pause(self.duration, stage.cancel)
    }
}

/// A `breakpoint` block.
pub struct Breakpoint {
    disabled: bool,
    note: String,
}

impl Breakpoint {
    /// Reads a block.
    ///
    /// # Errors
    /// When it has mistakes.
    pub fn parse(config: &Config) -> Result<Breakpoint> {
        let f = config.fields();
        let disabled = f.bool("disable")?.unwrap_or(false);
        let note = f.string("note")?.unwrap_or_default();
        finish(f)?;
        Ok(Breakpoint { disabled, note })
    }

    /// Waits for the user.
    ///
    /// # Errors
    /// When the user stops it.
    pub fn run(&self, stage: &mut Stage<'_>) -> Result<()> {
        let note = if self.note.is_empty() { String::new() } else { format!(" with note \"{}\"", self.note) };
        if self.disabled {
            stage.ui.say(&format!("Breakpoint provisioner{note} not enabled; continuing..."));
            return Ok(());
        }
        stage.ui.say(&format!("Pausing at breakpoint provisioner{note}."));
        stage.ui.say("Press enter to continue.");
        stage.asker.ask(stage.cancel).map(drop)
    }
}
