//! What can go wrong in a development task.

use std::io;
use std::path::PathBuf;

/// A failed task.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("read {path}: {cause}")]
    Read { path: PathBuf, cause: io::Error },
    #[error("write {path}: {cause}")]
    Write { path: PathBuf, cause: io::Error },
    #[error("start {program}: {cause}")]
    Start { program: String, cause: io::Error },
    #[error("{command}\nended with {status}; the end of what it said:\n{said}")]
    Failed { command: String, status: String, said: String },
    #[error("{what} is not JSON that can be understood here: {cause}")]
    Json { what: String, cause: serde_json::Error },
    #[error("cargo built no executable `kiln`")]
    NoBinary,
    #[error("`{0}` is not a workload: w1, w2, w9")]
    NoWorkload(String),
    #[error("{0}")]
    MissingTool(String),
    #[error("other builders: {0}")]
    Peers(String),
    #[error("the image in {dir} cannot be read: {why}")]
    Image { dir: PathBuf, why: String },
    #[error("Kiln differs from BuildKit in {0} ways")]
    Differ(usize),
    #[error("there are no fuzz targets in this tree yet: property tests run with `cargo nextest run`")]
    NoFuzzTargets,
    #[error("the tree breaks its rules:\n{}", .0.join("\n"))]
    Untidy(Vec<String>),
}
