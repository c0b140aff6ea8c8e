//! COPY: what goes where, with which owner and mode. Expectations are BuildKit's.

use crate::{Bench, dump};

#[test]
fn files_directories_and_patterns() {
    let b = Bench::new()
        .file("d/a", 0o644, "A")
        .file("d/sub/b", 0o755, "B")
        .file("x.txt", 0o600, "X")
        .file("y.txt", 0o640, "Y");
    assert_eq!(
        dump(
            &b,
            "FROM scratch\nCOPY d /one\nCOPY d/ /two/\nCOPY x.txt /f\nCOPY x.txt /g/\nCOPY *.txt /h/\nCOPY d/a x.txt /i/"
        ),
        "/f f 0600 0:0 1 \"X\"\n\
         /g d 0755 0:0\n\
         /g/x.txt f 0600 0:0 1 \"X\"\n\
         /h d 0755 0:0\n\
         /h/x.txt f 0600 0:0 1 \"X\"\n\
         /h/y.txt f 0640 0:0 1 \"Y\"\n\
         /i d 0755 0:0\n\
         /i/a f 0644 0:0 1 \"A\"\n\
         /i/x.txt f 0600 0:0 1 \"X\"\n\
         /one d 0755 0:0\n\
         /one/a f 0644 0:0 1 \"A\"\n\
         /one/sub d 0755 0:0\n\
         /one/sub/b f 0755 0:0 1 \"B\"\n\
         /two d 0755 0:0\n\
         /two/a f 0644 0:0 1 \"A\"\n\
         /two/sub d 0755 0:0\n\
         /two/sub/b f 0755 0:0 1 \"B\"\n"
    );
}

#[test]
fn owners_and_modes() {
    let b = Bench::new().file("f", 0o4755, "x").file("d/g", 0o600, "y");
    let built = b.build(
        "FROM busybox\nCOPY --chown=app f /a\nCOPY --chown=7:8 d /b\nCOPY --chown=9 f /c\nCOPY --chmod=640 f /e\n\
         COPY --chmod=u=rwX,go=rX d /h\nCOPY f /s\nCOPY --chown=app:staff --chmod=2711 f /t",
    );
    for line in [
        "/a f 4755 1000:1000 1",
        "/b d 0755 7:8",
        "/b/g f 0600 7:8 1",
        "/c f 4755 9:9 1",
        "/e f 0640 0:0 1",
        "/h d 0755 0:0",
        "/h/g f 0644 0:0 1",
        "/s f 4755 0:0 1",
        "/t f 2711 1000:50 1",
    ] {
        assert!(built.dump().lines().any(|l| l.starts_with(line)), "{line} in\n{}", built.dump_of("a"));
    }
    let said = b.fails("FROM busybox\nCOPY --chown=ghost f /a", 1);
    assert!(said.contains("ghost") && said.contains("Dockerfile:2"), "{said}");
}

#[test]
fn links_in_the_context_and_in_the_image() {
    let b = Bench::new()
        .file("real", 0o644, "R")
        .symlink("link", "real")
        .symlink("d/in", "../real")
        .symlink("abs", "/real");
    let built = b.build(
        "FROM busybox\nRUN mkdir /real && ln -s /real /to && ln -s /nowhere /dangling && mkdir /keep\n\
         COPY link /followed\nCOPY abs /absolute\nCOPY d /kept\nCOPY real /to/\nCOPY real /dangling",
    );
    assert_eq!(built.read("followed"), "R");
    assert_eq!(built.read("absolute"), "R");
    assert!(built.dump().contains("/kept/in l 0777 0:0 -> ../real"));
    assert_eq!(built.read("real/real"), "R", "a link to a directory in the image is followed");
    assert!(built.dump().contains("/to l 0777 0:0 -> /real"), "and stays");
    assert_eq!(built.read("nowhere"), "R", "a dangling link is written through");
}

#[test]
fn nothing_outside_the_context_is_read() {
    let b = Bench::new().symlink("passwd", "/etc/shadow").symlink("up", "../../../etc/shadow").file("f", 0o644, "F");
    for (source, code) in [("passwd", 1), ("up", 1)] {
        let said = b.fails(&format!("FROM scratch\nCOPY {source} /x"), code);
        assert!(said.contains(source), "{said}");
    }
    assert_eq!(b.build("FROM scratch\nCOPY ../f /x\nCOPY d/../../f /y").read("y"), "F");
}

#[test]
fn what_is_in_the_way() {
    let b = Bench::new().file("f", 0o644, "F").file("d/sub/g", 0o644, "G");
    assert!(b.fails("FROM busybox\nCOPY d /etc/passwd", 1).contains("cannot copy to non-directory: /etc/passwd"));
    assert!(
        b.fails("FROM busybox\nRUN mkdir -p /x/sub/g\nCOPY d /x", 1).contains("cannot replace to directory /x/sub/g")
    );
    assert!(b.fails("FROM busybox\nCOPY f /etc/passwd/x", 1).contains("/etc/passwd"));
    assert!(b.fails("FROM scratch\nCOPY <<.wh.f /\nx\n.wh.f\n", 1).contains(".wh."));
}

