//! Templates in, texts out; Go's own engine is asked whether the table is right.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests ask other programs")]

mod cases;
mod hostile;
mod random;
mod set;

use std::process::Command;

use cases::CASES;
use kiln_gotmpl::{Functions, Missing, Options, Value, render};

/// A map of `(key, value)`.
fn map(entries: &[(&str, Value)]) -> Value {
    Value::dict(entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())))
}

fn ints(numbers: &[i64]) -> Value {
    Value::list(numbers.iter().map(|&number| Value::Int(number)))
}

/// The data of the table; `go.go` has the same.
fn data() -> Value {
    let deep = map(&[("er", "found".into())]);
    map(&[
        ("n", 42.into()),
        ("neg", (-7).into()),
        ("zero", 0.into()),
        ("f", 1.5.into()),
        ("big", 1e21.into()),
        ("whole", 3.0.into()),
        ("s", "héllo <b>\"x\"</b> & 'y'".into()),
        ("word", "abc".into()),
        ("empty", "".into()),
        ("t", true.into()),
        ("no", false.into()),
        ("nil", Value::Nil),
        ("list", ints(&[1, 2, 3])),
        ("names", Value::list(["b", "a", "c"].map(Value::from))),
        ("none", ints(&[])),
        ("mixed", Value::list([1.into(), "x".into(), Value::Nil, 2.5.into(), true.into()])),
        ("nested", Value::list([ints(&[1, 2]), ints(&[3])])),
        ("m", map(&[("x", 1.into()), ("a", "first".into()), ("deep", deep)])),
        ("nomap", map(&[])),
        (
            "add",
            Value::function(|arguments| match arguments {
                [Value::Int(a), Value::Int(b)] => Ok(Value::Int(a + b)),
                _ => Err("two whole numbers are wanted".into()),
            }),
        ),
    ])
}

/// What Kiln makes of a template of the table.
fn rendered(missing: Missing, template: &str) -> Result<String, String> {
    let options = Options { missing, ..Options::default() };
    render(template, &data(), &Functions::new(), &options).map_err(|error| error.to_string())
}

#[test]
fn templates_give_what_the_table_says() {
    let mut wrong = String::new();
    for (missing, template, want) in CASES {
        let got = rendered(*missing, template);
        if got.as_ref().ok().map(String::as_str) != *want {
            wrong += &format!("{template:?} ({missing:?})\n  want {want:?}\n  got  {got:?}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// What Go makes of templates; none where it fails.
fn go(cases: &[(Missing, &str)]) -> Vec<Option<String>> {
    let option = |missing: Missing| match missing {
        Missing::Nothing => "default",
        Missing::Zero => "zero",
        Missing::Error => "error",
    };
    let cases: Vec<[&str; 2]> = cases.iter().map(|&(missing, template)| [option(missing), template]).collect();
    let scratch = tempfile::tempdir().expect("a directory");
    let input = scratch.path().join("cases.json");
    std::fs::write(&input, serde_json::to_vec(&cases).expect("cases")).expect("a file");
    let output = Command::new("go")
        .args(["run", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/go.go")])
        .env("GOCACHE", scratch.path().join("cache"))
        .stdin(std::fs::File::open(&input).expect("a file"))
        .output()
        .expect("go is missing: install the package golang-go");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let results: Vec<Option<String>> = serde_json::from_slice(&output.stdout).expect("results");
    assert_eq!(results.len(), cases.len());
    results
}

#[test]
fn go_agrees_with_the_table() {
    let cases: Vec<(Missing, &str)> = CASES.iter().map(|&(missing, template, _)| (missing, template)).collect();
    for ((missing, template, want), result) in CASES.iter().zip(go(&cases)) {
        assert_eq!(result.as_deref(), *want, "{template:?} ({missing:?})");
    }
}

/// What the Go of Debian does not know yet, but later ones do.
#[test]
fn newer_forms_are_known() {
    for (template, want) in [
        ("{{range 3}}{{.}}{{end}}", "012"),
        ("{{range $i := 2}}{{$i}},{{end}}", "0,1,"),
        ("{{range 0}}x{{else}}none{{end}}", "none"),
        ("{{with .empty}}a{{else with .n}}{{.}}{{else}}c{{end}}", "42"),
    ] {
        assert_eq!(rendered(Missing::Nothing, template).as_deref(), Ok(want), "{template}");
    }
}
