//! Nothing panics, whatever the input; every place is a place.

use kiln_spec::ast::{Command, Heredoc, Instruction, Op};
use kiln_spec::chmod::Chmod;
use kiln_spec::diag::{did_you_mean, render};
use kiln_spec::dockerignore::Ignore;
use kiln_spec::expand::Expander;
use kiln_spec::glob::Pattern;
use kiln_spec::source::{Span, Word};
use kiln_spec::{dockerfile, duration, owner, port, size};
use proptest::prelude::*;

use crate::source;

/// Pieces that Dockerfiles are made of, in any order.
fn dockerfile_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "FROM ",
            "RUN ",
            "COPY ",
            "ADD ",
            "ENV ",
            "ARG ",
            "LABEL ",
            "ONBUILD ",
            "HEALTHCHECK ",
            "CMD ",
            "SHELL ",
            "VOLUME ",
            "EXPOSE ",
            "USER ",
            "# escape=`",
            "# syntax=x",
            " AS ",
            "<<EOF",
            "<<-'E'",
            "EOF",
            "E",
            "\n",
            "\r\n",
            "\\\n",
            "`\n",
            "\\",
            "\"",
            "'",
            "[\"a\", \"b\"]",
            "[",
            "]",
            ",",
            "--from=x ",
            "--mount=",
            "type=cache,",
            "target=/x",
            "--link ",
            "-- ",
            "=",
            "$x",
            "${x:-",
            "}",
            "#",
            "\u{feff}",
            "\t",
            "é",
            "\u{2003}",
            "a",
            "CMD x",
            "--interval=5s ",
            "NONE",
            "\u{0}",
        ])
        .prop_map(str::to_owned),
        any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// Pieces that words are made of.
fn word_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "$", "{", "}", "${", "x", ":-", "-", "+", ":?", "#", "##", "%", "/", "//", "\\", "`", "'", "\"", "*", "?",
            "[", " ", "<<", "\n", "é", "$x", "${x/a/b}", "0", "_",
        ])
        .prop_map(str::to_owned),
        any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn check(text: &str, span: Span) {
    assert!(span.start <= span.end && span.end <= text.len(), "{span:?} in {} bytes", text.len());
    assert!(text.is_char_boundary(span.start) && text.is_char_boundary(span.end), "{span:?}");
}

fn words<'a>(op: &'a Op, out: &mut Vec<&'a Word>) {
    let command = |command: &'a Command, out: &mut Vec<&'a Word>| {
        if let Command::Shell(word) = command {
            out.push(word);
        }
    };
    let heredocs = |heredocs: &'a [Heredoc], out: &mut Vec<&'a Word>| out.extend(heredocs.iter().map(|h| &h.body));
    match op {
        Op::Arg(args) => args.iter().for_each(|arg| {
            out.push(&arg.name);
            out.extend(&arg.default);
        }),
        Op::Env(pairs) | Op::Label(pairs) => pairs.iter().for_each(|pair| out.extend([&pair.key, &pair.value])),
        Op::Run(run) => {
            command(&run.command, out);
            heredocs(&run.heredocs, out);
            out.extend(run.network.iter().chain(&run.security));
            for mount in &run.mounts {
                out.extend(mount.target.iter().chain(&mount.source).chain(&mount.id).chain(&mount.from));
            }
        }
        Op::Copy(copy) => out.extend([&copy.files.dest].into_iter().chain(&copy.from).chain(&copy.files.exclude)),
        Op::Add(add) => out.extend([&add.files.dest].into_iter().chain(&add.checksum)),
        Op::Cmd(one) | Op::Entrypoint(one) => command(one, out),
        Op::Expose(list) | Op::Volume(list) => out.extend(list),
        Op::Maintainer(word) | Op::Stopsignal(word) | Op::User(word) | Op::Workdir(word) => out.push(word),
        Op::Onbuild { text, instruction } => {
            out.push(text);
            words(&instruction.op, out);
        }
        Op::Shell(_) | Op::Healthcheck(_) => {}
    }
}

