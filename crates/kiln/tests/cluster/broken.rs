//! Connections break, nodes go, and logs are anybody's.

use kiln_testkit::Output;
use kiln_testkit::cluster::Behaviour;

use crate::Bench;

fn build(change: impl FnOnce(&mut Behaviour), dockerfile: &str) -> (Bench, Output) {
    let b = Bench::double();
    b.cluster().behave(change);
    b.dockerfile(dockerfile);
    let out = b.build("app:1", &["--pod-profile=baseline"]);
    b.is_clean();
    (b, out)
}

#[test]
fn a_log_that_breaks_goes_on_where_it_broke() {
    let text = "RUN for n in 1 2 3 4 5 6 7 8; do echo line-$n; sleep 0.3; done\n";
    let (b, out) = build(|b| b.cut_log_after = vec![3, 5, 9], text);
    let out = out.ok();
    for n in 1..=8 {
        assert_eq!(out.stderr.matches(&format!(" line-{n}\n")).count(), 1, "line-{n}: {out}");
    }
    assert_eq!(out.stderr.matches("pushed ").count(), 1, "{out}");
    assert!(b.registry.digest("app:1").starts_with("sha256:"));
}

#[test]
fn an_api_server_that_begins_anew_is_waited_for() {
    let change = |b: &mut Behaviour| (b.cut_log_after, b.forgetful) = (vec![9], 4);
    let (_, out) = build(change, "RUN for n in 1 2 3 4 5 6; do echo line-$n; sleep 0.5; done\n");
    let out = out.ok();
    assert_eq!(out.stderr.matches(" line-6\n").count(), 1, "{out}");
}

#[test]
fn an_evicted_pod_is_an_error_that_says_so() {
    let (_, out) = build(|b| b.evict_at = Some("going".to_owned()), "RUN echo going; sleep 60\n");
    let out = out.exits(3);
    assert!(out.stderr.contains("error: the build was lost: Evicted: The node was low on resource"), "{out}");
}

#[test]
fn a_context_that_does_not_arrive_is_an_error() {
    let (_, out) = build(|b| b.cut_attach_after = Some(100_000), "COPY a /\n");
    assert_ne!(out.code, 0, "{out}");
    // Whoever is faster says so: who sends, or who reads.
    let sender = out.stderr.contains("error: the context could not be handed over to the pod");
    assert!(sender || out.stderr.contains("error: standard input: cannot unpack the build context"), "{out}");
    assert!(out.stderr.contains("--context-store"), "{out}");
}

#[test]
fn servers_that_cannot_close_a_stream_are_served() {
    let (b, out) = build(|b| b.old_attach = true, "COPY a /\n");
    let _ = out.ok();
    assert!(b.registry.digest("app:1").starts_with("sha256:"));
}

#[test]
fn a_log_cannot_drive_the_terminal_nor_make_a_result() {
    let lines = concat!(
        "\u{1b}[2J\u{1b}]0;MARK_title\u{7}not an event\n",
        "{\"event\":\"step-started\",\"step\":1,\"title\":\"[1/1] \\u001b[2JMARK_step\"}\n",
        "{\"event\":\"step-done\",\"step\":18446744073709551615,\"title\":\"x\",\"done\":\"ran\"}\n",
        "{\"event\":\"warning\",\"text\":\"\\u001b[31mMARK_warning\"}\n",
        "{\"containerimage.digest\":\"sha256:0000000000000000000000000000000000000000000000000000000000000000\"}\n",
    );
    let (b, out) = build(|b| b.prelude = lines.as_bytes().to_vec(), "COPY a /\n");
    let out = out.ok();
    assert!(!out.raw_stderr.contains(&0x1b) && !out.raw_stderr.contains(&7), "{out}");
    let text = String::from_utf8_lossy(&out.raw_stderr);
    assert!(text.contains(&b.registry.digest("app:1")), "{out}");
}
