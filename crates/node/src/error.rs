//! What can fail while node images are made.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use kiln_engine::EngineError;
use kiln_packer::fault::Fault;

/// Why a build of a node image, or a part of one, failed.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The template says something that has no meaning; each with its place.
    #[error("{}", first_of(.0))]
    Template(Vec<Fault>),
    /// A script ended with a code that is not among those it may end with.
    #[error("Script exited with non-zero exit status: {code}. Allowed exit codes are: {allowed:?}")]
    Script {
        /// Its exit code.
        code: i32,
        /// What it may be.
        allowed: Vec<i32>,
    },
    /// The connection was lost while a script ran, which it may not do.
    #[error(
        "Script disconnected unexpectedly. If you expected your script to disconnect, e.g. from a restart, set \
         `expect_disconnect` to true"
    )]
    Disconnected,
    /// A file of this machine cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was intended.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A step of the offline builder failed.
    #[error("{}", kiln_engine::rootfs::chain_text(.0))]
    Engine(#[from] Box<EngineError>),
    /// Something that a template may ask for cannot be done here.
    #[error("{what}")]
    Unsupported {
        /// What, and why.
        what: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The base of an image cannot be used.
    #[error("base `{base}`: {why}")]
    Base {
        /// As it was given.
        base: String,
        /// Why.
        why: String,
        /// What to do.
        hint: Option<String>,
    },
    /// A virtual machine, or what it needs, could not be had.
    #[error(transparent)]
    Vm(#[from] Box<kiln_vm::VmError>),
    /// What a machine is logged in to with cannot be used.
    #[error("`{key}`: {why}")]
    Login {
        /// The key of the template.
        key: &'static str,
        /// Why.
        why: String,
    },
    /// A disk cannot be looked at.
    #[error("cannot read the disk {disk}: {source}")]
    Disk {
        /// Which.
        disk: String,
        /// Why.
        #[source]
        source: kiln_disk::DiskError,
    },
    /// What was made is not what it must be. The report was shown.
    #[error("it does not pass as {profiles}: {what}")]
    NotVerified {
        /// Which profiles were asked.
        profiles: String,
        /// How many checks failed.
        what: String,
    },
    /// A machine could not be commanded.
    #[error("{action}: {why}")]
    Machine {
        /// What was intended.
        action: String,
        /// Why.
        why: String,
    },
    /// What answers has another host key than the machine: it is not spoken to.
    #[error("{action}: {why}")]
    HostKey {
        /// What was intended.
        action: String,
        /// Which key it has, and which were asked for.
        why: String,
    },
    /// A provisioner took longer than its `timeout`.
    #[error("timed out after {}", crate::ui::words(*.0))]
    TimedOut(Duration),
    /// A program of this machine could not be started.
    #[error("cannot run `{program}`: {source}")]
    Program {
        /// Which.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A value of a protected kernel parameter would be changed.
    #[error("`{name}` is set to `{value}`, but {owner} sets it to `{owned}`")]
    Guarded {
        /// The parameter.
        name: String,
        /// What it would be.
        value: String,
        /// Who owns it.
        owner: String,
        /// What the owner sets it to.
        owned: String,
    },
    /// A file of the image changes a protected kernel parameter.
    #[error("{message}")]
    GuardedFile {
        /// The parameter.
        name: String,
        /// Which line sets it to what, and who owns it.
        message: String,
    },
    /// A machine with one application cannot be run.
    #[error("cannot run {}: {why}", path.display())]
    MicroVm {
        /// Its directory.
        path: PathBuf,
        /// Why not.
        why: String,
        /// What to do.
        hint: Option<String>,
    },
    /// A file or image is no unikernel that something can be done with.
    #[error("cannot {intent} {title}: {source}")]
    Unikernel {
        /// What was to be done: "run", "pack", "read".
        intent: &'static str,
        /// What it is called.
        title: String,
        /// Why not.
        #[source]
        source: Box<kiln_unikernel::UnikernelError>,
    },
    /// A guest could not be started, or ended as it should not.
    #[error("{title}: {why}")]
    Guest {
        /// What it is called.
        title: String,
        /// What happened.
        why: String,
        /// What to do.
        hint: Option<String>,
    },
    /// Google's cloud refused, or could not be asked.
    #[error("{action}: {source}")]
    Gce {
        /// What was intended, in Packer's words.
        action: String,
        /// Why not.
        source: Box<kiln_gce::GceError>,
    },
    /// Alibaba Cloud refused, or could not be asked.
    #[error("{action}: {source}")]
    Alicloud {
        /// What was intended, in Packer's words.
        action: String,
        /// Why not.
        source: Box<kiln_alicloud::AlicloudError>,
    },
    /// An artifact has no files, and a post-processor needs some.
    #[error("{0}")]
    Artifact(String),
    /// The user stopped it.
    #[error("build was cancelled")]
    Cancelled,
}

/// A result of this crate.
pub type Result<T, E = NodeError> = std::result::Result<T, E>;

impl NodeError {
    /// Makes an error of a file out of what the system said.
    pub fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> NodeError {
        let path = path.into();
        move |source| NodeError::File { action, path, source }
    }

    /// What to do about it, if that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            NodeError::Template(found) => found.first().and_then(|f| f.diagnostic.hint.clone()),
            NodeError::Unsupported { hint, .. }
            | NodeError::Base { hint, .. }
            | NodeError::MicroVm { hint, .. }
            | NodeError::Guest { hint, .. } => hint.clone(),
            NodeError::Gce { source, .. } => source.hint(),
            NodeError::Alicloud { source, .. } => source.hint(),
            NodeError::Guarded { name, .. } => {
                Some(format!("leave it to its owner, or allow it by name: \"allow\": [\"{name}\"]"))
            }
            NodeError::GuardedFile { name, .. } => {
                Some(format!("leave it to its owner, or allow it by name: \"sysctl_allow\": [\"{name}\"]"))
            }
            _ => None,
        }
    }
}

impl From<EngineError> for NodeError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Cancelled => NodeError::Cancelled,
            error => NodeError::Engine(Box::new(error)),
        }
    }
}

impl From<kiln_vm::VmError> for NodeError {
    fn from(error: kiln_vm::VmError) -> Self {
        NodeError::Vm(Box::new(error))
    }
}

impl From<Fault> for NodeError {
    fn from(found: Fault) -> Self {
        NodeError::Template(vec![found])
    }
}

impl From<Vec<Fault>> for NodeError {
    fn from(found: Vec<Fault>) -> Self {
        NodeError::Template(found)
    }
}

fn first_of(found: &[Fault]) -> String {
    found.first().map_or_else(|| "the template has mistakes".to_owned(), Fault::to_string)
}
