//! `/etc/fstab` and swap.

use super::{lines, unit};
use crate::system::{Result, System};

/// A line of `fstab`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The device: a path, `UUID=…`, `LABEL=…`.
    pub device: String,
    /// Where it is mounted.
    pub target: String,
    /// The file system.
    pub kind: String,
    /// Its options.
    pub options: Vec<String>,
    /// The line, from 1.
    pub line: usize,
}

/// The path of the table.
pub const PATH: &str = "/etc/fstab";

/// The lines of a table. Those with less than three words are left out, as `mount` does.
pub fn parse(text: &str) -> Vec<Mount> {
    let mount = |(line, content): (usize, &str)| {
        let words: Vec<&str> = content.split_whitespace().collect();
        let [device, target, kind, rest @ ..] = &words[..] else { return None };
        let options = rest.first().map_or(Vec::new(), |o| o.split(',').map(str::to_owned).collect());
        let owned = |word: &str| word.replace("\\040", " ");
        Some(Mount { device: owned(device), target: owned(target), kind: (*kind).to_owned(), options, line })
    };
    lines::meaningful(text, &['#']).filter_map(mount).collect()
}

/// The mounts of a system; none without a table.
///
/// # Errors
/// The table cannot be read.
pub fn of(system: &dyn System) -> Result<Vec<Mount>> {
    Ok(lines::text(system, PATH)?.map_or(Vec::new(), |text| parse(&text)))
}

/// Everything that turns swap on at boot: a place and what it says.
///
/// # Errors
/// A file cannot be read.
pub fn swap(system: &dyn System) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for mount in of(system)?.into_iter().filter(|m| m.kind == "swap" && !m.options.iter().any(|o| o == "noauto")) {
        found.push((lines::place(PATH, mount.line), format!("{} swap", mount.device)));
    }
    for dir in ["/etc/systemd/system", "/usr/lib/systemd/system"] {
        for name in system.list(dir)?.unwrap_or_default().into_iter().filter(|name| name.ends_with(".swap")) {
            if let unit::Enablement::Enabled(link) = unit::enablement(system, &name)? {
                found.push((link, "a unit of systemd that swaps".to_owned()));
            }
        }
    }
    for path in ["/etc/systemd/zram-generator.conf", "/usr/lib/systemd/zram-generator.conf"] {
        let Some(text) = lines::text(system, path)? else { continue };
        if let Some((line, content)) = lines::meaningful(&text, &['#', ';']).find(|(_, line)| line.starts_with("[zram"))
        {
            found.push((lines::place(path, line), content.to_owned()));
        }
    }
    if let unit::Enablement::Enabled(link) = unit::enablement(system, "zramswap")? {
        found.push((link, "zram as swap".to_owned()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::Memory;

    #[test]
    fn swap_is_found_wherever_it_is_turned_on() {
        let system = Memory::new()
            .file("/etc/fstab", "# x\nUUID=1 / ext4 defaults 0 1\n/dev/sda2 none swap sw 0 0\n#/dev/sda3 none swap\n/dev/x none swap noauto\nshort line\n")
            .file("/etc/systemd/zram-generator.conf", "# [zram0]\n[zram0]\n")
            .file("/usr/lib/systemd/system/dev-sdb.swap", "[Swap]\n")
            .link("/etc/systemd/system/swap.target.wants/dev-sdb.swap", "/usr/lib/systemd/system/dev-sdb.swap");
        let places: Vec<String> = swap(&system).unwrap().into_iter().map(|(place, _)| place).collect();
        assert_eq!(
            places,
            [
                "/etc/fstab:3",
                "/etc/systemd/system/swap.target.wants/dev-sdb.swap",
                "/etc/systemd/zram-generator.conf:2"
            ]
        );
        assert!(swap(&Memory::new()).unwrap().is_empty());
    }
}
