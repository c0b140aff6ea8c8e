//! Files that say what is installed: the first byte chooses the format, the rest is the file.

use kiln_oci::Digest;
use kiln_oci::entry::Mtime;
use kiln_sbom::{Created, Format, Inventory, Subject, cyclonedx, spdx};

/// All of them, in an order that the corpus relies on: new ones go to the end.
const FORMATS: [Format; 25] = [
    Format::OsRelease,
    Format::Dpkg,
    Format::Copyright,
    Format::Apk,
    Format::RpmSqlite,
    Format::RpmLog,
    Format::RpmNdb,
    Format::RpmBdb,
    Format::Python,
    Format::PythonLock,
    Format::Pipfile,
    Format::Requirements,
    Format::Npm,
    Format::NpmLock,
    Format::YarnLock,
    Format::PnpmLock,
    Format::CargoLock,
    Format::GoMod,
    Format::Gem,
    Format::GemLock,
    Format::Composer,
    Format::ComposerLock,
    Format::DotNet,
    Format::Jar,
    Format::Executable,
];

/// Reads the file, and writes both documents about what it says.
pub fn run(bytes: &[u8]) {
    let Some((first, file)) = bytes.split_first() else { return };
    let format = FORMATS[usize::from(*first) % FORMATS.len()];
    let found = format.read(b"dir/name-1.0.jar", file);
    assert_eq!(found, format.read(b"dir/name-1.0.jar", file), "reading is a function");
    let Ok(found) = found else { return };
    for package in &found.packages {
        let purl = package.purl(found.distribution.as_ref());
        assert!(purl.is_ascii() && !purl.contains(char::is_whitespace), "{purl}");
        for licence in package.licences.iter().chain(&found.licences) {
            let again = licence.expression.as_deref().map(kiln_sbom::Licence::spdx);
            assert!(again.is_none_or(|again| again.expression == licence.expression), "{licence:?}");
        }
    }
    let inventory = Inventory { distribution: found.distribution, packages: found.packages, doubts: Vec::new() };
    documents(&inventory);
}

/// Whatever a document refers to is in it.
fn documents(inventory: &Inventory) {
    let subject = Subject { name: "app".to_owned(), digest: Some(Digest::of(b"")), platform: None };
    let created = Created { at: Mtime::secs(0), version: "0".to_owned() };
    let document = spdx::document(inventory, &subject, &created);
    let text = document.to_string();
    for package in document["packages"].as_array().expect("packages are a list") {
        let declared = package["licenseDeclared"].as_str().expect("every package has a licence, or says it has none");
        for word in declared.split(['(', ')', ' ']).filter(|word| word.starts_with("LicenseRef-")) {
            assert!(text.contains(&format!("\"licenseId\":\"{word}\"")), "{word} has no text");
        }
    }
    let document = cyclonedx::document(inventory, &subject, &created);
    let components = document["components"].as_array().expect("components are a list");
    assert_eq!(components.len(), inventory.packages.len() + usize::from(inventory.distribution.is_some()));
}
