//! What goes wrong there, and what becomes of the build.

use std::io::Read as _;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use kiln_testkit::compute::{Cut, Faults, OperationError, When};

use super::Bench;

const SCRIPT: &str = r#"{"type": "shell", "inline": ["echo provisioned"]}"#;

#[test]
fn slow_operations_throttling_and_lost_answers_pass_by() {
    let cut = Some(Cut { at: 9, when: When::After, lasting: false });
    let b = Bench::new(Faults { pending: 3, staging: 2, throttled: vec![2], in_use: 1, cut, ..Faults::default() });
    let said = b.ok("", SCRIPT);
    assert!(said.contains("    node: provisioned\n"), "{said}");
    // The ninth call makes the instance: it is asked for twice, and made once.
    assert_eq!(b.double.trace()[8].action, "instances.insert");
    assert_eq!(b.double.asked_instances().len(), 1);
    assert_eq!(b.double.images(), ["node-1"]);
    b.nothing_left();
}

#[test]
fn a_quota_is_seen_before_anything_is_made_or_told_with_what_to_do() {
    let b = Bench::new(Faults { cpus: 1, ..Faults::default() });
    let said = b.fails("", SCRIPT);
    assert!(said.contains("Quota CPUS of europe-west1: the build needs 2, and 23 of 24 are in use"), "{said}");
    assert!(said.contains("hint: ask for more at IAM & Admin > Quotas"), "{said}");
    assert!(b.changes().is_empty(), "{:?}", b.changes());

    let fault = OperationError {
        action: "instances.insert".to_owned(),
        code: "QUOTA_EXCEEDED".to_owned(),
        message: "Quota 'CPUS_ALL_REGIONS' exceeded.".to_owned(),
        times: u32::MAX,
    };
    let b = Bench::new(Faults { operation: Some(fault), ..Faults::default() });
    let said = b.fails("", SCRIPT);
    assert!(said.contains("Error creating instance: instance packer-") && said.contains("QUOTA_EXCEEDED"), "{said}");
    // The disk was there before the machine failed.
    assert_eq!(b.changes(), ["instances.insert packer-*", "disks.delete packer-*"]);
    b.nothing_left();
}

#[test]
fn an_image_that_fails_takes_instance_and_disk_with_it() {
    let fault = OperationError {
        action: "images.insert".to_owned(),
        code: "RESOURCE_OPERATION_RATE_EXCEEDED".to_owned(),
        message: "Operation rate exceeded for resource".to_owned(),
        times: u32::MAX,
    };
    let b = Bench::new(Faults { operation: Some(fault), ..Faults::default() });
    let said = b.fails("", SCRIPT);
    assert!(said.contains("Error waiting for image: image node-1: RESOURCE_OPERATION_RATE_EXCEEDED"), "{said}");
    assert!(b.double.images().is_empty());
    b.nothing_left();
}

#[test]
fn an_image_in_the_way_is_an_error_or_is_replaced() {
    let b = Bench::new(Faults::default());
    b.ok("", SCRIPT);
    let before = b.double.trace().len();
    let said = b.fails("", SCRIPT);
    assert!(said.contains("Image node-1 already exists in project kiln-test"), "{said}");
    assert!(said.contains("hint: use the force flag"), "{said}");
    assert!(!b.double.trace()[before..].iter().any(kiln_testkit::compute::Call::changes));
    let said = b.build("", SCRIPT, &["-force"]).ok().stdout;
    assert!(said.contains("Deleting previous image..."), "{said}");
    let changes: Vec<String> = b.changes().into_iter().filter(|change| change.starts_with("images.")).collect();
    assert_eq!(changes, ["images.insert node-1", "images.delete node-1", "images.insert node-1"]);
    b.nothing_left();
}

