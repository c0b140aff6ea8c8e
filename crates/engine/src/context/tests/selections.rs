//! Sources of `COPY`: before and after.

use std::os::unix::net::UnixListener;

use super::*;

#[test]
fn a_file_a_directory_and_the_root() {
    let tree = Tree::of(&["f", "d/x", "d/y/z"]);
    assert_eq!(tree.select(&["f"]), "f=f:f");
    assert_eq!(tree.select(&["/d/"]), "d=d:d +x:f +y:d +y/z:f");
    assert_eq!(tree.select(&["d/y/z", "f"]), "z=d/y/z:f f=f:f");
    for root in [".", "/", "./", "d/.."] {
        assert_eq!(tree.select(&[root]), "=:d +d:d +d/x:f +d/y:d +d/y/z:f +f:f", "{root}");
    }
}

#[test]
fn dots_stop_at_the_root() {
    let tree = Tree::of(&["f", "d/x"]);
    assert_eq!(tree.select(&["../f"]), "f=f:f");
    assert_eq!(tree.select(&["d/../../f"]), "f=f:f");
    assert_eq!(tree.select(&["../../../etc/passwd"]), "missing 0");
}

#[test]
fn wildcards_stay_in_their_component() {
    let tree = Tree::of(&["a.go", "b.go", "c.txt", "x/a.go", "x/y/a.go", ".hidden"]);
    assert_eq!(tree.select(&["*.go"]), "a.go=a.go:f b.go=b.go:f");
    assert_eq!(tree.select(&["*/*.go"]), "a.go=x/a.go:f");
    assert_eq!(tree.select(&["x/*"]), "a.go=x/a.go:f y=x/y:d +a.go:f");
    assert_eq!(tree.select(&["?.[gt]?*"]), "a.go=a.go:f b.go=b.go:f c.txt=c.txt:f");
    // As in Go, `*` matches a leading dot, and `**` is no more than `*`.
    assert_eq!(tree.select(&["*hidden"]), ".hidden=.hidden:f");
    assert_eq!(tree.select(&["**/a.go"]), "a.go=x/a.go:f");
}

#[test]
fn only_a_wildcard_may_match_nothing() {
    let tree = Tree::of(&["f"]);
    assert_eq!(tree.select(&["nomatch*"]), "");
    assert_eq!(tree.select(&["nodir/*"]), "missing 0", "what comes before the wildcard has to be there");
    assert_eq!(tree.select(&["f", "g"]), "f=f:f missing 1");
    assert_eq!(tree.select(&["f/g"]), "missing 0");
}

#[test]
fn names_that_look_like_patterns() {
    let tree = Tree::of(&["arr[0].txt", "a b", "arr0.txt"]);
    assert_eq!(tree.select(&["arr[[]0].txt"]), "arr[0].txt=arr[0].txt:f");
    assert_eq!(tree.select(&["arr[0].txt"]), "arr0.txt=arr0.txt:f");
    assert_eq!(tree.select(&["a b"]), "a\\x20b=a\\x20b:f");
    assert!(tree.select(&["arr[0.txt"]).starts_with("error: `arr[0.txt` is not a valid pattern"));
}

#[test]
fn links_are_followed_on_top_and_kept_below() {
    let tree = Tree::of(&["real/f", "real/in -> f", "lf -> real/f", "ld -> real", "abs -> /real/f"]);
    assert_eq!(tree.select(&["lf"]), "lf=real/f:f");
    assert_eq!(tree.select(&["abs"]), "abs=real/f:f");
    assert_eq!(tree.select(&["ld"]), "ld=real:d +f:f +in:l>f");
    assert_eq!(tree.select(&["ld/f"]), "f=real/f:f");
    assert_eq!(tree.select(&["l*"]), "ld=real:d +f:f +in:l>f lf=real/f:f");
    // In front of the first wildcard a link is followed, behind it none is.
    assert_eq!(tree.select(&["ld/*"]), "f=real/f:f in=real/f:f");
    assert_eq!(tree.select(&["l*/f"]), "");
    let root = tree.select(&["."]);
    assert!(root.contains("+abs:l>/real/f +ld:l>real +lf:l>real/f"), "{root}");
}

