//! Which paths a build sees.

use kiln_spec::dockerignore::{Ignore, IgnoreProblem, clean};

fn ignore(text: &str) -> Ignore {
    let (ignore, errors) = Ignore::parse(text);
    assert_eq!(errors, [], "{text}");
    ignore
}

/// Which of `paths` are excluded.
fn excluded<'a>(rules: &str, paths: &[&'a str]) -> Vec<&'a str> {
    let ignore = ignore(rules);
    paths.iter().copied().filter(|path| ignore.matches(path)).collect()
}

#[test]
fn plain_names() {
    let paths = ["a", "a/b", "ab", "b/a", "a.txt"];
    assert_eq!(excluded("a", &paths), ["a", "a/b"]);
    assert_eq!(excluded("/a", &paths), ["a", "a/b"]);
    assert_eq!(excluded("./a/", &paths), ["a", "a/b"]);
    assert_eq!(excluded("x/../a", &paths), ["a", "a/b"]);
    assert_eq!(excluded("b/a", &paths), ["b/a"]);
    assert_eq!(excluded("a.txt", &["a.txt", "aXtxt"]), ["a.txt"]);
    assert_eq!(excluded("", &paths), Vec::<&str>::new());
    assert_eq!(excluded(".", &paths), Vec::<&str>::new());
    assert_eq!(excluded("/", &paths), Vec::<&str>::new());
}

#[test]
fn wildcards() {
    let paths = ["a.log", "d/a.log", "d/e/a.log", "a.logs", ".log", "x"];
    assert_eq!(excluded("*.log", &paths), ["a.log", ".log"]);
    assert_eq!(excluded("*/*.log", &paths), ["d/a.log"]);
    assert_eq!(excluded("**/*.log", &paths), ["a.log", "d/a.log", "d/e/a.log", ".log"]);
    assert_eq!(excluded("**.log", &paths), ["a.log", "d/a.log", "d/e/a.log", ".log"]);
    assert_eq!(excluded("d/**", &paths), ["d/a.log", "d/e/a.log"]);
    assert_eq!(excluded("d/**/a.log", &paths), ["d/a.log", "d/e/a.log"]);
    assert_eq!(excluded("**", &paths), paths);
    assert_eq!(excluded("*", &paths), paths);
    assert_eq!(excluded("?", &paths), ["d/a.log", "d/e/a.log", "x"]);
    assert_eq!(excluded("[a-b].log", &paths), ["a.log"]);
    assert_eq!(excluded("[^a]", &paths), ["d/a.log", "d/e/a.log", "x"]);
    assert_eq!(excluded("**/a.log", &["a.log", "d/a.log", "ba.log", "d/ba.log"]), ["a.log", "d/a.log"]);
    assert_eq!(excluded("\\*", &["*", "a"]), ["*"]);
    assert_eq!(excluded("a\\ b", &["a b"]), ["a b"]);
    assert_eq!(excluded("**/**/x", &["x", "a/x", "a/b/x", "ax"]), ["x", "a/x", "a/b/x"]);
    assert_eq!(excluded("a**/b", &["ab", "a/b", "ax/b", "a/x/b"]), ["ab", "a/b", "ax/b", "a/x/b"]);
}

#[test]
fn exceptions_and_order() {
    let paths = ["a.md", "README.md", "README-x.md", "d/b.md"];
    assert_eq!(excluded("*.md\n!README*.md\nREADME-x.md", &paths), ["a.md", "README-x.md"]);
    assert_eq!(excluded("*.md\nREADME-x.md\n!README*.md", &paths), ["a.md"]);
    assert_eq!(excluded("!README.md\n*.md", &paths), ["a.md", "README.md", "README-x.md"]);
    let tree = ["d", "d/s", "d/s/keep", "d/s/x", "e", "e/f"];
    assert_eq!(excluded("*\n!d\nd/s\n!d/s/keep*", &tree), ["d/s", "d/s/x", "e", "e/f"]);
    assert_eq!(excluded("*\n!e/f", &tree), ["d", "d/s", "d/s/keep", "d/s/x", "e"]);
    assert_eq!(excluded("d\n!*.md", &["d/x.md", "d/x"]), ["d/x.md", "d/x"]);
    assert_eq!(excluded("d\n!d/", &tree), Vec::<&str>::new());
    assert_eq!(excluded("**\n! /e", &tree), ["d", "d/s", "d/s/keep", "d/s/x"]);
}

#[test]
fn a_rule_that_is_not_asked_about_a_directory_does_not_speak_for_its_entries() {
    // As in a walk by BuildKit: `*` cannot change the verdict on `a`, so below it counts only where it matches itself.
    assert_eq!(excluded("a\n!a/b\n*", &["a", "a/b", "a/c"]), ["a", "a/c"]);
}

