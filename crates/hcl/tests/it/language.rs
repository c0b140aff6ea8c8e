//! What the oracle does not have, and what no text may do.

use std::collections::BTreeMap;

use kiln_hcl::eval::Evaluator;
use kiln_hcl::json;
use kiln_hcl::parser::{parse, parse_expression};
use kiln_hcl::scope::Scope;
use kiln_hcl::types::Type;
use kiln_hcl::typing;
use kiln_hcl::value::Value;
use kiln_hcl::world::World;

/// A world with one file, at a fixed time.
struct Fixed;

impl World for Fixed {
    fn now(&self) -> i64 {
        1_600_000_000
    }

    fn random(&self) -> u128 {
        0x0123_4567_89ab_cdef_0123_4567_89ab_cdef
    }

    fn read(&self, path: &str, _limit: usize) -> Result<Vec<u8>, String> {
        match path {
            "a.tpl" => Ok(b"Hello, ${name}!\n%{ for x in list ~}\n- ${x}\n%{ endfor ~}\n".to_vec()),
            "bad.tpl" => Ok(b"one\n${nobody}\n".to_vec()),
            "loop.tpl" => Ok(b"${templatefile(\"loop.tpl\", {})}".to_vec()),
            _ => Err(format!("`{path}` is not there")),
        }
    }

    fn is_file(&self, path: &str) -> Result<bool, String> {
        Ok(path == "a.tpl")
    }

    fn files(&self, _path: &str, _limit: usize) -> Result<Vec<String>, String> {
        Ok(["a.sh", "b.txt", "sub/c.sh", "sub/deep/d.sh"].map(String::from).to_vec())
    }

    fn working_directory(&self) -> String {
        "/work".to_owned()
    }

    fn home(&self) -> Option<String> {
        Some("/home/me".to_owned())
    }

    fn env(&self, _name: &str) -> Option<String> {
        None
    }
}

fn evaluate(expression: &str, scope: &Scope<'_>) -> Result<Value, String> {
    let expr = parse_expression(expression).map_err(|faults| faults[0].message.clone())?;
    Evaluator::new(&Fixed).evaluate(&expr, scope).map_err(|fault| fault.message)
}

fn json_of(expression: &str) -> String {
    evaluate(expression, &Scope::default()).map_or_else(|error| format!("error: {error}"), |value| json::write(&value))
}

#[test]
fn functions_newer_than_the_oracle() {
    for (expression, want) in [
        ("alltrue([true, \"true\"])", "true"),
        ("alltrue([])", "true"),
        ("anytrue([false, true])", "true"),
        ("anytrue([])", "false"),
        ("startswith(\"hello\", \"he\")", "true"),
        ("endswith(\"hello\", \"lo\")", "true"),
        ("strcontains(\"hello\", \"ll\")", "true"),
        ("sum([1, 2.5, \"3\"])", "6.5"),
        ("index([\"a\", \"b\"], \"b\")", "1"),
        ("textencodebase64(\"Hi\", \"UTF-16LE\")", "\"SABpAA==\""),
        ("textdecodebase64(\"SABpAA==\", \"UTF-16LE\")", "\"Hi\""),
        ("textencodebase64(\"é\", \"windows-1252\")", "\"6Q==\""),
        ("legacy_isotime()", "\"2020-09-13T12:26:40Z\""),
        ("legacy_isotime(\"2006-01-02 15:04:05 Mon Jan _2\")", "\"2020-09-13 12:26:40 Sun Sep 13\""),
        ("legacy_strftime(\"%Y-%m-%d %H:%M:%S %j\")", "\"2020-09-13 12:26:40 257\""),
        ("timestamp()", "\"2020-09-13T12:26:40Z\""),
        ("rfc3339_parse(\"2020-09-13T12:26:40Z\").unix", "1600000000"),
        ("unix_timestamp_parse(1600000000).weekday_name", "\"Sunday\""),
        ("unix_timestamp_parse(1609459200).iso_week", "53"),
        ("uuidv4()", "\"01234567-89ab-4def-8123-456789abcdef\""),
        ("regex(\"[a-z]+\", \"123abc456\")", "\"abc\""),
        ("regex(\"(\\\\d+)-(\\\\d+)\", \"12-34\")", "[\"12\",\"34\"]"),
        ("regex(\"(?P<a>\\\\d+)\", \"12-34\")", "{\"a\":\"12\"}"),
        ("regexall(\"[a-z]\", \"a1b2\")", "[\"a\",\"b\"]"),
        ("regexall(\"x\", \"abc\")", "[]"),
        ("fileset(\".\", \"*.sh\")", "[\"a.sh\"]"),
        ("fileset(\".\", \"**/*.sh\")", "[\"a.sh\",\"sub/c.sh\",\"sub/deep/d.sh\"]"),
        ("fileset(\".\", \"{a.sh,b.txt}\")", "[\"a.sh\",\"b.txt\"]"),
        ("pathexpand(\"~/x\")", "\"/home/me/x\""),
        ("abspath(\"x\")", "\"/work/x\""),
        ("templatefile(\"a.tpl\", {name = \"you\", list = [1, 2]})", "\"Hello, you!\\n- 1\\n- 2\\n\""),
        ("can(1 / 0)", "false"),
        ("[[1, 2], [3]].0.1", "2"),
        ("null[*]", "[]"),
    ] {
        assert_eq!(json_of(expression), want, "{expression}");
    }
}

