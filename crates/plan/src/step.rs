//! The closed list of things Kiln can do to make a container image.

use std::fmt;

use kiln_oci::{Digest, ImageConfig, Platform};
use kiln_spec::diag::Diagnostic;
use kiln_spec::source::Span;
use serde::Serialize;

use crate::facts::{ContextId, ImageFact};
use crate::key::Key;
use crate::options::Ulimit;

/// Position of a step in its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct StepId(pub usize);

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// What will be done: steps in an order in which each comes after all it needs.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
    /// The step whose file system becomes the image's.
    pub result: StepId,
    /// The image's configuration, complete but for diff ids and times.
    pub config: ImageConfig,
    /// How many entries of `config.history` are the base image's.
    pub base_history: usize,
    /// The platform of the image.
    pub platform: Platform,
    /// Remarks found while planning.
    pub warnings: Vec<Diagnostic>,
}

impl Plan {
    /// The step with this id.
    pub fn step(&self, id: StepId) -> &Step {
        &self.steps[id.0]
    }

    /// From the base to `id`: the steps whose layers, stacked, are its file system.
    pub fn chain(&self, id: StepId) -> Vec<StepId> {
        let mut chain = vec![id];
        let mut at = id;
        while let Some(parent) = self.step(at).parent {
            chain.push(parent);
            at = parent;
        }
        chain.reverse();
        chain
    }
}

/// One step.
#[derive(Debug, Clone)]
pub struct Step {
    /// What it does.
    pub op: Op,
    /// The step whose file system it starts from; `None` for the bottom of a stage.
    pub parent: Option<StepId>,
    /// Other steps whose file systems it reads.
    pub reads: Vec<StepId>,
    /// What its cache entry is found by.
    pub key: Key,
    /// Whether the cache is not to be looked up.
    pub no_cache: bool,
    /// What to call it: `[build 2/5] RUN make`.
    pub title: String,
    /// The instruction.
    pub span: Span,
}

/// What a step does.
#[derive(Debug, Clone)]
pub enum Op {
    /// Starts from nothing.
    Scratch,
    /// Starts from an image.
    Image(Box<ImageFact>),
    /// Runs a command; its changes are a layer.
    Run(Box<RunOp>),
    /// Writes files as a layer.
    Copy(Box<CopyOp>),
    /// Makes a directory and its parents (`WORKDIR`).
    Mkdir(MkdirOp),
}

impl Op {
    /// Whether it makes a layer.
    pub fn makes_layer(&self) -> bool {
        !matches!(self, Op::Scratch | Op::Image(_))
    }
}

/// `RUN`.
#[derive(Debug, Clone, Serialize)]
pub struct RunOp {
    /// The command.
    pub argv: Vec<String>,
    /// Its environment, as far as it is in the key.
    pub env: Vec<(String, String)>,
    /// Proxy variables: seen by the command, in no key, no history and no printed plan; they may hold passwords.
    #[serde(skip)]
    pub proxy_env: Vec<(String, String)>,
    /// Absolute path to start in.
    pub cwd: String,
    /// `user[:group]`; empty is root.
    pub user: String,
    /// Mounts, in order.
    pub mounts: Vec<RunMount>,
    /// Network.
    pub network: Network,
    /// Whether the command keeps all privileges.
    pub insecure: bool,
    /// A script mounted at `/dev/pipes/NAME` (a heredoc that starts with `#!`).
    pub script: Option<(String, String)>,
    /// Lines for `/etc/hosts`: name, address.
    pub hosts: Vec<(String, String)>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: Option<u64>,
    /// Resource limits.
    pub ulimits: Vec<Ulimit>,
    /// Newest modification time the layer may hold (`--rewrite-timestamp`).
    pub clamp_mtime: Option<i64>,
}

/// Which network a command sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// What the builder gives: the host's.
    Default,
    /// The host's.
    Host,
    /// Loopback only.
    None,
}

/// A tree that files come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// A build context.
    Context(ContextId),
    /// The file system a step leaves.
    Step(StepId),
}

/// Who may use a cache mount at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sharing {
    /// Anyone.
    Shared,
    /// One command a directory: a second gets another directory.
    Private,
    /// One command: a second waits.
    Locked,
}

