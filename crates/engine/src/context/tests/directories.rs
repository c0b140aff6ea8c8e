//! A directory on disk: what it shows, and what it does not.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::*;

#[test]
fn names_need_not_be_text() {
    let tree = Tree::new();
    let name = OsStr::from_bytes(b"\xff\xfe\n");
    std::fs::create_dir(tree.path().join(name)).unwrap();
    std::fs::write(tree.path().join(name).join(name), "x").unwrap();
    let source = tree.source();
    assert_eq!(all(&source), ["\\xff\\xfe\\x0a:d", "\\xff\\xfe\\x0a/\\xff\\xfe\\x0a:f"]);
    assert_eq!(show(&source, &of(&["*/*"])), "\\xff\\xfe\\x0a=\\xff\\xfe\\x0a/\\xff\\xfe\\x0a:f");
    assert!(answer(&source, &of(&["."])).is_ok());
}

#[test]
fn owner_and_attributes_are_dropped_and_mode_and_time_are_kept() {
    let tree = Tree::of(&["f"]);
    let path = tree.path().join("f");
    std::os::unix::fs::chown(&path, Some(1234), Some(4321)).unwrap();
    let tree = tree.mode("f", 0o4751);
    let _ = rustix::fs::setxattr(&path, "user.x", b"y", rustix::fs::XattrFlags::empty());
    let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000, 5);
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    let meta = tree.source().stat(b"f").unwrap().unwrap().meta;
    assert_eq!((meta.uid, meta.gid, meta.mode), (0, 0, 0o4751));
    assert_eq!((meta.mtime.secs, meta.mtime.nanos), (1_000_000, 5));
    assert!(meta.xattrs.is_empty());
}

#[test]
fn names_of_one_file_are_known() {
    let tree = Tree::of(&["a", "other"]);
    std::fs::hard_link(tree.path().join("a"), tree.place("d/b")).unwrap();
    let source = tree.source();
    let link = |path: &[u8]| source.stat(path).unwrap().unwrap().link;
    assert!(link(b"a").is_some() && link(b"a") == link(b"d/b"));
    assert_eq!(link(b"other"), None);
    assert_eq!(link(b"d"), None);
}

#[test]
fn excluded_paths_do_not_exist() {
    let tree =
        Tree::of(&["a.log", "keep.log", "d/x", "d/keep/y", "e/z"]).ignore("*.log\n!keep.log\nd\n!d/keep\ne\n!e/no");
    let source = tree.source();
    assert_eq!(all(&source), ["d:d", "d/keep:d", "d/keep/y:f", "keep.log:f"]);
    assert_eq!(source.stat(b"a.log").unwrap(), None);
    assert_eq!(source.stat(b"d/x").unwrap(), None);
    assert!(source.stat(b"d/keep/y").unwrap().is_some());
    // Excluded, and nothing in it is taken back: as if it were not there.
    assert_eq!(source.stat(b"e").unwrap(), None);
    assert_eq!(tree.select(&["*"]), "d=d:d +keep:d +keep/y:f keep.log=keep.log:f");
    assert_eq!(tree.select(&["e/z", "e"]), "missing 0 missing 1");
}

#[test]
fn the_last_rule_wins() {
    let files = ["README.md", "README-x.md", "z/q.md", "d/s/keep1", "d/s/no", "d/t", "other"];
    let tree = Tree::of(&files).ignore("*\n!d\nd/s\n!d/s/keep*\n!*.md\nREADME*.md\n!README-x.md\n");
    let expected = ["README-x.md:f", "d:d", "d/s:d", "d/s/keep1:f", "d/t:f"];
    assert_eq!(all(&tree.source()), expected);
    // The same, asked one by one.
    let source = tree.source();
    for file in files {
        let kept = expected.contains(&format!("{file}:f").as_str());
        assert_eq!(source.stat(file.as_bytes()).unwrap().is_some(), kept, "{file}");
    }
}

#[test]
fn what_cannot_be_taken_back_is_never_read() {
    let tree = Tree::of(&["closed/deep/f", "open/f"]).ignore("closed\n!open");
    let source = tree.source();
    let before = accessed(&tree.path().join("closed"));
    assert_eq!(all(&source), ["open:d", "open/f:f"]);
    assert!(source.known(b"closed").is_none() && source.known(b"open").is_some());
    assert_eq!(accessed(&tree.path().join("closed")), before);
}

fn accessed(path: &Path) -> std::time::SystemTime {
    std::fs::metadata(path).unwrap().accessed().unwrap()
}

#[test]
fn only_what_is_asked_for_is_read() {
    let tree = Tree::of(&["a/b/f", "a/c/f", "big/f"]);
    let source = tree.source();
    assert!(source.stat(b"a/b/f").unwrap().is_some());
    assert!(source.known(b"a/b").is_some() && source.known(b"a/c").is_none() && source.known(b"big").is_none());
    source.below(b"a").unwrap();
    assert!(source.known(b"a/c").is_some() && source.known(b"big").is_none());
}

