//! Registries: pull, push, copy and login against Debian's docker-registry, open, with a password, and over TLS.

use std::fs;

use kiln_oci::{Descriptor, Index, Platform, media};
use kiln_testkit::layout::busybox_config;
use kiln_testkit::registry::{PASSWORD, USER};
use kiln_testkit::{Auth, Layout, Registry, Rootfs, TestContext};

use crate::images::{context, digest, with_app};

/// A layout with an index of two platforms, named `multi`, and the digest of the index.
fn two_platforms(t: &TestContext) -> (Layout, String) {
    let mut layout = Layout::new(t.out("multi"));
    let mut children = Vec::new();
    for architecture in ["amd64", "arm64"] {
        let mut config = busybox_config();
        config.architecture = architecture.to_owned();
        let files = Rootfs::new().file("arch", 0o644, architecture).tar();
        let digest = layout.image(architecture, config, &[files]);
        let size = fs::metadata(t.out("multi/blobs/sha256").join(digest.hex())).unwrap().len();
        let mut child = Descriptor::new(media::OCI_MANIFEST, digest, size);
        child.platform = Some(Platform::linux(architecture));
        children.push(child);
    }
    let index = layout.blob(media::OCI_INDEX, &serde_json::to_vec(&Index::new(children)).unwrap());
    let digest = index.digest.to_string();
    layout.add("multi", index);
    (layout, digest)
}

#[test]
fn an_image_goes_to_a_registry_and_comes_back() {
    let (t, registry) = (with_app(), Registry::start(Auth::None));
    let name = registry.reference("team/app:1");
    let pushed = t.kiln(&["push", "-q", "app:1", &name]).ok();
    assert_eq!(pushed.text(), digest(&t, "app:1"));
    assert_eq!(registry.digest("team/app:1"), digest(&t, "app:1"));
    let fresh = context();
    assert_eq!(fresh.kiln(&["pull", "-q", &name]).ok().text(), digest(&t, "app:1"));
    assert_eq!(fresh.kiln(&["cat", &name, "/etc/motd"]).ok().text(), "hello");
    let _ = fresh.kiln(&["fsck"]).ok();
    let _ = t.kiln(&["tag", "app:1", &registry.reference("x:1"), &registry.reference("x:2")]).ok();
    let _ = t.kiln(&["push", "--all-tags", &registry.reference("x")]).ok();
    let all = fresh.kiln(&["pull", "--all-tags", "-q", &registry.reference("x")]).ok();
    assert_eq!(all.text().lines().count(), 2, "{all}");
    let missing = fresh.kiln(&["pull", &registry.reference("none:1")]).exits(3);
    assert!(missing.stderr.contains("has no manifest none:1") && missing.stderr.contains("hint: "), "{missing}");
    let nowhere = fresh.kiln(&["push", "none"]).exits(1);
    assert!(nowhere.stderr.contains("no image `none:latest`"), "{nowhere}");
    let at = format!("{}@{}", registry.reference("y"), digest(&t, "app:1"));
    let refused = t.kiln(&["push", "app:1", &at]).exits(1);
    assert!(refused.stderr.contains("a digest is the result of a push"), "{refused}");
}

#[test]
fn platforms_are_fetched_one_or_all() {
    let (t, registry) = (context(), Registry::start(Auth::None));
    let (layout, index) = two_platforms(&t);
    registry.push(&layout, "multi", "multi:1");
    let name = registry.reference("multi:1");
    let one = t.kiln(&["pull", "-q", "--platform", "linux/arm64", &name]).ok();
    assert_ne!(one.text(), index);
    assert_eq!(t.kiln(&["cat", "--platform=linux/arm64", &name, "arch"]).ok().text(), "arm64");
    assert_eq!(t.kiln(&["pull", "-q", "--all-platforms", &name]).ok().text(), index);
    assert_eq!(t.kiln(&["cat", "--platform=linux/amd64", &name, "arch"]).ok().text(), "amd64");
    let listed = t.kiln(&["images", "--json"]).ok().json();
    assert_eq!(listed[0]["platforms"], serde_json::json!(["linux/amd64", "linux/arm64"]));
    let pinned = format!("{}@{index}", registry.reference("multi"));
    let other = context();
    assert_eq!(other.kiln(&["pull", "-q", "--platform", "linux/arm64", &pinned]).ok().text(), index);
    assert_eq!(other.kiln(&["cat", "--platform=linux/arm64", &pinned, "arch"]).ok().text(), "arm64");
    let _ = other.kiln(&["fsck"]).ok();
    let partly = other.kiln(&["push", &pinned, &registry.reference("partly:1")]).exits(1);
    assert!(partly.stderr.contains("choose one with --platform"), "{partly}");
    let none = t.kiln(&["pull", "--platform", "linux/s390x", &name]).exits(1);
    assert!(none.stderr.contains("has nothing for linux/s390x; it has linux/amd64, linux/arm64"), "{none}");
    let wrong = t.kiln(&["pull", "--platform", "a/b/c/d", &name]).exits(2);
    assert!(wrong.stderr.contains("--platform a/b/c/d"), "{wrong}");
    assert_eq!(t.kiln(&["push", "-q", &name, &registry.reference("again:1")]).ok().text(), index);
    assert_eq!(registry.digest("again:1"), registry.digest("multi:1"));
    let saved = t.kiln(&["save", "--all-platforms", &name]).exits(2);
    assert!(saved.stderr.contains("--format oci"), "{saved}");
    let archive = t.kiln(&["save", "--all-platforms", "--format", "oci", &name]).ok().raw_stdout;
    let fresh = context();
    let _ = fresh.kiln_with_input(&["load"], &archive).ok();
    assert_eq!(digest(&fresh, &registry.reference("multi:1")), index);
}

