//! Services of systemd: whether they start at boot, from links and presets.

use kiln_spec::glob::fnmatch;

use super::lines;
use crate::system::{Kind, Result, System};

/// Where units are, the strongest first.
const DIRS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// Where presets are, the strongest first.
const PRESETS: [&str; 5] = [
    "/etc/systemd/system-preset",
    "/run/systemd/system-preset",
    "/usr/local/lib/systemd/system-preset",
    "/usr/lib/systemd/system-preset",
    "/lib/systemd/system-preset",
];
/// The most directories of links that are looked into.
const MAX_WANTS: usize = 2000;

/// How a unit is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enablement {
    /// There is no such unit.
    Missing,
    /// It cannot be started; the path is the link that says so.
    Masked(String),
    /// Something pulls it in at boot: the path of the link.
    Enabled(String),
    /// Nothing does.
    Disabled,
    /// Nothing does, and it says nothing about what should: others start it.
    Static,
}

/// What the name of a service stands for: `.service` is added where it has no other ending.
pub fn full(name: &str) -> String {
    const ENDINGS: [&str; 7] = [".service", ".socket", ".timer", ".target", ".mount", ".path", ".swap"];
    match ENDINGS.iter().any(|ending| name.ends_with(ending)) {
        true => name.to_owned(),
        false => format!("{name}.service"),
    }
}

/// How a unit is installed in a system.
///
/// # Errors
/// A directory of units cannot be read.
pub fn enablement(system: &dyn System, name: &str) -> Result<Enablement> {
    let name = full(name);
    let Some((path, stat)) = file(system, &name)? else { return Ok(Enablement::Missing) };
    if stat == Some(0) || lines::is_null(system, &path)? {
        return Ok(Enablement::Masked(path));
    }
    if let Some(link) = wanted(system, &name)? {
        return Ok(Enablement::Enabled(link));
    }
    let text = lines::text(system, &path)?.unwrap_or_default();
    if first_boot(system)?
        && let Some(place) = preset(system, &name)?
    {
        return Ok(Enablement::Enabled(place));
    }
    match lines::meaningful(&text, &['#', ';']).any(|(_, line)| line == "[Install]") {
        true => Ok(Enablement::Disabled),
        false => Ok(Enablement::Static),
    }
}

/// The strongest file of a unit, and its size; a unit's alias is a link to another name.
fn file(system: &dyn System, name: &str) -> Result<Option<(String, Option<u64>)>> {
    for dir in DIRS {
        let path = format!("{dir}/{name}");
        if system.stat(&path, false)?.is_some() {
            let stat = system.stat(&path, true)?;
            return Ok(Some((path, stat.filter(|stat| stat.kind == Kind::File).map(|stat| stat.size))));
        }
    }
    Ok(None)
}

/// A link that pulls a unit in: `SOME.wants/NAME` and `SOME.requires/NAME`, or an alias with another name.
fn wanted(system: &dyn System, name: &str) -> Result<Option<String>> {
    let mut seen = 0;
    for dir in DIRS {
        for entry in system.list(dir)?.unwrap_or_default() {
            let path = format!("{dir}/{entry}");
            if entry.ends_with(".wants") || entry.ends_with(".requires") {
                seen += 1;
                let link = format!("{path}/{name}");
                if seen <= MAX_WANTS && system.stat(&link, false)?.is_some() {
                    return Ok(Some(link));
                }
            } else if dir.starts_with("/etc/") && entry != name && points_to(system, &path, name)? {
                return Ok(Some(path));
            }
        }
    }
    Ok(None)
}

fn points_to(system: &dyn System, path: &str, name: &str) -> Result<bool> {
    let stat = system.stat(path, false)?;
    Ok(matches!(stat.map(|stat| stat.kind), Some(Kind::Link(target)) if target.rsplit('/').next() == Some(name)))
}

/// Whether systemd will take the next boot for the first, and apply presets.
fn first_boot(system: &dyn System) -> Result<bool> {
    Ok(match lines::text(system, "/etc/machine-id") {
        Ok(Some(text)) => text.trim() == "uninitialized",
        Ok(None) => true,
        Err(e) => return Err(e),
    })
}

/// The line of a preset that enables a unit.
fn preset(system: &dyn System, name: &str) -> Result<Option<String>> {
    for path in lines::drop_ins(system, &PRESETS, ".preset")? {
        let Some(text) = lines::text(system, &path)? else { continue };
        for (line, content) in lines::meaningful(&text, &['#', ';']) {
            let mut words = content.split_whitespace();
            let (Some(verb), Some(pattern)) = (words.next(), words.next()) else { continue };
            if fnmatch(pattern, name) {
                return Ok((verb == "enable").then(|| lines::place(&path, line)));
            }
        }
    }
    // Where no preset speaks of it, a unit is enabled; but images without any presets do not mean that.
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::Memory;

    #[test]
    fn links_and_presets_decide() {
        let unit = "[Unit]\n[Install]\nWantedBy=multi-user.target\n";
        let wants = "/etc/systemd/system/multi-user.target.wants";
        let system = Memory::new()
            .file("/etc/machine-id", "")
            .file("/usr/lib/systemd/system/a.service", unit)
            .file("/usr/lib/systemd/system/b.service", unit)
            .file("/usr/lib/systemd/system/c.service", "[Unit]\n# [Install]\n")
            .file("/usr/lib/systemd/system/d.service", unit)
            .file("/usr/lib/systemd/system/e.service", unit)
            .file("/usr/lib/systemd/system-preset/50.preset", "enable b.*\ndisable *\n")
            .link("/lib", "usr/lib")
            .link(&format!("{wants}/a.service"), "/usr/lib/systemd/system/a.service")
            .link("/etc/systemd/system/d.service", "/dev/null")
            .link("/etc/systemd/system/dbus-org.e.service", "/usr/lib/systemd/system/e.service");
        let of = |name: &str| enablement(&system, name).unwrap();
        assert_eq!(of("a"), Enablement::Enabled(format!("{wants}/a.service")));
        assert_eq!(of("b.service"), Enablement::Disabled);
        assert_eq!(of("c"), Enablement::Static);
        assert_eq!(of("d"), Enablement::Masked("/etc/systemd/system/d.service".to_owned()));
        assert_eq!(of("e"), Enablement::Enabled("/etc/systemd/system/dbus-org.e.service".to_owned()));
        assert_eq!(of("f"), Enablement::Missing);
        let fresh = Memory::new()
            .file("/usr/lib/systemd/system/b.service", unit)
            .file("/usr/lib/systemd/system-preset/50.preset", "enable b.*\ndisable *\n");
        let place = "/usr/lib/systemd/system-preset/50.preset:1".to_owned();
        assert_eq!(enablement(&fresh, "b").unwrap(), Enablement::Enabled(place));
    }
}
