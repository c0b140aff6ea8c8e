//! Quotes, escapes, variables.

use kiln_spec::expand::{Expander, MAX_DEPTH, Problem};

fn lookup(name: &str) -> Option<String> {
    let value = match name {
        "x" => "value",
        "empty" => "",
        "path" => "/usr/local/bin/tool.tar.gz",
        "two" => "a  b",
        "star" => "a*b",
        "lines" => "a\nb",
        _ => return None,
    };
    Some(value.to_owned())
}

fn word(text: &str) -> String {
    Expander::new('\\').word(text, &lookup).unwrap_or_else(|error| panic!("{text}: {error}")).value
}

fn problem(text: &str) -> (Problem, usize) {
    let error = Expander::new('\\').word(text, &lookup).expect_err(text);
    (error.problem, error.offset)
}

#[test]
fn quotes_and_escapes() {
    for (text, want) in [
        ("plain", "plain"),
        ("a b  c", "a b  c"),
        ("'a $x \\b'", "a $x \\b"),
        ("\"a $x b\"", "a value b"),
        ("\"a \\\"q\\\" \\$x \\\\ \\n\"", "a \"q\" $x \\ \\n"),
        ("a\\ b\\$x\\n\\\\", "a b$xn\\"),
        ("'a'\"b\"c", "abc"),
        ("\"it's\"", "it's"),
        ("''", ""),
        ("end\\", "end"),
        ("é$x☃", "évalue☃"),
        ("<<  EOF", "<<  EOF"),
    ] {
        assert_eq!(word(text), want, "{text}");
    }
    assert_eq!(Expander::new('`').word("a`$x\\b", &lookup).unwrap().value, "a$x\\b");
}

#[test]
fn variables() {
    for (text, want) in [
        ("$x", "value"),
        ("${x}y", "valuey"),
        ("$xy", ""),
        ("$x-y", "value-y"),
        ("$x.$unset.", "value.."),
        ("$", "$"),
        ("a$ b", "a$ b"),
        ("$/", "$/"),
        ("$$x", "x"),
        ("$1a$@$?$*", "a"),
        ("$12ab", "ab"),
        ("{$x}", "{value}"),
    ] {
        assert_eq!(word(text), want, "{text}");
    }
}

#[test]
fn defaults_and_alternatives() {
    for (text, want) in [
        ("${x:-w}", "value"),
        ("${unset:-w}", "w"),
        ("${empty:-w}", "w"),
        ("${empty-w}", ""),
        ("${unset-w}", "w"),
        ("${x:+w}", "w"),
        ("${empty:+w}", ""),
        ("${empty+w}", "w"),
        ("${unset+w}", ""),
        ("${unset:-a $x 'b }'}", "a value b }"),
        ("${unset:-${empty:-${x}}}", "value"),
        ("${unset:-\"$x\\}\"}", "value\\}"),
        ("${unset:-a\\}b}", "a}b"),
        ("${x:?no}", "value"),
        ("${empty?no}", ""),
    ] {
        assert_eq!(word(text), want, "{text}");
    }
}

#[test]
fn cutting_and_replacing() {
    for (text, want) in [
        ("${path#*/}", "usr/local/bin/tool.tar.gz"),
        ("${path##*/}", "tool.tar.gz"),
        ("${path%.*}", "/usr/local/bin/tool.tar"),
        ("${path%%.*}", "/usr/local/bin/tool"),
        ("${path#nothing}", "/usr/local/bin/tool.tar.gz"),
        ("${x#?a}", "lue"),
        ("${x%?}", "valu"),
        ("${star#a\\*}", "b"),
        ("${star%\\*b}", "a"),
        ("${x/l/L}", "vaLue"),
        ("${path//\\//:}", ":usr:local:bin:tool.tar.gz"),
        ("${path/\\/*\\//}", "tool.tar.gz"),
        ("${x//[aeu]/_}", "value"),
        ("${x//?/$star}", "a*ba*ba*ba*ba*b"),
        ("${x/a/$unset}", "vlue"),
        ("${unset/a/b}", ""),
        ("${path%.${unset:-gz}}", "/usr/local/bin/tool.tar"),
        ("${x/v/${x/e/E}}", "valuEalue"),
        ("${lines%%b*}", "a\n"),
    ] {
        assert_eq!(word(text), want, "{text}");
    }
}

