//! Layers stacked, looked through, shown and compared.

use proptest::prelude::*;

use super::*;
use crate::entry::{Entry, EntryKind, Mtime};
use crate::index::{IndexedEntry, LayerIndex};

/// A layer in a few words an entry: `d path`, `f path [size]`, `l path target`, `h path target`, `w path`, `o path`,
/// `p path`, `c path`.
fn layer(lines: &[&str]) -> LayerIndex {
    let entry = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let word = |n: usize| words.get(n).copied().unwrap_or_default();
        let kind = match word(0) {
            "d" => EntryKind::Dir,
            "f" => EntryKind::File { size: word(2).parse().unwrap_or(0) },
            "l" => EntryKind::Symlink { target: word(2).into() },
            "h" => EntryKind::Hardlink { target: word(2).into() },
            "w" => EntryKind::Whiteout,
            "o" => EntryKind::Opaque,
            "p" => EntryKind::Fifo,
            "c" => EntryKind::Char { major: 1, minor: 3 },
            other => panic!("unknown word {other}"),
        };
        let mode = match word(0) {
            "d" => 0o755,
            "l" => 0o777,
            _ => 0o644,
        };
        Entry { path: word(1).into(), kind, meta: Meta::mode(mode) }
    };
    let entries = lines.iter().zip(1..).map(|(line, n)| IndexedEntry { entry: entry(line), offset: n * 512 }).collect();
    LayerIndex { entries, tar_size: 0 }
}

fn stack(layers: &[&[&str]]) -> Result<Tree, TreeError> {
    let mut tree = Tree::new();
    for (n, lines) in layers.iter().enumerate() {
        tree.apply(&layer(lines), &Digest::of(&[n as u8]))?;
    }
    Ok(tree)
}

/// The dump with the number of a file's layer in place of its digest.
fn dump(layers: &[&[&str]]) -> String {
    let digests: Vec<Digest> = (0..layers.len()).map(|n| Digest::of(&[n as u8])).collect();
    let mut text = stack(layers).unwrap().dump(&mut |file| (*file.layer).clone());
    for (n, digest) in digests.iter().enumerate() {
        text = text.replace(&digest.to_string(), &format!("#{n}"));
    }
    text
}

#[test]
fn parents_are_made_and_lines_sorted() {
    let got = dump(&[&["f a/b/c 3", "d a", "c dev/null", "l a-l a/b", "p a/p"]]);
    let want = "/a d 0755 0:0\n/a/b d 0755 0:0\n/a/b/c f 0644 0:0 3 #0\n/a/p p 0644 0:0\n/a-l l 0777 0:0 -> a/b\n\
        /dev d 0755 0:0\n/dev/null c 0644 0:0 1:3\n";
    assert_eq!(got, want);
}

#[test]
fn whiteouts_hide_the_lower_layers_only_wherever_they_stand() {
    let lower: &[&str] = &["f etc/a", "f etc/b", "f etc/d/x", "f keep"];
    let got =
        dump(&[lower, &["f etc/b", "w etc/b", "w etc/a", "w etc/d", "f etc/d/y", "w never/was", "w etc/a/below"]]);
    assert_eq!(
        got,
        "/etc d 0755 0:0\n/etc/b f 0644 0:0 0 #1\n/etc/d d 0755 0:0\n/etc/d/y f 0644 0:0 0 #1\n/keep f 0644 0:0 0 #0\n"
    );
}

