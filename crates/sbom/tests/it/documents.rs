//! Documents: their text, and that others accept them.

use kiln_oci::entry::Mtime;
use kiln_oci::{Digest, Platform};
use kiln_sbom::{Created, Inventory, Limits, Scanner, Subject, cyclonedx, spdx};
use kiln_testkit::rootfs::Rootfs;

use crate::validators;

pub fn subject() -> Subject {
    Subject {
        name: "registry.example:5000/team/App:1".to_lowercase(),
        digest: Some(Digest::of(b"manifest")),
        platform: Some(Platform::linux("amd64")),
    }
}

pub fn created() -> Created {
    Created { at: Mtime { secs: 1_700_000_000, nanos: 5 }, version: "0.1.0".to_owned() }
}

fn scan(layer: &Rootfs) -> Inventory {
    let mut scanner = Scanner::new(Limits::default());
    scanner.layer(&Digest::of(b"layer"), &layer.tar()[..]).unwrap();
    scanner.finish()
}

fn alpine() -> Rootfs {
    Rootfs::new().file("etc/os-release", 0o644, "NAME=\"Alpine Linux\"\nID=alpine\nVERSION_ID=3.20.1\n").file(
        "lib/apk/db/installed",
        0o644,
        "P:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\no:musl\nm:Timo <timo@example.org>\nU:https://musl.libc.org/\n\n\
        P:ssl_client\nV:1.36.1-r29\nA:x86_64\nL:GPL-2.0-only\no:busybox\nm:nobody\nU:not a page\n\n\
        P:odd\nV:0\nL:custom:odd\n\nV:1\n\n",
    )
}

/// Names as bad as they get: they are data in a document, never structure.
fn hostile() -> Rootfs {
    let evil = "\u{1}\"\\\u{202e}</script>\u{7f}\u{fffd} #?%/@: \u{1F980}";
    let long = "x".repeat(10_000);
    let text = [evil, &long].map(|name| {
        format!("P:{name}\nV:{name}\nA:{name}\nL:{name}\no:o{name}\nm:{name} <{name}>\nU:https://{name}\n\nP:p\nL:({name}\nm:<\n\n")
    });
    Rootfs::new()
        .file("etc/os-release", 0o644, format!("ID='{evil}'\nVERSION_ID='{evil}'\nPRETTY_NAME='{evil}'\n"))
        .file("lib/apk/db/installed", 0o644, text.concat())
}

#[test]
fn spdx_is_what_its_specification_asks_for() {
    let document = spdx::document(&scan(&alpine()), &subject(), &created());
    validators::spdx(&document);
    insta::assert_snapshot!(serde_json::to_string_pretty(&document).unwrap());
}

#[test]
fn cyclonedx_is_what_its_schema_asks_for() {
    let document = cyclonedx::document(&scan(&alpine()), &subject(), &created());
    validators::cyclonedx(&document);
    validators::purls(&document);
    insta::assert_snapshot!(serde_json::to_string_pretty(&document).unwrap());
}

#[test]
fn an_empty_image_without_a_name_has_valid_documents() {
    for subject in [Subject::default(), Subject { name: "a name, of no image\n".into(), ..subject() }] {
        let nothing = Inventory::default();
        validators::spdx(&spdx::document(&nothing, &subject, &created()));
        validators::cyclonedx(&cyclonedx::document(&nothing, &subject, &created()));
    }
}

#[test]
fn hostile_names_have_valid_documents() {
    let found = scan(&hostile());
    assert_eq!(found.packages.len(), 3);
    validators::spdx(&spdx::document(&found, &subject(), &created()));
    validators::cyclonedx(&cyclonedx::document(&found, &subject(), &created()));
}

#[test]
fn the_same_inventory_gives_the_same_documents_and_another_gives_other_names() {
    let (one, two) = (scan(&alpine()), scan(&hostile()));
    let spdx = |found: &Inventory| spdx::document(found, &subject(), &created());
    let cyclonedx = |found: &Inventory| cyclonedx::document(found, &subject(), &created());
    assert_eq!(spdx(&one).to_string(), spdx(&scan(&alpine())).to_string());
    assert_eq!(cyclonedx(&one).to_string(), cyclonedx(&scan(&alpine())).to_string());
    assert_ne!(spdx(&one)["documentNamespace"], spdx(&two)["documentNamespace"]);
    assert_ne!(cyclonedx(&one)["serialNumber"], cyclonedx(&two)["serialNumber"]);
}
