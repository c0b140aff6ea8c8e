//! `kiln node fmt`, `console` and `export`: beside packer where it has the verb.

use std::process::{Command, Stdio};

use kiln_testkit::TestContext;

const MESSY: &str =
    "variable \"x\" {\ndefault=\"a\"\n   type = string\n}\n# end\nlocals {\n  long_name=1\n  b = 2 # two\n}\n";

fn context() -> TestContext {
    let t = TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln"));
    t.write("a.pkr.hcl", 0o640, MESSY);
    std::fs::create_dir(t.context().join("sub")).unwrap();
    t.write("sub/v.pkrvars.hcl", 0o644, "a=1\n bbb=2\n");
    t.write("sub/other.hcl", 0o644, "a=1\n");
    t
}

/// What packer prints, and its exit code.
fn packer(t: &TestContext, args: &[&str], input: &str) -> (String, i32) {
    let home = tempfile::tempdir().unwrap();
    let child = Command::new("packer")
        .args(args)
        .current_dir(t.context())
        .env("HOME", home.path())
        .env("CHECKPOINT_DISABLE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.expect("`packer` cannot be run: install the package `packer` of Debian 12");
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    (String::from_utf8(out.stdout).unwrap(), out.status.code().unwrap())
}

#[test]
fn fmt_says_and_writes_what_packer_does() {
    let t = context();
    let read = |path: &str| std::fs::read_to_string(t.context().join(path)).unwrap();
    for args in [&["-check", "a.pkr.hcl"][..], &["-check", "."], &["-diff", "-write=false", "a.pkr.hcl"]] {
        let (stdout, code) = packer(&t, &[&["fmt"], args].concat(), "");
        let ours = t.kiln(&[&["node", "fmt"], args].concat()).exits(code);
        // A directory is shown as packer joins it.
        assert_eq!(ours.stdout.replace("./", ""), stdout, "{args:?}");
        assert_eq!(read("a.pkr.hcl"), MESSY, "{args:?}");
    }
    let _ = t.kiln(&["node", "fmt", "."]).ok();
    let ours = read("a.pkr.hcl");
    t.write("a.pkr.hcl", 0o640, MESSY);
    let _ = packer(&t, &["fmt", "."], "");
    assert_eq!(ours, read("a.pkr.hcl"));
    assert_eq!(t.kiln(&["node", "fmt", "-check", "."]).ok().stdout, "");
    assert_eq!(read("sub/v.pkrvars.hcl"), "a=1\n bbb=2\n", "directories in directories are not entered");
}

#[test]
fn fmt_goes_down_reads_a_pipe_and_names_what_is_broken() {
    let t = context();
    let out = t.kiln(&["node", "fmt", "-recursive", "-check", "."]).exits(3);
    assert_eq!(out.stdout, "a.pkr.hcl\nsub/v.pkrvars.hcl\n");
    let _ = t.kiln(&["node", "fmt", "-recursive", "."]).ok();
    let read = |path: &str| std::fs::read_to_string(t.context().join(path)).unwrap();
    assert_eq!((&*read("sub/v.pkrvars.hcl"), &*read("sub/other.hcl")), ("a   = 1\nbbb = 2\n", "a=1\n"));
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&t.context().join("a.pkr.hcl").metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o640);
    assert_eq!(t.kiln_with_input(&["node", "fmt", "-"], b"a=1\n").ok().stdout, "a = 1\n");
    let _ = t.kiln_with_input(&["node", "fmt", "-check", "-"], b"a=1\n").exits(3);
    let _ = t.kiln_with_input(&["node", "fmt", "-check", "-"], b"a = 1\n").ok();
    t.write("bad.pkr.hcl", 0o644, "a = {\n");
    let out = t.kiln(&["node", "fmt", "."]).exits(1);
    assert!(out.stderr.contains("bad.pkr.hcl:"), "{out}");
    let out = t.kiln(&["node", "fmt", "sub/other.hcl"]).exits(1);
    assert!(out.stderr.contains("not HCL2 by its name"), "{out}");
    let _ = t.kiln(&["node", "fmt", "nothere"]).exits(1);
}

