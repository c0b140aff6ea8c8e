//! What is done when a step of a build failed: `-on-error`.
//!
//! | `-on-error` | error-cleanup-provisioner | what was made | asks |
//! |---|---|---|---|
//! | `cleanup` | runs | is removed | no |
//! | `abort` | does not run | is left | no |
//! | `run-cleanup-provisioner` | runs | is left | no |
//! | `ask` | as answered | as answered | clean up, abort, or try the step again |

use kiln_sandbox::Cancel;

use super::Process;
use super::steps;
use crate::builder::Builder;
use crate::error::{NodeError, Result};

/// `-on-error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// What was made is removed.
    #[default]
    Cleanup,
    /// It is left.
    Abort,
    /// The user is asked.
    Ask,
    /// The error-cleanup-provisioner runs, and what was made is left.
    RunCleanupProvisioner,
}

impl OnError {
    /// All of them by their names.
    pub const NAMES: [(&'static str, OnError); 4] = [
        ("cleanup", OnError::Cleanup),
        ("abort", OnError::Abort),
        ("ask", OnError::Ask),
        ("run-cleanup-provisioner", OnError::RunCleanupProvisioner),
    ];

    /// The one of this name.
    pub fn by_name(name: &str) -> Option<OnError> {
        OnError::NAMES.iter().find(|(n, _)| *n == name).map(|(_, what)| *what)
    }
}

/// A step failed, and it was decided what becomes of what was made.
pub struct Failed {
    /// Why.
    pub error: NodeError,
    /// Whether everything is left as it is.
    pub leave: bool,
}

/// What the user wants.
enum Answer {
    CleanUp,
    Abort,
    Retry,
}

impl Process<'_> {
    /// Does a step, and again if the user wants; `provisioning` says whether there is a target to clean up on.
    ///
    /// # Errors
    /// When it failed for good.
    pub fn attempt<T>(
        &self,
        builder: &mut dyn Builder,
        provisioning: bool,
        mut step: impl FnMut(&mut dyn Builder) -> Result<T>,
    ) -> Result<T, Failed> {
        loop {
            let result = match self.around.cancel.is_cancelled() {
                true => Err(NodeError::Cancelled),
                false => step(builder),
            };
            let error = match result {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let stopped = matches!(error, NodeError::Cancelled);
            let (run_block, leave) = match self.settings.on_error {
                // Who stops a build is not asked what to do about it.
                OnError::Ask if !stopped => match self.ask(&error) {
                    Answer::Retry => continue,
                    Answer::CleanUp => (true, false),
                    Answer::Abort => (false, true),
                },
                OnError::Cleanup | OnError::Ask => (true, false),
                OnError::Abort => (false, true),
                OnError::RunCleanupProvisioner => (true, true),
            };
            if run_block && provisioning {
                self.error_cleanup(builder, stopped);
            }
            return Err(Failed { error, leave });
        }
    }

    fn ask(&self, error: &NodeError) -> Answer {
        self.ui.error(&format!("Step failed: {error}"));
        loop {
            self.ui.say("[c] Clean up and exit, [a] abort without cleanup, or [r] retry step (build may fail even if retry succeeds)?");
            let answer = match self.around.asker.ask(self.around.cancel) {
                Ok(Some(answer)) => answer,
                // Nobody answers any more.
                Ok(None) | Err(_) => return Answer::CleanUp,
            };
            match &*answer.trim().to_ascii_lowercase() {
                "c" => return Answer::CleanUp,
                "a" => return Answer::Abort,
                "r" => return Answer::Retry,
                other => self.ui.say(&format!("Incorrect input: {other:?}")),
            }
        }
    }

    /// Runs the error-cleanup-provisioner, whose own failure changes nothing.
    fn error_cleanup(&self, builder: &mut dyn Builder, stopped: bool) {
        let Some(block) = &self.build.error_cleanup else { return };
        if stopped && builder.target().is_offline() {
            // It would run on files that are thrown away.
            return;
        }
        self.ui.say("Running the cleanup provisioner...");
        // That the build was stopped does not stop this; a second signal stops everything.
        let cancel = Cancel::new();
        builder.target().obey(cancel.clone());
        if let Err(error) = steps::provision(self, block, usize::from(u16::MAX), builder, &cancel) {
            self.ui.error(&format!("Error running the cleanup provisioner: {error}"));
        }
        builder.target().obey(self.around.cancel.clone());
    }
}
