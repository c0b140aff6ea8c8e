//! Every endpoint of the distribution specification, and every way it says no, over HTTP by hand.

use kiln_oci::{Descriptor, Digest, media};
use serde_json::json;

use crate::support::Server;

#[test]
fn an_image_goes_in_and_comes_out() {
    let server = Server::start();
    assert_eq!(server.ask("GET", "/v2/").status, 200);
    let image = server.image("team/app", "1", b"layer");
    for target in ["1".to_owned(), image.digest.to_string()] {
        let path = format!("/v2/team/app/manifests/{target}");
        let got = server.ask("GET", &path);
        assert_eq!((got.status, Digest::of(&got.body)), (200, image.digest.clone()));
        assert_eq!(got.header("content-type"), Some(media::OCI_MANIFEST));
        assert_eq!(got.header("docker-content-digest"), Some(image.digest.to_string().as_str()));
        let head = server.ask("HEAD", &path);
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header("content-length"), Some(image.size.to_string().as_str()));
        let etag = got.header("etag").unwrap();
        assert_eq!(server.send("GET", &path, &[("If-None-Match", etag)], b"").status, 304);
        assert_eq!(server.send("GET", &path, &[("If-None-Match", "\"x\"")], b"").status, 200);
        assert_eq!(server.send("GET", &path, &[("If-Match", "\"x\"")], b"").status, 412);
    }
    let layer = Digest::of(b"layer");
    let got = server.ask("GET", &format!("/v2/team/app/blobs/{layer}"));
    assert_eq!((got.status, got.body.as_slice()), (200, &b"layer"[..]));
    let head = server.ask("HEAD", &format!("/v2/team/app/blobs/{layer}"));
    assert_eq!((head.status, head.header("content-length")), (200, Some("5")));
    assert_eq!(server.ask("GET", "/v2/team/app/tags/list").json(), json!({"name": "team/app", "tags": ["1"]}));
    assert_eq!(server.ask("GET", "/v2/_catalog").json(), json!({"repositories": ["team/app"]}));
    let names: Vec<String> = server.store().list_refs().unwrap().into_iter().map(|r| r.name).collect();
    assert_eq!(names, ["localhost/team/app:1"]);
    assert!(server.store().fsck(false).unwrap().problems.is_empty());
}

