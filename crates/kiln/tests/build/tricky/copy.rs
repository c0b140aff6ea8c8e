//! COPY: destinations, patterns, links and kinds.

use std::os::unix::net::UnixListener;

use crate::{Bench, dump};

#[test]
fn a_directory_is_its_content_whatever_the_slashes() {
    let b = Bench::new().file("d/a", 0o644, "A");
    let built = b.build(
        "FROM busybox\nRUN mkdir -p /e1 /e2 /e3 /e4 && touch /e1/old\nCOPY d /e1\nCOPY d/ /e2\nCOPY d /e3/\nCOPY d/ /e4/\n\
         COPY d /n1\nCOPY d/ /n2\nCOPY d /n3/\nCOPY d/. /n4",
    );
    for dir in ["e1", "e2", "e3", "e4", "n1", "n2", "n3", "n4"] {
        assert_eq!(built.read(&format!("{dir}/a")), "A");
        assert!(!built.has(&format!("{dir}/d")), "{dir} has no directory of the source's name");
    }
    assert!(built.has("e1/old"));
}

#[test]
fn a_pattern_flattens_directories_and_follows_links_it_names() {
    let b = Bench::new().file("s/f", 0o644, "F").file("s/d/x", 0o644, "X").symlink("s/lf", "f").symlink("s/d/in", "x");
    assert_eq!(
        dump(&b, "FROM scratch\nCOPY s/* /g/"),
        "/g d 0755 0:0\n/g/f f 0644 0:0 1 \"F\"\n/g/in l 0777 0:0 -> x\n/g/lf f 0644 0:0 1 \"F\"\n/g/x f 0644 0:0 1 \"X\"\n"
    );
}

#[test]
fn several_sources_without_a_slash_are_one_file() {
    let b = Bench::new().file("a", 0o644, "A").file("b", 0o644, "B");
    assert_eq!(dump(&b, "FROM scratch\nCOPY a b /nodir"), "/nodir f 0644 0:0 1 \"B\"\n");
}

#[test]
fn a_dangling_link_becomes_a_directory_with_a_slash() {
    let b = Bench::new().file("f", 0o644, "F");
    let built = b.build("FROM busybox\nRUN ln -s /nowhere /dangling\nCOPY f /dangling/");
    assert_eq!(built.last_layer(), ["nowhere", "nowhere/f"]);
    let built = b.build("FROM busybox\nRUN ln -s /nowhere /dangling\nCOPY f /dangling");
    assert_eq!(built.last_layer(), ["nowhere"], "without one it is written through");
}

#[test]
fn what_is_in_front_of_a_pattern_has_to_be_there() {
    let b = Bench::new().file("f", 0o644, "F").file("d/g", 0o644, "G");
    assert!(b.fails("FROM scratch\nCOPY f nodir/x* /y/", 1).contains("nodir"));
    assert_ne!(b.run("FROM scratch\nCOPY --from=busybox /etc/none/x* /y/", &[]).code, 0);
    let built = b.build("FROM scratch\nCOPY f d/x* d/g/z* /y/\nCOPY none* /z/\nCOPY --from=busybox /etc/none* /z/");
    assert_eq!(dump_names(&built), ["/y", "/y/f"], "what matches need not, and a file holds nothing");
    assert_eq!(built.manifest.layers.len(), 3);
}

