//! Why a registry cannot be served.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// What was being tried, and failed.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Threads cannot be started.
    #[error("cannot start threads: {0}")]
    Start(io::Error),
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {path}: {source}")]
    WriteFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file of users is not one.
    #[error("{path}:{line}: {why}")]
    Users {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// A file of rights is not one.
    #[error("{path}:{line}: {why}")]
    Rights {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// The configuration has mistakes; they are rendered with their places.
    #[error("{0}")]
    Config(String),
    /// Keys that check tokens are not usable.
    #[error("the keys of the token server cannot be used: {0}")]
    Keys(String),
    /// A certificate or its key is not usable.
    #[error("the certificate cannot be used: {0}")]
    Certificate(String),
    /// The machine gives no random numbers.
    #[error("the machine gives no random numbers")]
    Random,
    /// The store.
    #[error(transparent)]
    Store(#[from] kiln_store::StoreError),
    /// The client for other registries.
    #[error(transparent)]
    Registry(#[from] kiln_registry::RegistryError),
}

impl ServeError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            ServeError::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                "another program has the port: choose one with --addr".to_owned()
            }
            ServeError::Listen { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "ports below 1024 are for root: choose another with --addr".to_owned()
            }
            ServeError::Users { .. } => "kiln registry passwd FILE NAME makes such a line".to_owned(),
            ServeError::Rights { .. } => {
                "a line is WHO REPOSITORIES ACTIONS, such as `ci team/** pull,push` or `* docker.io/** pull`".to_owned()
            }
            ServeError::Registry(error) => return error.hint(),
            _ => return None,
        })
    }

    /// Whether the user's files or options are wrong, rather than the machine.
    pub fn is_input(&self) -> bool {
        matches!(
            self,
            ServeError::Users { .. }
                | ServeError::Rights { .. }
                | ServeError::Config(_)
                | ServeError::Keys(_)
                | ServeError::Certificate(_)
        )
    }
}
