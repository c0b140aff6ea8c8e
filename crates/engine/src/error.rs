//! What can fail while an image is made, moved or written.

use std::io;
use std::path::PathBuf;

use kiln_oci::layer::LayerError;
use kiln_oci::{Digest, Platform};
use kiln_plan::StepId;
use kiln_registry::RegistryError;
use kiln_sandbox::SandboxError;
use kiln_spec::diag::Diagnostic;
use kiln_spec::source::Span;
use kiln_store::{ErrorKind, StoreError};

/// Why a build, or an operation on images, failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The Dockerfile has mistakes; each says where.
    #[error("the Dockerfile has mistakes")]
    Dockerfile(Vec<Diagnostic>),
    /// A command ended with a code other than 0.
    #[error("`{title}` did not complete: exit code {code}")]
    RunFailed {
        /// The step.
        step: StepId,
        /// Its title.
        title: String,
        /// The instruction.
        span: Span,
        /// The command's exit code; 128 + n for signal n.
        code: i32,
        /// What else is known: killed by which signal, out of memory.
        why: Option<String>,
        /// The last lines it wrote.
        tail: Vec<String>,
    },
    /// A step cannot be done.
    #[error("`{title}`: {message}")]
    Step {
        /// Its title.
        title: String,
        /// The instruction.
        span: Span,
        /// What is wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A registry failed.
    #[error(transparent)]
    Registry(#[from] Box<RegistryError>),
    /// A command could not be started.
    #[error("`{title}`: {source}")]
    Sandbox {
        /// The step.
        title: String,
        /// Why.
        #[source]
        source: Box<SandboxError>,
    },
    /// The isolation the user asked for cannot be had.
    #[error("isolation `{rung}` does not work here: {why}")]
    Isolation {
        /// Which.
        rung: kiln_sandbox::Rung,
        /// What failed.
        why: String,
    },
    /// What was made is not what it must be, and was not put where it should go.
    #[error("{} was not written, for it is not what it must be:\n{report}", path.display())]
    NotVerified {
        /// Where it would have gone.
        path: std::path::PathBuf,
        /// What is wrong with it.
        report: String,
    },
    /// A layer cannot be read.
    #[error("layer {digest}: {source}")]
    Layer {
        /// Its blob or diff id.
        digest: Digest,
        /// Why.
        #[source]
        source: LayerError,
    },
    /// A layer cannot be unpacked, compared or written.
    #[error("layer {digest}: {message}")]
    LayerFiles {
        /// Its diff id or blob.
        digest: String,
        /// Why.
        message: String,
        /// Whether a disk is full.
        full: bool,
    },
    /// A blob's uncompressed content is not what the image says.
    #[error("layer {digest}: its content is {found}, but the image says {expected}")]
    DiffId {
        /// The blob.
        digest: Digest,
        /// What the configuration lists.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// An object of an object store cannot be read or written.
    #[error("{name}: {message}")]
    Object {
        /// Its address, without what is secret in it.
        name: String,
        /// Why.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// What an object store holds is not what it should be.
    #[error("{name}: {message}")]
    Damaged {
        /// Its address.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// A build that is held to a lock file would use something else.
    #[error("{0}")]
    Locked(String),
    /// A source that the policy does not let a build use.
    #[error(transparent)]
    Refused(#[from] kiln_plan::policy::Refused),
    /// A layer that cannot be looked through for packages.
    #[error(transparent)]
    Sbom(#[from] kiln_sbom::SbomError),
    /// An attestation or a signature cannot be made or believed.
    #[error("{what}: {source}")]
    Attest {
        /// What of.
        what: String,
        /// Why.
        #[source]
        source: kiln_attest::AttestError,
    },
    /// An image that the Dockerfile names cannot be had.
    #[error("{name}: {source}")]
    Base {
        /// As it is named there.
        name: String,
        /// Where.
        span: Span,
        /// What may have been meant.
        hint: Option<String>,
        /// Why.
        #[source]
        source: Box<EngineError>,
    },
    /// An image that is there cannot be used.
    #[error("image `{name}`: {message}")]
    Image {
        /// Its name.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// No image of this name.
    #[error("no image `{0}` in the store")]
    NoSuchImage(String),
    /// An index without an image for the platform.
    #[error("image `{name}` has nothing for {platform}; it has {}", if have.is_empty() { "no platforms".to_owned() } else { have.join(", ") })]
    NoPlatform {
        /// Its name.
        name: String,
        /// What was asked for.
        platform: Box<Platform>,
        /// What there is.
        have: Vec<String>,
    },
    /// A build context cannot be read.
    #[error("{0}")]
    Context(String),
    /// A URL cannot be fetched.
    #[error("cannot fetch {url}: {message}")]
    Fetch {
        /// The URL, without credentials.
        url: String,
        /// Why.
        message: String,
    },
    /// Git failed.
    #[error("git: {remote}: {message}")]
    Git {
        /// The remote, without credentials.
        remote: String,
        /// Why.
        message: String,
    },
    /// A file or directory the user named cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried, as a verb with its object.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An archive is not what it should be.
    #[error("{name}: {message}")]
    Archive {
        /// The file, or `standard input`.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// A disk cannot be written, or the image cannot be one.
    #[error("cannot make the disk {}", path.display())]
    Disk {
        /// Where to.
        path: PathBuf,
        /// What is wrong.
        #[source]
        cause: Box<kiln_disk::DiskError>,
    },
    /// A machine with one application cannot be written, or the image cannot be one.
    #[error("cannot make the machine {}: {message}", path.display())]
    MicroVm {
        /// Where to.
        path: PathBuf,
        /// What is wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// Something asked for is not supported.
    #[error("{0}")]
    Unsupported(String),
    /// The user stopped it.
    #[error("cancelled")]
    Cancelled,
}

/// What the functions of this crate return.
pub type Result<T, E = EngineError> = std::result::Result<T, E>;

impl From<RegistryError> for EngineError {
    fn from(e: RegistryError) -> Self {
        match e {
            RegistryError::Cancelled => EngineError::Cancelled,
            other => EngineError::Registry(Box::new(other)),
        }
    }
}

impl EngineError {
    /// Why the disk `path` could not be made; one that fills up the file system it is on is that file system's.
    pub fn disk(path: &std::path::Path, cause: kiln_disk::DiskError) -> EngineError {
        match EngineError::of_disk(&cause, path) {
            Some(EngineError::File { path, source, .. }) => EngineError::File { action: "write", path, source },
            _ => EngineError::Disk { path: path.to_owned(), cause: Box::new(cause) },
        }
    }

    /// The error of a disk that is full or cannot be written, wherever in the chain of `e` it hides: it is no mistake of
    /// the input. `path` is on that disk.
    pub fn of_disk(e: &(dyn std::error::Error + 'static), path: &std::path::Path) -> Option<EngineError> {
        let source = match disk_trouble(e)? {
            io::ErrorKind::StorageFull => rustix::io::Errno::NOSPC.into(),
            io::ErrorKind::QuotaExceeded => rustix::io::Errno::DQUOT.into(),
            _ => rustix::io::Errno::ROFS.into(),
        };
        Some(EngineError::File { action: "write to the store in", path: path.to_owned(), source })
    }

    /// Files of a layer that cannot be written or read.
    pub fn layer_files(digest: &Digest, message: String, e: &(dyn std::error::Error + 'static)) -> EngineError {
        let full = matches!(disk_trouble(e), Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded));
        EngineError::LayerFiles { digest: digest.to_string(), message, full }
    }

    /// An error about a file of the user.
    pub fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> EngineError {
        let path = path.into();
        move |source| EngineError::File { action, path, source }
    }
}

/// What a disk refuses, wherever in the chain of an error it is said. Inside an [`io::Error`], too: it hides what it wraps.
fn disk_trouble(e: &(dyn std::error::Error + 'static)) -> Option<io::ErrorKind> {
    let mut next = Some(e);
    while let Some(e) = next {
        next = e.source();
        if let Some(io) = e.downcast_ref::<io::Error>() {
            if matches!(kiln_store::error::kind_of(io), ErrorKind::NoSpace | ErrorKind::ReadOnly) {
                return Some(io.kind());
            }
            next = io.get_ref().map(|inner| inner as &(dyn std::error::Error + 'static)).or(next);
        }
    }
    None
}
