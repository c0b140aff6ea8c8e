//! Tools of the machine, and the packages that bring them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The list that `scripts/setup.sh` installs from.
const PACKAGES: &str = include_str!("../../../scripts/packages.txt");

/// One row of `scripts/packages.txt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Package {
    /// Name of the Debian package.
    pub name: &'static str,
    /// The file that tells whether it is installed.
    pub file: &'static str,
    /// What Kiln's house needs it for.
    pub why: &'static str,
}

/// Every package on the list.
pub fn packages() -> impl Iterator<Item = Package> {
    PACKAGES.lines().filter(|l| !l.starts_with('#') && !l.trim().is_empty()).map(|line| {
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (file, why) = rest.trim_start().split_once(' ').unwrap_or((rest.trim_start(), ""));
        Package { name, file, why: why.trim() }
    })
}

/// The tar of a minimal Debian, made by `scripts/debian-base.sh` and kept by it for a week.
///
/// # Panics
/// If it cannot be made.
pub fn debian_base() -> PathBuf {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/debian-base.sh");
    let made = Command::new(script).output().expect("run scripts/debian-base.sh");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    PathBuf::from(String::from_utf8(made.stdout).expect("a path in UTF-8").trim())
}

/// The kernel of `examples/unikernel-dns`, which is built where `make unikernel` does; when nothing changed, at once.
///
/// # Panics
/// If it cannot be built.
pub fn unikernel_dns() -> PathBuf {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
    let target = target.join("unikernel-dns");
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--locked", "--quiet", "--target-dir"]).arg(&target);
    // What was set for Kiln is not for this machine.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if (text.starts_with("CARGO_") || text.starts_with("RUST")) && !KEPT.contains(&&*text) {
            cargo.env_remove(&name);
        }
    }
    let made = cargo.current_dir(root.join("examples/unikernel-dns")).output().expect("run cargo");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    target.join("x86_64-unknown-linux-gnu/release/unikernel-dns")
}

/// Where cargo and its compiler are.
const KEPT: [&str; 4] = ["CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "CARGO_NET_OFFLINE"];

/// Where the tool is.
///
/// # Panics
/// If it is not installed; the message names the package.
pub fn tool(name: &str) -> PathBuf {
    find(name).unwrap_or_else(|message| panic!("{message}"))
}

/// Where the tool is, or a sentence naming the package that brings it.
///
/// # Errors
/// That sentence.
pub fn find(name: &str) -> Result<PathBuf, String> {
    let package = packages().find(|p| Path::new(p.file).file_name().is_some_and(|f| f == name));
    let listed = package.map(|p| PathBuf::from(p.file));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from)).map(|d| d.join(name));
    listed.into_iter().chain(places).find(|p| p.is_file()).ok_or_else(|| match package {
        Some(p) => {
            format!("`{name}` is not installed: apt-get install {} (scripts/setup.sh installs all of them)", p.name)
        }
        None => format!("`{name}` is not installed"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_names_its_package() {
        assert_eq!(packages().find(|p| p.name == "apache2-utils").map(|p| p.file), Some("/usr/bin/htpasswd"));
        assert!(packages().all(|p| p.file.starts_with('/') && !p.why.is_empty()));
        assert_eq!(find("no-such-tool").unwrap_err(), "`no-such-tool` is not installed");
        assert!(find("sh").is_ok());
    }
}
