//! Stages: names, cycles, triggers.

use crate::Bench;

#[test]
fn names_of_stages() {
    let b = Bench::new().file("f", 0o644, "F");
    let built =
        b.build("FROM busybox AS Base\nRUN echo b > /b\nFROM scratch\nCOPY --from=BASE /b /1\nCOPY --from=base /b /2");
    assert_eq!((built.read("1"), built.read("2")), ("b\n".into(), "b\n".into()));
    // The later of two stages of one name is meant.
    let built = b.build(
        "FROM busybox AS x\nRUN echo 1 > /b\nFROM busybox AS x\nRUN echo 2 > /b\nFROM scratch\nCOPY --from=x /b /b",
    );
    assert_eq!(built.read("b"), "2\n");
}

#[test]
fn from_wants_a_stage_as_an_image_would_be_written() {
    let b = Bench::new();
    let text = |from: &str| format!("FROM busybox AS Base\nRUN touch /b\nFROM {from}\nRUN touch /c");
    assert!(b.build(&text("base")).has("b"));
    assert!(b.fails(&text("BASE"), 1).contains("BASE"));
    assert!(b.fails("FROM busybox AS 0a\nRUN true", 1).contains("0a"), "a name does not start with a digit");
}

#[test]
fn circles_are_errors() {
    let b = Bench::new();
    let said = b.fails("FROM busybox AS self\nCOPY --from=self /etc /x", 1);
    assert!(said.contains("self") && said.contains("Dockerfile:2"), "{said}");
    let said = b.fails("FROM busybox AS a\nCOPY --from=b /etc /x\nFROM busybox AS b\nRUN true\nFROM a", 1);
    assert!(said.contains('b'), "{said}");
}

#[test]
fn what_nobody_needs_is_not_looked_at() {
    let b = Bench::new();
    let built =
        b.build("FROM registry.invalid/none AS un\nCOPY --from=later /x /y\nRUN false\nFROM busybox\nRUN touch /ok");
    assert!(built.has("ok"));
}

#[test]
fn triggers_run_in_the_child_once() {
    let b = Bench::new().file("f", 0o644, "F");
    let built = b.build(
        "FROM busybox AS src\nRUN echo s > /s\nFROM busybox AS a\nONBUILD COPY f /from-trigger\nONBUILD COPY --from=src /s /s\nONBUILD ENV T=1\n\
         FROM a AS b\nRUN echo $T > /t\nFROM b\nRUN rm /from-trigger",
    );
    assert!(built.has("t") && built.has("s") && !built.has("from-trigger"));
    assert!(built.config.config.on_build.is_empty());
    for text in ["ONBUILD ONBUILD RUN x", "ONBUILD FROM x", "ONBUILD MAINTAINER x"] {
        assert!(b.fails(&format!("FROM busybox\n{text}"), 1).contains("ONBUILD"), "{text}");
    }
    let kept = b.build("FROM busybox\nONBUILD RUN x");
    assert_eq!(kept.config.config.on_build, ["RUN x"]);
}

#[test]
fn a_target_by_number_and_name() {
    let b = Bench::new();
    let text = "FROM busybox AS one\nRUN touch /1\nFROM busybox AS two\nRUN touch /2";
    for target in ["ONE", "0", "one"] {
        let _ = b.run(text, &[&format!("--target={target}")]).ok();
        assert!(crate::open(&b.t.store(), "t").has("1"), "{target}");
    }
    assert!(b.run(text, &["--target=three"]).exits(1).stderr.contains("three"));
}
