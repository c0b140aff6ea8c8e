//! .NET: `NAME.deps.json`, which stands beside every published program and names its libraries.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{json, npm};
use crate::{Finding, Kind, Package, Unreadable};

#[derive(Deserialize)]
struct Dependencies {
    libraries: BTreeMap<String, Library>,
}

#[derive(Deserialize)]
struct Library {
    r#type: String,
    #[serde(default)]
    sha512: String,
}

/// The packages, without the projects that the program itself is made of.
///
/// # Errors
/// Not such a file.
pub fn dependencies(bytes: &[u8]) -> Result<Finding, Unreadable> {
    let document: Dependencies = json(bytes)?;
    let packages = document.libraries.iter().filter(|(_, library)| library.r#type == "package");
    let package = |(key, library): (&String, &Library)| {
        let (name, version) = key.split_once('/')?;
        let mut package = Package::new(Kind::NuGet, name, version);
        package.checksums = npm::checksums(&library.sha512);
        Some(package)
    };
    Ok(Finding::packages(packages.filter_map(package)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_libraries_that_are_no_projects() {
        let text = br#"{"runtimeTarget": {}, "libraries": {"App/1.0.0": {"type": "project", "sha512": ""},
            "Newtonsoft.Json/13.0.3": {"type": "package", "sha512": "sha512-x"}, "odd": {"type": "package"}}}"#;
        let found = dependencies(text).unwrap();
        let seen: Vec<_> = found.packages.iter().map(|p| (p.name.as_str(), p.version.as_str())).collect();
        assert_eq!(seen, [("Newtonsoft.Json", "13.0.3")]);
        assert!(dependencies(b"[]").is_err());
    }
}
