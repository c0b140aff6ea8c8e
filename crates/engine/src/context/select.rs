//! What the sources of one `COPY`, `ADD` or mount are, by BuildKit's rules.
//!
//! Links are followed in front of the first wildcard and at the end of what a source names, never in between and never
//! below a directory that is copied. A source without wildcards must exist; one with wildcards may match nothing, in a
//! directory that exists.

use kiln_oci::name::{self, DotDot};
use kiln_plan::facts::{Missing, Select};
use kiln_spec::glob::{Pattern, has_wildcards};

use super::sift::{Candidate, Exclude};
use super::{Kind, MAX_FILES, Source, Stat, missing, parents, resolve};
use crate::error::{EngineError, Result};

/// What a [`Select`] selects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// What was found, in the order of the sources, and for each source sorted by path.
    pub picks: Vec<Pick>,
    /// Sources without wildcards that name nothing.
    pub missing: Vec<Missing>,
}

/// One file or directory that a source names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pick {
    /// Its name as it was matched, links not followed: what it is called at the destination. Empty for the root.
    pub name: Vec<u8>,
    /// Its real path in the source.
    pub root: Vec<u8>,
    /// What is there; not a link.
    pub stat: Stat,
    /// Of a directory, what is copied of it, parents before what is in them.
    pub entries: Vec<Picked>,
    /// With `--parents`: the directories above the entries that are not themselves selected, outermost first.
    pub parents: Vec<Picked>,
}

/// Something below a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picked {
    /// Its path from the directory.
    pub rel: Vec<u8>,
    /// What it is; a link stays one.
    pub stat: Stat,
}

/// What `select` selects of `source`.
///
/// # Errors
/// When a pattern is malformed, a wildcard matches a link that leads nowhere, or the source cannot be read.
pub fn select(source: &dyn Source, select: &Select) -> Result<Selection> {
    let exclude = Exclude::parse(&select.exclude)?;
    let mut selection = Selection::default();
    for (index, text) in select.sources.iter().enumerate() {
        let absent = match select.parents {
            true => parents::pick(source, text, &exclude, &mut selection.picks)?,
            false => pick(source, text, &exclude, &mut selection.picks)?,
        };
        if let Some(path) = absent {
            selection.missing.push(missing::explain(source, index, &path)?);
        }
    }
    Ok(selection)
}

/// Adds what one source names; returns the path it names if nothing is there.
fn pick(source: &dyn Source, text: &str, exclude: &Exclude, picks: &mut Vec<Pick>) -> Result<Option<Vec<u8>>> {
    let path = clean(text)?;
    if !has_wildcards(&path) {
        let found = resolve(source, &path)?;
        return match found {
            None => Ok(Some(path)),
            Some(found) => pick_one(source, &path, found, exclude, picks).map(|()| None),
        };
    }
    // What is in front of the first wildcard has to be there, though what matches need not.
    let prefix = literal(&path);
    if resolve(source, &prefix)?.is_none() {
        return Ok(Some(prefix));
    }
    for path in expand(source, text, &path)? {
        let found = resolve(source, &path)?.ok_or_else(|| dangling(source, text, &path))?;
        pick_one(source, &path, found, exclude, picks)?;
    }
    Ok(None)
}

fn pick_one(
    source: &dyn Source,
    path: &[u8],
    found: resolve::Resolved,
    exclude: &Exclude,
    picks: &mut Vec<Pick>,
) -> Result<()> {
    let base = name::split(path).1.to_vec();
    let entries = match found.stat.kind {
        Kind::Socket => return Ok(()),
        Kind::Dir => {
            let all = source.below(&found.path)?.into_iter().map(|picked| Candidate { picked, wanted: true });
            exclude.sift(all).together()
        }
        _ if exclude.matches(&base) || exclude.matches(path) => return Ok(()),
        _ => Vec::new(),
    };
    picks.push(Pick { name: base, root: found.path, stat: found.stat, entries, parents: Vec::new() });
    Ok(())
}

/// The components of a clean source in front of the first with a wildcard.
fn literal(path: &[u8]) -> Vec<u8> {
    let parts: Vec<&[u8]> = name::components(path).take_while(|part| !has_wildcards(part)).collect();
    parts.join(&b'/')
}

/// The paths that a clean source with wildcards matches, sorted; the last component of each may be a link.
pub(super) fn expand(source: &dyn Source, text: &str, path: &[u8]) -> Result<Vec<Vec<u8>>> {
    let parts: Vec<&[u8]> = name::components(path).collect();
    let first = parts.iter().position(has_wildcards).unwrap_or(parts.len());
    let mut found = match resolve(source, &parts[..first].join(&b'/'))? {
        Some(dir) if dir.stat.is_dir() => vec![dir.path],
        _ => Vec::new(),
    };
    for (at, part) in parts.iter().enumerate().skip(first) {
        let pattern = Pattern::new(part).map_err(|e| malformed(text, &e))?;
        let last = at + 1 == parts.len();
        let mut next = Vec::new();
        for dir in &found {
            for base in source.list(dir)?.into_iter().filter(|base| pattern.matches(base)) {
                let path = name::join(dir, &base);
                if last || source.stat(&path)?.is_some_and(|stat| stat.is_dir()) {
                    check_count(next.len())?;
                    next.push(path);
                }
            }
        }
        found = next;
    }
    Ok(found)
}

/// A source as a clean path from the root; `..` stops there.
pub(super) fn clean(text: &str) -> Result<Vec<u8>> {
    name::normalise(text.as_bytes(), DotDot::Clamp).map_err(|e| EngineError::Context(format!("source `{text}`: {e}")))
}

pub(super) fn malformed(text: &str, why: &dyn std::fmt::Display) -> EngineError {
    EngineError::Context(format!("`{text}` is not a valid pattern: {why}; a literal `[` is written `[[]`"))
}

fn dangling(source: &dyn Source, text: &str, path: &[u8]) -> EngineError {
    let to = match source.stat(path) {
        Ok(Some(Stat { kind: Kind::Symlink { target }, .. })) => name::escape(&target),
        _ => String::new(),
    };
    let path = name::escape(path);
    EngineError::Context(format!("`{text}` matches `{path}`, a symbolic link to `{to}`, where nothing is"))
}

/// Fails when there are too many files: `count` are already there.
pub(super) fn check_count(count: usize) -> Result<()> {
    match count < MAX_FILES {
        true => Ok(()),
        false => Err(EngineError::Context(format!("there are more than {MAX_FILES} files"))),
    }
}

/// How many threads look at files at once.
pub(super) fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8)
}
