//! What can fail before anything is known of a host.

use std::path::PathBuf;

/// Why facts could not be had.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    /// The directory that stands for `/`.
    #[error("cannot open the root directory {}: {source}", path.display())]
    Root {
        /// What was to be opened.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The network namespace.
    #[error("cannot enter the network namespace {}: {source}", path.display())]
    Namespace {
        /// Its file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A host over SSH.
    #[error("{host}: {why}")]
    Host {
        /// Who.
        host: String,
        /// What it said or did.
        why: String,
    },
    /// A packet that was to be sent or listened for.
    #[error("{host}: {why}")]
    Probe {
        /// On which host.
        host: String,
        /// What it said or did.
        why: String,
    },
    /// Facts that another Kiln, or a liar, sent.
    #[error("{host}: its facts cannot be read: {why}")]
    Facts {
        /// Who.
        host: String,
        /// Where and why.
        why: String,
    },
}
