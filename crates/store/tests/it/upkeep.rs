//! Measuring and checking.

use std::fs;

use kiln_oci::Digest;
use kiln_store::{Kind, Problem};

use crate::{image, names, store};

#[test]
fn usage_is_counted_by_kind() {
    let (_dir, store) = store();
    assert_eq!(store.du().unwrap().bytes(), 0);
    store.put(&[1; 100_000]).unwrap();
    let draft = store.begin_snapshot().unwrap();
    fs::write(draft.fs().join("a"), [1; 50_000]).unwrap();
    fs::hard_link(draft.fs().join("a"), draft.fs().join("b")).unwrap();
    let layer = Digest::of(b"layer");
    draft.commit(&layer).unwrap();
    for _ in 0..2 {
        let usage = store.du().unwrap();
        let of = |kind| *usage.kinds.iter().find(|k| k.kind == kind).unwrap();
        assert_eq!(of(Kind::Blob).count, 1);
        assert!((100_000..120_000).contains(&of(Kind::Blob).bytes), "{usage:?}");
        let snapshot = of(Kind::Snapshot);
        assert!((50_000..100_000).contains(&snapshot.bytes), "{usage:?}");
        assert_eq!(snapshot.reclaimable, snapshot.bytes);
        assert_eq!(usage.bytes(), of(Kind::Blob).bytes + snapshot.bytes);
    }
    let entry = store.du().unwrap().entries.into_iter().find(|e| e.kind == Kind::Snapshot).unwrap();
    let used = fs::metadata(store.snapshot(&layer).unwrap().parent().unwrap()).unwrap().modified().unwrap();
    assert!(entry.last_used <= used);
}

#[test]
fn files_that_are_none_of_ours_are_neither_counted_nor_removed() {
    let (_dir, store) = store();
    for path in ["blobs/sha256/notes", "blobs/sha256/ABC", "kiln/tars/x", "kiln/diffs/x"] {
        fs::write(store.dir().join(path), "x").unwrap();
    }
    assert_eq!(store.du().unwrap().entries, []);
    store.prune(&kiln_store::PrunePolicy { all: true, ..Default::default() }).unwrap();
    assert!(store.dir().join("blobs/sha256/notes").exists());
}

fn damage(path: &std::path::Path) {
    let mut bytes = fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn damage_is_found_and_forgotten() {
    let (_dir, store) = store();
    let (good, _) = image(&store, "good");
    let (holed, _) = image(&store, "holed image");
    let (headless, _) = image(&store, "headless");
    for (name, descriptor) in [("good", &good), ("holed", &holed), ("headless", &headless)] {
        store.set_ref(&format!("example.org/{name}:1"), descriptor).unwrap();
    }
    store.cache_put("step", "key", b"value").unwrap();
    store.index_put(&good.digest, b"listing").unwrap();
    assert!(store.fsck(true).unwrap().problems.is_empty());

    let manifest: serde_json::Value = serde_json::from_slice(&store.read_blob(&holed.digest, 10_000).unwrap()).unwrap();
    let config: Digest = manifest["config"]["digest"].as_str().unwrap().parse().unwrap();
    damage(&store.blob_path(&config));
    damage(&store.blob_path(&headless.digest));
    let cache = store.dir().join("kiln/cache/step");
    damage(&cache.join(&names(&cache)[0]));
    damage(&store.dir().join("kiln/index").join(good.digest.hex()));

    let found = store.fsck(false).unwrap();
    let name = |p: &Problem| (p.kind, p.name.clone());
    let names: Vec<_> = found.problems.iter().map(name).collect();
    assert_eq!(found.problems.len(), 6, "{found:?}");
    for expected in [
        (None, "example.org/headless:1".to_owned()),
        (None, "example.org/holed:1".to_owned()),
        (Some(Kind::Blob), config.to_string()),
        (Some(Kind::Blob), headless.digest.to_string()),
        (Some(Kind::Index), good.digest.to_string()),
    ] {
        assert!(names.contains(&expected), "{expected:?} in {names:?}");
    }
    assert!(found.problems.iter().all(|p| !p.repaired));
    assert_eq!(store.fsck(false).unwrap(), found);

    let repaired = store.fsck(true).unwrap();
    assert_eq!(repaired.problems.iter().filter(|p| p.repaired).count(), 5, "{repaired:?}");
    assert_eq!(store.get_ref("example.org/headless:1").unwrap(), None);
    assert!(store.get_ref("example.org/good:1").unwrap().is_some());
    assert_eq!(store.cache_get("step", "key"), None);
    // What is missing stays reported until it is fetched again.
    let rest = store.fsck(true).unwrap().problems;
    assert_eq!(rest.len(), 1, "{rest:?}");
    assert_eq!(rest[0].name, "example.org/holed:1");
    assert!(rest[0].text.contains(&config.to_string()));
}

#[test]
fn images_that_contain_each_other_or_nonsense_are_survived() {
    let (_dir, store) = store();
    let put = |text: &str| {
        let digest = store.put(text.as_bytes()).unwrap();
        kiln_oci::Descriptor::new(kiln_oci::media::OCI_INDEX, digest, text.len() as u64)
    };
    let mut inner = put(r#"{"manifests":[{"digest":"sha256:../../x"},7,null],"layers":{"a":1},"config":[]}"#);
    for _ in 0..40 {
        inner = put(&format!(r#"{{"manifests":[{{"digest":"{0}"}},{{"digest":"{0}"}}]}}"#, inner.digest));
    }
    store.set_ref("example.org/deep:1", &inner).unwrap();
    store.set_ref("example.org/noise:1", &put("\u{1}\u{2}")).unwrap();
    assert!(store.fsck(false).unwrap().problems.is_empty());
    store.du().unwrap();
    store.prune(&Default::default()).unwrap();
    assert!(store.has_blob(&inner.digest));
}
