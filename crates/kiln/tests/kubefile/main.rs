//! `kiln cluster` as a user runs it: Kubefiles, charts, manifests and lists in; one image with everything in it out.

mod attest;
mod bases;
mod dialects;
mod directories;
mod files;
mod hostile;
mod moves;
mod served;
mod site;
mod sources;
mod wanted;

use site::Site;

/// A Kubefile of sealer's first dialect, with all that it can name.
const KUBEFILE: &str = "\
FROM kubernetes:v1.19.8
COPY imageList manifests
COPY apollo charts
COPY helm /bin
CMD helm install charts/apollo
COPY recommended.yaml manifests
CMD kubectl apply -f manifests/recommended.yaml
";

#[test]
fn a_kubefile_becomes_one_image_with_everything_it_names() {
    let site = Site::new().with_kubernetes();
    let built = site.build(KUBEFILE, "my-cluster:v1.19.9", &[]).ok();
    assert!(built.stderr.contains("was read as sealer-v1"), "{built}");
    let inspected = site.kiln(&["cluster", "inspect", "my-cluster:v1.19.9", "--json"]).ok().json();
    assert_eq!(inspected["type"], "rootfs");
    assert_eq!(inspected["kubernetes"], "v1.19.8");
    let run = |text: &str| serde_json::json!({ "run": text });
    let launch = [run("helm install charts/apollo"), run("kubectl apply -f manifests/recommended.yaml")];
    assert_eq!(inspected["launch"], serde_json::json!(launch));
    let names = site.names("my-cluster:v1.19.9");
    for name in ["docker.io/library/nginx:latest", "docker.io/library/mysql:5.6"] {
        assert!(names.iter().any(|other| other == name), "{name}: {names:?}");
    }
    let files = site.kiln(&["ls", "my-cluster:v1.19.9"]).ok().stdout;
    for path in ["charts/apollo/Chart.yaml", "manifests/imageList", "bin/helm", "bin/kubeadm"] {
        assert!(files.contains(path), "{path}: {files}");
    }
}

#[test]
fn the_same_again_is_the_same_and_fetches_nothing() {
    let site = Site::new().with_kubernetes();
    let _ = site.build(KUBEFILE, "a:1", &["--quiet"]).ok();
    let _ = site.registry.requests();
    let first = site.build(KUBEFILE, "a:1", &["--quiet"]).ok().text().to_owned();
    let again = site.registry.requests();
    assert!(
        !again.is_empty() && again.iter().all(|r| !r.starts_with("GET /v2/") || !r.contains("/blobs/")),
        "{again:?}"
    );
    let other = Site::new().with_kubernetes();
    let second = other.build(KUBEFILE, "a:1", &["--quiet"]).ok().text().to_owned();
    assert_eq!(first, second, "another store, another registry: the same bytes");
}

#[test]
fn sixty_images_of_a_local_registry_are_packed_with_what_is_missing() {
    let site = Site::new();
    let names: Vec<String> = (0..60).map(|n| format!("apps/app{n}:1")).collect();
    names.iter().for_each(|name| site.image(name, name));
    site.write("sixty", &(names.join("\n") + "\n"));
    let text = "FROM scratch\nCOPY helm bin\n";
    let _ = site.registry.requests();
    let _ = site.build(text, "a:1", &["--image-list", "sixty"]).ok();
    let blobs = |all: &[String]| all.iter().filter(|r| r.starts_with("GET") && r.contains("/blobs/")).count();
    // A configuration and a layer of each image, and the layer that all share once.
    assert_eq!(blobs(&site.registry.requests()), 121);
    // Nothing has changed: each name is asked for once at the most, and nothing is fetched.
    let stored = || std::fs::read_dir(site.t.store().join("blobs/sha256")).unwrap().count();
    let before = stored();
    let _ = site.build(text, "a:1", &["--image-list", "sixty"]).ok();
    let again = site.registry.requests();
    assert!(blobs(&again) == 0 && again.len() <= 60, "{again:?}");
    assert_eq!(stored(), before, "nothing is stored again");
    // One image more: its manifest, configuration and own layer, and what lists all.
    site.image("apps/more:1", "more");
    site.write("sixty", &(names.join("\n") + "\napps/more:1\n"));
    let _ = site.build(text, "a:2", &["--image-list", "sixty"]).ok();
    assert_eq!(blobs(&site.registry.requests()), 2);
    assert!(stored() - before <= 6, "{before} blobs, then {}", stored());
    assert_eq!(site.names("a:2").len(), 61);
}

#[test]
fn who_names_an_image_is_told() {
    let site = Site::new().with_kubernetes();
    let _ = site.build(KUBEFILE, "a:1", &[]).ok();
    let why = site.kiln(&["cluster", "images", "a:1", "--why", "mysql"]).ok().stdout;
    assert!(why.contains("mysql:5.6\n  manifests/imageList:2 (images.list-file)"), "{why}");
    let none = site.kiln(&["cluster", "images", "a:1", "--why", "postgres"]).exits(1);
    assert!(none.stderr.contains("contains no image called `postgres`"), "{none}");
}

#[test]
fn one_more_image_is_all_that_is_fetched_and_pushed() {
    let site = Site::new().with_kubernetes();
    let _ = site.build(KUBEFILE, "a:1", &[]).ok();
    let there = site.target.reference("site/cluster:1");
    let _ = site.kiln(&["push", "a:1", &there]).ok();
    site.image("library/redis:7", "redis");
    site.write("more.txt", "redis:7\n");
    let _ = (site.registry.requests(), site.target.requests());
    let _ = site.build(KUBEFILE, "a:2", &["--image-list", "more.txt"]).ok();
    let fetched = site.registry.requests();
    let blobs: Vec<&String> = fetched.iter().filter(|r| r.starts_with("GET") && r.contains("/blobs/")).collect();
    assert!(!blobs.is_empty() && blobs.iter().all(|r| r.contains("library/redis")), "{fetched:?}");
    let diff = site.kiln(&["cluster", "diff", "a:1", "a:2"]).ok().stdout;
    assert!(diff.contains("+ docker.io/library/redis:7\n") && !diff.contains("nginx"), "{diff}");
    let _ = site.kiln(&["push", "a:2", &site.target.reference("site/cluster:2")]).ok();
    let sent = site.target.requests();
    let uploads = sent.iter().filter(|r| r.starts_with("PUT") && r.contains("/blobs/uploads/")).count();
    // The layer of redis that is its own, its configuration, the list of all images, and a root file system's
    // configuration that did not change.
    assert!((1..=3).contains(&uploads), "{sent:?}");
}
