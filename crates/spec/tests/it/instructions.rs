//! Each instruction: what it becomes, and what is wrong with it.

use kiln_spec::ast::{Command, Healthcheck, Op, Sourced};
use kiln_spec::source::Word;

use crate::{errors_of, op, parse};

fn texts(words: &[Word]) -> Vec<&str> {
    words.iter().map(|word| word.text.as_str()).collect()
}

fn text(word: &Option<Word>) -> Option<&str> {
    word.as_ref().map(|word| word.text.as_str())
}

#[test]
fn arg() {
    let Op::Arg(args) = op("ARG a b= c=\"x y\" d=$a\\ b") else { panic!() };
    let args: Vec<_> = args.iter().map(|arg| (arg.name.text.as_str(), text(&arg.default))).collect();
    assert_eq!(args, [("a", None), ("b", Some("")), ("c", Some("\"x y\"")), ("d", Some("$a\\ b"))]);
    assert_eq!(errors_of("ARG"), ["1 MissingArgument: `ARG` needs a name"]);
    assert_eq!(errors_of("ARG =x"), ["5 EmptyName: a name of `ARG` is empty"]);
}

#[test]
fn env_and_label() {
    let pairs = |text: &str| match op(text) {
        Op::Env(pairs) | Op::Label(pairs) => {
            pairs.into_iter().map(|pair| (pair.key.text, pair.value.text, pair.legacy)).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    let new = |key: &str, value: &str| (key.to_owned(), value.to_owned(), false);
    let old = |key: &str, value: &str| (key.to_owned(), value.to_owned(), true);
    assert_eq!(pairs(r#"ENV a="x y" b=c\ d e="#), [new("a", r#""x y""#), new("b", r"c\ d"), new("e", "")]);
    assert_eq!(pairs("ENV a=b=c \\\n  d='$x'"), [new("a", "b=c"), new("d", "'$x'")]);
    assert_eq!(pairs("ENV a   b=c  d "), [old("a", "b=c  d")]);
    assert_eq!(pairs(r#"LABEL "a b"="c""#), [new(r#""a b""#, r#""c""#)]);
    assert_eq!(pairs("LABEL a b"), [old("a", "b")]);
    assert_eq!(errors_of("ENV"), ["1 MissingArgument: `ENV` needs a key and a value"]);
    assert_eq!(errors_of("ENV a"), ["1 MissingArgument: `ENV` needs a value for the key"]);
    assert_eq!(errors_of("ENV =x"), ["5 EmptyName: a name of `ENV` is empty"]);
    assert_eq!(errors_of("ENV a=b c d=e"), ["9 MissingEquals: `c` has no `=`"]);
    assert_eq!(errors_of("LABEL --x a=b"), ["7 UnknownFlag: `LABEL` has no flag `--x`"]);
}

#[test]
fn run() {
    let Op::Run(run) = op("RUN --network=none --security=sandbox --mount=target=/a --mount=type=ssh  echo --x") else {
        panic!()
    };
    assert_eq!((text(&run.network), text(&run.security), run.mounts.len()), (Some("none"), Some("sandbox"), 2));
    let Command::Shell(line) = run.command else { panic!() };
    assert_eq!(line.text, "echo --x");
    assert!(matches!(op("RUN [\"a\"]"), Op::Run(run) if run.command == Command::Exec(vec!["a".into()])));
    assert_eq!(errors_of("RUN"), ["1 MissingArgument: `RUN` needs a command"]);
    assert_eq!(errors_of("RUN []"), ["1 MissingArgument: `RUN` needs a command: the array is empty"]);
    assert_eq!(errors_of("RUN --network=nine x"), ["15 InvalidFlagValue: unknown network mode `nine`"]);
    assert_eq!(errors_of("RUN --security=none x"), ["16 InvalidFlagValue: unknown security mode `none`"]);
    assert_eq!(errors_of("RUN --device=x y"), ["5 UnknownFlag: `RUN` has no flag `--device`"]);
}

#[test]
fn copy() {
    let Op::Copy(copy) =
        op("COPY --from=b --chown=a:b --chmod=u=rwX --link --parents --exclude=*.o --exclude=x a b /c/")
    else {
        panic!()
    };
    assert_eq!(text(&copy.from), Some("b"));
    assert_eq!((text(&copy.files.chown), text(&copy.files.chmod)), (Some("a:b"), Some("u=rwX")));
    assert_eq!((copy.files.link, copy.parents), (true, true));
    assert_eq!(texts(&copy.files.exclude), ["*.o", "x"]);
    let sources: Vec<_> = copy
        .files
        .sources
        .iter()
        .map(|source| match source {
            Sourced::Path(word) => word.text.as_str(),
            Sourced::Heredoc(_) => "<<",
        })
        .collect();
    assert_eq!((sources, copy.files.dest.text.as_str()), (vec!["a", "b"], "/c/"));
}

#[test]
fn copy_as_json() {
    let Op::Copy(copy) = op("COPY --link=false [ \"a b\", \"/x y\" ]") else { panic!() };
    assert!(!copy.files.link);
    assert_eq!(copy.files.dest.text, "/x y");
    assert!(matches!(&copy.files.sources[0], Sourced::Path(word) if word.text == "a b"));
    assert_eq!(errors_of("COPY [\"a\"]"), ["1 MissingArgument: `COPY` needs a source and a destination"]);
    assert_eq!(errors_of("COPY [\"a\", 2]"), ["12 NotStrings: a JSON array must hold strings only"]);
}

#[test]
fn add() {
    let Op::Add(add) = op("ADD --checksum=sha256:0 --keep-git-dir=true --unpack=FALSE --exclude=x a /b") else {
        panic!()
    };
    assert_eq!((text(&add.checksum), add.keep_git_dir, add.unpack), (Some("sha256:0"), Some(true), Some(false)));
    assert_eq!(errors_of("ADD --from=x a /b"), ["5 UnknownFlag: `ADD` has no flag `--from`"]);
}

#[test]
fn flags() {
    assert_eq!(errors_of("COPY --form=x a b"), ["6 UnknownFlag: `COPY` has no flag `--form`"]);
    assert_eq!(errors_of("COPY --from a b"), ["6 MissingFlagValue: `--from` needs a value"]);
    assert_eq!(errors_of("COPY --link= a b"), ["6 MissingFlagValue: `--link` needs a value"]);
    assert_eq!(errors_of("COPY --link=1 a b"), ["6 InvalidFlagValue: `--link` is either true or false"]);
    assert_eq!(errors_of("COPY --from=a --from=b a b"), ["15 DuplicateFlag: `--from` is given twice"]);
    assert_eq!(errors_of("COPY --x --y a b").len(), 2);
    // An empty value is none; quotes are processed; `--` ends the flags.
    let Op::Copy(copy) = op("COPY --from= --chown=\"a b\" -- --from=x /y") else { panic!() };
    assert_eq!((copy.from, text(&copy.files.chown)), (None, Some("a b")));
    assert_eq!(copy.files.dest.text, "/y");
}

#[test]
fn entrypoint_and_shell() {
    assert!(matches!(op("ENTRYPOINT []"), Op::Entrypoint(Command::Exec(words)) if words.is_empty()));
    assert!(matches!(op("SHELL [\"/bin/bash\", \"-c\"]"), Op::Shell(words) if words == ["/bin/bash", "-c"]));
    assert_eq!(errors_of("ENTRYPOINT"), ["1 MissingArgument: `ENTRYPOINT` needs a command"]);
    assert_eq!(errors_of("SHELL /bin/sh"), ["7 NotJson: `SHELL` takes a JSON array of strings"]);
    assert_eq!(errors_of("SHELL []"), ["1 MissingArgument: `SHELL` needs a program"]);
}

#[test]
fn words_of_one_kind_or_another() {
    assert!(matches!(op("EXPOSE 80 $P/udp"), Op::Expose(words) if texts(&words) == ["80", "$P/udp"]));
    assert!(matches!(op("VOLUME /a /b"), Op::Volume(words) if texts(&words) == ["/a", "/b"]));
    assert!(matches!(op("VOLUME [\" /a b \"]"), Op::Volume(words) if texts(&words) == ["/a b"]));
    assert!(matches!(op("USER a:b"), Op::User(word) if word.text == "a:b"));
    assert!(matches!(op("WORKDIR /a b"), Op::Workdir(word) if word.text == "/a b"));
    assert!(matches!(op("STOPSIGNAL 9"), Op::Stopsignal(word) if word.text == "9"));
    assert!(matches!(op("MAINTAINER a <b@c>"), Op::Maintainer(word) if word.text == "a <b@c>"));
    assert_eq!(errors_of("VOLUME [\"\"]"), ["9 EmptyName: the path of a volume is empty"]);
    for keyword in ["EXPOSE", "VOLUME", "USER", "WORKDIR", "STOPSIGNAL", "MAINTAINER"] {
        assert!(errors_of(keyword)[0].contains("MissingArgument"), "{keyword}");
    }
}

#[test]
fn healthcheck() {
    assert!(matches!(op("HEALTHCHECK none"), Op::Healthcheck(Healthcheck::None)));
    let flags = "--interval=1m30s --timeout=5s --start-period=0s --start-interval=1ms --retries=0";
    let Op::Healthcheck(Healthcheck::Check { command, interval, timeout, start_period, start_interval, retries }) =
        op(&format!("HEALTHCHECK {flags} CMD curl -f /"))
    else {
        panic!()
    };
    assert!(matches!(command, Command::Shell(word) if word.text == "curl -f /"));
    assert_eq!((interval, timeout), (Some(90_000_000_000), Some(5_000_000_000)));
    assert_eq!((start_period, start_interval, retries), (None, Some(1_000_000), Some(0)));
    assert!(matches!(
        op("HEALTHCHECK CMD [\"a\"]"),
        Op::Healthcheck(Healthcheck::Check { command: Command::Exec(_), .. })
    ));
}

#[test]
fn wrong_healthchecks() {
    assert_eq!(errors_of("HEALTHCHECK"), ["1 MissingArgument: `HEALTHCHECK` needs `CMD` and a command, or `NONE`"]);
    assert_eq!(errors_of("HEALTHCHECK CMD"), ["1 MissingArgument: `HEALTHCHECK` needs a command behind `CMD`"]);
    assert_eq!(errors_of("HEALTHCHECK NONE x"), ["18 InvalidHealthcheck: `HEALTHCHECK NONE` takes no arguments"]);
    assert_eq!(
        errors_of("HEALTHCHECK curl x"),
        ["13 InvalidHealthcheck: `HEALTHCHECK` is followed by `CMD` or `NONE`, not `curl`"]
    );
    assert_eq!(
        errors_of("HEALTHCHECK --interval=5 --timeout=1us --retries=-1 CMD x"),
        [
            "24 InvalidFlagValue: `5` lacks a unit: write `5s` for seconds",
            "36 InvalidFlagValue: `--timeout` must be at least 1ms",
            "50 InvalidFlagValue: `--retries` is a number from 0, not `-1`",
        ]
    );
}

#[test]
fn keywords_in_any_case() {
    for text in ["run a", "Run a", "RUN a", "\trun\ta"] {
        assert!(matches!(op(text), Op::Run(_)), "{text}");
    }
    let file = parse("from a\nworkdir /x");
    assert_eq!(file.stages[0].instructions[0].keyword.text, "workdir");
}
