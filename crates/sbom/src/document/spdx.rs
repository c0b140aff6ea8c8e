//! SPDX 2.3 as JSON.
//!
//! ```text
//! document ──DESCRIBES──▶ the image ──CONTAINS──▶ the operating system, every package
//! doubts                  annotations of the image
//! licences that SPDX does not list            hasExtractedLicensingInfos, as LicenseRef-…
//! ```

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::{Created, Subject, identifier, is_url, short_hash};
use crate::inventory::Algorithm;
use crate::{Distribution, Doubt, Evidence, Inventory, Licence, Package};

const DOCUMENT: &str = "SPDXRef-DOCUMENT";
const IMAGE: &str = "SPDXRef-Image";
const SYSTEM: &str = "SPDXRef-OperatingSystem";
const NOTHING: &str = "NOASSERTION";
/// What names of documents begin with.
const NAMESPACE: &str = "https://github.com/kiln-build/kiln/spdx";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    spdx_version: &'static str,
    data_license: &'static str,
    #[serde(rename = "SPDXID")]
    id: &'static str,
    name: &'a str,
    document_namespace: String,
    creation_info: CreationInfo,
    document_describes: [&'static str; 1],
    packages: Vec<Item<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    has_extracted_licensing_infos: Vec<Extracted>,
    relationships: Vec<Relationship>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreationInfo {
    created: String,
    creators: [String; 1],
    license_list_version: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Item<'a> {
    #[serde(rename = "SPDXID")]
    id: String,
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version_info: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    primary_package_purpose: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    supplier: Option<String>,
    download_location: &'static str,
    files_analyzed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    homepage: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_info: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checksums: Vec<Checksum<'a>>,
    license_concluded: &'static str,
    license_declared: String,
    copyright_text: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    external_refs: Vec<ExternalRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    annotations: Vec<Annotation>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Checksum<'a> {
    algorithm: &'static str,
    checksum_value: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExternalRef {
    reference_category: &'static str,
    reference_type: &'static str,
    reference_locator: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Annotation {
    annotation_date: String,
    annotation_type: &'static str,
    annotator: String,
    comment: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Extracted {
    license_id: String,
    name: String,
    extracted_text: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Relationship {
    spdx_element_id: &'static str,
    relationship_type: &'static str,
    related_spdx_element: String,
}

/// Texts of licences that SPDX does not list, by the identifiers they have in this document.
type Texts = BTreeMap<String, String>;

/// The inventory of `subject` as an SPDX document.
///
/// # Panics
/// Never: every part has a form in JSON.
pub fn document(inventory: &Inventory, subject: &Subject, created: &Created) -> Value {
    let mut texts = Texts::new();
    let digest = subject.digest.as_ref().map(ToString::to_string).unwrap_or_default();
    let mut packages = vec![Item { version_info: &digest, ..image(inventory, subject, created) }];
    packages.extend(inventory.distribution.as_ref().map(system));
    packages.extend(inventory.packages.iter().map(|package| item(package, inventory, &mut texts)));
    let relationships = relationships(&packages);
    let mut document = Document {
        spdx_version: "SPDX-2.3",
        data_license: "CC0-1.0",
        id: DOCUMENT,
        name: subject.title(),
        document_namespace: String::new(),
        creation_info: CreationInfo {
            created: created.timestamp(),
            creators: [tool(created)],
            license_list_version: list_version(),
        },
        document_describes: [IMAGE],
        packages,
        has_extracted_licensing_infos: texts.into_iter().map(extracted).collect(),
        relationships,
    };
    let said = super::value(&document).to_string();
    document.document_namespace = format!("{NAMESPACE}/{}-{}", identifier(subject.title()), short_hash(&said));
    super::value(&document)
}

fn tool(created: &Created) -> String {
    format!("Tool: kiln-{}", created.version)
}

/// `3.29`, of the list that licences were compared with.
fn list_version() -> String {
    ::spdx::license_version().splitn(3, '.').take(2).collect::<Vec<_>>().join(".")
}

fn image<'a>(inventory: &Inventory, subject: &'a Subject, created: &Created) -> Item<'a> {
    let note = |doubt: &Doubt| Annotation {
        annotation_date: created.timestamp(),
        annotation_type: "OTHER",
        annotator: tool(created),
        comment: doubt.to_string(),
    };
    Item {
        primary_package_purpose: Some("CONTAINER"),
        external_refs: subject.purl().map(package_url).into_iter().collect(),
        annotations: inventory.doubts.iter().map(note).collect(),
        ..blank(IMAGE.to_owned(), subject.title())
    }
}

fn system(distribution: &Distribution) -> Item<'_> {
    Item {
        version_info: distribution.version.as_deref().unwrap_or_default(),
        primary_package_purpose: Some("OPERATING-SYSTEM"),
        ..blank(SYSTEM.to_owned(), &distribution.id)
    }
}

fn item<'a>(package: &'a Package, inventory: &Inventory, texts: &mut Texts) -> Item<'a> {
    let purl = package.purl(inventory.distribution.as_ref());
    let checksum = |sum: &'a crate::Checksum| Checksum { algorithm: name_of(sum.algorithm), checksum_value: &sum.hex };
    Item {
        version_info: &package.version,
        supplier: supplier(package),
        homepage: package.homepage.as_deref().filter(|url| is_url(url)),
        source_info: source_info(package),
        checksums: package.checksums.iter().map(checksum).collect(),
        license_declared: declared(&package.licences, texts),
        comment: comment(package.evidence),
        external_refs: vec![package_url(purl)],
        ..blank(package_id(package), &package.name)
    }
}

