//! Templates that try to take more than they are given, and errors as they are shown.

use kiln_gotmpl::{Functions, Limits, Options, Reason, Value, render};

fn fails(template: &str) -> kiln_gotmpl::Error {
    match render(template, &super::data(), &Functions::new(), &Options::default()) {
        Ok(text) => panic!("`{template}` gave {} bytes", text.len()),
        Err(error) => error,
    }
}

fn limited(template: &str) -> bool {
    matches!(fails(template).reason(), Reason::Limit { .. })
}

#[test]
fn recursion_and_nesting_end() {
    assert!(limited(r#"{{define "a"}}{{template "a"}}{{end}}{{template "a"}}"#));
    assert!(limited(r#"{{define "a"}}{{template "b"}}{{end}}{{define "b"}}{{template "a"}}{{end}}{{template "a"}}"#));
    assert!(limited(&format!("{{{{{}1{}}}}}", "(".repeat(5000), ")".repeat(5000))));
    assert!(limited(&format!("{}x{}", "{{if true}}".repeat(5000), "{{end}}".repeat(5000))));
    assert!(limited(&format!("{{{{if false}}}}{}{{{{end}}}}", "{{else if false}}".repeat(5000))));
}

#[test]
fn depth_that_is_allowed_fits_the_stack() {
    let nested = format!("{}x{}", "{{if true}}".repeat(90), "{{end}}".repeat(90));
    let text = format!(
        r#"{{{{define "a"}}}}{{{{if .}}}}{{{{template "a" (slice . 1)}}}}{{{{end}}}}{{{{end}}}}{{{{template "a" "{}"}}}}{nested}"#,
        "x".repeat(90)
    );
    assert!(render(&text, &Value::Nil, &Functions::new(), &Options::default()).is_ok());
}

#[test]
fn loops_and_output_end() {
    assert!(limited("{{range 9223372036854775807}}{{end}}"));
    assert!(limited("{{range 100000}}{{range 100000}}{{end}}{{end}}"));
    let options = Options { limits: Limits { output: 10, ..Limits::default() }, ..Options::default() };
    let error = render("{{range 100}}abc{{end}}", &Value::Nil, &Functions::new(), &options);
    assert!(matches!(error.as_ref().map_err(kiln_gotmpl::Error::reason), Err(Reason::Limit { limit: 10, .. })));
}

#[test]
fn texts_that_double_end() {
    let doubling = r#"{{$x := "0123456789abcdef"}}{{range 60}}{{$x = printf "%s%s" $x $x}}{{end}}"#;
    assert!(matches!(fails(doubling).reason(), Reason::Failed { .. }));
    let wide = format!(r#"{{{{printf "{}" 1}}}}"#, "%[1]999999d".repeat(1000));
    assert!(matches!(fails(&wide).reason(), Reason::Failed { .. }));
}

#[test]
fn maps_that_hold_themselves_are_not_printed() {
    let map = kiln_gotmpl::Dict::new();
    map.insert("self", Value::Map(map.clone()));
    let error = render("{{.}}", &Value::Map(map.clone()), &Functions::new(), &Options::default());
    assert!(error.is_err());
    map.remove("self");
}

#[test]
fn large_templates_take_linear_time() {
    let text = "{{$x := 1}}{{$x}}{{/* c */}} {{- print 1 -}} ".repeat(20_000);
    assert!(render(&text, &Value::Nil, &Functions::new(), &Options::default()).is_ok());
}

#[test]
fn errors_tell_line_column_and_expression() {
    let shown = |template: &str| fails(template).to_string();
    insta::assert_snapshot!(shown("a\n  {{ .n.x }}"), @"template:2:6: there is no `x` in a whole number in `.n.x`");
    insta::assert_snapshot!(shown("é {{nofunc 1}}"), @"template:1:5: there is no function `nofunc` in `nofunc`");
    insta::assert_snapshot!(shown("{{if true}}\n"), @"template:1:1: `if` has no `end` in `{{if`");
    insta::assert_snapshot!(shown("{{index .list 9}}"), @"template:1:3: there is no position 9 in a length of 3 in `index .list 9`");
    insta::assert_snapshot!(shown("{{$y}}"), @"template:1:3: the variable `$y` is not declared in `$y`");
    insta::assert_snapshot!(shown("{{template \"gone\"}}"), @"template:1:1: there is no template named `gone` in `{{template \"gone\"}}`");
    insta::assert_snapshot!(shown("{{\"abc"), @"template:1:3: a text is not closed with `\"` in `\"abc`");
    insta::assert_snapshot!(shown("{{eq 1 \"x\"}}"), @"template:1:3: a whole number does not compare with a text in `eq 1 \"x\"`");
}
