//! Configs: what they make of files.

use kiln_clusterfile::config::{ConfigError, apply};
use kiln_clusterfile::model::Config;

use super::{cluster, wrong};

fn config(path: &str, fields: &str, data: &str) -> Config {
    let data: String = data.lines().map(|line| format!("    {line}\n")).collect();
    let text = format!(
        "apiVersion: sealer.io/v1\nkind: Config\nmetadata: {{name: mine}}\nspec:\n  path: {path}\n{fields}  data: |\n{data}"
    );
    cluster(&text).configs.remove(0)
}

#[track_caller]
fn applied(path: &str, fields: &str, data: &str, file: Option<&str>) -> String {
    let result = apply(&config(path, fields, data), file.map(str::as_bytes));
    String::from_utf8(result.unwrap_or_else(|error| panic!("{error}"))).unwrap()
}

const MERGE: &str = "  strategy: merge\n";

#[test]
fn overwriting_is_what_happens_without_a_strategy() {
    assert_eq!(applied("etc/a.yaml", "", "redis-user: root", Some("x")), "redis-user: root\n");
    assert_eq!(applied("etc/a", "  strategy: append\n", "b", Some("a")), "a\nb\n");
    assert_eq!(applied("etc/a", "  strategy: insert\n", "b", Some("a")), "b\na");
    assert_eq!(applied("etc/a", "  strategy: insert\n", "b", None), "b\n");
}

#[test]
fn merging_is_by_presence() {
    let file = "# kept only where nothing changes\na: 1\nb: {c: true, d: [1, 2], e: x}\nz: last\n";
    let merged = applied("etc/a.yaml", MERGE, "b: {c: false, d: [], e: null, f: ''}\nnew: 0", Some(file));
    assert_eq!(merged, "a: 1\nb:\n  c: false\n  d: []\n  f: \"\"\nz: last\nnew: 0\n");
    assert_eq!(applied("etc/a.yaml", MERGE, "a: 1", Some(file)), file, "nothing changes");
    assert_eq!(applied("etc/a.yaml", MERGE, "a: 1", Some("")), "a: 1\n");
    let error = apply(&config("etc/a.yaml", MERGE, "a: 1"), None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the Config `mine` (Clusterfile:6) is to be merged into etc/a.yaml, which is not there"
    );
}

const TWO: &str = "---\n# first\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: v}\n---\n# second\napiVersion: v1\nkind: Secret\nmetadata: {name: b}\ndata: {k: v}\n";

#[test]
fn of_several_documents_those_that_are_meant_are_merged() {
    let all = applied("a.yaml", MERGE, "data: {new: w}", Some(TWO));
    assert_eq!(all.matches("  new: w\n").count(), 2, "as sealer does: {all}");
    let one = applied("a.yaml", MERGE, "kind: Secret\ndata: {new: w}", Some(TWO));
    assert!(
        one.starts_with("---\n# first\n") && one.contains("data: {k: v}\n---\napiVersion: v1\nkind: Secret\n"),
        "{one}"
    );
    let other = applied("a.yaml", MERGE, "apiVersion: v1\nkind: Secret\nmetadata: {name: c}", Some(TWO));
    assert!(
        other.starts_with(TWO) && other.ends_with("---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: c\n"),
        "{other}"
    );
    let error = apply(&config("a.yaml", MERGE, "x: 1\nlost: 1"), Some(TWO.as_bytes())).unwrap_err();
    assert!(error.to_string().contains("line 1 of it: `x` is in none of the 2 documents of a.yaml"), "{error}");
}

#[test]
fn scripts_in_config_maps_stay_readable() {
    let file = "data:\n  run.sh: |\n    #!/bin/sh\n    echo \"$1\"\n  b: 1\n";
    assert_eq!(
        applied("a.yaml", MERGE, "data: {b: 2}", Some(file)),
        "data:\n  run.sh: |\n    #!/bin/sh\n    echo \"$1\"\n  b: 2\n"
    );
    for text in [
        "a\n b\n",
        "a\n\nb",
        "a\nb\n\n",
        " a\nb",
        "a\n  \nb",
        "a\r\nb",
        "\na",
        "a\t\n\tb\n",
        "-\n- a: b\n",
        "a\u{85}\nb",
    ] {
        let inner = serde_json::to_string(text).unwrap();
        let merged = applied("a.yaml", MERGE, "b: 2", Some(&format!("a: {{x: {inner}}}\nb: 1\n")));
        let root = kiln_yaml::parse(&merged).remove(0).root.unwrap();
        assert_eq!(root.at(&["a", "x"]).and_then(kiln_yaml::Node::text), Some(text), "{merged}");
    }
}

