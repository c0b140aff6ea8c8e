//! Bad input: what is wrong is said where it is wrong, and as much as possible at once.

use kiln_spec::diag::Diagnostic;

use crate::{World, mistakes};

#[test]
fn each_mistake_is_named() {
    for (text, said) in [
        ("# syntax=example/other:1\nFROM base", "the syntax `example/other:1` is not supported"),
        ("# syntax=evil.example/docker/dockerfile\nFROM base", "is not supported"),
        ("FROM ${NOPE}", "the base name `${NOPE}` is empty once its variables are expanded"),
        ("FROM UPPER/Case", "`UPPER/Case`"),
        ("FROM --platform=beos/x base", "`beos/x` is not a platform"),
        ("FROM --platform=$NOPE base", "`--platform=$NOPE` expands to nothing"),
        ("FROM base AS a\nCOPY --from=a x /", "circular dependency: stage `a` copies from itself"),
        (
            "FROM base AS a\nCOPY --from=b x /\nFROM base AS b\nFROM a",
            "cannot copy from stage `b`: it needs to be defined before",
        ),
        ("FROM base\nCOPY --from=7 x /", "invalid stage index 7"),
        ("FROM base\nCOPY --from=$X x /", "variable expansion is not supported for --from"),
        ("FROM base\nCOPY --chmod=9999 x /", "invalid --chmod `9999`"),
        ("FROM base\nCOPY https://h/x /", "the source of COPY can't be a URL"),
        ("FROM base\nCOPY https://h/x.git /", "the source of COPY can't be a Git reference"),
        ("FROM base\nADD --checksum=sha256:00 https://h/x /", "--checksum: "),
        ("FROM base\nADD --checksum=sha256:00 x /", "--checksum needs an HTTP(S) or Git source"),
        ("FROM base\nADD https://h/x.git#main:../y /", "`../y` is not allowed"),
        ("FROM base\nADD https://h/x.git?checksum=ffffffff /", "but ffffffff was expected"),
        ("FROM base\nEXPOSE x", "`x` is not a port"),
        ("FROM base\nSTOPSIGNAL SIGNOPE", "`SIGNOPE` is not a signal"),
        ("FROM base\nVOLUME $NOPE", "VOLUME specified can not be an empty string"),
        ("FROM base\nUSER $NOPE", "USER needs a name or number"),
        ("FROM base\nENV $NOPE=1", "ENV names can not be blank"),
        ("FROM base\nRUN --network=lan x", "unknown network mode `lan`"),
        ("FROM base\nRUN --security=insecure x", "is not allowed in this build"),
        ("FROM base\nRUN --mount=type=cache,target=/ x", "the target of a mount can't be `/`"),
        ("FROM base\nRUN --mount=type=secret,required,id=s x", "the secret `s` is required"),
        ("FROM base\nRUN --mount=type=ssh,required x", "the SSH agent `default` is required"),
        ("FROM base\nRUN --mount=type=tmpfs,target=/t,size=many x", "not `many`"),
        ("FROM base\nLABEL a=\"${B:?must be set}\"", "must be set"),
    ] {
        let found = mistakes(text);
        assert!(found.iter().any(|m| m.contains(said)), "{text}: {found:?}");
    }
}

#[test]
fn the_syntax_of_docker_is_built_in() {
    for ours in ["docker/dockerfile", "docker/dockerfile:1.7-labs", "docker.io/docker/dockerfile-upstream:master"] {
        World::new().plan(&format!("# syntax={ours}\nFROM base"));
    }
}

#[test]
fn several_mistakes_are_found_at_once() {
    let found = mistakes("FROM base\nEXPOSE x\nSTOPSIGNAL y\nUSER $NOPE");
    assert_eq!(found.len(), 3, "{found:?}");
}

#[test]
fn a_source_that_is_not_there_has_its_place() {
    let mut w = World::new();
    w.absent = vec!["/dist"];
    let text = "FROM base\nCOPY dist/ /srv/\n";
    let found = w.try_plan(text).unwrap_err();
    assert_eq!(found[0].message, "`COPY dist/` matches nothing");
    assert_eq!(&text[found[0].span.start..found[0].span.end], "dist/");
    // A pattern may match nothing.
    w.absent = vec!["/*.c"];
    w.plan("FROM base\nCOPY *.c /srv/");
}

#[test]
fn a_target_that_is_not_there_is_guessed() {
    let mut w = World::new();
    w.options.target = Some("biuld".into());
    let found = w.try_plan("FROM base AS build\nFROM base").unwrap_err();
    assert_eq!(found[0].hint.as_deref(), Some("did you mean `--target build`?"));
}

#[test]
fn mistakes_in_triggers_point_to_from() {
    let mut w = World::new();
    w.base.config.on_build = vec!["EXPOSE nope".into()];
    let text = "FROM base\nRUN x";
    let found: Vec<Diagnostic> = w.try_plan(text).unwrap_err();
    assert_eq!(&text[found[0].span.start..found[0].span.end], "FROM base");
}

#[test]
fn unused_build_args_are_warned_of() {
    let mut w = World::new();
    w.options.build_args.insert("TYPO".into(), "1".into());
    w.options.build_args.insert("HTTPS_PROXY".into(), "1".into());
    let p = w.plan("FROM base\nARG TYPPO\nRUN x");
    assert_eq!(p.warnings.len(), 1);
    assert!(p.warnings[0].message.contains("TYPO") && !p.warnings[0].message.contains("PROXY"));
}