#[test]
fn a_directory_replaced_by_a_link_is_an_error() {
    let tree = Tree::of(&["d/f"]);
    let source = tree.source();
    let stat = source.stat(b"d/f").unwrap().unwrap();
    std::fs::remove_dir_all(tree.path().join("d")).unwrap();
    let outside = Tree::of(&["f"]);
    symlink(outside.path(), tree.path().join("d")).unwrap();
    assert!(source.open(b"d/f", &stat).is_err());
    assert!(source.content_hash(b"d/f", &stat).is_err());
}

#[test]
fn a_file_replaced_by_something_else_is_an_error() {
    let tree = Tree::of(&["f", "secret"]);
    let source = tree.source();
    let stat = source.stat(b"f").unwrap().unwrap();
    let path = tree.path().join("f");
    std::fs::remove_file(&path).unwrap();
    symlink("secret", &path).unwrap();
    assert!(source.open(b"f", &stat).is_err());
    std::fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let error = source.open(b"f", &stat).err().unwrap().to_string();
    assert_eq!(error, "`f` was replaced while the build was reading it");
}

#[test]
fn a_file_changed_since_it_was_hashed_is_an_error_and_growth_is_not() {
    let tree = Tree::of(&["f", "log"]);
    let source = tree.source();
    answer(&source, &of(&["."])).unwrap();
    std::fs::write(tree.path().join("f"), "g").unwrap();
    std::fs::write(tree.path().join("log"), "log and more").unwrap();
    assert!(read(&source, "f").unwrap_err().to_string().contains("changed while the build was reading it"));
    assert_eq!(read(&source, "log").unwrap(), b"log");
}

#[test]
fn what_is_no_directory_cannot_be_opened() {
    let tree = Tree::of(&["f"]);
    for bad in ["f", "nothing"] {
        let error = DirSource::open(tree.path().join(bad), None).err().unwrap().to_string();
        assert!(error.starts_with("cannot open the build context "), "{error}");
    }
}

#[test]
fn the_directory_itself_may_be_named_by_a_link() {
    let tree = Tree::of(&["real/f", "link -> real"]);
    let source = DirSource::open(tree.path().join("link"), None).unwrap();
    assert_eq!(all(&source), ["f:f"]);
}

#[test]
fn many_files_on_many_threads_are_each_seen_once() {
    let tree = Tree::new();
    let mut expected = Vec::new();
    let mut fill = |dir: &str, files: usize| {
        expected.push(format!("{dir}:d"));
        std::fs::create_dir(tree.path().join(dir)).unwrap();
        for f in 0..files {
            std::fs::write(tree.path().join(dir).join(format!("f{f:05}")), "").unwrap();
            expected.push(format!("{dir}/f{f:05}:f"));
        }
    };
    (0..40).for_each(|d| fill(&format!("d{d:02}"), 250));
    // Large enough to be shared between threads.
    fill("wide", 10_000);
    let found = all(&tree.source());
    assert_eq!(found.iter().zip(&expected).find(|(a, b)| a != b), None);
    assert_eq!(found.len(), expected.len());
    let tree = tree.ignore("**/*3\n!d13/f00013");
    expected.retain(|line| match line.starts_with("d13") {
        true => line == "d13:d" || line == "d13/f00013:f",
        false => !line.split(['/', ':']).any(|part| part.ends_with('3')),
    });
    let found = all(&tree.source());
    assert_eq!(found.iter().zip(&expected).find(|(a, b)| a != b), None);
    assert_eq!(found.len(), expected.len());
}

#[test]
fn single_files_are_read_inside_only() {
    let tree = Tree::of(&["Dockerfile", "d/x", "link -> /d/x", "out -> /etc/passwd", "up -> ../../etc/passwd"]);
    let read = |path: &str| read_inside(tree.path(), path.as_bytes(), 10).map_err(|e| e.to_string());
    assert_eq!(read("Dockerfile"), Ok(Some(b"Dockerfile".to_vec())));
    assert_eq!(read("link"), Ok(Some(b"d/x".to_vec())));
    for nothing in ["out", "up", "../../etc/passwd", "no"] {
        assert_eq!(read(nothing), Ok(None), "{nothing}");
    }
    assert_eq!(read("d"), Err("cannot read `d`: it is not a regular file".to_owned()));
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, tree.path().join("pipe"), fifo, 0o600.into(), 0).unwrap();
    assert_eq!(read("pipe"), Err("cannot read `pipe`: it is not a regular file".to_owned()));
    std::fs::write(tree.path().join("long"), "12345678901").unwrap();
    assert_eq!(read("long"), Err("cannot read `long`: it has more than 10 bytes".to_owned()));
}

#[test]
fn deep_directories_are_read() {
    let tree = Tree::new();
    let deep = "d/".repeat(200);
    std::fs::create_dir_all(tree.path().join(&deep)).unwrap();
    std::fs::write(tree.path().join(&deep).join("f"), "x").unwrap();
    let source = tree.source();
    assert_eq!(source.below(b"").unwrap().len(), 201);
    assert!(source.stat(format!("{deep}f").as_bytes()).unwrap().is_some());
}
