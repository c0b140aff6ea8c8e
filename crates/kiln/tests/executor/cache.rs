//! Layers in a cache repository, and bases in a directory.

use std::fs;
use std::path::{Path, PathBuf};

use kiln_testkit::TestContext;

use crate::{Pod, run};

/// A command whose result differs each time it runs.
const TEXT: &str =
    "RUN head -c 9 /dev/urandom > /random && printf 'it %s' ran\nCOPY Dockerfile /f\nWORKDIR /w\nRUN cat /random > /r";

fn machine(pod: &Pod) -> TestContext {
    let t = Pod::machine();
    pod.write(&t, TEXT);
    t
}

/// Everything below a directory.
fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            found.extend(walk(&path));
        }
        found.push(path);
    }
    found
}

fn blob_in(pod: &Pod, digest: &str) -> PathBuf {
    let hex = digest.trim_start_matches("sha256:");
    let found = walk(&pod.registry.data()).into_iter().find(|p| p.ends_with(format!("{hex}/data")));
    found.unwrap_or_else(|| panic!("{digest} is not in the registry"))
}

fn manifest(pod: &Pod, name: &str) -> serde_json::Value {
    let name = format!("docker://{}", pod.registry.reference(name));
    pod.t.tool("skopeo", &["inspect", "--raw", "--tls-verify=false", &name]).ok().json()
}

#[test]
fn what_one_machine_made_another_takes() {
    let pod = Pod::start();
    let (first, second) = (machine(&pod), machine(&pod));
    let made = run(&first, &[&pod.to("app:1"), "--cache=true", "--cache-copy-layers"]).ok();
    assert!(made.stdout.contains("it ran"), "{made}");
    let taken = run(&second, &[&pod.to("app:2"), "--cache=true", "--cache-copy-layers"]).ok();
    assert!(!taken.stdout.contains("it ran"), "{taken}");
    assert!(taken.stderr.contains("Using caching version of cmd: RUN head"), "{taken}");
    let (one, two) = (manifest(&pod, "app:1"), manifest(&pod, "app:2"));
    assert_eq!(one["layers"], two["layers"]);
    for layer in two["layers"].as_array().unwrap() {
        let hex = layer["digest"].as_str().unwrap().trim_start_matches("sha256:");
        assert!(!second.store().join("blobs/sha256").join(hex).exists(), "{hex} passed through");
    }
    let third = machine(&pod);
    let elsewhere = run(&third, &["--no-push", "--cache=true", &cache_of(&pod)]).ok();
    assert!(!elsewhere.stdout.contains("it ran"), "{elsewhere}");
    assert!(!elsewhere.stderr.contains("caching version of cmd: COPY"), "not without --cache-copy-layers: {elsewhere}");
}

fn cache_of(pod: &Pod) -> String {
    format!("--cache-repo={}", pod.registry.reference("app/cache"))
}

#[test]
fn without_the_flag_everything_runs() {
    let pod = Pod::start();
    let t = machine(&pod);
    for (flags, ran) in [(&[][..], true), (&["--cache=false"], true), (&["--cache", "--no-push-cache"], false)] {
        let done = run(&t, &[&["--no-push"], flags].concat()).ok();
        assert_eq!(done.stdout.contains("it ran"), ran, "{flags:?}: {done}");
    }
}

#[test]
fn flags_decide_what_is_cached() {
    let pod = Pod::start();
    let made = run(&machine(&pod), &[&pod.to("app:1"), "--cache", "--no-push-cache"]).ok();
    assert!(made.stdout.contains("it ran"));
    let data = pod.registry.data();
    let cached = || walk(&data).iter().any(|p| p.ends_with("app/cache/_manifests"));
    assert!(!cached());
    let _ = run(&machine(&pod), &[&pod.to("app:1"), "--cache", "--cache-run-layers=false"]).ok();
    assert!(!cached());
    let _ = run(&machine(&pod), &[&pod.to("app:1"), "--cache"]).ok();
    assert!(cached());
    let old = run(&machine(&pod), &[&pod.to("app:1"), "--cache", "--cache-ttl=0s"]).ok();
    assert!(old.stdout.contains("it ran"), "nothing is that young: {old}");
}

