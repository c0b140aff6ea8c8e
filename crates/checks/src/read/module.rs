//! Kernel modules that are loaded at boot.

use super::lines;
use crate::system::{Result, System};

const DIRS: [&str; 5] = [
    "/etc/modules-load.d",
    "/run/modules-load.d",
    "/usr/local/lib/modules-load.d",
    "/usr/lib/modules-load.d",
    "/lib/modules-load.d",
];

/// The modules, each with the place of the line that names it. `-` and `_` in names are the same; they come as `_`.
///
/// # Errors
/// A file cannot be read.
pub fn at_boot(system: &dyn System) -> Result<Vec<(String, String)>> {
    let mut paths = lines::drop_ins(system, &DIRS, ".conf")?;
    paths.push("/etc/modules".to_owned());
    let mut found = Vec::new();
    for path in paths {
        let Some(text) = lines::text(system, &path)? else { continue };
        for (line, content) in lines::meaningful(&text, &['#', ';']) {
            let name = content.split_whitespace().next().unwrap_or(content);
            found.push((name.replace('-', "_"), lines::place(&path, line)));
        }
    }
    Ok(found)
}

/// The modules that are loaded in a kernel that runs; `None` where `/proc` does not say.
///
/// # Errors
/// The list cannot be read.
pub fn loaded(system: &dyn System) -> Result<Option<Vec<String>>> {
    let Some(text) = lines::text(system, "/proc/modules")? else { return Ok(None) };
    Ok(Some(text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::Memory;

    #[test]
    fn modules_of_drop_ins_and_of_the_one_file() {
        let system = Memory::new()
            .file("/etc/modules-load.d/k8s.conf", "overlay\n# x\nbr-netfilter\n")
            .file("/etc/modules", "loop max=2\n");
        let names: Vec<String> =
            at_boot(&system).unwrap().into_iter().map(|(name, place)| format!("{name} {place}")).collect();
        assert_eq!(
            names,
            [
                "overlay /etc/modules-load.d/k8s.conf:1",
                "br_netfilter /etc/modules-load.d/k8s.conf:3",
                "loop /etc/modules:1"
            ]
        );
    }
}
