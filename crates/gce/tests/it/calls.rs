//! Calls, operations and metadata.

use std::cell::Cell;
use std::time::Duration;

use kiln_gce::client::Ask;
use kiln_gce::compute::{At, collection};
use kiln_gce::{Client, GceError};
use kiln_testkit::Compute;
use kiln_testkit::compute::{Cut, Faults, OperationError, PROJECT, When, ZONE};

use crate::{client, instance, never, zone};

const LIMIT: Duration = Duration::from_secs(60);

fn make(client: &Client, name: &str, cancelled: &dyn Fn() -> bool) -> Result<(), GceError> {
    let place = collection(PROJECT, &zone(), "instances");
    let ask = Ask::post(place, instance(name, "b-1"), format!("instance {name}"));
    let operation = client.begin(ask, PROJECT, &zone(), cancelled)?;
    client.wait(operation, LIMIT, cancelled)
}

#[test]
fn what_is_made_is_there_and_what_is_deleted_is_gone() {
    let double = Compute::start();
    let client = client(&double);
    make(&client, "i-1", &never).unwrap();
    let found = client.instance(PROJECT, ZONE, "i-1", &never).unwrap().unwrap();
    assert_eq!((&*found.status, &*found.labels["kiln-build"]), ("RUNNING", "b-1"));
    assert_eq!(double.left().len(), 2);
    assert!(client.delete(PROJECT, &zone(), ("instance", "i-1"), LIMIT, &never).unwrap());
    assert!(client.delete(PROJECT, &zone(), ("disk", "i-1"), LIMIT, &never).unwrap());
    assert!(!client.delete(PROJECT, &zone(), ("disk", "i-1"), LIMIT, &never).unwrap());
    assert!(double.left().is_empty(), "{:?}", double.left());
}

#[test]
fn a_lost_answer_makes_nothing_twice() {
    for when in [When::Before, When::After] {
        let double = Compute::with(Faults { cut: Some(Cut { at: 1, when, lasting: false }), ..Faults::default() });
        make(&client(&double), "i-1", &never).unwrap();
        let inserts = double.trace().iter().filter(|call| call.action == "instances.insert").count();
        assert_eq!((inserts, double.asked_instances().len()), (2, 1), "{when:?}");
    }
}

#[test]
fn a_service_that_is_asked_too_often_is_asked_again() {
    let double = Compute::with(Faults { throttled: vec![1, 2], ..Faults::default() });
    make(&client(&double), "i-1", &never).unwrap();
    assert_eq!(double.trace()[..3].iter().map(|c| c.status).collect::<Vec<_>>(), [403, 403, 200]);
}

#[test]
fn refusals_are_told_in_the_services_words_with_what_to_do() {
    let forbidden = Faults { forbidden: vec!["instances.insert".to_owned()], ..Faults::default() };
    let error = make(&client(&Compute::with(forbidden)), "i-1", &never).unwrap_err();
    let text = "instance i-1: HTTP 403 forbidden: Required 'instances.insert' permission for 'i-1'";
    assert_eq!(error.to_string(), text);
    assert!(error.hint().unwrap().contains("compute.instanceAdmin.v1") && error.made_nothing());

    let fault = OperationError {
        action: "instances.insert".to_owned(),
        code: "QUOTA_EXCEEDED".to_owned(),
        message: "Quota 'CPUS' exceeded.  Limit: 24.0 in region europe-west1.".to_owned(),
        times: u32::MAX,
    };
    let double = Compute::with(Faults { operation: Some(fault), ..Faults::default() });
    let error = make(&client(&double), "i-1", &never).unwrap_err();
    assert!(error.to_string().starts_with("instance i-1: QUOTA_EXCEEDED: Quota 'CPUS' exceeded."), "{error}");
    assert!(error.hint().unwrap().contains("Quotas") && !error.made_nothing());

    let double = Compute::start();
    double.add_instance("i-1");
    let error = make(&client(&double), "i-1", &never).unwrap_err();
    assert!(error.is_taken() && error.made_nothing() && error.hint().unwrap().contains("another name"), "{error}");
}

