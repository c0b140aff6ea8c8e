//! The probe against real accelerators and against programs that are none.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use kiln_vm::accel::{choose, probe};
use kiln_vm::{Accelerator, Qemu, Verdict, VmError};

use crate::guest::qemu;

#[test]
fn translation_runs_a_guest_and_is_probed_once() {
    let qemu = qemu();
    let Verdict::Runs(time) = probe(&qemu, Accelerator::Tcg) else {
        panic!("{:?}", probe(&qemu, Accelerator::Tcg));
    };
    assert_eq!(probe(&qemu, Accelerator::Tcg), Verdict::Runs(time), "the second answer is the first");
    let choice = choose(&qemu, Some(Accelerator::Tcg), false).unwrap();
    assert!(choice.why.starts_with("asked for"), "{}", choice.why);
}

#[test]
fn the_choice_is_one_that_runs() {
    // Whatever this machine has: KVM that works, KVM that does not, or none.
    let qemu = qemu();
    let choice = choose(&qemu, None, false).unwrap();
    match probe(&qemu, Accelerator::Kvm) {
        Verdict::Runs(_) => assert_eq!(choice.accelerator, Accelerator::Kvm),
        Verdict::Refused(why) => {
            assert_eq!(choice.accelerator, Accelerator::Tcg);
            assert_eq!(choice.why, format!("KVM cannot be used: {why}"));
            let error = choose(&qemu, Some(Accelerator::Kvm), false).unwrap_err().to_string();
            assert_eq!(error, format!("accelerator `kvm` cannot be used: {why}"));
            let forced = choose(&qemu, Some(Accelerator::Kvm), true).unwrap();
            assert_eq!(forced.accelerator, Accelerator::Kvm);
        }
    }
}

/// A program that claims to be qemu and does this instead.
fn fake(dir: &tempfile::TempDir, script: &str) -> Qemu {
    let program = dir.path().join("qemu-fake");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    Qemu { program, version: (9, 0), temporary: std::env::temp_dir() }
}

#[test]
fn programs_that_run_no_guest_are_told_from_those_that_do() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |script: &str| match probe(&fake(&dir, script), Accelerator::Tcg) {
        Verdict::Refused(why) => why,
        Verdict::Runs(_) => panic!("{script}"),
    };
    assert_eq!(refused("echo 'qemu: invalid accelerator tcg' >&2; exit 1"), "qemu: invalid accelerator tcg");
    let dir = tempfile::tempdir().unwrap();
    let error = choose(&fake(&dir, "echo no >&2; exit 1"), None, false).unwrap_err();
    assert!(matches!(&error, VmError::NoAccelerator { tried, .. } if tried.len() == 2), "{error}");
    let absent = Qemu { program: PathBuf::from("/absent/qemu"), version: (9, 0), temporary: std::env::temp_dir() };
    assert!(matches!(probe(&absent, Accelerator::Tcg), Verdict::Refused(why) if why.contains("not found")));
}
