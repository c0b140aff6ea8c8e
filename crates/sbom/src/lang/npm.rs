//! Node: `package.json` of installed packages, and npm's `package-lock.json` of all three versions.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::json;
use crate::inventory::{Algorithm, Checksum, MAX_PACKAGES};
use crate::{Evidence, Finding, Kind, Licence, Package, Unreadable};

/// `package.json` below `node_modules`.
///
/// # Errors
/// Not JSON. One without a name is no package: some packages have such files inside them.
pub fn package(bytes: &[u8]) -> Result<Finding, Unreadable> {
    let document: Map<String, Value> = json(bytes)?;
    let Some(name) = text(&document, "name") else { return Ok(Finding::default()) };
    let mut package = Package::new(Kind::Npm, name, text(&document, "version").unwrap_or_default());
    package.licences = licences(&document);
    package.homepage = text(&document, "homepage").map(str::to_owned);
    package.maintainer = match document.get("author") {
        Some(Value::Object(author)) => person(author),
        Some(Value::String(author)) => Some(author.clone()),
        _ => None,
    };
    Ok(Finding::packages(vec![package]))
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// `license`, a text or an object, and `licenses`, a list of either, which older packages have.
fn licences(document: &Map<String, Value>) -> Vec<Licence> {
    let listed = document.get("licenses").and_then(Value::as_array).into_iter().flatten();
    let named = document.get("license").into_iter().chain(listed).filter_map(|licence| match licence {
        Value::String(name) => Some(name.as_str()),
        Value::Object(object) => text(object, "type"),
        _ => None,
    });
    named.filter(|name| !name.is_empty()).map(Licence::spdx).collect()
}

fn person(author: &Map<String, Value>) -> Option<String> {
    let name = text(author, "name")?;
    Some(match text(author, "email") {
        Some(address) => format!("{name} <{address}>"),
        None => name.to_owned(),
    })
}

/// `package-lock.json` and `npm-shrinkwrap.json`: a flat list of paths since version 2, nested objects before.
///
/// # Errors
/// Not JSON.
pub fn lock(bytes: &[u8]) -> Result<Finding, Unreadable> {
    let document: Map<String, Value> = json(bytes)?;
    let packages: Vec<Package> = match document.get("packages").and_then(Value::as_object) {
        Some(packages) => packages
            .iter()
            .filter_map(|(path, entry)| of_path(path, entry.as_object()?))
            .take(MAX_PACKAGES + 1)
            .collect(),
        None => nested(&document),
    };
    Ok(Finding::packages(packages))
}

fn of_path(path: &str, entry: &Map<String, Value>) -> Option<Package> {
    // The project itself, the parts of a workspace, and links to those are not installed packages.
    let (_, name) = path.rsplit_once("node_modules/")?;
    if entry.get("link").and_then(Value::as_bool) == Some(true) {
        return None;
    }
    let mut package = locked(text(entry, "name").unwrap_or(name), entry);
    package.licences = licences(entry);
    Some(package)
}

fn nested(document: &Map<String, Value>) -> Vec<Package> {
    let mut out = Vec::new();
    let mut todo = vec![document];
    while let Some(object) = todo.pop() {
        for (name, entry) in object.get("dependencies").and_then(Value::as_object).into_iter().flatten() {
            let Some(entry) = entry.as_object().filter(|_| out.len() <= MAX_PACKAGES) else { continue };
            out.push(locked(name, entry));
            todo.push(entry);
        }
    }
    out
}

fn locked(name: &str, entry: &Map<String, Value>) -> Package {
    let development = ["dev", "devOptional"].iter().any(|key| entry.get(*key).and_then(Value::as_bool) == Some(true));
    let evidence = if development { Evidence::Development } else { Evidence::Locked };
    let version = text(entry, "version").unwrap_or_default();
    // An alias says its real name in front of its version.
    let (name, version) = match version.strip_prefix("npm:").and_then(|real| real.rsplit_once('@')) {
        Some((real, version)) if !real.is_empty() => (real, version),
        _ => (name, version),
    };
    let mut package = Package::new(Kind::Npm, name, version).known(evidence);
    package.checksums = text(entry, "integrity").map(checksums).unwrap_or_default();
    package
}

/// Subresource integrity: `sha512-BASE64`, several parted by white space.
pub(super) fn checksums(integrity: &str) -> Vec<Checksum> {
    let one = |word: &str| {
        let (name, digest) = word.split_once('-')?;
        let (algorithm, length) = match name {
            "sha1" => (Algorithm::Sha1, 20),
            "sha256" => (Algorithm::Sha256, 32),
            "sha384" => (Algorithm::Sha384, 48),
            "sha512" => (Algorithm::Sha512, 64),
            _ => return None,
        };
        let bytes = STANDARD.decode(digest.split('?').next()?).ok().filter(|bytes| bytes.len() == length)?;
        Some(Checksum { algorithm, hex: bytes.iter().map(|byte| format!("{byte:02x}")).collect() })
    };
    integrity.split_whitespace().take(8).filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(found: &Finding) -> Vec<String> {
        let mut all: Vec<_> =
            found.packages.iter().map(|p| format!("{} {} {:?}", p.name, p.version, p.evidence)).collect();
        all.sort();
        all
    }

    #[test]
    fn package_json_has_licences_of_many_forms() {
        for (licence, want) in [
            (r#""license": "MIT""#, "MIT"),
            (r#""license": {"type": "ISC", "url": "x"}"#, "ISC"),
            (r#""licenses": [{"type": "MIT"}, "Apache-2.0"]"#, "MIT,Apache-2.0"),
            (r#""license": 3"#, ""),
        ] {
            let text = format!(r#"{{"name": "@s/a", "version": "1.0.0", {licence}, "author": {{"name": "N"}}}}"#);
            let found = package(text.as_bytes()).unwrap();
            let written: Vec<_> = found.packages[0].licences.iter().map(|l| l.written.as_str()).collect();
            assert_eq!(written.join(","), want);
            assert_eq!(seen(&found), ["@s/a 1.0.0 Installed"]);
        }
        assert_eq!(package(br#"{"type": "module"}"#).unwrap(), Finding::default());
        assert!(package(b"[]").is_err() && package(b"").is_err());
    }

    #[test]
    fn lock_files_of_every_version() {
        let flat = br#"{"lockfileVersion": 3, "packages": {"": {"name": "me"}, "node_modules/a": {"version": "1"},
            "node_modules/a/node_modules/@s/b": {"version": "2", "dev": true}, "lib": {"version": "9"},
            "node_modules/lib": {"link": true}, "node_modules/alias": {"name": "real", "version": "3"}}}"#;
        assert_eq!(seen(&lock(flat).unwrap()), ["@s/b 2 Development", "a 1 Locked", "real 3 Locked"]);
        let deep = br#"{"dependencies": {"a": {"version": "1", "dependencies": {"b": {"version": "npm:@r/c@2"}}},
            "d": {"version": "3", "dev": true}, "odd": 1}}"#;
        assert_eq!(seen(&lock(deep).unwrap()), ["@r/c 2 Locked", "a 1 Locked", "d 3 Development"]);
        assert!(lock(&[b"{\"dependencies\":".repeat(100_000), b"1".to_vec()].concat()).is_err());
    }

    #[test]
    fn integrity_is_a_checksum() {
        let sums = checksums("sha1-AAAAAAAAAAAAAAAAAAAAAAAAAAA= sha512-short md5-x nothing");
        assert_eq!(sums, [Checksum { algorithm: Algorithm::Sha1, hex: "0".repeat(40) }]);
    }
}
