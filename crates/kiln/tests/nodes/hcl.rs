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

/// A server that answers one request with what `answer` makes of it.
fn server(answer: impl Fn(&str) -> String + Send + 'static) -> String {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut text, mut buf) = (String::new(), [0; 4096]);
            while !text.contains("\r\n\r\n") || (text.starts_with("POST") && !text.ends_with("END")) {
                match stream.read(&mut buf).unwrap() {
                    0 => break,
                    n => text += &String::from_utf8_lossy(&buf[..n]),
                }
            }
            stream.write_all(answer(&text).as_bytes()).unwrap();
        }
    });
    format!("http://{address}")
}

#[test]
fn data_of_addresses_is_asked_for() {
    let url = server(|request| {
        let body = match request {
            r if r.starts_with("POST /echo ") && r.ends_with("asked END") => "posted",
            r if r.starts_with("GET /release ") && r.contains("x-token: s3cret") => "{\"version\": \"1.31.2\"}",
            r if r.starts_with("GET /large ") => return format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(9 << 20)),
            _ => return "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(),
        };
        format!("HTTP/1.1 200 OK\r\nx-kind: json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    });
    let node = Node::new();
    let template = |data: &str| format!("locals {{\n  host = \"{url}\"\n}}\n{data}");
    let good = template(
        "data \"http\" \"release\" {\n  url = \"${local.host}/release\"\n  request_headers = { X-Token = \"s3cret\" }\n}\n\
         data \"http\" \"echo\" {\n  url = \"${local.host}/echo\"\n  method = \"POST\"\n  request_body = \"${data.http.release.response_headers[\"x-kind\"]} asked END\"\n}\n\
         locals {\n  version = jsondecode(data.http.release.body).version\n  posted = data.http.echo.body\n}\n",
    );
    node.write("d.pkr.hcl", &good);
    let out = node.t.kiln_with_input(&["node", "console", "d.pkr.hcl"], b"local.version\nlocal.posted\n").ok();
    assert_eq!(out.stdout, "1.31.2\nposted\n");
    for (data, said) in [
        ("data \"http\" \"x\" {\n  url = \"${local.host}/none\"\n}\n", "it answers 404 Not Found"),
        ("data \"http\" \"x\" {\n  url = \"${local.host}/large\"\n}\n", "more than 8 MiB"),
        ("data \"http\" \"x\" {\n  url = \"file:///etc/passwd\"\n}\n", "no http:// or https:// address"),
        ("data \"http\" \"x\" {\n  url = \"http://127.0.0.1:1/\"\n}\n", "http://127.0.0.1:1/: "),
        (
            "data \"http\" \"x\" {\n  url = \"http://h/\"\n  method = \"DELETE\"\n}\n",
            "a template is read more than once",
        ),
        ("data \"http\" \"x\" {\n}\n", "needs a `url`"),
        ("data \"http\" \"x\" {\n  urls = \"y\"\n}\n", "did you mean `url`?"),
        ("data \"amazon-ami\" \"x\" {\n}\n", "it asks AWS"),
        ("data \"hcp-packer-image\" \"x\" {\n}\n", "it asks HashiCorp's cloud"),
        ("data \"htp\" \"x\" {\n}\n", "did you mean `http`?"),
    ] {
        node.write("e.pkr.hcl", &template(data));
        let out = node.t.kiln(&["node", "validate", "e.pkr.hcl"]).exits(1);
        assert!(out.stderr.contains(said) && out.stderr.contains("e.pkr.hcl:"), "{said}: {out}");
    }
}
