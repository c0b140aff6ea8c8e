//! Python: the metadata of installed distributions, and lock files of poetry, uv, pipenv and pip.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{json, toml};
use crate::os::fields::{Paragraph, paragraphs};
use crate::{Evidence, Finding, Kind, Licence, Package, Unreadable};

/// A field `License` is sometimes the whole text.
const MAX_LICENCE: usize = 128;

/// Classifiers that mean one licence; most mean a family.
const CLASSIFIERS: [(&str, &str); 13] = [
    ("Apache Software License", "Apache-2.0"),
    ("GNU Affero General Public License v3", "AGPL-3.0-only"),
    ("GNU Affero General Public License v3 or later (AGPLv3+)", "AGPL-3.0-or-later"),
    ("GNU General Public License v2 (GPLv2)", "GPL-2.0-only"),
    ("GNU General Public License v2 or later (GPLv2+)", "GPL-2.0-or-later"),
    ("GNU General Public License v3 (GPLv3)", "GPL-3.0-only"),
    ("GNU General Public License v3 or later (GPLv3+)", "GPL-3.0-or-later"),
    ("ISC License (ISCL)", "ISC"),
    ("MIT License", "MIT"),
    ("Mozilla Public License 2.0 (MPL 2.0)", "MPL-2.0"),
    ("Python Software Foundation License", "PSF-2.0"),
    ("The Unlicense (Unlicense)", "Unlicense"),
    ("zlib/libpng License", "Zlib"),
];

/// `METADATA` of a wheel, or `PKG-INFO` of an egg.
///
/// # Errors
/// It has no name.
pub fn metadata(bytes: &[u8]) -> Result<Finding, Unreadable> {
    let text = String::from_utf8_lossy(bytes);
    let head = paragraphs(&text).next().unwrap_or(Paragraph::of(""));
    let name = head.line("Name").ok_or("it has no `Name`")?;
    let mut package = Package::new(Kind::PyPi, name, head.line("Version").unwrap_or_default());
    package.licences = licence(head).into_iter().collect();
    package.homepage = homepage(head).map(str::to_owned);
    package.maintainer = author(head);
    Ok(Finding::packages(vec![package]))
}

fn licence(head: Paragraph<'_>) -> Option<Licence> {
    if let Some(expression) = head.line("License-Expression") {
        return Some(Licence::spdx(expression));
    }
    let classified = head.fields().find_map(|(name, value)| {
        let is_classifier = name.eq_ignore_ascii_case("Classifier");
        let licence = value.strip_prefix("License ::").filter(|_| is_classifier)?.rsplit("::").next()?.trim();
        CLASSIFIERS.iter().find(|(classifier, _)| *classifier == licence).map(|(_, spdx)| Licence::spdx(spdx))
    });
    let written = head.get("License").filter(|text| text.len() <= MAX_LICENCE && !text.contains('\n'));
    let written = written.filter(|text| !text.eq_ignore_ascii_case("UNKNOWN")).map(Licence::spdx);
    match (written, classified) {
        (Some(written), Some(classified)) if written.expression.is_none() => Some(classified),
        (written, classified) => written.or(classified),
    }
}

fn homepage(head: Paragraph<'_>) -> Option<&str> {
    let urls = || head.fields().filter(|(name, _)| name.eq_ignore_ascii_case("Project-URL"));
    let named = |wanted: &str| {
        let mut pairs = urls().filter_map(|(_, value)| value.split_once(','));
        pairs.find(|(label, _)| label.trim().eq_ignore_ascii_case(wanted)).map(|(_, url)| url.trim())
    };
    head.line("Home-page").filter(|page| *page != "UNKNOWN").or_else(|| named("Homepage")).or_else(|| named("Home"))
}

fn author(head: Paragraph<'_>) -> Option<String> {
    let known = |name: &str| head.line(name).filter(|value| *value != "UNKNOWN");
    match (known("Author"), known("Author-email")) {
        (Some(name), Some(address)) if !address.contains('<') => Some(format!("{name} <{address}>")),
        (name, address) => address.or(name).map(str::to_owned),
    }
}

#[derive(Deserialize)]
struct Lock {
    #[serde(default)]
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    #[serde(default)]
    version: String,
    category: Option<String>,
}

