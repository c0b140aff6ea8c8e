//! The legacy dialect: variables, builds, blocks, selection.

use std::time::Duration;

use crate::{Fixed, facts, good, in_builder, loaded, plain, source, with_vars};
use kiln_packer::json::load;
use kiln_packer::world::Given;

const ALICLOUD: &str = include_str!("data/alicloud.json");

#[test]
fn the_alicloud_template_loads_as_it_stands() {
    let mut world = Fixed::default();
    world.env.insert("ALICLOUD_ACCESS_KEY".to_owned(), "AK".to_owned());
    world.env.insert("ALICLOUD_SECRET_KEY".to_owned(), "SK".to_owned());
    let template = load(&source("alicloud.json", ALICLOUD), &plain(), &world).expect("a template");
    assert_eq!(template.builds.len(), 1);
    let build = &template.builds[0];
    assert_eq!((build.name.as_str(), build.kind.as_str()), ("alicloud-ecs", "alicloud-ecs"));
    let fields = build.config.fields();
    let text = |key: &str| fields.string(key).expect(key).unwrap_or_default();
    assert_eq!(text("access_key"), "AK");
    assert_eq!(text("secret_key"), "SK");
    assert_eq!(text("region"), "cn-hangzhou");
    assert_eq!(text("image_name"), "test_image1564110199");
    assert_eq!(text("ssh_username"), "root");
    assert_eq!(fields.bool("io_optimized").expect("a boolean"), Some(true));
    fields.ignore(&["source_image", "instance_type"]);
    fields.finish().expect("nothing is left");
    let shell = build.provisioners[0].config(&facts()).expect("a configuration");
    let fields = shell.fields();
    let scripts = fields.strings("scripts").expect("scripts").unwrap_or_default();
    assert_eq!(scripts, ["config/default.sh", "scripts/updateDNS.sh", "scripts/reboot.sh", "scripts/verify.sh"]);
    assert_eq!(fields.bool("expect_disconnect").expect("a boolean"), Some(true));
    fields.finish().expect("nothing is left");
}

/// A template of one builder whose `content` is `text`.
fn content(text: &str, given: &Given) -> String {
    let json = format!(
        r#"{{"variables": {{"a": "one", "b": "{{{{user `a`}}}}-two", "c": "x-y-z"}},
            "builders": [{{"type": "file", "name": "n", "target": "t", "content": {}}}]}}"#,
        serde_json::to_string(text).expect("a text")
    );
    in_builder(&good(&json, given), "content")
}

#[test]
fn functions_give_what_packer_gives() {
    for (text, want) in [
        ("plain", "plain"),
        ("{{user `a`}} {{user \"b\"}}", "one one-two"),
        ("{{build_name}} {{build_type}}", "n file"),
        ("{{timestamp}} {{isotime \"2006-01-02\"}} {{isotime}}", "1564110199 2019-07-26 2019-07-26T03:03:19Z"),
        ("{{strftime \"%Y-%m-%d\"}}", "2019-07-26"),
        ("{{split (user `c`) \"-\" 1}}", "y"),
        ("{{upper `aB`}}{{lower `aB`}}", "ABab"),
        ("{{replace `x` `1` 1 `axbx`}} {{replace_all `x` `1` `axbx`}}", "a1bx a1b1"),
        ("{{user `c` | replace_all \"-\" \"_\"}}", "x_y_z"),
        ("{{template_dir}} {{pwd}} {{packer_version}}", "/work/dir /work 1.6.6"),
        ("{{clean_resource_name `a b:c`}}", "a-b-c"),
        ("{{if eq (user `a`) `one`}}yes{{end}}", "yes"),
    ] {
        assert_eq!(content(text, &plain()), want, "{text}");
    }
    let uuid = content("{{uuid}} {{uuid}}", &plain());
    let (first, second) = uuid.split_once(' ').expect("two");
    assert!(first != second && first.len() == 36 && second.len() == 36, "{uuid}");
}

