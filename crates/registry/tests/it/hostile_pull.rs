//! Servers that send the wrong thing, too much of it, or not all of it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use kiln_oci::{Digest, media};
use kiln_registry::{Client, Config, Mirror, Proxies, RegistryError};

use crate::server::{Say, Seen, Server};
use crate::{blob, client, config, layer, pull, reference};

const MANIFEST: &str = r#"{"schemaVersion":2,"config":{},"layers":[]}"#;

fn range_start(seen: &Seen) -> usize {
    seen.header("range").map_or(0, |r| r.strip_prefix("bytes=").unwrap().trim_end_matches('-').parse().unwrap())
}

#[test]
fn a_broken_download_goes_on_where_it_broke() {
    let bytes = blob(100_000);
    let served = bytes.clone();
    let server = Server::start(move |seen, _| {
        let start = range_start(seen);
        let end = (start + 40_000).min(served.len());
        let status = if start == 0 { 200 } else { 206 };
        let range = format!("bytes {start}-{}/{}", served.len() - 1, served.len());
        Say::status(status).header("Content-Range", range).body(&served[start..end]).announcing(served.len() - start)
    });
    assert_eq!(pull(&client(&server.host), &server.host, &layer(&bytes)).unwrap(), bytes);
    let ranges: Vec<_> = server.seen().iter().map(range_start).collect();
    assert_eq!(ranges, [0, 40_000, 80_000]);
}

#[test]
fn a_server_without_ranges_sends_it_all_again() {
    let bytes = blob(50_000);
    let served = bytes.clone();
    let server = Server::start(move |_, n| match n {
        0 => Say::ok(&served[..20_000]).announcing(served.len()),
        _ => Say::ok(&*served),
    });
    assert_eq!(pull(&client(&server.host), &server.host, &layer(&bytes)).unwrap(), bytes);
    assert_eq!(range_start(&server.seen()[1]), 20_000);
}

#[test]
fn a_range_that_was_not_asked_for_is_not_used() {
    let bytes = blob(50_000);
    let served = bytes.clone();
    let server = Server::start(move |seen, n| match (n, seen.header("range")) {
        (0, _) => Say::ok(&served[..20_000]).announcing(served.len()),
        (_, Some(_)) => Say::status(206).header("Content-Range", "bytes 7-49999/50000").body(&served[7..]),
        (_, None) => Say::ok(&*served),
    });
    assert_eq!(pull(&client(&server.host), &server.host, &layer(&bytes)).unwrap(), bytes);
}

#[test]
fn pieces_that_do_not_fit_are_fetched_again_in_one() {
    let bytes = blob(50_000);
    let served = bytes.clone();
    let server = Server::start(move |seen, n| match (n, range_start(seen)) {
        (0, _) => Say::ok(vec![b'x'; 20_000]).announcing(served.len()),
        (_, 0) => Say::ok(&*served),
        (_, start) => {
            Say::status(206).header("Content-Range", format!("bytes {start}-49999/50000")).body(&served[start..])
        }
    });
    assert_eq!(pull(&client(&server.host), &server.host, &layer(&bytes)).unwrap(), bytes);
    assert_eq!(server.seen().len(), 3);
}

#[test]
fn wrong_bytes_are_an_error() {
    let bytes = blob(1000);
    let server = Server::start(|_, _| Say::ok(vec![0; 1000]));
    let error = pull(&client(&server.host), &server.host, &layer(&bytes)).unwrap_err();
    assert!(matches!(error, RegistryError::DigestMismatch { .. }), "{error}");
    assert!(error.hint().is_some());
    assert_eq!(server.seen().len(), 1, "a wrong blob is not asked for again");
}

#[test]
fn a_stream_is_cut_at_the_size() {
    let bytes = blob(100_000);
    let served = bytes.clone();
    let server = Server::start(move |_, _| Say::ok(&*served).endless());
    assert_eq!(pull(&client(&server.host), &server.host, &layer(&bytes)).unwrap().len(), 100_000);
    let server = Server::start(|_, _| Say::ok(vec![b'x'; 4096]).endless());
    let error = pull(&client(&server.host), &server.host, &layer(&bytes)).unwrap_err();
    assert!(matches!(error, RegistryError::DigestMismatch { .. }), "{error}");
}

#[test]
fn a_wrong_length_is_an_error_before_the_bytes_come() {
    let server = Server::start(|_, _| Say::ok(blob(2000)));
    let error = pull(&client(&server.host), &server.host, &layer(&blob(1000))).unwrap_err();
    assert!(matches!(error, RegistryError::SizeMismatch { expected: 1000, actual: 2000, .. }), "{error}");
}

#[test]
fn a_server_that_never_sends_all_is_given_up() {
    let bytes = blob(1000);
    let served = bytes.clone();
    let server = Server::start(move |_, _| Say::ok(&served[..10]).announcing(1000));
    assert!(pull(&client(&server.host), &server.host, &layer(&bytes)).is_err());
    assert_eq!(server.seen().len(), 4);
}

