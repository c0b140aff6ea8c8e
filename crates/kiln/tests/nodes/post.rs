//! Post-processors on the artifact of `file`.

use std::process::Command;

use crate::Node;

fn build(node: &Node, post: &str, more: &[&str]) -> kiln_testkit::Output {
    node.write(
        "t.json",
        &format!(
            r#"{{"builders": [{{"type": "file", "target": "out/disk.raw", "content": "the disk"}}],
                "post-processors": [{post}]}}"#
        ),
    );
    let mut args = vec!["node", "build", "-color=false"];
    args.extend(more);
    args.push("t.json");
    node.t.kiln(&args)
}

#[test]
fn a_pipeline_hands_artifacts_on_and_removes_what_nobody_keeps() {
    let node = Node::new();
    let post = r#"[
        {"type": "compress", "output": "out/{{.BuildName}}.tar.gz"},
        {"type": "checksum", "checksum_types": ["sha256", "md5"], "output": "out/{{.ChecksumType}}.sum"},
        {"type": "manifest", "output": "out/manifest.json", "strip_path": true, "custom_data": {"a": "b"}}]"#;
    let out = build(&node, post, &[]).ok().stdout;
    assert!(out.contains("==> file: Running post-processor: compress\n"), "{out}");
    assert!(out.contains("==> file (compress): Compressing 1 file(s) into out/file.tar.gz\n"), "{out}");
    assert!(out.contains("==> file: Deleting original artifact for build 'file'\n"), "{out}");
    let at = |name: &str| node.t.context().join("out").join(name);
    assert!(!at("disk.raw").exists());
    let check = Command::new("sha256sum").arg(at("file.tar.gz")).output().unwrap();
    let sum = String::from_utf8_lossy(&check.stdout)[..64].to_owned();
    assert_eq!(std::fs::read_to_string(at("sha256.sum")).unwrap(), format!("{sum}\tfile.tar.gz\n"));
    let manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(at("manifest.json")).unwrap()).unwrap();
    let entry = &manifest["builds"][0];
    assert_eq!(entry["files"][0]["name"], "file.tar.gz");
    assert_eq!(entry["builder_type"], "file");
    assert_eq!(entry["custom_data"]["a"], "b");
    assert_eq!(entry["packer_run_uuid"], manifest["last_run_uuid"]);
}

#[test]
fn originals_stay_when_one_pipeline_keeps_them() {
    let node = Node::new();
    let post = r#"{"type": "compress", "output": "out/a.zip", "keep_input_artifact": true},
                  {"type": "shell-local", "inline": ["echo $PACKER_BUILDER_TYPE >local.out"]}"#;
    let _ = build(&node, post, &[]).ok();
    assert!(node.t.context().join("out/disk.raw").exists() && node.t.context().join("out/a.zip").exists());
    assert_eq!(std::fs::read_to_string(node.t.context().join("local.out")).unwrap(), "file\n");
    let post = r#"[{"type": "artifice", "files": ["out/*.zip"]}, {"type": "checksum", "output": "sums"}]"#;
    let _ = build(&node, post, &[]).ok();
    assert!(std::fs::read_to_string(node.t.context().join("sums")).unwrap().ends_with("\ta.zip\n"));
}

#[test]
fn a_failing_post_processor_fails_the_build_and_keeps_the_artifact() {
    let node = Node::new();
    let post = r#"{"type": "shell-local", "inline": ["exit 3"]}, {"type": "manifest", "output": "m.json"}"#;
    let out = build(&node, post, &[]).exits(1).stdout;
    assert!(out.contains("--> file: Script exited with non-zero exit status: 3"), "{out}");
    assert!(node.t.context().join("out/disk.raw").exists() && node.t.context().join("m.json").exists());
    let out = build(&node, r#"{"type": "manifset"}"#, &[]).exits(1);
    assert!(out.stderr.contains("did you mean `manifest`?"), "{}", out.stderr);
}

#[test]
fn the_null_builder_only_runs_things_here() {
    let node = Node::new();
    let text = r#"{"builders": [{"type": "null", "communicator": "none"}],
        "provisioners": [{"type": "shell-local", "inline": ["echo hi"]}, {"type": "shell", "inline": ["true"]}]}"#;
    node.write("t.json", text);
    let out = node.t.kiln(&["node", "build", "t.json"]).exits(1).stdout;
    assert!(out.contains("    null: hi\n"), "{out}");
    assert!(out.contains("cannot run inline: the builder `null` has no machine"), "{out}");
}
