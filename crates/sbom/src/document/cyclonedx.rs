//! CycloneDX 1.6 as JSON.
//!
//! ```text
//! metadata.component      the image                components   the operating system, every package
//! compositions            incomplete, when there are doubts; metadata.properties name them
//! licences                an identifier, an expression, or the name that the package uses
//! ```

use serde::Serialize;
use serde_json::Value;

use super::{Created, Subject, is_url, short_hash};
use crate::inventory::Algorithm;
use crate::{Distribution, Evidence, Inventory, Licence, Package};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Bom<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    bom_format: &'static str,
    spec_version: &'static str,
    serial_number: String,
    version: u32,
    metadata: Metadata<'a>,
    components: Vec<Component<'a>>,
    dependencies: Vec<Dependency>,
    compositions: Vec<Composition>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    timestamp: String,
    tools: Tools<'a>,
    component: Component<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    properties: Vec<Property>,
}

#[derive(Serialize)]
struct Tools<'a> {
    components: [Component<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Component<'a> {
    r#type: &'static str,
    #[serde(rename = "bom-ref", skip_serializing_if = "String::is_empty")]
    bom_ref: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    supplier: Option<Organisation<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    publisher: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hashes: Vec<Hash<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    licenses: Vec<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purl: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    external_references: Vec<Link<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<Occurrences<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    properties: Vec<Property>,
}

