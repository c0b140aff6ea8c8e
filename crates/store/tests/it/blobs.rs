//! Bytes by digest.

use std::fs;
use std::io::Write;

use kiln_oci::{Digest, Hasher};
use kiln_store::{ErrorKind, StoreError};

use crate::{names, store};

#[test]
fn what_is_put_is_read_back() {
    let (_dir, store) = store();
    let digest = store.put(b"some bytes").unwrap();
    assert_eq!(digest, Digest::of(b"some bytes"));
    assert_eq!(store.put(b"some bytes").unwrap(), digest);
    assert_eq!(store.blob_size(&digest), Some(10));
    assert_eq!(store.read_blob(&digest, 10).unwrap(), b"some bytes");
    assert_eq!(fs::read(store.dir().join(format!("blobs/sha256/{}", digest.hex()))).unwrap(), b"some bytes");
    assert!(names(&store.dir().join("kiln/tmp")).is_empty());
}

#[test]
fn a_writer_hashes_counts_and_checks() {
    let (_dir, store) = store();
    let mut writer = store.blob_writer().unwrap();
    writer.write_all(b"wrong start").unwrap();
    writer.reset().unwrap();
    writer.write_all(b"right").unwrap();
    assert_eq!(writer.written(), 5);
    let expected = Digest::of(b"right");
    assert_eq!(writer.commit(Some(&expected), Some(5)).unwrap(), (expected.clone(), 5));
    assert_eq!(store.read_blob(&expected, 5).unwrap(), b"right");

    let mut writer = store.blob_writer().unwrap();
    writer.write_all(b"other").unwrap();
    let error = writer.commit(Some(&expected), None).unwrap_err();
    assert!(matches!(error, StoreError::DigestMismatch { .. }), "{error}");
    let mut writer = store.blob_writer().unwrap();
    writer.write_all(b"right").unwrap();
    let error = writer.commit(Some(&expected), Some(6)).unwrap_err();
    assert!(matches!(error, StoreError::SizeMismatch { expected: 6, actual: 5 }), "{error}");
    let mut writer = store.blob_writer().unwrap().limit(7);
    writer.write_all(b"seven b").unwrap();
    assert_eq!(writer.write_all(b"y").unwrap_err().kind(), std::io::ErrorKind::FileTooLarge);
    drop(writer);
    assert_eq!(names(&store.dir().join("blobs/sha256")).len(), 1);
    assert!(names(&store.dir().join("kiln/tmp")).is_empty());
}

#[test]
fn a_raw_writer_takes_the_callers_digest_or_hashes_late() {
    let (_dir, store) = store();
    for late in [true, false] {
        let bytes = format!("raw {late}");
        let mut writer = store.raw_blob_writer().unwrap();
        writer.write_all(bytes.as_bytes()).unwrap();
        let digest = Digest::of(bytes.as_bytes());
        let (found, _) = match late {
            true => writer.commit(Some(&digest), None).unwrap(),
            false => writer.commit_hashed(digest.clone()).unwrap(),
        };
        assert_eq!(found, digest);
        assert_eq!(store.read_blob(&digest, 100).unwrap(), bytes.as_bytes());
    }
}

#[test]
fn sha512_blobs_have_their_own_directory() {
    let (_dir, store) = store();
    let mut hasher: Hasher = format!("sha512:{}", "0".repeat(128)).parse::<Digest>().unwrap().hasher();
    hasher.update(b"long");
    let digest = hasher.finish();
    let mut writer = store.blob_writer().unwrap();
    writer.write_all(b"long").unwrap();
    assert_eq!(writer.commit(Some(&digest), Some(4)).unwrap().0, digest);
    assert!(store.dir().join("blobs/sha512").join(digest.hex()).is_file());
    assert_eq!(store.read_blob(&digest, 4).unwrap(), b"long");
    assert!(store.fsck(false).unwrap().problems.is_empty());
}

#[test]
fn missing_long_and_damaged_blobs_are_told_apart() {
    let (_dir, store) = store();
    let digest = Digest::of(b"abc");
    assert!(!store.has_blob(&digest));
    assert_eq!(store.open_blob(&digest).unwrap_err().kind(), ErrorKind::Missing);
    store.put(b"abc").unwrap();
    assert!(matches!(store.read_blob(&digest, 2), Err(StoreError::BlobTooLarge { size: 3, max: 2, .. })));
    fs::write(store.blob_path(&digest), "abd").unwrap();
    assert!(matches!(store.read_blob(&digest, 3), Err(StoreError::DigestMismatch { .. })));
    // A shorter file under the name is replaced by the right one.
    fs::write(store.blob_path(&digest), "").unwrap();
    store.put(b"abc").unwrap();
    assert_eq!(store.read_blob(&digest, 3).unwrap(), b"abc");
    // Something else under the name is no blob.
    let other = Digest::of(b"a directory");
    fs::create_dir(store.blob_path(&other)).unwrap();
    assert!(!store.has_blob(&other));
}

#[test]
fn large_blobs_are_flushed_while_they_are_written() {
    let (_dir, store) = store();
    let mut writer = store.blob_writer().unwrap();
    let mut hasher = Hasher::new();
    for round in 0..2 {
        writer.reset().unwrap();
        hasher = Hasher::new();
        for n in 0..70_u8 {
            let chunk = vec![n + round; 1 << 20];
            writer.write_all(&chunk).unwrap();
            hasher.update(&chunk);
        }
    }
    let digest = hasher.finish();
    assert_eq!(writer.commit(Some(&digest), Some(70 << 20)).unwrap().0, digest);
    assert!(store.fsck(false).unwrap().problems.is_empty());
    let mut dropped = store.blob_writer().unwrap();
    dropped.write_all(&vec![1; 40 << 20]).unwrap();
    drop(dropped);
    assert!(names(&store.dir().join("kiln/tmp")).is_empty());
}