#[test]
fn markers_do_not_follow_a_link_their_layer_replaces() {
    let lower: &[&str] = &["f usr/lib/a", "l lib usr/lib", "l etc usr"];
    let kept = "/etc l 0777 0:0 -> usr\n/lib d 0755 0:0\n/lib/new f 0644 0:0 0 #1\n/usr d 0755 0:0\n/usr/lib d 0755 0:0\n\
        /usr/lib/a f 0644 0:0 0 #0\n";
    for upper in [
        &["d lib", "o lib", "f lib/new"],
        &["o lib", "d lib", "f lib/new"],
        &["d lib", "w lib/a", "f lib/new"],
        &["f lib/new", "w lib/a", "d lib"],
    ] {
        assert_eq!(dump(&[lower, upper]), kept, "{upper:?}");
    }
    // A new link, or a file, has nothing below it to hide either.
    assert!(dump(&[lower, &["l lib other", "w lib/a"]]).contains("/usr/lib/a f"));
    assert!(dump(&[lower, &["f lib", "o lib"]]).contains("/usr/lib/a f"));
    // Seen through another link, the place is the same; a link without an entry of its own is followed.
    let deep: &[&str] = &["f keep/x", "l usr/lib /keep", "l etc usr"];
    assert!(dump(&[deep, &["d etc/lib", "o etc/lib", "f etc/lib/n"]]).contains("/keep/x f"));
    assert!(!dump(&[lower, &["w lib/a"]]).contains("/usr/lib/a"));
    assert!(!dump(&[lower, &["o lib"]]).contains("/usr/lib/a"));
}

#[test]
fn opaque_directories_lose_the_lower_children_before_or_after_their_own() {
    for upper in [&["f d/new", "o d"], &["o d", "f d/new"]] {
        assert_eq!(dump(&[&["f d/old", "f d/sub/x"], upper]), "/d d 0755 0:0\n/d/new f 0644 0:0 0 #1\n");
    }
    assert_eq!(dump(&[&["f old"], &["o ", "f new"]]), "/new f 0644 0:0 0 #1\n");
}

#[test]
fn what_replaces_what() {
    assert_eq!(
        dump(&[&["f d/x"], &["d d"]]),
        "/d d 0755 0:0\n/d/x f 0644 0:0 0 #0\n",
        "a directory keeps its children"
    );
    assert_eq!(dump(&[&["f d/x"], &["f d"]]), "/d f 0644 0:0 0 #1\n");
    assert_eq!(dump(&[&["f d"], &["d d"], &["f d/x"]]), "/d d 0755 0:0\n/d/x f 0644 0:0 0 #2\n");
    assert_eq!(dump(&[&["f d"], &["f d/x"]]), "/d d 0755 0:0\n/d/x f 0644 0:0 0 #1\n", "a file in the way of a parent");
    assert_eq!(
        dump(&[&["f t/x", "l d t"], &["d d", "f d/y"]]),
        "/d d 0755 0:0\n/d/y f 0644 0:0 0 #1\n/t d 0755 0:0\n/t/x f 0644 0:0 0 #0\n"
    );
    assert_eq!(dump(&[&["f x 1", "f x 2", "l x y", "f x 3"]]), "/x f 0644 0:0 3 #0\n", "the last of duplicates wins");
    assert_eq!(dump(&[&["d d", "f d/x", "d d"]]), "/d d 0755 0:0\n/d/x f 0644 0:0 0 #0\n");
}

#[test]
fn links_in_parents_are_followed_inside_the_root() {
    let lower: &[&str] = &["d usr/lib", "l lib usr/lib", "l abs /usr/lib", "l up ../../usr", "l gone nowhere/deep"];
    let got = dump(&[lower, &["f lib/a", "f abs/b", "f up/lib/c", "f gone/e"]]);
    for path in ["/usr/lib/a", "/usr/lib/b", "/usr/lib/c", "/nowhere/deep/e"] {
        assert!(got.contains(&format!("{path} f")), "{path} in\n{got}");
    }
    assert!(got.contains("/lib l"));
    assert_eq!(dump(&[lower, &["w lib/a", "f lib/a"], &["w lib/a"]]).matches(" f ").count(), 0);
    // A directory declared after what is in it.
    let late = dump(&[&["f t/x", "l d t"], &["f d/y", "d d"]]);
    assert!(late.contains("/d/y f") && !late.contains("/t/y"), "{late}");
}

