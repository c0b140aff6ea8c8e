//! The text files of the repository, as git lists them.

use std::fs;
use std::process::Command;

use crate::cargo;
use crate::error::Error;

/// A file of the repository.
#[derive(Debug)]
pub(super) struct TextFile {
    /// From the workspace's directory.
    pub(super) path: String,
    /// What it holds.
    pub(super) text: String,
}

/// Files that git tracks and that are text. Outside a git clone there are none, and nothing to check.
pub(super) fn text_files() -> Result<Vec<TextFile>, Error> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(cargo::root()).output();
    let listed = listed.map_err(|cause| Error::Start { program: "git".to_owned(), cause })?;
    let names = String::from_utf8_lossy(&listed.stdout).into_owned();
    // A file that is tracked and deleted, or not UTF-8, has no lines to check.
    let read = |name: &str| fs::read_to_string(cargo::root().join(name)).ok();
    Ok(names
        .split('\0')
        .filter(|name| !name.is_empty())
        .filter_map(|name| Some(TextFile { path: name.to_owned(), text: read(name)? }))
        .collect())
}

/// Rust files without a `//!` head.
pub(super) fn heads(files: &[TextFile]) -> Vec<String> {
    let rust = files.iter().filter(|f| f.path.ends_with(".rs"));
    rust.filter(|f| !f.text.starts_with("//!")).map(|f| format!("{}: starts without a `//!` head", f.path)).collect()
}