fn check_instruction(text: &str, instruction: &Instruction) {
    check(text, instruction.span);
    check(text, instruction.keyword.span);
    let mut list = Vec::new();
    words(&instruction.op, &mut list);
    for word in list {
        check(text, word.span);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn parsing_never_panics(text in dockerfile_text()) {
        let source = source(&text);
        let (file, diagnostics) = dockerfile::parse(&source);
        for diagnostic in &diagnostics {
            check(&text, diagnostic.span);
            prop_assert!(!diagnostic.message.contains('\n') || text.contains('\n'));
            render(diagnostic, &source, false);
        }
        for instruction in file.global_args.iter().chain(file.stages.iter().flat_map(|stage| &stage.instructions)) {
            check_instruction(&text, instruction);
        }
        prop_assert!(!file.stages.is_empty() || diagnostics.iter().any(|diagnostic| diagnostic.is_error()));
        let (again, diagnostics) = dockerfile::parse(&source);
        prop_assert_eq!((again, diagnostics.len()), (file, diagnostics.len()));
    }

    #[test]
    fn triggers_never_panic(text in dockerfile_text()) {
        let (_, instruction, diagnostics) = dockerfile::parse_onbuild(&text, "base");
        prop_assert!(instruction.is_some() || diagnostics.iter().any(|diagnostic| diagnostic.is_error()));
        if let Some(instruction) = instruction {
            check_instruction(&text, &instruction);
        }
    }

    #[test]
    fn expanding_never_panics(text in word_text(), escape in prop::sample::select(vec!['\\', '`'])) {
        let lookup = |name: &str| (name == "x").then(|| "a/b*a".to_owned());
        let plain = Expander::new(escape);
        for how in [plain, plain.raw_quotes(), plain.raw_escapes().keep_unset(), Expander::heredoc()] {
            match how.both(&text, &lookup) {
                Ok(expanded) => {
                    prop_assert_eq!(how.word(&text, &lookup).map(|expanded| expanded.value), Ok(expanded.value));
                    prop_assert!(expanded.words.iter().all(|word| !word.is_empty()));
                }
                Err(error) => prop_assert!(text.is_char_boundary(error.offset)),
            }
        }
    }

    #[test]
    fn what_is_kept_raw_is_unchanged(text in "[a-z '\"\\\\]{0,20}") {
        let raw = Expander::new('\\').raw_quotes().raw_escapes();
        if let Ok(expanded) = raw.word(&text, &|_| None) {
            // Nothing is lost but an escape before what needed none in double quotes.
            prop_assert!(expanded.value.len() >= text.len());
        }
    }

    #[test]
    fn ignoring_never_panics(
        rules in prop::collection::vec("[ab*?!/\\[\\]^\\\\.# -]{0,8}", 0..6),
        path in "[ab.]{1,3}(/[ab.]{1,3}){0,3}",
        bytes in prop::collection::vec(any::<u8>(), 0..30),
    ) {
        let (ignore, _) = Ignore::parse(rules.join("\n"));
        let excluded = ignore.matches(&path);
        prop_assert_eq!(excluded, ignore.matched_by(&path).is_some());
        // A directory that need not be entered has nothing to show.
        if excluded && !ignore.may_reinclude_below(&path) {
            for below in ["a", "b", "ab/a", "a.b/."] {
                let path = format!("{path}/{below}");
                prop_assert!(ignore.matches(&path), "{} {:?}", path, rules);
            }
        }
        let (any, _) = Ignore::parse(&bytes);
        any.matches(&bytes);
        any.may_reinclude_below(&bytes);
    }

    #[test]
    fn a_pattern_matches_itself_escaped(name in "[a-z*?\\[\\]\\\\]{1,10}", rest in any::<Vec<u8>>()) {
        let escaped: String = name.chars().flat_map(|c| ['\\', c]).collect();
        prop_assert!(Pattern::new(&escaped).unwrap().matches(&name));
        if let Ok(pattern) = Pattern::new(&rest) {
            pattern.matches(&name);
        }
    }

    #[test]
    fn values_never_panic(text in ".{0,20}", number in "[0-9.:a-z/+-]{0,12}") {
        for text in [&text, &number] {
            let _ = (duration::parse(text), size::parse(text), owner::parse(text), port::parse(text));
            if let Ok(mode) = Chmod::parse(text) {
                prop_assert!(mode.apply(0o4755, true) <= 0o7777);
            }
            did_you_mean(text, ["FROM", "RUN"]);
        }
    }
}