#[test]
fn odd_lines() {
    assert_eq!(excluded("\u{feff}# comment\r\na\r\n  b  \r\n\r\n", &["a", "b", "# comment"]), ["a", "b"]);
    // Only in the first column does `#` start a comment.
    assert_eq!(excluded(" #a", &["#a"]), ["#a"]);
    assert_eq!(excluded("a\n!  a", &["a"]), Vec::<&str>::new());
    assert_eq!(excluded("a+(b).{c}|$", &["a+(b).{c}|$", "aa"]), ["a+(b).{c}|$"]);
}

#[test]
fn lines_that_cannot_be_read() {
    let (ignore, errors) = Ignore::parse("a\n!\n[\n[z-a]\nb\\\n[]a]\nc");
    let problems: Vec<_> = errors.iter().map(|error| (error.line, error.problem)).collect();
    assert_eq!(problems[0], (2, IgnoreProblem::EmptyException));
    assert_eq!(problems.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
    assert!(ignore.matches("a") && ignore.matches("c"));
    assert_eq!(errors[0].to_string(), "line 2: `!`: a `!` takes back nothing");
    assert_eq!(Ignore::parse(format!("{}x", "a/".repeat(5000))).1.len(), 1);
    assert_eq!(Ignore::parse("a\n".repeat(10_001)).1.len(), 1);
}

#[test]
fn which_rule_it_was() {
    let ignore = ignore("# c\nx\ndist\n!dist/keep\n");
    assert_eq!(ignore.matched_by("dist/a"), Some(3));
    assert_eq!(ignore.rule_at(3), Some("dist"));
    assert_eq!(ignore.matched_by("dist/keep"), None);
    assert_eq!(ignore.matched_by("other"), None);
    assert_eq!(ignore.rule_at(1), None);
}

#[test]
fn a_walk_gives_the_same_answers() {
    let ignore = ignore("a\n!a/b\n**/*.o\n!keep/**\nkeep/x");
    let root = ignore.root();
    for top in ["a", "keep", "z"] {
        let (excluded, below) = ignore.enter(top, &root);
        assert_eq!(excluded, ignore.matches(top));
        for name in ["b", "x", "y.o", "z"] {
            let path = format!("{top}/{name}");
            assert_eq!(ignore.matches_in(&path, &below), ignore.matches(&path), "{path}");
            let (_, deeper) = ignore.enter(&path, &below);
            let file = format!("{path}/f.o");
            assert_eq!(ignore.matches_in(&file, &deeper), ignore.matches(&file), "{file}");
        }
    }
}

#[test]
fn directories_a_walk_need_not_enter() {
    let ignore = ignore("*\n!src/*.rs\n!docs/**/x\n!**/LICENSE.d/y");
    assert!(ignore.may_reinclude_below("src"));
    assert!(ignore.may_reinclude_below("any"));
    let ignore = crate::ignore::ignore("*\n!src/*.rs\n!docs/**/x\n!a/b");
    assert!(ignore.may_reinclude_below("src") && !ignore.may_reinclude_below("src/deep"));
    assert!(ignore.may_reinclude_below("docs/deep/deeper"));
    assert!(
        ignore.may_reinclude_below("a") && !ignore.may_reinclude_below("a/b") && !ignore.may_reinclude_below("target")
    );
    assert!(ignore.may_reinclude_below(""));
    assert!(!crate::ignore::ignore("*").may_reinclude_below("x"));
}

#[test]
fn names_that_are_not_utf8() {
    let (ignore, errors) = Ignore::parse(b"caf\xe9\n?x".as_slice());
    assert_eq!(errors, []);
    assert!(ignore.matches(b"caf\xe9".as_slice()) && ignore.matches(b"\xffx".as_slice()));
    assert!(ignore.matches("éx") && !ignore.matches("ééx"));
}

#[test]
fn lists_of_patterns() {
    let (ignore, errors) = Ignore::from_patterns(["*.o", "!a.o", ""]);
    assert!(errors.is_empty() && ignore.matches("b.o") && !ignore.matches("a.o"));
    assert_eq!(ignore.matched_by("b.o"), Some(1));
    assert_eq!(Ignore::from_patterns(["!"]).1.len(), 1);
}

#[test]
fn cleaning_paths() {
    for (path, want) in [
        ("", "."),
        ("a//b/./c/", "a/b/c"),
        ("a/../../b", "../b"),
        ("/../a", "/a"),
        ("/", "/"),
        ("a/..", "."),
        ("../..", "../.."),
    ] {
        assert_eq!(clean(path.as_bytes()), want.as_bytes(), "{path}");
    }
}
