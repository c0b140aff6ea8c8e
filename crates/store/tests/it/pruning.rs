//! What goes and what stays.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use kiln_oci::{Digest, media};
use kiln_store::{Held, Kind, LayerRecord, PrunePolicy, Store};

use crate::child::Other;
use crate::{again, image, store};

/// Makes a file or directory look as if it had been used long ago.
fn age(store: &Store, path: &str, seconds: u64) {
    let handle = File::open(store.dir().join(path)).unwrap();
    handle.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
}

fn blob(store: &Store, byte: u8, kib: usize, age_in_seconds: u64) -> Digest {
    let digest = store.put(&vec![byte; kib << 10]).unwrap();
    age(store, &format!("blobs/sha256/{}", digest.hex()), age_in_seconds);
    digest
}

#[test]
fn named_images_stay_and_the_rest_goes() {
    let (_dir, store) = store();
    let (named, layer) = image(&store, "named");
    let (unnamed, _) = image(&store, "without");
    store.set_ref("example.org/a:1", &named).unwrap();
    let record = LayerRecord {
        diff_id: layer.clone(),
        digest: layer.clone(),
        size: 1024,
        media_type: media::OCI_LAYER.to_owned(),
    };
    store.record_layer(&record).unwrap();
    let other = Digest::of(b"a layer of no image");
    store.record_layer(&LayerRecord { diff_id: other.clone(), ..record.clone() }).unwrap();
    store.record_layer(&record).unwrap();
    for id in [&layer, &other] {
        store.begin_snapshot().unwrap().commit(id).unwrap();
        store.index_put(id, b"listing").unwrap();
    }
    store.cache_put("step", "key", b"value").unwrap();
    store.save_table("ctx", b"table").unwrap();

    let usage = store.du().unwrap();
    let held = |kind, name: &str| usage.entries.iter().find(|e| e.kind == kind && e.name == name).unwrap().held;
    assert_eq!(held(Kind::Blob, &named.digest.to_string()), Some(Held::Named));
    assert_eq!(held(Kind::Snapshot, &layer.to_string()), Some(Held::Derived));
    assert_eq!(held(Kind::Snapshot, &other.to_string()), None);
    assert!(usage.reclaimable() < usage.bytes());
    let under = store.blobs_under(&named.digest).unwrap();
    assert_eq!(under.len(), 3);
    assert!(under.contains(&layer) && under.contains(&named.digest));

    let report = again(&store).prune(&PrunePolicy::default()).unwrap();
    assert!(report.failed.is_empty(), "{report:?}");
    assert_eq!(report.freed, report.removed.iter().map(|r| r.bytes).sum::<u64>());
    assert!(store.has_blob(&named.digest) && !store.has_blob(&unnamed.digest));
    assert!(store.snapshot(&layer).is_some() && store.snapshot(&other).is_none());
    assert!(store.index_get(&layer).is_some() && store.index_get(&other).is_none());
    assert_eq!(store.cache_get("step", "key"), None);
    assert_eq!(store.load_table("ctx"), None);
    assert!(store.fsck(false).unwrap().problems.is_empty());
    assert!(again(&store).prune(&PrunePolicy::default()).unwrap().removed.is_empty());

    again(&store).prune(&PrunePolicy { all: true, ..PrunePolicy::default() }).unwrap();
    assert!(store.snapshot(&layer).is_none());
    assert!(store.blobs_of(&layer).is_empty());
    store.remove_ref("example.org/a:1").unwrap();
    again(&store).prune(&PrunePolicy::default()).unwrap();
    assert_eq!(again(&store).du().unwrap().entries, []);
}

#[test]
fn the_least_recently_used_goes_first_and_no_more_than_needed() {
    let (_dir, store) = store();
    let blobs: Vec<Digest> = (0..10).map(|n| blob(&store, n, 100, 1000 - u64::from(n))).collect();
    // Used again just now: the oldest by making is the youngest by use.
    assert!(again(&store).has_blob(&blobs[0]));
    let total = store.du().unwrap().bytes();
    let policy = PrunePolicy { max_used: Some(total - (250 << 10)), ..PrunePolicy::default() };
    let removed: Vec<String> = store.prune(&policy).unwrap().removed.into_iter().map(|r| r.name).collect();
    assert_eq!(removed, [&blobs[1], &blobs[2], &blobs[3]].map(Digest::to_string));
    assert!(store.prune(&policy).unwrap().removed.is_empty());
    let policy = PrunePolicy { max_used: Some(0), reserved: Some(total - (450 << 10)), ..PrunePolicy::default() };
    assert_eq!(store.prune(&policy).unwrap().removed.len(), 2);
}

