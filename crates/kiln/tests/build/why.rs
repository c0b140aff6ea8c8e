//! `kiln build --explain`: what would run, and which input changed since the last run.

use insta::assert_snapshot;

use crate::Bench;

const QUIET: &str = "--progress=quiet";

const TEXT: &str =
    "FROM scratch AS a\nARG VERSION=1.2\nCOPY src /app\nWORKDIR /app/$VERSION\nFROM a\nCOPY --from=a /app /b\n";

fn explained(b: &Bench, text: &str, more: &[&str]) -> String {
    let mut args = vec!["--explain", QUIET];
    args.extend(more);
    b.run(text, &args).ok().stdout
}

#[test]
fn which_input_changed() {
    let b = Bench::new().file("src/main.rs", 0o644, "fn main() {}").file("src/lib.rs", 0o644, "");
    assert_snapshot!(explained(&b, TEXT, &[]), @r"
    #0   cached  FROM scratch
    #1   runs    [a 1/2] COPY src /app
                 not in the cache: never built, or pruned
    #2   open    [a 2/2] WORKDIR /app/$VERSION
                 runs unless #1 makes what it made before
    #3   open    [stage-1 1/1] COPY --from=a /app /b
                 runs unless #2 makes what it made before
    no earlier run of this is known to compare with
    ");
    let _ = b.run(TEXT, &[QUIET]).ok();
    assert_snapshot!(explained(&b, TEXT, &[]), @r"
    #0   cached  FROM scratch
    #1   cached  [a 1/2] COPY src /app
    #2   cached  [a 2/2] WORKDIR /app/$VERSION
    #3   cached  [stage-1 1/1] COPY --from=a /app /b
    compared with the last run
    ");
    b.t.write("src/main.rs", 0o644, "fn main() { changed() }");
    b.t.write("src/new.rs", 0o644, "");
    let said = explained(&b, TEXT, &["--build-arg=VERSION=1.3"]);
    assert_snapshot!(said, @r"
    #0   cached  FROM scratch
    #1   runs    [a 1/2] COPY src /app
                 changed: src/main.rs (content)
                 changed: src/new.rs (added)
    #2   open    [a 2/2] WORKDIR /app/$VERSION
                 runs unless #1 makes what it made before
                 changed: #1 below it
                 changed: path: /app/1.2 → /app/1.3
    #3   open    [stage-1 1/1] COPY --from=a /app /b
                 runs unless #2 makes what it made before
                 changed: #2, which it reads
                 changed: #2 below it
    compared with the last run
    ");
    assert_eq!(said, explained(&b, TEXT, &["--build-arg=VERSION=1.3"]), "explaining is no run");
}

#[test]
fn what_is_not_there_any_more_and_what_is_not_asked_for() {
    let b = Bench::new().file("src/x", 0o644, "");
    let text = "FROM scratch\nCOPY src /app\n";
    let _ = b.run(text, &[QUIET]).ok();
    let said = explained(&b, text, &["--no-cache"]);
    assert!(said.contains("the cache is not asked: --no-cache"), "{said}");
    let json = b.run(text, &["--explain=json", QUIET]).ok().json();
    assert_eq!((&json["steps"][1]["state"], &json["comparedWith"]), (&"cached".into(), &"finished run".into()));
    let _ = b.t.kiln(&["prune", "--filter=type=record", "--filter=id=step", "--force"]).ok();
    let said = explained(&b, text, &[]);
    assert!(said.contains("not in the cache: nothing changed, so it was pruned"), "{said}");
    let out = b.run(text, &["--explain=yaml", QUIET]).exits(2);
    assert!(out.stderr.contains("there is no format `yaml`"), "{out}");
    assert!(b.run(text, &["--explain", "--plan"]).exits(2).stderr.contains("cannot be used with"));
}
