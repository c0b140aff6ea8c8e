//! Images that say which steps their layers came of, and builds that take the layers.

use kiln_testkit::TestContext;
use serde_json::Value;

use crate::Pod;
use crate::buckets::{build, request};

/// A command whose result differs each time it runs.
const TEXT: &str = "RUN head -c 9000 /dev/urandom > /random && printf 'it %s' ran\nENV a=b\nRUN cat /random > /r";

fn machine(pod: &Pod) -> TestContext {
    let t = Pod::machine();
    pod.write(&t, TEXT);
    t
}

fn manifest(pod: &Pod, name: &str) -> (Vec<u8>, Value) {
    let accept = "Accept: application/vnd.oci.image.manifest.v1+json\r\n";
    let (status, body) = request(pod.registry.address(), &format!("GET /v2/app/manifests/{name}"), accept, b"");
    assert_eq!(status, 200, "{name}");
    let read = serde_json::from_slice(&body).unwrap();
    (body, read)
}

/// Builds and pushes.
fn push(pod: &Pod, t: &TestContext, name: &str, flags: &[&str]) {
    let name = pod.registry.reference(name);
    let done = build(t, &[&["-t", &name, "--push"], flags].concat()).ok();
    assert!(!done.stderr.contains("warning"), "{done}");
}

#[test]
fn an_image_is_its_own_cache() {
    let pod = Pod::start();
    let first = machine(&pod);
    push(&pod, &first, "app:plain", &[]);
    push(&pod, &first, "app:1", &["--cache-to", "type=inline"]);
    push(&pod, &first, "app:arg", &["--build-arg", "BUILDKIT_INLINE_CACHE=1"]);
    let ((_, plain), (inline, one), (by_argument, _)) =
        (manifest(&pod, "plain"), manifest(&pod, "1"), manifest(&pod, "arg"));
    assert!(inline == by_argument, "both ways are one");
    let digests = |m: &Value| m["layers"].as_array().unwrap().iter().map(|l| l["digest"].clone()).collect::<Vec<_>>();
    assert_eq!((digests(&plain), &plain["config"]), (digests(&one), &one["config"]));
    let keys = |m: &Value| m["layers"].as_array().unwrap().iter().filter(|l| l["annotations"].is_object()).count();
    assert_eq!((keys(&plain), keys(&one)), (0, 2), "the base's layer came of no step: {one}");
    for from in [pod.registry.reference("app:1"), format!("type=registry,ref={}", pod.registry.reference("app:1"))] {
        let second = machine(&pod);
        let target = pod.registry.reference("app:2");
        let taken = build(&second, &["--cache-from", &from, "-t", &target, "--push"]).ok();
        assert!(!taken.stderr.contains("it ran") && !taken.stderr.contains("warning"), "{taken}");
        for layer in digests(&manifest(&pod, "2").1) {
            let hex = layer.as_str().unwrap().trim_start_matches("sha256:").to_owned();
            assert!(!second.store().join("blobs/sha256").join(&hex).exists(), "{hex} passed through");
        }
    }
    // What is above is run, on what was taken.
    let third = Pod::machine();
    pod.write(&third, &format!("{TEXT}\nRUN cmp /r /random && printf 'then %s' this"));
    let more = build(&third, &["--cache-from", &pod.registry.reference("app:1")]).ok();
    assert!(!more.stderr.contains("it ran") && more.stderr.contains("then this"), "{more}");
}

#[test]
fn images_that_are_no_cache_cost_a_warning() {
    let pod = Pod::start();
    push(&pod, &machine(&pod), "app:plain", &[]);
    for (name, why) in [
        ("app:plain", "do not say which steps they came of"),
        ("app:none", "has no"),
        ("app@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "has no"),
    ] {
        let done = build(&machine(&pod), &["--cache-from", &pod.registry.reference(name)]).ok();
        assert!(done.stderr.contains("it ran") && done.stderr.contains(why), "{name}: {done}");
        assert_eq!(done.stderr.matches("is passed over").count(), 1, "{name}: {done}");
    }
    let wrong = build(&machine(&pod), &["--cache-to", &pod.registry.reference("app:1")]).exits(2);
    assert!(wrong.stderr.contains("it names an image"), "{wrong}");
}

#[test]
fn images_that_lie_are_found_out() {
    let pod = Pod::start();
    push(&pod, &machine(&pod), "app:1", &["--cache-to", "type=inline"]);
    let (bytes, read) = manifest(&pod, "1");
    let text = String::from_utf8(bytes).unwrap();
    let layer = |at: usize| read["layers"][at]["annotations"].clone();
    let note = |at: usize, name: &str| layer(at)[format!("build.kiln.step.{name}")].as_str().unwrap().to_owned();
    let put = |name: &str, body: &str| {
        let kind = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";
        let (status, _) =
            request(pod.registry.address(), &format!("PUT /v2/app/manifests/{name}"), kind, body.as_bytes());
        assert_eq!(status, 201);
    };
    // The layer is not the one whose digest is told.
    put("swapped", &text.replace(&note(1, "diff-id"), &note(2, "diff-id")));
    let t = machine(&pod);
    let tar = format!("type=tar,dest={}", t.out("app.tar").display());
    let swapped = build(&t, &["--cache-from", &pod.registry.reference("app:swapped"), "-o", &tar]).ok();
    assert!(swapped.stderr.contains("it ran") && swapped.stderr.contains("so it is made anew"), "{swapped}");
    for (name, from, to) in
        [("digest", note(1, "diff-id"), "sha256:12".to_owned()), ("date", note(1, "created"), "yesterday".to_owned())]
    {
        put(name, &text.replace(&from, &to));
        let done = build(&machine(&pod), &["--cache-from", &pod.registry.reference(&format!("app:{name}"))]).ok();
        assert!(done.stderr.contains("it ran") && done.stderr.contains("is passed over"), "{name}: {done}");
    }
}
