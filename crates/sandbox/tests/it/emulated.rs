//! The rung `emulated`: what it answers is what the kernel would, and nothing leads out of the root.

use std::fs;
use std::path::Path;
use std::process::Command;

use kiln_sandbox::Rung;

use crate::bed::{Bed, rungs};

/// Compiles the prober into the image; dynamic programs bring what loads them.
fn prober(bed: &Bed, linked: &[&str]) {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/emulated/prober.c");
    let program = bed.image().join("bin/prober");
    let built = Command::new("gcc").args(linked).args(["-O1", "-pthread", "-o"]).arg(&program).arg(source).output();
    let built = built.expect("gcc is installed");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let needed = Command::new("ldd").arg(&program).output().unwrap().stdout;
    for path in String::from_utf8_lossy(&needed).split_whitespace().filter(|word| word.starts_with('/')) {
        let place = bed.image().join(&path[1..]);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::copy(Path::new(path), place).unwrap();
    }
}

#[track_caller]
fn finds_nothing_wrong(linked: &[&str]) {
    if !rungs().contains(&Rung::Emulated) {
        return;
    }
    let bed = Bed::new(Rung::Emulated);
    prober(&bed, linked);
    let outside = bed.path("outside");
    fs::write(&outside, "secret").unwrap();
    let outcome = bed.run(&bed.command(&["/bin/prober", outside.to_str().unwrap()]));
    assert_eq!(outcome.ok(), "done\n", "{outcome:#?}");
}

#[test]
fn a_static_program_finds_nothing_wrong() {
    finds_nothing_wrong(&["-static"]);
}

#[test]
fn a_static_program_at_fixed_addresses_finds_nothing_wrong() {
    finds_nothing_wrong(&["-static", "-no-pie"]);
}

#[test]
fn a_dynamic_program_finds_nothing_wrong() {
    finds_nothing_wrong(&["-pie"]);
}
