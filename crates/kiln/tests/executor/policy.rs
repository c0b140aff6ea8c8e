//! `kiln build --source-policy`.

use kiln_testkit::server::{Say, Server};
use kiln_testkit::{Layout, Output, Rootfs, layout::busybox_config};

use crate::Pod;

fn build(pod: &Pod, policy: &str, flags: &[&str]) -> Output {
    std::fs::write(pod.t.out("policy.json"), policy).unwrap();
    let (policy, context) = (format!("--source-policy={}", pod.t.out("policy.json").display()), pod.t.context());
    pod.t.kiln(&[&["build", "-q", &policy], flags, &[context.to_str().unwrap()]].concat())
}

#[test]
fn images_are_denied_with_their_place_and_converted() {
    let pod = Pod::start();
    pod.dockerfile("COPY Dockerfile /d");
    let host = pod.registry.address().to_owned();
    let deny = r#"{"rules":[{"action":"DENY","selector":{"identifier":"docker-image://*"}}]}"#;
    let denied = build(&pod, deny, &[]).exits(1);
    assert!(denied.stderr.contains("the source policy denies docker-image://"), "{denied}");
    assert!(denied.stderr.contains("Dockerfile:1:6"), "{denied}");
    let mut other = Layout::new(pod.t.out("other"));
    other.image("other", busybox_config(), &[Rootfs::new().file("etc/which", 0o644, "the other").tar()]);
    pod.registry.push(&other, "other", "hardened:1");
    let pinned = format!("{host}/hardened:1@{}", pod.registry.digest("hardened:1"));
    let convert = format!(
        r#"{{"rules":[{{"action":"DENY","selector":{{"identifier":"docker-image://*"}}}},
            {{"action":"CONVERT","selector":{{"identifier":"docker-image://{host}/base:1"}},
              "updates":{{"identifier":"docker-image://{pinned}"}}}},
            {{"action":"ALLOW","selector":{{"identifier":"docker-image://{host}/hardened:*"}}}}]}}"#
    );
    let _ = build(&pod, &convert, &["-t", "app"]).ok();
    assert_eq!(pod.t.kiln(&["cat", "app", "/etc/which"]).ok().stdout, "the other");
    // Other ways to name an image are no way around.
    pod.dockerfile("COPY --from=elsewhere /x /x");
    let named = format!("--build-context=elsewhere=docker-image://{host}/unknown:1");
    let denied = build(&pod, &convert, &[&named]).exits(1);
    assert!(denied.stderr.contains("unknown:1"), "{denied}");
    pod.dockerfile(&format!("RUN --mount=from={host}/unknown:1,target=/m true"));
    let denied = build(&pod, &convert, &[]).exits(1);
    assert!(denied.stderr.contains("denies docker-image://"), "{denied}");
}

#[test]
fn urls_and_contexts_are_held_to_it() {
    let pod = Pod::start();
    let server = Server::start(|_, _| Say::ok("content"));
    pod.dockerfile(&format!("ADD http://{}/file /file", server.host));
    let pin = |sum: &str| {
        format!(
            r#"{{"rules":[{{"action":"CONVERT","selector":{{"identifier":"http://{}/file","matchType":"EXACT"}},
               "updates":{{"attrs":{{"http.checksum":"{sum}"}}}}}}]}}"#,
            server.host
        )
    };
    let digest = kiln_oci::Digest::of(b"content");
    let _ = build(&pod, &pin(&digest.to_string()), &[]).ok();
    let other = build(&pod, &pin(&format!("sha256:{}", "0".repeat(64))), &["--no-cache"]);
    let other = other.exits(3);
    assert!(other.stderr.contains("but --checksum says"), "{other}");
    let deny = r#"{"rules":[{"action":"DENY","selector":{"identifier":"http://*"}},{"action":"DENY","selector":{"identifier":"local://context"}}]}"#;
    let denied = build(&pod, deny, &[]).exits(1);
    assert!(denied.stderr.contains("denies http://"), "{denied}");
    pod.dockerfile("COPY Dockerfile /d");
    assert!(build(&pod, deny, &[]).exits(1).stderr.contains("denies local://context"));
    let seen = server.seen().len();
    std::fs::write(pod.t.out("policy.json"), deny).unwrap();
    let t = pod.t.kiln(&[
        "build",
        &format!("--source-policy={}", pod.t.out("policy.json").display()),
        &format!("http://{}/context.tar", server.host),
    ]);
    assert!(t.exits(1).stderr.contains("denies http://"));
    assert_eq!(server.seen().len(), seen, "it was not asked");
}

#[test]
fn a_policy_that_cannot_be_read_stops_the_build() {
    let pod = Pod::start();
    pod.dockerfile("COPY Dockerfile /d");
    let bad = build(&pod, r#"{"rules":[{"action":"DENY"}]}"#, &[]).exits(1);
    assert!(bad.stderr.contains("is not a source policy"), "{bad}");
    let context = pod.t.context();
    let missing = pod.t.kiln(&["build", "--source-policy=/nowhere/policy.json", context.to_str().unwrap()]).exits(1);
    assert!(missing.stderr.contains("cannot read the source policy /nowhere/policy.json"), "{missing}");
    let t = Pod::machine().env("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY", "/nowhere/policy.json");
    pod.write(&t, "");
    assert!(t.kiln(&["build", t.context().to_str().unwrap()]).exits(1).stderr.contains("/nowhere/policy.json"));
}
