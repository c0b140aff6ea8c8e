//! Downloads that are broken off and go on.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kiln_oci::Digest;
use kiln_store::{ErrorKind, Kind, PrunePolicy, Store};

use crate::child::Other;
use crate::{again, names, store};

const BYTES: &[u8] = b"these are the bytes of a blob";

fn partial(store: &Store) -> Vec<String> {
    names(&store.dir().join("kiln/partial"))
}

/// What a download that goes on finds.
fn held(store: &Store, digest: &Digest, size: u64) -> Vec<u8> {
    let mut writer = store.download(digest, size, &|| false).unwrap().unwrap();
    let mut bytes = Vec::new();
    writer.replay(&mut |piece| bytes.extend_from_slice(piece)).unwrap();
    assert_eq!(writer.written(), bytes.len() as u64);
    bytes
}

#[test]
fn a_download_goes_on_where_it_was_broken_off() {
    let (_dir, store) = store();
    let (digest, size) = (Digest::of(BYTES), BYTES.len() as u64);
    drop(store.download(&digest, size, &|| false).unwrap().unwrap());
    assert_eq!(partial(&store), [""; 0], "nothing came, nothing stays");
    let mut writer = store.download(&digest, size, &|| false).unwrap().unwrap();
    writer.write_all(&BYTES[..10]).unwrap();
    drop(writer);
    assert_eq!((partial(&store).len(), store.downloaded(&digest), store.has_blob(&digest)), (1, 10, false));
    assert_eq!(held(&store, &digest, size), &BYTES[..10]);

    let mut writer = again(&store).download(&digest, size, &|| false).unwrap().unwrap();
    writer.write_all(&BYTES[10..]).unwrap();
    assert!(writer.write_all(b"x").is_err(), "no more than the blob has");
    drop(writer);
    let mut writer = store.download(&digest, size, &|| false).unwrap().unwrap();
    assert_eq!(writer.written(), size, "whole, though never finished");
    writer.reset().unwrap();
    writer.write_all(BYTES).unwrap();
    writer.commit_hashed(digest.clone()).unwrap();
    assert_eq!(store.read_blob(&digest, 100).unwrap(), BYTES);
    assert_eq!(partial(&store), [""; 0]);
    assert!(store.download(&digest, size, &|| false).unwrap().is_none(), "it is here");
    assert_eq!(partial(&store), [""; 0]);
    assert!(store.fsck(false).unwrap().problems.is_empty());
}

#[test]
fn more_than_the_blob_has_is_no_beginning_of_it() {
    let (_dir, store) = store();
    let digest = Digest::of(BYTES);
    let mut writer = store.download(&digest, 1000, &|| false).unwrap().unwrap();
    writer.write_all(&[b'x'; 100]).unwrap();
    drop(writer);
    assert_eq!(held(&store, &digest, BYTES.len() as u64), b"");
}

#[test]
fn one_process_downloads_and_the_others_wait() {
    let (_dir, store) = store();
    let mut other = Other::start("downloads_half", store.dir());
    other.wait_for("half");
    let (digest, size) = (Digest::of(BYTES), BYTES.len() as u64);
    let asked = AtomicUsize::new(0);
    let error = store.download(&digest, size, &|| asked.fetch_add(1, Ordering::Relaxed) == 2).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
    assert_eq!(store.downloaded(&digest), 10, "its progress is seen");
    let pruned = store.prune(&PrunePolicy { all: true, ..PrunePolicy::default() }).unwrap();
    assert!(pruned.removed.is_empty() && pruned.failed.is_empty(), "{pruned:?}");
    other.kill();
    assert_eq!(held(&store, &digest, size), &BYTES[..10], "what the dead left is used");

    // Who waits gets the blob that the other made.
    let mut writer = store.download(&digest, size, &|| false).unwrap().unwrap();
    std::thread::scope(|scope| {
        let store = again(&store);
        let waiting = scope.spawn(move || store.download(&Digest::of(BYTES), size, &|| false).unwrap().is_none());
        std::thread::sleep(Duration::from_millis(20));
        writer.write_all(&BYTES[10..]).unwrap();
        writer.commit_hashed(digest.clone()).unwrap();
        assert!(waiting.join().unwrap());
    });
    assert_eq!(partial(&store), [""; 0]);
}

#[test]
fn what_nobody_goes_on_with_is_pruned() {
    let (_dir, store) = store();
    let digest = Digest::of(BYTES);
    let mut writer = store.download(&digest, 100, &|| false).unwrap().unwrap();
    writer.write_all(BYTES).unwrap();
    drop(writer);
    let usage = store.du().unwrap();
    assert!(usage.entries.iter().any(|e| e.kind == Kind::Partial && e.name == digest.to_string()), "{usage:?}");
    let young = PrunePolicy { keep_duration: Some(Duration::from_secs(3600)), ..PrunePolicy::default() };
    assert!(store.prune(&young).unwrap().removed.is_empty());
    let removed = store.prune(&PrunePolicy::default()).unwrap().removed;
    assert_eq!(removed.iter().map(|r| r.kind).collect::<Vec<_>>(), [Kind::Partial]);
    assert_eq!(partial(&store), [""; 0]);
}
