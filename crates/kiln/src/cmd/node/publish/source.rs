//! The disk that is meant, in a format that the cloud takes.

use std::fs::File;
use std::path::{Path, PathBuf};

use kiln_disk::DiskError;
use kiln_disk::image::{self, Backing, Format, Options};
use kiln_node::export::record;
use tempfile::TempPath;

use crate::error::CliError;

/// A disk as it is named, or that of a record: what a build wrote of itself, or a directory.
pub fn disk(path: &Path, build: Option<&str>) -> Result<PathBuf, CliError> {
    let is_record = path.is_dir() || path.extension().is_some_and(|ending| ending == "json");
    if !is_record {
        return match build {
            Some(_) => Err(CliError::usage(format!("--build: {} is a disk, not a record of builds", path.display()))),
            None => there(path),
        };
    }
    let told = |e: kiln_node::export::ExportError| CliError::input(e.to_string()).with_any_hint(e.hint());
    let record = record::read(path, build).map_err(told)?;
    let disk = record.disk("publish").map_err(told)?;
    let name = disk.to_string_lossy();
    let no_disk = [".tar", ".oci", ".json", ".checksum"];
    if no_disk.iter().any(|ending| name.ends_with(ending)) || disk.is_dir() {
        let what = format!("the build `{}` made {name}, which is no disk", record.name);
        return Err(CliError::input(what).with_hint("build it with -format raw, qcow2, vhd, vmdk or gce"));
    }
    there(disk)
}

/// A disk that can be opened: that it cannot is known before any cloud is asked.
fn there(path: &Path) -> Result<PathBuf, CliError> {
    opened(path).map(|_| path.to_owned())
}

fn opened(path: &Path) -> Result<File, CliError> {
    File::open(path).map_err(|e| CliError::input(format!("cannot open {}: {e}", path.display())))
}

/// What a disk is written as: what is said, else what its content looks like.
pub fn format(path: &Path, said: Option<Format>) -> Result<Format, CliError> {
    match said {
        Some(format) => Ok(format),
        None => image::detect(&opened(path)?).map_err(|error| wrong(path, &error)),
    }
}

/// A qcow2 of a disk, which goes when it is dropped. A cancel ends the writing.
pub fn converted(path: &Path, format: Format, cancelled: &dyn Fn() -> bool) -> Result<TempPath, CliError> {
    let disk = image::open(opened(path)?, Some(format), &Backing::Refuse).map_err(|error| wrong(path, &error))?;
    eprintln!("==> Converting {} to qcow2...", path.display());
    let failed = |e: std::io::Error| CliError::environment(format!("cannot make a temporary file: {e}"));
    let mut out = tempfile::Builder::new().prefix("kiln-publish-").suffix(".qcow2").tempfile().map_err(failed)?;
    let written = image::write_until(&*disk.disk, out.as_file_mut(), &Options::new(Format::Qcow2), cancelled);
    written.map_err(|error| wrong(path, &error))?;
    Ok(out.into_temp_path())
}

fn wrong(path: &Path, error: &DiskError) -> CliError {
    let text = format!("{}: {error}", path.display());
    match error {
        DiskError::Stopped => super::interrupted("cancelled"),
        DiskError::Write { .. } => CliError::environment(text),
        _ => CliError::input(text),
    }
}
