//! The HCL2 dialect: templates in, builds out, and Debian's packer beside it.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use kiln_packer::fault::Fault;
use kiln_packer::hcl2::{Files, SharedWorld, console, inspect, load};
use kiln_packer::model::{BuildFacts, Template};
use kiln_packer::world::{Given, World};

use crate::{Fixed, plain, source, with_vars};

/// A world that reads a directory.
struct Disk(std::path::PathBuf);

impl World for Disk {
    fn env(&self, _name: &str) -> Option<String> {
        None
    }

    fn now(&self) -> i64 {
        1_564_110_199
    }

    fn random(&self) -> u128 {
        7
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        std::fs::read(self.0.join(path)).map_err(|error| format!("`{path}`: {error}"))
    }

    fn working_directory(&self) -> String {
        self.0.display().to_string()
    }

    fn files(&self, path: &str, _limit: usize) -> Result<Vec<String>, String> {
        let entries = std::fs::read_dir(self.0.join(path)).map_err(|error| format!("`{path}`: {error}"))?;
        Ok(entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect())
    }
}

fn files(texts: &[(&str, &str)]) -> Files {
    let pick = |variables: bool| {
        let chosen = texts.iter().filter(|(name, _)| name.contains("pkrvars") == variables);
        chosen.map(|(name, text)| source(name, text)).collect()
    };
    Files { templates: pick(false), variables: pick(true), directory: "/work/dir".to_owned() }
}

fn world(env: &[(&str, &str)]) -> SharedWorld {
    Arc::new(Fixed { env: env.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect() })
}

fn loaded(text: &str, given: &Given) -> Result<Template, Vec<Fault>> {
    load(&files(&[("a.pkr.hcl", text)]), given, &world(&[]))
}

fn wrong(text: &str) -> String {
    let faults = loaded(text, &plain()).expect_err(text);
    faults.iter().map(|fault| format!("{fault}\n")).collect()
}

const TEMPLATE: &str = r#"
packer {
  required_version = ">= 1.6.0"
  required_plugins {
    qemu = { version = ">= 1.0.0", source = "github.com/hashicorp/qemu" }
  }
}
variable "region" {
  type    = string
  default = "cn-hangzhou"
}
variable "secret" {
  default   = "hunter2"
  sensitive = true
}
variable "sizes" {
  type    = list(number)
  default = [1, 2]
  validation {
    condition     = length(var.sizes) > 0
    error_message = "At least one size."
  }
}
locals {
  second = "${local.first}-b"
  first  = "a-${var.region}"
}
local "derived" {
  expression = "x${var.secret}"
}
data "null" "d" {
  input = local.second
}
source "qemu" "debian" {
  name     = source.name
  output   = "out-${data.null.d.output}"
  disks    = var.sizes
  qemuargs = [["-m", "512"]]
  dynamic "disk" {
    for_each = { a = 1, b = 2 }
    content {
      name = disk.key
      size = disk.value
    }
  }
}
source "null" "other" {}
build {
  name    = "node"
  sources = ["source.qemu.debian", "null.other"]
  source "qemu.debian" {
    name  = "second"
    extra = true
  }
  provisioner "shell" {
    only             = ["qemu.debian"]
    pause_before     = "10s"
    max_retries      = 2
    inline           = ["echo ${build.Host} ${source.name} {{build `ID`}}"]
    environment_vars = ["A=${var.region}"]
    override = {
      debian = { inline = ["overridden ${build.ID}"] }
    }
  }
  provisioner "file" {
    except  = ["null.other"]
    content = templatefile_is_not_needed_here
  }
  error-cleanup-provisioner "shell" { inline = ["clean"] }
  post-processor "manifest" {}
  post-processors {
    post-processor "checksum" { checksum_types = ["sha256"] }
    post-processor "compress" {
      name                = "zip"
      keep_input_artifact = true
    }
  }
}
"#;

fn good() -> String {
    TEMPLATE.replace("templatefile_is_not_needed_here", "jsonencode(var.sizes)")
}