#[test]
fn json_stays_json() {
    let merged = applied(
        "etc/daemon.json",
        MERGE,
        "log-opts: {max-size: 10m}\nlive-restore: true",
        Some(r#"{"log-opts": {"max-file": "3"}}"#),
    );
    assert_eq!(
        merged,
        "{\n  \"log-opts\": {\n    \"max-file\": \"3\",\n    \"max-size\": \"10m\"\n  },\n  \"live-restore\": true\n}\n"
    );
}

#[test]
fn data_goes_through_its_steps() {
    let process = |steps: &str, data: &str| applied("etc/a", &format!("  process: {steps}\n"), data, None);
    assert_eq!(
        process("value|toJson|toBase64", "config:\n  usrname: root\n  passwd: xxx"),
        "config: eyJwYXNzd2QiOiJ4eHgiLCJ1c3JuYW1lIjoicm9vdCJ9\n"
    );
    assert_eq!(process("toJson", "b: 1\na: [true, null]"), r#"{"a":[true,null],"b":1}"#);
    assert_eq!(process("toBase64", "hi"), "aGkK");
    assert_eq!(process("value|toBase64", "a: hi"), "a: aGk=\n");
    assert_eq!(
        process("toSecret", "a: hi"),
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: mine\ndata:\n  a: aGk=\n"
    );
    let merged = applied("a.yaml", "  strategy: merge\n  process: toSecret\n", "k: new\nm: ''", Some(TWO));
    assert!(merged.ends_with("metadata:\n  name: b\ndata:\n  k: bmV3\n  m: \"\"\n"), "{merged}");
    for (steps, data, part) in [
        ("value|toBase64", "a: 1", "the value of `a` is no string"),
        ("toSecret", "- a", "takes a map"),
        ("toJson", "a: [", "line 1 of it"),
        ("toJson", "a: 1\n---\nb: 2", "one document"),
        ("value|toJson", "a: 1\na: 2", "`a` is there already"),
    ] {
        let error = apply(&config("etc/a", &format!("  process: {steps}\n"), data), None).unwrap_err();
        assert!(matches!(error, ConfigError::Data { .. }) && error.to_string().contains(part), "{error}");
    }
}

#[test]
fn files_that_cannot_be_merged() {
    let merge = |path: &str, file: &[u8]| apply(&config(path, MERGE, "a: 1"), Some(file)).unwrap_err().to_string();
    assert!(merge("a.yaml", b"a: [\n").starts_with("a.yaml:1: "));
    assert_eq!(merge("a.yaml", b"\xff"), "a.yaml:1: this is not UTF-8, and cannot be merged");
    assert_eq!(merge("a.json", b"{\"a\": 1}\n---\n{\"a\": 2}"), "a.json:1: a file of JSON has one value");
    assert_eq!(merge("a.yaml", &vec![b' '; (16 << 20) + 1]), "a.yaml: more than 16 MiB");
}

#[test]
fn mistakes() {
    let one = |spec: &str| {
        wrong(&format!("apiVersion: sealer.io/v1\nkind: Config\nmetadata: {{name: c}}\nspec: {spec}\n")).join("\n")
    };
    for (spec, want) in [
        (
            "{path: a, data: b, strategy: replace}",
            "E UnknownStrategy 4: `replace` is no strategy: merge, overwrite, insert and append are",
        ),
        (
            "{path: a, data: b, process: tojson}",
            "E UnknownStep 4: `tojson` is no step of `process` | did you mean `toJson`?",
        ),
        (
            "{path: a, data: b, process: toJson|value}",
            "E BadProcess 4: `toSecret` is the last step, and `value` is not: it is about the steps behind it",
        ),
        ("{data: b}", "E NoField 4: the Config `c` has no `path`"),
        ("{path: a}", "E NoField 4: the Config `c` has no `data`"),
        ("{path: a, data: {b: c}}", "E WrongType 4: `spec.data` is a string; this is a map"),
    ] {
        assert_eq!(one(spec), want, "{spec}");
    }
    for path in ["/etc/a", "../a", "etc/../../a", "etc/", "a//b", "\"a\\0\""] {
        assert!(one(&format!("{{path: {path}, data: b}}")).starts_with("E BadPath 4"), "{path}");
    }
}

#[test]
fn documents_that_are_merged_have_a_limit() {
    use kiln_clusterfile::config::apply;
    use kiln_clusterfile::model::{Config, Strategy};
    let said = kiln_clusterfile::Said::<String>::default_of;
    let config = |data: String| Config {
        name: said("a".into()),
        path: said("manifests/a.yaml".into()),
        strategy: kiln_clusterfile::Said::default_of(Strategy::Merge),
        process: Vec::new(),
        data: said(data),
        app: None,
        image: None,
    };
    let many = |count: usize| (0..count).map(|n| format!("kind: A{n}\n---\n")).collect::<String>();
    let wrong = apply(&config(many(1001)), Some(b"kind: A0\n")).unwrap_err().to_string();
    assert!(wrong.contains("more than 1000 documents"), "{wrong}");
    let wrong = apply(&config("kind: A0\nx: 1\n".into()), Some(many(20_001).as_bytes())).unwrap_err().to_string();
    assert!(wrong.contains("more than 20000 documents"), "{wrong}");
    // Data without a kind goes to those that have the key, and each document is looked at once.
    let file = (0..500).map(|n| format!("a{n}: 1\nsame: 1 # kept\n---\n")).collect::<String>();
    let merged = apply(&config("a7: 2\na9: 2\n".into()), Some(file.as_bytes())).unwrap();
    let merged = String::from_utf8(merged).unwrap();
    assert!(merged.contains("a7: 2\n") && merged.contains("a9: 2\n"), "{merged}");
    assert_eq!(merged.matches("# kept").count(), 498, "what does not change stays as it is");
}
