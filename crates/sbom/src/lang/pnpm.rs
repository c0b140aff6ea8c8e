//! `pnpm-lock.yaml`, whose keys are `/name/1.0.0_peers`, `/name@1.0.0(peers)` or `name@1.0.0`, by age.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::npm::checksums;
use crate::{Evidence, Finding, Kind, Package, Unreadable};

#[derive(Deserialize)]
struct Lock {
    #[serde(default)]
    packages: Option<BTreeMap<String, Locked>>,
}

#[derive(Deserialize, Default)]
struct Locked {
    #[serde(default)]
    resolution: Resolution,
    #[serde(default)]
    dev: bool,
    name: Option<String>,
    version: Option<String>,
}

#[derive(Deserialize, Default)]
struct Resolution {
    integrity: Option<String>,
}

/// Every package.
///
/// # Errors
/// Not such a file.
pub fn lock(bytes: &[u8]) -> Result<Finding, Unreadable> {
    let text = std::str::from_utf8(bytes).map_err(|_| Unreadable::from("it is not UTF-8"))?;
    let lock: Lock = serde_saphyr::from_str(text).map_err(|e| {
        Unreadable::from(format!("it is not the YAML that was expected: {}", first_line(&e.to_string())))
    })?;
    let packages = lock.packages.unwrap_or_default();
    Ok(Finding::packages(packages.iter().filter_map(|(key, locked)| package(key, locked))))
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn package(key: &str, locked: &Locked) -> Option<Package> {
    let (name, version) = match (&locked.name, &locked.version) {
        (Some(name), Some(version)) => (name.as_str(), version.as_str()),
        _ => parted(key)?,
    };
    let evidence = if locked.dev { Evidence::Development } else { Evidence::Locked };
    let mut package = Package::new(Kind::Npm, name, version).known(evidence);
    package.checksums = locked.resolution.integrity.as_deref().map(checksums).unwrap_or_default();
    Some(package)
}

fn parted(key: &str) -> Option<(&str, &str)> {
    let plain = key.strip_prefix('/').unwrap_or(key).split('(').next()?;
    let scope = if plain.starts_with('@') { plain.find('/')? + 1 } else { 0 };
    // A mark right behind the scope would leave no name.
    let at = plain[scope..].find(['@', '/']).filter(|at| *at > 0)? + scope;
    let version = plain[at + 1..].split('_').next()?;
    version.starts_with(|c: char| c.is_ascii_digit()).then_some((&plain[..at], version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_every_age() {
        for (key, want) in [
            ("/a/1.0.0", Some(("a", "1.0.0"))),
            ("/@s/a/1.0.0_react@17.0.0", Some(("@s/a", "1.0.0"))),
            ("/@s/a@1.0.0(react@17.0.0)", Some(("@s/a", "1.0.0"))),
            ("a@1.0.0-rc.1", Some(("a", "1.0.0-rc.1"))),
            ("a@file:../x", None),
            ("@s", None),
            ("@s/@1", None),
            ("", None),
        ] {
            assert_eq!(parted(key), want, "{key}");
        }
    }

    #[test]
    fn a_lock_file_is_read() {
        let text = "lockfileVersion: '6.0'\npackages:\n  /a@1.0.0:\n    resolution: {integrity: sha1-AAAAAAAAAAAAAAAAAAAAAAAAAAA=}\n    \
            dev: true\n  'git.example/x/1':\n    name: x\n    version: 2.0.0\n";
        let found = lock(text.as_bytes()).unwrap();
        let seen: Vec<_> = found.packages.iter().map(|p| (p.name.as_str(), p.version.as_str(), p.evidence)).collect();
        assert_eq!(seen, [("a", "1.0.0", Evidence::Development), ("x", "2.0.0", Evidence::Locked)]);
        assert_eq!(found.packages[0].checksums.len(), 1);
        assert!(lock(b"packages: [1").is_err() && lock(b"\xff").is_err());
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut text = String::from("a: &a [x]\n");
        for n in 0..30 {
            text.push_str(&format!(
                "a{n}: &b{n} [*{0},*{0},*{0},*{0},*{0},*{0},*{0}]\n",
                if n == 0 { "a".into() } else { format!("b{}", n - 1) }
            ));
        }
        assert!(lock(text.as_bytes()).is_err());
    }
}
