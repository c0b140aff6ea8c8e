//! What can fail between Kiln and a service of a cloud. No variant ever holds a credential, a token or a signed address.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A failed try, and whether another one makes sense.
pub type Failure = kiln_http::Failure<CloudError>;

/// Why a service could not be asked, or credentials could not be had.
#[derive(Debug, thiserror::Error)]
pub enum CloudError {
    /// An authority's certificate that was configured cannot be used.
    #[error("cannot use the certificate file {}: {why}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// TLS or a connection pool cannot be set up.
    #[error("cannot set up connections: {0}")]
    Setup(String),
    /// A variable holds what cannot be used. Its value is not shown: it may hold a password.
    #[error("the value of {variable} cannot be used: {why}")]
    Variable {
        /// Its name.
        variable: &'static str,
        /// What is wrong.
        why: String,
    },
    /// Credentials are configured and cannot be had.
    #[error("cannot get credentials for {cloud} from {place}: {why}")]
    Credentials {
        /// `AWS`, `Google Cloud`, `Azure`.
        cloud: &'static str,
        /// The file, variable or service.
        place: String,
        /// Why, without quoting any.
        why: String,
    },
    /// No connection, or it broke.
    #[error("cannot reach {host} for {what}: {why}")]
    Connect {
        /// The host that was called.
        host: String,
        /// What was wanted.
        what: String,
        /// The innermost reason.
        why: String,
    },
    /// The host's certificate is not trusted.
    #[error("{host} is not trusted: {why}")]
    Untrusted {
        /// The host that was called.
        host: String,
        /// What TLS said.
        why: String,
    },
    /// Nothing came, or was accepted, for too long.
    #[error("{host} did not answer for {} s ({what})", after.as_secs())]
    Stalled {
        /// The host that was called.
        host: String,
        /// What was wanted.
        what: String,
        /// How long was waited.
        after: Duration,
    },
    /// An answer that is not the protocol.
    #[error("{host} answers {what} wrongly: {why}")]
    Protocol {
        /// The host.
        host: String,
        /// What was wanted.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// What was to be uploaded could not be read.
    #[error("cannot read what is to become {what}: {source}")]
    Source {
        /// What it was to become.
        what: String,
        /// Why.
        source: io::Error,
    },
}
