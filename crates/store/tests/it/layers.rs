//! Layers as directories, tars, listings and blobs.

use std::fs;
use std::io::{Read, Write};

use kiln_oci::{Digest, media};
use kiln_store::{LayerRecord, StoreError};

use crate::{again, names, store};

#[test]
fn a_draft_becomes_a_snapshot_or_nothing() {
    let (_dir, store) = store();
    let id = Digest::of(b"layer");
    assert_eq!(store.snapshot(&id), None);
    let draft = store.begin_snapshot().unwrap();
    fs::write(draft.fs().join("file"), "first").unwrap();
    fs::create_dir_all(draft.work().join("work/x")).unwrap();
    let path = draft.commit(&id).unwrap();
    assert_eq!(path, store.dir().join(format!("kiln/snapshots/{}/fs", id.hex())));
    assert_eq!(store.snapshot(&id), Some(path.clone()));
    assert_eq!(names(path.parent().unwrap()), ["fs"]);

    // Whoever comes second gets the first one's.
    let second = store.begin_snapshot().unwrap();
    fs::write(second.fs().join("file"), "second").unwrap();
    assert_eq!(second.commit(&id).unwrap(), path);
    assert_eq!(fs::read_to_string(path.join("file")).unwrap(), "first");

    let dropped = store.begin_snapshot().unwrap();
    let path = dropped.path().to_path_buf();
    fs::write(dropped.fs().join("file"), "x").unwrap();
    drop(dropped);
    assert!(!path.exists());
    assert!(names(&store.dir().join("kiln/tmp")).is_empty());
}

#[test]
fn many_threads_commit_the_same_snapshot() {
    let (_dir, store) = store();
    let id = Digest::of(b"contended");
    std::thread::scope(|scope| {
        for n in 0..8 {
            let (store, id) = (again(&store), &id);
            scope.spawn(move || {
                let draft = store.begin_snapshot().unwrap();
                fs::write(draft.fs().join("file"), n.to_string()).unwrap();
                let path = draft.commit(id).unwrap();
                assert!(path.join("file").exists());
            });
        }
    });
    assert_eq!(names(&store.dir().join("kiln/snapshots")).len(), 1);
    assert!(names(&store.dir().join("kiln/tmp")).is_empty());
}

#[test]
fn what_was_made_before_the_machine_went_down_is_made_again() {
    let (_dir, store) = store();
    let (torn, settled) = (Digest::of(b"torn"), Digest::of(b"settled"));
    let make = |id: &Digest| {
        store.begin_snapshot().unwrap().commit(id).unwrap();
        let mut tar = store.raw_tar_writer().unwrap();
        tar.write_all(b"tar").unwrap();
        tar.commit_hashed(id.clone()).unwrap();
    };
    make(&settled);
    store.settle().unwrap();
    let pending = store.dir().join("kiln/pending");
    assert!(names(&pending).is_empty());
    make(&torn);
    assert_eq!(names(&pending).len(), 2);
    // In the same boot all is well, in every process.
    assert!(again(&store).snapshot(&torn).is_some());
    for name in names(&pending) {
        fs::write(pending.join(name), "6c1c4b0e-another-boot").unwrap();
    }
    let store = again(&store);
    assert!(store.snapshot(&settled).is_some());
    assert_eq!(store.snapshot(&torn), None);
    assert_eq!(store.tar_path(&torn), None);
    assert_eq!(store.take_warnings().len(), 2);
    assert!(names(&pending).is_empty());
    assert!(names(&store.dir().join("kiln/tmp")).is_empty());
    make(&torn);
    assert!(store.snapshot(&torn).is_some());
}

#[test]
fn tars_are_kept_by_diff_id() {
    let (_dir, store) = store();
    let mut writer = store.tar_writer().unwrap();
    writer.write_all(b"an uncompressed tar").unwrap();
    let (id, size) = writer.commit(None).unwrap();
    assert_eq!((id.clone(), size), (Digest::of(b"an uncompressed tar"), 19));
    let mut text = String::new();
    store.open_tar(&id).unwrap().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "an uncompressed tar");
    assert!(store.open_tar(&Digest::of(b"")).unwrap().is_none());
    let mut writer = store.tar_writer().unwrap();
    writer.write_all(b"x").unwrap();
    assert!(matches!(writer.commit(Some(&id)), Err(StoreError::DigestMismatch { .. })));
}

#[test]
fn listings_and_blobs_are_found_by_layer() {
    let (_dir, store) = store();
    let id = Digest::of(b"layer");
    assert_eq!(store.index_get(&id), None);
    store.index_put(&id, b"listing").unwrap();
    assert_eq!(again(&store).index_get(&id).unwrap(), b"listing");
    fs::write(store.dir().join("kiln/index").join(id.hex()), "junk").unwrap();
    assert_eq!(store.index_get(&id), None);
    assert_eq!(store.take_warnings().len(), 1);

    let record = |bytes: &[u8], media_type: &str| LayerRecord {
        diff_id: id.clone(),
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        media_type: media_type.to_owned(),
    };
    let (gzip, zstd) = (record(b"gz", media::OCI_LAYER_GZIP), record(b"zst", media::OCI_LAYER_ZSTD));
    assert!(store.blobs_of(&id).is_empty());
    for layer in [&gzip, &zstd, &gzip] {
        store.record_layer(layer).unwrap();
    }
    let store = again(&store);
    assert_eq!(store.diff_id_of(&gzip.digest), Some(id.clone()));
    assert_eq!(store.layer_of(&zstd.digest), Some(zstd.clone()));
    assert_eq!(store.diff_id_of(&id), None);
    let mut both = store.blobs_of(&id);
    both.sort_by(|a, b| a.media_type.cmp(&b.media_type));
    assert_eq!(both, [gzip.clone(), zstd.clone()]);

    // A record that claims something else than its name is not believed.
    let diffs = store.dir().join("kiln/diffs");
    fs::copy(diffs.join(format!("{}.of", zstd.digest.hex())), diffs.join(format!("{}.of", gzip.digest.hex()))).unwrap();
    assert_eq!(store.diff_id_of(&gzip.digest), None);
}