#[test]
fn the_console_answers_as_packers_does() {
    let t = context();
    t.write("b.pkr.hcl", 0o644, "variable \"y\" {\n  default = [1, 2]\n}\n");
    for line in ["var.x", "upper(var.x)", "1 + 1", "\"a${var.x}\"", "[1, \"a\"]", "var.y[1]"] {
        let input = format!("{line}\n");
        let (theirs, _) = packer(&t, &["console", "--config-type=hcl2", "."], &input);
        let ours = t.kiln_with_input(&["node", "console", "."], input.as_bytes()).ok();
        assert_eq!(ours.stdout, theirs, "{line}");
    }
    t.write(
        "t.json",
        0o644,
        r#"{"variables": {"v": "q", "w": "{{user `v`}}-w"}, "builders": [{"type": "null", "communicator": "none"}]}"#,
    );
    for line in ["{{user `w`}}", "abc {{upper `x`}}", "plain"] {
        let input = format!("{line}\n");
        let (theirs, _) = packer(&t, &["console", "-var", "v=z", "t.json"], &input);
        let ours = t.kiln_with_input(&["node", "console", "-var", "v=z", "t.json"], input.as_bytes()).ok();
        assert_eq!(ours.stdout, theirs, "{line}");
    }
}

#[test]
fn the_console_goes_on_after_mistakes_and_tells_them() {
    let t = context();
    let out = t.kiln_with_input(&["node", "console", "-var", "x=q", "a.pkr.hcl"], b"var.x\nfoo\n\nlocal.b\nexit\n1\n");
    let out = out.exits(1);
    assert_eq!(out.stdout, "q\n2\n");
    assert!(out.stderr.contains("foo"), "{out}");
    let out = t.kiln_with_input(&["node", "console", "-config-type=hcl2"], b"max(1, 3)\n").ok();
    assert_eq!(out.stdout, "3\n");
    let out = t.kiln_with_input(&["node", "console"], b"{{upper `a`}}\n{{user `nothere`}}\n").exits(1);
    assert_eq!(out.stdout, "A\n");
    assert!(out.stderr.contains("<console-input>:1"), "{out}");
    let out = t.kiln_with_input(&["node", "console", "a.pkr.hcl"], b"variables\n").ok();
    assert!(out.stdout.contains("var.x: \"a\"") && out.stdout.contains("local.long_name: \"1\""), "{out}");
    t.write("broken.pkr.hcl", 0o644, "variable \"x\" {\n");
    let out = t.kiln_with_input(&["node", "console", "broken.pkr.hcl"], b"1\n").exits(1);
    assert!(out.stderr.contains("broken.pkr.hcl:"), "{out}");
}

#[test]
fn export_reads_what_the_manifest_of_a_build_says() {
    let node = crate::Node::new();
    let _ = node
        .build(
            &crate::template(
                r#"{"type": "shell", "inline": ["true"]}"#,
                r#", "post-processors": [{"type": "manifest", "custom_data": {"kubernetes_version": "1.31.2"}}]"#,
            ),
            &[],
        )
        .ok();
    let export = |args: &[&str]| node.t.kiln(&[&["node", "export"], args].concat());
    let join = export(&["--for", "kubeadm"]).ok().stdout;
    assert!(join.contains("kind: \"JoinConfiguration\"") && join.contains("v1beta4"), "{join}");
    let vars = export(&["--for", "terraform", "--json"]).ok().json();
    assert_eq!(vars["image_file"], "output-node/packer-node.tar");
    let out = export(&["--for", "kube-up"]).exits(1);
    assert!(out.stderr.contains("an image of `offline` is not for kube-up"), "{out}");
    let out = export(&["--for", "cluster-api", "output-node"]).exits(1);
    assert!(out.stderr.contains("--set url="), "{out}");
    let out = export(&["--for", "terrafrom"]).exits(2);
    assert!(out.stderr.contains("did you mean `terraform`?"), "{out}");
    let _ = export(&["--for", "terraform", "--build", "other"]).exits(1);
    node.write("packer-manifest.json", "{\"builds\": 1}");
    let out = export(&["--for", "terraform"]).exits(1);
    assert!(out.stderr.contains("packer-manifest.json: is no manifest"), "{out}");
}
