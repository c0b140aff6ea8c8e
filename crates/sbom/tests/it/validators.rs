//! The validators that the formats' own projects publish, and a reader of package URLs; `scripts/emulators.sh` installs
//! them.

use std::path::Path;
use std::process::Command;

use kiln_testkit::emulator;
use serde_json::Value;

/// Strict against the JSON schema.
const CYCLONEDX: &str = r#"
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())
sys.exit(str(error)[:4000] if error else 0)
"#;

/// Every package URL in its canonical form.
const PURLS: &str = r#"
import json, sys
from packageurl import PackageURL
for component in json.load(open(sys.argv[1]))["components"]:
    purl = component.get("purl")
    if purl and PackageURL.from_string(purl).to_string() != purl:
        sys.exit(purl + " should be " + PackageURL.from_string(purl).to_string())
"#;

/// Panics with what the SPDX project's validator says of a document that it does not accept.
pub fn spdx(document: &Value) {
    let file = written(document, ".spdx.json");
    run(Command::new(emulator::cached("validators/bin/pyspdxtools")).arg("-i").arg(file.path()));
}

/// Panics with what is wrong with a CycloneDX document, by the strict form of its schema.
pub fn cyclonedx(document: &Value) {
    let file = written(document, ".cdx.json");
    python(CYCLONEDX, file.path());
}

/// Panics with a package URL of a CycloneDX document that the reference implementation would write otherwise.
pub fn purls(document: &Value) {
    let file = written(document, ".cdx.json");
    python(PURLS, file.path());
}

fn python(script: &str, file: &Path) {
    run(Command::new(emulator::cached("validators/bin/python")).args(["-c", script]).arg(file));
}

fn written(document: &Value, suffix: &str) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(suffix).tempfile().expect("make a temporary file");
    write(file.path(), document);
    file
}

fn write(path: &Path, document: &Value) {
    std::fs::write(path, serde_json::to_vec_pretty(document).unwrap()).expect("write the document");
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|e| panic!("start {}: {e}", command.get_program().to_string_lossy()));
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    let end = said.char_indices().nth(8000).map_or(said.len(), |(at, _)| at);
    assert!(output.status.success(), "the document is not valid:\n{}", &said[..end]);
}
