//! Templates that are wrong, and what is said of those that are not.

use crate::{Node, template};

#[test]
fn mistakes_have_their_place() {
    let node = Node::new();
    let provisioner = |block: &str| template(block, "");
    for (text, wanted) in [
        (provisioner(r#"{"type": "shel", "inline": ["true"]}"#), "did you mean `shell`?"),
        (provisioner(r#"{"type": "shell", "inlin": ["true"]}"#), "Either a script file or inline script"),
        (provisioner(r#"{"type": "shell", "inline": ["true"], "scrips": []}"#), "unknown key `scrips`"),
        (provisioner(r#"{"type": "shell", "script": "gone.sh"}"#), "Bad script 'gone.sh'"),
        (provisioner(r#"{"type": "shell", "inline": ["a"], "script": "t.json"}"#), "not both"),
        (provisioner(r#"{"type": "shell", "inline": ["a"], "environment_vars": ["A"]}"#), "not in format `key=value`"),
        (provisioner(r#"{"type": "shell", "inline": ["a"], "valid_exit_codes": [-1]}"#), "is no exit code"),
        (provisioner(r#"{"type": "file", "source": "gone", "destination": "/x"}"#), "Bad source 'gone'"),
        (provisioner(r#"{"type": "file", "source": "t.json"}"#), "Destination must be specified"),
        (provisioner(r#"{"type": "ansible", "playbook_file": "x"}"#), "playbook_file: x is invalid"),
        (provisioner(r#"{"type": "shell", "inline": ["{{user `gone`}}"]}"#), "gone"),
        (template("", r#", "post-processors": [{"type": "compress", "format": "rar"}]"#), "no format `rar`"),
        (template("", r#", "post-processors": [{"type": "checksum", "checksum_types": ["sha25"]}]"#), "did you mean"),
    ] {
        let out = node.build(&text, &[]).exits(1);
        assert!(out.stderr.contains(wanted), "{wanted:?} in\n{}", out.stderr);
        assert!(out.stderr.contains("t.json:"), "{}", out.stderr);
        assert_eq!(out.stdout, "", "{wanted}");
        assert!(!node.t.context().join("output-node").exists());
    }
}

#[test]
fn bases_and_formats_that_cannot_be_are_refused() {
    let node = Node::new().file("disk.qcow2", "QFI\u{fb}").file("t.json", &template("", ""));
    std::fs::write(node.t.context().join("disk.qcow2"), b"QFI\xfb\0\0\0\x03").unwrap();
    for (args, wanted) in [
        (&["-base", "./gone"][..], "no such file or directory"),
        (&["-base", "disk.qcow2"], "qcow2 image"),
        (&["-base", "base.tar", "-format", "vdi"], "writes no such disks"),
        (&["-base", "base.tar", "-format", "tarr"], "did you mean `tar`?"),
        (&["-base", "base.tar", "-builder", "qemu"], "only `offline` can stand in"),
        (&[], "has no base"),
    ] {
        let mut line = vec!["node", "build", "-builder", "offline"];
        if args.contains(&"-builder") {
            line.truncate(2);
        }
        line.extend(args);
        line.push("t.json");
        let out = node.t.kiln(&line);
        let text = format!("{}{}", out.stdout, out.stderr);
        assert!(out.code != 0 && text.contains(wanted), "{wanted:?} in\n{text}");
    }
}

#[test]
fn what_is_in_the_way_is_removed_with_force_only() {
    let node = Node::new().file("output-node/mine", "precious");
    let out = node.provision("", &[]).exits(1).stdout;
    assert!(out.contains("Output directory already exists: output-node"), "{out}");
    assert_eq!(std::fs::read_to_string(node.t.context().join("output-node/mine")).unwrap(), "precious");
    let _ = node.provision("", &["-force"]).ok();
    assert!(!node.t.context().join("output-node/mine").exists());
}

#[test]
fn templates_are_validated_and_inspected() {
    let node = Node::new().file("t.json", &template(r#"{"type": "shell", "inline": ["true"]}"#, ""));
    let out = node.t.kiln(&["node", "validate", "-base", "base.tar", "t.json"]).ok();
    assert_eq!(out.stdout, "The configuration is valid.\n");
    let out = node.t.kiln(&["node", "validate", "-syntax-only", "t.json"]).ok();
    assert_eq!(out.stdout, "The configuration is valid.\n");
    let out = node.t.kiln(&["node", "inspect", "t.json"]).ok();
    assert!(out.stdout.contains("node") && out.stdout.contains("shell"), "{}", out.stdout);
    let _ = node.t.kiln(&["node", "validate", "-base", "base.tar", "gone.json"]).exits(1);
}

#[test]
fn a_template_may_come_through_a_pipe_and_programs_are_told_its_mistakes() {
    use std::io::Write;
    let t = kiln_testkit::TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln"));
    let piped = |args: &[&str], text: &str| {
        let mut command = t.command(args);
        let pipe = std::process::Stdio::piped;
        let mut child = command.stdin(pipe()).stdout(pipe()).stderr(pipe()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let out = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (out.status.code(), text(&out.stdout), text(&out.stderr))
    };
    let null = r#"{"builders": [{"type": "null", "name": "a", "communicator": "none"},
        {"type": "null", "name": "b", "communicator": "none"}],
        "provisioners": [{"type": "shell-local", "inline": ["echo dir {{template_dir}}"]}]}"#;
    let (code, out, err) = piped(&["node", "build", "-only=a,b", "-except=b", "-"], null);
    let line = format!("    a: dir {}\n", t.context().canonicalize().unwrap().display());
    assert!(code == Some(0) && out.contains(&line) && !out.contains("b: dir"), "{out}{err}");
    let (code, _, err) = piped(&["node", "validate", "-"], "{");
    assert!(code == Some(1) && err.contains("standard input:1:2"), "{err}");
    let (code, out, err) = piped(&["node", "build", "-machine-readable", "-"], &null.replace("inline", "inlin"));
    assert!(code == Some(1) && err.is_empty() && out.contains(",,ui,error,error: "), "{out}{err}");
    let (code, out, _) = piped(&["node", "build", "-machine-readable", "-"], null);
    assert!(code == Some(0) && !out.contains("in this color") && !out.contains(",ui,say,\n"), "{out}");
    let (code, out, _) = piped(&["node", "validate", "-machine-readable", "-"], null);
    assert!(code == Some(0) && out.ends_with(",,ui,say,The configuration is valid.\n"), "{out}");
}