#[test]
fn a_template_becomes_builds() {
    let template = loaded(&good(), &plain()).unwrap();
    let names: Vec<&str> = template.builds.iter().map(|build| build.name.as_str()).collect();
    assert_eq!(names, ["node.qemu.debian", "node.null.other", "node.qemu.second"]);
    let build = &template.builds[0];
    let fields = build.config.fields();
    assert_eq!(fields.string("name").unwrap().as_deref(), Some("debian"));
    assert_eq!(fields.string("output").unwrap().as_deref(), Some("out-a-cn-hangzhou-b"));
    let disks = fields.objects("disk").unwrap().unwrap();
    assert_eq!(disks[1].fields().string("name").unwrap().as_deref(), Some("b"));
    assert_eq!(build.provisioners.len(), 2);
    assert_eq!(build.provisioners[0].common.max_retries, 2);
    let facts = BuildFacts { id: "i-1".to_owned(), host: "h".to_owned(), ..BuildFacts::default() };
    let config = build.provisioners[0].config(&facts).unwrap();
    let fields = config.fields();
    assert_eq!(fields.strings("inline").unwrap().unwrap(), ["overridden i-1"]);
    assert_eq!(fields.strings("environment_vars").unwrap().unwrap(), ["A=cn-hangzhou"]);
    fields.finish().unwrap();
    assert_eq!(template.builds[1].provisioners.len(), 0);
    assert_eq!(template.builds[2].provisioners.len(), 1);
    assert!(template.builds[2].config.get("extra").is_some());
    let pipelines: Vec<usize> = build.post_processors.iter().map(Vec::len).collect();
    assert_eq!(pipelines, [1, 2]);
    assert_eq!(build.post_processors[1][1].common.keep_input_artifact, Some(true));
    assert!(build.error_cleanup.is_some());
    assert_eq!(template.sensitive, ["hunter2", "xhunter2"]);
}

#[test]
fn only_and_except_choose_builds() {
    let names = |only: &[&str], except: &[&str]| {
        let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let given = Given { only: list(only), except: list(except), ..plain() };
        let template = loaded(&good(), &given).unwrap();
        template.builds.iter().map(|build| (build.name.clone(), build.post_processors.len())).collect::<Vec<_>>()
    };
    assert_eq!(names(&["node.qemu.*"], &[]).len(), 2);
    assert_eq!(names(&["null.*"], &[]), [("node.null.other".to_owned(), 2)]);
    assert_eq!(names(&[], &["*.qemu.*"]).len(), 1);
    assert_eq!(names(&["*.debian"], &["manifest"]), [("node.qemu.debian".to_owned(), 1)]);
}

#[test]
fn variables_come_from_where_packer_takes_them() {
    let text = r#"
variable "a" { default = "default" }
variable "n" {
  type    = list(string)
  default = []
}
"#;
    let value = |env: &[(&str, &str)], auto: &[(&str, &str)], given: &Given, expression: &str| {
        let mut all = vec![("t.pkr.hcl", text)];
        all.extend(auto);
        console(expression, &files(&all), given, &world(env)).unwrap()
    };
    let auto = [("1.auto.pkrvars.hcl", "a = \"auto1\""), ("2.auto.pkrvars.hcl", "a = \"auto2\"\nzzz = 1")];
    let file = Given { var_files: vec![source("f.pkrvars.json", "{\"a\": \"file\"}")], ..plain() };
    assert_eq!(value(&[], &[], &plain(), "var.a"), "default");
    assert_eq!(value(&[("PKR_VAR_a", "env"), ("PKR_VAR_q", "x")], &[], &plain(), "var.a"), "env");
    assert_eq!(value(&[("PKR_VAR_a", "env")], &auto, &plain(), "var.a"), "auto2");
    assert_eq!(value(&[], &auto, &file, "var.a"), "file");
    let given =
        Given { var_files: file.var_files.clone(), ..with_vars(&[("a", "1"), ("a", "2"), ("n", "[\"x\", 1]")]) };
    assert_eq!(value(&[], &auto, &given, "var.a"), "2");
    assert_eq!(value(&[], &[], &given, "join(\"-\", var.n)"), "x-1");
    assert_eq!(value(&[], &[], &plain(), "\"${path.root} ${path.cwd} ${packer.version}\""), "/work/dir /work 1.6.6");
    let faults = loaded(text, &with_vars(&[("b", "1")])).unwrap_err();
    assert!(faults[0].to_string().contains("nobody declares a variable `b`"), "{}", faults[0]);
    let faults = loaded(text, &with_vars(&[("n", "{")])).unwrap_err();
    assert!(faults[0].place().source.name.contains("-var n"));
}

