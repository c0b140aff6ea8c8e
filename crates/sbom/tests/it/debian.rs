//! A real Debian system: what Kiln finds beside what dpkg says.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use kiln_oci::Digest;
use kiln_sbom::{Inventory, Scanner, cyclonedx, spdx};
use kiln_testkit::tools::debian_base;

use crate::documents::{created, subject};
use crate::validators;

fn scan(tar: &PathBuf) -> Inventory {
    let mut scanner = Scanner::default();
    scanner.layer(&Digest::of(b"base"), File::open(tar).unwrap()).unwrap();
    scanner.finish()
}

/// `name version architecture source`, as dpkg-query prints them.
fn of_dpkg(tar: &PathBuf) -> BTreeSet<String> {
    let dir = tempfile::tempdir().unwrap();
    let unpacked = Command::new("tar").arg("-C").arg(dir.path()).arg("-xf").arg(tar).arg("./var/lib/dpkg").status();
    assert!(unpacked.unwrap().success());
    let admin = dir.path().join("var/lib/dpkg");
    let format = "${Package} ${Version} ${Architecture} ${source:Package} ${source:Version}\n";
    let asked =
        Command::new("dpkg-query").arg("--admindir").arg(&admin).arg("-W").arg("-f").arg(format).output().unwrap();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    fs::metadata(admin.join("status")).unwrap();
    String::from_utf8(asked.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_debian_base_has_the_packages_that_dpkg_lists() {
    let tar = debian_base();
    let found = scan(&tar);
    let ours: BTreeSet<String> = (found.packages.iter())
        .map(|p| {
            let source = p.source.as_ref();
            let name = source.map_or(&p.name, |s| &s.name);
            let version = source.and_then(|s| s.version.as_ref()).unwrap_or(&p.version);
            format!("{} {} {} {name} {version}", p.name, p.version, p.architecture.as_deref().unwrap_or_default())
        })
        .collect();
    assert!(ours.len() > 50, "{ours:?}");
    assert_eq!(ours, of_dpkg(&tar));
    assert_eq!(found.doubts, []);
    let system = found.distribution.as_ref().unwrap();
    assert_eq!((system.id.as_str(), system.version.as_deref()), ("debian", Some("12")));
    let licensed = found.packages.iter().filter(|p| !p.licences.is_empty()).count();
    assert!(licensed * 2 > found.packages.len(), "{licensed} of {} have licences", found.packages.len());
    validators::spdx(&spdx::document(&found, &subject(), &created()));
    let document = cyclonedx::document(&found, &subject(), &created());
    validators::cyclonedx(&document);
    validators::purls(&document);
}
