//! Uploads to registries that break off, lose, refuse and redirect.

use std::sync::{Arc, Mutex};

use kiln_oci::media;
use kiln_registry::{Client, Config, MountOutcome, PushOutcome, RegistryError};

use crate::server::{Say, Seen, Server};
use crate::{blob, client, config, layer, opener, reference};

fn push(client: &Client, host: &str, bytes: &[u8]) -> Result<PushOutcome, RegistryError> {
    let told = std::cell::Cell::new(0);
    let outcome =
        client.push_blob(&reference(host, "a/b"), &layer(bytes), &opener(bytes), &|n| told.set(told.get() + n))?;
    let expected = if outcome == PushOutcome::Uploaded { bytes.len() as u64 } else { 0 };
    assert_eq!(told.get(), expected, "progress adds up to the size");
    Ok(outcome)
}

fn chunked(host: &str, chunk_size: u64) -> Client {
    Client::new(Config { chunk_above: 0, chunk_size, ..config(&[host]) }).unwrap()
}

fn start() -> Say {
    Say::status(202).header("Location", "/v2/a/b/blobs/uploads/u1?_state=s")
}

fn accepted(received: usize) -> Say {
    start().header("Range", format!("0-{}", received.saturating_sub(1)))
}

/// The start of a chunk.
fn offset(seen: &Seen) -> usize {
    seen.header("content-range").unwrap().split('-').next().unwrap().parse().unwrap()
}

fn length(seen: &Seen) -> usize {
    seen.header("content-length").unwrap().parse().unwrap()
}

#[test]
fn a_blob_goes_in_one_request() {
    let bytes = blob(700_000);
    let server = Server::start(|seen, _| match &*seen.method {
        "HEAD" => Say::status(404),
        "POST" => start(),
        _ => Say::status(201),
    });
    assert_eq!(push(&client(&server.host), &server.host, &bytes).unwrap(), PushOutcome::Uploaded);
    let seen = server.seen();
    assert_eq!(seen.len(), 3);
    assert!(seen[2].path.starts_with("/v2/a/b/blobs/uploads/u1?_state=s&digest=sha256%3A"), "{}", seen[2].path);
    assert_eq!(seen[2].header("transfer-encoding"), None);
    assert!(seen[2].body == bytes);
}

