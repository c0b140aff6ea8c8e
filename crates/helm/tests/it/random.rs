//! Any text is a template or a mistake, never a panic; the same input gives the same text.

use kiln_helm::yaml::{Style, parse, text};
use kiln_helm::{Capabilities, Limits, Release, Values, render};
use proptest::prelude::*;

/// Pieces that templates are made of.
const PIECES: [&str; 24] = [
    "{{ ",
    " }}",
    "{{- ",
    " -}}",
    "if ",
    "range ",
    "with ",
    "end",
    "else",
    ".Values.a",
    ".Values.m",
    "include \"t\" .",
    "define \"t\"",
    "toYaml ",
    "| nindent 2 ",
    "dict \"a\" ",
    "list 1 2 ",
    "tpl ",
    "\"x\" ",
    "printf \"%d\" ",
    "$x := ",
    "$x ",
    "(until 5) ",
    "merge ",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn templates_never_panic_and_give_the_same_twice(pieces in prop::collection::vec(0..PIECES.len(), 0..14), tail in ".{0,8}") {
        let template: String = pieces.iter().map(|&at| PIECES[at]).chain([tail.as_str()]).collect();
        let chart = super::one(&template, "a: [1, {b: c}]\nm: {x: 1}\n");
        let limits = Limits { output: 1 << 18, steps: 5_000, depth: 400 };
        let once = || render(&chart, &Values::new(), &Release::default(), &Capabilities::default(), &limits);
        prop_assert_eq!(once(), once());
    }

    #[test]
    fn what_is_written_is_read_again(words in prop::collection::vec("[ -~\\n\\t]{0,24}", 1..5), long in "[a-z :#'\"-]{70,200}") {
        use kiln_helm::yaml::Yaml;
        let list: Vec<Yaml> = words.iter().chain([&long]).map(|word| Yaml::String(word.clone())).collect();
        let map = words.iter().map(|word| (word.clone(), Yaml::List(list.clone()))).collect();
        let value = Yaml::Map(map);
        for style in [Style::Kubernetes, Style::Pretty] {
            let written = text(&value, style);
            prop_assert_eq!(parse(&written), Ok(value.clone()), "{}", written);
        }
    }

    #[test]
    fn options_never_panic(expression in "[a-c=.,{}\\[\\]\\\\0-2]{0,16}") {
        use kiln_helm::SetKind;
        for kind in [SetKind::Typed, SetKind::Text, SetKind::Json, SetKind::Literal] {
            let _ = Values::new().set(&expression, kind);
        }
    }
}
