//! `kiln chart`: what is printed, in which order, and what is refused.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use kiln_testkit::TestContext;

use crate::images::context;

/// A chart with a service, a hook that is a test, and a definition.
fn app(t: &TestContext) -> PathBuf {
    let top = t.out("app");
    for (name, text) in [
        ("Chart.yaml", "apiVersion: v2\nname: app\nversion: 1.0.0\n"),
        ("values.yaml", "image: {tag: \"1\"}\n"),
        ("README.md", "# App\n"),
        ("crds/x.yaml", "kind: CustomResourceDefinition\n"),
        (
            "templates/b.yaml",
            "kind: Deployment\nimage: {{ .Values.image.tag }}\nname: {{ .Release.Name }}\n---\nkind: Service\n",
        ),
        ("templates/t.yaml", "kind: Pod\nmetadata: {annotations: {helm.sh/hook: test}}\n"),
        ("templates/NOTES.txt", "notes"),
    ] {
        let place = top.join(name);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, text).unwrap();
    }
    top
}

#[test]
fn templates_are_printed_as_helm_prints_them() {
    let t = context();
    let chart = app(&t).display().to_string();
    let shown = t.kiln(&["chart", "template", "web", &chart, "--set", "image.tag=2", "--include-crds"]).ok().stdout;
    insta::assert_snapshot!(shown, @"
    ---
    # Source: app/crds/x.yaml
    kind: CustomResourceDefinition
    ---
    # Source: app/templates/b.yaml
    kind: Service
    ---
    # Source: app/templates/b.yaml
    kind: Deployment
    image: 2
    name: web
    ---
    # Source: app/templates/t.yaml
    kind: Pod
    metadata: {annotations: {helm.sh/hook: test}}
    ");
    let one = t.kiln(&["chart", "template", &chart, "--show-only", "templates/t*.yaml"]).ok().stdout;
    assert!(one.starts_with("---\n# Source: app/templates/t.yaml\n") && !one.contains("Service"), "{one}");
    let none = t.kiln(&["chart", "template", &chart, "--no-hooks"]).ok().stdout;
    assert!(!none.contains("kind: Pod"), "{none}");
    fs::write(t.out("v.yaml"), "image: {tag: 7}\n").unwrap();
    let values = t.out("v.yaml").display().to_string();
    let out = t.out("written").display().to_string();
    let _ = t.kiln(&["chart", "template", "web", &chart, "-f", &values, "--output-dir", &out]).ok();
    let written = fs::read_to_string(t.out("written/app/templates/b.yaml")).unwrap();
    assert!(written.contains("image: 7"), "{written}");
}

#[test]
fn parts_of_charts_are_shown() {
    let t = context();
    let chart = app(&t).display().to_string();
    let _ = t.tool("tar", &["-czf", "app.tgz", "app"]).ok();
    let archive = t.out("app.tgz").display().to_string();
    for place in [&chart, &archive] {
        let show = |what: &str| t.kiln(&["chart", "show", what, place]).ok().stdout;
        assert_eq!(show("values"), "image: {tag: \"1\"}\n");
        assert_eq!(show("readme"), "# App\n");
        assert_eq!(show("crds"), "---\nkind: CustomResourceDefinition\n");
        assert_eq!(show("all").matches("---\n").count(), 3);
    }
}

#[test]
fn what_is_wrong_has_a_place() {
    let t = context();
    let chart = app(&t);
    let shown = chart.display().to_string();
    let fails = |args: &[&str], code: i32, said: &str| {
        let error = t.kiln(&[&["chart", "template"], args].concat()).exits(code).stderr;
        assert!(error.contains(said), "{args:?}: {error}");
    };
    fails(&["web", "/no/such/chart"], 1, "cannot read the chart");
    fails(&["Not_A_Name", &shown], 2, "cannot be the name of a release");
    fails(&[&shown, "--set", "a"], 2, "key `a` has no value");
    fails(&[&shown, "--kube-version", "x"], 2, "--kube-version");
    fails(&[&shown, "-s", "templates/none.yaml"], 1, "could not find template templates/none.yaml in chart");
    fs::write(chart.join("templates/bad.yaml"), "a: {{ .Values.image.tag.deeper }}\n").unwrap();
    fails(&[&shown], 1, "app/templates/bad.yaml:1:7: there is no `deeper` in a text");
    fs::remove_file(chart.join("templates/bad.yaml")).unwrap();
    symlink("/etc/hostname", chart.join("files.txt")).unwrap();
    fails(&[&shown], 1, "files.txt: a link that leads out of the chart");
}