#[test]
fn a_wish_to_stop_ends_a_wait_that_would_have_no_end() {
    let double = Compute::with(Faults { stuck: Some("insert"), ..Faults::default() });
    let client = client(&double);
    let asked = Cell::new(0);
    let place = collection(PROJECT, &zone(), "instances");
    let ask = Ask::post(place, instance("i-1", "b-1"), "instance i-1");
    let operation = client.begin(ask, PROJECT, &zone(), &never).unwrap();
    let cancelled = || {
        asked.set(asked.get() + 1);
        asked.get() > 5
    };
    let error = client.wait(operation, Duration::from_secs(3600), &cancelled).unwrap_err();
    assert!(error.is_cancelled(), "{error}");
    let before = double.trace().len();
    assert!(client.image(PROJECT, "x", &|| true).unwrap_err().is_cancelled());
    assert_eq!(double.trace().len(), before);
}

#[test]
fn what_never_ends_is_given_up_when_its_time_is_over() {
    let double = Compute::with(Faults { stuck: Some("insert"), ..Faults::default() });
    let client = client(&double);
    let ask = Ask::post(collection(PROJECT, &zone(), "instances"), instance("i-1", "b-1"), "instance i-1");
    let operation = client.begin(ask, PROJECT, &zone(), &never).unwrap();
    let error = client.wait(operation, Duration::from_millis(200), &never).unwrap_err();
    assert!(matches!(error, GceError::Late { .. }), "{error}");
}

#[test]
fn metadata_is_written_over_nobody_elses_change() {
    let double = Compute::with(Faults { stale: 2, ..Faults::default() });
    let client = client(&double);
    make(&client, "i-1", &never).unwrap();
    let at = At { project: PROJECT, zone: ZONE, name: "i-1" };
    let values = [("ssh-keys".to_owned(), "root:ssh-ed25519 AAAA root".to_owned())];
    client.add_metadata(&at, &values, LIMIT, &never).unwrap();
    let written: Vec<u16> =
        double.trace().iter().filter(|c| c.action == "instances.setMetadata").map(|c| c.status).collect();
    assert_eq!(written, [412, 412, 200]);
    let found = client.instance(PROJECT, ZONE, "i-1", &never).unwrap().unwrap();
    assert_eq!(found.metadata("ssh-keys"), Some("root:ssh-ed25519 AAAA root"));
}

#[test]
fn what_still_holds_a_disk_is_waited_for() {
    let double = Compute::with(Faults { in_use: 2, ..Faults::default() });
    let client = client(&double);
    make(&client, "i-1", &never).unwrap();
    // Deleted, but nobody has asked whether that is done.
    let place = format!("{}/i-1", collection(PROJECT, &zone(), "instances"));
    client.begin(Ask::delete(place, "instance i-1"), PROJECT, &zone(), &never).unwrap();
    let short = Duration::from_millis(1);
    let error = client.delete(PROJECT, &zone(), ("disk", "i-1"), short, &never).unwrap_err();
    assert!(error.is_in_use() && error.to_string().contains("already being used by"), "{error}");
    assert_eq!(double.left(), Vec::<String>::from([format!("projects/{PROJECT}/zones/{ZONE}/disks/i-1")]));
    assert!(client.delete(PROJECT, &zone(), ("disk", "i-1"), LIMIT, &never).unwrap());
    assert!(double.left().is_empty());
}

#[test]
fn a_key_is_imported_and_taken_away() {
    let double = Compute::with(Faults { busy: 2, ..Faults::default() });
    let client = client(&double);
    let account = client.who(&never).unwrap();
    assert_eq!(client.import_key(&account, "ssh-ed25519 AAAA kiln", None, &never).unwrap(), "root");
    let left = double.left();
    let fingerprint = left[0].strip_prefix("ssh-key ").unwrap();
    assert!(client.remove_key(&account, fingerprint, &never).unwrap());
    assert!(!client.remove_key(&account, fingerprint, &never).unwrap());
}
