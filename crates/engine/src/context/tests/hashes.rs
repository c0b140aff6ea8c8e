//! What a selection's hash depends on, and how it is remembered.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kiln_oci::Meta;
use kiln_plan::facts::Key32;
use kiln_store::Store;

use super::contract::{file, layers};
use super::*;

fn hash(tree: &Tree, sources: &[&str]) -> Key32 {
    answer(&tree.source(), &of(sources)).unwrap().hash
}

/// Whether a change to a directory changes the hash of all of it.
fn changes(entries: &[&str], edit: impl FnOnce(&Path)) -> bool {
    let tree = Tree::of(entries);
    let before = hash(&tree, &["."]);
    edit(tree.path());
    hash(&tree, &["."]) != before
}

#[test]
fn what_is_copied_is_in_the_hash() {
    use std::fs::{self, Permissions};
    assert!(changes(&["f"], |dir| fs::write(dir.join("f"), "g").unwrap()));
    assert!(changes(&["f"], |dir| fs::rename(dir.join("f"), dir.join("g")).unwrap()));
    assert!(changes(&["f"], |dir| fs::set_permissions(dir.join("f"), Permissions::from_mode(0o700)).unwrap()));
    assert!(changes(&["d/"], |dir| fs::set_permissions(dir.join("d"), Permissions::from_mode(0o700)).unwrap()));
    assert!(changes(&["f"], |dir| fs::create_dir(dir.join("empty")).unwrap()));
    assert!(changes(&["l -> a"], |dir| {
        fs::remove_file(dir.join("l")).unwrap();
        symlink("b", dir.join("l")).unwrap();
    }));
    // Two names of one file, then two files with the same bytes.
    let tree = Tree::of(&["a"]);
    fs::hard_link(tree.path().join("a"), tree.path().join("b")).unwrap();
    let linked = hash(&tree, &["."]);
    fs::remove_file(tree.path().join("b")).unwrap();
    fs::write(tree.path().join("b"), "a").unwrap();
    assert_ne!(hash(&tree, &["."]), linked);
}

#[test]
fn what_is_not_copied_is_not_in_the_hash() {
    use std::fs::{self, File, Permissions};
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    assert!(!changes(&["f"], |dir| File::open(dir.join("f")).unwrap().set_modified(old).unwrap()));
    assert!(!changes(&["f"], |dir| std::os::unix::fs::chown(dir.join("f"), Some(7), Some(7)).unwrap()));
    assert!(!changes(&["f"], |dir| fs::set_permissions(dir, Permissions::from_mode(0o711)).unwrap()));
    // A further name outside of the selection.
    let tree = Tree::of(&["d/f"]);
    let before = hash(&tree, &["d"]);
    fs::hard_link(tree.path().join("d/f"), tree.path().join("g")).unwrap();
    assert_eq!(hash(&tree, &["d"]), before);
    // A file of the same name and content from elsewhere.
    let tree = Tree::new();
    fs::write(tree.place("a/f"), "x").unwrap();
    fs::write(tree.place("b/f"), "x").unwrap();
    assert_eq!(hash(&tree, &["a/f"]), hash(&tree, &["b/f"]));
    assert_ne!(hash(&tree, &["a/f"]), hash(&tree, &["a/f", "b/f"]));
}

#[test]
fn names_and_bytes_do_not_run_into_each_other() {
    let one = MemorySource::new().file("ab", 0o644, "c");
    let other = MemorySource::new().file("a", 0o644, "bc");
    let more = MemorySource::new().file("a/b", 0o644, "c");
    let hashes = [one, other, more].map(|source| answer(&source, &of(&["."])).unwrap().hash);
    assert!(hashes[0] != hashes[1] && hashes[1] != hashes[2] && hashes[0] != hashes[2]);
}

#[test]
fn an_image_s_owners_and_capabilities_count() {
    let owned = |meta: Meta| answer(&layers(vec![("f", file("f", 1, meta))]), &of(&["f"])).unwrap().hash;
    let plain = owned(Meta::mode(0o644));
    assert_ne!(owned(Meta { uid: 5, ..Meta::mode(0o644) }), plain);
    assert_ne!(owned(Meta { gid: 5, ..Meta::mode(0o644) }), plain);
    let with = |name: &[u8]| Meta { xattrs: [(name.to_vec(), b"v".to_vec())].into(), ..Meta::mode(0o644) };
    assert_ne!(owned(with(b"security.capability")), plain);
    assert_eq!(owned(with(b"user.comment")), plain);
}

/// A store, and a context whose files were changed long ago.
struct Remembered {
    store: Store,
    tree: Tree,
    _dir: TempDir,
}

impl Remembered {
    fn new() -> Remembered {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        Remembered { store, tree: Tree::of(&["a", "b", "d/c"]), _dir: dir }
    }

    /// Builds once; returns the hash and the number of files remembered.
    fn build(&self) -> (Key32, usize) {
        let table = Arc::new(HashTable::load(&self.store, self.tree.path()));
        let source = self.tree.source().with_table(table.clone());
        let hash = answer(&source, &of(&["."])).unwrap().hash;
        table.save(&self.store).unwrap();
        (hash, HashTable::load(&self.store, self.tree.path()).len())
    }
}

#[test]
fn files_changed_just_now_are_not_trusted_next_time() {
    let (context, start) = (Remembered::new(), SystemTime::now());
    let (_, remembered) = context.build();
    // On a machine so slow that two seconds went by, they may be.
    assert!(remembered == 0 || start.elapsed().unwrap() > Duration::from_secs(1));
}

#[test]
fn an_unchanged_context_is_not_read_again() {
    let context = Remembered::new();
    std::thread::sleep(Duration::from_millis(2100));
    let (first, remembered) = context.build();
    assert_eq!(remembered, 3);
    // If the files were read, this would fail.
    let table = Arc::new(HashTable::load(&context.store, context.tree.path()));
    let source = context.tree.source().with_table(table);
    let selection = super::super::select(&source, &of(&["."])).unwrap();
    std::fs::remove_file(context.tree.path().join("a")).unwrap();
    std::fs::remove_file(context.tree.path().join("d/c")).unwrap();
    assert_eq!(hash_selection(&source, &selection).unwrap(), first);
}

#[test]
fn a_changed_file_is_read_again_even_with_its_old_time() {
    let context = Remembered::new();
    std::thread::sleep(Duration::from_millis(2100));
    let (first, _) = context.build();
    let path = context.tree.path().join("a");
    let time = std::fs::metadata(&path).unwrap().modified().unwrap();
    std::fs::write(&path, "z").unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    assert_ne!(context.build().0, first);
}
