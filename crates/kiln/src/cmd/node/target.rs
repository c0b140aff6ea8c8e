//! What `kiln node verify` looks at, from what the user typed.

use std::path::{Path, PathBuf};

use kiln_checks::system::{Directory, ImageTree};
use kiln_checks::{LookError, Report, System};
use kiln_engine::archive::{self, Input, import};
use kiln_node::NodeError;
use kiln_node::disk::Disk;
use kiln_oci::Digest;
use kiln_oci::compress::Compression;

use super::remote::SshArgs;
use crate::cli::Global;
use crate::error::CliError;
use crate::named::{self, Chosen, PlatformOption};
use crate::surroundings::Surroundings;

/// What judges a system.
pub type Judge<'a> = dyn Fn(&dyn System) -> Report + 'a;

/// Finds the target, and judges it.
pub fn with(
    text: &str,
    platform: &PlatformOption,
    ssh: &SshArgs,
    global: &Global,
    judge: &Judge<'_>,
) -> Result<Report, CliError> {
    if text == "local" {
        return Ok(judge(&Directory::host().map_err(|e| unreadable(&e))?));
    }
    if text.starts_with("ssh://") {
        return super::remote::judged(text, ssh, judge);
    }
    let path = Path::new(text);
    if path.is_dir() && !archive::is_layout(path) {
        return Ok(judge(&Directory::open(path).map_err(|e| unreadable(&e))?));
    }
    if let Some((path, name)) = file(text) {
        if name.is_none() && path.is_file() && Disk::is_one(&path).map_err(|e| broken(&e))? {
            return Ok(judge(&Disk::open(&path, text).map_err(|e| broken(&e))?));
        }
        let (around, progress) = named::offline(global, false, "Reading")?;
        let input = Input::Path(path);
        // Its layers are in the store for as long as this takes, without a name.
        let digest = match name.is_none() && archive::is_root(&input) {
            true => root_of(&around, &input, platform)?,
            false => {
                let all = archive::select(&named::mover(&around), &input)?;
                let (selection, _) = archive::only(&input.title(), all, name.as_deref())?;
                named::mover(&around).keep(&selection, &[])?;
                selection.root.digest
            }
        };
        let image = named::choose(&around, &digest.to_string(), platform)?;
        let report = image_report(&around, &image, text, judge)?;
        progress.finish();
        return Ok(report);
    }
    if text.starts_with(['/', '.']) {
        return Err(CliError::input(format!("there is no {text}")));
    }
    let (around, progress) = named::offline(global, false, "Reading")?;
    let image = named::choose(&around, text, platform)?;
    let title = image.title.clone();
    let report = image_report(&around, &image, &title, judge)?;
    progress.finish();
    Ok(report)
}

/// An image of the files of a root that is in a tar, as the builder `offline` writes it.
fn root_of(around: &Surroundings, input: &Input, platform: &PlatformOption) -> Result<Digest, CliError> {
    let platform = platform.or_host()?;
    let compression = Compression::Zstd { level: 1 };
    let wanted = import::Wanted { changes: &[], message: None, platform: &platform, created: 0, compression };
    let tar = import::open(input)?;
    Ok(import::import(&named::mover(around), tar, &input.title(), &wanted, None)?.digest)
}

/// Whether a target is a file with a disk.
pub fn is_disk(text: &str) -> Result<bool, CliError> {
    let path = Path::new(text);
    Ok(path.is_file() && Disk::is_one(path).map_err(|e| broken(&e))?)
}

fn image_report(around: &Surroundings, image: &Chosen, title: &str, judge: &Judge<'_>) -> Result<Report, CliError> {
    let root = named::root(around, image)?;
    Ok(judge(&ImageTree::new(format!("image {title}"), &root.tree, |file| root.open_file(file))))
}

/// A disk that cannot be looked at.
fn broken(error: &NodeError) -> CliError {
    CliError::environment(error.to_string())
}

fn unreadable(error: &LookError) -> CliError {
    CliError::environment(error.to_string())
}

/// An archive or layout, and the name of an image in it: `PATH[:NAME]`.
fn file(text: &str) -> Option<(PathBuf, Option<String>)> {
    let there = |text: &str| Some(PathBuf::from(text)).filter(|path| path.is_file() || archive::is_layout(path));
    if let Some(path) = there(text) {
        return Some((path, None));
    }
    let (path, name) = text.rsplit_once(':')?;
    Some((there(path)?, Some(name.to_owned())))
}