#[test]
fn age_and_filters_bind() {
    let (_dir, store) = store();
    let old = blob(&store, 1, 10, 7200);
    let young = blob(&store, 2, 10, 60);
    store.cache_put("step", "key", b"value").unwrap();
    let policy = |filters: &[&str]| PrunePolicy {
        keep_duration: Some(Duration::from_secs(3600)),
        filters: filters.iter().map(|f| f.parse().unwrap()).collect(),
        ..PrunePolicy::default()
    };
    assert!(store.prune(&policy(&["type=record"])).unwrap().removed.is_empty());
    assert!(store.prune(&policy(&[&format!("id={}", young.hex())])).unwrap().removed.is_empty());
    assert!(store.prune(&policy(&["type=tar", &format!("id={}", &old.hex()[..12])])).unwrap().removed.is_empty());
    let removed = store.prune(&policy(&["type=tar", "type=blob"])).unwrap().removed;
    assert_eq!(removed.iter().map(|r| &*r.name).collect::<Vec<_>>(), [old.to_string()]);
    assert!(store.has_blob(&young));
    assert!(store.cache_get("step", "key").is_some());
}

#[test]
fn what_another_process_holds_stays_until_it_dies() {
    let (_dir, store) = store();
    let held = store.put(b"held").unwrap();
    let free = store.put(b"free").unwrap();
    let mut other = Other::start("holds_a_blob", store.dir());
    other.wait_for("held");
    store.prune(&PrunePolicy { all: true, ..PrunePolicy::default() }).unwrap();
    assert!(store.has_blob(&held) && !store.has_blob(&free));
    let entry = store.du().unwrap().entries.into_iter().find(|e| e.name == held.to_string()).unwrap();
    assert_eq!(entry.held, Some(Held::Leased));
    other.kill();
    store.prune(&PrunePolicy::default()).unwrap();
    assert!(!store.has_blob(&held));
    assert!(crate::names(&store.dir().join("kiln/leases")).is_empty());
}

#[test]
fn a_lease_is_shared_by_clones_and_ends_with_the_last() {
    let (_dir, store) = store();
    let pruner = again(&store);
    let prune = || pruner.prune(&PrunePolicy::default()).unwrap();
    let first = store.lease().unwrap();
    let second = store.clone().lease().unwrap();
    let written = store.put(b"written under the lease").unwrap();
    let layer = Digest::of(b"layer");
    store.begin_snapshot().unwrap().commit(&layer).unwrap();
    drop(first);
    prune();
    assert!(store.has_blob(&written) && store.snapshot(&layer).is_some());
    drop(second);
    prune();
    assert!(!store.has_blob(&written) && store.snapshot(&layer).is_none());
    // A new lease knows nothing of the old one's things, and notes them anew.
    let written = store.put(b"written before").unwrap();
    let lease = store.lease().unwrap();
    lease.touch_blob(&written).unwrap();
    prune();
    assert!(store.has_blob(&written));
}

/// What a lease's store says is here can be read, however hard others prune.
#[test]
fn pruning_all_the_time_disturbs_nobody() {
    let (_dir, store) = store();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let builders: Vec<_> = (0..3_u8)
            .map(|thread| {
                let store = again(&store);
                scope.spawn(move || {
                    for n in 0..60_u8 {
                        let _lease = store.lease().unwrap();
                        let (descriptor, layer) = image(&store, &format!("{}", n % 9));
                        assert!(store.read_blob(&descriptor.digest, 10_000).is_ok());
                        assert_eq!(store.blob_size(&layer).is_some(), store.open_blob(&layer).is_ok());
                        let draft = store.begin_snapshot().unwrap();
                        std::fs::write(draft.fs().join("file"), [n]).unwrap();
                        let path = draft.commit(&Digest::of(&[n % 4])).unwrap();
                        assert!(path.join("file").exists());
                        store.set_ref(&format!("example.org/t{thread}:{}", n % 3), &descriptor).unwrap();
                    }
                })
            })
            .collect();
        let pruner = scope.spawn(|| {
            let store = again(&store);
            while !done.load(Ordering::Relaxed) {
                let report = store.prune(&PrunePolicy { all: true, ..PrunePolicy::default() }).unwrap();
                assert!(report.failed.is_empty(), "{report:?}");
            }
        });
        let results: Vec<_> = builders.into_iter().map(|b| b.join()).collect();
        done.store(true, Ordering::Relaxed);
        pruner.join().unwrap();
        results.into_iter().for_each(|r| r.unwrap());
    });
    assert_eq!(store.list_refs().unwrap().len(), 9);
    let report = store.fsck(false).unwrap();
    assert!(report.problems.is_empty(), "{report:?}");
}
