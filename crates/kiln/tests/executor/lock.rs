//! `kiln build --lock` and `--locked`, with a registry whose tags move.

use std::fs;
use std::sync::{Arc, Mutex};

use kiln_testkit::server::{Say, Server};
use kiln_testkit::{Layout, Rootfs, layout::busybox_config};

use crate::Pod;

#[test]
fn a_locked_build_is_made_from_what_was_locked() {
    let pod = Pod::start();
    let content = Arc::new(Mutex::new("one"));
    let served = content.clone();
    let server = Server::start(move |_, _| Say::ok(*served.lock().unwrap()));
    pod.dockerfile(&format!(
        "ADD http://user:hunter2@{}/file /file\nCOPY --from={} /etc/passwd /p",
        server.host,
        pod.registry.reference("base:1")
    ));
    let context = pod.t.context();
    let build =
        |flags: &[&str]| pod.t.kiln(&[&["build", "-q", "--pull"], flags, &[context.to_str().unwrap()]].concat());
    let missing = build(&["--locked"]).exits(1);
    assert!(missing.stderr.contains("kiln build --lock writes it"), "{missing}");
    let first = build(&["--lock", "--build-arg=SOURCE_DATE_EPOCH=1"]).ok();
    let path = context.join("Dockerfile.lock");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("linux/amd64") && text.contains("sha256:") && !text.contains("hunter2"), "{text}");
    let mut other = Layout::new(pod.t.out("other"));
    other.image("other", busybox_config(), &[Rootfs::new().file("etc/passwd", 0o644, "moved").tar()]);
    let locked = pod.registry.digest("base:1");
    pod.registry.push(&other, "other", "base:1");
    assert_ne!(pod.registry.digest("base:1"), locked, "the tag moved");
    let again = build(&["--locked", "--build-arg=SOURCE_DATE_EPOCH=1", "--no-cache"]).ok();
    assert_eq!(first.text(), again.text());
    *content.lock().unwrap() = "two";
    let changed = build(&["--locked"]).exits(1);
    assert!(changed.stderr.contains("but the lock file says") && !changed.stderr.contains("hunter2"), "{changed}");
    pod.dockerfile(&format!("COPY --from={} /etc/passwd /p", pod.registry.reference("new:1")));
    let unknown = build(&["--locked"]).exits(1);
    assert!(
        unknown.stderr.contains("is not in the lock file") && unknown.stderr.contains("kiln build --lock"),
        "{unknown}"
    );
    fs::write(&path, "{\"version\": 7}").unwrap();
    let bad = build(&["--locked"]).exits(1);
    assert!(bad.stderr.contains("is not a lock file: it has version 7"), "{bad}");
    let both = build(&["--locked", "--lock"]).exits(2);
    assert!(both.stderr.contains("cannot be used with"), "{both}");
    let nowhere = pod.t.kiln_with_input(&["build", "--lock", "-f-", "."], b"FROM scratch\nENV a=b").exits(2);
    assert!(nowhere.stderr.contains("name the lock file: --lock=FILE"), "{nowhere}");
}
