//! Sweeps, with a cloud that is a list.

use std::collections::BTreeSet;
use std::sync::Mutex;

use kiln_ledger::sweep::{Cloud, Gone, SweepError, sweep};
use kiln_ledger::{Ledger, Resource};

use crate::{Desk, about, open, resource};

/// Has names, and some that it does not let go.
struct List {
    there: Mutex<BTreeSet<String>>,
    stuck: BTreeSet<String>,
    asked: Mutex<Vec<String>>,
}

impl List {
    fn new(there: &[&str], stuck: &[&str]) -> List {
        let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        List { there: Mutex::new(set(there)), stuck: set(stuck), asked: Mutex::default() }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Cloud for List {
    fn delete(&self, resource: &Resource, _: &dyn Fn() -> bool) -> Result<Gone, SweepError> {
        self.asked.lock().unwrap().push(resource.name.clone());
        if self.stuck.contains(&resource.name) {
            return Err(SweepError { message: "it is in use".to_owned(), hint: Some("stop it".to_owned()) });
        }
        Ok(if self.there.lock().unwrap().remove(&resource.name) { Gone::Deleted } else { Gone::WasNotThere })
    }

    fn find(&self, _: Option<&str>) -> Result<Vec<Resource>, SweepError> {
        Ok(self.there.lock().unwrap().iter().map(|name| resource("vpc", name)).collect())
    }

    fn rank(&self, kind: &str) -> usize {
        usize::from(kind == "key")
    }
}

fn with_three() -> (Desk, Ledger) {
    let desk = Desk::new();
    let ledger = desk.ledger();
    let book = ledger.begin(about("b")).unwrap();
    for (kind, name) in [("vpc", "v"), ("vswitch", "s"), ("instance", "i")] {
        book.intend(resource(kind, name)).unwrap();
    }
    (desk, ledger)
}

#[test]
fn all_is_deleted_newest_first_also_what_was_never_made() {
    let (desk, ledger) = with_three();
    let cloud = List::new(&["v", "s"], &[]);
    let book = ledger.reopen("b").unwrap();
    assert_eq!(sweep(&book, &cloud, &|| false), []);
    assert_eq!(cloud.asked(), ["i", "s", "v"]);
    assert_eq!(cloud.find(None).unwrap(), []);
    book.close().unwrap();
    assert!(!desk.file("b").exists());
}

#[test]
fn what_has_a_rank_waits_for_what_comes_before_it() {
    let desk = Desk::new();
    let book = desk.ledger().begin(about("b")).unwrap();
    for (kind, name) in [("vpc", "v"), ("key", "k1"), ("vswitch", "s"), ("key", "k2")] {
        book.intend(resource(kind, name)).unwrap();
    }
    let cloud = List::new(&["v"], &[]);
    assert_eq!(sweep(&book, &cloud, &|| false), []);
    assert_eq!(cloud.asked(), ["s", "v", "k2", "k1"]);
}

#[test]
fn a_failure_is_told_with_its_resource_and_stays_for_the_next_time() {
    let (_desk, ledger) = with_three();
    let cloud = List::new(&["v", "s", "i"], &["s"]);
    let book = ledger.reopen("b").unwrap();
    let left = sweep(&book, &cloud, &|| false);
    assert_eq!(left.len(), 1);
    assert_eq!((&*left[0].0.name, &*left[0].1.to_string()), ("s", "it is in use (stop it)"));
    book.close().unwrap();
    assert_eq!(cloud.asked(), ["i", "s", "v"]);
    assert_eq!(open(&ledger), ["vswitch s -"]);

    let cloud = List::new(&["s"], &[]);
    let book = ledger.reopen("b").unwrap();
    assert_eq!(sweep(&book, &cloud, &|| false), []);
    assert_eq!(cloud.asked(), ["s"]);
}

#[test]
fn after_a_cancel_nothing_more_is_deleted_and_all_of_it_is_told() {
    let (_desk, ledger) = with_three();
    let cloud = List::new(&["v", "s", "i"], &[]);
    let book = ledger.reopen("b").unwrap();
    let left = sweep(&book, &cloud, &|| cloud.asked().len() == 1);
    let names: Vec<&str> = left.iter().map(|(resource, _)| &*resource.name).collect();
    assert_eq!(names, ["s", "v"]);
    assert_eq!(left[0].1.message, "cancelled before it was deleted");
    drop(book);
    assert_eq!(open(&ledger), ["vswitch s -", "vpc v -"]);
}
