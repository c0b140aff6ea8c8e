//! Messages as people read them.

use kiln_spec::diag::{Diagnostic, render};
use kiln_spec::dockerfile;
use kiln_spec::source::{Source, Span};

use crate::source;

/// All messages about a file.
fn shown(text: &str) -> String {
    let source = source(text);
    let (_, diagnostics) = dockerfile::parse(&source);
    diagnostics.iter().map(|diagnostic| render(diagnostic, &source, false)).collect()
}

#[test]
fn what_where_why_what_now() {
    let text = "\n".repeat(13) + "COPY dist/ /srv/\n";
    let diagnostic = Diagnostic::error("CopyNothing", Span::new(18, 23), "`COPY dist/ /srv/` matches nothing")
        .label("not in the build context")
        .note("`.dockerignore:3` excludes `dist`")
        .hint("add `!dist/` to `.dockerignore`");
    insta::assert_snapshot!(render(&diagnostic, &source(&text), false), @r"
    error: `COPY dist/ /srv/` matches nothing
      --> Dockerfile:14:6
       |
    14 | COPY dist/ /srv/
       |      ^^^^^ not in the build context
       = `.dockerignore:3` excludes `dist`
    hint: add `!dist/` to `.dockerignore`
    ");
}

#[test]
fn an_unknown_instruction() {
    insta::assert_snapshot!(shown("FROM a\n  RNU x\n"), @r"
    error: unknown instruction `RNU`
     --> Dockerfile:2:3
      |
    2 |   RNU x
      |   ^^^
    hint: did you mean `RUN`?
    ");
}

#[test]
fn an_unknown_flag() {
    insta::assert_snapshot!(shown("FROM a\nCOPY --form=b a /b\n"), @r"
    error: `COPY` has no flag `--form`
     --> Dockerfile:2:6
      |
    2 | COPY --form=b a /b
      |      ^^^^^^^^
    hint: did you mean `--from`?
    ");
}

#[test]
fn no_stage() {
    insta::assert_snapshot!(shown("RUN x"), @r"
    error: `RUN` before the first `FROM`
     --> Dockerfile:1:1
      |
    1 | RUN x
      | ^^^ no build stage to belong to
    hint: only `ARG` may come before `FROM`
    ");
    insta::assert_snapshot!(shown(""), @r"
    error: the Dockerfile has no instructions
     --> Dockerfile:1:1
    hint: start one with `FROM image` or `FROM scratch`
    ");
}

#[test]
fn places_of_many_lines() {
    let text = "FROM a\nENV a \\\n  b \\\n  c \\\n  d\n";
    let diagnostic = Diagnostic::warning("X", Span::new(7, text.len() - 1), "old form").label("here");
    insta::assert_snapshot!(render(&diagnostic, &source(text), false), @r"
    warning: old form
     --> Dockerfile:2:1
      |
    2 | ENV a \
      | ^^^^^^^ here
    3 |   b \
    4 |   c \
    5 | …
    ");
}

#[test]
fn long_lines_are_cut_around_the_place() {
    let text = format!("RUN {} here {}", "a".repeat(500), "b".repeat(500));
    let at = text.find("here").unwrap();
    let diagnostic = Diagnostic::error("X", Span::new(at, at + 4), "wrong");
    let shown = render(&diagnostic, &source(&text), false);
    let lines: Vec<&str> = shown.lines().collect();
    assert!(
        lines[3].starts_with("1 | …aaa") && lines[3].ends_with("bbb…") && lines[3].chars().count() < 140,
        "{shown}"
    );
    let caret = lines[4].find('^').unwrap();
    let column = lines[3].chars().position(|c| c == 'h').unwrap();
    assert_eq!(lines[4].chars().take_while(|c| *c != '^').count(), column, "{shown} {caret}");
}

#[test]
fn wide_characters_and_tabs_keep_the_caret_in_place() {
    let text = "RUN\t日本 x";
    let at = text.find('x').unwrap();
    let shown = render(&Diagnostic::error("X", Span::new(at, at + 1), "wrong"), &source(text), false);
    insta::assert_snapshot!(shown, @r"
    error: wrong
     --> Dockerfile:1:8
      |
    1 | RUN    日本 x
      |             ^
    ");
}

#[test]
fn terminals_are_safe() {
    let text = "FROM a\nR\x1b[31mUN \u{202e}x\n";
    let shown = shown(text);
    assert!(!shown.contains('\x1b') && !shown.contains('\u{202e}'), "{shown}");
    let evil = Source { name: "\x1b]0;x\x07".to_owned(), text: text.to_owned() };
    let diagnostic = Diagnostic::error("X", Span::new(0, 1), "\x1b[2J").note("\r").hint("\x07").label("\x08");
    assert!(!render(&diagnostic, &evil, false).contains(|c: char| c.is_control() && c != '\n'));
}

#[test]
fn colors() {
    let diagnostic = Diagnostic::error("X", Span::new(0, 4), "wrong").hint("right it");
    let shown = render(&diagnostic, &source("FROM a"), true);
    assert!(shown.starts_with("\x1b[1;31merror: \x1b[0m\x1b[1mwrong\x1b[0m\n"), "{shown:?}");
}

#[test]
fn places_that_do_not_exist_do_no_harm() {
    for span in [Span::new(5, 2), Span::new(100, 200), Span::new(1, 1)] {
        let shown = render(&Diagnostic::error("X", span, "wrong"), &source("é\nx"), false);
        assert!(shown.starts_with("error: wrong\n --> Dockerfile:"), "{shown}");
    }
}