#[test]
fn a_base_pinned_to_an_index_is_completed_by_its_registry() {
    let (t, registry) = (context(), Registry::start(Auth::None));
    let (layout, index) = two_platforms(&t);
    registry.push(&layout, "multi", "multi:1");
    let t = t.file("Dockerfile", 0o644, format!("FROM {}@{index}\nWORKDIR /w\n", registry.reference("multi")));
    // The plan needs the documents of one platform only; what they name is fetched by those that need it.
    let _ = t.kiln(&["build", "--plan", "--platform=linux/amd64", "."]).ok();
    let _ = t.kiln(&["build", "-t", "w", "--platform=linux/amd64,linux/arm64", "."]).ok();
    for architecture in ["amd64", "arm64"] {
        let platform = format!("--platform=linux/{architecture}");
        assert_eq!(t.kiln(&["cat", &platform, "w", "arch"]).ok().text(), architecture);
    }
}

#[test]
fn copies_pass_through_without_being_kept() {
    let (t, from, to) = (context(), Registry::start(Auth::None), Registry::start(Auth::None));
    let (layout, index) = two_platforms(&t);
    from.push(&layout, "multi", "multi:1");
    let source = format!("docker://{}", from.reference("multi:1"));
    let copied = t.kiln(&["copy", "-q", &source, &to.reference("copied:1")]).ok();
    assert_eq!(copied.text(), index);
    assert_eq!(to.digest("copied:1"), from.digest("multi:1"));
    assert_eq!(t.kiln(&["du", "--json"]).ok().json()["bytes"], 0, "nothing stays here");
    let oci = format!("oci:{}:m", t.out("l").display());
    assert_eq!(t.kiln(&["copy", "-q", &source, &oci]).ok().text(), index);
    let docker = format!("docker-archive:{}", t.out("d.tar").display());
    let _ = t.kiln(&["copy", "--platform=linux/arm64", &source, &docker]).ok();
    let archive = format!("oci-archive:{}:named.example/m:2", t.out("o.tar").display());
    let _ = t.kiln(&["copy", &source, &archive]).ok();
    assert_eq!(t.kiln(&["du", "--json"]).ok().json()["bytes"], 0, "not even for archives");
    assert_eq!(
        t.tool("skopeo", &["inspect", "--config", "--format", "{{.Architecture}}", "docker-archive:d.tar"]).ok().text(),
        "arm64"
    );
    assert_eq!(t.kiln(&["copy", "-q", &oci, &to.reference("fromlayout:1")]).ok().text(), index);
    assert_eq!(t.kiln(&["copy", "-q", &archive, "store:kept"]).ok().text(), index);
    assert_eq!(t.kiln(&["copy", "-q", "kept", &to.reference("fromstore:1")]).ok().text(), index);
    for (args, message) in [
        (["copy", "dir:/x", "y"], "`dir:` is not a place"),
        (["copy", "nope", "y"], "no image `nope:latest`"),
        (["copy", "oci:/nowhere:x", "y"], "cannot read the OCI layout"),
        (["copy", "docker-archive:/nowhere", "y"], "cannot read the archive"),
    ] {
        let out = t.kiln(&args);
        assert!(out.code != 0 && out.stderr.contains(message), "{out}");
    }
}

