//! Books on a disk: written, read again, by several processes, by ones that are killed, on disks that are full.

mod books;
mod full;
mod hostile;
mod processes;
mod sweeps;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kiln_ledger::{About, Ledger, Resource};

/// A directory for one test, and the ledger in it.
struct Desk {
    root: tempfile::TempDir,
}

impl Desk {
    fn new() -> Desk {
        Desk { root: tempfile::tempdir().unwrap() }
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join("state/node-builds")
    }

    fn ledger(&self) -> Ledger {
        Ledger::open(&self.dir()).unwrap()
    }

    fn file(&self, build: &str) -> PathBuf {
        self.dir().join(format!("{build}.jsonl"))
    }
}

fn about(build: &str) -> About {
    About {
        build: build.to_owned(),
        cloud: "googlecompute".to_owned(),
        name: "googlecompute.node".to_owned(),
        account: BTreeMap::from([("project".to_owned(), "p".to_owned())]),
        began: "2026-01-02T03:04:05Z".to_owned(),
    }
}

fn resource(kind: &str, name: &str) -> Resource {
    Resource {
        cloud: "googlecompute".to_owned(),
        kind: kind.to_owned(),
        name: name.to_owned(),
        id: None,
        scope: BTreeMap::from([("zone".to_owned(), "z".to_owned())]),
        delete: format!("DELETE …/{kind}s/{name}"),
    }
}

/// What the only book of a ledger has open, newest first: `kind name id`.
fn open(ledger: &Ledger) -> Vec<String> {
    let books = ledger.books().unwrap();
    assert_eq!(books.len(), 1, "{books:?}");
    books[0].open.iter().map(line).collect()
}

fn line(resource: &Resource) -> String {
    format!("{} {} {}", resource.kind, resource.name, resource.id.as_deref().unwrap_or("-"))
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