#[test]
fn hard_links_share_one_file() {
    assert_eq!(dump(&[&["f a 5", "h b a", "h c b"]]), "/a f 0644 0:0 5 #0\n/b h => /a\n/c h => /a\n");
    assert_eq!(
        dump(&[&["h a b", "h b c", "f c 5"]]),
        "/a f 0644 0:0 5 #0\n/b h => /a\n/c h => /a\n",
        "links before targets"
    );
    assert_eq!(dump(&[&["f low 5"], &["h up low"]]), "/low f 0644 0:0 5 #0\n/up h => /low\n", "to a lower layer");
    assert_eq!(
        dump(&[&["h a b", "f b 1", "f a 2"]]),
        "/a f 0644 0:0 2 #0\n/b f 0644 0:0 1 #0\n",
        "replaced while waiting"
    );
    assert_eq!(dump(&[&["l s x", "h t s"]]), "/s l 0777 0:0 -> x\n/t l 0777 0:0 -> x\n");
    assert_eq!(dump(&[&["f a 5"], &["f a 6"]]).matches(" h ").count(), 0);
    let missing = stack(&[&["h a nothing"]]).unwrap_err();
    assert_eq!(missing.to_string(), "the layer links `a` to `nothing`, which does not exist");
    assert!(matches!(stack(&[&["d d", "h a d"]]), Err(TreeError::HardlinkToDirectory { .. })));
    assert!(matches!(stack(&[&["h a b", "h b a"]]), Err(TreeError::HardlinkMissing { .. })));
}

#[test]
fn a_failed_layer_changes_nothing() {
    let mut tree = stack(&[&["f a"]]).unwrap();
    let before = tree.clone();
    assert!(tree.apply(&layer(&["w a", "f b", "h x nothing"]), &Digest::of(b"")).is_err());
    assert_eq!(tree, before);
}

#[test]
fn lookups_stay_inside_the_root() {
    let tree = stack(&[&[
        "f etc/passwd 7",
        "l out ../../../etc",
        "l abs /etc/passwd",
        "l loop loop",
        "l dir etc",
        "l gone x/y",
        "f file",
    ]])
    .unwrap();
    let found =
        |path: &str, follow| tree.lookup(path.as_bytes(), follow).unwrap().map(|f| String::from_utf8(f.path).unwrap());
    assert_eq!(found("/out/passwd", Follow::All).unwrap(), "etc/passwd");
    assert_eq!(found("../../etc/./passwd", Follow::All).unwrap(), "etc/passwd");
    assert_eq!(found("abs", Follow::All).unwrap(), "etc/passwd");
    assert_eq!(found("abs", Follow::Parents).unwrap(), "abs");
    assert_eq!(found("dir/passwd", Follow::Parents).unwrap(), "etc/passwd");
    assert_eq!(found("", Follow::All).unwrap(), "");
    assert_eq!(found("gone", Follow::All), None);
    assert_eq!(found("etc/none/../passwd", Follow::All), None, "a kernel needs the directory to exist");
    assert!(matches!(tree.lookup(b"loop", Follow::All), Err(TreeError::Loop { .. })));
    assert!(matches!(tree.lookup(b"loop/x", Follow::Parents), Err(TreeError::Loop { .. })));
    assert!(matches!(tree.lookup(b"file/x", Follow::All), Err(TreeError::NotADirectory { path }) if path == "/file"));
    assert_eq!(tree.children(b"/dir").unwrap().unwrap().len(), 1);
    assert!(tree.children(b"file").unwrap().is_none());
}

