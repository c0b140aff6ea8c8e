//! What pip and npm installed, and what linkers left in binaries, beside what those tools say.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kiln_oci::Digest;
use kiln_sbom::{Evidence, Inventory, Kind, Scanner, cyclonedx, spdx};
use kiln_testkit::emulator::cached;
use kiln_testkit::tools::tool;
use serde_json::Value;

use crate::documents::{created, subject};
use crate::validators;

/// The inventory of a directory, as GNU tar packs it.
fn scan(dir: &Path, what: &[&str]) -> Inventory {
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(dir).args(["--sort=name", "-cf", "-"]).args(what).stdout(Stdio::piped());
    let mut tar = tar.spawn().unwrap();
    let mut scanner = Scanner::default();
    scanner.layer(&Digest::of(b"layer"), tar.stdout.take().unwrap()).unwrap();
    assert!(tar.wait().unwrap().success());
    scanner.finish()
}

fn said(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|e| panic!("start {}: {e}", command.get_program().to_string_lossy()));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn found(inventory: &Inventory, kind: Kind, evidence: Evidence) -> BTreeSet<String> {
    let of_kind = inventory.packages.iter().filter(|p| p.kind == kind && p.evidence <= evidence);
    of_kind.map(|p| format!("{} {}", p.name, p.version)).collect()
}

/// The directory that `scripts/emulators.sh` installed something into.
fn installed(program: &str, above: usize) -> PathBuf {
    cached(program).ancestors().nth(above).unwrap().to_owned()
}

fn check_documents(inventory: &Inventory) {
    validators::spdx(&spdx::document(inventory, &subject(), &created()));
    let document = cyclonedx::document(inventory, &subject(), &created());
    validators::cyclonedx(&document);
    validators::purls(&document);
}

#[test]
fn python_packages_are_those_that_pip_lists() {
    let python = cached("validators/bin/python");
    let listed =
        said(Command::new(&python).args(["-m", "pip", "--disable-pip-version-check", "list", "--format=json"]));
    let listed: Vec<Value> = serde_json::from_slice(&listed).unwrap();
    let listed: BTreeSet<String> =
        listed.iter().map(|p| format!("{} {}", p["name"].as_str().unwrap(), p["version"].as_str().unwrap())).collect();
    let inventory = scan(&installed("validators/bin/python", 2), &["lib"]);
    let ours = found(&inventory, Kind::PyPi, Evidence::Installed);
    // setuptools carries other packages inside it, which pip does not see.
    let missing: Vec<_> = listed.difference(&ours).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let vendored: BTreeSet<String> = ours.difference(&listed).cloned().collect();
    let inside = |p: &&kiln_sbom::Package| vendored.contains(&format!("{} {}", p.name, p.version));
    for package in inventory.packages.iter().filter(inside) {
        assert!(package.locations.iter().all(|l| l.path.contains("/_vendor/")), "{package:?}");
    }
    assert_eq!(inventory.doubts, []);
    check_documents(&inventory);
}

/// `name version` of everything in a tree of `npm ls`.
fn flatten(dependencies: &Value, into: &mut BTreeSet<String>) {
    for (name, entry) in dependencies["dependencies"].as_object().into_iter().flatten() {
        if let Some(version) = entry["version"].as_str() {
            into.insert(format!("{name} {version}"));
        }
        flatten(entry, into);
    }
}

#[test]
fn node_packages_are_those_that_npm_lists() {
    let dir = installed("node/node_modules/.bin/s3rver", 3);
    let listed = said(Command::new(tool("npm")).args(["ls", "--all", "--json", "--prefix"]).arg(&dir));
    let mut want = BTreeSet::new();
    flatten(&serde_json::from_slice(&listed).unwrap(), &mut want);
    assert!(want.len() > 100);
    let inventory = scan(&dir, &["node_modules"]);
    assert_eq!(found(&inventory, Kind::Npm, Evidence::Installed), want);
    let locked = scan(&dir, &["package-lock.json"]);
    // The lock file is for all systems, and names what this one does not need.
    let locked = found(&locked, Kind::Npm, Evidence::Development);
    assert!(want.is_subset(&locked), "{:?}", want.difference(&locked).collect::<Vec<_>>());
    assert_eq!(inventory.doubts, []);
    check_documents(&inventory);
}

#[test]
fn programs_of_go_name_their_standard_library() {
    let skopeo = tool("skopeo");
    let dump = said(Command::new(tool("readelf")).args(["-p", ".go.buildinfo"]).arg(&skopeo));
    let dump = String::from_utf8_lossy(&dump).into_owned();
    let version: String =
        dump.split("]  go").nth(1).unwrap().chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let inventory = scan(skopeo.parent().unwrap(), &["skopeo"]);
    let want = ["github.com/containers/skopeo/cmd/skopeo ".to_owned(), format!("stdlib {version}")];
    assert_eq!(found(&inventory, Kind::Go, Evidence::Installed), BTreeSet::from(want));
}

#[test]
fn programs_of_rust_name_their_crates() {
    let dir = tempfile::tempdir().unwrap();
    let zlib = "import sys, zlib; sys.stdout.buffer.write(zlib.compress(sys.stdin.buffer.read()))";
    let list = r#"printf '{"packages":[{"name":"serde","version":"1.0.1","source":"crates.io"},{"name":"cc","version":"1.1.0","source":"crates.io","kind":"build"}]}'"#;
    let script = format!("{list} | {} -c '{zlib}' > list", cached("validators/bin/python").display());
    said(Command::new("sh").args(["-ec", &script]).current_dir(dir.path()));
    let mut objcopy = Command::new(tool("objcopy"));
    objcopy.args(["--add-section", ".dep-v0=list", "/bin/true", "program"]).current_dir(dir.path());
    said(&mut objcopy);
    fs::copy("/bin/true", dir.path().join("other")).unwrap();
    let inventory = scan(dir.path(), &["program", "other"]);
    assert_eq!(found(&inventory, Kind::Cargo, Evidence::Installed), BTreeSet::from(["serde 1.0.1".to_owned()]));
    assert_eq!(found(&inventory, Kind::Cargo, Evidence::Development).len(), 2);
    assert_eq!(inventory.packages[0].locations.len(), 1);
}

#[test]
fn a_lock_file_of_cargo_has_the_packages_that_cargo_lists() {
    let workspace = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version=1", "--locked", "--all-features"]).current_dir(workspace);
    let listed: Value = serde_json::from_slice(&said(&mut cargo)).unwrap();
    let listed: BTreeSet<String> = (listed["packages"].as_array().unwrap().iter())
        .map(|p| format!("{} {}", p["name"].as_str().unwrap(), p["version"].as_str().unwrap()))
        .collect();
    let ours = found(&scan(workspace, &["Cargo.lock"]), Kind::Cargo, Evidence::Locked);
    assert!(listed.is_subset(&ours), "{:?}", listed.difference(&ours).collect::<Vec<_>>());
    assert!(listed.len() > 100 && ours.len() < listed.len() + 20, "{} of {}", listed.len(), ours.len());
}