#[test]
fn parts_of_a_blob_are_served() {
    let server = Server::start();
    server.image("a", "1", b"0123456789");
    let path = format!("/v2/a/blobs/{}", Digest::of(b"0123456789"));
    let get = |range: &str| server.send("GET", &path, &[("Range", range)], b"");
    for (range, body, header) in [
        ("bytes=0-3", "0123", "bytes 0-3/10"),
        ("bytes=5-", "56789", "bytes 5-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
        ("bytes=9-100", "9", "bytes 9-9/10"),
    ] {
        let got = get(range);
        assert_eq!((got.status, String::from_utf8_lossy(&got.body).as_ref()), (206, body), "{range}");
        assert_eq!(got.header("content-range"), Some(header));
    }
    assert_eq!((get("bytes=10-").status, get("bytes=10-").header("content-range")), (416, Some("bytes */10")));
    assert_eq!((get("bytes=0-1,3-4").status, get("lines=1-2").status), (200, 200));
    let stale = server.send("GET", &path, &[("Range", "bytes=0-3"), ("If-Range", "\"other\"")], b"");
    assert_eq!((stale.status, stale.body.len()), (200, 10));
    assert_eq!(server.send("HEAD", &path, &[("Range", "bytes=0-3")], b"").status, 206);
}

#[test]
fn every_refusal_has_its_code() {
    let server = Server::start();
    let image = server.image("a", "1", b"layer");
    let missing = Digest::of(b"missing");
    let layer = Digest::of(b"layer");
    let table: &[(&str, &str, &str)] = &[
        ("GET", "/v2/none/manifests/1", "404 NAME_UNKNOWN"),
        ("GET", "/v2/none/tags/list", "404 NAME_UNKNOWN"),
        ("GET", "/v2/a/manifests/2", "404 MANIFEST_UNKNOWN"),
        ("GET", &format!("/v2/a/manifests/{missing}"), "404 MANIFEST_UNKNOWN"),
        // A layer is no manifest, though the repository has it.
        ("GET", &format!("/v2/a/manifests/{layer}"), "404 MANIFEST_UNKNOWN"),
        ("GET", &format!("/v2/a/blobs/{missing}"), "404 BLOB_UNKNOWN"),
        ("GET", &format!("/v2/other/blobs/{layer}"), "404 BLOB_UNKNOWN"),
        ("GET", "/v2/a/blobs/sha256:zz", "400 DIGEST_INVALID"),
        ("GET", "/v2/a/manifests/sha256:12", "400 DIGEST_INVALID"),
        ("GET", "/v2/A/tags/list", "400 NAME_INVALID"),
        ("GET", "/v2/a/../a/tags/list", "400 NAME_INVALID"),
        ("GET", "/v2/a/tags/list?n=x", "400 PAGINATION_NUMBER_INVALID"),
        ("GET", "/v2/_catalog?n=-1", "400 PAGINATION_NUMBER_INVALID"),
        ("GET", "/v2/a/blobs/uploads/0123456789abcdef0123456789abcdef", "404 BLOB_UPLOAD_UNKNOWN"),
        ("PATCH", "/v2/a/blobs/uploads/0123456789abcdef0123456789abcdef", "404 BLOB_UPLOAD_UNKNOWN"),
        ("DELETE", "/v2/a/blobs/uploads/0123456789abcdef0123456789abcdef", "404 BLOB_UPLOAD_UNKNOWN"),
        ("POST", "/v2/a/blobs/uploads/?digest=x", "400 DIGEST_INVALID"),
        ("POST", "/v2/a/blobs/uploads/?mount=x&from=b", "400 DIGEST_INVALID"),
        ("POST", "/v2/a/manifests/1", "405 UNSUPPORTED"),
        ("PUT", "/v2/", "405 UNSUPPORTED"),
        ("BREW", "/v2/a/tags/list", "405 UNSUPPORTED"),
        ("GET", "/v2/a", "404 UNSUPPORTED"),
        ("DELETE", "/v2/a/manifests/2", "404 MANIFEST_UNKNOWN"),
        ("DELETE", &format!("/v2/a/blobs/{missing}"), "404 BLOB_UNKNOWN"),
        ("DELETE", &format!("/v2/a/blobs/{layer}"), "405 UNSUPPORTED"),
        ("PUT", "/v2/a/manifests/1", "400 MANIFEST_INVALID"),
    ];
    for (method, path, want) in table {
        assert_eq!(server.ask(method, path).verdict(), *want, "{method} {path}");
    }
    assert_eq!(server.ask("POST", "/v2/a/manifests/1").header("allow"), Some("GET, HEAD, PUT, DELETE"));
    // What is there is still there.
    assert_eq!(server.ask("GET", &format!("/v2/a/manifests/{}", image.digest)).status, 200);
}

#[test]
fn manifests_are_refused_that_name_what_is_not_there() {
    let server = Server::start();
    let good = server.parts("a", b"layer");
    let put = |document: &serde_json::Value, kind: &str| server.manifest("a", "1", kind, document).verdict();
    let mut bad = good.clone();
    bad["layers"] = json!([Descriptor::of(media::OCI_LAYER, b"missing")]);
    let answer = server.manifest("a", "1", media::OCI_MANIFEST, &bad);
    assert_eq!(answer.verdict(), "404 MANIFEST_BLOB_UNKNOWN");
    assert!(answer.json()["errors"][0]["detail"]["digests"][0].is_string(), "{answer:?}");
    // Another repository's blob cannot be had by its digest alone.
    server.blob("secret", b"hidden");
    bad["layers"] = json!([Descriptor::of(media::OCI_LAYER, b"hidden")]);
    assert_eq!(put(&bad, media::OCI_MANIFEST), "404 MANIFEST_BLOB_UNKNOWN");
    bad["layers"][0]["size"] = json!(1);
    bad["layers"][0]["digest"] = json!(Digest::of(b"layer").to_string());
    assert_eq!(put(&bad, media::OCI_MANIFEST), "400 MANIFEST_INVALID");
    let index = json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": [
        Descriptor::of(media::OCI_MANIFEST, b"{}")]});
    assert_eq!(put(&index, media::OCI_INDEX), "404 MANIFEST_BLOB_UNKNOWN");
    assert_eq!(put(&good, media::DOCKER_MANIFEST), "400 MANIFEST_INVALID");
    assert_eq!(put(&good, "text/html"), "400 MANIFEST_INVALID");
    assert_eq!(put(&json!({"schemaVersion": 1, "fsLayers": []}), media::DOCKER_SCHEMA1[1]), "400 MANIFEST_INVALID");
    let wrong = Digest::of(b"wrong").to_string();
    assert_eq!(server.manifest("a", &wrong, media::OCI_MANIFEST, &good).verdict(), "400 DIGEST_INVALID");
    assert_eq!(server.ask("GET", "/v2/a/tags/list").verdict(), "404 NAME_UNKNOWN", "nothing of it has a name");
    assert_eq!(put(&good, media::OCI_MANIFEST), "201");
}