fn blank(id: String, name: &str) -> Item<'_> {
    Item {
        id,
        name,
        version_info: "",
        primary_package_purpose: None,
        supplier: None,
        download_location: NOTHING,
        files_analyzed: false,
        homepage: None,
        source_info: None,
        checksums: Vec::new(),
        license_concluded: NOTHING,
        license_declared: NOTHING.to_owned(),
        copyright_text: NOTHING,
        external_refs: Vec::new(),
        comment: None,
        annotations: Vec::new(),
    }
}

fn package_id(package: &Package) -> String {
    let kind = package.kind.name();
    format!("SPDXRef-Package-{kind}-{}-{}", identifier(&package.name), short_hash(&format!("{:?}", package.identity())))
}

fn package_url(reference_locator: String) -> ExternalRef {
    ExternalRef { reference_category: "PACKAGE-MANAGER", reference_type: "purl", reference_locator }
}

fn supplier(package: &Package) -> Option<String> {
    let vendor = package.vendor.as_deref().and_then(|vendor| actor("Organization", vendor));
    vendor.or_else(|| package.maintainer.as_deref().and_then(|maintainer| actor("Person", maintainer)))
}

/// `ROLE: NAME (ADDRESS)`, from `NAME <ADDRESS>`; parentheses that are part of a name would end it.
fn actor(role: &str, text: &str) -> Option<String> {
    let plain = |text: &str| one_line(&text.replace('(', "[").replace(')', "]"));
    let (name, rest) = text.split_once('<').unwrap_or((text, ""));
    let (name, address) = (plain(name), plain(rest.split('>').next().unwrap_or_default()));
    match (name.is_empty(), address.is_empty()) {
        (true, true) => None,
        (true, false) => Some(format!("{role}: {address}")),
        (false, true) => Some(format!("{role}: {name}")),
        (false, false) => Some(format!("{role}: {name} ({address})")),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn source_info(package: &Package) -> Option<String> {
    let source = package.source.as_ref().map(|source| match &source.version {
        Some(version) => format!("built from the source package {} {version}", source.name),
        None => format!("built from the source package {}", source.name),
    });
    let files: Vec<&str> = package.locations.iter().map(|l| l.path.as_str()).collect();
    let found = (!files.is_empty()).then(|| format!("found in {}", files.join(", ")));
    match (source, found) {
        (Some(source), Some(found)) => Some(format!("{source}; {found}")),
        (source, found) => source.or(found),
    }
}

fn comment(evidence: Evidence) -> Option<&'static str> {
    match evidence {
        Evidence::Installed => None,
        Evidence::Locked => Some("named by a lock file; not known to be installed"),
        Evidence::Development => Some("named as a tool for development or for building; not known to be installed"),
    }
}

/// All licences of a package as one expression.
fn declared(licences: &[Licence], texts: &mut Texts) -> String {
    let mut parts: Vec<String> = Vec::new();
    for licence in licences {
        let part = match &licence.expression {
            Some(expression) if licence.is_compound() && licences.len() > 1 => format!("({expression})"),
            Some(expression) => expression.clone(),
            None if licence.written.is_empty() => continue,
            None => reference(&licence.written, texts),
        };
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    if parts.is_empty() { NOTHING.to_owned() } else { parts.join(" AND ") }
}

fn reference(written: &str, texts: &mut Texts) -> String {
    let id = format!("LicenseRef-{}-{}", identifier(written), &short_hash(written)[..8]);
    texts.insert(id.clone(), written.to_owned());
    id
}

fn extracted((license_id, written): (String, String)) -> Extracted {
    let extracted_text = format!("Packages name this licence and do not give its text: {written}");
    Extracted { license_id, name: one_line(&written), extracted_text }
}

fn relationships(packages: &[Item<'_>]) -> Vec<Relationship> {
    let describes = Relationship {
        spdx_element_id: DOCUMENT,
        relationship_type: "DESCRIBES",
        related_spdx_element: IMAGE.to_owned(),
    };
    let contains = packages.iter().filter(|item| item.id != IMAGE).map(|item| Relationship {
        spdx_element_id: IMAGE,
        relationship_type: "CONTAINS",
        related_spdx_element: item.id.clone(),
    });
    std::iter::once(describes).chain(contains).collect()
}

fn name_of(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Md5 => "MD5",
        Algorithm::Sha1 => "SHA1",
        Algorithm::Sha256 => "SHA256",
        Algorithm::Sha384 => "SHA384",
        Algorithm::Sha512 => "SHA512",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_has_a_name_and_may_have_an_address() {
        for (text, want) in [
            ("A B <a@b>", Some("Person: A B (a@b)")),
            ("A (c) <a@b> (https://x)", Some("Person: A [c] (a@b)")),
            ("<a@b>", Some("Person: a@b")),
            ("A\nB", Some("Person: A B")),
            (" ", None),
            ("<>", None),
        ] {
            assert_eq!(actor("Person", text).as_deref(), want, "{text}");
        }
    }
}
