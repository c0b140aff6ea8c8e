//! One book, from its beginning to its end.

use std::fs;

use kiln_ledger::{Ledger, LedgerError};

use crate::{Desk, about, chmod, line, mode, open, resource};

#[test]
fn what_is_intended_is_in_the_file_before_the_call_returns_and_struck_out_after() {
    let desk = Desk::new();
    let ledger = desk.ledger();
    let book = ledger.begin(about("b-1")).unwrap();
    assert_eq!((book.build(), book.about()), ("b-1", &about("b-1")));
    let lines = || fs::read_to_string(desk.file("b-1")).unwrap().lines().count();
    let disk = book.intend(resource("disk", "d")).unwrap();
    assert_eq!(lines(), 2);
    let instance = book.intend(resource("instance", "i")).unwrap();
    book.made(&instance, "4711").unwrap();
    assert_eq!(lines(), 4);
    assert_eq!(open(&ledger), ["instance i 4711", "disk d -"]);
    let told: Vec<String> = book.open().iter().map(|(_, resource)| line(resource)).collect();
    assert_eq!(told, ["instance i 4711", "disk d -"]);
    book.strike(&instance).unwrap();
    assert_eq!(open(&ledger), ["disk d -"]);
    for error in [book.strike(&instance).unwrap_err(), book.made(&instance, "x").unwrap_err()] {
        assert!(matches!(error, LedgerError::NoSuchEntry { entry: 2, .. }), "{error}");
    }
    book.strike(&disk).unwrap();
    assert!(book.open().is_empty());
    book.close().unwrap();
    assert!(!desk.file("b-1").exists());
    assert!(ledger.books().unwrap().is_empty());
}

#[test]
fn a_book_with_something_open_stays_and_is_taken_up_where_it_ended() {
    let desk = Desk::new();
    let ledger = desk.ledger();
    let book = ledger.begin(about("b-1")).unwrap();
    book.intend(resource("disk", "d")).unwrap();
    book.close().unwrap();
    let book = ledger.reopen("b-1").unwrap();
    let image = book.intend(resource("image", "m")).unwrap();
    drop(book);
    assert_eq!(open(&ledger), ["image m -", "disk d -"]);
    let book = ledger.reopen("b-1").unwrap();
    book.strike(&image).unwrap();
    for (entry, _) in book.open() {
        book.strike(&entry).unwrap();
    }
    book.close().unwrap();
    let error = ledger.reopen("b-1").unwrap_err();
    assert!(matches!(error, LedgerError::NoSuchBuild { .. }), "{error}");
}

#[test]
fn each_build_has_one_book_and_books_come_oldest_first() {
    let desk = Desk::new();
    let ledger = desk.ledger();
    for (build, began) in [("b", "2026-01-03T00:00:00Z"), ("c", "2026-01-01T00:00:00Z"), ("a", "2026-01-02T00:00:00Z")]
    {
        let mut about = about(build);
        about.began = began.to_owned();
        ledger.begin(about).unwrap().intend(resource("vpc", build)).unwrap();
    }
    let builds: Vec<String> = ledger.books().unwrap().into_iter().map(|found| found.about.build).collect();
    assert_eq!(builds, ["c", "a", "b"]);
    let error = ledger.begin(about("a")).unwrap_err();
    assert!(matches!(error, LedgerError::Exists { .. }), "{error}");
    assert_eq!(ledger.books().unwrap().len(), 3);
}

#[test]
fn only_the_owner_reads_it() {
    let desk = Desk::new();
    let ledger = desk.ledger();
    let book = ledger.begin(about("b")).unwrap();
    book.intend(resource("vpc", "v")).unwrap();
    assert_eq!(mode(&desk.dir()), 0o700);
    assert_eq!(mode(&desk.file("b")), 0o600);
    chmod(&desk.dir(), 0o770);
    let error = Ledger::open(&desk.dir()).unwrap_err().to_string();
    assert!(error.ends_with("cannot be trusted: others may write it"), "{error}");
    chmod(&desk.dir(), 0o755);
    Ledger::open(&desk.dir()).unwrap();
}

#[test]
fn several_threads_write_one_book() {
    let desk = Desk::new();
    let ledger = desk.ledger();
    let book = ledger.begin(about("b")).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let book = &book;
            scope.spawn(move || {
                for n in 0..8 {
                    let entry = book.intend(resource("eip", &format!("{thread}-{n}"))).unwrap();
                    book.made(&entry, &format!("id-{thread}-{n}")).unwrap();
                    if n % 2 == 0 {
                        book.strike(&entry).unwrap();
                    }
                }
            });
        }
    });
    let found = &ledger.books().unwrap()[0];
    assert_eq!((found.open.len(), found.damaged.as_deref()), (32, None));
    for resource in &found.open {
        assert_eq!(resource.id.as_deref(), Some(&*format!("id-{}", resource.name)));
    }
}

#[test]
fn what_is_too_long_to_be_read_again_is_not_written() {
    let desk = Desk::new();
    let ledger = desk.ledger();
    let book = ledger.begin(about("b")).unwrap();
    let error = book.intend(resource("vpc", &"v".repeat(70_000))).unwrap_err();
    assert!(matches!(error, LedgerError::Line { .. }), "{error}");
    book.intend(resource("vpc", "v")).unwrap();
    assert_eq!(open(&ledger), ["vpc v -"]);
    let mut long = about("c");
    long.name = "n".repeat(70_000);
    assert!(matches!(ledger.begin(long), Err(LedgerError::Line { .. })));
    assert!(!desk.file("c").exists());
}
