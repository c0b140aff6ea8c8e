//! Rust: `Cargo.lock`, and the list that cargo-auditable puts into a binary.

use std::io::Read;

use flate2::read::ZlibDecoder;
use serde::Deserialize;

use super::{json, toml};
use crate::inventory::{Algorithm, Checksum};
use crate::{Evidence, Finding, Kind, Package, Unreadable};

/// The most bytes of JSON in a binary, as cargo-auditable's own readers have it.
const MAX_LIST: u64 = 8 << 20;

#[derive(Deserialize)]
struct Lock {
    #[serde(default)]
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// `Cargo.lock`.
///
/// # Errors
/// Not such a file.
pub fn lock(bytes: &[u8]) -> Result<Finding, Unreadable> {
    let lock: Lock = toml(bytes)?;
    let package = |locked: Locked| {
        let mut package = Package::new(Kind::Cargo, locked.name, locked.version).known(Evidence::Locked);
        package.checksums.extend(locked.checksum.and_then(checksum));
        package
    };
    Ok(Finding::packages(lock.package.into_iter().map(package)))
}

fn checksum(hex: String) -> Option<Checksum> {
    let is_digest = hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    is_digest.then_some(Checksum { algorithm: Algorithm::Sha256, hex })
}

#[derive(Deserialize)]
struct List {
    packages: Vec<Linked>,
}

#[derive(Deserialize)]
struct Linked {
    name: String,
    version: String,
    kind: Option<String>,
}

/// The section `.dep-v0` of a binary.
///
/// # Errors
/// It is not compressed JSON of that form, or too long.
pub(super) fn linked(section: &[u8]) -> Result<Vec<Package>, Unreadable> {
    let mut text = Vec::new();
    let read = ZlibDecoder::new(section).take(MAX_LIST + 1).read_to_end(&mut text);
    read.map_err(|e| Unreadable::from(format!("its list of crates is damaged: {e}")))?;
    if text.len() as u64 > MAX_LIST {
        return Err("its list of crates is too long".into());
    }
    let list: List = json(&text)?;
    let package = |linked: Linked| {
        // Crates that ran while it was built are not in it.
        let at_build = linked.kind.is_some_and(|kind| kind == "build");
        let evidence = if at_build { Evidence::Development } else { Evidence::Installed };
        Package::new(Kind::Cargo, linked.name, linked.version).known(evidence)
    };
    Ok(list.packages.into_iter().map(package).collect())
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    pub fn compressed(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_lock_file_has_checksums() {
        let text = format!(
            "version = 4\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nchecksum = \"{}\"\n",
            "0a".repeat(32)
        );
        let found = lock(text.as_bytes()).unwrap();
        assert_eq!(found.packages[0].checksums[0].hex.len(), 64);
        assert_eq!(found.packages[0].evidence, Evidence::Locked);
        assert!(lock(b"[[package]]\nname = 1").is_err());
    }

    #[test]
    fn a_list_in_a_binary_is_bounded() {
        let list = br#"{"packages": [{"name": "a", "version": "1", "source": "crates.io", "kind": "build"}, {"name": "b", "version": "2"}]}"#;
        let found = linked(&compressed(list)).unwrap();
        assert_eq!([found[0].evidence, found[1].evidence], [Evidence::Development, Evidence::Installed]);
        let bomb = compressed(&vec![b' '; 9 << 20]);
        assert_eq!(linked(&bomb).unwrap_err().to_string(), "its list of crates is too long");
        assert!(linked(b"no zlib").is_err() && linked(&compressed(b"{}")).is_err());
    }
}
