//! What ordinary files say, and where.

use kiln_spec::source::Span;
use kiln_yaml::inner::Places;
use kiln_yaml::{Node, Value, parse};

fn one(text: &str) -> Node {
    let mut documents = parse(text);
    assert_eq!(documents.len(), 1, "{documents:?}");
    documents.remove(0).root.unwrap_or_else(|e| panic!("{text:?}: {e}"))
}

/// A value in one line.
fn show(node: &Node) -> String {
    match &node.value {
        Value::Null => "null".into(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.text.clone(),
        Value::Text(text) => format!("{text:?}"),
        Value::List(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(", ")),
        Value::Map(map) => {
            let pairs: Vec<_> = map.entries.iter().map(|e| format!("{}: {}", e.key, show(&e.value))).collect();
            format!("{{{}}}", pairs.join(", "))
        }
    }
}

fn at<'t>(text: &'t str, node: &Node) -> &'t str {
    &text[node.span.start..node.span.end]
}

#[test]
fn every_value_has_the_place_it_is_written_at() {
    let text = "a: 'x y'\nb:\n- 1\n- {c: \"z\"}   # note\n";
    let node = one(text);
    assert_eq!(at(text, node.at(&["a"]).unwrap()), "'x y'");
    let b = node.at(&["b"]).unwrap().list().unwrap();
    assert_eq!(at(text, &b[0]), "1");
    assert_eq!(at(text, b[1].at(&["c"]).unwrap()), "\"z\"");
    assert_eq!(at(text, &b[1]), "{c: \"z\"}");
    let entry = node.map().unwrap().entry("b").unwrap();
    assert_eq!(entry.span, Span::new(9, 10));
}

#[test]
fn json_with_tabs_a_mark_and_foreign_line_ends_is_read() {
    for text in ["{\n\t\"a\": [1,\t2],\n\t\"b\":null}", "\u{feff}a: [1, 2]\r\nb:\r\n", "{\"a\":[1,2],\"b\":null}"] {
        assert_eq!(show(&one(text)), "{a: [1, 2], b: null}", "{text:?}");
    }
}

#[test]
fn aliases_and_merge_keys_are_expanded_and_the_first_to_say_wins() {
    let text = "x: &x {a: 1, b: 2}\ny: &y {b: 3, c: 4}\nz:\n  <<: [*x, *y]\n  a: 9\n'<<': 1\n";
    assert_eq!(show(one(text).at(&["z"]).unwrap()), "{a: 9, b: 2, c: 4}");
    assert_eq!(show(one("a: &a [1]\nb: [*a, *a]").at(&["b"]).unwrap()), "[[1], [1]]");
}

#[test]
fn keys_are_text_as_in_json() {
    assert_eq!(
        show(&one("1: a\ntrue: b\n0x10: c\n'1': d\nnull: e\n")),
        "{1: \"a\", true: \"b\", 16: \"c\", 1: \"d\", null: \"e\"}"
    );
}

#[test]
fn tags_turn_words_into_text() {
    assert_eq!(show(&one("[!!str 1, !!str yes, ! 2, 3]")), "[\"1\", \"yes\", \"2\", 3]");
}

#[test]
fn keys_that_are_there_twice_are_kept_and_found() {
    let node = one("a: 1\nb: {c: 1, c: 2}\na: 3\n");
    assert_eq!(show(&node), "{a: 1, b: {c: 1, c: 2}, a: 3}");
    assert_eq!(node.at(&["a"]).map(show).as_deref(), Some("3"));
    let found: Vec<_> =
        node.duplicates().into_iter().map(|(key, again, before)| (key, again.start, before.start)).collect();
    assert_eq!(found, [("a", 21, 0), ("c", 15, 9)]);
}

#[test]
fn documents_follow_each_other() {
    let text = "# head\n---\na: 1\n---\n# nothing\n---\n- b\n...\n";
    let documents = parse(text);
    let shown: Vec<_> = documents.iter().map(|d| show(d.root.as_ref().unwrap())).collect();
    assert_eq!(shown, ["{a: 1}", "null", "[\"b\"]"]);
    assert_eq!(documents[0].span.start, 0);
    assert_eq!(documents[2].span.end, text.len());
    assert!(documents.windows(2).all(|pair| pair[0].span.end == pair[1].span.start));
}

#[test]
fn a_document_that_cannot_be_read_does_not_hide_the_next() {
    let text = "a: [1\n---\nb: 2\n---\nc: {{ .Values.x }}\n---\nd: 4\n";
    let shown: Vec<_> = parse(text)
        .iter()
        .map(|d| match &d.root {
            Ok(node) => show(node),
            Err(fault) => format!("fault at {}", text[..fault.span.start].matches('\n').count() + 1),
        })
        .collect();
    assert_eq!(shown[1], "{b: 2}");
    assert_eq!(shown.last().unwrap(), "{d: 4}");
    assert!(shown[0].starts_with("fault"), "{shown:?}");
}

#[test]
fn an_empty_text_has_no_document() {
    assert!(parse("").is_empty());
    assert!(parse("# only this\n").is_empty());
}

#[test]
fn places_in_a_block_are_places_in_the_file() {
    for end in ["\n", "\r\n"] {
        let text =
            ["data:", "  f: |", "    a: 1", "", "    b:", "      image: nginx", "  g: >-", "    x", ""].join(end);
        let node = one(&text);
        let block = node.at(&["data", "f"]).unwrap();
        let inner = one(block.text().unwrap());
        let image = inner.at(&["b", "image"]).unwrap();
        let outer = Places::of(block, &text).outer(image.span);
        assert_eq!(&text[outer.start..outer.end], "nginx", "{text:?}");
        let folded = node.at(&["data", "g"]).unwrap();
        assert_eq!(Places::of(folded, &text).outer(Span::new(0, 1)), folded.span);
    }
}
