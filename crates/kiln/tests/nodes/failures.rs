//! Failures at every point, and what `-on-error` makes of them.

use std::time::{Duration, Instant};

use crate::{Node, template};

/// A script that succeeds only when a file of this machine's says so, at the second try.
const CLEANUP: &str = r#", "error-cleanup-provisioner": {"type": "shell-local", "inline": ["echo cleaned >>cleaned"]}"#;

fn failing(node: &Node, provisioners: &str, how: &str, input: &str) -> (String, bool, bool) {
    node.write("t.json", &template(provisioners, CLEANUP));
    let _ = std::fs::remove_file(node.t.context().join("cleaned"));
    let _ = std::fs::remove_dir_all(node.t.context().join("output-node"));
    let on_error = format!("-on-error={how}");
    let args = ["node", "build", "-builder", "offline", "-base", "base.tar", &on_error, "t.json"];
    let out = node.t.kiln_with_input(&args, input.as_bytes()).exits(1);
    let there = |name: &str| node.t.context().join(name).exists();
    (out.stdout, there("cleaned"), there("output-node"))
}

#[test]
fn each_way_to_go_on_after_a_failure() {
    let node = Node::new();
    let fails = r#"{"type": "shell", "inline": ["exit 5"]}"#;
    for (how, cleaned, left) in
        [("cleanup", true, false), ("abort", false, true), ("run-cleanup-provisioner", true, true)]
    {
        let (text, ran, there) = failing(&node, fails, how, "");
        assert_eq!((ran, there), (cleaned, left), "{how}:\n{text}");
        assert!(text.contains("Build 'node' errored after"), "{text}");
        assert!(text.contains("==> Some builds didn't complete successfully and had errors:\n--> node: "), "{text}");
        assert!(text.contains("==> Builds finished but no artifacts were created."), "{text}");
    }
    for (answer, cleaned, left) in
        [("c\n", true, false), ("x\na\n", false, true), ("r\nr\nc\n", true, false), ("", true, false)]
    {
        let (text, ran, there) = failing(&node, fails, "ask", answer);
        assert_eq!((ran, there), (cleaned, left), "{answer:?}:\n{text}");
        assert_eq!(text.matches("[r] retry step").count(), answer.lines().count().max(1), "{answer:?}:\n{text}");
    }
}

#[test]
fn a_step_is_tried_again_as_often_as_it_may() {
    let node = Node::new();
    // What a failed try changed is gone: the script cannot count its tries in the image. It fails every time.
    let out = node.provision(r#"{"type": "shell", "inline": ["exit 5"], "max_retries": 2}"#, &[]).exits(1).stdout;
    assert_eq!(out.matches("Provisioning with shell script: inline\n").count(), 3, "{out}");
    assert!(out.contains("retrying with 1 trie(s) left\n"), "{out}");
    let local = r#"{"type": "shell-local", "inline": ["test -f again || { touch again; exit 1; }"], "max_retries": 1}"#;
    let _ = node.provision(local, &[]).ok();
}

#[test]
fn a_provisioner_has_its_time() {
    let node = Node::new();
    let started = Instant::now();
    let out = node.provision(r#"{"type": "shell", "inline": ["sleep 600"], "timeout": "1s"}"#, &[]).exits(1).stdout;
    assert!(out.contains("--> node: timed out after 1 second\n"), "{out}");
    let local = r#"{"type": "shell-local", "inline": ["sleep 600"], "timeout": "1s"}"#;
    let out = node.provision(local, &[]).exits(1).stdout;
    assert!(out.contains("--> node: timed out after 1 second\n"), "{out}");
    assert!(started.elapsed() < Duration::from_secs(100));
}

#[test]
fn an_interrupted_build_cleans_up() {
    let node = Node::new();
    node.write("t.json", &template(r#"{"type": "shell", "inline": ["echo here", "sleep 600"]}"#, ""));
    let args = ["node", "build", "-builder", "offline", "-base", "base.tar", "t.json"];
    for signal in ["INT", "TERM"] {
        let mut command = node.t.command(&args);
        let mut child =
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().unwrap();
        let mut seen = String::new();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
        for line in lines.by_ref().map_while(Result::ok) {
            seen += &format!("{line}\n");
            if line.ends_with("node: here") {
                break;
            }
        }
        let kill = std::process::Command::new("kill").arg(format!("-{signal}")).arg(child.id().to_string()).status();
        assert!(kill.unwrap().success());
        seen.extend(lines.map_while(Result::ok).map(|line| line + "\n"));
        assert_eq!(child.wait().unwrap().code(), Some(1), "{seen}");
        assert!(seen.contains("errored after") && seen.contains("build was cancelled"), "{seen}");
        assert!(!node.t.context().join("output-node").exists());
    }
}

#[test]
fn one_failing_build_does_not_stop_the_others() {
    let node = Node::new();
    let text = r#"{"builders": [
        {"type": "offline", "name": "node"}, {"type": "offline", "name": "bad", "output_directory": "out-bad"}],
        "provisioners": [{"type": "shell", "inline": ["echo $PACKER_BUILD_NAME >/etc/name"]},
                         {"type": "shell", "inline": ["exit 9"], "only": ["bad"]}]}"#;
    let out = node.build(text, &["-machine-readable", "-parallel-builds=1"]).exits(1).stdout;
    assert_eq!(node.content("etc/name"), "node\n");
    assert!(out.contains(",bad,error,Script exited with non-zero exit status: 9."), "{out}");
    assert!(out.contains(",node,artifact,0,builder-id,kiln.offline\n"), "{out}");
    assert!(out.lines().all(|l| l.split(',').next().unwrap().parse::<u64>().is_ok()), "{out}");
}

#[test]
fn commands_that_do_not_end_are_ended() {
    let node = Node::new();
    // One ignores that it is to end; what another left running has its output, and a session of its own.
    for command in ["trap '' TERM; while :; do sleep 1; done", "setsid sleep 60 & exit 0"] {
        let started = Instant::now();
        let block = format!(r#"{{"type": "shell-local", "inline": ["{command}"], "timeout": "1s"}}"#);
        let out = node.provision(&block, &[]).exits(1).stdout;
        assert!(out.contains("--> node: timed out after 1 second\n"), "{out}");
        assert!(started.elapsed() < Duration::from_secs(40), "{command}: {:?}", started.elapsed());
    }
}

#[test]
fn an_interrupted_build_runs_the_cleanup_provisioner_where_it_can() {
    let node = Node::new();
    node.write(
        "t.json",
        r#"{"builders": [{"type": "null", "communicator": "none"}],
            "provisioners": [{"type": "shell-local", "inline": ["echo here", "sleep 600"]}],
            "error-cleanup-provisioner": {"type": "shell-local", "inline": ["touch cleaned"]}}"#,
    );
    let mut command = node.t.command(&["node", "build", "t.json"]);
    let mut child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let mut seen = String::new();
    for line in lines.map_while(Result::ok) {
        seen += &format!("{line}\n");
        if line.ends_with("null: here") {
            let id = child.id().to_string();
            assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        }
    }
    assert_eq!(child.wait().unwrap().code(), Some(1), "{seen}");
    assert!(seen.contains("Running the cleanup provisioner...") && !seen.contains("Error running"), "{seen}");
    assert!(seen.contains("build was cancelled") && node.t.context().join("cleaned").exists(), "{seen}");
}
