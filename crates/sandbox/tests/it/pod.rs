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
    let mut job = bed.command(&["/it", "--test-threads", "2", "--nocapture"]);
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
