//! Locks and crashes between processes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kiln_oci::Digest;
use kiln_store::{ErrorKind, Kind, PrunePolicy, Store, StoreError};

use crate::child::Other;
use crate::{again, names, store};

#[test]
fn a_lock_holds_between_processes_and_ends_with_them() {
    let (_dir, store) = store();
    let mut other = Other::start("holds_a_lock", store.dir());
    other.wait_for("locked");
    assert!(store.try_lock("a/../name").unwrap().is_none());
    let asked = AtomicUsize::new(0);
    let error = store.lock("a/../name", &|| asked.fetch_add(1, Ordering::Relaxed) == 3).unwrap_err();
    assert!(matches!(&error, StoreError::LockCancelled { name } if name == "a/../name"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    drop(store.try_lock("another").unwrap().unwrap());
    other.go_on();
    other.wait_for("released");
    drop(store.lock("a/../name", &|| false).unwrap());
    other.finish();

    let mut other = Other::start("holds_a_lock", store.dir());
    other.wait_for("locked");
    other.kill();
    drop(store.lock("a/../name", &|| false).unwrap());
    assert_eq!(names(&store.dir().join("kiln/locks")), ["gc", "refs"], "the files of free locks are gone");
}

#[test]
fn a_lock_lets_one_thread_in() {
    let (_dir, store) = store();
    let inside = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let (store, inside) = (again(&store), &inside);
            scope.spawn(move || {
                for _ in 0..50 {
                    let guard = store.lock("step", &|| false).unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    std::thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(guard);
                }
            });
        }
    });
}

#[test]
fn killed_writers_leave_nothing_but_what_pruning_removes() {
    let (_dir, store) = store();
    for round in 0..8 {
        let mut other = Other::start("writes_until_killed", store.dir());
        other.wait_for("started");
        std::thread::sleep(Duration::from_millis(7 * round + 3));
        other.kill();
        let store = Store::open(store.dir()).unwrap();
        let report = store.fsck(false).unwrap();
        assert!(report.problems.is_empty(), "{report:?}");
        for named in store.list_refs().unwrap() {
            let bytes = store.read_blob(&named.descriptor.digest, 1 << 20).unwrap();
            assert_eq!(bytes.len() as u64, named.descriptor.size);
        }
        for entry in store.cache_list("step").unwrap() {
            assert_eq!(entry.size, 3000);
        }
        assert!(store.take_warnings().is_empty());
    }
    store.prune(&PrunePolicy { filters: vec!["type=temp".parse().unwrap()], ..PrunePolicy::default() }).unwrap();
    assert!(names(&store.dir().join("kiln/tmp")).is_empty());
    assert!(store.fsck(false).unwrap().problems.is_empty());
}

#[test]
fn files_of_living_processes_are_not_taken_for_leftovers() {
    let (_dir, store) = store();
    let other = again(&store);
    let draft = store.begin_snapshot().unwrap();
    let mut blob = store.blob_writer().unwrap();
    std::io::Write::write_all(&mut blob, b"in the making").unwrap();
    assert!(other.prune(&PrunePolicy::default()).unwrap().removed.is_empty());
    assert!(other.du().unwrap().kinds.iter().all(|k| k.kind != Kind::Temp));
    assert!(draft.fs().is_dir());
    blob.commit(Some(&Digest::of(b"in the making")), None).unwrap();
    draft.commit(&Digest::of(b"layer")).unwrap();
}

#[test]
fn strangers_in_the_temporary_directory_are_left_alone() {
    let (_dir, store) = store();
    let tmp = store.dir().join("kiln/tmp");
    std::fs::write(tmp.join("notes"), "of a user").unwrap();
    std::fs::write(tmp.join("kiln-1-2-3"), "left over").unwrap();
    std::fs::create_dir_all(tmp.join("kiln-4-5-6/fs/a")).unwrap();
    let report = store.prune(&PrunePolicy::default()).unwrap();
    assert_eq!(report.removed.iter().filter(|r| r.kind == Kind::Temp).count(), 2, "{report:?}");
    assert_eq!(names(&tmp), ["notes"]);
}
