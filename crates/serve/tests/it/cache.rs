//! Other registries' images: fetched once, kept, served when the other registry is gone.

use std::time::Duration;

use kiln_oci::{Digest, media};
use kiln_registry::{Client, Config};
use kiln_serve::Settings;
use kiln_serve::proxy::Upstreams;
use kiln_testkit::{Layout, Registry};
use serde_json::json;

use crate::support::{Server, request};

fn cache_of(registry: &str, ttl: Duration) -> impl FnOnce(Settings) -> Settings {
    let config = Config { retries: 0, connect_timeout: Duration::from_secs(5), ..Config::default() };
    let client = Client::new(config).unwrap();
    let upstreams = Upstreams { registries: vec![registry.to_owned()], ttl };
    move |settings| Settings { proxy: Some((client, upstreams)), ..settings }
}

/// How often a registry of this process has answered something.
fn answered(server: &Server, route: &str, code: u16) -> u64 {
    let debug = server.running.debug_address().unwrap();
    let text = String::from_utf8(request(debug, "GET", "/metrics", &[], b"").body).unwrap();
    let line = format!("kiln_registry_requests_total{{route=\"{route}\",method=\"GET\",code=\"{code}\"}} ");
    text.lines().find_map(|l| l.strip_prefix(&line)?.parse().ok()).unwrap_or(0)
}

#[test]
fn fifty_clients_make_one_fetch() {
    let upstream = Server::start();
    let bytes: Vec<u8> = (0..4_000_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    let image = upstream.image("team/app", "1", &bytes);
    let cache = Server::with(cache_of(&upstream.address().to_string(), Duration::from_secs(3600)));
    let digest = Digest::of(&bytes);
    std::thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| {
                let manifest = cache.ask("GET", "/v2/team/app/manifests/1");
                assert_eq!(Digest::of(&manifest.body), image.digest, "{manifest:?}");
                let blob = cache.ask("GET", &format!("/v2/team/app/blobs/{digest}"));
                assert!(blob.status == 200 && blob.body == bytes, "{} {:?}", blob.status, blob.headers);
            });
        }
    });
    assert_eq!(answered(&upstream, "manifest", 200), 1);
    assert_eq!(answered(&upstream, "blob", 200), 1);
    // The name is the registry's, and comes when everything is there.
    let name = format!("{}/team/app:1", upstream.address());
    assert!(cache.store().get_ref(&name).unwrap().is_none(), "the configuration is not there yet");
    let config = cache.ask("GET", "/v2/team/app/manifests/1").json()["config"]["digest"].as_str().unwrap().to_owned();
    assert_eq!(cache.ask("HEAD", &format!("/v2/team/app/blobs/{config}")).status, 200);
    assert_eq!(cache.ask("GET", &format!("/v2/team/app/blobs/{config}")).status, 200);
    assert_eq!(cache.store().get_ref(&name).unwrap().unwrap().digest, image.digest);
    assert!(cache.store().fsck(false).unwrap().problems.is_empty());
    // What is another registry's is pushed there.
    assert_eq!(cache.ask("POST", "/v2/team/app/blobs/uploads/").verdict(), "405 UNSUPPORTED");
    // Nobody else is ever asked.
    for path in
        ["/v2/a/manifests/1?ns=127.0.0.1:1", "/v2/evil.example/a/manifests/1", "/v2/team/app/manifests/1?ns=quay.io"]
    {
        assert_eq!(cache.ask("GET", path).verdict(), "404 NAME_UNKNOWN", "{path}");
    }
    // Parts of what is on its way, and unknown things.
    assert_eq!(cache.ask("GET", &format!("/v2/team/app/blobs/{}", Digest::of(b"none"))).verdict(), "404 BLOB_UNKNOWN");
    assert_eq!(cache.ask("GET", "/v2/team/app/manifests/none").verdict(), "404 MANIFEST_UNKNOWN");
}

