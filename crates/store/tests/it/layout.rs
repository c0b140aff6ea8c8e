//! Making and opening stores.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use kiln_store::{ErrorKind, Store, StoreError};
use tempfile::TempDir;

use crate::child::in_mount_namespace;
use crate::{image, names, store};

#[test]
fn a_new_store_is_an_empty_image_layout() {
    let (_dir, store) = store();
    assert_eq!(fs::read_to_string(store.dir().join("oci-layout")).unwrap(), r#"{"imageLayoutVersion":"1.0.0"}"#);
    assert_eq!(names(store.dir()), ["blobs", "index.json", "kiln", "oci-layout"]);
    assert!(store.list_refs().unwrap().is_empty());
    // Unpacked layers may hold setuid programs: other users are kept out.
    let mode = |path: &str| fs::metadata(store.dir().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("kiln"), 0o700);
    assert_eq!(mode("kiln/snapshots"), 0o700);
    store.put(b"x").unwrap();
    let again = Store::open(store.dir()).unwrap();
    assert!(again.has_blob(&kiln_oci::Digest::of(b"x")));
    assert!(!again.is_read_only());
}

#[test]
fn an_empty_volume_will_do_and_a_strange_directory_will_not() {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("lost+found")).unwrap();
    Store::open(dir.path()).unwrap();

    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("thesis.tex"), "").unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(matches!(&error, StoreError::NotAStore { found, .. } if found == "thesis.tex"), "{error}");
    assert_eq!(names(dir.path()), ["thesis.tex"]);

    // An image layout somebody else made is not taken over either.
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    assert!(matches!(Store::open(dir.path()), Err(StoreError::NotAStore { .. })));

    let dir = TempDir::new().unwrap();
    fs::create_dir_all(dir.path().join("kiln/sources")).unwrap();
    assert!(matches!(Store::open(dir.path()), Err(StoreError::NotAStore { .. })));

    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    assert!(Store::open(dir.path().join("file")).is_err());
    assert!(Store::open(dir.path().join("file/below")).is_err());
}

#[test]
fn an_interrupted_making_is_taken_up_again() {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("kiln")).unwrap();
    fs::write(dir.path().join("kiln/version.123-0-abc"), "").unwrap();
    Store::open(dir.path()).unwrap();

    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("kiln")).unwrap();
    fs::write(dir.path().join("kiln/version"), "1\n").unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.put(b"works").unwrap();
}

#[test]
fn other_versions_and_damage_are_refused() {
    let (_dir, store) = store();
    let version = store.dir().join("kiln/version");
    fs::write(&version, "2\n").unwrap();
    let error = Store::open(store.dir()).unwrap_err();
    assert!(matches!(&error, StoreError::Version { found, supported: 1, .. } if found == "2"), "{error}");
    fs::write(&version, "\u{0}\u{0}\u{0}").unwrap();
    assert_eq!(Store::open(store.dir()).unwrap_err().kind(), ErrorKind::Damaged);
    fs::write(&version, "1\n").unwrap();
    // Without its names, a store would look as if everything could be pruned.
    fs::remove_file(store.dir().join("index.json")).unwrap();
    assert_eq!(Store::open(store.dir()).unwrap_err().kind(), ErrorKind::Damaged);
}

#[test]
fn many_may_make_the_same_store_at_once() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a/b/store");
    std::thread::scope(|scope| {
        for n in 0..16 {
            let path = &path;
            scope.spawn(move || {
                let store = Store::open(path).unwrap();
                let (descriptor, _) = image(&store, &n.to_string());
                store.set_ref(&format!("example.org/n:{n}"), &descriptor).unwrap();
            });
        }
    });
    assert_eq!(Store::open(&path).unwrap().list_refs().unwrap().len(), 16);
}

#[test]
fn a_read_only_store_is_read() {
    let (dir, store) = store();
    store.put(b"kept").unwrap();
    store.cache_put("step", "key", b"value").unwrap();
    let (descriptor, _) = image(&store, "read-only");
    store.set_ref("example.org/a:1", &descriptor).unwrap();
    in_mount_namespace("mount --bind $D $D && mount -o remount,ro,bind $D", "reads_only", dir.path());
}

#[test]
fn a_full_disk_is_recognised_and_leaves_nothing_half_done() {
    let dir = TempDir::new().unwrap();
    in_mount_namespace(
        "mkdir $D/small && mount -t tmpfs -o size=1m,nr_inodes=150 none $D/small",
        "fills_the_disk",
        dir.path(),
    );
}