#[test]
fn var_beats_var_file_beats_default() {
    let file = |text: &str| source("v.json", text);
    let given = Given {
        var_files: vec![file(r#"{"a": "f1", "c": "f1"}"#), file(r#"{"c": "f2"}"#)],
        ..with_vars(&[("a", "v")])
    };
    assert_eq!(content("{{user `a`}} {{user `b`}} {{user `c`}}", &given), "v v-two f2");
    let given = with_vars(&[("c", "{{user `a`}}!"), ("a", "1"), ("a", "2")]);
    assert_eq!(content("{{user `c`}}", &given), "2!");
}

#[test]
fn secrets_are_collected_and_the_undeclared_is_told() {
    let text = r#"{"variables": {"p": "pass-{{user `q`}}", "q": "w", "e": ""}, "sensitive-variables": ["p", "e"],
                   "builders": [{"type": "null"}]}"#;
    let template = good(text, &with_vars(&[("zz", "1")]));
    assert_eq!(template.sensitive, ["pass-w"]);
    assert_eq!(template.warnings.len(), 1);
    assert!(template.warnings[0].to_string().contains("`zz` is not declared"), "{}", template.warnings[0]);
    let p = template.variables.iter().find(|variable| variable.name == "p").expect("p");
    assert!(p.sensitive && p.value.as_deref() == Some("pass-w"));
}

#[test]
fn a_secret_that_is_no_template_is_not_shown() {
    let text = r#"{"variables": {"p": ""}, "sensitive-variables": ["p"], "builders": [{"type": "null"}]}"#;
    let shown = crate::wrong(text, &with_vars(&[("p", "hush{{hush}}")]));
    assert!(shown.contains("`p` cannot be rendered") && !shown.contains("hush"), "{shown}");
}

#[test]
fn mistakes_of_files_with_secrets_do_not_show_them() {
    let text = r#"{"variables": {"p": "", "q": ""}, "sensitive-variables": ["p"], "builders": [{"type": "null"}]}"#;
    let of = |file: &str, vars: &[(&str, &str)]| {
        let given = Given { var_files: vec![source("v.json", file)], ..with_vars(vars) };
        match loaded(text, &given) {
            Ok(template) => crate::rendered(&template.warnings),
            Err(faults) => crate::rendered(&faults),
        }
    };
    for (file, told) in [
        ("{\n  \"q\": \"x\"\n  \"p\": \"hush-1\"\n}", "v.json:3:3"),
        ("{\"p\": [\"hush-2\"]}", "the variable `p` must be a text"),
        ("{\"p\": hush}", "is no value"),
        ("{\"pp\": \"hush-3\"}", "the variable `pp` is not declared"),
        ("{\"q\": \"{{nope}}\", \"p\": \"hush-4\"}", "there is no function"),
    ] {
        let shown = of(file, &[]);
        assert!(shown.contains(told) && shown.contains("v.json:") && !shown.contains("hush"), "{file}: {shown}");
    }
    let shown = of("{}", &[("pp", "hush-5")]);
    assert!(shown.contains("pp=…") && shown.contains("did you mean `p`?") && !shown.contains("hush"), "{shown}");
    // Where nothing is sensitive the line is shown as it is.
    let plain = text.replace(r#"["p"]"#, "[]");
    let given = Given { var_files: vec![source("v.json", "{\"q\": [\"seen\"]}")], ..crate::plain() };
    assert!(crate::wrong(&plain, &given).contains("seen"));
}

const MANY: &str = r#"{
  "builders": [{"type": "file", "name": "one", "target": "a"}, {"type": "null", "name": "two"}, {"type": "qemu"}],
  "provisioners": [
    {"type": "shell", "inline": ["a"], "only": ["one", "qemu"], "pause_before": "10s", "max_retries": "3",
     "override": {"qemu": {"inline": ["q"], "execute_command": "{{.Path}}"}}},
    {"type": "shell-local", "inline": "b", "except": ["one"], "timeout": "1m"}],
  "error-cleanup-provisioner": {"type": "shell-local", "inline": ["clean {{build `Host`}}"]},
  "post-processors": [
    "manifest",
    {"type": "checksum", "name": "sums", "keep_input_artifact": true, "only": ["two"]},
    [{"type": "compress"}, {"type": "checksum", "name": "after"}, "artifice"]]
}"#;

fn kinds(template: &kiln_packer::model::Template) -> Vec<String> {
    let build = |build: &kiln_packer::model::Build| {
        let provisioners: Vec<&str> = build.provisioners.iter().map(|block| block.kind.as_str()).collect();
        let pipelines = build.post_processors.iter();
        let pipelines: Vec<String> =
            pipelines.map(|line| line.iter().map(|block| block.kind.as_str()).collect::<Vec<_>>().join(">")).collect();
        format!("{}: {} | {}", build.name, provisioners.join(" "), pipelines.join(" "))
    };
    template.builds.iter().map(build).collect()
}

#[test]
fn blocks_apply_where_they_say() {
    let template = good(MANY, &plain());
    assert_eq!(
        kinds(&template),
        [
            "one: shell | manifest compress>checksum>artifice",
            "two: shell-local | manifest checksum compress>checksum>artifice",
            "qemu: shell shell-local | manifest compress>checksum>artifice",
        ]
    );
    let shell = &template.builds[2].provisioners[0];
    assert_eq!(shell.common.pause_before, Some(Duration::from_secs(10)));
    assert_eq!(shell.common.max_retries, 3);
    let config = shell.config(&facts()).expect("a configuration");
    let fields = config.fields();
    assert_eq!(fields.strings("inline").expect("inline"), Some(vec!["q".to_owned()]));
    let command = fields.verbatim("execute_command").expect("a text").expect("a command");
    assert_eq!(command.render(&[("Path", "/tmp/x")]).expect("rendered"), "/tmp/x");
    fields.finish().expect("nothing is left");
    let one = template.builds[0].provisioners[0].config(&facts()).expect("a configuration");
    assert_eq!(one.fields().strings("inline").expect("inline"), Some(vec!["a".to_owned()]));
    let cleanup = template.builds[0].error_cleanup.as_ref().expect("one").config(&facts()).expect("a configuration");
    assert_eq!(cleanup.fields().strings("inline").expect("inline"), Some(vec!["clean 10.0.2.15".to_owned()]));
    assert_eq!(template.builds[1].post_processors[1][0].common.keep_input_artifact, Some(true));
}

#[test]
fn only_and_except_select_builds_and_post_processors() {
    let names = |only: &[&str], except: &[&str]| {
        let owned = |patterns: &[&str]| patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        kinds(&good(MANY, &Given { only: owned(only), except: owned(except), ..plain() }))
    };
    assert_eq!(names(&["o*"], &[]), ["one: shell | manifest compress>checksum>artifice"]);
    assert_eq!(names(&[], &["one", "qemu", "after"]), ["two: shell-local | manifest checksum compress"]);
    assert_eq!(names(&["two"], &["manifest", "compress", "sums"]), ["two: shell-local | "]);
    let given = Given { only: vec!["onne".to_owned()], ..plain() };
    let template = loaded(MANY, &given).expect("no error, as with Packer");
    assert!(template.builds.is_empty());
    assert!(template.warnings[0].render(false).contains("did you mean `one`?"));
}

#[test]
fn names_of_builders_are_rendered() {
    let text = r#"{"variables": {"v": "7"}, "builders": [{"type": "null", "name": "x{{user `v`}}"}],
                   "provisioners": [{"type": "shell-local", "inline": ["{{build_name}}"], "only": ["x{{user `v`}}"]}]}"#;
    let template = good(text, &Given { only: vec!["x7".to_owned()], ..plain() });
    let config = template.builds[0].provisioners[0].config(&facts()).expect("a configuration");
    assert_eq!(config.fields().strings("inline").expect("inline"), Some(vec!["x7".to_owned()]));
}

#[test]
fn inspect_prints_for_programs() {
    let text = r#"{"description": "d, e", "variables": {"a": "1", "r": null, "s": "x"}, "sensitive-variables": ["s"],
                   "builders": [{"type": "null", "name": "n"}], "provisioners": [{"type": "shell"}]}"#;
    let inspected = kiln_packer::json::inspect(&source("t.json", text)).expect("a template");
    let lines = inspected.machine_readable(5);
    for line in [
        "5,,template-variable,r,,1",
        "5,,template-variable,a,1,0",
        "5,,template-variable,s,<sensitive>,0",
        "5,,template-builder,n,null",
        "5,,template-provisioner,shell",
        "5,,ui,say,d%!(PACKER_COMMA) e\\n",
    ] {
        assert!(lines.lines().any(|known| known == line), "{line} is not in\n{lines}");
    }
}
