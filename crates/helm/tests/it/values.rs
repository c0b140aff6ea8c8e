//! Options that set values, beside what Helm's documentation and Helm itself say of them.

use kiln_helm::yaml::{Style, Yaml, text};
use kiln_helm::{SetKind, Values};

/// The values as JSON-like YAML in one line.
fn set(expressions: &[&str], kind: SetKind<'_>) -> Result<String, String> {
    let mut values = Values::new();
    for expression in expressions {
        values.set(expression, kind).map_err(|error| error.message)?;
    }
    Ok(text(&Yaml::Map(values.map().clone()), Style::Kubernetes).trim_end().replace('\n', "; "))
}

#[test]
fn expressions_of_set() {
    for (expression, want) in [
        ("a=1", "a: 1"),
        ("a=1,b=x", "a: 1; b: x"),
        ("a.b.c=x", "a:;   b:;     c: x"),
        ("a={x,2,true}", "a:; - x; - 2; - true"),
        ("a[0]=x,a[2]=z", "a:; - x; - null; - z"),
        ("a[0].b=1,a[0].c=2", "a:; - b: 1;   c: 2"),
        ("a[1][0]=x", "a:; - null; - - x"),
        ("a=null", "a: null"),
        ("a=0,b=007,c=1.5,d=true,e=TRUE", "a: 0; b: \"007\"; c: \"1.5\"; d: true; e: true"),
        ("a=b\\,c,d\\.e=f", "a: b,c; d.e: f"),
        ("a=", "a: \"\""),
        ("a={},b={x}", "a:; - \"\"; b:; - x"),
        ("a=b=c", "a: b=c"),
        ("", "{}"),
    ] {
        assert_eq!(set(&[expression], SetKind::Typed).as_deref(), Ok(want), "{expression}");
    }
    assert_eq!(set(&["a={x,y}", "a[1]=z"], SetKind::Typed).as_deref(), Ok("a:; - x; - z"));
    assert_eq!(set(&["a=1,b=true,c=null"], SetKind::Text).as_deref(), Ok("a: \"1\"; b: \"true\"; c: \"null\""));
    assert_eq!(set(&["a.b=x,y=z,{q}"], SetKind::Literal).as_deref(), Ok("a:;   b: x,y=z,{q}"));
    assert_eq!(set(&["a\\.b=x\\,y"], SetKind::Literal).as_deref(), Ok("a\\:;   b: x\\,y"));
    assert_eq!(set(&[r#"a={"x":[1,2]},b="s""#], SetKind::Json).as_deref(), Ok("a:;   x:;   - 1;   - 2; b: s"));
    assert_eq!(set(&[r#"{"a":{"b":1}}"#, r#"{"a":{"c":2}}"#], SetKind::Json).as_deref(), Ok("a:;   b: 1;   c: 2"));
    let read = |path: &str| if path == "f" { Ok("content\n".to_owned()) } else { Err(format!("no {path}")) };
    assert_eq!(set(&["a=f"], SetKind::File(&read)).as_deref(), Ok("a: |;   content"));
    assert!(set(&["a=g"], SetKind::File(&read)).is_err());
}

#[test]
fn mistakes_of_set() {
    for (expression, want) in [
        ("a", "key `a` has no value"),
        ("a,b=1", "key `a` has no value (cannot end with ,)"),
        ("a.b", "key `b` has no value"),
        ("a[x]=1", "`x` is no index"),
        ("a[-1]=1", "negative index -1"),
        ("a[99999]=1", "index 99999 is beyond the limit of 65536"),
        ("a[0", "an index must end with `]`"),
        ("a[0]x=1", "unexpected data at end of array index: `x`"),
        ("a={x", "list must terminate with '}'"),
    ] {
        assert_eq!(set(&[expression], SetKind::Typed), Err(want.to_owned()), "{expression}");
    }
    assert!(set(&[&("a.".repeat(40) + "b=1")], SetKind::Typed).is_err());
    assert!(set(&["a={"], SetKind::Json).is_err());
}

#[test]
fn files_merge() {
    let mut values = Values::parse("a: {b: 1, c: 2}\nl: [1, 2]\n---\na: {d: 3}\n").expect("values");
    values.merge(Values::parse("a: {b: null}\nl: [3]\n").expect("values"));
    let shown = text(&Yaml::Map(values.map().clone()), Style::Kubernetes);
    assert_eq!(shown, "a:\n  b: null\n  c: 2\n  d: 3\nl:\n- 3\n");
    assert_eq!(Values::parse("- a").expect_err("a list").message, "values must be a map");
    let error = Values::parse("a: 1\n b: 2\n").expect_err("no YAML");
    assert_eq!(error.line, 2);
}
