//! Whoever stops a build finds nothing of it in the cluster.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStderr, Stdio};
use std::time::{Duration, Instant};

use crate::Bench;

/// Starts a build of a command that goes on, and waits until it runs.
fn start(b: &Bench) -> (Child, Lines<BufReader<ChildStderr>>) {
    b.dockerfile("COPY busybox /bin/sleep\nRUN echo ready; sleep 300\n");
    b.t.write("secret", 0o600, "s");
    let name = b.registry.reference("app:1");
    let line = b.line(&["--pod-profile=baseline", "--secret=id=s,src=secret", "--push", "-t", &name, "."]);
    let mut command = b.t.command(&line.iter().map(|a| &**a).collect::<Vec<_>>());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with(" ready")), "the command starts");
    (child, lines)
}

fn signal(b: &Bench, child: &Child, name: &str) {
    let _ = b.t.tool("kill", &[&format!("-{name}"), &child.id().to_string()]).ok();
}

#[test]
fn a_signal_removes_the_job_and_its_secret() {
    for name in ["INT", "TERM"] {
        let b = Bench::anywhere();
        let (mut child, lines) = start(&b);
        signal(&b, &child, name);
        let rest: Vec<String> = lines.map(Result::unwrap).collect();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
        b.is_clean();
        let Some(double) = &b.double else { continue };
        let began = Instant::now();
        while double.is_running() {
            assert!(began.elapsed() < Duration::from_secs(20), "the program ends with its Job");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn the_second_signal_says_what_is_left() {
    let b = Bench::double();
    let (mut child, lines) = start(&b);
    // Removing takes long.
    b.cluster().behave(|behaviour| behaviour.slow_delete = Some(Duration::from_secs(10)));
    signal(&b, &child, "INT");
    std::thread::sleep(Duration::from_millis(1500));
    signal(&b, &child, "INT");
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let text = rest.join("\n");
    assert!(text.contains("left in the cluster") && text.contains("kubectl -n builds delete job kiln-"), "{text}");
}