#[test]
fn a_password_is_tried_kept_used_and_forgotten() {
    let (t, registry) = (with_app(), Registry::start(Auth::Basic));
    let name = registry.reference("app:1");
    let refused = t.kiln(&["push", "app:1", &name]).exits(3);
    assert!(refused.stderr.contains("no credentials were found") && refused.stderr.contains("kiln login"), "{refused}");
    let login = |user: &str, password: &str| {
        t.kiln_with_input(&["login", "-u", user, "--password-stdin", registry.address()], password.as_bytes())
    };
    let wrong = login(USER, "wrong").exits(3);
    assert!(!wrong.stderr.contains("wrong\n") && !t.home().join(".docker/config.json").exists(), "{wrong}");
    let ok = login(USER, &format!("{PASSWORD}\n")).ok();
    assert!(ok.stdout.contains("Login Succeeded") && !ok.stderr.contains(PASSWORD), "{ok}");
    let _ = t.kiln(&["push", "app:1", &name]).ok();
    assert_eq!(registry.digest("app:1"), digest(&t, "app:1"));
    let out = t.kiln(&["login", "-u", USER, "-p", PASSWORD, registry.address()]).ok();
    assert!(out.stderr.contains("warning: --password"), "{out}");
    assert!(t.kiln(&["logout", registry.address()]).ok().stdout.contains("Removed the login"));
    assert!(t.kiln(&["logout", registry.address()]).ok().stdout.contains("Not logged in"));
    let _ = t.kiln(&["pull", &name]).exits(3);
    let _ = t.kiln(&["login", "--password-stdin", registry.address()]).exits(2);
    let terminal = t.kiln(&["login", registry.address()]).exits(2);
    assert!(terminal.stderr.contains("no terminal to ask"), "{terminal}");
    let _ = t.kiln(&["login", "-u", "x", "--password-stdin", "not a host"]).exits(2);
}

#[test]
fn certificates_are_checked() {
    let (t, registry) = (with_app(), Registry::start(Auth::Tls));
    let name = registry.reference("app:1");
    let untrusted = t.kiln(&["push", "app:1", &name]).exits(3);
    assert!(untrusted.stderr.contains("is not trusted") && untrusted.stderr.contains("hint: "), "{untrusted}");
    let ca = format!("--registry-ca={}", registry.ca().unwrap().display());
    let _ = t.kiln(&["push", &ca, "app:1", &name]).ok();
    let fresh = context();
    assert_eq!(fresh.kiln(&["pull", "-q", &ca, &name]).ok().text(), digest(&t, "app:1"));
    let _ = fresh.kiln(&["pull", "-q", &format!("--insecure={}", registry.address()), &name]).ok();
}

#[test]
fn blobs_that_are_wrong_at_the_registry_never_become_an_image() {
    let (t, registry) = (with_app(), Registry::start(Auth::None));
    let name = registry.reference("app:1");
    let _ = t.kiln(&["push", "app:1", &name]).ok();
    let layer = t.kiln(&["inspect", "app:1"]).ok().json()[0]["Layers"][0]["digest"].as_str().unwrap().to_owned();
    let hex = &layer[7..];
    let blob = registry.data().join("blobs/sha256").join(&hex[..2]).join(hex).join("data");
    let mut bytes = fs::read(&blob).unwrap();
    bytes[20] ^= 1;
    fs::write(&blob, &bytes).unwrap();
    let fresh = context();
    let pulled = fresh.kiln(&["pull", "--retries=0", &name]).exits(3);
    assert!(pulled.stderr.contains("wrong bytes"), "{pulled}");
    assert_eq!(fresh.kiln(&["images", "-q"]).ok().stdout, "");
    let archive = format!("oci-archive:{}", t.out("o.tar").display());
    let copied = fresh.kiln(&["copy", "--retries=0", &format!("docker://{name}"), &archive]);
    assert!(copied.code != 0 && !t.out("o.tar").exists(), "{copied}");
    bytes[20] ^= 1;
    fs::write(&blob, &bytes).unwrap();
    assert_eq!(fresh.kiln(&["pull", "-q", &name]).ok().text(), digest(&t, "app:1"), "the next try completes it");
    let _ = fresh.kiln(&["fsck"]).ok();
}

#[test]
fn blobs_a_registry_has_are_mounted_not_sent() {
    let (t, registry) = (with_app(), Registry::start(Auth::None));
    let (first, second) = (registry.reference("one/app:1"), registry.reference("two/app:1"));
    let _ = t.kiln(&["push", "app:1", &first]).ok();
    let _ = t.kiln(&["tag", "app:1", &first]).ok();
    let again = t.kiln(&["--progress", "plain", "push", "app:1", &second]).ok();
    assert!(!again.stderr.contains("upload"), "nothing is sent: {again}");
    assert_eq!(registry.digest("two/app:1"), digest(&t, "app:1"));
    let copied = t.kiln(&["copy", &format!("docker://{first}"), &registry.reference("three/app:1")]).ok();
    assert!(!copied.stderr.contains("upload"), "nothing is sent: {copied}");
}

#[test]
fn several_processes_pull_one_image_at_once() {
    let (t, registry) = (with_app(), Registry::start(Auth::None));
    let name = registry.reference("app:1");
    let _ = t.kiln(&["push", "app:1", &name]).ok();
    let fresh = context();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| fresh.kiln(&["pull", &name]).ok());
        }
    });
    assert_eq!(digest(&fresh, &name), digest(&t, "app:1"));
    let _ = fresh.kiln(&["fsck"]).ok();
}
