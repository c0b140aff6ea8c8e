//! What a plan needs to know of the world: questions, and their answers.
//!
//! The planner never asks the world itself. It returns the questions it could not answer from [`Facts`]; the engine
//! answers them and calls again, until none is left. So every fact a plan rests on is in one value, which can be
//! printed, stored and compared.

use std::collections::BTreeMap;

use kiln_oci::{Descriptor, Digest, ImageConfig, Platform};
use serde::Serialize;

/// Something the plan depends on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    /// What image a name stands for.
    Image(ImageQuery),
    /// What a selection of files of a context holds.
    Files(Files),
    /// Whether `.dockerignore` excludes a path.
    Excluded(ExcludedQuery),
    /// What a URL holds.
    Http(HttpQuery),
    /// What commit a Git reference is.
    Git(GitQuery),
}

/// Which image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ImageQuery {
    /// Where it is.
    pub name: ImageName,
    /// For which platform.
    pub platform: Platform,
}

/// Where an image is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageName {
    /// A reference: in the store, else in its registry.
    Reference(String),
    /// A directory in OCI layout, with an optional `:tag` or `@digest`.
    OciLayout(String),
}

/// The answer to [`Question::Image`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFact {
    /// The name with the digest it was resolved to, for people.
    pub name: String,
    /// Digest of the platform's manifest.
    pub digest: Digest,
    /// Its configuration.
    pub config: ImageConfig,
    /// Its layers, lowest first; as many as `config.rootfs.diff_ids`.
    pub layers: Vec<Descriptor>,
}

/// The build context, or a named one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContextId {
    /// The context given on the command line.
    Main,
    /// `--build-context NAME=…`.
    Named(String),
}

/// Which files of a tree: what one `COPY`, `ADD` or `RUN --mount` reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Select {
    /// Paths and patterns (Go `filepath.Match`), from the root of the tree, in order.
    pub sources: Vec<String>,
    /// `--exclude` patterns.
    pub exclude: Vec<String>,
    /// `--parents`.
    pub parents: bool,
}

/// Which files of a context.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Files {
    /// Of which context.
    pub context: ContextId,
    /// Which of its files.
    pub select: Select,
}

/// The answer to [`Question::Files`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FilesFact {
    /// Hash of names, types, modes and contents (table in [`crate::key`]).
    pub hash: Key32,
    /// Sources that match nothing.
    pub missing: Vec<Missing>,
    /// How many files there are.
    pub count: usize,
}

/// A source that matches nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Position in [`Select::sources`].
    pub index: usize,
    /// `file:line` of the ignore pattern that hides it, and the pattern.
    pub ignored_by: Option<(String, String)>,
    /// A name in the same directory that the user may have meant.
    pub similar: Option<String>,
}

/// Which path of which context. The answer is the rule that excludes it, by the text of the path alone: `file:line` and
/// the pattern. There is none when rules take back what others exclude, for then only files could tell.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ExcludedQuery {
    /// Of which context.
    pub context: ContextId,
    /// Clean, from the root of the context; empty for the root.
    pub path: String,
}

/// 32 bytes of BLAKE3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Key32(pub [u8; 32]);

/// Which URL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct HttpQuery {
    /// The URL.
    pub url: String,
    /// `--checksum`: the content must have this digest.
    pub checksum: Option<String>,
}

/// The answer to [`Question::Http`]: the content is in the store by then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpFact {
    /// Digest of the content.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// `Last-Modified`, in seconds since the epoch.
    pub last_modified: Option<i64>,
}

/// Which Git reference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct GitQuery {
    /// URL of the repository.
    pub remote: String,
    /// Branch, tag or commit; the remote's default branch if none.
    pub reference: Option<String>,
}

/// The answer to [`Question::Git`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitFact {
    /// The commit, 40 or 64 hexadecimal digits.
    pub commit: String,
}

/// All answers so far.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Images.
    pub images: BTreeMap<ImageQuery, ImageFact>,
    /// Files of contexts.
    pub files: BTreeMap<Files, FilesFact>,
    /// Paths of contexts, and what excludes them.
    pub excluded: BTreeMap<ExcludedQuery, Option<(String, String)>>,
    /// URLs.
    pub http: BTreeMap<HttpQuery, HttpFact>,
    /// Git references.
    pub git: BTreeMap<GitQuery, GitFact>,
}
