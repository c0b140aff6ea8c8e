//! ARG and ENV: scopes, order and substitution.

use crate::Bench;

#[test]
fn the_later_of_arg_and_env_is_what_commands_see() {
    let b = Bench::new();
    let built = b.build(
        "ARG G=global\nFROM busybox\nRUN echo \"[$G]\" > /before\nENV G=env\nARG G=after\nRUN echo \"[$G]\" > /after",
    );
    assert_eq!((built.read("before"), built.read("after")), ("[]\n".into(), "[after]\n".into()));
}

#[test]
fn a_stage_on_a_stage_has_its_arguments_a_sibling_has_not() {
    let b = Bench::new();
    let text = "FROM busybox AS parent\nARG A=default\nENV E=env\nFROM parent AS child\nRUN echo \"[$A][$E]\" > /child\n\
        FROM busybox\nRUN echo \"[$A][$E]\" > /sibling\nCOPY --from=child /child /child";
    let built = b.build(text);
    assert_eq!((built.read("child"), built.read("sibling")), ("[default][env]\n".into(), "[][]\n".into()));
    let _ = b.run(text, &["--build-arg=A=given"]).ok();
    assert_eq!(crate::open(&b.t.store(), "t").read("child"), "[given][env]\n");
}

#[test]
fn one_instruction_sees_what_was_before_it() {
    let built = Bench::new().build(
        "FROM busybox\nENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc\nENV old style value\nENV a=1 A=2\nENV PATH=/opt/bin:$PATH\nRUN env > /env",
    );
    let env = built.read("env");
    for line in ["abc=bye", "def=hello", "ghi=bye", "old=style value", "a=1", "A=2"] {
        assert!(env.lines().any(|l| l == line), "{line} in {env}");
    }
    assert!(env.lines().any(|l| l.starts_with("PATH=/opt/bin:/")), "{env}");
}

#[test]
fn bases_are_substituted() {
    let b = Bench::new();
    let built = b.build("ARG N=busy\nARG B=\"${N}box\"\nFROM ${A:-${B}}\nRUN touch /made");
    assert!(built.has("made"));
    let said = b.fails("FROM ${NONE}\nRUN true", 1);
    assert!(said.contains("NONE"), "{said}");
    let said = b.fails("FROM busybox:${NONE?it is not set}", 1);
    assert!(said.contains("it is not set"), "{said}");
}

#[test]
fn patterns_in_substitutions() {
    let built = Bench::new().build(
        "FROM busybox\nARG P=/usr/local/lib/lib.so.1\nLABEL a=${P#*/} b=${P##*/} c=${P%.*} d=${P%%.*} e=${P/lib/x} f=${P//lib/x} g=${Q:-d} h=${P:+set} i=${Q-u} j=\\$P k='$P'",
    );
    let labels = &built.config.config.labels;
    for (name, value) in [
        ("a", "usr/local/lib/lib.so.1"),
        ("b", "lib.so.1"),
        ("c", "/usr/local/lib/lib.so"),
        ("d", "/usr/local/lib/lib"),
        ("e", "/usr/local/x/lib.so.1"),
        ("f", "/usr/local/x/x.so.1"),
        ("g", "d"),
        ("h", "set"),
        ("i", "u"),
        ("j", "$P"),
        ("k", "$P"),
    ] {
        assert_eq!(labels[name], value, "{name}");
    }
}

#[test]
fn the_target_is_known_by_its_name() {
    let b = Bench::new();
    let text = "FROM scratch AS one\nARG TARGETSTAGE\nLABEL s=$TARGETSTAGE\nFROM one AS Two\nARG TARGETSTAGE\nLABEL t=$TARGETSTAGE";
    let built = b.build(text);
    assert_eq!((&*built.config.config.labels["s"], &*built.config.config.labels["t"]), ("two", "two"));
    let built = b.build("FROM scratch\nARG TARGETSTAGE\nLABEL s=$TARGETSTAGE");
    assert_eq!(built.config.config.labels["s"], "default");
}

#[test]
fn proxies_are_in_the_history_only_when_declared() {
    let b = Bench::new().args(&["--build-arg=HTTP_PROXY=http://secret:1"]);
    let built = b.build("FROM busybox\nRUN true");
    assert!(!built.history().concat().contains("HTTP_PROXY"));
    let built = b.build("FROM busybox\nARG HTTP_PROXY\nRUN true");
    assert!(
        built.history().iter().any(|h| h.starts_with("RUN |1 HTTP_PROXY=http://secret:1 /bin/sh")),
        "{:?}",
        built.history()
    );
}

#[test]
fn heredocs_expand_like_words() {
    let b = Bench::new().args(&["--build-arg=V=val"]);
    let built = b.build(
        "FROM busybox\nARG V\nCOPY <<a <<'b' <<-c /d/\n$V \\$V\na\n$V \\$V\nb\n\t\t$V\n\tc\n\
         RUN <<'X' sh -s one two\necho \"$1 $2 $V\" > /args\nX\nRUN <<-E\n\techo tabs > /tabs\n\tE\n",
    );
    assert_eq!(built.read("d/a"), "val $V\n");
    assert_eq!(built.read("d/b"), "$V \\$V\n");
    assert_eq!(built.read("d/c"), "val\n");
    assert_eq!(built.read("args"), "one two val\n");
    assert_eq!(built.read("tabs"), "tabs\n");
}

#[test]
fn the_text_of_a_heredoc_is_in_the_key() {
    let b = Bench::new();
    assert_eq!(b.build("FROM busybox\nRUN <<E\necho 1 > /f\nE\nCOPY <<E /g\na\nE\n").read("f"), "1\n");
    let built = b.build("FROM busybox\nRUN <<E\necho 2 > /f\nE\nCOPY <<E /g\nb\nE\n");
    assert_eq!((built.read("f"), built.read("g")), ("2\n".into(), "b\n".into()));
}
