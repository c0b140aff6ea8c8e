//! Whole charts, in the idioms of those that everybody installs, beside what Helm's own library makes of them.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use kiln_helm::{Capabilities, Limits, Release, Values, render};
use serde_json::Value;

/// Charts as one text each: files behind lines `-- NAME --`, and `cases.json` with names of releases and values.
const CHARTS: [(&str, &str); 2] =
    [("shop", include_str!("whole/shop.txt")), ("operator", include_str!("whole/operator.txt"))];

/// The files of a text.
fn files(text: &str) -> Vec<(&str, String)> {
    let mut all: Vec<(&str, String)> = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("-- ").and_then(|rest| rest.strip_suffix(" --")) {
            Some(name) => all.push((name, String::new())),
            None => {
                let (_, content) = all.last_mut().expect("the text begins with a name");
                content.push_str(line);
                content.push('\n');
            }
        }
    }
    all
}

/// What Helm makes of each case: texts by the names of templates, or null.
fn helm(files: &[(&str, String)], cases: &Value) -> Vec<Option<BTreeMap<String, String>>> {
    let files: BTreeMap<&str, &str> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let mut child = Command::new(super::table::python())
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/helm.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python");
    let input = serde_json::json!({ "files": files, "cases": cases }).to_string();
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "helm.py failed");
    serde_json::from_slice(&output.stdout).expect("results")
}

/// The lines in which two texts differ.
fn difference(name: &str, want: &str, got: &str) -> String {
    let (want, got): (Vec<&str>, Vec<&str>) = (want.split('\n').collect(), got.split('\n').collect());
    let mut text = String::new();
    for at in 0..want.len().max(got.len()) {
        let (a, b) = (want.get(at), got.get(at));
        if a != b {
            text += &format!("{name}:{}\n  want {a:?}\n  got  {b:?}\n", at + 1);
        }
    }
    text
}

#[test]
fn whole_charts_are_what_helm_makes_of_them() {
    let mut wrong = String::new();
    for (chart, text) in CHARTS {
        let mut files = files(text);
        let at = files.iter().position(|(name, _)| *name == "cases.json").expect("there are cases");
        let cases: Value = serde_json::from_str(&files.remove(at).1).expect("cases");
        let loaded: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let loaded = super::chart(&loaded);
        for (case, want) in cases.as_array().expect("a list").iter().zip(helm(&files, &cases)) {
            let release = Release { name: case["name"].as_str().expect("a name").to_owned(), ..Release::default() };
            let values = Values::parse(&case["values"].to_string()).expect("values");
            let done = render(&loaded, &values, &release, &Capabilities::default(), &Limits::default());
            match (want, done) {
                (Some(want), Ok(done)) => {
                    let mut got: BTreeMap<String, String> =
                        done.files.into_iter().map(|file| (file.path, file.text)).collect();
                    got.extend(done.notes.map(|notes| (format!("{chart}/templates/NOTES.txt"), notes)));
                    for name in want.keys().chain(got.keys()).collect::<std::collections::BTreeSet<_>>() {
                        let of = |all: &BTreeMap<String, String>| all.get(name).cloned().unwrap_or_default();
                        wrong += &difference(&format!("{case}\n{name}"), &of(&want), &of(&got));
                    }
                }
                (None, Err(_)) => {}
                (None, Ok(_)) => wrong += &format!("{case}: Helm refuses this\n"),
                (Some(_), Err(error)) => wrong += &format!("{case}: {error}\n"),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
