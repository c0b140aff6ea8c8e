//! The disk that is meant, in a format that the cloud takes.

use std::fs::File;
use std::path::{Path, PathBuf};

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
            None => Ok(path.to_owned()),
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
    Ok(disk.to_owned())
}

/// The same disk in one of these formats: itself, or a qcow2 of it, which goes when it is dropped.
pub fn taken(
    path: &Path,
    said: Option<Format>,
    takes: &[Format],
) -> Result<(PathBuf, Format, Option<TempPath>), CliError> {
    let wrong = |error: kiln_disk::DiskError| CliError::input(format!("{}: {error}", path.display()));
    let file = File::open(path).map_err(|e| CliError::input(format!("cannot open {}: {e}", path.display())))?;
    let format = match said {
        Some(format) => format,
        None => image::detect(&file).map_err(wrong)?,
    };
    if takes.contains(&format) {
        return Ok((path.to_owned(), format, None));
    }
    let disk = image::open(file, Some(format), &Backing::Refuse).map_err(wrong)?;
    eprintln!("==> Converting {} to qcow2...", path.display());
    let failed = |e: std::io::Error| CliError::environment(format!("cannot make a temporary file: {e}"));
    let mut out = tempfile::Builder::new().prefix("kiln-publish-").suffix(".qcow2").tempfile().map_err(failed)?;
    image::write(&*disk.disk, out.as_file_mut(), &Options::new(Format::Qcow2)).map_err(wrong)?;
    let scratch = out.into_temp_path();
    Ok((scratch.to_path_buf(), Format::Qcow2, Some(scratch)))
}
