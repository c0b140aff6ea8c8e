//! What is installed: packages, commands, users.

use super::{Op, VersionReq};
use crate::read::lines;
use crate::system::Result;
use crate::{Finding, Look};

/// A package is installed, or is not.
pub(super) fn package(look: &Look<'_>, name: &str, present: bool, version: Option<&VersionReq>) -> Result<Finding> {
    let packages = look.packages()?;
    if packages.manager.is_none() {
        return Ok(Finding::unknown("no database of dpkg, rpm or apk was found"));
    }
    let found: Vec<&str> = packages.named(name).map(|package| package.version.as_str()).collect();
    let Some(first) = found.first() else {
        // A package may be among what could not be read.
        return Ok(match packages.doubts.first() {
            Some(doubt) => Finding::unknown(format!("{} cannot be read as a whole: {doubt}", packages.path)),
            None => Finding::when(!present, format!("the package {name} is not installed")),
        });
    };
    let all = found.join(", ");
    if !present {
        return Ok(Finding::fail(format!("the package {name} is installed ({all})")));
    }
    let Some(wanted) = version else { return Ok(Finding::pass(format!("{name} {first} is installed"))) };
    let fits = |version: &&&str| {
        let loose = wanted.op == Op::Equal && !wanted.version.contains('-');
        let compared =
            if loose { version.rsplit_once('-').map_or(**version, |(upstream, _)| upstream) } else { **version };
        let order = packages.order(compared, &wanted.version);
        wanted.accepts(order)
    };
    Ok(match found.iter().find(fits) {
        Some(version) => Finding::pass(format!("{name} {version} is installed")),
        None => Finding::fail(format!("{name} {all} is installed, and {wanted} is needed")),
    })
}

/// A command is in PATH, or is not; one that runs must say its version.
pub(super) fn command(look: &Look<'_>, name: &str, present: bool) -> Result<Finding> {
    let found = look.command(name)?;
    Ok(match (found, present) {
        (Some(path), true) => Finding::pass(format!("{path} is there")),
        (None, false) => Finding::pass(format!("there is no command {name}")),
        (Some(path), false) => Finding::fail(format!("{path} is there")),
        (None, true) => match look.packages().map(|packages| packages.named(name).next().is_some()) {
            Ok(true) => Finding::fail(format!("the package {name} is installed, and its command is not in PATH")),
            _ => Finding::fail(format!("there is no command {name} in PATH")),
        },
    })
}

/// A user or group is in its file, or is not.
pub(super) fn account(look: &Look<'_>, path: &str, kind: &str, name: &str, present: bool) -> Result<Finding> {
    let text = lines::text(look.system, path)?.unwrap_or_default();
    let found = text.lines().position(|line| line.split(':').next() == Some(name));
    Ok(match found {
        Some(at) => Finding::when(present, format!("there is a {kind} {name}")).at(lines::place(path, at + 1), name),
        None => Finding::when(!present, format!("there is no {kind} {name} in {path}")),
    })
}
