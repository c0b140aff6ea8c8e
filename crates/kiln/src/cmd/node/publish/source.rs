//! The disk that is meant.

use std::path::{Path, PathBuf};

use kiln_node::export::record;

use crate::error::CliError;

/// A disk as it is named, or that of a record: what a build wrote of itself, or a directory.
pub fn disk(path: &Path, build: Option<&str>) -> Result<PathBuf, CliError> {
    let is_record = path.is_dir() || path.extension().is_some_and(|ending| ending == "json");
    if !is_record {
        return match build {
            Some(_) => Err(CliError::usage(format!("--build: {} is a disk, not a record of builds", path.display()))),
            None => Ok(path.to_owned()),
        };
    }
    let told = |e: kiln_node::export::ExportError| match e.hint() {
        Some(hint) => CliError::input(e.to_string()).with_hint(hint),
        None => CliError::input(e.to_string()),
    };
    let record = record::read(path, build).map_err(told)?;
    let disk = record.disk("publish").map_err(told)?;
    let name = disk.to_string_lossy();
    let no_disk = [".tar", ".oci", ".json", ".checksum"];
    if no_disk.iter().any(|ending| name.ends_with(ending)) || disk.is_dir() {
        let what = format!("the build `{}` made {name}, which is no disk", record.name);
        return Err(CliError::input(what).with_hint("build it with -format raw, qcow2, vhd, vmdk or gce"));
    }
    Ok(disk.to_owned())
}
