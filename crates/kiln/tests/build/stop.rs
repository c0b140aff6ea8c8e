//! Stopping a build: nothing stays behind, and the next one goes on.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStderr, Command, Stdio};

use crate::{Bench, open};

/// Everything a stopped build could leave: processes below it, mounts of its store, temporary files.
fn leftovers(b: &Bench) -> Vec<String> {
    let store = b.t.store().display().to_string();
    let mut found = Vec::new();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    found.extend(mounts.lines().filter(|l| l.contains(&store)).map(str::to_owned));
    found.extend(
        std::fs::read_dir(b.t.store().join("kiln/tmp")).unwrap().map(|e| e.unwrap().path().display().to_string()),
    );
    for process in std::fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains("sleep 98765") || line.contains(&store) {
            found.push(line);
        }
    }
    found
}

/// Starts a build of one long command on a rung, and waits until the command runs.
fn start(b: &Bench, command: &str, rung: &str) -> (Child, Lines<BufReader<ChildStderr>>) {
    b.t.write("Dockerfile", 0o644, format!("FROM busybox\nRUN echo ready; {command}\n"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_kiln"))
        .args(["build", "--progress=plain", "-t", "t", &format!("--isolation={rung}")])
        .arg(format!("--build-context=busybox=oci-layout://{}:busybox:latest", b.t.out("busybox").display()))
        .arg(b.t.context())
        .env("KILN_STORE", b.t.store())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|l| l.unwrap().ends_with(" ready")), "the command starts");
    (child, lines)
}

#[test]
fn a_signal_stops_everything() {
    for (signal, rung) in [("INT", "root"), ("TERM", "root"), ("INT", "chroot")] {
        let b = Bench::new();
        let (mut child, lines) = start(&b, "(sleep 98765 &) ; sleep 98765", rung);
        let _ = b.t.tool("kill", &[&format!("-{signal}"), &child.id().to_string()]).ok();
        let rest: Vec<String> = lines.map(Result::unwrap).collect();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(130), "{signal} on {rung}: {rest:?}");
        assert!(rest.iter().any(|l| l.contains("cancelled")), "{rest:?}");
        let told = |word: &str| rest.iter().any(|l| l.ends_with(word));
        assert!(
            told("STOPPED") && !rest.iter().any(|l| l.contains(" ERROR ")),
            "a stopped step has not failed: {rest:?}"
        );
        assert_eq!(leftovers(&b), [""; 0], "{signal} on {rung}");
        let refs = b.t.kiln(&["images", "-q"]).ok();
        assert_eq!(refs.stdout, "", "no half image");
        let built = b.build("FROM busybox\nRUN echo again > /f");
        assert_eq!(built.read("f"), "again\n");
    }
}

#[test]
fn a_killed_build_leaves_nothing_that_runs() {
    let b = Bench::new();
    let (mut child, _lines) = start(&b, "sleep 98765", "auto");
    child.kill().unwrap();
    child.wait().unwrap();
    // The supervisor of the command sees that Kiln is gone and ends it; that takes a moment.
    let running = || leftovers(&b).iter().any(|l| l.contains("98765"));
    assert!(
        (0..200).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            !running()
        }),
        "{:?}",
        leftovers(&b)
    );
    let _ = b.t.kiln(&["prune", "-f"]).ok();
    assert_eq!(leftovers(&b), [""; 0], "prune removes what the dead left");
    let _ = b.t.kiln(&["fsck"]).ok();
    assert_eq!(b.build("FROM busybox\nRUN echo again > /f").read("f"), "again\n");
}

#[test]
fn two_builds_of_one_store_at_once() {
    let b = Bench::new().file("f", 0o644, "F");
    let text = "FROM busybox AS a\nRUN --mount=type=cache,target=/c echo x >> /c/runs; sleep 1\nFROM busybox\nCOPY --from=a /etc/passwd /p\nRUN --mount=type=cache,target=/c wc -l < /c/runs > /n";
    std::thread::scope(|scope| {
        let one = scope.spawn(|| b.run(text, &[]).code);
        let two = scope.spawn(|| b.run(text, &[]).code);
        assert_eq!((one.join().unwrap(), two.join().unwrap()), (0, 0));
    });
    assert_eq!(open(&b.t.store(), "t").read("n"), "1\n", "equal steps of two processes run once");
    let _ = b.t.kiln(&["fsck"]).ok();
}
