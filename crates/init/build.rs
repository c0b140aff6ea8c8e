//! Compiles the program: `src/program/main.rs`, for machines without a system, by the compiler that compiles Kiln.
//!
//! It has no standard library and no C library, so it needs neither another target nor another toolchain. It is the same
//! in every profile of Kiln, for it is small only when it is optimised.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What the compiler is told. No position independence: nobody would relocate it.
const FLAGS: [&str; 25] = [
    "--edition=2024",
    "--crate-name=kiln_first",
    "--crate-type=bin",
    "-Copt-level=s",
    "-Clto=fat",
    "-Ccodegen-units=1",
    "-Cpanic=abort",
    "-Cforce-unwind-tables=no",
    "-Crelocation-model=static",
    "-Ctarget-feature=+crt-static",
    "-Cstrip=symbols",
    "-Cdebuginfo=0",
    "-Cdebug-assertions=no",
    "-Coverflow-checks=yes",
    "-Clink-arg=-nostartfiles",
    "-Clink-arg=-nostdlib",
    "-Clink-arg=-static",
    "-Clink-arg=-no-pie",
    "-Clink-arg=-Wl,--gc-sections",
    "-Clink-arg=-Wl,--build-id=none",
    "-Clink-arg=-Wl,-z,noexecstack",
    "-Clink-arg=-Wl,-z,norelro",
    "-Adead_code",
    "-Dunsafe_op_in_unsafe_fn",
    "-Dunused_must_use",
];

fn main() {
    let variable = |name: &str| std::env::var_os(name).unwrap_or_default();
    let out = PathBuf::from(variable("OUT_DIR")).join("kiln-first");
    for dir in ["src/program", "src/guest"] {
        println!("cargo::rerun-if-changed={dir}");
    }
    println!("cargo::rustc-env=KILN_FIRST={}", out.display());
    let here = variable("CARGO_CFG_TARGET_ARCH").into_string().unwrap_or_default();
    if here != "x86_64" || variable("CARGO_CFG_TARGET_OS") != "linux" {
        // Machines of others have no such program yet: the library says so when it is asked for it.
        std::fs::write(&out, b"").expect("the build directory can be written");
        return;
    }
    let mut command = Command::new(variable("RUSTC"));
    command.args(FLAGS).arg("--target=x86_64-unknown-linux-gnu").arg("-o").arg(&out);
    let linker = variable("RUSTC_LINKER");
    if !linker.is_empty() {
        command.arg("-C").arg(format!("linker={}", linker.display()));
    }
    // The directories of the sources are not in the program.
    command.arg("--remap-path-prefix").arg(format!("{}=", variable("CARGO_MANIFEST_DIR").display()));
    command.arg(Path::new("src/program/main.rs"));
    let status = command.status().expect("the compiler can be started");
    assert!(status.success(), "the program of a machine's first process does not compile: {status}");
}