#[test]
fn tags_move_and_the_cache_outlives_the_registry() {
    let upstream = Server::start();
    let first = upstream.image("app", "1", b"first");
    let cache = Server::with(cache_of(&upstream.address().to_string(), Duration::ZERO));
    let get = || cache.ask("GET", "/v2/app/manifests/1").header("docker-content-digest").map(str::to_owned);
    assert_eq!(get(), Some(first.digest.to_string()));
    let second = upstream.image("app", "1", b"second");
    assert_eq!(get(), Some(second.digest.to_string()));
    let layer = format!("/v2/app/blobs/{}", Digest::of(b"second"));
    assert_eq!(cache.send("GET", &layer, &[("Range", "bytes=1-3")], b"").body, b"eco");
    assert_eq!(cache.ask("GET", "/v2/app/tags/list").json()["tags"], json!(["1"]));
    upstream.running.stop(std::future::ready(()));
    assert_eq!(get(), Some(second.digest.to_string()));
    assert_eq!(cache.ask("GET", &layer).body, b"second");
    assert_eq!(cache.ask("GET", "/v2/app/manifests/2").status, 502);
}

#[test]
fn another_registry_s_image_comes_with_the_platforms_that_are_wanted() {
    let registry = Registry::start(kiln_testkit::Auth::None);
    let dir = tempfile::tempdir().unwrap();
    let mut layout = Layout::busybox(dir.path().join("layout"));
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("layout/index.json")).unwrap()).unwrap();
    let mut child: kiln_oci::Descriptor = serde_json::from_value(manifest["manifests"][0].clone()).unwrap();
    child.annotations.clear();
    let index = layout.blob(media::OCI_INDEX, &serde_json::to_vec(&kiln_oci::Index::new(vec![child.clone()])).unwrap());
    layout.add("multi", index.clone());
    registry.push(&layout, "multi", "team/multi:1");
    let cache = Server::with(cache_of(registry.address(), Duration::from_secs(3600)));
    let to = format!("oci:{}:x", dir.path().join("out").display());
    let mut skopeo = std::process::Command::new(kiln_testkit::tools::tool("skopeo"));
    let from = format!("docker://{}", cache.reference("team/multi:1"));
    skopeo.args(["--insecure-policy", "copy", "--all", "--src-tls-verify=false", &from, &to]);
    let output = kiln_testkit::command::run(skopeo, b"", Duration::from_secs(120), &kiln_testkit::Filters::standard());
    let _ = output.ok();
    let names = cache.store().list_refs().unwrap();
    assert_eq!(names.len(), 1, "{names:?}");
    assert_eq!(
        (names[0].name.as_str(), &names[0].descriptor.digest),
        (registry.reference("team/multi:1").as_str(), &index.digest)
    );
    assert!(cache.store().fsck(false).unwrap().problems.is_empty());
}

#[test]
fn a_registry_that_lies_is_not_believed() {
    let right = b"right".repeat(100_000);
    let config = b"{}".to_vec();
    let document = json!({"schemaVersion": 2, "mediaType": media::OCI_MANIFEST,
        "config": kiln_oci::Descriptor::of(media::OCI_CONFIG, &config),
        "layers": [kiln_oci::Descriptor::of(media::OCI_LAYER, &right)]});
    let bytes = serde_json::to_vec(&document).unwrap();
    let wrong = b"wrong".repeat(100_000);
    let liar = kiln_testkit::server::Server::start(move |seen, _| {
        use kiln_testkit::server::Say;
        if seen.path.contains("/manifests/") {
            Say::ok(bytes.clone()).header("Content-Type", media::OCI_MANIFEST)
        } else if seen.path.contains("/blobs/") {
            Say::ok(wrong.clone())
        } else {
            Say::ok("{}")
        }
    });
    let cache = Server::with(cache_of(&liar.host, Duration::from_secs(3600)));
    assert_eq!(cache.ask("GET", "/v2/a/manifests/1").status, 200);
    let digest = Digest::of(&right);
    // Whatever came of it, it is not all that was announced: the connection breaks, or there is an error.
    let request = format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let answer = crate::support::raw(cache.address(), request.as_bytes());
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let whole = answer.starts_with(b"HTTP/1.1 200") && answer.len() - end - 4 >= right.len();
    assert!(!whole, "{} bytes", answer.len());
    assert!(!cache.store().has_blob(&digest));
    assert!(cache.store().list_refs().unwrap().is_empty());
}
