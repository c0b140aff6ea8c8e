//! Lines, directives, stages: the file as a whole.

use kiln_spec::ast::{Command, Op};
use kiln_spec::source::Span;

use crate::{errors, one, op, parse, warnings};

#[test]
fn directives_at_the_top() {
    let file = parse("# syntax=docker/dockerfile:1 extra\n#Escape = `\n# check=skip=all;error=true\nFROM a\n");
    let directives = file.directives;
    assert_eq!(directives.syntax.unwrap().text, "docker/dockerfile:1");
    assert_eq!(directives.escape, '`');
    assert_eq!(directives.check.unwrap().text, "skip=all;error=true");
}

#[test]
fn directives_end_at_the_first_other_line() {
    for text in
        ["\n# escape=`\nFROM a", "# hello\n# escape=`\nFROM a", "# foo=bar\n# escape=`\nFROM a", "FROM a\n# escape=`"]
    {
        assert_eq!(parse(text).directives.escape, '\\', "{text:?}");
    }
    assert!(parse("#!/usr/bin/env kiln\n# syntax=docker/dockerfile:1\nFROM a").directives.syntax.is_some());
    assert_eq!(errors("# escape=/\nFROM a"), ["1:10 InvalidEscape: `/` cannot be the escape character"]);
    assert_eq!(
        errors("# escape=\\\n# ESCAPE=`\nFROM a"),
        ["2:3 DuplicateDirective: more than one `escape` parser directive"]
    );
}

#[test]
fn byte_order_mark_and_carriage_returns() {
    let file = parse("\u{feff}# escape=`\r\nFROM a AS b\r\nRUN x `\r\n  && y\r\n");
    assert_eq!(file.directives.escape, '`');
    assert_eq!(file.stages[0].name.as_ref().unwrap().text, "b");
    assert_eq!(file.stages[0].instructions[0].text, "RUN x   && y");
}

#[test]
fn continued_lines_are_joined_as_they_are() {
    assert_eq!(one("  run a && \\\n    b").text, "run a &&     b");
    assert_eq!(one("RUN a \\   \n b \\\t\n c").text, "RUN a  b  c");
    assert_eq!(one("RUN a \\\n# comment\n  # comment\n b # no comment").text, "RUN a  b # no comment");
    // A doubled escape character ends nothing.
    assert_eq!(one("RUN a \\\\").text, "RUN a \\\\");
    // One alone on its line continues it.
    assert_eq!(one("\\\nRUN a").text, "RUN a");
    // The end of the file ends everything.
    assert_eq!(one("RUN a \\").text, "RUN a");
    assert_eq!(one("RUN a \\\n").text, "RUN a");
    assert_eq!(one("RUN a \\\n# comment").text, "RUN a");
}

#[test]
fn an_empty_line_inside_an_instruction_is_passed_over() {
    assert_eq!(one("RUN a \\\n\n  \n b").text, "RUN a  b");
    let text = "FROM a\nRUN a \\\n\n b\nRUN c";
    assert_eq!(parse(text).empty_continuations, [Span::new(15, 15)]);
}

#[test]
fn the_escape_directive_changes_what_continues_a_line() {
    let file = parse("# escape=`\nFROM a\nRUN dir c:\\\nRUN x `\n y");
    let texts: Vec<&str> = file.stages[0].instructions.iter().map(|i| i.text.as_str()).collect();
    assert_eq!(texts, ["RUN dir c:\\", "RUN x  y"]);
}

#[test]
fn spans_point_into_the_file() {
    let text = "FROM a\nCOPY --from=x a \\\n  # why\n  b\\\nc /d\n";
    let file = parse(text);
    let instruction = &file.stages[0].instructions[0];
    assert_eq!(&text[instruction.span.start..instruction.span.end], &text[7..text.len() - 1]);
    let Op::Copy(copy) = &instruction.op else { panic!("{instruction:?}") };
    let kiln_spec::ast::Sourced::Path(joined) = &copy.files.sources[1] else { panic!() };
    assert_eq!(joined.text, "bc");
    assert_eq!(&text[joined.span.start..joined.span.end], "b\\\nc");
    let from = copy.from.as_ref().unwrap();
    assert_eq!(&text[from.span.start..from.span.end], "x");
}

#[test]
fn stages() {
    let file = parse(
        "ARG V=1\nARG W\nFROM --platform=$BUILDPLATFORM golang:$V AS build\nRUN a\nfrom build as Final\nFROM scratch\n",
    );
    assert_eq!(file.global_args.len(), 2);
    let stages: Vec<_> = file.stages.iter().map(|stage| (stage.base.text.as_str(), stage.name.as_ref())).collect();
    assert_eq!(stages[0].0, "golang:$V");
    assert_eq!(stages[1].1.unwrap().text, "Final");
    assert_eq!(stages[2], ("scratch", None));
    assert_eq!(file.stages[0].platform.as_ref().unwrap().text, "$BUILDPLATFORM");
    assert_eq!(file.stages[0].instructions.len(), 1);
}

#[test]
fn wrong_stages() {
    assert_eq!(errors("FROM"), ["1:1 MissingArgument: `FROM` needs an image or stage to start from"]);
    assert_eq!(errors("FROM a b"), ["1:8 InvalidFrom: `FROM` takes an image, and `AS name` at most"]);
    assert_eq!(errors("FROM a AS"), ["1:8 InvalidFrom: `AS` needs a name"]);
    assert_eq!(errors("FROM a AS b c"), ["1:8 InvalidFrom: `FROM` takes an image, and `AS name` at most"]);
    assert_eq!(errors("FROM a AS 1b"), ["1:11 InvalidStageName: `1b` cannot name a stage"]);
    assert_eq!(errors("FROM a AS b/c"), ["1:11 InvalidStageName: `b/c` cannot name a stage"]);
    assert_eq!(errors("FROM --platfrom=x a"), ["1:6 UnknownFlag: `FROM` has no flag `--platfrom`"]);
}

