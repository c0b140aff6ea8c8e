//! Paths: what is there, with which rights, and what it says.

use kiln_spec::glob::fnmatch;
use regex::Regex;

use crate::read::lines;
use crate::system::Result;
use crate::{Finding, Look};

/// Something is at a path.
pub(super) fn exists(look: &Look<'_>, path: &str) -> Result<Finding> {
    Ok(match look.system.stat(path, true)? {
        Some(_) => Finding::pass(format!("{path} is there")),
        None => Finding::fail(format!("{path} is not there")),
    })
}

/// The paths that a path with `*` in its last name means, those that are there.
pub(super) fn expand(look: &Look<'_>, path: &str) -> Result<Vec<String>> {
    let Some((dir, last)) = path.rsplit_once('/').filter(|(_, last)| last.contains(['*', '?'])) else {
        return Ok(look.system.stat(path, false)?.map(|_| path.to_owned()).into_iter().collect());
    };
    let names = look.system.list(dir)?.unwrap_or_default();
    Ok(names.iter().filter(|name| fnmatch(last, name)).map(|name| format!("{dir}/{name}")).collect())
}

/// Nothing is at a path.
pub(super) fn absent(look: &Look<'_>, path: &str) -> Result<Finding> {
    let found = expand(look, path)?;
    Ok(match found.first() {
        None => Finding::pass(format!("{path} is not there")),
        Some(first) if found.len() == 1 => Finding::fail(format!("{first} is there")),
        Some(_) => {
            let finding = Finding::fail(format!("{} files are there that match {path}", found.len()));
            found.iter().fold(finding, |finding, path| finding.at(path.clone(), "is there"))
        }
    })
}

/// A directory that has no entries, or is not there.
pub(super) fn empty(look: &Look<'_>, path: &str) -> Result<Finding> {
    let names = look.system.list(path)?;
    Ok(match names.as_deref() {
        None => Finding::pass(format!("{path} is not there")),
        Some([]) => Finding::pass(format!("{path} is empty")),
        Some([first, ..]) => Finding::fail(format!("{path} is not empty")).at(format!("{path}/{first}"), "is there"),
    })
}

/// A file has a line, or has none.
pub(super) fn contains(look: &Look<'_>, path: &str, pattern: &Regex, wanted: bool) -> Result<Finding> {
    let Some(text) = lines::text(look.system, path)? else {
        return Ok(match wanted {
            true => Finding::fail(format!("{path} is not there")),
            false => Finding::pass(format!("{path} is not there")),
        });
    };
    let found = text.lines().enumerate().find(|(_, line)| pattern.is_match(line));
    Ok(match found {
        Some((at, line)) => {
            Finding::when(wanted, format!("{path} has a line like `{pattern}`")).at(lines::place(path, at + 1), line)
        }
        None => Finding::when(!wanted, format!("{path} has no line like `{pattern}`")),
    })
}

/// A path has permissions and an owner.
pub(super) fn mode(look: &Look<'_>, path: &str, mode: Option<u32>, owner: Option<(u32, u32)>) -> Result<Finding> {
    let Some(stat) = look.system.stat(path, true)? else { return Ok(Finding::fail(format!("{path} is not there"))) };
    if let Some(mode) = mode.filter(|mode| *mode != stat.mode) {
        return Ok(Finding::fail(format!("{path} has the mode {:04o} and not {mode:04o}", stat.mode)));
    }
    if let Some((uid, gid)) = owner.filter(|owner| *owner != (stat.uid, stat.gid)) {
        return Ok(Finding::fail(format!("{path} belongs to {}:{} and not to {uid}:{gid}", stat.uid, stat.gid)));
    }
    Ok(Finding::pass(format!("{path} has the mode {:04o} and belongs to {}:{}", stat.mode, stat.uid, stat.gid)))
}
