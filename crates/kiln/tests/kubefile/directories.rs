//! Directories of registries: what `kiln registry export` writes is served by docker's registry, and read again.

use std::os::unix::fs::symlink;

use kiln_testkit::Registry;

use crate::KUBEFILE;
use crate::site::Site;

#[test]
fn an_exported_directory_is_served_by_dockers_registry_with_the_same_digests() {
    let site = Site::new().with_kubernetes();
    let _ = site.build(KUBEFILE, "a:1", &[]).ok();
    let dir = site.t.out("registry");
    let path = dir.to_str().unwrap();
    let said = site.kiln(&["registry", "export", path, "a:1"]).ok();
    assert!(said.stdout.contains("nginx:latest (docker.io/library/nginx, library/nginx)\n"), "{said}");
    let served = Registry::on(&dir);
    for name in site.names("a:1") {
        let digest = site.field("a:1", &name, "digest");
        assert_eq!(served.digest(&name), digest, "{name}");
        let short = name.split_once('/').unwrap().1;
        assert_eq!(served.digest(short), digest, "{short}");
    }
    // All of an image is there, and not only what names it.
    let layout = site.t.out("nginx");
    served.pull("library/nginx:latest", &format!("oci:{}:x", layout.display()));
    assert!(layout.join("index.json").exists());
    // What is there is not written again, and one image more is only what is its own.
    let again = site.kiln(&["registry", "export", path, "a:1"]).ok();
    assert!(again.stderr.contains(", 0 bytes written"), "{again}");
    site.image("library/redis:7", "redis");
    let _ = site.kiln(&["pull", &site.registry.reference("library/redis:7")]).ok();
    let _ = site.kiln(&["tag", &site.registry.reference("library/redis:7"), "localhost/own/redis:7"]).ok();
    let more = site.kiln(&["registry", "export", path, "localhost/own/redis:7"]).ok();
    let written: u64 = more.stderr.split(", ").nth(1).and_then(|s| s.split(' ').next()?.parse().ok()).unwrap();
    assert!((1..20_000).contains(&written), "the layer that all share is there: {more}");
    assert_eq!(served.digest("own/redis:7"), site.registry.digest("library/redis:7"));
}

#[test]
fn a_directory_comes_into_the_store_as_it_was() {
    let site = Site::new().with_kubernetes();
    let _ = site.build(KUBEFILE, "a:1", &[]).ok();
    let (dir, store) = (site.t.out("registry"), site.t.out("other"));
    let (path, store) = (dir.to_str().unwrap(), store.to_str().unwrap());
    let _ = site.kiln(&["registry", "export", "-q", path, "a:1"]).ok();
    let said = site.kiln(&["--store", store, "registry", "import", path]).ok();
    assert!(said.stderr.contains(&format!("{} images", site.names("a:1").len())), "aliases are not counted: {said}");
    assert!(!said.stderr.contains("without a tag"), "{said}");
    let listed = site.kiln(&["--store", store, "images", "--digests", "--json"]).ok().text().to_owned();
    for name in site.names("a:1") {
        assert!(listed.contains(&site.field("a:1", &name, "digest")), "{name}: {listed}");
    }
    let _ = site.kiln(&["--store", store, "fsck"]).ok();
    // What docker's registry keeps, whose names have no registry.
    let data = site.registry.data();
    let whole = data.ancestors().nth(3).unwrap().to_str().unwrap();
    let said = site.kiln(&["--store", store, "registry", "import", whole, "--registry", "r.example"]).ok();
    assert!(said.stdout.contains("r.example/example/dash:v2.4.0 ("), "{said}");
    // A tag that has moved leaves a manifest behind.
    site.image("example/dash:v2.4.0", "another");
    let said = site.kiln(&["--store", store, "registry", "import", whole]).ok();
    assert!(said.stderr.contains("1 manifests without a tag were left: --untagged takes them"), "{said}");
    let said = site.kiln(&["--store", store, "registry", "import", whole, "--untagged"]).ok();
    assert!(said.stdout.contains("localhost/example/dash@sha256:"), "{said}");
}

#[test]
fn what_cannot_be_exported_or_imported_is_refused_and_nothing_is_named() {
    let site = Site::new();
    let _ = site.kiln(&["pull", &site.registry.reference("example/dash:v2.4.0")]).ok();
    let name = site.registry.reference("example/dash:v2.4.0");
    let dir = site.t.out("registry");
    let path = dir.to_str().unwrap();
    // A link in the directory would lead the writing elsewhere.
    let outside = site.t.out("outside");
    std::fs::create_dir_all(dir.join("docker/registry/v2")).unwrap();
    std::fs::create_dir_all(&outside).unwrap();
    symlink(&outside, dir.join("docker/registry/v2/blobs")).unwrap();
    let refused = site.kiln(&["registry", "export", path, &name]).exits(3);
    assert!(refused.stderr.contains("cannot write"), "{refused}");
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    std::fs::remove_file(dir.join("docker/registry/v2/blobs")).unwrap();
    let _ = site.kiln(&["registry", "export", "-q", path, &name]).ok();
    for (args, code, says) in [
        (vec!["export", path], 2, "IMAGE"),
        (vec!["export", path, "none:1"], 1, "none:1"),
        (vec!["import", "/none"], 1, "/none"),
        (vec!["import", path, "--registry", "a/b"], 2, "not the name of a registry"),
        (vec!["import", path, "--registry", "nohost"], 2, "not the name of a registry"),
    ] {
        let refused = site.kiln(&[&["registry"], &args[..]].concat()).exits(code);
        assert!(refused.stderr.contains(says), "{refused}");
    }
    // A blob that is not what its name says: nothing of the directory gets a name.
    let layer = std::fs::read_dir(dir.join("docker/registry/v2/repositories/example/dash/_layers/sha256")).unwrap();
    let hex = layer.last().unwrap().unwrap().file_name().into_string().unwrap();
    let blob = dir.join("docker/registry/v2/blobs/sha256").join(&hex[..2]).join(&hex).join("data");
    let mut bytes = std::fs::read(&blob).unwrap();
    bytes[0] ^= 1;
    std::fs::write(&blob, bytes).unwrap();
    let store = site.t.out("other");
    let store = store.to_str().unwrap();
    let refused = site.kiln(&["--store", store, "registry", "import", path]).exits(1);
    assert!(refused.stderr.contains("is not what its name says"), "{refused}");
    assert_eq!(site.kiln(&["--store", store, "images", "--json"]).ok().stdout.trim(), "[]");
}