#[test]
fn links_never_leave_the_root() {
    let tree = Tree::of(&["passwd -> /etc/passwd", "up -> ../../../../etc/passwd", "sys -> /etc", "dot -> ..", "f"]);
    for out in ["passwd", "up", "sys/passwd", "sys", "sys/*"] {
        assert_eq!(tree.select(&[out]), "missing 0", "{out}");
    }
    // `..` of the root is the root.
    assert_eq!(tree.select(&["dot/f"]), "f=f:f");
    let error = tree.select(&["p*"]);
    assert_eq!(error, "error: `p*` matches `passwd`, a symbolic link to `/etc/passwd`, where nothing is");
    // The same paths inside the root are found there.
    let tree = tree.entry("etc/passwd");
    assert_eq!(tree.select(&["passwd"]), "passwd=etc/passwd:f");
    assert_eq!(tree.select(&["up"]), "up=etc/passwd:f");
    assert_eq!(tree.select(&["sys"]), "sys=etc:d +passwd:f");
}

#[test]
fn circles_are_errors_that_name_them() {
    let tree = Tree::of(&["a -> b", "b -> a", "self -> self/x"]);
    assert_eq!(tree.select(&["a"]), "error: `a`: its symbolic links lead in a circle");
    assert_eq!(tree.select(&["self"]), "error: `self`: its symbolic links lead in a circle");
    // Inside a directory, a circle is only two links.
    assert_eq!(tree.select(&["."]), "=:d +a:l>b +b:l>a +self:l>self/x");
}

#[test]
fn long_chains_of_links_end() {
    let tree = (1..=255).fold(Tree::of(&["l0"]), |tree, n| tree.entry(&format!("l{n} -> l{}", n - 1)));
    assert_eq!(tree.select(&["l255"]), "l255=l0:f");
    assert!(tree.entry("l256 -> l255").select(&["l256"]).starts_with("error: "));
}