#[test]
fn passing_failures_are_tried_again() {
    let bytes = blob(10);
    let served = bytes.clone();
    let server = Server::start(move |_, n| match n {
        0 => Say::error(429, "TOOMANYREQUESTS", "slow down").header("Retry-After", "0"),
        1 => Say::status(500),
        2 => Say::hang_up_after(0),
        _ => Say::ok(&*served),
    });
    pull(&client(&server.host), &server.host, &layer(&bytes)).unwrap();
    assert_eq!(server.seen().len(), 4);
}

#[test]
fn a_rate_limit_of_an_hour_is_told_at_once() {
    let server =
        Server::start(|_, _| Say::error(429, "TOOMANYREQUESTS", "pull rate limit").header("Retry-After", "3600"));
    let error = client(&server.host).manifest(&reference(&server.host, "a")).unwrap_err();
    assert!(matches!(error, RegistryError::RateLimited { retry_after: Some(d), .. } if d == Duration::from_secs(3600)));
    assert!(error.to_string().contains("TOOMANYREQUESTS: pull rate limit"), "{error}");
    assert!(error.hint().unwrap().contains("3600 s"));
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn redirects_keep_to_the_rules() {
    for target in ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://x/", "http://user:pw@127.0.0.1/x"] {
        let server = Server::start(move |_, _| Say::status(307).header("Location", target));
        let error = pull(&client(&server.host), &server.host, &layer(b"x")).unwrap_err();
        assert!(matches!(error, RegistryError::Redirect { .. }), "{target}: {error}");
        assert!(!error.to_string().contains("passwd") && !error.to_string().contains("pw@"), "{error}");
    }
    let server = Server::start(|seen, _| Say::status(302).header("Location", seen.path.clone()));
    let error = pull(&client(&server.host), &server.host, &layer(b"x")).unwrap_err();
    assert!(error.to_string().contains("too many redirects"), "{error}");
}

#[test]
fn manifests_are_bounded() {
    let huge = Server::start(|_, _| Say::ok("x").announcing(5 << 20));
    let endless = Server::start(|_, _| Say::ok(vec![b' '; 65536]).endless());
    for server in [huge, endless] {
        let error = client(&server.host).manifest(&reference(&server.host, "a")).unwrap_err();
        assert!(matches!(error, RegistryError::TooLarge { .. }), "{error}");
    }
}

#[test]
fn manifests_are_verified() {
    let digest = Digest::of(MANIFEST.as_bytes());
    let server = Server::start(move |seen, _| {
        let say = Say::ok(MANIFEST).header("Content-Type", media::OCI_MANIFEST);
        if seen.path.contains("lying") {
            say.header("Docker-Content-Digest", Digest::of(b"other").to_string())
        } else {
            say
        }
    });
    let client = client(&server.host);
    let fetched = client.manifest(&reference(&server.host, &format!("a@{digest}"))).unwrap();
    assert_eq!((fetched.descriptor.digest, &*fetched.bytes), (digest.clone(), MANIFEST.as_bytes()));
    assert_eq!(fetched.descriptor.media_type, media::OCI_MANIFEST);
    assert!(server.seen()[0].header("accept").unwrap().contains(media::DOCKER_LIST));
    let other = reference(&server.host, &format!("a@{}", Digest::of(b"other")));
    for bad in [other, reference(&server.host, "a:lying")] {
        let error = client.manifest(&bad).unwrap_err();
        assert!(matches!(error, RegistryError::DigestMismatch { .. }), "{error}");
    }
}

