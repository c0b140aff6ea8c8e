//! Puts the program in that `kiln doctor` sends to other hosts (`crates/doctor/src/bin/kiln-doctor-host.rs`), as gzip has
//! it, when `KILN_DOCTOR_HOST` names it, as `make release` does. Without it the binary sends itself.

use std::path::PathBuf;

fn main() {
    println!("cargo::rerun-if-env-changed=KILN_DOCTOR_HOST");
    let path = std::env::var_os("KILN_DOCTOR_HOST").filter(|path| !path.is_empty()).map(PathBuf::from);
    let path = path.unwrap_or_else(|| {
        let none = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default()).join("no-doctor-host");
        std::fs::write(&none, b"").expect("the build directory can be written");
        none
    });
    println!("cargo::rerun-if-changed={}", path.display());
    println!("cargo::rustc-env=KILN_DOCTOR_HOST_PROGRAM={}", path.display());
}
