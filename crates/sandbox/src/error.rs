//! What can go wrong around a command; how the command itself ended is not an error but an [`Exit`](crate::Exit).

use std::io;
use std::path::PathBuf;

use crate::rung::Rung;

/// Why a command could not be run, or not be run as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// The copy of this program that prepares the root could not be started.
    #[error("cannot start the sandbox's first process from `{program}`: {source}")]
    StartInit {
        /// What was to be executed.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The channel to the first process could not be opened or used.
    #[error("cannot {intention}: {source}")]
    Talk {
        /// What was tried.
        intention: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The job does not fit in the form in which it is handed over.
    #[error("cannot describe the command to the sandbox: {source}")]
    DescribeJob {
        /// Why not.
        source: serde_json::Error,
    },
    /// A step of preparing the root failed.
    #[error("cannot prepare the sandbox: {step}: {cause}")]
    Prepare {
        /// What was tried, naming the path.
        step: String,
        /// Why it failed.
        cause: String,
    },
    /// The command ran, but what had been put into the root for it could not be removed.
    #[error("cannot clean up after the command: {step}: {cause}")]
    CleanUp {
        /// What was tried, naming the path.
        step: String,
        /// Why it failed.
        cause: String,
    },
    /// The rung cannot give what the job asks for.
    #[error("isolation `{rung}` cannot give {what}")]
    Unsupported {
        /// The rung asked for.
        rung: Rung,
        /// What it lacks, and what would help.
        what: String,
    },
    /// Limits were asked for and no control group can hold them.
    #[error("cannot limit {what}: {why}")]
    Limit {
        /// `memory`, `processor time` or `processes`.
        what: &'static str,
        /// Naming the file or controller.
        why: String,
    },
    /// The first process ended without a word.
    #[error("the sandbox's first process ended unexpectedly ({how})")]
    InitLost {
        /// Its exit status.
        how: String,
    },
    /// The caller asked to stop; everything the command started is gone.
    #[error("cancelled")]
    Cancelled,
}
