//! Templates in HCL2.

use crate::Node;

const TEXT: &str = r#"
variable "who" {
  type    = string
  default = "nobody"
  validation {
    condition     = length(var.who) > 2
    error_message = "The name is too short."
  }
}

variable "password" {
  type      = string
  default   = "pa55word-of-node"
  sensitive = true
}

locals {
  greeting = "hello ${upper(var.who)}"
}

source "offline" "node" {
  base = "base.tar"
}

build {
  sources = ["source.offline.node"]

  provisioner "shell" {
    inline           = ["echo ${local.greeting} > /greeting", "echo $P > /dev/null", "echo password is ${var.password}"]
    environment_vars = ["P=${var.password}"]
  }

  dynamic "provisioner" {
    for_each = ["a", "b"]
    labels   = ["shell"]
    content {
      inline = ["echo ${provisioner.value} >> /letters"]
    }
  }

  provisioner "file" {
    source      = "/greeting"
    destination = "${path.root}/greeting"
    direction   = "download"
  }
}
"#;

fn build(node: &Node, text: &str, more: &[&str]) -> kiln_testkit::Output {
    node.write("t.pkr.hcl", text);
    let mut args = vec!["node", "build", "-color=false"];
    args.extend(more);
    args.push("t.pkr.hcl");
    node.t.kiln(&args)
}

#[test]
fn a_template_is_built() {
    let node = Node::new();
    let text = TEXT.replace("  dynamic \"provisioner\" {\n    for_each = [\"a\", \"b\"]\n    labels   = [\"shell\"]\n    content {\n      inline = [\"echo ${provisioner.value} >> /letters\"]\n    }\n  }\n", "");
    let out = build(&node, &text, &["-var", "who=world"]).ok();
    let greeting = std::fs::read_to_string(node.t.context().join("greeting")).unwrap();
    assert_eq!(greeting, "hello WORLD\n", "{out}");
    assert!(!format!("{out}").contains("pa55word-of-node"), "{out}");
    assert!(out.stdout.contains("password is <sensitive>"), "{out}");
    assert!(out.stdout.contains("offline.node"), "{out}");
}

#[test]
fn mistakes_are_told_with_their_places() {
    let node = Node::new();
    let out = build(&node, TEXT, &["-var", "who=me"]).exits(1);
    assert!(out.stderr.contains("The name is too short."), "{out}");
    // `dynamic` cannot make provisioners, in Packer neither.
    let out = build(&node, TEXT, &["-var", "who=world"]).exits(1);
    assert!(out.stderr.contains("t.pkr.hcl:") && out.stderr.contains("dynamic"), "{out}");
    let out = build(
        &node,
        "source \"null\" \"a\" {\n  communicator = var.nope\n}\nbuild {\n  sources = [\"source.null.a\"]\n}\n",
        &[],
    )
    .exits(1);
    assert!(out.stderr.contains("t.pkr.hcl:2") && out.stderr.contains("nope"), "{out}");
    let out = build(&node, "build {\n  sources = [\n", &[]).exits(1);
    assert!(out.stderr.contains("t.pkr.hcl:"), "{out}");
}

#[test]
fn a_directory_is_a_template() {
    let node = Node::new();
    node.write("d/a.pkr.hcl", "source \"null\" \"a\" {\n  communicator = \"none\"\n}\n");
    node.write("d/b.pkr.hcl", "build {\n  sources = [\"source.null.a\"]\n  provisioner \"shell-local\" {\n    inline = [\"echo ${var.word}\"]\n  }\n}\nvariable \"word\" {}\n");
    node.write("d/x.auto.pkrvars.hcl", "word = \"automatic\"\n");
    let out = node.t.kiln(&["node", "build", "-color=false", "d"]).ok();
    assert!(out.stdout.contains("automatic"), "{out}");
    let out = node.t.kiln(&["node", "inspect", "d"]).ok();
    assert!(out.stdout.contains("word") && out.stdout.contains("null.a"), "{out}");
    let out = node.t.kiln(&["node", "inspect", "-machine-readable", "d"]).exits(2);
    assert!(out.stderr.contains("HCL2"), "{out}");
    let _ = node.t.kiln(&["node", "validate", "d"]).ok();
}
