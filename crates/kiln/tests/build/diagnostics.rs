//! What a user reads when something is wrong.

use insta::assert_snapshot;

use crate::Bench;

fn said(dockerfile: &str) -> String {
    Bench::new().run(dockerfile, &["--progress=quiet"]).exits(1).stderr
}

#[test]
fn an_unknown_instruction() {
    assert_snapshot!(said("FROM busybox\nCOPPY a b\nRUN x\n"), @r#"
    error: unknown instruction `COPPY`
     --> Dockerfile:2:1
      |
    2 | COPPY a b
      | ^^^^^
    hint: did you mean `COPY`?
    "#);
}

#[test]
fn a_source_that_is_not_there() {
    let b = Bench::new()
        .file("dist-old/x", 0o644, "")
        .file(".dockerignore", 0o644, "# build output\n\ndist\n")
        .file("dist/x", 0o644, "");
    let out = b.run("FROM busybox\n\nCOPY dist/ /srv/\nCOPY dst-old /srv/\n", &["--progress=quiet"]);
    assert_snapshot!(out.exits(1).stderr, @r#"
    error: `COPY dist/` matches nothing
     --> Dockerfile:3:6
      |
    3 | COPY dist/ /srv/
      |      ^^^^^ not in the build context
      = `.dockerignore:3` excludes it with `dist`
    hint: add `!dist/` after that line

    error: `COPY dst-old` matches nothing
     --> Dockerfile:4:6
      |
    4 | COPY dst-old /srv/
      |      ^^^^^^^ not in the build context
    hint: did you mean `dist-old`?
    "#);
}

#[test]
fn a_failing_command() {
    let b = Bench::new();
    let out = b.run(
        "FROM busybox\nRUN echo compiling; \\\n    echo main.c:1: no >&2; \\\n    exit 3\n",
        &["--progress=quiet"],
    );
    assert_snapshot!(out.exits(3).stderr, @r#"
    ------
     > [2/2] RUN echo compiling;     echo main.c:1: no >&2;     exit 3:
    compiling
    main.c:1: no
    ------
    error: the command did not complete: exit code 3
     --> Dockerfile:2:1
      |
    2 | RUN echo compiling; \
      | ^^^^^^^^^^^^^^^^^^^^^ this command failed
    3 |     echo main.c:1: no >&2; \
    4 |     exit 3
    "#);
}

#[test]
fn several_mistakes_in_one_run() {
    assert_snapshot!(said("FROM busybox AS build\nEXPOSE http\nCOPY --form=build /a /b\nSTOPSIGNAL NOPE\nRUN --mount=type=cach true\n"), @r#"
    error: `COPY` has no flag `--form`
     --> Dockerfile:3:6
      |
    3 | COPY --form=build /a /b
      |      ^^^^^^^^^^^^
    hint: did you mean `--from`?

    error: unknown mount type `cach`
     --> Dockerfile:5:18
      |
    5 | RUN --mount=type=cach true
      |                  ^^^^
      = there are: bind, cache, secret, ssh, tmpfs
    hint: did you mean `cache`?
    "#);
}

#[test]
fn a_stage_that_is_not_there() {
    let b = Bench::new();
    let out = b.run("FROM busybox AS build\nFROM busybox\n", &["--target=biuld", "--progress=quiet"]);
    assert_snapshot!(out.exits(1).stderr, @r#"
    error: target stage `biuld` could not be found
     --> Dockerfile:2:1
      |
    2 | FROM busybox
      | ^^^^^^^^^^^^ the last stage of this file
    hint: did you mean `--target build`?
    "#);
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
    assert_snapshot!(out.stderr, @r#"
    error: unable to prepare context: path `nowhere` not found
    hint: the last argument is the build context: `.` for the directory you are in
    "#);
    let out = b.t.kiln(&["build", "."]).exits(1);
    assert_snapshot!(out.stderr, @r#"
    error: failed to read dockerfile: Dockerfile: no such file
    hint: name it with -f, or run kiln where it is
    "#);
}

#[test]
fn an_image_that_cannot_be_had() {
    let registry = kiln_testkit::Registry::start(kiln_testkit::Auth::None);
    let b = Bench::new().env("NO_PROXY", "127.0.0.1");
    let missing = registry.reference("no/such:1");
    let out = b.run(&format!("FROM busybox AS build\nFROM {missing}\n"), &["--progress=quiet"]).exits(3);
    assert!(out.stderr.contains(" --> Dockerfile:2:6") && out.stderr.contains("needed here"), "{out}");
    let text = format!("FROM busybox AS build\nFROM scratch\nCOPY --from={}/biuld /a /b\n", registry.address());
    let out = b.run(&text, &["--progress=quiet"]).exits(3);
    assert!(out.stderr.contains(" --> Dockerfile:3:"), "{out}");
    // A name that is no registry's: the stage is meant. Nothing answers at the address the mirror leads to.
    let nowhere = ["--registry-mirror=docker.io=http://127.0.0.1:9", "--retries=0", "--progress=quiet"];
    let out = b.run("FROM busybox AS build\nFROM scratch\nCOPY --from=biuld /a /b\n", &nowhere);
    assert!(out.stderr.contains("hint: did you mean the stage `build`?"), "{out}");
}