fn dump_names(built: &crate::Built) -> Vec<String> {
    built.dump().lines().filter_map(|l| l.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn directories_that_copy_makes_are_made_under_a_umask() {
    let b = Bench::new().file("f", 0o644, "F").file("d/sub/g", 0o644, "G");
    let built = b.build(
        "FROM scratch\nCOPY --chmod=1777 f /a/b/\nCOPY --chmod=4755 f /c/f\nCOPY --chmod=2777 d /d/e\nADD --chmod=0 f /g/",
    );
    let text = built.dump();
    for line in [
        "/a d 0755",
        "/a/b d 0755",
        "/a/b/f f 1777",
        "/c d 0755",
        "/c/f f 4755",
        "/d/e d 0755",
        "/d/e/sub d 2777",
        "/g d 0000",
    ] {
        assert!(text.lines().any(|l| l.starts_with(line)), "{line} in\n{text}");
    }
}

#[test]
fn a_directory_does_not_replace_a_link_to_one() {
    let b = Bench::new().file("d/sub/f", 0o644, "F");
    let said = b.fails("FROM busybox\nRUN mkdir -p /x /else && ln -s /else /x/sub\nCOPY d /x", 1);
    assert!(said.contains("cannot copy to non-directory"), "{said}");
}

#[test]
fn link_sets_the_mode_of_the_new_directory() {
    let b = Bench::new().file("d/f", 0o644, "F");
    let built = b.build(
        "FROM busybox\nRUN mkdir /else && ln -s else /to\nCOPY --link --chmod=700 d /newd\nCOPY --chmod=700 d /plain\n\
         COPY --link --chmod=600 d /to/in\nCOPY --link --chown=root:root d /owned",
    );
    assert!(built.has("else/in/f"), "with a mode, it is an ordinary copy: links of the image are followed");
    for dir in ["newd", "plain"] {
        assert!(
            built.dump_of(dir).starts_with(&format!("/{dir} d 0700 0:0\n/{dir}/f f 0700")),
            "{}",
            built.dump_of(dir)
        );
    }
}

#[test]
fn modes_and_owners_are_for_implicit_parents_too() {
    let b = Bench::new().file("f", 0o644, "F").file("x", 0o711, "X").file("d/sub/g", 0o644, "G");
    let built = b.build(
        "FROM busybox\nCOPY --chmod=600 f /i/j/k\nCOPY --chmod=700 d /x/y/\nCOPY --chmod=u=rwX,go=rX f x /s/\n\
         COPY --chown=7:8 f /o/p/q\nCOPY --chmod=g+w,o-r d /sym/",
    );
    let text = built.dump();
    for line in [
        "/i d 0600 0:0",
        "/i/j d 0600 0:0",
        "/i/j/k f 0600",
        "/x d 0700 0:0",
        "/x/y d 0700 0:0",
        "/x/y/sub d 0700",
        "/x/y/sub/g f 0700",
        "/s/f f 0644",
        "/s/x f 0755",
        "/sym d 0755",
        "/sym/sub d 0771",
        "/sym/sub/g f 0660",
        "/o d 0755 7:8",
        "/o/p d 0755 7:8",
        "/o/p/q f 0644 7:8",
    ] {
        assert!(text.lines().any(|l| l.starts_with(line)), "{line} in\n{text}");
    }
}

#[test]
fn special_bits_survive_every_way() {
    let b = Bench::new().file("su", 0o4755, "S").file("up/st/f", 0o2644, "T");
    let _ = b.t.tool("chmod", &["1777", b.t.context().join("up/st").to_str().unwrap()]).ok();
    let built = b.build(
        "FROM scratch AS a\nCOPY su /su\nCOPY --chown=5:6 su /owned\nCOPY up /up\n\
         FROM scratch\nCOPY --from=a / /\nCOPY --from=a --chown=1:1 /su /again",
    );
    for line in ["/su f 4755 0:0", "/owned f 4755 5:6", "/up/st d 1777 0:0", "/up/st/f f 2644", "/again f 4755 1:1"] {
        assert!(built.dump().lines().any(|l| l.starts_with(line)), "{line} in\n{}", built.dump());
    }
}

#[test]
fn patterns_may_miss_names_may_not() {
    let b = Bench::new().file("f", 0o644, "F").file("arr0.txt", 0o644, "0").file("arr[0].txt", 0o644, "[0]");
    let built = b.build(
        "FROM scratch\nCOPY f nomatch* /d/\nCOPY arr[0].txt /one\nCOPY arr[[]0].txt /two\nCOPY [\"f\", \"/x y/\"]",
    );
    assert!(built.has("d/f") && built.has("x y/f"));
    assert_eq!((built.read("one"), built.read("two")), ("0".into(), "[0]".into()));
    assert!(b.fails("FROM scratch\nCOPY f missing /d/", 1).contains("missing"));
    assert!(b.fails("FROM scratch\nCOPY arr[0.txt /d/", 1).contains("arr[0.txt"));
}

#[test]
fn dots_in_destinations() {
    let b = Bench::new().file("f", 0o644, "F");
    let built = b.build("FROM scratch\nCOPY f /g3/.\nCOPY f /f4/../f5\nWORKDIR /w/x\nCOPY f .\nCOPY f ../up\nCOPY f ./in/\nCOPY f /../../top");
    for path in ["g3/f", "f5", "w/x/f", "w/up", "w/x/in/f", "top"] {
        assert!(built.has(path), "{path} in\n{}", built.dump());
    }
    assert!(!built.has("f4"));
}

#[test]
fn pipes_are_copied_and_sockets_are_not() {
    let b = Bench::new().file("d/f", 0o644, "F");
    let _ = b.t.tool("mkfifo", &["-m", "640", b.t.context().join("d/pipe").to_str().unwrap()]).ok();
    let _socket = UnixListener::bind(b.t.context().join("d/sock")).unwrap();
    let built = b.build("FROM scratch\nCOPY d /d");
    assert!(built.dump().contains("/d/pipe p 0640 0:0"), "{}", built.dump());
    assert!(!built.has("d/sock"));
}

#[test]
fn the_directory_that_holds_the_content_does_not_take_its_mode() {
    let b = Bench::new().file("d/f", 0o644, "F");
    let _ = b.t.tool("chmod", &["700", b.t.context().join("d").to_str().unwrap()]).ok();
    let built = b.build("FROM busybox\nRUN mkdir -m 755 /there && chown 5:6 /there\nCOPY d /there\nCOPY d /new");
    assert!(built.dump_of("new").starts_with("/new d 0755 0:0"), "{}", built.dump_of("new"));
    assert!(built.dump_of("there").starts_with("/there d 0755 5:6"), "{}", built.dump_of("there"));
}

#[test]
fn exclude_counts_from_the_source() {
    let b = Bench::new().file("d/top/f", 0o644, "F").file("d/keep/top/f", 0o644, "K").file("d/g", 0o644, "G");
    let built = b.build("FROM scratch\nCOPY --exclude=top d /a\nCOPY --exclude=d/top d /b\nCOPY --exclude=**/top d /c");
    assert!(!built.has("a/top") && built.has("a/keep/top/f") && built.has("a/g"));
    assert!(built.has("b/top/f"), "the pattern is not counted from the context");
    assert!(!built.has("c/top") && !built.has("c/keep/top"));
}

#[test]
fn ignore_files_are_read_in_order() {
    let b = Bench::new()
        .file(
            ".dockerignore",
            0o644,
            "\u{feff}*\r\n# comment\r\n!d\nd/s\n!d/s/keep*\n/lf\n!*.md\nREADME*.md\n!README-x.md\nDockerfile\n",
        )
        .file("d/a", 0o644, "")
        .file("d/s/drop", 0o644, "")
        .file("d/s/keep1", 0o644, "")
        .file("README.md", 0o644, "")
        .file("README-x.md", 0o644, "")
        .file("other.md", 0o644, "")
        .file("z/q.md", 0o644, "");
    let built = b.build("FROM scratch\nCOPY . /c");
    let names: Vec<String> = built.dump().lines().filter_map(|l| l.split(' ').next()).map(str::to_owned).collect();
    assert_eq!(names, ["/c", "/c/README-x.md", "/c/d", "/c/d/a", "/c/d/s", "/c/d/s/keep1", "/c/other.md"]);
    assert!(
        b.fails("FROM scratch\nCOPY Dockerfile /x", 1).contains("Dockerfile"),
        "ignored, yet the one that is built"
    );
}
