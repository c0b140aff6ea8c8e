//! Nobody waits in the dark.

use kiln_testkit::cluster::Behaviour;

use crate::Bench;

#[test]
fn a_pod_that_no_node_takes_says_why() {
    let b = Bench::anywhere();
    if let Some(double) = &b.double {
        double.behave(|b| {
            b.unschedulable = Some("0/3 nodes are available: 3 didn't match Pod's node affinity.".to_owned())
        });
    }
    b.dockerfile("COPY a /\n");
    let out = b.build("app:1", &["--node-selector=no-node=has-this", "--timeout=3s"]).exits(3);
    assert!(out.stderr.contains("warning: waiting: no node for the pod: Unschedulable"), "{out}");
    assert!(out.stderr.contains("error: the pod did not start in [TIME]: no node for the pod"), "{out}");
    assert!(out.stderr.contains("hint: wait longer with --timeout"), "{out}");
    b.is_clean();
}

/// Builds in a cluster that behaves like that, and gives what is said.
#[track_caller]
fn said(change: impl FnOnce(&mut Behaviour)) -> String {
    let b = Bench::double();
    b.cluster().behave(change);
    b.dockerfile("COPY a /\n");
    let out = b.build("app:1", &["--timeout=3s"]).exits(3);
    b.is_clean();
    out.stderr
}

#[test]
fn an_image_that_cannot_be_pulled_is_named() {
    let text = said(|b| b.no_image = Some("registry.example/kiln:test: not found".to_owned()));
    assert!(text.contains("ImagePullBackOff: Failed to pull image: registry.example/kiln:test: not found"), "{text}");
}

#[test]
fn a_quota_that_is_used_up_is_waited_for() {
    let text = said(|b| b.no_pod = Some("Error creating: pods \"x\" is forbidden: exceeded quota: team".to_owned()));
    assert!(text.contains("warning: waiting: Error creating: pods \"x\" is forbidden: exceeded quota: team"), "{text}");
    assert!(text.contains("did not start in [TIME]"), "{text}");
}

#[test]
fn what_a_namespace_does_not_allow_is_not_waited_for() {
    let text = said(|b| {
        b.no_pod =
            Some("Error creating: pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\"".to_owned())
    });
    assert!(text.contains("error: the pod cannot start: Error creating"), "{text}");
    assert!(text.contains("hint: take a profile that the namespace allows"), "{text}");
}

#[test]
fn a_queue_is_told() {
    let text = said(|b| b.suspended = true);
    assert!(text.contains("the Job is suspended"), "{text}");
}
