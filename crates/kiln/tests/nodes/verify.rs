//! Profiles that a build must pass.

use crate::Node;

const TEMPLATE: &str = r#"{"builders": [{"type": "offline", "name": "node"}], "provisioners": [
    {"type": "shell", "inline": ["mkdir -p /opt"]},
    {"type": "kiln-verify", "profile": ["cis-basics"], "report": "report.json"VERIFY}]}"#;

#[test]
fn a_provisioner_lets_what_passes_go_on_and_stops_the_rest() {
    let node = Node::new();
    let made = node.build(&TEMPLATE.replace("VERIFY", ""), &[]).exits(1);
    assert!(made.stdout.contains("==> node: Verifying: cis-basics"), "{made}");
    assert!(made.stdout.contains("it does not pass as cis-basics"), "{made}");
    assert!(!node.t.context().join("output-node").exists(), "nothing is left of it");
    let report = std::fs::read_to_string(node.t.context().join("report.json")).unwrap();
    assert!(report.contains("\"verdict\": \"fail\""), "{report}");
    let made = node.build(&TEMPLATE.replace("VERIFY", r#", "ignore": ["all"]"#), &[]).ok();
    assert!(made.stdout.contains("    node: WARN") || made.stdout.contains("    node: PASS"), "{made}");
    assert!(node.image().exists());
}

#[test]
fn mistakes_of_the_provisioner_have_their_place() {
    let node = Node::new();
    for (what, said) in [
        (r#"{"type": "kiln-verify"}"#, "profile"),
        (r#"{"type": "kiln-verify", "profile": "kubeadn"}"#, "did you mean `kubeadm`?"),
        (r#"{"type": "kiln-verify", "profile": "ack", "report": "a.pdf"}"#, "use .json"),
        (r#"{"type": "kiln-verify", "profile": "ack", "fail": true}"#, "fail"),
    ] {
        let out = node.provision(what, &[]).exits(1);
        assert!(out.stderr.contains("t.json:1") && out.stderr.contains(said), "{what}: {out}");
    }
}

#[test]
fn the_command_line_asks_for_profiles_too() {
    let node = Node::new();
    node.write(
        "own.yaml",
        "name: own\nchecks:\n  - {id: own.marker, title: it is marked, file: {path: /marker, exists: true}}\n",
    );
    let marked = r#"{"type": "shell", "inline": ["touch /marker"]}"#;
    let other = r#"{"type": "shell", "inline": ["true"]}"#;
    let options = ["-verify", "own.yaml", "-verify-report=own.html"];
    let out = node.provision(other, &options).exits(1);
    assert!(out.stdout.contains("it does not pass as own: 1 check failed"), "{out}");
    assert!(!node.t.context().join("output-node").exists());
    let out = node.provision(marked, &options).ok();
    assert!(out.stdout.contains("Verifying: own"), "{out}");
    assert!(std::fs::read_to_string(node.t.context().join("own.html")).unwrap().contains("own.marker"));
    let bad = node.provision(marked, &["-verify", "kubeadn"]).exits(2);
    assert!(bad.stderr.contains("did you mean `kubeadm`?"), "{bad}");
    let bad = node.provision(marked, &["-verify-report=own.html"]).exits(2);
    assert!(bad.stderr.contains("a report needs a profile"), "{bad}");
}

#[test]
fn each_build_has_its_report_and_a_disk_is_only_asked_for_where_there_is_one() {
    let node = Node::new();
    node.write(
        "own.yaml",
        "name: own\nchecks:\n  - {id: own.hosts, title: there are hosts, file: {path: /etc/hosts, exists: true}}\n",
    );
    let two = r#"{"builders": [{"type": "offline", "name": "a"}, {"type": "offline", "name": "b"}]}"#;
    let _ = node.build(two, &["-verify", "own.yaml", "-verify-report=r.json"]).ok();
    for name in ["r-a.json", "r-b.json"] {
        assert!(std::fs::read_to_string(node.t.context().join(name)).unwrap().contains("own.hosts"), "{name}");
    }
    assert!(!node.t.context().join("r.json").exists());
    let out = node.provision("", &["-verify", "disk"]).exits(1).stdout;
    assert!(out.contains("the profile `disk` is asked for, and the result is no disk"), "{out}");
    assert!(!node.t.context().join("output-node").exists());
}

/// What docs/node-images.md begins with.
#[test]
fn the_tar_of_a_build_is_judged() {
    let node = Node::new();
    node.write(
        "own.yaml",
        "name: own\nchecks:\n  - {id: own.marker, title: it is marked, file: {path: /marker, exists: true}}\n",
    );
    let _ = node.provision(r#"{"type": "shell", "inline": ["touch /marker"]}"#, &[]).ok();
    let verify = |target: &str| node.t.kiln(&["node", "verify", target, "-p", "own.yaml"]);
    assert!(verify("output-node/packer-node.tar").ok().stdout.contains("own: 1 of 1 passed"));
    // The base, compressed, has no such file.
    let _ = std::process::Command::new("gzip").arg("-k").arg(node.t.context().join("base.tar")).status().unwrap();
    let out = verify("base.tar.gz").exits(1).stdout;
    assert!(out.contains("own.marker"), "{out}");
    // Nothing of it has a name, and an archive of images still is one.
    assert_eq!(node.t.kiln(&["images", "-q"]).ok().stdout, "");
    let _ = node.provision(r#"{"type": "shell", "inline": ["touch /marker"]}"#, &["-force", "-format", "oci"]).ok();
    assert!(verify("output-node/packer-node.oci.tar").ok().stdout.contains("own: 1 of 1 passed"));
}
