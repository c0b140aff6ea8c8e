//! Asking cargo: where the workspace is, what its crates need, building the binary.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::error::Error;

/// The workspace's directory.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask/ is in the workspace")
}

/// One crate of the workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    /// Its name, as `kiln-oci`.
    pub(crate) name: String,
    /// What it needs.
    pub(crate) dependencies: Vec<Dependency>,
}

/// A dependency as the manifest declares it.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    /// The crate's name.
    pub(crate) name: String,
    /// `dev`, `build`, or nothing for an ordinary one.
    pub(crate) kind: Option<String>,
}

/// The crates of the workspace.
pub(crate) fn packages() -> Result<Vec<Package>, Error> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    let out = output(command().args(["metadata", "--no-deps", "--format-version", "1", "--offline"]))?;
    let metadata: Metadata =
        serde_json::from_slice(&out).map_err(|cause| Error::Json { what: "cargo metadata".to_owned(), cause })?;
    Ok(metadata.packages)
}

/// Builds the release binary and says where it is.
pub(crate) fn build_kiln() -> Result<PathBuf, Error> {
    executable(command().args(["build", "--release", "--package", "kiln"]), "kiln")
}

/// Runs a `cargo build` and says where the executable of a name is.
pub(crate) fn executable(build: &mut Command, name: &'static str) -> Result<PathBuf, Error> {
    #[derive(Deserialize)]
    struct Message {
        executable: Option<PathBuf>,
    }
    let out = output(build.args(["--message-format", "json-render-diagnostics"]).stderr(Stdio::inherit()))?;
    let messages = out.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice::<Message>(line).ok());
    messages.filter_map(|m| m.executable).find(|p| p.ends_with(name)).ok_or(Error::NoBinary(name))
}

/// Cargo, in the workspace's directory.
pub(crate) fn command() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

fn output(command: &mut Command) -> Result<Vec<u8>, Error> {
    let out = command.stdin(Stdio::null()).stdout(Stdio::piped()).output();
    let out = out.map_err(|cause| Error::Start { program: "cargo".to_owned(), cause })?;
    if out.status.success() {
        return Ok(out.stdout);
    }
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    Err(Error::Failed { command: format!("{command:?}"), status: out.status.to_string(), said })
}
