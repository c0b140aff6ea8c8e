//! Debian's packer 1.6.6 beside Kiln: what one accepts the other does, and texts come out the same.

use std::path::Path;
use std::process::{Command, Output};

use crate::{Fixed, loaded, plain, source};
use kiln_packer::json::{inspect, load};

/// Runs packer in `directory`, without its questions to the network.
fn packer(directory: &Path, arguments: &[&str]) -> Output {
    Command::new("packer")
        .args(arguments)
        .current_dir(directory)
        .env("CHECKPOINT_DISABLE", "1")
        .env("PACKER_NO_COLOR", "1")
        .env("PACKER_CONFIG_DIR", directory)
        .output()
        .expect("packer is missing: install the package packer")
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

fn write(directory: &Path, name: &str, text: &str) {
    std::fs::write(directory.join(name), text).expect("a file");
}

#[test]
fn both_accept_and_refuse_the_same() {
    let directory = directory();
    let file = r#"{"type": "file", "target": "x", "content": "c"}"#;
    for (template, good) in [
        (format!(r#"{{"builders": [{file}]}}"#), true),
        (format!(r#"{{"_comment": "x", "builders": [{file}], "description": "d"}}"#), true),
        (format!(r#"{{"builders": [{file}], "provisioners": [{{"type": "shell-local", "inline": ["a"]}}]}}"#), true),
        (
            format!(
                r#"{{"builders": [{file}], "post-processors": ["manifest", ["manifest", {{"type": "checksum"}}]]}}"#
            ),
            true,
        ),
        (
            format!(r#"{{"builders": [{file}], "variables": {{"a": "{{{{env `HOME`}}}}", "b": "{{{{user `a`}}}}"}}}}"#),
            true,
        ),
        (format!(r#"{{"builders": [{file}], "min_packer_version": "1.0.0"}}"#), true),
        (r#"{"builders": []}"#.to_owned(), false),
        (format!(r#"{{"builders": [{file}, {file}]}}"#), false),
        (format!(r#"{{"builders": [{file}], "foo": 1}}"#), false),
        (format!(r#"{{"builders": [{file}], "variables": {{"a": null}}}}"#), false),
        (format!(r#"{{"builders": [{file}], "variables": {{"a": 1}}}}"#), false),
        (format!(r#"{{"builders": [{file}], "variables": {{"a": "{{{{user `a`}}}}"}}}}"#), false),
        (format!(r#"{{"builders": [{file}], "min_packer_version": "9.0.0"}}"#), false),
        (
            format!(
                r#"{{"builders": [{file}], "provisioners": [{{"type": "shell-local", "inline": ["a"], "only": ["b"]}}]}}"#
            ),
            false,
        ),
        (format!(r#"{{"builders": [{file}], "provisioners": [{{"inline": ["a"]}}]}}"#), false),
        (format!(r#"{{"builders": [{file}],}}"#), false),
        (r#"{"builders": [{"type": "file", "target": "x", "content": "{{nofunc}}"}]}"#.to_owned(), false),
        (r#"{"builders": [{"type": "file", "target": "x", "content": "{{env `HOME`}}"}]}"#.to_owned(), false),
    ] {
        write(directory.path(), "t.json", &template);
        let output = packer(directory.path(), &["validate", "t.json"]);
        assert_eq!(output.status.success(), good, "packer on {template}");
        assert_eq!(loaded(&template, &plain()).is_ok(), good, "kiln on {template}");
    }
}

#[test]
fn texts_come_out_the_same() {
    let texts = [
        "{{user `a`}}|{{user `b`}}",
        "{{build_name}} {{build_type}}",
        "{{split `x-y-z` `-` 2}} {{upper `ab`}} {{lower `AB`}}",
        "{{replace `x` `1` 1 `axbx`}} {{replace_all `x` `1` `axbx`}}",
        "{{pwd}} {{template_dir}} {{packer_version}}",
        "{{if eq (user `a`) `one`}}yes{{else}}no{{end}} {{printf `%05d %q` 42 `q`}}",
        "{{with user `b`}}{{.}}{{end}} {{len `four`}}",
        "{{user `c` | printf `%s!` | upper}} {{html `<a>`}} {{urlquery `a b`}}",
        "a {{- `b` -}} c {{/* gone */}}",
        "{{isotime `x`}} {{isotime `MST Z07:00 -0700`}}",
    ];
    let directory = directory();
    let path = directory.path().canonicalize().expect("a path");
    let builders = texts.iter().enumerate().map(|(at, text)| {
        format!(
            r#"{{"type": "file", "name": "n{at}", "target": "out{at}", "content": {}}}"#,
            serde_json::to_string(text).expect("a text")
        )
    });
    let template = format!(
        r#"{{"variables": {{"a": "one", "b": "{{{{user `a`}}}}-{{{{upper `x`}}}}", "c": "é"}}, "builders": [{}]}}"#,
        builders.collect::<Vec<_>>().join(",\n")
    );
    write(&path, "t.json", &template);
    let output = packer(&path, &["build", "t.json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let world = In(path.to_string_lossy().into_owned());
    let kiln = load(&source("t.json", &template), &plain(), &world).expect("a template");
    for (at, build) in kiln.builds.iter().enumerate() {
        let theirs = std::fs::read_to_string(path.join(format!("out{at}"))).expect("a file");
        let ours = build.config.fields().string("content").expect("rendered").unwrap_or_default();
        assert_eq!(ours, theirs, "{}", texts[at]);
    }
}

/// A world in a directory.
struct In(String);

impl kiln_packer::world::World for In {
    fn env(&self, name: &str) -> Option<String> {
        Fixed::default().env(name)
    }

    fn now(&self) -> i64 {
        Fixed::default().now()
    }

    fn random(&self) -> u128 {
        Fixed::default().random()
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        Fixed::default().read(path)
    }

    fn working_directory(&self) -> String {
        self.0.clone()
    }
}

#[test]
fn blocks_run_where_packer_runs_them() {
    let template = r#"{"builders": [{"type": "file", "name": "f1", "target": "o1", "content": "c"},
                                     {"type": "file", "name": "f2", "target": "o2", "content": "c"}],
      "provisioners": [],
      "post-processors": [
        {"type": "shell-local", "inline": ["echo in-{{build_name}}"], "only": ["f2"]},
        {"type": "shell-local", "name": "skipped", "inline": ["echo skipped"]},
        [{"type": "shell-local", "inline": ["echo first-{{build_name}}"]}, {"type": "shell-local", "name": "skipped", "inline": ["echo second"]}]]}"#;
    let directory = directory();
    write(directory.path(), "t.json", template);
    let output = packer(directory.path(), &["build", "-except=skipped", "-color=false", "-only=f1,f2", "t.json"]);
    let theirs = String::from_utf8_lossy(&output.stdout).into_owned();
    let given =
        kiln_packer::world::Given { only: vec!["f*".to_owned()], except: vec!["skipped".to_owned()], ..plain() };
    let kiln = loaded(template, &given).expect("a template");
    let mut ours: Vec<String> = Vec::new();
    for build in &kiln.builds {
        for block in build.post_processors.iter().flatten() {
            let config = block.config(&crate::facts()).expect("a configuration");
            for line in config.fields().strings("inline").expect("lines").unwrap_or_default() {
                ours.push(format!("{}: {}", build.name, line.trim_start_matches("echo ")));
            }
        }
    }
    // "    f1 (shell-local): first-f1"
    let said = theirs.lines().filter_map(|line| line.strip_prefix("    ")?.split_once(" (shell-local): "));
    let mut theirs: Vec<String> = said.map(|(build, text)| format!("{build}: {text}")).collect();
    ours.sort();
    theirs.sort();
    assert_eq!(ours, theirs);
    assert_eq!(ours, ["f1: first-f1", "f2: first-f2", "f2: in-f2"]);
}

#[test]
fn inspect_prints_the_same() {
    let directory = directory();
    for template in [
        r#"{"description": "A template", "variables": {"region": "cn", "name": "img-{{timestamp}}", "req": null, "key": "k"},
           "sensitive-variables": ["key"],
           "builders": [{"type": "file", "name": "f1", "content": "c", "target": "t"}, {"type": "null", "communicator": "none"}],
           "provisioners": [{"type": "shell-local", "inline": ["x"]}, {"type": "file", "source": "a", "destination": "b"}],
           "post-processors": ["manifest"]}"#,
        r#"{"builders": [{"type": "null", "communicator": "none"}]}"#,
        r#"{"variables": {"a": null}, "builders": [{"type": "null", "name": "longer", "communicator": "none"}, {"type": "null", "name": "s", "communicator": "none"}]}"#,
    ] {
        write(directory.path(), "t.json", template);
        let kiln = inspect(&source("t.json", template)).expect("a template");
        // The note at the end is in other words.
        let cut = |text: &str| text.split("\nNote:").next().unwrap_or_default().trim_end().to_owned();
        let theirs = packer(directory.path(), &["inspect", "t.json"]);
        assert_eq!(cut(&kiln.text()), cut(&String::from_utf8_lossy(&theirs.stdout)), "{template}");
        let theirs = packer(directory.path(), &["inspect", "-machine-readable", "t.json"]);
        // Times differ.
        let lines = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| !line.contains("Note: "));
            lines.filter_map(|line| line.split_once(',')).map(|(_, rest)| rest.to_owned()).collect()
        };
        assert_eq!(lines(&kiln.machine_readable(0)), lines(&String::from_utf8_lossy(&theirs.stdout)), "{template}");
    }
}
