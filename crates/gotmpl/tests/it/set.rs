//! Templates that call each other, functions of the caller, objects, delimiters.

use kiln_gotmpl::{Failure, Functions, Object, Options, Set, Value, render};

#[test]
fn functions_of_the_caller_are_called_and_may_borrow() {
    let prefix = String::from("<");
    let mut functions = Functions::new();
    functions.add("mark", |arguments| Ok(Value::from(format!("{prefix}{}>", arguments.len()))));
    functions.add("fail", |_| Err(Failure::new("it was asked to").hint("do not ask")));
    functions.add("len", |_| Ok(Value::from("replaced")));
    let run = |text: &str| render(text, &Value::Nil, &functions, &Options::default());
    assert_eq!(run("{{mark 1 2}} {{3 | mark}} {{len 1}}").as_deref(), Ok("<2> <1> replaced"));
    let error = run("x {{fail}}").expect_err("it fails");
    assert_eq!(error.to_string(), "template:1:5: it was asked to in `fail`");
    assert_eq!(error.hint(), Some("do not ask"));
}

#[test]
fn include_and_tpl_can_be_built() {
    let mut functions = Functions::new();
    functions.add_with_engine("include", |engine, arguments| match arguments {
        [Value::String(name), data] => engine.include(name, data).map(Value::from),
        _ => Err("a name and data are wanted".into()),
    });
    functions.add_with_engine("tpl", |engine, arguments| match arguments {
        [Value::String(text), data] => engine.evaluate("tpl", text, data).map(Value::from),
        _ => Err("a text and data are wanted".into()),
    });
    let mut set = Set::new(functions, Options::default());
    set.parse("helpers", r#"{{define "name"}}app-{{.}}{{end}}"#).expect("helpers");
    set.parse(
        "main",
        r#"{{include "name" .word | printf "%q"}} {{tpl "{{include \"name\" .n}}{{define \"own\"}}{{end}}" .}}"#,
    )
    .expect("main");
    assert_eq!(set.execute("main", &super::data()).as_deref(), Ok("\"app-abc\" app-42"));
    set.parse("bad", r#"{{tpl "line\n{{.n.x}}" .}}"#).expect("bad");
    let error = set.execute("bad", &super::data()).expect_err("it fails");
    assert_eq!(error.to_string(), "tpl:2:3: there is no `x` in a whole number in `.n.x`");
    set.parse("loop", r#"{{include "loop" .}}"#).expect("loop");
    assert!(set.execute("loop", &Value::Nil).is_err());
    set.parse("helpers", r#"{{define "name"}}new{{end}}"#).expect("a later definition replaces");
    assert_eq!(set.execute("name", &Value::Nil).as_deref(), Ok("new"));
}

struct Files;

impl Object for Files {
    fn field(&self, name: &str) -> Option<Value> {
        (name == "Count").then_some(Value::Int(2))
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Option<Result<Value, Failure>> {
        let [Value::String(path)] = arguments else { return None };
        (name == "Get").then(|| Ok(Value::from(format!("content of {path}"))))
    }

    fn print(&self) -> String {
        "files".to_owned()
    }
}

#[test]
fn objects_have_fields_and_methods() {
    let data = super::map(&[("Files", Value::object(Files))]);
    let run =
        |text: &str| render(text, &data, &Functions::new(), &Options::default()).map_err(|error| error.to_string());
    assert_eq!(
        run("{{.Files}} {{.Files.Count}} {{.Files.Get \"a\"}} {{\"b\" | .Files.Get}}").as_deref(),
        Ok("files 2 content of a content of b")
    );
    assert!(run("{{.Files.Gone}}").is_err());
    assert!(run("{{.Files.Count 1}}").is_err());
}

#[test]
fn delimiters_can_be_others() {
    let options = Options { left: "<%".to_owned(), right: "%>".to_owned(), ..Options::default() };
    let text = render("{{.}} <% . -%>  x <%/* c */%>", &Value::Int(5), &Functions::new(), &options);
    assert_eq!(text.as_deref(), Ok("{{.}} 5x "));
}