/// `poetry.lock` and `uv.lock`.
///
/// # Errors
/// Not such a file.
pub fn lock(bytes: &[u8]) -> Result<Finding, Unreadable> {
    let lock: Lock = toml(bytes)?;
    let package = |locked: Locked| {
        let development = locked.category.is_some_and(|category| category == "dev");
        let evidence = if development { Evidence::Development } else { Evidence::Locked };
        Package::new(Kind::PyPi, locked.name, locked.version).known(evidence)
    };
    Ok(Finding::packages(lock.package.into_iter().map(package)))
}

#[derive(Deserialize)]
struct Pipfile {
    #[serde(default)]
    default: BTreeMap<String, Pinned>,
    #[serde(default)]
    develop: BTreeMap<String, Pinned>,
}

#[derive(Deserialize)]
struct Pinned {
    #[serde(default)]
    version: String,
}

/// `Pipfile.lock`.
///
/// # Errors
/// Not such a file.
pub fn pipfile(bytes: &[u8]) -> Result<Finding, Unreadable> {
    let lock: Pipfile = json(bytes)?;
    let of = |pins: BTreeMap<String, Pinned>, evidence: Evidence| {
        pins.into_iter()
            .map(move |(name, pin)| Package::new(Kind::PyPi, name, pin.version.trim_start_matches('=')).known(evidence))
    };
    let (default, develop) = (of(lock.default, Evidence::Locked), of(lock.develop, Evidence::Development));
    Ok(Finding::packages(default.chain(develop)))
}

/// `requirements.txt`: only lines that pin a version name a package that can be known.
pub fn requirements(bytes: &[u8]) -> Finding {
    let text = String::from_utf8_lossy(bytes);
    Finding::packages(text.lines().filter_map(pinned))
}

fn pinned(line: &str) -> Option<Package> {
    let requirement = line.split(['#', ';', '\\']).next()?.split(" --").next()?.trim();
    let (name, version) = requirement.split_once("==")?;
    let name = name.split('[').next()?.trim();
    let version = version.trim_start_matches('=').trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let is_name = !name.is_empty() && name.chars().all(plain);
    let is_version = !version.is_empty() && version.chars().all(|c| plain(c) || "+!".contains(c));
    (is_name && is_version).then(|| Package::new(Kind::PyPi, name, version).known(Evidence::Locked))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(found: &Finding) -> Vec<String> {
        found.packages.iter().map(|p| format!("{} {} {:?}", p.name, p.version, p.evidence)).collect()
    }

    #[test]
    fn metadata_names_an_installed_package() {
        let found = metadata(
            b"Metadata-Version: 2.1\nName: Flask\nVersion: 3.0.0\nAuthor: A\nAuthor-email: a@b\nLicense: BSD thing\n\
            Classifier: License :: OSI Approved :: MIT License\nProject-URL: Homepage, https://flask.org\n\nName: body\n",
        )
        .unwrap();
        let package = &found.packages[0];
        assert_eq!(seen(&found), ["Flask 3.0.0 Installed"]);
        assert_eq!(package.licences[0].expression.as_deref(), Some("MIT"));
        assert_eq!(package.homepage.as_deref(), Some("https://flask.org"));
        assert_eq!(package.maintainer.as_deref(), Some("A <a@b>"));
        assert!(metadata(b"").is_err() && metadata(b"\xff\n\nName: x").is_err());
    }

    #[test]
    fn lock_files_tell_tools_of_development_apart() {
        let poetry = b"[[package]]\nname = \"a\"\nversion = \"1\"\ncategory = \"dev\"\n[[package]]\nname = \"b\"\n";
        assert_eq!(seen(&lock(poetry).unwrap()), ["a 1 Development", "b  Locked"]);
        let pipenv = br#"{"default": {"a": {"version": "==1.0"}}, "develop": {"b": {"git": "x"}}}"#;
        assert_eq!(seen(&pipfile(pipenv).unwrap()), ["a 1.0 Locked", "b  Development"]);
        assert!(lock(b"package = 3").is_err() && lock(b"\xff").is_err() && pipfile(b"[").is_err());
    }

    #[test]
    fn only_pins_are_taken_from_requirements() {
        let text = b"# x\na==1.0\nb[c] == 2.0+l ; python_version < '3'\n-r other.txt\nd>=1\ne===3 --hash=sha256:00\n\
            f==1.*\nhttps://x/==1\n";
        assert_eq!(seen(&requirements(text)), ["a 1.0 Locked", "b 2.0+l Locked", "e 3 Locked"]);
    }
}
