//! PHP: Composer's list of what is installed in `vendor`, and `composer.lock`.

use serde::Deserialize;
use serde_json::Value;

use super::json;
use crate::{Evidence, Finding, Kind, Licence, Package, Unreadable};

#[derive(Deserialize)]
struct Entry {
    name: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    license: Value,
    homepage: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Installed {
    /// Composer 2.
    Object { packages: Vec<Entry> },
    /// Composer 1.
    List(Vec<Entry>),
}

#[derive(Deserialize)]
struct Lock {
    packages: Vec<Entry>,
    #[serde(rename = "packages-dev", default)]
    development: Option<Vec<Entry>>,
}

/// `vendor/composer/installed.json`.
///
/// # Errors
/// Not such a file.
pub fn installed(bytes: &[u8]) -> Result<Finding, Unreadable> {
    let (Installed::Object { packages } | Installed::List(packages)) = json(bytes)?;
    Ok(Finding::packages(packages.into_iter().map(|entry| package(entry, Evidence::Installed))))
}

/// `composer.lock`.
///
/// # Errors
/// Not such a file.
pub fn lock(bytes: &[u8]) -> Result<Finding, Unreadable> {
    let lock: Lock = json(bytes)?;
    let packages = lock.packages.into_iter().map(|entry| package(entry, Evidence::Locked));
    let development = lock.development.unwrap_or_default().into_iter();
    Ok(Finding::packages(packages.chain(development.map(|entry| package(entry, Evidence::Development)))))
}

fn package(entry: Entry, evidence: Evidence) -> Package {
    let mut package = Package::new(Kind::Composer, entry.name, entry.version).known(evidence);
    package.homepage = entry.homepage;
    // Composer's list means a choice.
    package.licences = match entry.license {
        Value::String(licence) => vec![Licence::spdx(&licence)],
        Value::Array(all) if !all.is_empty() => {
            let all: Vec<&str> = all.iter().filter_map(Value::as_str).collect();
            vec![Licence::spdx(&all.join(" OR "))]
        }
        _ => Vec::new(),
    };
    package
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_generations_and_the_lock_file() {
        let list = br#"[{"name": "a/b", "version": "v1.0", "license": ["MIT", "GPL-2.0-only"]}]"#;
        let object = [b"{\"packages\": ", &list[..], b", \"dev\": false}"].concat();
        for bytes in [&list[..], &object] {
            let found = installed(bytes).unwrap();
            assert_eq!(found.packages[0].name, "a/b");
            assert_eq!(found.packages[0].licences[0].expression.as_deref(), Some("MIT OR GPL-2.0-only"));
        }
        let locked =
            lock(br#"{"packages": [{"name": "a/b"}], "packages-dev": [{"name": "c/d", "version": "2"}]}"#).unwrap();
        let evidence: Vec<_> = locked.packages.iter().map(|p| p.evidence).collect();
        assert_eq!(evidence, [Evidence::Locked, Evidence::Development]);
        assert!(installed(b"{}").is_err() && lock(b"[]").is_err());
    }
}