#[test]
fn there_must_be_a_stage() {
    let hint = "the Dockerfile has no instructions";
    assert_eq!(errors(""), [format!("1:1 NoBuildStage: {hint}")]);
    assert_eq!(errors("# comment\n\n"), [format!("3:1 NoBuildStage: {hint}")]);
    assert_eq!(errors("ARG a"), ["1:6 NoBuildStage: the Dockerfile has no build stage"]);
    assert_eq!(errors("RUN a\nRUN b"), ["1:1 NoBuildStage: `RUN` before the first `FROM`"]);
    assert_eq!(errors("RUN a\nFROM x"), ["1:1 NoBuildStage: `RUN` before the first `FROM`"]);
}

#[test]
fn every_mistake_is_reported_and_the_rest_is_parsed() {
    let text = "FROM a\nRUNN x\nCOPY a\nENV a=1 b\nEXPOSE\nRUN ok\nWORKDIR\n";
    assert_eq!(
        errors(text),
        [
            "2:1 UnknownInstruction: unknown instruction `RUNN`",
            "3:1 MissingArgument: `COPY` needs a source and a destination",
            "4:9 MissingEquals: `b` has no `=`",
            "5:1 MissingArgument: `EXPOSE` needs a port",
            "7:1 MissingArgument: `WORKDIR` needs an argument",
        ]
    );
    let (file, _) = kiln_spec::dockerfile::parse(&crate::source(text));
    assert_eq!(file.stages[0].instructions.len(), 1);
    assert_eq!(errors("FROM a\n\\\n"), ["2:1 UnknownInstruction: a line continuation without an instruction"]);
}

#[test]
fn shell_or_exec_form() {
    let exec = |text: &str| match op(text) {
        Op::Cmd(Command::Exec(words)) => Some(words),
        Op::Cmd(Command::Shell(_)) => None,
        other => panic!("{other:?}"),
    };
    assert_eq!(exec(r#"CMD ["a", "b c"]"#).unwrap(), ["a", "b c"]);
    assert_eq!(exec("CMD []").unwrap(), Vec::<String>::new());
    assert_eq!(exec("CMD [\"a\",\\\n \"\\u0062\"]").unwrap(), ["a", "b"]);
    for shell in ["CMD ['a']", "CMD [ \"$x\" = y ] && z", r#"CMD ["a",]"#, "CMD a", r#"CMD x ["a"]"#] {
        assert_eq!(exec(shell), None, "{shell}");
    }
    assert_eq!(errors("FROM a\nCMD [\"a\", 1]"), ["2:11 NotStrings: a JSON array must hold strings only"]);
    let Op::Cmd(Command::Shell(word)) = op("CMD  echo \"$a\"   'b'  ") else { panic!() };
    assert_eq!(word.text, "echo \"$a\"   'b'");
}

#[test]
fn comments_belong_to_what_follows_them_at_once() {
    let comments = |list: &[kiln_spec::source::Word]| list.iter().map(|c| c.text.clone()).collect::<Vec<_>>();
    let text = "# syntax=docker/dockerfile:1\n# a one\n#b two \nARG a\n# lost\n\n# build is it\n  # more\nFROM x AS build\n\
                # lost\n#\n# kept\nARG b\nRUN x \\\n# inside\n y\nRUN <<E\n# body\nE\nRUN z";
    let file = parse(text);
    assert_eq!(comments(&file.global_args[0].comments), ["a one", "b two"]);
    assert_eq!(comments(&file.stages[0].comments), ["build is it", "more"]);
    assert_eq!(file.stages[0].description(), Some("is it"));
    let inside: Vec<_> = file.stages[0].instructions.iter().map(|i| comments(&i.comments)).collect();
    assert_eq!(inside, [vec!["kept"], vec![], vec![], vec![]]);
    let first = &file.global_args[0].comments[1];
    assert_eq!(&text[first.span.start..first.span.end], "b two");
    assert_eq!(kiln_spec::ast::description(&file.global_args[0].comments, "a"), Some("one"));
    assert_eq!(kiln_spec::ast::description(&file.global_args[0].comments, "on"), None);
    // However many there are, few are kept.
    let many = parse(&format!("{}FROM x", "# c\n".repeat(5000)));
    assert_eq!(many.stages[0].comments.len(), 100);
}

#[test]
fn the_instruction_around_a_place() {
    let text = "ARG a\nFROM x AS y\n\nRUN a \\\n  b\nUSER c\n";
    let file = parse(text);
    let around = |what: &str| {
        let at = text.find(what).unwrap();
        let span = file.around(Span::new(at, at + what.len()));
        &text[span.start..span.end]
    };
    assert_eq!(around("a\n"), "ARG a");
    assert_eq!(around("y\n"), "FROM x AS y");
    assert_eq!(around("b\n"), "RUN a \\\n  b");
    assert_eq!(around("c\n"), "USER c");
    assert_eq!(around("\n\n"), "FROM x AS y");
}

#[test]
fn options_that_mean_nothing() {
    assert_eq!(
        warnings("FROM a\nHEALTHCHECK --retries=1 NONE"),
        ["2:13 UselessFlag: options mean nothing to `HEALTHCHECK NONE`"]
    );
}
