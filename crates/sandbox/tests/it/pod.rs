//! The chroot rung where it matters: a pod with the default capabilities and syscall filter, which may neither mount
//! nor make namespaces. The rung `root` gives exactly that, so the pod is a command of ours, and the tests run in it.

use std::fs;

use kiln_sandbox::{Rung, probe_with};

use crate::bed::{Bed, have_root_rung, init};

const IN_POD: &str = "KILN_SANDBOX_TEST_IN_POD";

#[test]
fn a_default_pod_has_the_chroot_rung_and_it_passes_all_tests() {
    if std::env::var_os(IN_POD).is_some() || !have_root_rung() {
        return;
    }
    let bed = Bed::new(Rung::Root);
    let program = init().program;
    let place = bed.image().join(program.strip_prefix("/").unwrap());
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::copy(&program, &place).unwrap();
    fs::copy(std::env::current_exe().unwrap(), bed.image().join("it")).unwrap();
    // Those of the emulated rung compile a program, which takes more than there is in here; pods of its kind are tested
    // with `kiln` itself.
    let mut job = bed.command(&["/it", "--test-threads", "2", "--nocapture", "--skip", "emulated::"]);
    job.env.push((IN_POD.into(), "1".into()));
    job.env.push(("RUST_BACKTRACE".into(), "0".into()));
    let outcome = bed.run(&job);
    assert_eq!(outcome.code(), 0, "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stdout.contains("test result: ok"), "{}", outcome.stdout);
}

#[test]
fn the_probe_says_which_call_fails_in_a_pod() {
    if std::env::var_os(IN_POD).is_none() {
        return;
    }
    let reports = probe_with(&init());
    let of = |rung| reports.iter().find(|report| report.rung == rung).unwrap();
    assert!(of(Rung::Chroot).available, "{reports:?}");
    assert!(!of(Rung::Root).available && of(Rung::Root).why.contains("unshare("), "{reports:?}");
}

#[test]
fn a_pod_without_the_rights_is_told_which_are_missing() {
    if std::env::var_os(IN_POD).is_some() || !have_root_rung() {
        return;
    }
    // An ordinary user of the sandbox has no capability at all.
    let bed = Bed::new(Rung::Root);
    fs::copy(init().program, bed.image().join("init")).unwrap();
    fs::copy(std::env::current_exe().unwrap(), bed.image().join("it")).unwrap();
    // Those of the emulated rung compile a program, which takes more than there is in here; pods of its kind are tested
    // with `kiln` itself.
    let mut job = bed.command(&["/it", "--exact", "pod::helper_that_probes", "--nocapture"]);
    job.env.push((PROBE.into(), "/init".into()));
    job.user.uid = 1000;
    let outcome = bed.run(&job);
    assert!(outcome.ok().contains("Chroot false chroot(2): Operation not permitted"), "{outcome:?}");
    assert!(outcome.ok().contains("strongest Emulated"), "{outcome:?}");
}

const PROBE: &str = "KILN_SANDBOX_TEST_PROBE";

/// Not a test by itself: what an unprivileged process finds.
#[test]
fn helper_that_probes() {
    let Some(program) = std::env::var_os(PROBE) else { return };
    let reports = probe_with(&kiln_sandbox::Init { program: program.into() });
    for report in &reports {
        println!("{:?} {} {}", report.rung, report.available, report.why);
    }
    println!("strongest {:?}", kiln_sandbox::strongest(&reports));
}
