//! cloud-init: whether it is there, where it takes its data from, and what it left of an earlier boot.

use super::lines;
use crate::system::{Result, System};

/// What cloud-init leaves of a machine that was booted, or that was given data.
const REMAINS: [&str; 5] = [
    "/var/lib/cloud/data/instance-id",
    "/var/lib/cloud/instance",
    "/var/lib/cloud/instances",
    "/var/lib/cloud/sem",
    "/var/lib/cloud/seed",
];
/// Files whose presence turns cloud-init off.
pub const DISABLED: &str = "/etc/cloud/cloud-init.disabled";

/// Paths of what an earlier boot left; directories count when something is in them.
///
/// # Errors
/// A path cannot be looked at.
pub fn remains(system: &dyn System) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for path in REMAINS {
        if system.stat(path, false)?.is_none() {
            continue;
        }
        match system.list(path)? {
            None => found.push(path.to_owned()),
            Some(names) => found.extend(names.first().map(|name| format!("{path}/{name}"))),
        }
    }
    Ok(found)
}

/// The files of configuration, in the order in which later ones win.
///
/// # Errors
/// The directory cannot be read.
pub fn files(system: &dyn System) -> Result<Vec<String>> {
    let mut files = vec!["/etc/cloud/cloud.cfg".to_owned()];
    files.extend(lines::drop_ins(system, &["/etc/cloud/cloud.cfg.d"], ".cfg")?);
    Ok(files)
}

/// The value of a key at the top of the configuration, as written, and its place; that of the last file wins.
///
/// # Errors
/// A file cannot be read.
pub fn top(system: &dyn System, key: &str) -> Result<Option<(String, String)>> {
    let mut found = None;
    for path in files(system)? {
        let Some(text) = lines::text(system, &path)? else { continue };
        for (at, line) in text.lines().enumerate() {
            let Some(rest) = line.strip_prefix(key).and_then(|rest| rest.trim_start().strip_prefix(':')) else {
                continue;
            };
            let mut value = rest.split(" #").next().unwrap_or(rest).trim().to_owned();
            if value.is_empty() {
                // A list below, one item a line.
                let items = text.lines().skip(at + 1).map_while(|line| line.trim_start().strip_prefix("- "));
                value = format!("[{}]", items.map(str::trim).collect::<Vec<_>>().join(", "));
            }
            found = Some((value, lines::place(&path, at + 1)));
        }
    }
    Ok(found)
}

/// The sources of data, in the order in which they are tried; `None` when nothing restricts them.
///
/// # Errors
/// A file cannot be read.
pub fn sources(system: &dyn System) -> Result<Option<(Vec<String>, String)>> {
    let Some((value, place)) = top(system, "datasource_list")? else { return Ok(None) };
    let inner = value.trim_start_matches('[').trim_end_matches(']');
    let names = inner.split(',').map(|name| name.trim().trim_matches(['"', '\'']).to_owned());
    Ok(Some((names.filter(|name| !name.is_empty()).collect(), place)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::Memory;

    #[test]
    fn the_last_file_decides_and_remains_are_found() {
        let system = Memory::new()
            .file("/etc/cloud/cloud.cfg", "datasource_list: [ Ec2, None ]\nmanage_resolv_conf: true\n")
            .file("/etc/cloud/cloud.cfg.d/90_x.cfg", "datasource_list:\n - NoCloud\n  - \"None\"\nother: 1\n")
            .dir("/var/lib/cloud/instances")
            .file("/var/lib/cloud/seed/nocloud/user-data", "x");
        let (names, place) = sources(&system).unwrap().unwrap();
        assert_eq!(
            (names, place.as_str()),
            (vec!["NoCloud".to_owned(), "None".to_owned()], "/etc/cloud/cloud.cfg.d/90_x.cfg:1")
        );
        assert_eq!(remains(&system).unwrap(), ["/var/lib/cloud/seed/nocloud"]);
        assert_eq!(sources(&Memory::new()).unwrap(), None);
    }
}