#[test]
fn a_blob_that_exists_is_not_sent() {
    let server = Server::start(|_, _| Say::ok("").announcing(10));
    assert_eq!(push(&client(&server.host), &server.host, b"0123456789").unwrap(), PushOutcome::Existed);
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn a_broken_put_is_resumed_with_chunks() {
    let bytes = blob(3_000_000);
    let server = Server::start(|seen, _| match &*seen.method {
        "HEAD" => Say::status(404),
        "POST" => start(),
        "GET" => Say::status(204).header("Range", "0-999999"),
        "PUT" if seen.header("content-length") != Some("0") => Say::hang_up_after(1_000_000),
        "PATCH" => accepted(offset(seen) + length(seen)),
        _ => Say::status(201),
    });
    push(&client(&server.host), &server.host, &bytes).unwrap();
    let seen = server.seen();
    let patch = seen.iter().find(|s| s.method == "PATCH").unwrap();
    assert_eq!(patch.header("content-range"), Some("1000000-2999999"));
    assert!(patch.body == bytes[1_000_000..]);
    assert_eq!(seen.iter().filter(|s| s.method == "POST").count(), 1);
}

#[test]
fn a_broken_chunk_goes_on_where_the_registry_says() {
    let bytes = blob(1_000_000);
    let stored = Arc::new(Mutex::new(Vec::<u8>::new()));
    let (kept, mut broken) = (Arc::new(Mutex::new(0)), false);
    let known = kept.clone();
    let server = Server::start(move |seen, _| match &*seen.method {
        "HEAD" => Say::status(404),
        "POST" => start(),
        "GET" => Say::status(204).header("Range", format!("0-{}", *known.lock().unwrap() - 1)),
        "PATCH" if offset(seen) == 300_000 && !broken => {
            broken = true;
            *known.lock().unwrap() = 350_000;
            Say::hang_up_after(50_000)
        }
        "PATCH" => {
            *known.lock().unwrap() = offset(seen) + length(seen);
            accepted(*known.lock().unwrap())
        }
        _ => Say::status(201),
    });
    push(&chunked(&server.host, 300_000), &server.host, &bytes).unwrap();
    let mut stored = stored.lock().unwrap();
    for seen in server.seen().iter().filter(|s| s.method == "PATCH") {
        stored.truncate(offset(seen));
        assert_eq!(stored.len(), offset(seen));
        stored.extend_from_slice(&seen.body);
    }
    assert!(*stored == bytes);
    assert_eq!(*kept.lock().unwrap(), bytes.len());
}

#[test]
fn a_registry_may_keep_less_than_it_was_sent() {
    let bytes = blob(100_000);
    let server = Server::start(|seen, _| match &*seen.method {
        "HEAD" => Say::status(404),
        "POST" => start(),
        "PATCH" => accepted(offset(seen) + length(seen).min(30_000)),
        _ => Say::status(201),
    });
    push(&chunked(&server.host, 50_000), &server.host, &bytes).unwrap();
    let offsets: Vec<usize> = server.seen().iter().filter(|s| s.method == "PATCH").map(offset).collect();
    assert_eq!(offsets, [0, 30_000, 60_000, 90_000]);
    let greedy = Server::start(|seen, _| match &*seen.method {
        "HEAD" => Say::status(404),
        "PATCH" => accepted(0),
        "GET" => Say::status(204).header("Range", "0-0"),
        _ => start(),
    });
    let error = push(&chunked(&greedy.host, 50_000), &greedy.host, &bytes).unwrap_err();
    assert!(error.to_string().contains("keeps nothing"), "{error}");
}

#[test]
fn refused_chunks_are_sent_in_one() {
    for status in [400, 405, 413, 416] {
        let bytes = blob(100_000);
        let server = Server::start(move |seen, _| match &*seen.method {
            "HEAD" => Say::status(404),
            "POST" => start(),
            "PATCH" => Say::error(status, "UNSUPPORTED", "no chunks"),
            _ => Say::status(201),
        });
        push(&chunked(&server.host, 30_000), &server.host, &bytes).unwrap();
        assert!(server.seen().last().unwrap().body == bytes);
    }
}

#[test]
fn a_put_that_is_too_large_is_sent_in_chunks() {
    let bytes = blob(100_000);
    let server = Server::start(|seen, _| match &*seen.method {
        "HEAD" => Say::status(404),
        "POST" => start(),
        "PUT" if seen.header("content-length") != Some("0") => Say::status(413),
        "PATCH" => accepted(offset(seen) + length(seen)),
        _ => Say::status(201),
    });
    let client = Client::new(Config { chunk_size: 30_000, ..config(&[&server.host]) }).unwrap();
    push(&client, &server.host, &bytes).unwrap();
    assert_eq!(server.seen().iter().filter(|s| s.method == "PATCH").count(), 4);
}

#[test]
fn a_forgotten_upload_starts_again() {
    let bytes = blob(100_000);
    let mut broken = false;
    let server = Server::start(move |seen, _| match &*seen.method {
        "HEAD" => Say::status(404),
        "GET" => Say::error(404, "BLOB_UPLOAD_UNKNOWN", "gone"),
        "PUT" if !broken => {
            broken = true;
            Say::hang_up_after(10)
        }
        "PUT" => Say::status(201),
        _ => start(),
    });
    push(&client(&server.host), &server.host, &bytes).unwrap();
    assert_eq!(server.seen().iter().filter(|s| s.method == "POST").count(), 2);
}

#[test]
fn wrong_bytes_are_the_registrys_word() {
    let server = Server::start(|seen, _| match &*seen.method {
        "HEAD" => Say::status(404),
        "POST" => start(),
        "PUT" => Say::error(400, "DIGEST_INVALID", "provided digest did not match uploaded content"),
        _ => Say::status(204),
    });
    let error = push(&client(&server.host), &server.host, &blob(100)).unwrap_err();
    assert!(error.to_string().contains("DIGEST_INVALID"), "{error}");
    assert_eq!(server.seen().iter().filter(|s| s.method == "PUT").count(), 1);
}

#[test]
fn a_short_blob_is_not_pushed() {
    let server = Server::start(|seen, _| match &*seen.method {
        "HEAD" => Say::status(404),
        _ => start(),
    });
    let open = opener(b"short");
    let error =
        client(&server.host).push_blob(&reference(&server.host, "a"), &layer(&blob(1000)), &open, &|_| ()).unwrap_err();
    assert!(error.to_string().contains("995 bytes shorter"), "{error}");
}

#[test]
fn an_upload_may_go_to_another_host_without_credentials() {
    let bytes = blob(1000);
    let store = Server::start(|_, _| Say::status(201));
    let location = format!("http://{}/up?sig=1", store.host);
    let server = Server::start(move |seen, _| match &*seen.method {
        "HEAD" => Say::status(404),
        _ => Say::status(202).header("Location", location.clone()),
    });
    let credentials =
        kiln_registry::Credentials::none().with(&server.host, kiln_registry::Credential::basic("user", "hunter2"));
    let client = Client::new(Config { credentials, ..config(&[&server.host]) }).unwrap();
    push(&client, &server.host, &bytes).unwrap();
    assert_eq!(store.seen()[0].header("authorization"), None);
    assert!(store.seen()[0].path.starts_with("/up?sig=1&digest="));
    let server = Server::start(|seen, _| match &*seen.method {
        "HEAD" => Say::status(404),
        _ => Say::status(202).header("Location", "file:///etc/passwd"),
    });
    let error = push(&self::client(&server.host), &server.host, &bytes).unwrap_err();
    assert!(matches!(error, RegistryError::Redirect { .. }), "{error}");
}

#[test]
fn a_401_in_the_middle_renews_the_login() {
    let bytes = blob(100_000);
    let realm = Server::start(|_, n| Say::ok(format!(r#"{{"token":"t{n}"}}"#)));
    let challenge = format!(r#"Bearer realm="http://{}/token",service="reg""#, realm.host);
    let server = Server::start(move |seen, _| {
        let refuse = Say::status(401).header("WWW-Authenticate", challenge.clone());
        match (&*seen.method, seen.header("authorization")) {
            (_, None) => refuse,
            ("HEAD", _) => Say::status(404),
            ("POST", _) => start(),
            ("GET", _) => Say::status(404),
            ("PUT", Some("Bearer t0")) => refuse,
            _ => Say::status(201),
        }
    });
    push(&client(&server.host), &server.host, &bytes).unwrap();
    assert_eq!(realm.seen().len(), 2);
}

#[test]
fn a_mount_that_is_not_done_leaves_an_upload() {
    let bytes = blob(1000);
    let server = Server::start(|seen, _| match &*seen.method {
        "POST" => start(),
        _ => Say::status(201),
    });
    let (client, to) = (client(&server.host), reference(&server.host, "a/b"));
    let MountOutcome::NotMounted(session) = client.mount_blob(&to, "other/repo", &layer(&bytes).digest).unwrap() else {
        panic!("it was not mounted")
    };
    assert!(!format!("{session:?}").contains("_state"));
    client.push_blob_in(session, &to, &layer(&bytes), &opener(&bytes), &|_| ()).unwrap();
    let lines = server.lines();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].contains("?mount=sha256%3A") && lines[0].ends_with("&from=other%2Frepo"), "{lines:?}");
    let refusing = Server::start(|seen, _| if seen.path.contains("mount=") { Say::status(405) } else { start() });
    let outcome =
        self::client(&refusing.host).mount_blob(&reference(&refusing.host, "a/b"), "x", &layer(&bytes).digest);
    assert!(matches!(outcome, Ok(MountOutcome::NotMounted(_))));
}

#[test]
fn manifests_are_pushed_under_tag_or_digest() {
    let bytes = br#"{"schemaVersion":2,"config":{},"layers":[]}"#.to_vec();
    let digest = kiln_oci::Digest::of(&bytes);
    let server = Server::start(|_, n| if n == 0 { Say::status(503) } else { Say::status(201) });
    let client = client(&server.host);
    let put = |rest: &str| client.push_manifest(&reference(&server.host, rest), media::OCI_MANIFEST, bytes.clone());
    assert_eq!(put("a:v1").unwrap(), digest);
    put(&format!("a@{digest}")).unwrap();
    put(&format!("a:v2@{digest}")).unwrap();
    assert!(matches!(put(&format!("a@{}", layer(b"x").digest)), Err(RegistryError::PushDigest { .. })));
    let by_digest = format!("PUT /v2/a/manifests/{digest}");
    assert_eq!(server.lines()[1..], ["PUT /v2/a/manifests/v1", &by_digest, "PUT /v2/a/manifests/v2"]);
    let seen = &server.seen()[1];
    assert_eq!((seen.header("content-type"), &seen.body), (Some(media::OCI_MANIFEST), &bytes));
    let lying = Server::start(|_, _| {
        Say::status(201).header("Docker-Content-Digest", kiln_oci::Digest::of(b"other").to_string())
    });
    let error =
        self::client(&lying.host).push_manifest(&reference(&lying.host, "a"), media::OCI_MANIFEST, bytes.clone());
    assert!(matches!(error, Err(RegistryError::DigestMismatch { .. })));
}

#[test]
fn a_manifest_refused_for_what_others_push_is_pushed_again() {
    for code in ["DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN"] {
        let server = Server::start(move |_, n| if n < 2 { Say::error(400, code, "not now") } else { Say::status(201) });
        client(&server.host).push_manifest(&reference(&server.host, "a:v1"), media::OCI_MANIFEST, "{}").unwrap();
        assert_eq!(server.lines().len(), 3);
        let never = Server::start(move |_, _| Say::error(400, code, "never"));
        let error = client(&never.host).push_manifest(&reference(&never.host, "a:v1"), media::OCI_MANIFEST, "{}");
        assert!(error.unwrap_err().to_string().contains(code));
        assert_eq!(never.lines().len(), 4);
    }
    let strict = Server::start(|_, _| Say::error(400, "MANIFEST_INVALID", "no"));
    client(&strict.host).push_manifest(&reference(&strict.host, "a:v1"), media::OCI_MANIFEST, "{}").unwrap_err();
    assert_eq!(strict.lines().len(), 1);
}

#[test]
fn a_document_goes_to_a_signed_address() {
    let server = Server::start(|_, n| if n == 0 { Say::status(503) } else { Say::status(200) });
    let url = format!("http://user:hunter2@{}/bucket/digest?signature=s3cret", server.host);
    client(&server.host).put_url(&url, "text/plain", "sha256:0").unwrap();
    let seen = &server.seen()[1];
    assert_eq!(seen.line(), "PUT /bucket/digest?signature=s3cret");
    assert_eq!((seen.header("content-type"), &*seen.body), (Some("text/plain"), &b"sha256:0"[..]));
    assert!(seen.header("authorization").unwrap().starts_with("Basic "));
    let refusing = Server::start(|_, _| Say::error(403, "AccessDenied", "expired"));
    let url = format!("http://user:hunter2@{}/bucket/digest?signature=s3cret", refusing.host);
    let error = client(&refusing.host).put_url(&url, "text/plain", "x").unwrap_err().to_string();
    assert!(error.contains("403") && !error.contains("hunter2") && !error.contains("s3cret"), "{error}");
    let elsewhere = Server::start(|_, _| Say::status(307).header("Location", "http://127.0.0.1:1/"));
    let url = format!("http://{}/x", elsewhere.host);
    client(&elsewhere.host).put_url(&url, "text/plain", "x").unwrap_err();
    assert!(client("h").put_url("file:///etc/passwd", "text/plain", "x").is_err());
}

#[test]
fn whether_pushing_is_allowed_is_found_without_pushing() {
    let server = Server::start(|seen, _| if seen.method == "POST" { start() } else { Say::status(204) });
    client(&server.host).check_push(&reference(&server.host, "a/b:1")).unwrap();
    assert_eq!(server.lines(), ["POST /v2/a/b/blobs/uploads/", "DELETE /v2/a/b/blobs/uploads/u1?_state=s"]);
    let refusing = Server::start(|_, _| Say::error(403, "DENIED", "no"));
    let error = client(&refusing.host).check_push(&reference(&refusing.host, "a/b:1")).unwrap_err();
    assert!(error.is_unauthorized(), "{error}");
}

/// A manifest that refers to another, and its descriptor.
fn referrer() -> (kiln_oci::Descriptor, Vec<u8>) {
    let bytes = br#"{"schemaVersion":2,"config":{},"layers":[]}"#.to_vec();
    (kiln_oci::Descriptor::of(media::OCI_MANIFEST, &bytes), bytes)
}

#[test]
fn a_registry_that_lists_referrers_itself_is_left_to_it() {
    let server = Server::start(|_, _| Say::status(201).header("OCI-Subject", "sha256:x"));
    let (entry, bytes) = referrer();
    let subject = kiln_oci::Digest::of(b"image");
    client(&server.host).push_referrer(&reference(&server.host, "a/b"), &subject, &entry, bytes).unwrap();
    let paths: Vec<String> = server.seen().into_iter().map(|seen| format!("{} {}", seen.method, seen.path)).collect();
    assert_eq!(paths, [format!("PUT /v2/a/b/manifests/{}", entry.digest)]);
}

#[test]
fn a_list_of_referrers_that_others_overwrite_is_written_again() {
    let (entry, bytes) = referrer();
    let subject = kiln_oci::Digest::of(b"image");
    let list = Arc::new(Mutex::new((0, String::new())));
    let other = r#"{"schemaVersion":2,"manifests":[]}"#;
    let ours = serde_json::to_string(&kiln_oci::Index::new(vec![entry.clone()])).unwrap();
    let server = Server::start({
        let list = list.clone();
        move |seen, _| {
            let mut list = list.lock().unwrap();
            match (&*seen.method, seen.path.contains("manifests/sha256-")) {
                ("PUT", true) => {
                    list.0 += 1;
                    // The first time, another client is faster with a list of its own.
                    list.1 = if list.0 == 1 { other.to_owned() } else { ours.clone() };
                    Say::status(201)
                }
                ("GET", true) if list.1.is_empty() => Say::status(404),
                ("GET", true) => Say::ok(&*list.1).header("Content-Type", media::OCI_INDEX),
                _ => Say::status(201),
            }
        }
    });
    let to = reference(&server.host, "a/b");
    client(&server.host).push_referrer(&to, &subject, &entry, bytes.clone()).unwrap();
    assert_eq!(list.lock().unwrap().0, 2);
    let body = server.seen().into_iter().rfind(|seen| seen.method == "PUT").unwrap().body;
    assert_eq!(serde_json::from_slice::<kiln_oci::Index>(&body).unwrap().manifests, std::slice::from_ref(&entry));
    client(&server.host).push_referrer(&to, &subject, &entry, bytes).unwrap();
    assert_eq!(list.lock().unwrap().0, 2, "what is listed is not listed again");
}

#[test]
fn a_list_of_referrers_that_does_not_last_is_an_error() {
    let (entry, bytes) = referrer();
    let server = Server::start(|seen, _| match &*seen.method {
        "GET" => Say::ok(r#"{"schemaVersion":2,"manifests":[]}"#).header("Content-Type", media::OCI_INDEX),
        _ => Say::status(201),
    });
    let to = reference(&server.host, "a/b");
    let error = client(&server.host).push_referrer(&to, &kiln_oci::Digest::of(b"i"), &entry, bytes).unwrap_err();
    assert!(error.to_string().contains("overwrite"), "{error}");
}