#[test]
fn mistakes_are_told_with_their_places() {
    let build = "source \"null\" \"x\" {}\nbuild { sources = [\"null.x\"] }\n";
    for (text, want) in [
        ("variable \"x\" {}\n", "a.pkr.hcl:1:1: the variable `x` has no value"),
        ("variable \"x\" { typ = string }\n", "`variable` has no attribute `typ`"),
        ("variable \"x\" {\n  type = strng\n}\n", "a.pkr.hcl:2:10: `strng` is no type"),
        ("variable \"x\" {\n type = number\n default = \"a\"\n}\n", "`default` is not of the right type"),
        ("variable \"x\" { default = 1 }\nvariable \"x\" { default = 2 }\n", "is declared twice"),
        ("locals {\n  a = local.b\n  b = local.a\n}\n", "refers to itself in the end"),
        ("locals { a = local.b }\n", "`local` has no attribute `b`"),
        ("locals { a = var.b }\n", "`var` has no attribute `b`"),
        ("locals { a = build.ID }\n", "there is no variable `build` here"),
        ("data \"amazon-ami\" \"x\" {}\n", "the data source `amazon-ami` is not supported: it asks AWS"),
        ("data \"http\" \"x\" {}\n", "`data \"http\"` needs a `url`"),
        ("data \"http\" \"x\" {\n url = \"http://h/\"\n}\n", "there is no network here"),
        ("packer { required_version = \">= 9\" }\n", "requires a version which is not 1.6.6"),
        ("sourc \"null\" \"y\" {}\n", "there is no block `sourc`"),
        ("source \"null\" {}\n", "`source` has 2 labels, not 1"),
        ("build { sources = [\"null.y\"] }\n", "there is no source `null.y`"),
        ("build {}\n", "this build has no source"),
        (
            "build {\n sources = [\"null.x\"]\n provisioner \"shell\" { inline = [var.q] }\n}\n",
            "`var` has no attribute `q`",
        ),
        (
            "build {\n sources = [\"null.x\"]\n name = \"b\"\n provisioner \"shell\" { inline = [build.Hst] }\n}\n",
            "`build` has no attribute `Hst`",
        ),
        (
            "variable \"v\" {\n default = 1\n validation {\n condition = var.v > 1\n error_message = \"Too small.\"\n }\n}\n",
            "is not valid: Too small.",
        ),
    ] {
        let said = wrong(&format!("{text}{build}"));
        assert!(said.contains(want), "{text}: {said}");
    }
    let said = wrong("variable \"a\" { x = 1 }\nlocals { b = }\nsource \"null\" \"x\" { y = [ }\n");
    assert!(said.lines().count() >= 2, "{said}");
}

#[test]
fn a_sensitive_value_is_in_no_message() {
    let text = "variable \"p\" {\n  type = number\n  sensitive = true\n}\n";
    let faults = loaded(text, &with_vars(&[("p", "hunter2")])).unwrap_err();
    for fault in faults {
        assert!(!fault.render(false).contains("hunter2"), "{}", fault.render(false));
    }
}

#[test]
fn the_json_form_means_the_same() {
    let text = r#"{
  "variable": {"a": {"type": "list(string)", "default": ["x", "${y}"]}, "s": {"default": "t"}},
  "locals": {"l": "${join(\",\", var.a)}-${var.s}"},
  "source": {"null": {"one": {"note": "${local.l}"}}},
  "build": {"sources": ["null.one"], "provisioner": [{"shell": {"inline": ["echo ${build.ID}"]}}]}
}"#;
    let template = load(&files(&[("a.pkr.json", text)]), &plain(), &world(&[]));
    let template = template.unwrap_or_else(|faults| panic!("{}", faults[0].render(false)));
    let config = &template.builds[0].config;
    assert_eq!(config.fields().string("note").unwrap().as_deref(), Some("x,${y}-t"));
    let facts = BuildFacts { id: "7".to_owned(), ..BuildFacts::default() };
    let config = template.builds[0].provisioners[0].config(&facts).unwrap();
    assert_eq!(config.fields().strings("inline").unwrap().unwrap(), ["echo 7"]);
}