#[test]
fn schema_1_and_refusals_are_named() {
    let server = Server::start(|seen, _| {
        if seen.path.contains("old") {
            Say::ok(r#"{"schemaVersion":1,"fsLayers":[]}"#).header("Content-Type", media::DOCKER_SCHEMA1[1])
        } else {
            Say::error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        }
    });
    let client = client(&server.host);
    let error = client.manifest(&reference(&server.host, "old")).unwrap_err();
    assert!(matches!(error, RegistryError::Schema1 { .. }), "{error}");
    let error = client.resolve(&reference(&server.host, "a/b:gone")).unwrap_err();
    assert!(error.is_not_found());
    let want = format!("{} has no manifest a/b:gone: HTTP 404 MANIFEST_UNKNOWN: manifest unknown", server.host);
    assert_eq!(error.to_string(), want);
}

#[test]
fn resolve_asks_for_the_document_only_where_it_must() {
    let digest = Digest::of(MANIFEST.as_bytes());
    let server = Server::start(move |seen, _| match (&*seen.method, seen.path.contains("bare")) {
        ("HEAD", true) => Say::status(405),
        ("HEAD", false) => Say::ok("")
            .header("Content-Type", media::OCI_MANIFEST)
            .header("Docker-Content-Digest", digest.to_string())
            .announcing(MANIFEST.len()),
        _ => Say::ok(MANIFEST),
    });
    let client = client(&server.host);
    let full = client.resolve(&reference(&server.host, "full")).unwrap();
    let bare = client.resolve(&reference(&server.host, "bare")).unwrap();
    assert_eq!(full, bare);
    assert_eq!(server.lines().iter().filter(|l| l.starts_with("GET")).count(), 1);
}

#[test]
fn tags_come_in_pages_of_the_same_host() {
    let server = Server::start(|seen, _| {
        if seen.path.contains("last=b") {
            Say::ok(r#"{"tags":["c"]}"#)
        } else if seen.path.contains("/away/") {
            Say::ok(r#"{"tags":["a"]}"#).header("Link", "<http://127.0.0.2:1/v2/x>; rel=\"next\"")
        } else {
            Say::ok(r#"{"tags":["a","b","../x"]}"#).header("Link", "</v2/a/tags/list?last=b>; rel=\"next\"")
        }
    });
    let client = client(&server.host);
    assert_eq!(client.tags(&reference(&server.host, "a")).unwrap(), ["a", "b", "c"]);
    assert!(client.tags(&reference(&server.host, "away/x")).unwrap_err().to_string().contains("another host"));
    let endless = Server::start(|_, n| {
        Say::ok(r#"{"tags":["a"]}"#).header("Link", format!("</v2/a/tags/list?n={n}>; rel=\"next\""))
    });
    let error = self::client(&endless.host).tags(&reference(&endless.host, "a")).unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error}");
}

#[test]
fn mirrors_come_first_and_may_fail_or_break() {
    let bytes = blob(100_000);
    let (half, whole) = (bytes[..60_000].to_vec(), bytes.clone());
    let broken = Server::start(move |_, _| Say::ok(&*half).announcing(100_000));
    let lying = Server::start(|_, _| Say::ok(vec![7; 100_000]));
    let origin = Server::start(move |seen, _| match range_start(seen) {
        0 => Say::ok(&*whole),
        start => Say::status(206).header("Content-Range", format!("bytes {start}-99999/100000")).body(&whole[start..]),
    });
    let mirror = |endpoint: String| Mirror { registry: origin.host.clone(), endpoint };
    let with = |mirrors, only| Client::new(Config { mirrors, mirrors_only: only, ..config(&[&origin.host]) }).unwrap();
    let client =
        with(vec![mirror(format!("http://{}", lying.host)), mirror(format!("http://{}/hub", broken.host))], false);
    assert_eq!(pull(&client, &origin.host, &layer(&bytes)).unwrap(), bytes);
    assert!(broken.lines()[0].starts_with("GET /v2/hub/a/b/blobs/"));
    assert_eq!(range_start(&origin.seen()[0]), 60_000, "what the mirror sent is used");
    let client = with(vec![mirror(format!("http://{}", lying.host))], true);
    assert!(pull(&client, &origin.host, &layer(&bytes)).is_err());
}

#[test]
fn silence_ends_by_timeout_or_cancellation() {
    let server = Server::start(|_, _| Say::silence());
    let quick = Config { idle_timeout: Duration::from_millis(50), retries: 1, ..config(&[&server.host]) };
    let error = Client::new(quick).unwrap().manifest(&reference(&server.host, "a")).unwrap_err();
    assert!(matches!(error, RegistryError::Stalled { .. }), "{error}");
    let client = client(&server.host);
    let cancel = client.config().cancel.clone();
    let asked = std::thread::spawn({
        let (client, reference) = (client.clone(), reference(&server.host, "a"));
        move || client.manifest(&reference)
    });
    cancel.store(true, Ordering::Relaxed);
    assert!(asked.join().unwrap().unwrap_err().is_cancelled());
}

#[test]
fn proxies_are_used_and_bypassed() {
    let proxy = Server::start(|_, _| Say::ok(MANIFEST));
    let proxies = Proxies { http: Some(format!("http://u:p@{}", proxy.host)), ..Proxies::default() };
    let host = "registry.invalid:5000";
    let with = |proxies: Proxies| Client::new(Config { proxies, retries: 0, ..config(&[host]) }).unwrap();
    with(proxies.clone()).manifest(&reference(host, "a:v1")).unwrap();
    let seen = &proxy.seen()[0];
    assert_eq!(seen.line(), "GET http://registry.invalid:5000/v2/a/manifests/v1");
    assert_eq!(seen.header("proxy-authorization"), Some("Basic dTpw"));
    let direct = Proxies { no_proxy: Some("other, registry.invalid".to_owned()), ..proxies.clone() };
    assert!(matches!(with(direct).manifest(&reference(host, "a:v1")), Err(RegistryError::Connect { .. })));
    let near = Server::start(|_, _| Say::ok(MANIFEST));
    let near_client = Client::new(Config { proxies, ..config(&[&near.host]) }).unwrap();
    near_client.manifest(&reference(&near.host, "a")).unwrap();
    assert_eq!(proxy.seen().len(), 1, "loopback is reached directly");
}
