//! Bad templates, each with its error as it is shown.

use crate::{loaded, plain, with_vars, wrong};

/// A template with `rest` behind a builder.
fn shown(rest: &str) -> String {
    wrong(&format!("{{\n  \"builders\": [{{\"type\": \"null\"}}],\n  {rest}\n}}"), &plain())
}

#[test]
fn malformed_json() {
    let mut all = String::new();
    for text in [
        "",
        "[]",
        "{\"a\": 1,}",
        "{\n  \"builders\": [1, 2,]\n}",
        "{\"builders\": [] \"x\": 1}",
        "{\"a\": tru}",
        "{\"a\": 'x'}",
        "{// no\n}",
        "{\"a\": \"x\ny\"}",
        "{\"a\": \"\\q\"}",
        "{\"a\": \"\\ud800\"}",
        "{\"a\": 01}",
        "{\"a\": \"open",
        "{} {}",
        "{\"description\": \"a\",\n \"description\": \"b\"}",
    ] {
        all += &format!("--- {text:?}\n{}", wrong(text, &plain()));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn roots_and_forms() {
    let mut all = String::new();
    for rest in [
        r#""provisoners": []"#,
        r#""zzz": 1"#,
        r#""provisioners": {}"#,
        r#""provisioners": [{}]"#,
        r#""provisioners": [{"type": "shell", "only": ["nul"]}]"#,
        r#""provisioners": [{"type": "shell", "override": {"x": 1}}]"#,
        r#""provisioners": [{"type": "shell", "pause_before": "5"}]"#,
        r#""provisioners": [{"type": "shell", "only": ["null"], "except": ["null"]}]"#,
        r#""post-processors": [3, [["x"]], {"name": "x"}]"#,
        r#""variables": {"a": 1, "b": ["x"]}"#,
        r#""sensitive-variables": ["tokn"], "variables": {"token": ""}"#,
        r#""min_packer_version": "99.0.0""#,
        r#""min_packer_version": "new""#,
        r#""description": 5"#,
    ] {
        all += &format!("--- {rest}\n{}", shown(rest));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn builders() {
    let mut all = String::new();
    for builders in [r"[]", r#"[{"name": "x"}]"#, r#"[{"type": "a"}, {"type": "a"}]"#, r#"[{"type": ""}]"#, r#"["a"]"#]
    {
        all += &format!("--- {builders}\n{}", wrong(&format!("{{\"builders\": {builders}}}"), &plain()));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn actions() {
    let mut all = String::new();
    for text in [
        "{{user `regoin`}}",
        "tab\\t{{user `zzz`}}",
        "{{user}}",
        "{{nofunc}}",
        "{{env `HOME`}}",
        "{{if true}}",
        "{{vault `a` `b`}}",
        "{{consul_key `a`}}",
        "{{aws_secretsmanager `a` `b`}}",
        "{{sed `a` `b`}}",
        "{{build `Host`}}",
        "{{split `a` `-` 4}}",
        "{{strftime `%Q`}}",
    ] {
        let template = format!(
            "{{\"variables\": {{\"region\": \"\"}},\n \"builders\": [{{\"type\": \"null\", \"content\": \"{text}\"}}]}}"
        );
        all += &format!("--- {text}\n{}", wrong(&template, &plain()));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn variables() {
    let mut all = String::new();
    let builders = r#""builders": [{"type": "null"}]"#;
    for variables in [
        r#"{"r": null}"#,
        r#"{"a": "{{user `b`}}", "b": "{{user `a`}}"}"#,
        r#"{"a": "{{user `a`}}"}"#,
        r#"{"a": "{{user `gone`}}"}"#,
        r#"{"a": "{{upper 3}}"}"#,
    ] {
        all +=
            &format!("--- {variables}\n{}", wrong(&format!("{{\"variables\": {variables},\n {builders}}}"), &plain()));
    }
    let text = format!("{{\"variables\": {{\"a\": \"\"}},\n {builders}}}");
    all += &format!("--- -var\n{}", wrong(&text, &with_vars(&[("a", "x {{user `q`}}")])));
    insta::assert_snapshot!(all);
}

#[test]
fn several_mistakes_are_told_at_once() {
    let text = r#"{"builders": [{"type": "a", "x": "{{user `m`}}", "y": "{{nope}}"}, {"type": "b"}],
                   "provisioners": [{"type": "shell", "inline": ["{{user `n`}}", "{{.Fine}}"]}]}"#;
    let faults = loaded(text, &plain()).expect_err("three mistakes");
    let messages: Vec<&str> = faults.iter().map(|fault| fault.diagnostic.message.as_str()).collect();
    assert_eq!(
        messages,
        ["the variable `m` is not declared", "there is no function `nope`", "the variable `n` is not declared"]
    );
}

#[test]
fn hostile_templates_end_soon() {
    assert!(loaded(&"[".repeat(100_000), &plain()).is_err());
    assert!(loaded(&"{\"a\":".repeat(100_000), &plain()).is_err());
    let chain: Vec<String> = (0..200)
        .map(|at| format!("\"v{at}\": \"{{{{user `v{}`}}}}\"", at + 1))
        .chain(["\"v200\": \"end\"".to_owned()])
        .collect();
    let text = format!("{{\"variables\": {{{}}}, \"builders\": [{{\"type\": \"null\"}}]}}", chain.join(","));
    assert!(loaded(&text, &plain()).is_err_and(|faults| !faults.is_empty()));
    let doubling: Vec<String> =
        (0..40).map(|at| format!("\"v{at}\": \"{{{{user `v{0}`}}}}{{{{user `v{0}`}}}}\"", at + 1)).collect();
    let text = format!(
        "{{\"variables\": {{{}, \"v40\": \"0123456789abcdef\"}}, \"builders\": [{{\"type\": \"null\"}}]}}",
        doubling.join(",")
    );
    assert!(loaded(&text, &plain()).is_err());
}