fn packer(directory: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new("packer")
        .args(arguments)
        .current_dir(directory)
        .env("CHECKPOINT_DISABLE", "1")
        .env("PACKER_NO_COLOR", "1")
        .env("PACKER_CONFIG_DIR", directory)
        .output()
        .expect("packer is missing: install the package packer");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

const INSPECTED: &str = r#"
variable "a" {
  default = "x"
  type    = string
}
variable "s" {
  default   = "sec"
  sensitive = true
}
variable "l" { default = [1, "b"] }
variables {
  m = { a = 1 }
}
locals { z = "${var.a}-y" }
source "null" "one" { communicator = "none" }
source "null" "two" { communicator = "none" }
build {
  name        = "bb"
  description = "what"
  sources     = ["source.null.one", "null.two"]
  provisioner "shell-local" {
    inline = ["echo ${build.ID} ${source.name}"]
    only   = ["null.one"]
  }
  provisioner "shell-local" { inline = ["true"] }
  post-processor "manifest" {}
  post-processors {
    post-processor "checksum" { name = "cc" }
    post-processor "manifest" {}
  }
}
build {
  source "null.one" {
    name = "other"
  }
}
"#;

#[test]
fn inspect_prints_what_packer_prints() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a.pkr.hcl"), INSPECTED).unwrap();
    let (ok, theirs) = packer(directory.path(), &["inspect", "a.pkr.hcl"]);
    assert!(ok, "{theirs}");
    let ours = inspect(&files(&[("a.pkr.hcl", INSPECTED)]), &plain(), &world(&[])).unwrap();
    assert_eq!(ours.trim_end(), theirs.trim_end());
}

