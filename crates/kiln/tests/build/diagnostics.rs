//! What a user reads when something is wrong.

use insta::assert_snapshot;

use crate::Bench;

fn said(dockerfile: &str) -> String {
    Bench::new().args(&["--progress=quiet"]).run(dockerfile, &["--progress=quiet"]).exits(1).stderr
}

#[test]
fn an_unknown_instruction() {
    assert_snapshot!(said("FROM busybox\nCOPPY a b\nRUN x\n"), @"");
}

#[test]
fn a_source_that_is_not_there() {
    let b = Bench::new()
        .file("dist-old/x", 0o644, "")
        .file(".dockerignore", 0o644, "# build output\n\ndist\n")
        .file("dist/x", 0o644, "");
    let out = b.run("FROM busybox\n\nCOPY dist/ /srv/\nCOPY dst-old /srv/\n", &["--progress=quiet"]);
    assert_snapshot!(out.exits(1).stderr, @"");
}

#[test]
fn a_failing_command() {
    let b = Bench::new();
    let out = b.run(
        "FROM busybox\nRUN echo compiling; \\\n    echo main.c:1: no >&2; \\\n    exit 3\n",
        &["--progress=quiet"],
    );
    assert_snapshot!(out.exits(3).stderr, @"");
}

#[test]
fn several_mistakes_in_one_run() {
    assert_snapshot!(said("FROM busybox AS build\nEXPOSE http\nCOPY --form=build /a /b\nSTOPSIGNAL NOPE\nRUN --mount=type=cach true\n"), @"");
}

#[test]
fn a_stage_that_is_not_there() {
    let b = Bench::new();
    let out = b.run("FROM busybox AS build\nFROM busybox\n", &["--target=biuld", "--progress=quiet"]);
    assert_snapshot!(out.exits(1).stderr, @"");
}

#[test]
fn wrong_use() {
    let b = Bench::new();
    for args in [
        &["--output=type=disk"][..],
        &["--platform=linux/../x"],
        &["--isolation=vm"],
        &["--compression=lz4"],
        &["--push", "--output=type=registry,name=UPPER"],
        &["--secret=src=x"],
        &["--memory=lots"],
        &["--no-such-flag"],
    ] {
        let out = b.run("FROM scratch\nLABEL a=b\n", args);
        assert_eq!(out.code, 2, "{args:?}\n{out}");
        assert!(out.stderr.starts_with("error: "), "{out}");
    }
}

#[test]
fn a_context_that_is_not_there() {
    let b = Bench::new();
    let out = b.t.kiln(&["build", "nowhere"]).exits(1);
    assert_snapshot!(out.stderr, @"");
    let out = b.t.kiln(&["build", "."]).exits(1);
    assert_snapshot!(out.stderr, @"");
}
