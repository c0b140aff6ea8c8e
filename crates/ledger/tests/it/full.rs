//! Disks that are full.

use std::fs;
use std::path::Path;
use std::process::Command;

use kiln_ledger::{Ledger, LedgerError};

use crate::{about, open, resource};

/// Runs the rest of a test in a mount namespace of its own, by starting it again there; `true` there.
fn in_mount_namespace(test: &str) -> bool {
    const MARK: &str = "KILN_TEST_NAMESPACE";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--"]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(MARK, "1");
    let said = command.output().expect("unshare, of the package util-linux");
    let text = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && text.contains("1 passed"), "{text}");
    false
}

/// Takes all room that is left.
fn fill(dir: &Path) {
    let mut size = 1 << 20;
    let mut n = 0;
    while size > 0 {
        match fs::write(dir.join(format!("filler-{n}")), vec![0; size]) {
            Ok(()) => n += 1,
            Err(_) => {
                let _ = fs::remove_file(dir.join(format!("filler-{n}")));
                size /= 2;
            }
        }
    }
}

fn make_room(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("filler-") {
            fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn nothing_is_made_that_could_not_be_written_down() {
    if !in_mount_namespace("full::nothing_is_made_that_could_not_be_written_down") {
        return;
    }
    let disk = tempfile::tempdir().unwrap();
    let options = ["-t", "tmpfs", "-o", "size=256k,mode=700", "kiln-test"];
    let mount = Command::new("mount").args(options).arg(disk.path()).output().unwrap();
    assert!(mount.status.success(), "{}", String::from_utf8_lossy(&mount.stderr));
    let dir = disk.path().join("books");
    let ledger = Ledger::open(&dir).unwrap();
    let book = ledger.begin(about("b")).unwrap();
    let first = book.intend(resource("vpc", "first")).unwrap();
    fill(disk.path());

    // What fits into the last page of the file is written, what does not is not.
    let mut written = vec!["vpc first -".to_owned()];
    let error = loop {
        let name = format!("n{}", written.len());
        match book.intend(resource("eip", &name)) {
            Ok(_) => written.insert(0, format!("eip {name} -")),
            Err(error) => break error,
        }
        assert!(written.len() < 1000, "the disk is never full");
    };
    let said = error.to_string();
    assert!(said.contains(&format!("the eip n{} before making it was not written down: ", written.len())), "{said}");
    assert!(matches!(error, LedgerError::File { what: "write", .. }), "{error:?}");
    assert_eq!(open(&ledger), written);
    let found = ledger.books().unwrap().remove(0);
    assert_eq!(found.damaged, None);

    // Another build cannot begin, and leaves nothing behind that is no book.
    let begun = ledger.begin(about("c"));
    assert!(matches!(begun, Err(LedgerError::File { .. })), "{begun:?}");
    assert_eq!(ledger.books().unwrap().len(), 1);

    make_room(disk.path());
    book.strike(&first).unwrap();
    book.intend(resource("disk", "later")).unwrap();
    written.pop();
    written.insert(0, "disk later -".to_owned());
    assert_eq!(open(&ledger), written);
    drop(book);
    assert_eq!(ledger.reopen("b").unwrap().open().len(), written.len());
}
