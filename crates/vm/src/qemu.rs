//! Finding qemu, and asking which one it is.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::VmError;

/// The oldest qemu that is supported: the options Kiln uses are all there since then.
const OLDEST: (u32, u32) = (5, 2);

/// A qemu on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Qemu {
    /// Its path.
    pub program: PathBuf,
    /// Major and minor version.
    pub version: (u32, u32),
    /// Where sockets and other short-lived files go: the path is short, for those of sockets have a limit.
    pub temporary: PathBuf,
}

impl Qemu {
    /// The qemu called `name`, as `qemu-system-x86_64`, in the directories of `path` (the environment's `PATH`), or at
    /// `name` if that is a path. Short-lived files go below `temporary`.
    ///
    /// # Errors
    /// It is missing, too old, or something else.
    pub fn find(name: &str, path: Option<&std::ffi::OsStr>, temporary: &Path) -> Result<Qemu, VmError> {
        let package = match name {
            "qemu-img" => "qemu-utils",
            n if n.starts_with("qemu-system-aarch64") || n.starts_with("qemu-system-arm") => "qemu-system-arm",
            _ => "qemu-system-x86",
        };
        let hint = format!("install the package `{package}`, or name another program by `qemu_binary`");
        let program = find(name, path).ok_or_else(|| VmError::Missing { program: name.to_owned(), hint })?;
        let version = version(&program)?;
        if version < OLDEST {
            let found = format!("{}.{}", version.0, version.1);
            return Err(VmError::TooOld { program, found, needed: "5.2" });
        }
        Ok(Qemu { program, version, temporary: temporary.to_owned() })
    }
}

/// The executable file of that name in the directories of `path`, or at `name` if that is a path.
pub fn find(name: &str, path: Option<&std::ffi::OsStr>) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let runs = |p: &PathBuf| p.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(runs);
    }
    std::env::split_paths(path?).filter(|d| d.is_absolute()).map(|d| d.join(name)).find(runs)
}

fn version(program: &Path) -> Result<(u32, u32), VmError> {
    let output = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|source| VmError::Start { program: program.to_owned(), source })?;
    let said = String::from_utf8_lossy(&output.stdout);
    parse(&said).ok_or_else(|| {
        let found = said.lines().next().unwrap_or_default().chars().take(100).collect();
        VmError::NoVersion { program: program.to_owned(), found }
    })
}

/// "QEMU emulator version 7.2.22 (Debian …)", "qemu-img version 10.0.2 (…)".
fn parse(said: &str) -> Option<(u32, u32)> {
    let numbers = said.split_once("version ")?.1;
    let mut numbers = numbers.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Runs a program to its end and returns what it wrote; a failure holds the end of its standard error.
pub(crate) fn run(program: &Path, args: &[String]) -> Result<Vec<u8>, VmError> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| VmError::Start { program: program.to_owned(), source })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<String> = text.lines().map(|l| l.chars().filter(|c| !c.is_control()).take(500).collect()).collect();
    Err(VmError::Failed {
        program: format!("{} {}", program.display(), args.first().map_or("", String::as_str)),
        status: output.status.to_string(),
        said: lines[lines.len().saturating_sub(8)..].to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn script(dir: &Path, name: &str, text: &str) {
        let file = dir.join(name);
        std::fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn versions_are_read() {
        assert_eq!(parse("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\nCopyright"), Some((7, 2)));
        assert_eq!(parse("qemu-img version 10.0.2 (x)"), Some((10, 0)));
        assert_eq!(parse("bash, version five"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn what_is_not_a_good_qemu_is_refused_in_words() {
        let dir = tempfile::tempdir().unwrap();
        script(dir.path(), "qemu-system-x86_64", "echo 'QEMU emulator version 4.1.0'");
        script(dir.path(), "other", "echo hello");
        std::fs::write(dir.path().join("plain"), "x").unwrap();
        let find = |name: &str| Qemu::find(name, Some(dir.path().as_os_str()), dir.path()).unwrap_err().to_string();
        assert!(find("qemu-system-x86_64").ends_with("is version 4.1, and Kiln needs 5.2 or newer"));
        assert!(find("other").contains("does not say which version it is: \"hello\""));
        for missing in ["plain", "absent", "/absent"] {
            assert!(find(missing).contains("is not installed: install the package `qemu-system-x86`"), "{missing}");
        }
        assert!(
            matches!(Qemu::find("qemu-img", None, dir.path()), Err(VmError::Missing { hint, .. }) if hint.contains("qemu-utils"))
        );
    }
}