#[test]
fn destinations_need_not_exist() {
    let tree = stack(&[&["d a/b", "l s a/b", "l dangling /nowhere/deep", "f file"]]).unwrap();
    let resolve = |path: &str| {
        let r = tree.resolve(path.as_bytes()).unwrap();
        (String::from_utf8(r.existing.clone()).unwrap(), String::from_utf8(r.rest.clone()).unwrap())
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(resolve("/s/new/x"), pair("a/b", "new/x"));
    assert_eq!(resolve("/dangling"), pair("", "nowhere/deep"));
    assert_eq!(resolve("/none/../a/b"), pair("a/b", ""));
    assert_eq!(resolve("/none/../../../q"), pair("", "q"));
    assert_eq!(resolve("/file"), pair("file", ""));
    assert!(tree.resolve(b"/file/x").is_err());
    assert_eq!(tree.resolve(b"s/n").unwrap().full(), b"a/b/n");
}

#[test]
fn clones_are_apart() {
    let base = stack(&[&["f d/a", "f e/b"]]).unwrap();
    let mut changed = base.clone();
    changed.apply(&layer(&["f d/new", "w d/a"]), &Digest::of(b"x")).unwrap();
    assert!(base.at(b"d/a").is_some() && base.at(b"d/new").is_none());
    assert!(Arc::ptr_eq(base.at(b"e").unwrap(), changed.at(b"e").unwrap()), "what did not change is shared");
    assert_eq!(changed.remove(b"d/none").unwrap(), None);
    assert_eq!(changed.remove(b""), Err(TreeError::Root));
    assert_eq!(changed.insert(b"", Arc::new(Node { kind: NodeKind::Fifo, ..Node::dir() })), Err(TreeError::Root));
    assert!(changed.insert(b"a/../b", Arc::new(Node::dir())).is_err());
}

#[test]
fn a_line_is_always_a_line() {
    let mut index = layer(&["d x", "l y z"]);
    index.entries[0].entry.path = b"new\nline \xff\\".to_vec();
    index.entries[0].entry.meta.xattrs.insert(b"user.a b=c".to_vec(), vec![0, 255]);
    index.entries[1].entry.kind = EntryKind::Symlink { target: b"\r\n/x".to_vec() };
    let mut tree = Tree::new();
    tree.apply(&index, &Digest::of(b"")).unwrap();
    let text = tree.dump(&mut |_| Digest::of(b""));
    assert_eq!(text, "/new\\x0aline\\x20\\xff\\\\ d 0755 0:0 user.a\\x20b\\x3dc=00ff\n/y l 0777 0:0 -> \\x0d\\x0a/x\n");
}

#[test]
fn dumps_can_show_times_and_align() {
    let mut index = layer(&["d a", "f a/file 2"]);
    index.entries[1].entry.meta.mtime = Mtime { secs: 5, nanos: 70 };
    let mut tree = Tree::new();
    tree.apply(&index, &Digest::of(b"")).unwrap();
    let options = DumpOptions { mtimes: true, aligned: true };
    let text = tree.dump_with(b"a", options, &mut |_| None);
    assert_eq!(text, "/a      d 0755 0:0 @0\n/a/file f 0644 0:0 @5.000000070 2\n");
    let mut root = Tree::new();
    root.apply(&layer(&["d "]), &Digest::of(b"")).unwrap();
    assert_eq!(root.dump(&mut |_| Digest::of(b"")), "", "a plain root has no line");
    let mut private = layer(&["d "]);
    private.entries[0].entry.meta.mode = 0o700;
    root.apply(&private, &Digest::of(b"")).unwrap();
    assert_eq!(root.dump(&mut |_| Digest::of(b"")), "/ d 0700 0:0\n");
}

#[test]
fn differences_are_listed_in_order() {
    let a = stack(&[&["f a/gone/x 1", "f a/same 2", "f b 3", "f c 4", "l l one"]]).unwrap();
    let b = stack(&[&[], &["f a/same 2", "f a/new/y 5", "f b 9", "d c", "f c/z 1", "l l two"]]).unwrap();
    let mut asked = 0;
    let changes = Tree::diff(&a, &b, &mut |x, y| {
        asked += 1;
        x.size == 2 && y.size == 2
    });
    assert!(asked <= 1);
    let text = changes_text(&changes, &mut |_| None);
    let want = "- /a/gone d 0755 0:0\n- /a/gone/x f 0644 0:0 1\n+ /a/new d 0755 0:0\n+ /a/new/y f 0644 0:0 5\n\
        - /b f 0644 0:0 3\n+ /b f 0644 0:0 9\n- /c f 0644 0:0 4\n+ /c d 0755 0:0\n+ /c/z f 0644 0:0 1\n\
        - /l l 0777 0:0 -> one\n+ /l l 0777 0:0 -> two\n";
    assert_eq!(text, want);
    assert!(Tree::diff(&a, &a.clone(), &mut |_, _| false).is_empty());
}

#[test]
fn implied_parents_are_limited() {
    let entry = |n: usize| IndexedEntry {
        entry: Entry {
            path: format!("{n}{}", "/a".repeat(500)).into_bytes(),
            kind: EntryKind::Symlink { target: b"x".to_vec() },
            meta: Meta::default(),
        },
        offset: 0,
    };
    let index = |many: usize| LayerIndex { entries: (0..many).map(entry).collect(), tar_size: 0 };
    let layer = Digest::of(b"");
    assert!(Tree::new().apply(&index(100), &layer).is_ok());
    assert!(matches!(Tree::new().apply(&index(2100), &layer), Err(TreeError::TooManyParents { .. })));
}

#[test]
fn depth_is_limited_so_that_nothing_recurses_too_far() {
    // Each layer descends as deep as a path may go, through a link to where the last one ended.
    let mut tree = Tree::new();
    let deep = vec!["a"; name::MAX_DEPTH].join("/");
    tree.apply(&layer(&[&format!("d {deep}"), &format!("l s {deep}")]), &Digest::of(b"")).unwrap();
    let walked = tree.walk(b"").count();
    assert_eq!(walked, name::MAX_DEPTH + 2);
    assert!(matches!(tree.apply(&layer(&["f s/b"]), &Digest::of(b"")), Err(TreeError::TooDeep { .. })));
    let small_stack = std::thread::Builder::new().stack_size(512 << 10);
    small_stack.spawn(move || drop(tree)).unwrap().join().unwrap();
}

fn words() -> impl Strategy<Value = String> {
    let path = || "[abc]{1,1}(/[abc]){0,3}";
    let target = || "(/|\\.\\./)?[abc](/[abc]|/\\.\\.){0,3}";
    prop_oneof![
        path().prop_map(|p| format!("d {p}")),
        path().prop_map(|p| format!("f {p} 1")),
        (path(), target()).prop_map(|(p, t)| format!("l {p} {t}")),
        (path(), path()).prop_map(|(p, t)| format!("h {p} {t}")),
        path().prop_map(|p| format!("w {p}")),
        path().prop_map(|p| format!("o {p}")),
    ]
}

proptest! {
    #[test]
    fn any_layers_stack_or_fail_without_a_panic(
        layers in proptest::collection::vec(proptest::collection::vec(words(), 0..12), 1..5)
    ) {
        let mut tree = Tree::new();
        for lines in &layers {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let _ = tree.apply(&layer(&lines), &Digest::of(lines.concat().as_bytes()));
        }
        let text = tree.dump(&mut |file| (*file.layer).clone());
        prop_assert_eq!(text.lines().count(), tree.walk(b"").count() - 1);
        // Every path of a walk is found again, and is its own real path.
        for (path, node) in tree.walk(b"") {
            let found = tree.lookup(&path, Follow::Parents).unwrap().unwrap();
            prop_assert_eq!(&found.path, &path);
            prop_assert!(Arc::ptr_eq(found.node, node));
            let _ = tree.resolve(&path);
        }
        prop_assert!(Tree::diff(&tree, &tree.clone(), &mut |_, _| false).is_empty());
        let from_nothing = Tree::diff(&Tree::new(), &tree, &mut |_, _| false);
        prop_assert_eq!(from_nothing.len(), tree.walk(b"").count() - 1);
    }
}
