//! What strangers write.

use kiln_yaml::read::{MAX_BYTES, MAX_DEPTH};
use kiln_yaml::{Node, Value, parse};
use proptest::prelude::*;

fn fault(text: &str) -> String {
    parse(text).into_iter().find_map(|d| d.root.err()).map_or_else(|| panic!("it was read"), |f| f.message)
}

#[test]
fn a_bomb_of_aliases_stops_at_the_limit() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        text += &format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 10].join(", "));
    }
    assert!(fault(&text).contains("more than 2000000 values"), "{}", fault(&text));
}

#[test]
fn an_alias_inside_of_what_it_names_is_refused() {
    assert!(fault("a: &a [*a]").contains("inside of what it names"));
}

#[test]
fn depth_has_a_limit_however_it_is_made() {
    assert!(!fault(&"[".repeat(10_000)).is_empty());
    assert!(!fault(&"- ".repeat(10_000)).is_empty());
    assert!(!fault(&"{a: ".repeat(10_000)).is_empty());
    assert!(!fault(&(0..1_000).map(|i| format!("{}a:\n", " ".repeat(i))).collect::<String>()).is_empty());
    // Each of these is shallow; through aliases they are not.
    let nested = |inner: &str| format!("{}{inner}{}", "[".repeat(100), "]".repeat(100));
    let text = format!("a: &a {}\nb: &b {}\nc: {}\n", nested(""), nested("*a"), nested("*b"));
    assert!(fault(&text).contains("in each other"));
    assert!(parse(&nested(""))[0].root.is_ok() && MAX_DEPTH > 100);
}

#[test]
fn large_and_strange_texts_are_refused_with_a_word() {
    assert!(fault(&" ".repeat(MAX_BYTES + 1)).contains("more than 64 MiB"));
    assert!(fault("a: 1\0\nb: 2").contains("NUL"));
    assert!(fault("? [a, b]\n: c\n").contains("a key must be one word"));
    assert!(fault("a: {<<: 1}").contains("`<<` takes a map"));
    assert!(!fault("a:\n\t- b\n").is_empty());
}

#[test]
fn a_long_line_and_many_documents_are_read() {
    let text = format!("a: \"{}\"\n", "x".repeat(5 << 20));
    assert_eq!(parse(&text)[0].root.as_ref().unwrap().at(&["a"]).unwrap().text().unwrap().len(), 5 << 20);
    assert_eq!(parse(&"---\na: 1\n".repeat(20_000)).len(), 20_000);
    // Faults have a limit: what is behind it is not read.
    assert_eq!(parse(&"---\na: [\n".repeat(2_000)).len(), 1000);
}

fn check(node: &Node, text: &str) {
    assert!(node.span.start <= node.span.end && node.span.end <= text.len(), "{:?} of {}", node.span, text.len());
    assert!(text.get(node.span.start..node.span.end).is_some(), "within a character");
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| check(item, text)),
        Value::Map(map) => map.entries.iter().for_each(|entry| check(&entry.value, text)),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn places_lie_inside_of_the_text(text in "[-a:{}\\[\\]\"'|>&*!#%?,~<\t\r\né0. ]{0,80}") {
        for document in parse(&text) {
            prop_assert!(document.span.start <= document.span.end && document.span.end <= text.len());
            match document.root {
                Ok(node) => check(&node, &text),
                Err(fault) => prop_assert!(text.get(fault.span.start..fault.span.end).is_some()),
            }
        }
    }
}
