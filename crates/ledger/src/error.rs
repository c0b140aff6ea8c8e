//! What can go wrong with the ledger.

use std::io;
use std::path::{Path, PathBuf};

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, LedgerError>;

/// Why something cannot be written down, or read again.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A file or the directory cannot be used.
    #[error("cannot {what} {}: {source}", path.display())]
    File {
        /// What was wanted: `make`, `read`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else could write it, and so have things deleted.
    #[error("{} cannot be trusted: {why}", path.display())]
    Untrusted {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Such a name would lead out of the directory, or is none.
    #[error("`{0}` is not the identifier of a build: letters, digits and hyphens, 64 at most")]
    Name(String),
    /// Each build has its own.
    #[error("the build {build} has a book already: {}", path.display())]
    Exists {
        /// The build.
        build: String,
        /// Its book.
        path: PathBuf,
    },
    /// There is none.
    #[error("no book of the build {build} in {}", dir.display())]
    NoSuchBuild {
        /// The build.
        build: String,
        /// The directory.
        dir: PathBuf,
    },
    /// It takes away what it made itself.
    #[error("the build {build} is still running")]
    Alive {
        /// The build.
        build: String,
    },
    /// What would not be read again is not written.
    #[error("cannot write down {what}: {why}")]
    Line {
        /// What was to be written.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// It was struck out, or is another book's.
    #[error("{} has nothing open with the number {entry}", path.display())]
    NoSuchEntry {
        /// The book.
        path: PathBuf,
        /// The number.
        entry: u64,
    },
    /// Some of it cannot be read, so it is not removed.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// The book.
        path: PathBuf,
        /// The first fault.
        why: String,
    },
}

impl LedgerError {
    /// For `map_err`.
    pub(crate) fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LedgerError + use<> {
        let path = path.to_path_buf();
        move |source| LedgerError::File { what, path, source }
    }
}