#[test]
fn an_index_keeps_its_platforms_and_gives_up_their_names() {
    let server = Server::start();
    let mut children = Vec::new();
    for platform in ["amd64", "arm64"] {
        let document = server.parts("a", platform.as_bytes());
        let bytes = serde_json::to_vec(&document).unwrap();
        let child = Descriptor::of(media::OCI_MANIFEST, &bytes);
        assert_eq!(server.manifest("a", &child.digest.to_string(), media::OCI_MANIFEST, &document).status, 201);
        children.push(child);
    }
    assert_eq!(server.store().list_refs().unwrap().len(), 2);
    let index = json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": children});
    assert_eq!(server.manifest("a", "multi", media::OCI_INDEX, &index).status, 201);
    let names: Vec<String> = server.store().list_refs().unwrap().into_iter().map(|r| r.name).collect();
    assert_eq!(names, ["localhost/a:multi"]);
    for child in &children {
        assert_eq!(server.ask("GET", &format!("/v2/a/manifests/{}", child.digest)).status, 200);
        assert_eq!(server.ask("DELETE", &format!("/v2/a/manifests/{}", child.digest)).verdict(), "405 UNSUPPORTED");
    }
    assert_eq!(server.ask("GET", &format!("/v2/a/blobs/{}", Digest::of(b"arm64"))).status, 200);
    assert!(server.store().fsck(false).unwrap().problems.is_empty());
}

#[test]
fn referrers_are_listed() {
    let server = Server::start();
    let image = server.image("a", "1", b"layer");
    server.blob("a", media::EMPTY);
    let path = format!("/v2/a/referrers/{}", image.digest);
    assert_eq!(server.ask("GET", &path).json()["manifests"], json!([]));
    let mut made = Vec::new();
    for kind in ["application/x.sbom", "application/x.signature"] {
        let document = json!({"schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "artifactType": kind,
            "config": Descriptor::empty(), "layers": [], "subject": image, "annotations": {"made.by": "hand"}});
        let digest = Digest::of(&serde_json::to_vec(&document).unwrap()).to_string();
        let answer = server.manifest("a", &digest, media::OCI_MANIFEST, &document);
        assert_eq!((answer.status, answer.header("oci-subject")), (201, Some(image.digest.to_string().as_str())));
        made.push(digest);
    }
    let all = server.ask("GET", &path);
    assert_eq!((all.header("content-type"), all.header("oci-filters-applied")), (Some(media::OCI_INDEX), None));
    assert_eq!(all.json()["manifests"].as_array().unwrap().len(), 2);
    let one = server.ask("GET", &format!("{path}?artifactType=application%2Fx.sbom"));
    assert_eq!(one.header("oci-filters-applied"), Some("artifactType"));
    let listed = one.json();
    assert_eq!(listed["manifests"].as_array().unwrap().len(), 1);
    assert_eq!(listed["manifests"][0]["digest"], made[0].as_str());
    assert_eq!(listed["manifests"][0]["artifactType"], "application/x.sbom");
    assert_eq!(listed["manifests"][0]["annotations"]["made.by"], "hand");
    // They may come before what they are about.
    let early = Descriptor::of(media::OCI_MANIFEST, b"not yet");
    let document = json!({"schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "artifactType": "application/x",
        "config": Descriptor::empty(), "layers": [], "subject": early});
    assert_eq!(server.manifest("a", "early", media::OCI_MANIFEST, &document).status, 201);
    assert_eq!(server.ask("DELETE", &format!("/v2/a/manifests/{}", made[0])).status, 202);
    assert_eq!(server.ask("GET", &path).json()["manifests"].as_array().unwrap().len(), 1);
}