#[test]
fn errors_say_what_is_wrong() {
    for (expression, want) in [
        ("uper(\"x\")", "there is no function `uper`"),
        ("vault(\"a\", \"b\")", "Vault is not asked"),
        ("consul_key(\"a\")", "Consul is not asked"),
        ("aws_secretsmanager(\"a\", \"b\")", "AWS Secrets Manager is not asked"),
        ("upper()", "`upper` takes one argument, not 0"),
        ("upper(null)", "must not be null"),
        ("1 / 0", "nothing can be divided by zero"),
        ("{a = 1}.b", "has no attribute `b`"),
        ("[1][3]", "there is no element 3: there are 1"),
        ("templatefile(\"bad.tpl\", {})", "line 2: there is no variable `nobody` here"),
        ("templatefile(\"loop.tpl\", {})", "templates include each other"),
        ("file(\"none\")", "`none` is not there"),
        ("pow(10, 10000)", "the result is no number"),
        ("bcrypt(\"x\", 31)", "the cost is from 4 to 14"),
        ("rsadecrypt(\"AA==\", \"no key\")", "no RSA private key"),
    ] {
        let error = evaluate(expression, &Scope::default()).unwrap_err();
        assert!(error.contains(want), "{expression}: {error}");
    }
}

#[test]
fn limits_hold() {
    for expression in [
        "[for a in range(1000) : [for b in range(1000) : [for c in range(1000) : c]]]",
        "join(\"\", [for a in range(1000) : join(\"\", [for b in range(1000) : \"0123456789012345678901234567890123456789\"])])",
        "setproduct(range(1000), range(1000))",
        "format(\"%99999999d\", 1)",
        "indent(100000, \"\\n\")",
        "regex(\"(a{1000}){1000}\", \"a\")",
        "jsondecode(replace(format(\"%4000s\", \"\"), \" \", \"[\"))",
    ] {
        assert!(evaluate(expression, &Scope::default()).is_err(), "{expression}");
    }
    // Takes time proportional to its length.
    assert!(
        evaluate("regex(\"(a*)*$\", \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab\")", &Scope::default()).is_ok()
    );
}

#[test]
fn marks_and_unknowns_spread() {
    let secret = Value::from("hunter2").marked(true);
    let later = Value::unknown(Type::String);
    let scope = Scope::new(BTreeMap::from([("secret".to_owned(), secret), ("later".to_owned(), later)]));
    for expression in [
        "\"x${secret}\"",
        "upper(secret)",
        "[secret][0]",
        "secret == \"a\"",
        "true ? secret : \"\"",
        "{a = secret}.a",
        "length(secret)",
        "secret == \"a\" ? 1 : 2",
        "[for x in [secret] : x][0]",
        "split(\"\", secret)",
        "length([secret])",
    ] {
        assert!(evaluate(expression, &scope).unwrap().has_marks(), "{expression}");
        let shown = kiln_hcl::console::show(&evaluate(expression, &scope).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    for expression in
        ["secret + 1", "convert(secret, number)", "parseint(secret, 10)", "jsondecode(secret)", "{a = 1}[secret]"]
    {
        let error = evaluate(expression, &scope).unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }
    for expression in
        ["\"x${later}\"", "upper(later)", "later == \"a\"", "[later][0]", "later == \"a\" ? 1 : 2", "can(later)"]
    {
        assert!(!evaluate(expression, &scope).unwrap().is_wholly_known(), "{expression}");
    }
}

#[test]
fn type_constraints() {
    for (written, want) in [
        ("string", "string"),
        ("list(map(number))", "list(map(number))"),
        ("object({a = string, b = optional(number, 1)})", "object({a=string,b=optional(number)})"),
        ("tuple([string, bool])", "tuple([string,bool])"),
        ("set(any)", "set(any)"),
    ] {
        assert_eq!(typing::constraint(&parse_expression(written).unwrap()).unwrap().to_string(), want);
    }
    for bad in ["strng", "\"string\"", "list(string, number)", "set", "optional(string)", "object({a})", "1", "list(1)"]
    {
        let refused = parse_expression(bad).map_or(true, |expr| typing::constraint(&expr).is_err());
        assert!(refused, "{bad}");
    }
}

#[test]
fn heredocs() {
    let (body, faults) = parse("a = <<-EOT\n    x\n  y ${1}\n   z\n\n  ${2}\n  EOT\nb = <<EOT\n  $${x} \\n\n  EOT\n");
    assert_eq!(faults, []);
    let value = |name: &str| {
        let expr = &body.attribute(name).unwrap().expr;
        Evaluator::new(&Fixed).evaluate(expr, &Scope::default()).unwrap().as_str().unwrap().to_owned()
    };
    assert_eq!(value("a"), "  x\ny 1\n z\n\n2\n");
    assert_eq!(value("b"), "  ${x} \\n\n");
}
