//! Installers and disks that a template names by address: which, what they must be, and how they come here.
//!
//! ```text
//! iso_url, iso_urls                        paths, file, http or https; the first that works
//! iso_checksum                             `sha256:…` and the like, `file:LIST`, `none`
//! iso_checksum_type, iso_checksum_url      as templates had it before Packer 1.6
//! ```

use std::path::{Path, PathBuf};

use kiln_packer::fields::Fields;
use kiln_vm::VmError;
use kiln_vm::source::{Cache, Checksum, Kind};

use super::Job;
use super::site::Fetching;
use crate::error::{NodeError, Result};

/// How files come.
pub const SCHEMES: [&str; 3] = ["file", "http", "https"];

/// Whether what has this address must be fetched first.
pub fn is_remote(address: &str) -> bool {
    address.starts_with("http://") || address.starts_with("https://")
}

/// The path of a file on this machine.
pub fn local(address: &str) -> Option<&Path> {
    (!is_remote(address)).then(|| Path::new(address.strip_prefix("file://").unwrap_or(address)))
}

/// What a template says of the checksum; `None` when it says nothing.
///
/// # Errors
/// When it is none.
pub fn checksum(f: &Fields<'_>) -> Result<Option<Checksum>> {
    let text = |key: &str| -> Result<Option<String>> { Ok(f.string(key)?.filter(|text| !text.is_empty())) };
    let (sum, kind, list) = (text("iso_checksum")?, text("iso_checksum_type")?, text("iso_checksum_url")?);
    let sum = match (sum, kind.as_deref(), list) {
        (_, _, Some(list)) => format!("file:{list}"),
        (_, Some("none"), None) => "none".to_owned(),
        // As templates had it before Packer 1.6.
        (Some(sum), Some(kind), None) if !sum.contains(':') => format!("{kind}:{sum}"),
        (Some(sum), _, None) => sum,
        (None, _, None) => return Ok(None),
    };
    match Checksum::parse(&sum) {
        Ok(sum) => Ok(Some(sum)),
        Err(error) => Err(f.fault("iso_checksum", "BadChecksum", error.to_string()).into()),
    }
}

/// Gets the first of several files that can be had and is what it must be, in Packer's words; its address, and where
/// it is now.
///
/// # Errors
/// When none can; the error has a line for each.
pub fn obtain(job: &Job<'_>, addresses: &[String], checksum: &Checksum) -> Result<(String, PathBuf)> {
    job.ui.say("Retrieving ISO");
    let fetching = Fetching { site: job.site, cancel: job.cancel };
    let cache = Cache::at(&job.site.cache);
    let mut tried = Vec::new();
    for address in addresses {
        job.ui.say(&format!("Trying {address}"));
        let found = cache.obtain(std::slice::from_ref(address), checksum, &fetching);
        if job.cancel.is_cancelled() {
            return Err(NodeError::Cancelled);
        }
        match found {
            Ok(found) => return Ok((address.clone(), found)),
            Err(VmError::Fetch { tried: lines }) => tried.extend(lines),
            Err(error) => return Err(error.into()),
        }
    }
    Err(VmError::Fetch { tried }.into())
}

/// That a file was found.
pub fn tell(job: &Job<'_>, address: &str, place: &Path) {
    let whole = place.canonicalize().unwrap_or_else(|_| place.to_owned());
    job.ui.say(&format!("{address} => {}", whole.display()));
}

/// The sum that the file at `address` must have, after reading the list that has it; `None` if any will do.
///
/// # Errors
/// When the list cannot be had, or has no sum for that file.
pub fn sum(job: &Job<'_>, address: &str, checksum: &Checksum) -> Result<Option<(Kind, String)>> {
    let fetching = Fetching { site: job.site, cancel: job.cancel };
    let sum = Cache::at(&job.site.cache).sum(address, checksum, &fetching);
    if job.cancel.is_cancelled() { Err(NodeError::Cancelled) } else { Ok(sum?) }
}
