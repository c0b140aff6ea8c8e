//! The Dockerfiles of `examples/` build. hello-web's compiler comes from a Debian mirror, so that here, without a
//! network, only its small stage is built; `make demo` builds all of it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{Bench, Built, open};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

fn build(bench: &Bench, name: &str, more: &[&str]) -> Built {
    let context = example(name);
    let base = format!("--build-context=busybox=oci-layout://{}:busybox:latest", bench.t.out("busybox").display());
    let mut args = vec!["build", "--progress=plain", "-t", name, &base];
    args.extend(more);
    args.push(context.to_str().expect("a path that is text"));
    let _ = bench.t.kiln(&args).ok();
    open(&bench.t.store(), name)
}

#[test]
fn busybox_from_nothing() {
    let bench = Bench::new();
    for file in ["Dockerfile", "busybox"] {
        let from = if file == "busybox" { PathBuf::from("/bin/busybox") } else { example("busybox").join(file) };
        let bytes = fs::read(&from).unwrap_or_else(|e| panic!("read {}: {e}", from.display()));
        bench.t.write(file, 0o755, bytes);
    }
    let _ = bench.t.kiln(&["build", "-t", "mine", "."]).ok();
    let built = open(&bench.t.store(), "mine");
    assert!(built.has("/bin/sh"));
    assert!(built.read("/etc/passwd").starts_with("root:x:0:0:"));
}

#[test]
fn a_cache_mount_outlives_the_build() {
    let bench = Bench::new();
    assert_eq!(build(&bench, "cache-mounts", &[]).read("/about"), "built for none, build number 1\n");
    let again = build(&bench, "cache-mounts", &["--build-arg", "STAMP=x"]);
    assert_eq!(again.read("/about"), "built for x, build number 2\n");
}

#[test]
fn a_secret_is_used_and_not_kept() {
    let bench = Bench::new().file("token", 0o600, "s3cret-of-the-test");
    let secret = format!("id=token,src={}", bench.t.context().join("token").display());
    let built = build(&bench, "secrets", &["--secret", &secret]);
    // sha256sum of the secret, to eight digits.
    assert_eq!(built.read("/fingerprint").trim_end().len(), 8);
    let store = bench.t.tool("grep", &["-raq", "s3cret-of-the-test", &bench.t.store().to_string_lossy()]);
    assert_eq!(store.code, 1, "the store holds no copy of the secret");
    // Without the secret the build says so.
    let base = format!("--build-context=busybox=oci-layout://{}:busybox:latest", bench.t.out("busybox").display());
    let context = example("secrets");
    let without = bench.t.kiln(&["build", "--no-cache", &base, &context.to_string_lossy()]);
    assert_ne!(without.code, 0);
    assert!(without.stderr.contains("token"), "{without}");
}

#[test]
fn a_site_without_run() {
    let bench = Bench::new();
    let built = build(&bench, "static-site", &["--isolation=none"]);
    for there in ["/srv/www/index.html", "/srv/www/about/index.html", "/srv/www/style.css", "/srv/www/robots.txt"] {
        assert!(built.has(there), "{there}\n{}", built.dump());
    }
    assert!(!built.has("/srv/www/about/next.draft.html"), "{}", built.dump());
}

#[test]
fn the_page_of_hello_web() {
    let bench = Bench::new();
    let built = build(&bench, "hello-web", &["--target=site", "--build-arg=GREETING=Hello from a test"]);
    assert!(built.read("/site/page.html").contains("<h1>Hello from a test</h1>"));
}
