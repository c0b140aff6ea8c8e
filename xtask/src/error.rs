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
    #[error("stopped after {0} s: it took too long")]
    Late(u64),
    #[error("{what} is not JSON that can be understood here: {cause}")]
    Json { what: String, cause: serde_json::Error },
    #[error("cargo built no executable `{0}`")]
    NoBinary(&'static str),
    #[error("`{0}` is not a workload: w1 to w10, n1, n2")]
    NoWorkload(String),
    #[error("{0}")]
    MissingTool(String),
    #[error("other builders: {0}")]
    Peers(String),
    #[error("the image in {dir} cannot be read: {why}")]
    Image { dir: PathBuf, why: String },
    #[error("Kiln differs from BuildKit in {0} ways")]
    Differ(usize),
    #[error("{0} has no place for tables: the two lines `<!-- bench: … -->`")]
    NoPlace(PathBuf),
    #[error("stopped")]
    Interrupted,
    #[error("`{name}` is not a fuzz target: {known}")]
    NoFuzzTarget { name: String, known: String },
    #[error("inputs that are handled wrongly were found, see above and target/fuzz/artifacts: {0}")]
    Fuzz(String),
    #[error("the tree breaks its rules:\n{}", .0.join("\n"))]
    Untidy(Vec<String>),
}

impl Error {
    /// In one line: of a command that failed, how, and the last thing it said.
    pub(crate) fn brief(&self) -> String {
        match self {
            Error::Failed { status, said, .. } => {
                let last = said.lines().rev().find(|l| !l.trim().is_empty());
                last.map_or_else(|| status.clone(), |last| format!("{status}: {}", last.trim()))
            }
            other => other.to_string().split_whitespace().collect::<Vec<_>>().join(" "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_brief() {
        let failed =
            |said: &str| Error::Failed { command: "long".into(), status: "1".into(), said: said.into() }.brief();
        assert_eq!((&*failed("a\nwhy\n\n"), &*failed("")), ("1: why", "1"));
        assert_eq!(Error::Interrupted.brief(), "stopped");
    }
}