/// `RUN --mount`, resolved.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum RunMount {
    /// Files of a context, stage or image; writes are discarded.
    Bind {
        /// From where; `None` is an empty tree.
        origin: Option<Origin>,
        /// Path in it.
        source: String,
        /// Where to.
        target: String,
        /// Whether writes fail.
        readonly: bool,
    },
    /// A directory kept between builds.
    Cache {
        /// Its name.
        id: String,
        /// Where to.
        target: String,
        /// What a new one starts with.
        origin: Option<Origin>,
        /// Path in it.
        source: String,
        /// Who may use it at once.
        sharing: Sharing,
        /// Mode of a new one.
        mode: u32,
        /// Owner of a new one.
        uid: u32,
        /// Group of a new one.
        gid: u32,
        /// Whether writes fail.
        readonly: bool,
    },
    /// Empty memory.
    Tmpfs {
        /// Where to.
        target: String,
        /// Size in bytes.
        size: Option<u64>,
    },
    /// A secret.
    Secret {
        /// Its id.
        id: String,
        /// File to put it in.
        target: Option<String>,
        /// Variable to put it in.
        env: Option<String>,
        /// Mode of the file.
        mode: u32,
        /// Owner of the file.
        uid: u32,
        /// Group of the file.
        gid: u32,
        /// Whether a missing secret is an error.
        required: bool,
    },
    /// The SSH agent's socket.
    Ssh {
        /// Which agent.
        id: String,
        /// Where to.
        target: String,
        /// Mode of the socket.
        mode: u32,
        /// Owner of the socket.
        uid: u32,
        /// Group of the socket.
        gid: u32,
        /// Whether a missing agent is an error.
        required: bool,
    },
}

impl RunMount {
    /// The path it is mounted on; none for a secret that is only a variable.
    #[must_use]
    pub fn target(&self) -> Option<&str> {
        match self {
            RunMount::Bind { target, .. }
            | RunMount::Cache { target, .. }
            | RunMount::Tmpfs { target, .. }
            | RunMount::Ssh { target, .. } => Some(target),
            RunMount::Secret { target, .. } => target.as_deref(),
        }
    }
}

/// `COPY` and `ADD`.
#[derive(Debug, Clone, Serialize)]
pub struct CopyOp {
    /// What is copied, in order.
    pub parts: Vec<CopyPart>,
    /// Absolute destination; a trailing slash says that it is a directory.
    pub dest: String,
    /// `--chown`, expanded.
    pub chown: Option<String>,
    /// `--chmod`, expanded and checked.
    pub chmod: Option<String>,
    /// `--link`: the layer does not depend on what is below.
    pub link: bool,
    /// `--exclude`, expanded.
    pub exclude: Vec<String>,
    /// `--parents`.
    pub parents: bool,
    /// Modification time of everything written, if the build has one.
    pub mtime: Option<i64>,
}

/// One source of a [`CopyOp`].
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum CopyPart {
    /// Files of a tree.
    Paths {
        /// Which tree.
        origin: Origin,
        /// Path or pattern from its root.
        pattern: String,
        /// Whether a file that is an archive is unpacked.
        unpack: bool,
    },
    /// A heredoc.
    Inline {
        /// File name.
        name: String,
        /// Content.
        body: String,
    },
    /// A URL's content, in the store by its digest.
    Http {
        /// For messages.
        url: String,
        /// File name.
        name: String,
        /// The content.
        digest: Digest,
        /// Its length in bytes.
        size: u64,
        /// Modification time.
        last_modified: Option<i64>,
        /// Whether it is unpacked.
        unpack: bool,
    },
    /// A Git checkout.
    Git {
        /// URL of the repository.
        remote: String,
        /// What was asked for.
        reference: Option<String>,
        /// The commit.
        commit: String,
        /// Directory of it.
        subdir: String,
        /// Whether `.git` is kept.
        keep_git_dir: bool,
        /// Whether submodules are fetched.
        submodules: bool,
    },
}

/// `WORKDIR`.
#[derive(Debug, Clone, Serialize)]
pub struct MkdirOp {
    /// Absolute path.
    pub path: String,
    /// `user[:group]` that owns what is made; empty is root.
    pub user: String,
    /// Modification time, if the build has one.
    pub mtime: Option<i64>,
}