#[test]
fn a_failing_script_and_a_machine_that_is_another_leave_nothing() {
    let b = Bench::new(Faults::default());
    let said = b.fails("", r#"{"type": "shell", "inline": ["exit 3"]}"#);
    assert!(said.contains("non-zero exit status: 3") && said.contains("Instance has been deleted!"), "{said}");
    assert_eq!(b.changes(), ["instances.insert packer-*", "instances.delete packer-*", "disks.delete packer-*"]);
    b.nothing_left();

    let other = kiln_host::keys::PrivateKey::generate(kiln_host::keys::Kind::Ed25519, "").unwrap();
    b.double.host_key(&other.public().line());
    let said = b.fails("", SCRIPT);
    assert!(said.contains("and not the one asked for") && !said.contains("provisioned\n"), "{said}");
    b.nothing_left();
}

#[test]
fn what_may_not_be_done_is_told_with_the_missing_right() {
    let b = Bench::new(Faults { forbidden: vec!["instances.insert".to_owned()], ..Faults::default() });
    let said = b.fails("", SCRIPT);
    assert!(said.contains("HTTP 403 forbidden: Required 'instances.insert' permission"), "{said}");
    assert!(said.contains("compute.instanceAdmin.v1"), "{said}");
    assert_eq!(b.changes(), ["instances.insert packer-*"]);
    b.nothing_left();
}

#[test]
fn what_cannot_be_deleted_is_an_error_with_its_name_and_stays_in_the_book() {
    let b = Bench::new(Faults { forbidden: vec!["disks.delete".to_owned()], ..Faults::default() });
    let said = b.fails("", SCRIPT);
    assert!(said.contains("Error deleting disk: disk packer-") && said.contains("HTTP 403"), "{said}");
    assert!(
        said.contains("Error deleting disk. Please delete it manually.") && said.contains("kiln node gc --build "),
        "{said}"
    );
    assert_eq!(b.double.left().len(), 1);
    let books: Vec<_> =
        std::fs::read_dir(b.t.root().join("state/node-builds")).unwrap().map(|e| e.unwrap().path()).collect();
    let texts: Vec<String> = books.iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect();
    assert!(
        texts.iter().any(|text| text.contains("DELETE projects/kiln-test/zones/europe-west1-b/disks/packer-")),
        "{texts:?}"
    );
    assert!(texts.iter().all(|text| !text.contains("PRIVATE KEY") && !text.contains("ya29")), "{texts:?}");
}

/// Kiln with a double whose operations of one kind have no end; a signal comes when call `n` does.
fn stopped(stuck: &'static str, when: impl Fn(&str) -> bool + Send + 'static) -> (Bench, String) {
    let b = Bench::new(Faults { stuck: Some(stuck), ..Faults::default() });
    b.write("", SCRIPT);
    let mut command = b.t.command(&["node", "build", "-color=false", "t.json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let id = child.id().to_string();
    let done = Arc::new(Mutex::new(false));
    let (over, double) = (done.clone(), &b.double);
    let said = std::thread::scope(|scope| {
        scope.spawn(move || {
            while !*over.lock().unwrap() {
                if double.trace().iter().any(|call| when(&call.action)) {
                    let _ = std::process::Command::new("kill").args(["-TERM", &id]).status();
                    return;
                }
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        });
        let mut said = String::new();
        child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(!child.wait().unwrap().success());
        *done.lock().unwrap() = true;
        said
    });
    (b, said)
}

#[test]
fn a_signal_ends_a_wait_that_has_no_end_and_what_was_made_goes() {
    // state_timeout is five minutes: without heeding the signal this would say so, and not that it was cancelled.
    let (b, said) = stopped("insert", |action| action == "operations.get");
    assert!(said.contains("Build 'node' errored after") || said.contains("Cleanly cancelled builds"), "{said}");
    assert!(!said.contains("not done after"), "{said}");
    assert_eq!(b.changes(), ["instances.insert packer-*", "instances.delete packer-*", "disks.delete packer-*"]);
    b.nothing_left();
}

#[test]
fn a_startup_script_that_fails_ends_the_build_with_the_consoles_last_lines() {
    let b = Bench::new(Faults { script: "error", ..Faults::default() });
    b.double.console("boot\nkiln: startup script: exit code 7\n");
    let said = b.fails(r#", "metadata": {"startup-script": "exit 7"}"#, SCRIPT);
    assert!(
        said.contains("Startup script exited with error.") && said.contains("| kiln: startup script: exit code 7"),
        "{said}"
    );
    b.nothing_left();
}
