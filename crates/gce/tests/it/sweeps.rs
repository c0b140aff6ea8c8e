//! What a ledger has open, and what carries a mark.

use std::time::Duration;

use kiln_gce::client::Ask;
use kiln_gce::compute::collection;
use kiln_gce::marks::{Thing, resource};
use kiln_gce::sweep::{Account, remembered};
use kiln_gce::{Credentials, Environment, Source, account};
use kiln_ledger::sweep::{Cloud, Gone, sweep};
use kiln_testkit::Compute;
use kiln_testkit::compute::{Faults, PROJECT};

use crate::{book, client, endpoints, instance, never, zone};

fn make(double: &Compute, name: &str, build: &str) {
    let client = client(double);
    let ask = Ask::post(collection(PROJECT, &zone(), "instances"), instance(name, build), "instance");
    let operation = client.begin(ask, PROJECT, &zone(), &never).unwrap();
    client.wait(operation, Duration::from_secs(60), &never).unwrap();
}

fn thing<'a>(kind: &'a str, name: &'a str, scope: &'a kiln_gce::Scope) -> Thing<'a> {
    Thing { kind, name, project: PROJECT, scope }
}

#[test]
fn what_a_book_has_open_is_deleted_with_credentials_that_are_found_later() {
    let double = Compute::with(Faults { in_use: 1, ..Faults::default() });
    let dir = tempfile::tempdir().unwrap();
    make(&double, "i-1", "b-1");
    let book = book(dir.path(), "b-1");
    for kind in ["disk", "instance"] {
        book.intend(resource(thing(kind, "i-1", &zone()), "b-1")).unwrap();
    }
    // Nothing came of this one.
    book.intend(resource(thing("disk", "never-made", &zone()), "b-1")).unwrap();
    let credentials = Credentials { source: Source::File(double.account()), impersonate: None };
    let about = remembered(PROJECT, &credentials, &endpoints(&double));
    let cloud = account(&about, Environment::empty()).unwrap();
    let left = sweep(&book, &*cloud, &never);
    assert!(left.is_empty() && book.open().is_empty(), "{left:?}");
    assert!(double.left().is_empty(), "{:?}", double.left());
    book.close().unwrap();
}

#[test]
fn what_somebody_else_made_under_the_same_name_stays() {
    let double = Compute::start();
    make(&double, "i-1", "another");
    let cloud = Account::new(client(&double), PROJECT);
    let error = cloud.delete(&resource(thing("instance", "i-1", &zone()), "b-1"), &never).unwrap_err();
    assert!(error.message.contains("not marked with kiln-build=b-1"), "{error}");
    assert_eq!(double.left().len(), 2);
    let gone = cloud.delete(&resource(thing("instance", "i-2", &zone()), "b-1"), &never).unwrap();
    assert_eq!(gone, Gone::WasNotThere);
}

#[test]
fn leftovers_are_found_by_their_mark() {
    let double = Compute::start();
    make(&double, "i-1", "b-1");
    make(&double, "i-2", "b-2");
    double.add_instance("stranger");
    let cloud = Account::new(client(&double), PROJECT);
    let names = |build: Option<&str>| {
        let found = cloud.find(build).unwrap();
        found.iter().map(|r| format!("{} {}", r.kind, r.name)).collect::<Vec<_>>()
    };
    assert_eq!(names(Some("b-2")), ["instance i-2", "disk i-2"]);
    assert_eq!(names(None), ["instance i-1", "instance i-2", "disk i-1", "disk i-2"]);
    assert!(names(Some("b\" OR labels.x=*")).is_empty());
    for found in cloud.find(None).unwrap() {
        assert_eq!(cloud.delete(&found, &never).unwrap(), Gone::Deleted);
    }
    assert!(double.left().is_empty(), "{:?}", double.left());
}