#[test]
fn pipes_are_copied_and_sockets_are_not() {
    let tree = Tree::of(&["d/f"]);
    let cwd = rustix::fs::CWD;
    rustix::fs::mknodat(cwd, tree.path().join("d/pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let _socket = UnixListener::bind(tree.path().join("d/socket")).unwrap();
    assert_eq!(tree.select(&["d"]), "d=d:d +f:f +pipe:p");
    assert_eq!(tree.select(&["d/pipe"]), "pipe=d/pipe:p");
    assert_eq!(tree.select(&["d/socket", "d/s*"]), "");
    assert!(answer(&tree.source(), &of(&["d"])).is_ok());
}

#[test]
fn exclude_speaks_of_the_copied_directory() {
    let tree = Tree::of(&["d/a.txt", "d/b.md", "d/sub/c.txt", "d/sub/keep.txt", "top.txt", "top.md"]);
    let select = |sources: &[&str], exclude: &[&str]| show(&tree.source(), &excluding(sources, exclude));
    assert_eq!(select(&["d"], &["*.txt"]), "d=d:d +b.md:f +sub:d +sub/c.txt:f +sub/keep.txt:f");
    assert_eq!(select(&["d"], &["**/*.txt"]), "d=d:d +b.md:f +sub:d");
    assert_eq!(select(&["d"], &["sub"]), "d=d:d +a.txt:f +b.md:f");
    assert_eq!(select(&["d"], &["/sub/"]), "d=d:d +a.txt:f +b.md:f");
    assert_eq!(select(&["d"], &["d/sub"]), select(&["d"], &[]));
    assert_eq!(select(&["d"], &["sub", "!sub/keep*"]), "d=d:d +a.txt:f +b.md:f +sub:d +sub/keep.txt:f");
    assert_eq!(select(&["d"], &["sub", "!sub/no*"]), "d=d:d +a.txt:f +b.md:f");
    assert_eq!(select(&["top*"], &["*.txt"]), "top.md=top.md:f");
    assert_eq!(select(&["d/a.txt", "d/b.md"], &["d/*.txt"]), "b.md=d/b.md:f");
    assert!(select(&["d"], &["a[", "b"]).starts_with("error: --exclude=a[: "));
}

#[test]
fn parents_keep_the_path() {
    let tree = Tree::of(&["x/y/f", "x/y/g", "x/z/f", "top", "x/link -> y"]).mode("x", 0o700);
    let select = |sources: &[&str]| show(&tree.source(), &parents(sources));
    assert_eq!(select(&["x/y/f"]), "=:d [x] [x/y] +x/y/f:f");
    assert_eq!(select(&["./x/y"]), "=:d [x] +x/y:d +x/y/f:f +x/y/g:f");
    assert_eq!(select(&["x/*/f"]), "=:d [x] [x/y] [x/z] +x/y/f:f +x/z/f:f");
    assert_eq!(select(&["**/f"]), "=:d [x] [x/y] [x/z] +x/y/f:f +x/z/f:f");
    assert_eq!(select(&["x/**/g"]), "=:d [x] [x/y] +x/y/g:f");
    assert_eq!(select(&["x/y/f", "top"]), "=:d [x] [x/y] +x/y/f:f =:d +top:f");
    assert_eq!(select(&["no*"]), "=:d");
    assert_eq!(select(&["x/no"]), "=:d missing 0");
    // A link is what it is, and no way to somewhere else.
    assert_eq!(select(&["x/link"]), "=:d [x] +x/link:l>y");
    assert_eq!(select(&["x/link/f"]), "=:d missing 0");
    let found = super::super::select(&tree.source(), &parents(&["x/y/f"])).unwrap();
    assert_eq!(found.picks[0].parents[0].stat.meta.mode, 0o700);
}

#[test]
fn parents_begin_at_the_pivot() {
    let tree = Tree::of(&["x/y/f", "x/y/g", "x/z/f", "lx -> x"]);
    let select = |sources: &[&str]| show(&tree.source(), &parents(sources));
    assert_eq!(select(&["x/./y/f"]), "x=x:d [y] +y/f:f");
    assert_eq!(select(&["lx/./y/f"]), "lx=x:d [y] +y/f:f");
    assert_eq!(select(&["x/*/./f"]), "y=x/y:d +f:f z=x/z:d +f:f");
    assert_eq!(select(&["x/./"]), "x=x:d +y:d +y/f:f +y/g:f +z:d +z/f:f");
    assert_eq!(select(&["x/./../../etc"]), "x=x:d missing 0");
    assert_eq!(select(&["no/./f"]), "missing 0");
    let exclude = Select { exclude: vec!["**/g".into()], ..parents(&["x/./y"]) };
    assert_eq!(show(&tree.source(), &exclude), "x=x:d +y:d +y/f:f");
    let back = Select { exclude: vec!["y".into(), "!y/g".into()], ..parents(&["x/./y"]) };
    assert_eq!(show(&tree.source(), &back), "x=x:d [y] +y/g:f");
    let none = Select { exclude: vec!["y/f".into()], ..parents(&["x/./y/f"]) };
    assert_eq!(show(&tree.source(), &none), "x=x:d");
}

#[test]
fn what_is_missing_is_explained() {
    let tree = Tree::of(&["src/main.c", "dist/app", "README"]).ignore("# built\n\ndist\n*.log\n");
    let explain = |path: &str| super::super::select(&tree.source(), &of(&[path])).unwrap().missing.remove(0);
    assert_eq!(explain("dist").ignored_by, Some((".dockerignore:3".to_owned(), "dist".to_owned())));
    assert_eq!(explain("dist/app").ignored_by, Some((".dockerignore:3".to_owned(), "dist".to_owned())));
    // What does not exist is not hidden.
    assert_eq!(explain("x.log").ignored_by, None);
    assert_eq!(explain("scr/main.c").similar.as_deref(), Some("src/main.c"));
    assert_eq!(explain("scr/other").similar.as_deref(), Some("src"));
    assert_eq!(explain("src/mian.c").similar.as_deref(), Some("src/main.c"));
    assert_eq!(explain("readme").similar.as_deref(), Some("README"));
    assert_eq!(explain("entirely-else").similar, None);
}

#[test]
fn bad_sources_are_errors() {
    let tree = Tree::of(&["f"]);
    assert!(tree.select(&["a\0b"]).starts_with("error: "));
    assert!(tree.select(&["x/".repeat(4000).as_str()]).starts_with("error: "));
    assert_eq!(tree.select(&["x/".repeat(300).as_str()]), "missing 0");
}
