//! Templates of Go's text/template, with small limits.

use kiln_gotmpl::{Functions, Limits, Options, Value, render};

/// Renders it twice, and looks at where its mistake is.
pub fn run(bytes: &[u8]) {
    let text = super::text(bytes);
    let limits = Limits { output: 64 << 10, depth: 60, steps: 20_000 };
    let options = Options { limits, ..Options::default() };
    let functions = Functions::new();
    let once = render(&text, &data(), &functions, &options);
    match once {
        Ok(out) => {
            assert!(out.len() <= limits.output, "{} bytes", out.len());
            assert_eq!(render(&text, &data(), &functions, &options).ok(), Some(out), "rendering is a function");
        }
        Err(e) => assert!(!e.to_string().is_empty()),
    }
}

fn data() -> Value {
    let texts = |texts: &[&str]| Value::list(texts.iter().map(|text| Value::String((*text).into())));
    let inner = Value::dict([("name".to_owned(), Value::String("node".into())), ("n".to_owned(), Value::Int(-7))]);
    Value::dict([
        ("a".to_owned(), inner),
        ("list".to_owned(), texts(&["x", "y", ""])),
        ("f".to_owned(), Value::Float(1.5)),
        ("t".to_owned(), Value::Bool(true)),
        ("nil".to_owned(), Value::Nil),
    ])
}