#[test]
fn what_is_deleted_is_gone() {
    let server = Server::start();
    let image = server.image("a", "1", b"layer");
    server.image("a", "2", b"layer");
    assert_eq!(server.ask("DELETE", "/v2/a/manifests/1").status, 202);
    assert_eq!(server.ask("GET", "/v2/a/manifests/1").verdict(), "404 MANIFEST_UNKNOWN");
    assert_eq!(server.ask("GET", &format!("/v2/a/manifests/{}", image.digest)).status, 200, "2 is the same manifest");
    assert_eq!(server.ask("DELETE", &format!("/v2/a/manifests/{}", image.digest)).status, 202);
    assert_eq!(server.ask("GET", "/v2/a/tags/list").verdict(), "404 NAME_UNKNOWN");
    assert!(server.store().list_refs().unwrap().is_empty());
    // Blobs that no manifest names can go.
    let loose = server.blob("a", b"loose");
    assert_eq!(server.ask("DELETE", &format!("/v2/a/blobs/{loose}")).status, 202);
    assert_eq!(server.ask("GET", &format!("/v2/a/blobs/{loose}")).verdict(), "404 BLOB_UNKNOWN");
}

#[test]
fn nothing_changes_where_it_must_not() {
    let server = Server::with(|mut s| {
        s.policy.delete = false;
        s
    });
    server.image("a", "1", b"layer");
    assert_eq!(server.ask("DELETE", "/v2/a/manifests/1").verdict(), "405 UNSUPPORTED");
    let reader = Server::with(|mut s| {
        s.policy.read_only = true;
        s.store = server.store();
        s
    });
    assert_eq!(reader.ask("GET", "/v2/a/manifests/1").status, 200);
    for (method, path) in
        [("POST", "/v2/a/blobs/uploads/"), ("PUT", "/v2/a/manifests/2"), ("DELETE", "/v2/a/manifests/1")]
    {
        assert_eq!(reader.ask(method, path).verdict(), "405 UNSUPPORTED", "{method}");
    }
}

#[test]
fn long_lists_come_in_pages() {
    let server = Server::start();
    let image = server.image("a", "t0000", b"layer");
    let store = server.store();
    // Ten thousand tags and more, in the file that any tool may write.
    let path = store.dir().join("index.json");
    let mut index: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let entries = index["manifests"].as_array_mut().unwrap();
    for n in 1..12_000 {
        let name = format!("localhost/a:t{n:05}");
        entries.push(json!({"mediaType": media::OCI_MANIFEST, "digest": image.digest, "size": image.size,
            "annotations": {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}}));
    }
    std::fs::write(&path, serde_json::to_vec(&index).unwrap()).unwrap();
    let (mut next, mut seen) = (Some("/v2/a/tags/list?n=5000".to_owned()), Vec::new());
    while let Some(path) = next {
        let answer = server.ask("GET", &path);
        let tags = answer.json()["tags"].as_array().unwrap().clone();
        seen.extend(tags.into_iter().map(|t| t.as_str().unwrap().to_owned()));
        next = answer.header("link").map(|link| {
            assert!(link.ends_with(">; rel=\"next\""), "{link}");
            link[1..].split('>').next().unwrap().to_owned()
        });
    }
    assert_eq!(seen.len(), 12_000);
    assert!(seen.is_sorted());
    assert_eq!(server.ask("GET", "/v2/a/tags/list").json()["tags"].as_array().unwrap().len(), 10_000);
    let some = server.ask("GET", "/v2/a/tags/list?n=2&last=t00010").json();
    assert_eq!(some["tags"], json!(["t00011", "t00012"]));
    assert_eq!(server.ask("GET", &format!("/v2/a/blobs/{}", Digest::of(b"layer"))).status, 200);
}

#[test]
fn numbers_and_health_are_told() {
    let server = Server::start();
    server.image("a", "1", b"layer");
    assert_eq!(server.ask("GET", "/healthz").status, 200);
    let debug = server.running.debug_address().unwrap();
    let ask = |path| crate::support::request(debug, "GET", path, &[], b"");
    assert_eq!(ask("/healthz").json()["healthy"], true);
    let text = String::from_utf8(ask("/metrics").body).unwrap();
    let line = "kiln_registry_requests_total{route=\"manifest\",method=\"PUT\",code=\"201\"} 1\n";
    assert!(text.contains(line), "{text}");
    assert!(text.contains("kiln_registry_request_seconds_bucket{route=\"upload\",le=\"+Inf\"} 2\n"), "{text}");
    assert_eq!(ask("/v2/").status, 404);
    assert_eq!(server.ask("GET", "/metrics").status, 404);
}
