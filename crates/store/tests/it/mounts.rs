//! Directories of `RUN --mount=type=cache`.

use std::cell::Cell;
use std::fs;
use std::io;
use std::path::Path;

use kiln_store::mount::MountRequest;
use kiln_store::{CacheMount, PrunePolicy, Sharing, Store, StoreError};

use crate::{again, names, store};

fn mount(store: &Store, id: &str, sharing: Sharing) -> Result<CacheMount, StoreError> {
    // Gives up when it would have to wait.
    store.cache_mount(&MountRequest { id, sharing, init: &|_| Ok(()), cancelled: &|| true })
}

#[test]
fn a_directory_keeps_its_files_and_ids_lead_nowhere() {
    let (_dir, store) = store();
    for id in ["/root/.cache", "../../../../tmp/x", "", "a\u{0}b", &"x".repeat(10_000)] {
        let dir = mount(&store, id, Sharing::Shared).unwrap();
        assert!(dir.path().starts_with(store.dir().join("kiln/caches")));
        fs::write(dir.path().join("file"), id).unwrap();
        drop(dir);
        let dir = mount(&again(&store), id, Sharing::Locked).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("file")).unwrap(), id);
    }
    assert_eq!(names(&store.dir().join("kiln/caches")).len(), 5);
}

#[test]
fn sharing_modes_are_kept() {
    let (_dir, store) = store();
    let first = mount(&store, "id", Sharing::Shared).unwrap();
    let second = mount(&again(&store), "id", Sharing::Shared).unwrap();
    assert_eq!(first.path(), second.path());
    assert!(matches!(mount(&store, "id", Sharing::Locked), Err(StoreError::LockCancelled { .. })));
    let private = mount(&store, "id", Sharing::Private).unwrap();
    assert_ne!(private.path(), first.path());
    let other = mount(&store, "id", Sharing::Private).unwrap();
    assert_ne!(private.path(), other.path());
    let freed = private.path().to_path_buf();
    drop(private);
    assert_eq!(mount(&store, "id", Sharing::Private).unwrap().path(), freed);
    drop((first, second));
    let locked = mount(&store, "id", Sharing::Locked).unwrap();
    assert!(matches!(mount(&store, "id", Sharing::Shared), Err(StoreError::LockCancelled { .. })));
    drop(locked);
    mount(&store, "id", Sharing::Shared).unwrap();
}

#[test]
fn a_directory_is_prepared_once_and_seen_only_when_it_is() {
    let (_dir, store) = store();
    let calls = Cell::new(0);
    let prepare = |fail: bool| {
        let init = |path: &Path| {
            calls.set(calls.get() + 1);
            fs::write(path.join("seed"), "")?;
            if fail { Err(io::Error::other("no seed")) } else { Ok(()) }
        };
        store.cache_mount(&MountRequest { id: "id", sharing: Sharing::Shared, init: &init, cancelled: &|| true })
    };
    let error = prepare(true).unwrap_err();
    assert!(error.to_string().contains("no seed"), "{error}");
    assert!(names(&store.dir().join("kiln/caches")).is_empty());
    assert!(prepare(false).unwrap().path().join("seed").exists());
    assert!(prepare(true).is_ok());
    assert_eq!(calls.get(), 2);
}

#[test]
fn many_threads_share_one_directory() {
    let (_dir, store) = store();
    std::thread::scope(|scope| {
        for n in 0..8 {
            let store = again(&store);
            scope.spawn(move || {
                for round in 0..20 {
                    let sharing = if n % 2 == 0 { Sharing::Shared } else { Sharing::Locked };
                    let request = MountRequest { id: "id", sharing, init: &|_| Ok(()), cancelled: &|| false };
                    let dir = store.cache_mount(&request).unwrap();
                    fs::write(dir.path().join(format!("{n}-{round}")), "").unwrap();
                }
            });
        }
    });
    assert_eq!(names(mount(&store, "id", Sharing::Shared).unwrap().path()).len(), 160);
}

#[test]
fn pruning_takes_free_directories_only_and_only_when_asked_for_all() {
    let (_dir, store) = store();
    drop(mount(&store, "free", Sharing::Shared).unwrap());
    let used = mount(&store, "used", Sharing::Shared).unwrap();
    fs::write(used.path().join("file"), "x").unwrap();
    let other = again(&store);
    other.prune(&PrunePolicy::default()).unwrap();
    assert_eq!(names(&store.dir().join("kiln/caches")).len(), 2);
    let report = other.prune(&PrunePolicy { all: true, ..PrunePolicy::default() }).unwrap();
    assert_eq!(report.removed.len(), 1, "{report:?}");
    assert!(used.path().join("file").exists());
    drop(used);
    other.prune(&PrunePolicy { all: true, ..PrunePolicy::default() }).unwrap();
    assert!(names(&store.dir().join("kiln/caches")).is_empty());
    assert_eq!(names(&store.dir().join("kiln/locks")), ["gc", "refs"]);
}
