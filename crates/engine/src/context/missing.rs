//! Why a source names nothing, and what may have been meant.

use kiln_oci::name;
use kiln_plan::facts::Missing;
use kiln_spec::diag::did_you_mean;

use super::{Source, resolve};
use crate::error::Result;

/// What is to be said about the source number `index`, the clean path `path`.
pub(super) fn explain(source: &dyn Source, index: usize, path: &[u8]) -> Result<Missing> {
    let ignored_by = source.hidden(path)?;
    let similar = if ignored_by.is_none() { similar(source, path)? } else { None };
    Ok(Missing { index, ignored_by, similar })
}

/// The path with the first component that is not there replaced by the name closest to it.
fn similar(source: &dyn Source, path: &[u8]) -> Result<Option<String>> {
    let parts: Vec<&[u8]> = name::components(path).collect();
    for at in 0..parts.len() {
        let so_far = parts[..=at].join(&b'/');
        if resolve(source, &so_far)?.is_some() {
            continue;
        }
        let Some(dir) = resolve(source, &parts[..at].join(&b'/'))? else { return Ok(None) };
        let names: Vec<String> =
            source.list(&dir.path)?.into_iter().filter_map(|n| String::from_utf8(n).ok()).collect();
        let wrong = String::from_utf8_lossy(parts[at]);
        let Some(meant) = did_you_mean(&wrong, names.iter().map(String::as_str)) else { return Ok(None) };
        let short = name::join(&parts[..at].join(&b'/'), meant.as_bytes());
        let long = name::join(&short, &parts[at + 1..].join(&b'/'));
        let there = resolve(source, &long)?.is_some();
        return Ok(Some(String::from_utf8_lossy(if there { &long } else { &short }).into_owned()));
    }
    Ok(None)
}
