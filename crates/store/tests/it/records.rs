//! Cache records and context tables.

use std::fs;

use kiln_store::StoreError;

use crate::{again, names, store};

#[test]
fn records_are_found_by_kind_and_key() {
    let (_dir, store) = store();
    let keys = ["", "plain", "../../../etc/passwd", "with\nnewline\u{0}", &"long".repeat(3000)];
    for (n, key) in keys.iter().enumerate() {
        assert_eq!(store.cache_get("step", key), None);
        store.cache_put("step", key, &[n as u8; 10]).unwrap();
    }
    store.cache_put("step", "plain", b"replaced").unwrap();
    store.cache_put("content", "plain", b"").unwrap();
    let store = again(&store);
    assert_eq!(store.cache_get("step", "plain").unwrap(), b"replaced");
    assert_eq!(store.cache_get("content", "plain").unwrap(), b"");
    assert_eq!(store.cache_get("step", keys[2]).unwrap(), [2; 10]);
    let listed = store.cache_list("step").unwrap();
    assert_eq!(listed.len(), keys.len());
    assert!(listed.iter().any(|e| e.key == "plain" && e.size == 8));
    assert!(store.cache_list("never").unwrap().is_empty());
    store.cache_remove("step", "plain").unwrap();
    store.cache_remove("step", "plain").unwrap();
    assert_eq!(store.cache_get("step", "plain"), None);
    assert!(store.take_warnings().is_empty());
}

#[test]
fn kinds_are_words() {
    let (_dir, store) = store();
    for bad in ["", "..", "a/b", "A", "a b", &"x".repeat(65)] {
        assert!(matches!(store.cache_put(bad, "k", b""), Err(StoreError::CacheKind { .. })), "{bad}");
        assert!(matches!(store.cache_list(bad), Err(StoreError::CacheKind { .. })), "{bad}");
        assert_eq!(store.cache_get(bad, "k"), None);
    }
}

#[test]
fn a_damaged_record_is_none_and_goes_with_a_warning() {
    let (_dir, store) = store();
    let dir = store.dir().join("kiln/cache/step");
    let damages: [fn(&mut Vec<u8>); 5] =
        [|b| b.truncate(b.len() / 2), |b| b.clear(), |b| *b.last_mut().unwrap() ^= 1, |b| b.push(0), |b| b.fill(0)];
    for damage in damages {
        store.cache_put("step", "key", b"value").unwrap();
        let path = dir.join(&names(&dir)[0]);
        let mut bytes = fs::read(&path).unwrap();
        damage(&mut bytes);
        fs::write(&path, bytes).unwrap();
        assert_eq!(store.cache_get("step", "key"), None);
        assert!(!path.exists());
        let warnings = store.take_warnings();
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].to_string().contains("damaged and is removed"), "{}", warnings[0]);
    }
    // A record that was moved to the name of another one is not taken for it.
    store.cache_put("step", "a", b"value of a").unwrap();
    let a = dir.join(&names(&dir)[0]);
    store.cache_put("step", "b", b"value of b").unwrap();
    let b = names(&dir).into_iter().map(|n| dir.join(n)).find(|p| *p != a).unwrap();
    fs::copy(&a, &b).unwrap();
    assert_eq!(store.cache_get("step", "b"), None);
    fs::create_dir_all(store.dir().join("kiln/cache/other")).unwrap();
    fs::copy(&a, store.dir().join("kiln/cache/other").join(a.file_name().unwrap())).unwrap();
    assert_eq!(store.cache_get("other", "a"), None);
}

#[test]
fn tables_are_saved_and_loaded() {
    let (_dir, store) = store();
    assert_eq!(store.load_table("/src/app"), None);
    store.save_table("/src/app", &[1; 100_000]).unwrap();
    store.save_table("/src/app", &[2; 100_000]).unwrap();
    store.save_table("/src/other", b"x").unwrap();
    assert_eq!(again(&store).load_table("/src/app").unwrap(), [2; 100_000]);
    let dir = store.dir().join("kiln/context");
    assert_eq!(names(&dir).len(), 2);
    for name in names(&dir) {
        fs::write(dir.join(name), "junk").unwrap();
    }
    assert_eq!(store.load_table("/src/app"), None);
    assert_eq!(store.take_warnings().len(), 1);
}