#[test]
fn what_was_asked_for() {
    let expanded = Expander::new('\\').word("$b ${x} ${a:-$c} $b '$d' \\$e", &lookup).unwrap();
    assert_eq!(expanded.unmatched, ["b", "c", "a"]);
    assert_eq!(expanded.matched, ["x"]);
}

#[test]
fn splitting() {
    let words = |text: &str| Expander::new('\\').words(text, &lookup).unwrap();
    assert_eq!(words("a  $two\t'c d' e\\ f \"\""), ["a", "a", "b", "c d", "e f"]);
    assert_eq!(words("\"$two\""), ["a  b"]);
    assert_eq!(words("  "), Vec::<String>::new());
    assert_eq!(words("x$two"), ["xa", "b"]);
    assert_eq!(words("<<  EOF x"), ["<<  EOF", "x"]);
}

#[test]
fn kept_raw() {
    let raw = Expander::new('\\').raw_quotes().raw_escapes().keep_unset();
    let text = r#"a 'b c' "d \" $n" e\ f ${n} ${n:-w} ${n/a/b}"#;
    assert_eq!(raw.word(text, &|_| None).unwrap().value, text);
    assert_eq!(raw.word("'$x' $x", &lookup).unwrap().value, "'$x' value");
}

#[test]
fn heredoc_bodies() {
    let body = "it's \"$x\" \\$x ${unset:-d}\n\\\\ \\n\n";
    assert_eq!(Expander::heredoc().word(body, &lookup).unwrap().value, "it's \"value\" $x d\n\\ n\n");
}

#[test]
fn mistakes_have_a_place() {
    for (text, want, offset) in [
        ("ab'c", Problem::OpenQuote('\''), 2),
        ("ab\"c$x", Problem::OpenQuote('"'), 2),
        ("a${", Problem::OpenBrace, 1),
        ("a${x", Problem::OpenBrace, 1),
        ("a${x:", Problem::OpenBrace, 1),
        ("a${}", Problem::MissingName, 1),
        ("a${:x}", Problem::MissingName, 1),
        ("a${{x}}", Problem::MissingName, 1),
        ("${x:-w", Problem::OpenBrace, 5),
        ("${x/a}", Problem::MissingSlash, 4),
        ("${x=w}", Problem::UnknownModifier { name: "x".into(), modifier: "=".into() }, 3),
        ("${x:=w}", Problem::UnknownModifier { name: "x".into(), modifier: ":=".into() }, 0),
        ("${x#\\q}", Problem::BadPattern { name: "x".into(), pattern: "\\q".into() }, 0),
    ] {
        assert_eq!(problem(text), (want, offset), "{text}");
    }
}

#[test]
fn required_variables() {
    let message = |text: &str| problem(text).0.to_string();
    assert_eq!(message("${unset:?set it to $x}"), "unset: set it to value");
    assert_eq!(message("${unset?}"), "unset: is not allowed to be unset");
    assert_eq!(message("${empty:?}"), "empty: is not allowed to be empty");
}

#[test]
fn limits() {
    let nested = |depth: usize| format!("{}w{}", "${n:-".repeat(depth), "}".repeat(depth));
    assert_eq!(word(&nested(MAX_DEPTH)), "w");
    assert_eq!(problem(&nested(MAX_DEPTH + 1)).0, Problem::TooDeep);
    assert_eq!(problem(&nested(1_000_000)).0, Problem::TooDeep);

    let big = "y".repeat(1 << 20);
    let value = |_: &str| Some(big.clone());
    let error = Expander::new('\\').word(&"$y".repeat(65), &value).unwrap_err();
    assert_eq!(error.problem, Problem::TooLong);
    let error = Expander::new('\\')
        .word("${y//y/0123456789012345678901234567890123456789012345678901234567890123456789}", &value);
    assert_eq!(error.unwrap_err().problem, Problem::TooLong);
}
