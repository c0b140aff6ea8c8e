//! Books that were cut, written by others, or are none.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;

use kiln_ledger::{Found, LedgerError};

use crate::{Desk, about, chmod, open, resource};

fn append(desk: &Desk, text: &[u8]) {
    fs::OpenOptions::new().append(true).open(desk.file("b")).unwrap().write_all(text).unwrap();
}

/// A desk with the book of a build that ended with a VPC open.
fn ended() -> Desk {
    let desk = Desk::new();
    desk.ledger().begin(about("b")).unwrap().intend(resource("vpc", "v")).unwrap();
    desk
}

fn only(desk: &Desk) -> Found {
    let mut books = desk.ledger().books().unwrap();
    assert_eq!(books.len(), 1, "{books:?}");
    books.remove(0)
}

#[test]
fn a_torn_last_line_does_not_count_and_the_next_is_not_its_end() {
    let desk = ended();
    append(&desk, br#"{"intend":{"entry":2,"resource":{"cloud":"c","ki"#);
    let ledger = desk.ledger();
    assert_eq!((open(&ledger), only(&desk).damaged), (vec!["vpc v -".to_owned()], None));
    let book = ledger.reopen("b").unwrap();
    book.intend(resource("disk", "d")).unwrap();
    drop(book);
    assert_eq!((open(&ledger), only(&desk).damaged), (vec!["disk d -".to_owned(), "vpc v -".to_owned()], None));
}

#[test]
fn a_torn_strike_leaves_its_resource_open_wherever_it_was_cut() {
    let desk = ended();
    let ledger = desk.ledger();
    let before = fs::read(desk.file("b")).unwrap();
    let book = ledger.reopen("b").unwrap();
    let (entry, _) = book.open().remove(0);
    book.strike(&entry).unwrap();
    drop(book);
    let after = fs::read(desk.file("b")).unwrap();
    for cut in before.len()..after.len() {
        fs::write(desk.file("b"), &after[..cut]).unwrap();
        assert_eq!(open(&ledger), ["vpc v -"], "cut at {cut}");
        drop(ledger.reopen("b").unwrap());
        assert_eq!(fs::read(desk.file("b")).unwrap(), before, "cut at {cut}");
    }
}

#[test]
fn a_foreign_line_is_told_and_keeps_the_file_but_not_the_rest_from_being_deleted() {
    let desk = ended();
    append(&desk, b"hello\n");
    let found = only(&desk);
    assert_eq!(found.damaged.as_deref(), Some("line 3: it is not a line of a book"));
    assert_eq!(found.open.len(), 1);
    let book = desk.ledger().reopen("b").unwrap();
    for (entry, _) in book.open() {
        book.strike(&entry).unwrap();
    }
    let error = book.close().unwrap_err();
    assert!(error.to_string().ends_with("is damaged: line 3: it is not a line of a book"), "{error}");
    assert!(desk.file("b").exists());
}

#[test]
fn a_book_that_was_begun_by_a_process_that_died_is_no_book() {
    let desk = ended();
    let whole = fs::read(desk.file("b")).unwrap();
    let head = whole.iter().position(|&byte| byte == b'\n').unwrap();
    for cut in [0, 1, head] {
        fs::write(desk.file("b"), &whole[..cut]).unwrap();
        assert!(desk.ledger().books().unwrap().is_empty(), "cut at {cut}");
        assert!(!desk.file("b").exists());
    }
}

#[test]
fn a_foreign_head_is_told_and_the_file_left_alone() {
    let desk = ended();
    let own = fs::read_to_string(desk.file("b")).unwrap();
    let table = [
        ("hello\nworld\n".to_owned(), "line 1: it is not the head of a book of Kiln's"),
        (own.replace("\"ledger\":1", "\"ledger\":2"), "line 1: its version is 2, and this Kiln reads 1"),
        (own.replace("\"build\":\"b\"", "\"build\":\"../b\""), "it is the book of another build"),
    ];
    for (text, why) in table {
        fs::write(desk.file("b"), &text).unwrap();
        let found = only(&desk);
        assert_eq!((found.damaged.as_deref(), found.open.len(), &*found.about.build), (Some(why), 0, "b"));
        let error = desk.ledger().reopen("b").unwrap_err();
        assert!(error.to_string().ends_with(&format!("is damaged: {why}")), "{error}");
        assert_eq!(fs::read_to_string(desk.file("b")).unwrap(), text);
    }
}

#[test]
fn what_others_can_write_is_not_believed() {
    let desk = ended();
    let told = |why: &str| {
        let found = only(&desk);
        assert!(found.damaged.as_ref().is_some_and(|damaged| damaged.contains(why)), "{why}: {found:?}");
        assert!(found.open.is_empty());
        assert!(desk.ledger().reopen("b").is_err());
    };
    chmod(&desk.file("b"), 0o620);
    told("others may write it");
    chmod(&desk.file("b"), 0o600);
    assert_eq!(only(&desk).damaged, None);

    let elsewhere = desk.root.path().join("elsewhere");
    fs::rename(desk.file("b"), &elsewhere).unwrap();
    symlink(&elsewhere, desk.file("b")).unwrap();
    told("cannot open");
    fs::remove_file(desk.file("b")).unwrap();

    // Nobody waits for the other end of a pipe.
    let pipe = desk.file("b");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    told("it is not a file");
    fs::remove_file(&pipe).unwrap();

    fs::create_dir(&pipe).unwrap();
    told("cannot open");
    fs::remove_dir(&pipe).unwrap();

    fs::File::create(&pipe).unwrap().set_len(17 << 20).unwrap();
    told("it is larger than any book");
}

#[test]
fn names_lead_nowhere_else_and_other_files_are_left_alone() {
    let desk = Desk::new();
    let ledger = desk.ledger();
    for name in ["", ".", "..", "../b", "/b", "b/c", "-b", "b.jsonl", "b\0", "ü", &"b".repeat(65)] {
        for error in [ledger.begin(about(name)).unwrap_err(), ledger.reopen(name).unwrap_err()] {
            assert!(matches!(error, LedgerError::Name(_)), "{name}: {error}");
        }
    }
    ledger.begin(about(&"b".repeat(64))).unwrap().close().unwrap();
    for other in ["notes.txt", "b.jsonl~", ".b.jsonl", "b c.jsonl"] {
        fs::write(desk.dir().join(other), "mine").unwrap();
    }
    assert!(ledger.books().unwrap().is_empty());
    assert_eq!(fs::read(desk.dir().join("notes.txt")).unwrap(), b"mine");
}
