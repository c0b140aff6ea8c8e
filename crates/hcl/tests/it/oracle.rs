//! Expressions: the table in `expressions.txt`, in one run of packer.

use kiln_hcl::console::show;
use kiln_hcl::eval::Evaluator;
use kiln_hcl::json::{self, Json};
use kiln_hcl::parser::parse_expression;
use kiln_hcl::scope::Scope;
use kiln_hcl::value::Value;
use kiln_hcl::world::{Nowhere, World};

use crate::packer::packer;

const FAILED: &str = "<failed>";

fn value(expression: &str) -> Result<Value, String> {
    let expr = parse_expression(expression).map_err(|faults| faults[0].message.clone())?;
    let world: &dyn World = &Nowhere;
    Evaluator::new(world).evaluate(&expr, &Scope::default()).map_err(|fault| fault.message)
}

#[test]
fn expressions_have_the_values_of_packer() {
    let table = include_str!("expressions.txt");
    let expressions: Vec<&str> = table.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert!(expressions.len() > 300);
    let mut differences = Vec::new();
    // The console reads a line of 64 KiB at most.
    for chunk in expressions.chunks(200) {
        let each: Vec<String> = chunk.iter().map(|one| format!("try(jsonencode({one}), \"{FAILED}\")")).collect();
        let answer = packer(&["console", "--config-type=hcl2"], &format!("jsonencode([{}])\n", each.join(", ")));
        let node = json::parse(&answer).unwrap_or_else(|fault| panic!("{}: {answer}", fault.message));
        let Json::Array(theirs) = node.json else { panic!("{answer}") };
        assert_eq!(theirs.len(), chunk.len());
        for (expression, theirs) in chunk.iter().zip(theirs) {
            let Json::String(theirs) = theirs.json else { panic!("{theirs:?}") };
            let ours = value(expression);
            let text = ours.as_ref().map_or(FAILED.to_owned(), json::write);
            if text != theirs {
                differences.push(format!(
                    "{expression}\n  packer {theirs}\n  here   {text} {}",
                    ours.err().unwrap_or_default()
                ));
            }
        }
    }
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}

#[test]
fn the_console_prints_as_packer_does() {
    let expressions = [
        "1000000",
        "1234567.5",
        "12345678901234567890123",
        "0.00001234",
        "\"a\\\"b\\nc\"",
        "null",
        "true",
        "[]",
        "{}",
        "[1, \"a\", [true, null], {a = [], \"b c\" = {x = 1.5}}]",
        "[\"a\\u0001\\u00a0\\u2028é\\t\"]",
        "setproduct([\"b\", \"a\"], [\"x\"])",
        "convert([\"b\", \"a\"], set(string))",
        "convert({a = 1}, map(string))",
    ];
    for expression in expressions {
        let theirs = packer(&["console", "--config-type=hcl2"], &format!("{expression}\n"));
        assert_eq!(format!("{}\n", show(&value(expression).unwrap())), theirs, "{expression}");
    }
}
