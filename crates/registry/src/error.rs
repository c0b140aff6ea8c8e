//! What can fail between Kiln and a registry. No variant ever holds a credential, a token or a signed address.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use kiln_oci::Digest;

use crate::credentials::CredentialError;

pub use kiln_http::Answer;

/// A failed try, and whether another one makes sense.
pub(crate) type Failure = kiln_http::Failure<RegistryError>;

/// Why an image, or a part of it, could not be moved. `what` names the thing in words, such as
/// `manifest library/busybox:latest`.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The asynchronous machinery could not be started.
    #[error("cannot start the network threads: {0}")]
    Start(#[source] io::Error),
    /// A certificate or key that was configured cannot be used.
    #[error("cannot use the certificate file {}: {why}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS for {host}: {why}")]
    TlsSetup {
        /// The host it was for.
        host: String,
        /// What is wrong.
        why: String,
    },
    /// A proxy setting is not usable. Its value is not shown: it may hold a password.
    #[error("the proxy in `{0}` is not a usable http, https or socks5 URL")]
    Proxy(&'static str),
    /// A registry or mirror name is not a host.
    #[error("`{0}` is not a registry host")]
    BadHost(String),
    /// The credentials for a registry cannot be had.
    #[error("cannot get the credentials for {host}: {source}")]
    Credentials {
        /// The registry.
        host: String,
        /// Why.
        source: CredentialError,
    },
    /// No connection, or it broke, after all retries.
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
    /// Nothing came for too long.
    #[error("{host} did not answer for {} s ({what})", after.as_secs())]
    Stalled {
        /// The host that was called.
        host: String,
        /// What was wanted.
        what: String,
        /// How long was waited.
        after: Duration,
    },
    /// The registry wants other, or any, credentials.
    #[error("{host} refuses access to {what}: {answer}{}", anonymous(*logged_in, trouble))]
    Unauthorized {
        /// The registry.
        host: String,
        /// What was wanted.
        what: String,
        /// What it said.
        answer: Box<Answer>,
        /// Whether credentials were used.
        logged_in: bool,
        /// Why none were, though there should be some.
        trouble: Option<String>,
    },
    /// The token server of a registry does not accept the credentials.
    #[error("{realm}, which issues tokens for {host}, refuses: {answer}{}", anonymous(*logged_in, trouble))]
    TokenRefused {
        /// The registry.
        host: String,
        /// The token server.
        realm: String,
        /// What it said.
        answer: Box<Answer>,
        /// Whether credentials were used.
        logged_in: bool,
        /// Why none were, though there should be some.
        trouble: Option<String>,
    },
    /// The registry's way of asking for credentials cannot be followed.
    #[error("{host} asks for credentials in a way that is not followed: {why}")]
    Challenge {
        /// The registry.
        host: String,
        /// What is wrong with the challenge.
        why: String,
    },
    /// The thing is not there.
    #[error("{host} has no {what}: {answer}")]
    NotFound {
        /// The registry.
        host: String,
        /// What was wanted.
        what: String,
        /// What it said.
        answer: Box<Answer>,
    },
    /// Too many requests, and waiting is not sensible.
    #[error("{host} limits the rate of requests ({what}): {answer}")]
    RateLimited {
        /// The registry.
        host: String,
        /// What was wanted.
        what: String,
        /// What it said.
        answer: Box<Answer>,
        /// How long it asked to wait, if it said so.
        retry_after: Option<Duration>,
    },
    /// Any other refusal.
    #[error("{host} fails on {what}: {answer}")]
    Refused {
        /// The registry.
        host: String,
        /// What was wanted.
        what: String,
        /// What it said.
        answer: Box<Answer>,
    },
    /// An answer that is not the protocol.
    #[error("{host} answers {what} wrongly: {why}")]
    Protocol {
        /// The registry.
        host: String,
        /// What was wanted.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// A redirect that is not followed.
    #[error("{host} redirects {what} to {target}, which is not followed: {why}")]
    Redirect {
        /// The host that redirected.
        host: String,
        /// What was wanted.
        what: String,
        /// Scheme and host of the target; never its path or query.
        target: String,
        /// The rule it breaks.
        why: &'static str,
    },
    /// A document is larger than its limit.
    #[error("{host} sends more than {limit} bytes for {what}")]
    TooLarge {
        /// The registry.
        host: String,
        /// What was wanted.
        what: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// The bytes are not what the digest says.
    #[error("{host} sends wrong bytes for {what}: expected {expected}, got {actual}")]
    DigestMismatch {
        /// The registry.
        host: String,
        /// What was wanted.
        what: String,
        /// The digest asked for.
        expected: Box<Digest>,
        /// The digest of what came.
        actual: Box<Digest>,
    },
    /// The length is not what the descriptor says.
    #[error("{host} sends {actual} bytes for {what}, not the expected {expected}")]
    SizeMismatch {
        /// The registry.
        host: String,
        /// What was wanted.
        what: String,
        /// The size asked for, in bytes.
        expected: u64,
        /// The size announced, in bytes.
        actual: u64,
    },
    /// A manifest of Docker's first schema.
    #[error("{what} on {host} is a Docker schema 1 manifest, a format withdrawn in 2017 that Kiln does not read")]
    Schema1 {
        /// The registry.
        host: String,
        /// The manifest.
        what: String,
    },
    /// The digest in the reference is not that of the manifest to push.
    #[error("the manifest to push has digest {actual}, the reference says {expected}")]
    PushDigest {
        /// The digest in the reference.
        expected: Box<Digest>,
        /// The digest of the bytes.
        actual: Box<Digest>,
    },
    /// What was downloaded could not be stored.
    #[error("cannot store blob {digest}: {source}")]
    Sink {
        /// The blob.
        digest: Digest,
        /// Why.
        source: io::Error,
    },
    /// What was to be uploaded could not be read.
    #[error("cannot read blob {digest} to push it: {source}")]
    Source {
        /// The blob.
        digest: Digest,
        /// Why.
        source: io::Error,
    },
    /// What was fetched from a URL cannot be kept.
    #[error("cannot keep {what}: {source}")]
    Keep {
        /// The path of the URL.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// The caller asked to stop.
    #[error("interrupted")]
    Cancelled,
}

fn anonymous(logged_in: bool, trouble: &Option<String>) -> String {
    match (logged_in, trouble) {
        (true, _) => String::new(),
        (false, None) => " (no credentials were found for it)".to_owned(),
        (false, Some(why)) => format!(" (no credentials: {why})"),
    }
}

impl RegistryError {
    /// Whether the thing asked for does not exist (as opposed to not being reachable or allowed).
    pub fn is_not_found(&self) -> bool {
        matches!(self, RegistryError::NotFound { .. })
    }

    /// Whether the caller interrupted the work.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, RegistryError::Cancelled)
    }

    /// Whether other credentials would help.
    pub fn is_unauthorized(&self) -> bool {
        matches!(self, RegistryError::Unauthorized { .. } | RegistryError::TokenRefused { .. })
    }

    /// The registry's own words, if it gave any.
    pub fn answer(&self) -> Option<&Answer> {
        match self {
            RegistryError::Unauthorized { answer, .. }
            | RegistryError::TokenRefused { answer, .. }
            | RegistryError::NotFound { answer, .. }
            | RegistryError::RateLimited { answer, .. }
            | RegistryError::Refused { answer, .. } => Some(answer),
            _ => None,
        }
    }

    /// What to do next, where there is something sensible to say.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            RegistryError::Unauthorized { host, logged_in: false, .. }
            | RegistryError::TokenRefused { host, logged_in: false, .. } => {
                format!(
                    "log in with `kiln login {host}`, and check the name: registries say this of images that do not exist, too"
                )
            }
            RegistryError::Unauthorized { host, .. } => {
                format!(
                    "the account may lack the right, or the repository may not exist; `kiln login {host}` changes the account"
                )
            }
            RegistryError::TokenRefused { host, .. } => {
                format!("the stored credentials for {host} may be wrong or expired: run `kiln login {host}`")
            }
            RegistryError::Untrusted { host, .. } => format!(
                "give the authority's certificate (--registry-ca {host}=FILE, or /etc/docker/certs.d/{host}/ca.crt), or do without verification for this host: --insecure={host}"
            ),
            RegistryError::Connect { host, .. } => {
                format!(
                    "check the name, the network and the proxy variables; if {host} speaks plain http, say so with --plain-http {host}"
                )
            }
            RegistryError::RateLimited { host, retry_after, .. } => {
                let wait = retry_after.map(|d| format!("wait {} s, or ", d.as_secs())).unwrap_or_default();
                format!("{wait}log in with `kiln login {host}` or use a mirror")
            }
            RegistryError::NotFound { .. } => "check the repository and the tag or digest".to_owned(),
            RegistryError::DigestMismatch { .. } | RegistryError::SizeMismatch { .. } => {
                "a proxy or mirror on the way may alter the content; nothing of it was kept".to_owned()
            }
            RegistryError::Schema1 { .. } => {
                "pull and push the image with a current tool once to convert it".to_owned()
            }
            RegistryError::Stalled { .. } => {
                "the network or the host is very slow, or hangs: try again; what was fetched of a blob is kept".to_owned()
            }
            RegistryError::Protocol { .. } | RegistryError::TooLarge { .. } => {
                "this may be no registry, or a proxy may answer for it: check the name, the port and the proxy variables"
                    .to_owned()
            }
            RegistryError::Redirect { host, .. } | RegistryError::Challenge { host, .. } => {
                format!("only who runs {host} can mend this; neither downloads nor credentials go where it points")
            }
            RegistryError::Credentials { source, .. } => return source.hint(),
            RegistryError::Refused { answer, .. } => return answer_hint(answer),
            _ => return None,
        };
        Some(text)
    }
}

fn answer_hint(answer: &Answer) -> Option<String> {
    let text = match (&*answer.code, answer.status) {
        ("MANIFEST_BLOB_UNKNOWN", _) => "a blob of the image is missing in this repository: push the image again",
        ("NAME_UNKNOWN" | "NAME_INVALID", _) => "some registries need the repository or project to be created first",
        ("DENIED", _) | (_, 403) => "the account may lack the right to do this, or the tag may be immutable",
        ("UNSUPPORTED", _) | (_, 405) => "the registry does not allow this operation",
        (_, 413) => "a proxy in front of the registry limits the size of requests",
        (_, 500..) => "the registry itself has a problem: try again later",
        _ => return None,
    };
    Some(text.to_owned())
}
