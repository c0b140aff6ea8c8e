//! Files that get digests, as kaniko writes them.
//!
//! `--digest-file` has the digest and no line's end; the two with names have a line for each destination, and both have
//! tags as soon as one is asked for with tags (kaniko, `pkg/executor/push.go`). A value that starts with `https://` is
//! sent there with PUT: an address signed for one upload.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use kiln_engine::EngineError;
use kiln_oci::{Digest, Reference};
use kiln_registry::Client;
use serde_json::json;

use super::options::Files;
use crate::cmd::build::outputs;
use crate::error::CliError;

/// Tag of a destination without one.
const DEFAULT_TAG: &str = "latest";

/// Writes what is asked for before the push: the digest, and names with it.
pub fn write(files: &Files, destinations: &[Reference], digest: &Digest, client: &Client) -> Result<(), CliError> {
    if let Some(file) = &files.digest {
        one(file, &digest.to_string(), client)?;
    }
    let names = names(destinations, digest, files.name_tag.is_some());
    for file in files.name.iter().chain(&files.name_tag) {
        one(file, &names, client)?;
    }
    Ok(())
}

/// Writes `$BUILDER_OUTPUT/images`, after the push.
pub fn write_builder_output(files: &Files, destinations: &[Reference], digest: &Digest) -> Result<(), CliError> {
    let Some(dir) = &files.builder_output else { return Ok(()) };
    let line = |name: &Reference| json!({ "name": tagged(name), "digest": digest.to_string() }).to_string() + "\n";
    local(&dir.join("images"), &destinations.iter().map(line).collect::<String>())
}

fn names(destinations: &[Reference], digest: &Digest, tags: bool) -> String {
    let name = |name: &Reference| if tags { tagged(name) } else { repository(name) };
    destinations.iter().map(|d| format!("{}@{digest}\n", name(d))).collect()
}

/// The repository as go-containerregistry writes it, which does not know Docker Hub's short name.
fn repository(name: &Reference) -> String {
    let registry = if name.registry == "docker.io" { "index.docker.io" } else { &name.registry };
    format!("{registry}/{}", name.repository)
}

fn tagged(name: &Reference) -> String {
    format!("{}:{}", repository(name), name.tag.as_deref().unwrap_or(DEFAULT_TAG))
}

fn one(place: &str, text: &str, client: &Client) -> Result<(), CliError> {
    match place.starts_with("https://") {
        true => Ok(client.put_url(place, "text/plain", text.to_owned())?),
        false => local(Path::new(place), text),
    }
}

fn local(path: &Path, text: &str) -> Result<(), CliError> {
    if let Some(dir) = path.parent().filter(|d| !d.as_os_str().is_empty() && !d.exists()) {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(EngineError::file("create", dir))?;
    }
    outputs::write(path, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_tags_when_one_file_wants_them() {
        let names: Vec<Reference> = ["reg.example:5000/a/b:1", "app"].iter().map(|t| t.parse().unwrap()).collect();
        let digest = Digest::of(b"x");
        assert_eq!(
            super::names(&names, &digest, false),
            format!("reg.example:5000/a/b@{digest}\nindex.docker.io/library/app@{digest}\n")
        );
        assert_eq!(
            super::names(&names, &digest, true),
            format!("reg.example:5000/a/b:1@{digest}\nindex.docker.io/library/app:latest@{digest}\n")
        );
    }
}
