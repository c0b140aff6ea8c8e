//! `-on-error=ask`, answered with `r`: a step that failed is tried again, and makes nothing twice.

use kiln_testkit::compute::{Faults, OperationError};

use super::Bench;

const SCRIPT: &str = r#"{"type": "shell", "inline": ["echo provisioned"]}"#;

fn once(action: &str) -> Faults {
    let (action, code) = (action.to_owned(), "INTERNAL_ERROR".to_owned());
    let operation = Some(OperationError { action, code, message: "It passes.".to_owned(), times: 1 });
    Faults { operation, ..Faults::default() }
}

fn refused_once(action: &'static str) -> Faults {
    Faults { refused: Some((action, 1)), ..Faults::default() }
}

/// What came of a build that was tried again once: the image is there, and nothing else.
#[track_caller]
fn tried_again(b: &Bench, more: &str) -> String {
    let out = b.asked(more, SCRIPT, "r\n").ok();
    let said = out.stdout + &out.stderr;
    assert_eq!(said.matches("Step failed: ").count(), 1, "{said}");
    assert_eq!(b.double.images(), ["node-1"], "{said}");
    b.nothing_left();
    said
}

#[test]
fn a_beginning_that_is_tried_again_first_deletes_what_its_first_try_made() {
    let b = Bench::new(once("instances.insert"));
    // With names of the template what is left of the first try would be in the way of the second.
    tried_again(&b, r#", "instance_name": "builder-1", "disk_name": "builder-disk""#);
    assert_eq!(
        b.changes()[..3],
        ["instances.insert builder-1", "disks.delete builder-disk", "instances.insert builder-1"]
    );
}

#[test]
fn an_image_that_failed_is_made_again_and_stays() {
    let b = Bench::new(once("images.insert"));
    // The script of an instance that is gone is not waited for.
    let said = tried_again(&b, r#", "metadata": {"startup-script": "true"}"#);
    assert_eq!(said.matches("Waiting for any running startup script").count(), 1, "{said}");
    assert_eq!(
        b.changes(),
        [
            "instances.insert packer-*",
            "instances.delete packer-*",
            "images.insert node-1",
            "images.insert node-1",
            "disks.delete packer-*"
        ]
    );
}

#[test]
fn an_image_that_is_there_is_not_made_again() {
    let b = Bench::new(refused_once("images.deprecate"));
    let said = tried_again(&b, r#", "deprecate_at": "2099-01-01T00:00:00Z""#);
    assert!(said.contains("Image node-1 is there from the try before"), "{said}");
    assert_eq!(b.changes().iter().filter(|change| change.starts_with("images.insert")).count(), 1, "{:?}", b.changes());
    assert_eq!(b.double.image("node-1").unwrap()["deprecated"]["state"], "DEPRECATED");
}

#[test]
fn a_disk_that_could_not_be_deleted_is_all_that_is_left_to_do() {
    let b = Bench::new(refused_once("disks.delete"));
    tried_again(&b, "");
    assert_eq!(
        b.changes(),
        [
            "instances.insert packer-*",
            "instances.delete packer-*",
            "images.insert node-1",
            "disks.delete packer-*",
            "disks.delete packer-*"
        ]
    );
}

#[test]
fn disks_that_stay_or_are_gone_are_not_touched_again() {
    let b = Bench::new(refused_once("disks.delete"));
    let more = r#", "disk_attachment": [
        {"volume_type": "pd-ssd", "volume_size": 10, "disk_name": "data-1"},
        {"volume_type": "pd-ssd", "volume_size": 10, "disk_name": "kept-1", "keep_device": true}]"#;
    let out = b.asked(more, SCRIPT, "r\n").ok();
    assert_eq!(out.stdout.matches("Keeping disk \"kept-1\"").count(), 1, "{out}");
    assert_eq!(b.double.left(), ["projects/kiln-test/zones/europe-west1-b/disks/kept-1"]);
    assert_eq!(b.double.images(), ["node-1"]);
}

#[test]
fn who_cleans_up_instead_has_nothing_left() {
    let b = Bench::new(once("images.insert"));
    let out = b.asked("", SCRIPT, "c\n").exits(1);
    assert!(out.stdout.contains("[r] retry step"), "{out}");
    assert!(b.double.images().is_empty());
    b.nothing_left();
}