#[test]
fn both_accept_and_refuse_the_same_directories() {
    let build = "source \"null\" \"x\" { communicator = \"none\" }\nbuild { sources = [\"null.x\"] }\n";
    let cases: &[(&[(&str, &str)], bool)] = &[
        (&[("a.pkr.hcl", build)], true),
        (&[("a.pkr.hcl", build), ("v.pkr.hcl", "variable \"v\" { type = string }\n")], false),
        (&[("a.pkr.hcl", build), ("v.pkr.hcl", "variable \"v\" {}\n"), ("x.auto.pkrvars.hcl", "v = 1\n")], true),
        (&[("a.pkr.hcl", build), ("b.pkr.hcl", "locals { x = upper(\"a\", 1) }\n")], false),
        (&[("a.pkr.hcl", build), ("b.pkr.hcl", "source \"null\" \"x\" {}\n")], false),
        (
            &[("a.pkr.hcl", "source \"null\" \"x\" { communicator = \"none\" }\nbuild { sources = [\"null.y\"] }\n")],
            false,
        ),
        (&[("a.pkr.hcl", build), ("b.pkr.hcl", "foo {}\n")], false),
        (&[("a.pkr.hcl", build), ("v.pkr.hcl", "variable \"v\" {\n  type = number\n  default = \"x\"\n}\n")], false),
        (&[("a.pkr.hcl", build), ("v.pkr.hcl", "variable \"v\" {\n  type = number\n  default = \"5\"\n}\n")], true),
        (&[("a.pkr.hcl", build), ("l.pkr.hcl", "locals {\n  a = local.b\n  b = \"x\"\n}\n")], true),
        (
            &[(
                "a.pkr.json",
                "{\"source\": {\"null\": {\"x\": {\"communicator\": \"none\"}}}, \"build\": {\"sources\": [\"null.x\"]}}",
            )],
            true,
        ),
    ];
    for (texts, good) in cases {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in *texts {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let (theirs, said) = packer(directory.path(), &["validate", "."]);
        let disk: SharedWorld = Arc::new(Disk(directory.path().to_owned()));
        let ours = Files::gather(".", disk.as_ref()).map(|files| load(&files, &plain(), &disk)).unwrap();
        assert_eq!(theirs, *good, "{texts:?}: {said}");
        assert_eq!(ours.is_ok(), *good, "{texts:?}: {:?}", ours.err().map(|faults| faults[0].to_string()));
    }
}

#[test]
fn mistakes_of_files_with_secrets_do_not_show_them() {
    let text = "variable \"pw\" {\n  type = string\n  sensitive = true\n  default = \"\"\n}\nvariable \"n\" {\n  \
                type = number\n  default = 1\n}\nsource \"null\" \"a\" {\n  communicator = \"none\"\n}\nbuild {\n  \
                sources = [\"source.null.a\"]\n}\n";
    for (file, told) in [
        ("pw = [\"hush-1\"]\n", "it is not shown"),
        ("n = \"x\"\npw = \"hush-2\nn = 1\n", "v.pkrvars.hcl:2"),
        ("pww = \"hush-3\"\n", "`pww`"),
        ("n = \"hush-4\"\n", "`n` is not of its type"),
        ("pw = hush + 1\n", "v.pkrvars.hcl:1"),
        ("pw = <<EOT\nhush-5\n", "v.pkrvars.hcl:"),
    ] {
        let given = Given { var_files: vec![source("v.pkrvars.hcl", file)], ..plain() };
        let shown: String = match loaded(text, &given) {
            Ok(template) => template.warnings.iter().map(|fault| fault.render(false)).collect(),
            Err(faults) => faults.iter().map(|fault| fault.render(false)).collect(),
        };
        assert!(shown.contains(told) && !shown.contains("hush"), "{file}: {shown}");
    }
    let given = Given { var_files: vec![source("v.pkrvars.hcl", "n = \"seen\"\n")], ..plain() };
    let shown = loaded(&text.replace("sensitive = true", ""), &given).expect_err("a text is no number");
    assert!(shown[0].render(false).contains("seen"), "{}", shown[0]);
}

#[test]
fn patterns_that_match_nothing_are_told() {
    let text = "source \"null\" \"one\" {\n  communicator = \"none\"\n}\nbuild {\n  name = \"all\"\n  sources = \
                [\"source.null.one\"]\n  post-processor \"manifest\" {\n    name = \"record\"\n  }\n}\n";
    let warned = |only: &[&str], except: &[&str]| {
        let owned = |patterns: &[&str]| patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        let given = Given { only: owned(only), except: owned(except), ..plain() };
        let template = loaded(text, &given).expect("a template");
        (template.builds.len(), template.warnings.iter().map(|fault| fault.render(false)).collect::<String>())
    };
    for (only, except) in [(&["null.*"][..], &["record"][..]), (&["all.null.one"], &[]), (&[], &["manifest"])] {
        assert_eq!(warned(only, except), (1, String::new()), "{only:?} {except:?}");
    }
    let (builds, told) = warned(&["null.on"], &[]);
    assert_eq!(builds, 0);
    assert!(told.contains("`null.on` matches no build") && told.contains("did you mean `null.one`?"), "{told}");
}

#[test]
fn what_is_not_given_is_unknown_to_whoever_only_looks() {
    let text = "variable \"r\" {\n  type = string\n  validation {\n    condition = length(var.r) > 2\n    error_message = \
                \"Short.\"\n  }\n}\nlocals {\n  x = \"a-${var.r}\"\n}\ndata \"http\" \"d\" {\n  url = \
                \"http://${var.r}/\"\n}\nsource \"null\" \"a\" {\n  ssh_host = local.x\n  dynamic \"k\" {\n    \
                for_each = [var.r]\n    content {\n      v = data.http.d.body\n    }\n  }\n}\nbuild {\n  sources = \
                [\"source.null.a\"]\n}\n";
    let files = files(&[("a.pkr.hcl", text)]);
    let looking = Given { unknown: true, ..plain() };
    let shown = inspect(&files, &looking, &world(&[])).unwrap_or_else(|faults| panic!("{}", crate::rendered(&faults)));
    assert!(shown.contains("var.r: \"<unknown>\"") && shown.contains("local.x: \"<unknown>\""), "{shown}");
    assert!(shown.contains("null.a"), "{shown}");
    let given = Given { unknown: true, ..with_vars(&[("r", "eu")]) };
    let told = inspect(&files, &given, &world(&[])).expect_err("its value is too short");
    assert!(crate::rendered(&told).contains("Short."), "{}", crate::rendered(&told));
    assert!(inspect(&files, &plain(), &world(&[])).is_err());
}
