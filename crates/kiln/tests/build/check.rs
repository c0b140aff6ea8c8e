//! Looking without building: `--check`, `--call`, `kiln explain`, and findings while building.

use insta::assert_snapshot;

use crate::Bench;

const QUIET: &str = "--progress=quiet";

#[test]
fn nothing_is_found() {
    let b = Bench::new();
    let out =
        b.run("FROM busybox AS x\nRUN false\nFROM x\nCOPY not-there-yet /\nCMD [\"x\"]\n", &["--check", QUIET]).ok();
    assert_snapshot!(out, @r"
    exit: 0
    ----- stdout -----
    Check complete, no warnings found.
    ");
    assert!(b.t.kiln(&["images", "-q"]).ok().stdout.is_empty(), "a check makes no image");
}

#[test]
fn findings_have_places_and_a_code() {
    let b = Bench::new().file(".dockerignore", 0o644, "# output\ndist\n");
    let text =
        "# check=skip=StageNameCasing\nFROM busybox AS Build\nCOPY dist/a /srv/\nLABEL version=$VERSON\nCMD sleep 1\n";
    let out = b.run(text, &["--check", QUIET]);
    assert_snapshot!(out, @r#"
    exit: 1
    ----- stdout -----
    Check complete, 3 warnings have been found!

    warning: CopyIgnoredFile: `COPY dist/a`: .dockerignore excludes it from the context
     --> Dockerfile:3:6
      |
    3 | COPY dist/a /srv/
      |      ^^^^^^
      = `.dockerignore:2` excludes it with `dist`
    hint: change .dockerignore, or do not copy it

    warning: UndefinedVar: the variable `$VERSON` is not defined here
     --> Dockerfile:4:15
      |
    4 | LABEL version=$VERSON
      |               ^^^^^^^
    hint: declare it in this stage with ARG or ENV

    warning: JSONArgsRecommended: the shell form of `CMD` keeps signals from the process
     --> Dockerfile:5:1
      |
    5 | CMD sleep 1
      | ^^^
    hint: write a JSON array: `CMD ["program", "argument"]`

    More about a rule: kiln explain CopyIgnoredFile
    "#);
    let same = b.run(text, &["--call=check,ignorestatus=true", QUIET]);
    assert_eq!((same.code, &same.stdout), (0, &out.stdout));
}

#[test]
fn findings_for_programs() {
    let b = Bench::new();
    let out = b.run("FROM busybox\nCMD a \\\n  b\n", &["--check=json", QUIET]).exits(1);
    assert_snapshot!(serde_json::to_string_pretty(&out.json()).unwrap(), @r#"
    {
      "warnings": [
        {
          "ruleName": "JSONArgsRecommended",
          "description": "CMD and ENTRYPOINT are JSON arrays, so that signals reach the process",
          "detail": "the shell form of `CMD` keeps signals from the process",
          "location": {
            "ranges": [
              {
                "start": {
                  "line": 2
                },
                "end": {
                  "line": 3
                }
              }
            ]
          }
        }
      ],
      "sources": [
        {
          "filename": "Dockerfile",
          "language": "Dockerfile",
          "data": "RlJPTSBidXN5Ym94CkNNRCBhIFwKICBiCg=="
        }
      ]
    }
    "#);
    let out = b.run("FROM busybox\nRUNN\n", &["--call=check,format=json", QUIET]).exits(1);
    assert_eq!(out.json()["buildError"]["message"], "unknown instruction `RUNN`");
    assert_eq!(out.json()["buildError"]["location"]["ranges"][0]["start"]["line"], 2);
    let out =
        b.run("FROM busybox\nCMD x\n", &["--call=check,format=json", "--build-arg=BUILDKIT_DOCKERFILE_CHECK=skip=all"]);
    assert!(out.ok().json()["warnings"].as_array().unwrap().is_empty());
}

#[test]
fn what_cannot_be_looked_at_is_no_finding() {
    let b = Bench::new();
    let text = "FROM busybox AS X\nFROM 127.0.0.1:9/nowhere\n";
    let out = b.run(text, &["--check", "--retries=0", QUIET]).exits(3);
    assert!(out.stdout.starts_with("Check incomplete, 1 warning has been found!"), "{out}");
    assert!(out.stderr.contains("cannot use the image `127.0.0.1:9/nowhere`"), "{out}");
}

#[test]
fn findings_while_building() {
    let b = Bench::new();
    let out = b.run("FROM scratch AS X\nLABEL a=b\n", &["--progress=plain"]).ok();
    let said = "StageNameCasing: the stage name `X` should be lowercase (Dockerfile:1)";
    assert_eq!(out.stderr.matches(said).count(), 1, "{out}");
    let out = b.run("FROM scratch AS X\nLABEL a=b\n", &["--progress=plain", "--platform=linux/amd64,linux/arm64"]).ok();
    assert_eq!(out.stderr.matches(said).count(), 1, "{out}");
    assert_snapshot!(b.run("# check=error=true\nFROM scratch AS X\nLABEL a=b\n", &[QUIET]), @r"
    exit: 1
    ----- stderr -----
    warning: StageNameCasing: the stage name `X` should be lowercase
     --> Dockerfile:2:17
      |
    2 | FROM scratch AS X
      |                 ^
    hint: write `x`

    error: lint violation found for rules: StageNameCasing
     --> Dockerfile:1:9
      |
    1 | # check=error=true
      |         ^^^^^^^^^^ makes findings errors
    hint: see `kiln explain StageNameCasing`
    ");
}

#[test]
fn rules_there_are_not_and_options_that_are_wrong() {
    let b = Bench::new();
    let out = b.run("# check=skip=StageNameCasin\nFROM scratch\nLABEL a=b\n", &["--progress=plain"]).ok();
    assert!(
        out.stderr.contains("UnknownRule: `# check=` names the rule `StageNameCasin`, which there is not"),
        "{out}"
    );
    let out = b.run("# check=skipp=x\nFROM scratch\n", &["--check", QUIET]).exits(1);
    assert!(out.stderr.contains("invalid check option `skipp=x`"), "{out}");
    for (args, said) in [
        (&["--check=yaml"][..], "there is no format `yaml`"),
        (&["--call=outlines"], "did you mean `outline`?"),
        (&["--call=targets,formt=json"], "`formt=json` is not understood"),
        (&["--call=check", "--check"], "cannot be used with"),
        (&["--check", "--plan"], "cannot be used with"),
    ] {
        let out = b.run("FROM scratch\n", args).exits(2);
        assert!(out.stderr.contains(said), "{args:?}: {out}");
    }
}

const OUTLINED: &str = "\
# VERSION of the tools
ARG VERSION=1.2
# base has the tools
FROM busybox AS base
ARG VERSION
RUN --mount=type=cache,target=/c --mount=type=secret,id=token,required true

FROM base

# test runs the tests
FROM base AS test
ARG FLAGS
RUN --mount=type=ssh true
";

#[test]
fn what_a_target_takes() {
    let b = Bench::new();
    assert_snapshot!(b.run(OUTLINED, &["--call=outline", QUIET]).ok().stdout, @r"
    TARGET:      test
    DESCRIPTION: runs the tests

    BUILD ARG   VALUE   DESCRIPTION
    VERSION     1.2     of the tools
    FLAGS

    SECRET   REQUIRED
    token    true

    SSH       REQUIRED
    default

    CACHE
    /c
    ");
    let out = b.run(OUTLINED, &["--call=outline,format=json", "--target=base", "--build-arg=VERSION=9", QUIET]).ok();
    let json = out.json();
    assert_eq!(json["name"], "base");
    assert_eq!(json["args"][0]["value"], "9");
    // What was given counts where the stage asks for it.
    assert_eq!(json["args"][0]["location"]["ranges"][0]["start"]["line"], 5);
    assert_eq!(json["secrets"][0]["required"], true);
    assert_eq!(json["cache"][0]["ID"], "/c");
    assert!(json.get("ssh").is_none() && json["sources"][0].is_string());
}

#[test]
fn what_there_is_to_build() {
    let b = Bench::new();
    assert_snapshot!(b.run(OUTLINED, &["--call=targets", QUIET]).ok().stdout, @r"
    TARGET           DESCRIPTION
    base             has the tools
    1
    test (default)   runs the tests
    ");
    let json = b.run(OUTLINED, &["--call=targets,format=json", QUIET]).ok().json();
    assert_eq!(json["targets"][0]["base"], "busybox");
    assert_eq!(json["targets"][2]["default"], true);
    assert!(json["targets"][1].get("name").is_none());
}

#[test]
fn pages() {
    let b = Bench::new();
    let list = b.t.kiln(&["explain"]).ok().stdout;
    let rules = list.lines().take_while(|line| !line.starts_with("Checks of nodes"));
    assert_eq!(rules.count(), 23, "{list}");
    assert!(
        list.contains("  InvalidDefinitionDescription     a comment above") && list.contains("(experimental)"),
        "{list}"
    );
    assert_snapshot!(b.t.kiln(&["explain", "fromascasing"]).ok().stdout, @r"
    # FromAsCasing

    `FROM` is in capitals and `as` is not, or the other way round.

    ## Why

    Keywords in one case are easy to tell from names at a glance.

    ## Bad

    ```dockerfile
    FROM debian:bookworm as base
    ```

    ## Good

    ```dockerfile
    FROM debian:bookworm AS base
    ```
    ");
    assert_snapshot!(b.t.kiln(&["explain", "UndefinedVariable"]), @r"
    exit: 2
    ----- stderr -----
    error: there is no page about `UndefinedVariable`
    hint: did you mean `UndefinedVar`?
    ");
    assert!(b.t.kiln(&["explain", "x"]).exits(2).stderr.contains("`kiln explain` lists what there is"));
}