#[derive(Serialize)]
struct Organisation<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct Hash<'a> {
    alg: &'static str,
    content: &'a str,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Choice<'a> {
    Expression { expression: &'a str },
    License { license: Name<'a> },
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Name<'a> {
    Id(&'a str),
    Name(&'a str),
}

#[derive(Serialize)]
struct Link<'a> {
    r#type: &'static str,
    url: &'a str,
}

#[derive(Serialize)]
struct Occurrences<'a> {
    occurrences: Vec<Occurrence<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Occurrence<'a> {
    location: &'a str,
    additional_context: String,
}

#[derive(Serialize)]
struct Property {
    name: &'static str,
    value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Dependency {
    r#ref: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    depends_on: Vec<String>,
}

#[derive(Serialize)]
struct Composition {
    aggregate: &'static str,
    assemblies: [&'static str; 1],
}

const IMAGE: &str = "image";

/// The inventory of `subject` as a CycloneDX document.
///
/// # Panics
/// Never: every part has a form in JSON.
pub fn document(inventory: &Inventory, subject: &Subject, created: &Created) -> Value {
    let mut components: Vec<Component<'_>> = inventory.distribution.iter().map(system).collect();
    components.extend(inventory.packages.iter().map(|package| component(package, inventory)));
    let refs = components.iter().map(|c| c.bom_ref.clone()).collect();
    let mut bom = Bom {
        schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
        bom_format: "CycloneDX",
        spec_version: "1.6",
        serial_number: String::new(),
        version: 1,
        metadata: metadata(inventory, subject, created),
        components,
        dependencies: vec![Dependency { r#ref: IMAGE.to_owned(), depends_on: refs }],
        compositions: vec![Composition {
            // Nobody can know that nothing was copied in by hand.
            aggregate: if inventory.doubts.is_empty() { "unknown" } else { "incomplete" },
            assemblies: [IMAGE],
        }],
    };
    bom.serial_number = serial_number(&super::value(&bom).to_string());
    super::value(&bom)
}

/// A UUID of version 8, made from what the document says.
fn serial_number(said: &str) -> String {
    let hex = kiln_oci::Digest::of(said.as_bytes()).hex();
    format!("urn:uuid:{}-{}-8{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
}

fn metadata<'a>(inventory: &Inventory, subject: &'a Subject, created: &'a Created) -> Metadata<'a> {
    let kiln = Component { version: &created.version, ..blank("application", String::new(), "kiln") };
    let doubt = |doubt: &crate::Doubt| Property { name: "kiln:doubt", value: doubt.to_string() };
    let platform = subject.platform.iter().map(|p| Property { name: "kiln:platform", value: p.to_string() });
    let digest = subject.digest.iter().map(|d| Property { name: "kiln:manifest", value: d.to_string() });
    Metadata {
        timestamp: created.timestamp(),
        tools: Tools { components: [kiln] },
        component: Component {
            purl: subject.purl(),
            properties: platform.chain(digest).collect(),
            ..blank("container", IMAGE.to_owned(), subject.title())
        },
        properties: inventory.doubts.iter().map(doubt).collect(),
    }
}

fn system(distribution: &Distribution) -> Component<'_> {
    let name = distribution.name.iter().map(|name| Property { name: "kiln:pretty-name", value: name.clone() });
    Component {
        version: cut(distribution.version.as_deref().unwrap_or_default()),
        properties: name.collect(),
        ..blank("operating-system", "operating-system".to_owned(), &distribution.id)
    }
}

fn component<'a>(package: &'a Package, inventory: &Inventory) -> Component<'a> {
    let purl = package.purl(inventory.distribution.as_ref());
    let (group, name) = package.group_and_name();
    let hash = |sum: &'a crate::Checksum| Hash { alg: name_of(sum.algorithm), content: &sum.hex };
    let page = package.homepage.iter().filter(|url| is_url(url));
    Component {
        supplier: package.vendor.as_deref().map(|name| Organisation { name }),
        publisher: package.maintainer.as_deref(),
        group,
        version: cut(&package.version),
        scope: scope(package.evidence),
        hashes: package.checksums.iter().map(hash).collect(),
        licenses: licences(&package.licences),
        purl: Some(purl),
        external_references: page.map(|url| Link { r#type: "website", url }).collect(),
        evidence: evidence(package),
        properties: properties(package),
        ..blank(
            "library",
            format!("{}-{}", package.kind.name(), short_hash(&format!("{:?}", package.identity()))),
            name,
        )
    }
}

fn blank<'a>(r#type: &'static str, bom_ref: String, name: &'a str) -> Component<'a> {
    Component {
        r#type,
        bom_ref,
        supplier: None,
        publisher: None,
        group: None,
        name,
        version: "",
        scope: None,
        hashes: Vec::new(),
        licenses: Vec::new(),
        purl: None,
        external_references: Vec::new(),
        evidence: None,
        properties: Vec::new(),
    }
}

/// The schema has no longer versions, and nobody else has either.
fn cut(version: &str) -> &str {
    version.char_indices().nth(1024).map_or(version, |(end, _)| &version[..end])
}

/// What is for developers is not part of what runs.
fn scope(evidence: Evidence) -> Option<&'static str> {
    match evidence {
        Evidence::Installed => None,
        Evidence::Locked => Some("optional"),
        Evidence::Development => Some("excluded"),
    }
}

/// One expression alone, or any number of identifiers and names: the schema allows no mixture.
fn licences(licences: &[Licence]) -> Vec<Choice<'_>> {
    match licences {
        [Licence { expression: Some(expression), .. }] if expression.contains([' ', '+']) => {
            vec![Choice::Expression { expression }]
        }
        _ => licences.iter().filter(|l| !l.written.is_empty()).map(choice).collect(),
    }
}

fn choice(licence: &Licence) -> Choice<'_> {
    let listed = licence.expression.as_deref().filter(|e| !e.contains([' ', '+']));
    Choice::License { license: listed.map_or(Name::Name(&licence.written), Name::Id) }
}

fn evidence(package: &Package) -> Option<Occurrences<'_>> {
    let occurrences: Vec<_> = (package.locations.iter())
        .map(|l| Occurrence { location: &l.path, additional_context: format!("layer {}", l.layer) })
        .collect();
    (!occurrences.is_empty()).then_some(Occurrences { occurrences })
}

fn properties(package: &Package) -> Vec<Property> {
    let mut out = Vec::new();
    if let Some(source) = &package.source {
        out.push(Property { name: "kiln:source", value: source.name.clone() });
        let version = source.version.clone();
        out.extend(version.map(|value| Property { name: "kiln:source-version", value }));
    }
    out.extend(package.architecture.clone().map(|value| Property { name: "kiln:architecture", value }));
    out
}

fn name_of(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Md5 => "MD5",
        Algorithm::Sha1 => "SHA-1",
        Algorithm::Sha256 => "SHA-256",
        Algorithm::Sha384 => "SHA-384",
        Algorithm::Sha512 => "SHA-512",
    }
}
