//! One table of templates: what Kiln makes of each beside what Helm makes of it. `templates.txt` has a template a line;
//! `expected.json` has the texts, or null where the template is a mistake.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use kiln_helm::{Chart, RenderError, Values};

const TEMPLATES: &str = include_str!("templates.txt");
const EXPECTED: &str = include_str!("expected.json");
const VALUES: &str = include_str!("values.yaml");

/// The files of the chart, but for the template.
fn files() -> Vec<(&'static str, &'static str)> {
    vec![
        (
            "Chart.yaml",
            "apiVersion: v2\nname: c\nversion: 0.1.0\nappVersion: 1.16\nannotations: {k: v}\nkeywords: [w]\n",
        ),
        ("values.yaml", VALUES),
        ("data.txt", "line 1\nline 2\n"),
        ("conf/a.txt", "a"),
        ("conf/b.txt", "b: c\nd\n"),
        ("conf/deep/c.txt", "e"),
    ]
}

fn got(template: &str) -> Option<String> {
    let mut all = files();
    all.push(("templates/t.yaml", template));
    let chart: Chart = super::chart(&all);
    match super::rendered(&chart, &Values::new()) {
        Ok(done) => done.files.into_iter().next().map(|file| file.text),
        // Texts that are no YAML are texts all the same: templates are compared here.
        Err(RenderError::Manifest { .. }) => raw(template),
        Err(_) => None,
    }
}

/// The text of a template that gives no YAML: as a template of notes, which need not be.
fn raw(template: &str) -> Option<String> {
    let mut all = files();
    all.push(("templates/NOTES.txt", template));
    super::rendered(&super::chart(&all), &Values::new()).ok()?.notes
}

#[test]
fn templates_give_what_the_table_says() {
    let expected: Vec<Option<String>> = serde_json::from_str(EXPECTED).expect("a list");
    assert_eq!(TEMPLATES.lines().count(), expected.len(), "a text for each template");
    let mut wrong = String::new();
    for (template, want) in TEMPLATES.lines().zip(&expected) {
        let got = got(template);
        if got != *want {
            wrong += &format!("{template}\n  want {want:?}\n  got  {got:?}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Python with Helm's own library, as `scripts/emulators.sh` installs it.
pub(crate) fn python() -> PathBuf {
    let cache = || {
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from).join("kiln-test")
    };
    let place = std::env::var_os("KILN_EMULATORS").map_or_else(cache, PathBuf::from).join("helm/bin/python");
    assert!(place.exists(), "{} is missing: run scripts/emulators.sh", place.display());
    place
}

#[test]
fn helm_agrees_with_the_table() {
    let templates: Vec<&str> = TEMPLATES.lines().collect();
    let files: std::collections::BTreeMap<&str, &str> = files().into_iter().collect();
    let input = serde_json::json!({ "files": files, "templates": templates }).to_string();
    let mut child = Command::new(python())
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/helm.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "helm.py failed");
    let results: Vec<Option<String>> = serde_json::from_slice(&output.stdout).expect("results");
    let expected: Vec<Option<String>> = serde_json::from_str(EXPECTED).expect("a list");
    for ((template, want), result) in templates.iter().zip(&expected).zip(&results) {
        assert_eq!(result, want, "{template}");
    }
    assert_eq!(results.len(), expected.len());
}