#[test]
fn a_damaged_layer_is_made_anew() {
    let pod = Pod::start();
    let _ = run(&machine(&pod), &[&pod.to("app:1"), "--cache"]).ok();
    let layer = manifest(&pod, "app:1")["layers"][1]["digest"].as_str().unwrap().to_owned();
    let blob = blob_in(&pod, &layer);
    let good = fs::read(&blob).unwrap();
    let mut bad = good.clone();
    bad[20] ^= 1;
    for bytes in [&bad[..], &good[..30]] {
        fs::write(&blob, bytes).unwrap();
        // Another destination, which cannot take the layer over; the step above reads it.
        let t = machine(&pod);
        pod.write(&t, &format!("{TEXT}\nRUN echo more"));
        let flags = ["--no-push", "--cache", "--no-push-cache", &cache_of(&pod)];
        let done = run(&t, &flags).ok();
        assert!(done.stdout.contains("it ran"), "{done}");
        assert!(done.stderr.contains("of the cache cannot be used, so it is made anew"), "{done}");
    }
    // Nothing reads it before the image is written.
    let t = machine(&pod);
    let tar = format!("--tar-path={}", t.out("app.tar").display());
    let done = run(&t, &["--no-push", "--cache", "--no-push-cache", &cache_of(&pod), &tar]).ok();
    assert!(done.stdout.contains("it ran"), "{done}");
}

#[test]
fn an_entry_that_is_none_is_passed_over() {
    let pod = Pod::start();
    let _ = run(&machine(&pod), &[&pod.to("app:1"), "--cache"]).ok();
    let tags = walk(&pod.registry.data()).into_iter().filter(|p| p.ends_with("_manifests/tags")).collect::<Vec<_>>();
    let tags = tags.iter().find(|p| p.to_str().unwrap().contains("app/cache")).unwrap();
    for tag in fs::read_dir(tags).unwrap().flatten() {
        let name = format!("app/cache:{}", tag.file_name().to_str().unwrap());
        let (from, to) = (pod.registry.reference("base:1"), pod.registry.reference(&name));
        let _ = pod.t.kiln(&["copy", &format!("docker://{from}"), &format!("docker://{to}")]).ok();
    }
    let done = run(&machine(&pod), &[&pod.to("app:2"), "--cache"]).ok();
    assert!(done.stdout.contains("it ran"), "{done}");
    assert!(done.stderr.contains("is passed over") && done.stderr.contains("it is not a layer of a step"), "{done}");
}

#[test]
fn a_cache_that_cannot_be_written_is_a_warning() {
    let pod = Pod::start();
    let private = kiln_testkit::Registry::start(kiln_testkit::Auth::Basic);
    let cache = format!("--cache-repo={}", private.reference("cache"));
    let done = run(&machine(&pod), &[&pod.to("app:1"), "--cache", &cache]).ok();
    assert!(done.stderr.contains("steps are not pushed to the cache"), "{done}");
}

#[test]
fn the_build_verb_shares_layers_too() {
    let pod = Pod::start();
    let text = format!("FROM {}\n{TEXT}", pod.registry.reference("base:1"));
    let (to, from) = (pod.registry.reference("shared"), pod.registry.reference("shared"));
    let build = |flags: &[&str], target: &str| {
        let t = Pod::machine();
        let last = format!("FROM {}\nCOPY --from=0 /r {target}", pod.registry.reference("base:1"));
        t.write("Dockerfile", 0o644, format!("{text}\n{last}"));
        t.kiln(&[&["build", "--progress=plain"], flags, &[t.context().to_str().unwrap()]].concat()).ok()
    };
    let min = build(&["--cache-to", &format!("type=registry,ref={to}")], "/r");
    assert!(min.stderr.contains("it ran"));
    let cached = build(&["--cache-from", &from], "/r");
    assert!(!cached.stderr.contains("it ran"), "what the last step reads is not needed: {cached}");
    let other = build(&["--cache-from", &from], "/other");
    assert!(other.stderr.contains("it ran"), "the stage is no part of the result: {other}");
    // The first stage copies the Dockerfile, so that it is another one here.
    let _ = build(&["--cache-to", &format!("type=registry,ref={to},mode=max")], "/other");
    let cached = build(&["--cache-from", &from], "/other");
    assert!(!cached.stderr.contains("it ran"), "{cached}");
}

#[test]
fn a_repository_is_looked_into_and_emptied() {
    let pod = Pod::start();
    let _ = run(&machine(&pod), &[&pod.to("app:1"), "--cache", "--cache-copy-layers"]).ok();
    let cache = pod.registry.reference("app/cache");
    let base = pod.registry.reference("base:1");
    let _ = pod.t.kiln(&["copy", &format!("docker://{base}"), &format!("docker://{cache}:other")]).ok();
    let list = pod.t.kiln(&["cache", "ls", &cache]).ok();
    assert!(list.stdout.contains("4 layers, ") && list.stdout.contains("RUN head -c 9"), "{list}");
    assert!(list.stdout.contains("1 tags of something else"), "{list}");
    let json = pod.t.kiln(&["cache", "ls", "--json", &cache]).ok().json();
    assert_eq!(json.as_array().unwrap().len(), 4);
    let dry = pod.t.kiln(&["cache", "prune", "--keep-count=1", "--dry-run", &cache]).ok();
    assert!(dry.stdout.starts_with("Would remove 3 layers"), "{dry}");
    let none = pod.t.kiln(&["cache", "prune", "--keep-duration=24h", &cache]).ok();
    assert!(none.stdout.starts_with("Removed 0 layers") && none.stdout.contains("; 4 stay"), "{none}");
    let gone = pod.t.kiln(&["cache", "prune", "--keep-count=0", "--json", &cache]).ok().json();
    assert_eq!((gone["removed"].as_array().unwrap().len(), &gone["kept"]), (4, &0.into()));
    let left = pod.t.kiln(&["cache", "ls", &cache]).ok();
    assert!(left.stdout.contains("0 layers, 0B") && left.stdout.contains("1 tags of something else"), "{left}");
    let built = run(&machine(&pod), &[&pod.to("app:1"), "--cache"]).ok();
    assert!(built.stdout.contains("it ran"), "{built}");
    let _ = pod.t.kiln(&["cache", "prune", &cache]).exits(2);
    let _ = pod.t.kiln(&["cache", "ls", &base]).exits(2);
}

