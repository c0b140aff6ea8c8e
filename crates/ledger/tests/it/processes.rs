//! Several processes, and ones that are killed.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use kiln_ledger::{Ledger, LedgerError};

use crate::{Desk, about, line, resource};

/// Tells the child below what to do.
const WHERE: &str = "KILN_TEST_LEDGER";

/// Not a test of its own: what the others start as another process. It writes down one thing after the other, and says
/// each time that it was written.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(WHERE).map(PathBuf::from) else { return };
    let book = Ledger::open(&dir).unwrap().begin(about(&std::process::id().to_string())).unwrap();
    for n in 0_u64.. {
        let entry = book.intend(resource("instance", &n.to_string())).unwrap();
        println!("\nwritten {n}");
        book.made(&entry, &format!("id-{n}")).unwrap();
        if n % 3 == 2 {
            book.strike(&entry).unwrap();
        }
    }
}

struct Writer {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Writer {
    fn start(dir: &Path) -> Writer {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "processes::child", "--nocapture"]).env(WHERE, dir);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Writer { child, said }
    }

    /// The next number that was written down; `None` when it died.
    fn next(&mut self) -> Option<u64> {
        loop {
            let mut line = String::new();
            if self.said.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if let Some(n) = line.trim().strip_prefix("written ") {
                return Some(n.parse().unwrap());
            }
        }
    }

    fn build(&self) -> String {
        self.child.id().to_string()
    }

    /// Kills it, and gives the last number that it said.
    fn kill(mut self) -> u64 {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::iter::from_fn(|| self.next()).last().unwrap_or(0)
    }
}

#[test]
fn a_build_at_work_is_left_alone_and_a_killed_one_is_not() {
    let desk = Desk::new();
    let ledger = desk.ledger();
    let mut writers = [Writer::start(&desk.dir()), Writer::start(&desk.dir())];
    for writer in &mut writers {
        assert_eq!(writer.next(), Some(0));
    }
    let books = ledger.books().unwrap();
    assert!(books.len() == 2 && books.iter().all(|found| found.alive && found.damaged.is_none()), "{books:?}");
    for writer in &writers {
        let error = ledger.reopen(&writer.build()).unwrap_err();
        assert!(matches!(error, LedgerError::Alive { .. }), "{error}");
    }
    let [first, second] = writers;
    let build = first.build();
    first.kill();
    let alive: Vec<(bool, bool)> =
        ledger.books().unwrap().iter().map(|found| (found.about.build == build, found.alive)).collect();
    assert!(alive.contains(&(true, false)) && alive.contains(&(false, true)), "{alive:?}");
    let book = ledger.reopen(&build).unwrap();
    assert!(!book.open().is_empty());
    second.kill();
}

#[test]
fn whatever_was_written_down_is_read_again_wherever_the_process_was_killed() {
    for round in 0..12 {
        let desk = Desk::new();
        let mut writer = Writer::start(&desk.dir());
        for _ in 0..=round {
            writer.next().unwrap();
        }
        let build = writer.build();
        let last = writer.kill().max(round);
        let found = desk.ledger().books().unwrap().remove(0);
        assert_eq!((found.alive, found.damaged.as_deref()), (false, None));
        let told: Vec<String> = found.open.iter().rev().map(line).collect();
        // All that were said to be written: but every third, which may be struck out if it is the last.
        for n in (0..=last).filter(|n| n % 3 != 2) {
            let resource = told.iter().find(|line| line.starts_with(&format!("instance {n} ")));
            let made = n < last;
            assert!(
                resource.is_some_and(|line| !made || line.ends_with(&format!(" id-{n}"))),
                "{n} of {last}: {told:?}"
            );
        }
        let book = desk.ledger().reopen(&build).unwrap();
        for (entry, _) in book.open() {
            book.strike(&entry).unwrap();
        }
        book.close().unwrap();
        assert!(!desk.file(&build).exists());
    }
}

#[test]
fn two_that_want_the_same_book_get_it_one_after_the_other() {
    let desk = Desk::new();
    let ledger = desk.ledger();
    ledger.begin(about("b")).unwrap().intend(resource("vpc", "v")).unwrap();
    let first = ledger.reopen("b").unwrap();
    assert!(matches!(desk.ledger().reopen("b"), Err(LedgerError::Alive { .. })));
    assert!(ledger.books().unwrap()[0].alive);
    drop(first);
    desk.ledger().reopen("b").unwrap();
}

#[test]
fn a_look_at_books_never_takes_one_from_who_wants_it() {
    let desk = Desk::new();
    let ledger = desk.ledger();
    ledger.begin(about("b")).unwrap().intend(resource("vpc", "v")).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let books = desk.ledger().books().unwrap();
                    assert_eq!(books.len(), 1);
                }
            });
        }
        for _ in 0..50 {
            drop(ledger.reopen("b").unwrap());
        }
    });
}
