//! Names: the registries that images are from, short forms, and images inside of cluster images.

use kiln_oci::{Descriptor, Digest, media};
use kiln_serve::{Running, Settings};
use serde_json::{Value, json};

use crate::support::{Server, request, settings};

/// A cluster image `cluster:1` that contains these images, with these layers.
fn cluster(server: &Server, tag: &str, images: &[(&str, &[u8], Option<&str>)]) -> Vec<Digest> {
    let mut entries: Vec<Value> = Vec::new();
    for (name, layer, platform) in images {
        let document = server.parts("cluster", layer);
        let bytes = serde_json::to_vec(&document).unwrap();
        let digest = Digest::of(&bytes).to_string();
        assert_eq!(server.manifest("cluster", &digest, media::OCI_MANIFEST, &document).status, 201);
        let mut entry = serde_json::to_value(Descriptor::of(media::OCI_MANIFEST, &bytes)).unwrap();
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        if let Some(platform) = platform {
            entry["platform"] = json!({"os": "linux", "architecture": platform});
        }
        entries.push(entry);
    }
    let index = json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": entries});
    assert_eq!(server.manifest("cluster", tag, media::OCI_INDEX, &index).status, 201);
    entries.iter().map(|e| e["digest"].as_str().unwrap().parse().unwrap()).collect()
}

#[test]
fn images_inside_a_cluster_image_are_served_under_their_names() {
    let server = Server::start();
    let digests = cluster(
        &server,
        "1",
        &[
            ("docker.io/library/nginx:1.27", b"docker", None),
            ("quay.io/library/nginx:1.27", b"quay", None),
            ("registry.k8s.io/pause:3.10", b"pause", None),
            ("latest", b"only a tag", None),
        ],
    );
    let get = |path: &str| server.ask("GET", path);
    let is = |path: &str, want: &Digest| {
        assert_eq!(get(path).header("docker-content-digest"), Some(want.to_string().as_str()), "{path}");
    };
    is("/v2/docker.io/library/nginx/manifests/1.27", &digests[0]);
    is("/v2/library/nginx/manifests/1.27?ns=docker.io", &digests[0]);
    is("/v2/nginx/manifests/1.27?ns=docker.io", &digests[0]);
    is("/v2/library/nginx/manifests/1.27?ns=quay.io", &digests[1]);
    // The short form is there while it means one thing.
    is("/v2/pause/manifests/3.10", &digests[2]);
    let ambiguous = get("/v2/library/nginx/manifests/1.27");
    assert_eq!(ambiguous.verdict(), "404 NAME_UNKNOWN");
    assert_eq!(ambiguous.json()["errors"][0]["detail"]["registries"], json!(["docker.io", "quay.io"]));
    let blob = Digest::of(b"quay");
    assert_eq!(get(&format!("/v2/library/nginx/blobs/{blob}?ns=quay.io")).body, b"quay");
    assert_eq!(get(&format!("/v2/library/nginx/blobs/{blob}?ns=docker.io")).status, 404);
    let names = get("/v2/_catalog").json()["repositories"].clone();
    assert_eq!(names, json!(["cluster", "docker.io/library/nginx", "quay.io/library/nginx", "registry.k8s.io/pause"]));
    let refused = server.ask("DELETE", "/v2/pause/manifests/3.10");
    assert_eq!(refused.verdict(), "405 UNSUPPORTED");
    assert!(refused.json()["errors"][0]["message"].as_str().unwrap().contains("localhost/cluster:1"));
    // What is pushed under the name goes before what is contained.
    let pushed = server.image("registry.k8s.io/pause", "3.10", b"other");
    is("/v2/registry.k8s.io/pause/manifests/3.10", &pushed.digest);
    is(&format!("/v2/registry.k8s.io/pause/manifests/{}", digests[2]), &digests[2]);
}

#[test]
fn an_image_for_several_platforms_is_an_index() {
    let server = Server::start();
    let digests = cluster(
        &server,
        "1",
        &[
            ("docker.io/library/app:1", b"for amd64", Some("amd64")),
            ("docker.io/library/app:1", b"for arm64", Some("arm64")),
        ],
    );
    let got = server.ask("GET", "/v2/library/app/manifests/1");
    assert_eq!(got.header("content-type"), Some(media::OCI_INDEX));
    let index = got.json();
    let listed: Vec<&str> =
        index["manifests"].as_array().unwrap().iter().map(|m| m["digest"].as_str().unwrap()).collect();
    assert_eq!(listed, digests.iter().map(Digest::to_string).collect::<Vec<_>>());
    assert_eq!(index["manifests"][1]["platform"]["architecture"], "arm64");
    let by_digest = format!("/v2/library/app/manifests/{}", Digest::of(&got.body));
    assert_eq!(server.ask("GET", &by_digest).body, got.body);
    assert_eq!(server.ask("GET", &format!("/v2/library/app/manifests/{}", digests[1])).status, 200);
    assert_eq!(server.ask("GET", &format!("/v2/library/app/blobs/{}", Digest::of(b"for arm64"))).status, 200);
}

#[test]
fn one_image_can_be_served_alone() {
    let server = Server::start();
    cluster(&server, "1", &[("docker.io/library/a:1", b"first", None)]);
    cluster(&server, "2", &[("docker.io/library/a:1", b"second", None)]);
    server.image("secret", "1", b"hidden");
    let only = |s: Settings| Settings { images: vec!["localhost/cluster:2".to_owned()], ..s };
    let alone = Running::start(only(settings(&server.dir.path().join("store")))).unwrap();
    let get = |path: &str| request(alone.address(), "GET", path, &[], b"");
    let second = Digest::of(b"second");
    assert_eq!(get(&format!("/v2/library/a/blobs/{second}")).body, b"second");
    assert_eq!(get("/v2/secret/manifests/1").verdict(), "404 NAME_UNKNOWN");
    assert_eq!(get(&format!("/v2/library/a/blobs/{}", Digest::of(b"first"))).status, 404);
    assert_eq!(request(alone.address(), "POST", "/v2/x/blobs/uploads/", &[], b"").status, 405);
}

#[test]
fn what_is_pushed_has_the_registry_it_was_pushed_with() {
    let server = Server::start();
    server.image("team/app", "1", b"a");
    server.image("docker.io/library/nginx", "1", b"b");
    server.image("localhost:5000/x", "1", b"c");
    let names: Vec<String> = server.store().list_refs().unwrap().into_iter().map(|r| r.name).collect();
    assert_eq!(names, ["docker.io/library/nginx:1", "localhost/team/app:1", "localhost:5000/x:1"]);
    // A push under a short name starts a repository of its own, and may use what the long one has.
    let document = server.parts("library/nginx", b"b");
    assert_eq!(server.manifest("library/nginx", "2", media::OCI_MANIFEST, &document).status, 201);
    assert_eq!(server.ask("GET", "/v2/library/nginx/tags/list").json()["tags"], json!(["2"]));
    assert_eq!(server.ask("GET", "/v2/docker.io/library/nginx/tags/list").json()["tags"], json!(["1"]));
}