#[test]
fn a_directory_holds_layers_too() {
    let pod = Pod::start();
    let dir = pod.t.root().join("steps");
    let cache = format!("--cache-repo=oci:{}", dir.display());
    let flags = ["--no-push", "--cache", "--cache-copy-layers", &cache];
    assert!(run(&machine(&pod), &flags).ok().stdout.contains("it ran"));
    let index: serde_json::Value = serde_json::from_slice(&fs::read(dir.join("index.json")).unwrap()).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 4);
    let second = machine(&pod);
    let taken = run(&second, &flags).ok();
    assert!(!taken.stdout.contains("it ran"), "{taken}");
    let local = format!("type=local,src={}", dir.display());
    let build = |t: &TestContext, more: &[&str]| {
        t.kiln(
            &[&["build", "--progress=plain", "--cache-from", &local], more, &[t.context().to_str().unwrap()]].concat(),
        )
    };
    assert!(!build(&machine(&pod), &[]).ok().stderr.contains("it ran"));
    // A layer that is damaged is made anew; documents that are damaged are passed over.
    let blobs = || fs::read_dir(dir.join("blobs/sha256")).unwrap().flatten().map(|e| e.path());
    for blob in blobs().filter(|p| fs::read(p).unwrap().starts_with(&[0x1f, 0x8b])) {
        fs::write(&blob, b"damaged").unwrap();
    }
    let tar = format!("type=oci,dest={}", pod.t.out("app.tar").display());
    let anew = build(&machine(&pod), &["-o", &tar]).ok();
    assert!(anew.stderr.contains("it ran") && anew.stderr.contains("so it is made anew"), "{anew}");
    for blob in blobs() {
        fs::write(&blob, b"damaged").unwrap();
    }
    let passed = build(&machine(&pod), &[]).ok();
    assert!(passed.stderr.contains("it ran") && passed.stderr.contains("is passed over"), "{passed}");
    fs::write(dir.join("index.json"), b"damaged").unwrap();
    let passed = build(&machine(&pod), &[]).ok();
    assert!(passed.stderr.contains("it ran") && passed.stderr.contains("is passed over"), "{passed}");
}

#[test]
fn bases_come_from_a_directory() {
    let pod = Pod::start();
    pod.dockerfile(TEXT);
    let dir = pod.t.out("cache");
    let flag = format!("--cache-dir={}", dir.display());
    let dockerfile = format!("--dockerfile={}/Dockerfile", pod.t.context().display());
    let warmed = pod.t.kiln(&["warmer", "--log-format=text", &flag, &dockerfile]).ok();
    assert!(warmed.stderr.contains("Cached: "), "{warmed}");
    let again = pod.t.kiln(&["warmer", "--log-format=text", &flag, "-i", &pod.registry.reference("base:1")]).ok();
    assert!(again.stderr.contains("Image already in cache"), "{again}");
    let none = pod.t.kiln(&["warmer", &flag]).exits(1);
    assert!(none.stderr.contains("you must select at least one image"), "{none}");
    // The registry still says what the name means, but has lost the layer.
    let layer = manifest(&pod, "base:1")["layers"][0]["digest"].as_str().unwrap().to_owned();
    let blob = blob_in(&pod, &layer);
    fs::remove_file(&blob).unwrap();
    let done = run(&machine(&pod), &["--no-push", &flag]).ok();
    assert!(done.stdout.contains("it ran"), "{done}");
    let without = run(&machine(&pod), &["--no-push", "--cache-dir=/nowhere"]).exits(1);
    assert!(without.stderr.contains("there is no such directory, so bases come from registries"), "{without}");
    let in_layout = dir.join("blobs/sha256").join(layer.trim_start_matches("sha256:"));
    fs::write(&in_layout, b"damaged").unwrap();
    let damaged = run(&machine(&pod), &["--no-push", &flag]).exits(1);
    assert!(damaged.stderr.contains("is passed over"), "{damaged}");
}