#[test]
fn dockerignore_and_exclude() {
    let b = Bench::new()
        .file(".dockerignore", 0o644, "*.log\n!keep.log\nnode_modules\n**/*.tmp\n")
        .file("a.log", 0o644, "")
        .file("keep.log", 0o644, "")
        .file("node_modules/x", 0o644, "")
        .file("src/a.c", 0o644, "")
        .file("src/a.tmp", 0o644, "")
        .file("src/deep/b.md", 0o644, "");
    let built = b.build("FROM scratch\nCOPY . /all\nCOPY --exclude=**/*.md --exclude=*.c src /part");
    let names: Vec<String> = built.dump().lines().filter_map(|l| l.split(' ').next()).map(str::to_owned).collect();
    assert_eq!(
        names,
        [
            "/all",
            "/all/.dockerignore",
            "/all/Dockerfile",
            "/all/keep.log",
            "/all/src",
            "/all/src/a.c",
            "/all/src/deep",
            "/all/src/deep/b.md",
            "/part",
            "/part/deep"
        ]
    );
    let said = b.fails("FROM scratch\nCOPY node_modules /x", 1);
    assert!(said.contains("`.dockerignore:3` excludes it with `node_modules`"), "{said}");
    b.t.write("Dockerfile.dockerignore", 0o644, "src\n");
    assert!(b.fails("FROM scratch\nCOPY src /x", 1).contains("`Dockerfile.dockerignore:1`"));
}

#[test]
fn parents_keep_the_path() {
    let b = Bench::new().file("a/b/c.txt", 0o644, "C").file("a/b/d.md", 0o644, "D").file("a/e/c.txt", 0o644, "E");
    let built =
        b.build("FROM scratch\nCOPY --parents a/b/c.txt /x/\nCOPY --parents a/./e /y/\nCOPY --parents **/*.md /z/");
    assert_eq!(built.read("x/a/b/c.txt"), "C");
    assert_eq!(built.read("y/e/c.txt"), "E");
    assert_eq!(built.read("z/a/b/d.md"), "D");
    assert!(!built.has("x/a/b/d.md") && !built.has("z/a/e"));
}

#[test]
fn link_layers_stand_alone() {
    let b = Bench::new().file("f", 0o644, "F");
    let one = b.build("FROM busybox\nRUN mkdir /other && ln -s /other /srv\nCOPY --link f /srv/f");
    assert!(one.dump().contains("/srv d 0755 0:0"), "the link is replaced by a directory of the new layer");
    let two = b.build("FROM scratch\nCOPY --link f /srv/f");
    assert_eq!(one.manifest.layers.last(), two.manifest.layers.last(), "the same layer on any base");
    assert!(b.fails("FROM busybox\nCOPY --link --chown=app f /x", 1).contains("invalid user index"));
}

#[test]
fn from_stages_and_images() {
    let b = Bench::new().file("f", 0o644, "F");
    let built = b.build(
        "FROM busybox AS one\nRUN mkdir -p /out/d && echo hi > /out/d/x && chown -R 5:6 /out && ln /out/d/x /out/y && ln -s y /out/z\n\
         FROM scratch\nCOPY --from=one /out /o\nCOPY --from=0 /out/d/x /x\nCOPY --from=one --chown=1:1 /out/z /zz\nCOPY --from=busybox /etc/passwd /p",
    );
    assert!(built.dump_of("o").contains("/o/d/x f 0644 5:6 3"), "{}", built.dump_of("o"));
    assert!(built.dump_of("o").contains("/o/y h => /o/d/x"), "{}", built.dump_of("o"));
    assert!(built.dump_of("o").contains("/o/z l 0777 0:0 -> y"), "{}", built.dump_of("o"));
    assert_eq!(built.read("zz"), "hi\n");
    assert!(built.read("p").starts_with("root:"));
}

#[test]
fn heredocs_write_files() {
    let b = Bench::new().args(&["--build-arg=V=val"]);
    let built = b.build("FROM scratch\nARG V\nCOPY <<one <<-\"two\" /d/\n$V \\$V \"q\"\none\n\t$V\n\ttwo\nCOPY --chmod=755 <<EOF /run.sh\n#!/bin/sh\nEOF\n");
    assert_eq!(built.read("d/one"), "val $V \"q\"\n");
    assert_eq!(built.read("d/two"), "$V\n");
    assert!(built.dump().contains("/run.sh f 0755 0:0 10"));
}

#[test]
fn an_unchanged_file_makes_an_empty_layer() {
    let b = Bench::new().file("f", 0o644, "F");
    let built = b.build("FROM busybox\nCOPY f /a/f\nCOPY f /a/f\nWORKDIR /a");
    assert_eq!(built.indexes[1].entries.len(), 2);
    assert_eq!(built.indexes[2].entries.len(), 0);
    assert_eq!(built.indexes[3].entries.len(), 0, "a directory that is there is not made again");
}

#[test]
fn odd_names_survive() {
    let b = Bench::new()
        .file("a b", 0o644, "1")
        .file("ünï", 0o644, "2")
        .file("new\nline", 0o644, "3")
        .file("[x]", 0o644, "4");
    let long = "l".repeat(200);
    b.t.write(&long, 0o644, "5");
    let built = b.build("FROM scratch\nCOPY [ \"a b\", \"/x y\" ]\nCOPY . /all\nCOPY [[]x] /lit");
    assert_eq!(built.read("x y"), "1");
    assert_eq!(built.read("all/ünï"), "2");
    assert_eq!(built.read("all/new\nline"), "3");
    assert_eq!(built.read(&format!("all/{long}")), "5");
    assert_eq!(built.read("lit"), "4");
}
