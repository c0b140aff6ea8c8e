//! `file`, and what runs on this machine.

use crate::Node;

#[test]
fn files_go_there_and_come_back() {
    let node = Node::new().file("tree/a.txt", "a").file("tree/sub/b $x.txt", "b").file("one [1].conf", "one");
    let provisioners = r#"
        {"type": "file", "source": "tree", "destination": "/opt"},
        {"type": "file", "source": "tree/", "destination": "/srv/flat"},
        {"type": "file", "source": "one [1].conf", "destination": "/etc/renamed $HOME.conf"},
        {"type": "file", "sources": ["one [1].conf", "tree/a.txt"], "destination": "/etc/several/"},
        {"type": "file", "direction": "download", "source": "/etc/passwd", "destination": "got/"},
        {"type": "file", "direction": "download", "source": "/opt/", "destination": "got/opt"}"#;
    let out = node.provision(provisioners, &[]).ok().stdout;
    assert!(out.contains("==> node: Uploading tree => /opt\n"), "{out}");
    for (path, content) in [
        ("opt/tree/a.txt", "a"),
        ("opt/tree/sub/b $x.txt", "b"),
        ("srv/flat/a.txt", "a"),
        ("etc/renamed $HOME.conf", "one"),
        ("etc/several/one [1].conf", "one"),
        ("etc/several/a.txt", "a"),
    ] {
        assert_eq!(node.content(path), content, "{path}");
    }
    let got = |path: &str| std::fs::read_to_string(node.t.context().join("got").join(path)).unwrap();
    assert!(got("passwd").starts_with("root:x:0:0"));
    assert_eq!(got("opt/tree/sub/b $x.txt"), "b");
}

#[test]
fn local_commands_run_here() {
    let node = Node::new().file("local.sh", "#!/bin/sh\necho \"$GREETING from $PACKER_BUILD_NAME\" >local.out\n");
    std::fs::set_permissions(node.t.context().join("local.sh"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let provisioners = r#"
        {"type": "shell-local", "script": "local.sh", "environment_vars": ["GREETING=it's me"]},
        {"type": "shell-local", "command": "echo to err >&2; exit 4", "valid_exit_codes": [4]},
        {"type": "shell-local", "inline": ["exit 1"], "only_on": ["windows"]}"#;
    let out = node.provision(provisioners, &[]).ok().stdout;
    assert!(out.contains("==> node: to err\n") && out.contains("Skipping shell-local due to runtime OS"), "{out}");
    assert_eq!(std::fs::read_to_string(node.t.context().join("local.out")).unwrap(), "it's me from node\n");
}

#[test]
fn breakpoints_wait_and_debug_asks() {
    let node = Node::new();
    let blocks = r#"{"type": "breakpoint", "note": "look"}, {"type": "breakpoint", "disable": true}"#;
    node.write("t.json", &crate::template(blocks, ""));
    let args = ["node", "build", "-builder", "offline", "-base", "base.tar", "-debug", "t.json"];
    let out = node.t.kiln_with_input(&args, b"\n\n\n\n").ok().stdout;
    assert!(out.contains("Pausing at breakpoint provisioner with note \"look\".\n"), "{out}");
    assert!(out.contains("Breakpoint provisioner not enabled; continuing...\n"), "{out}");
    assert!(out.contains("Pausing before the provisioner breakpoint. Press enter to continue.\n"), "{out}");
}
