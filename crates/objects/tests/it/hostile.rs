//! Stores that break off, lie, redirect or never end.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kiln_objects::{Client, CloudError, Config, Environment, ObjectError};
use kiln_testkit::server::{Say, Seen, Server};

use crate::{at, bytes, client, config, get, put, s3};

const OBJECT: &str = "s3://bucket/key";

fn ask(server: &Server) -> Client {
    client(s3(&server.host, "AKIDTEST", "hunter2"))
}

fn start_of(seen: &Seen) -> usize {
    seen.header("range").map_or(0, |r| r.strip_prefix("bytes=").unwrap().trim_end_matches('-').parse().unwrap())
}

/// The part from `start` on, of which only `sent` bytes come.
fn part(content: &[u8], start: usize, sent: usize) -> Say {
    tagged(content, start, sent, "\"e1\"")
}

fn tagged(content: &[u8], start: usize, sent: usize, etag: &str) -> Say {
    let rest = &content[start..];
    let say = match start {
        0 => Say::status(200),
        _ => Say::status(206).header("Content-Range", format!("bytes {start}-{}/{}", content.len() - 1, content.len())),
    };
    say.header("ETag", etag).body(&rest[..sent.min(rest.len())]).announcing(rest.len())
}

#[test]
fn what_breaks_off_goes_on() {
    let content = bytes(300_000);
    let served = content.clone();
    let server = Server::start(move |seen, _| part(&served, start_of(seen), 70_000));
    assert!(get(&ask(&server), &at(OBJECT)).unwrap().0 == content);
    let seen = server.seen();
    assert_eq!(seen.iter().map(start_of).collect::<Vec<_>>(), [0, 70_000, 140_000, 210_000, 280_000]);
    assert!(seen[1..].iter().all(|s| s.header("if-match") == Some("\"e1\"")));
    assert!(seen.iter().all(|s| s.header("authorization").unwrap().contains("AKIDTEST")));
}

#[test]
fn what_never_gets_anywhere_is_given_up() {
    let content = bytes(300_000);
    let server = Server::start(move |seen, _| part(&content, start_of(seen), 10));
    let error = get(&ask(&server), &at(OBJECT)).unwrap_err();
    assert!(matches!(error, ObjectError::Cloud(CloudError::Connect { .. })) && error.hint().is_some(), "{error}");
    assert_eq!(server.seen().len(), 4);
}

#[test]
fn without_a_tag_nothing_is_pieced_together() {
    let content = bytes(1000);
    let server = Server::start(move |_, _| Say::ok(&content[..500]).announcing(1000));
    assert!(matches!(get(&ask(&server), &at(OBJECT)).unwrap_err(), ObjectError::Cloud(CloudError::Connect { .. })));
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn a_server_without_ranges_sends_all_again() {
    let content = bytes(200_000);
    let served = content.clone();
    let server = Server::start(move |_, n| match n {
        0 => part(&served, 0, 150_000),
        _ => part(&served, 0, served.len()),
    });
    assert!(get(&ask(&server), &at(OBJECT)).unwrap().0 == content);
}

#[test]
fn an_object_that_changes_is_an_error() {
    let changes: [fn(&[u8]) -> Say; 4] = [
        |_| Say::status(412),
        |_| Say::status(416),
        |content| Say::ok(content).header("ETag", "\"e2\""),
        |content| tagged(content, 100_000, 100_000, "\"e2\""),
    ];
    for change in changes {
        let content = bytes(200_000);
        let server = Server::start(move |_, n| if n == 0 { part(&content, 0, 100_000) } else { change(&content) });
        let error = get(&ask(&server), &at(OBJECT)).unwrap_err();
        assert!(matches!(error, ObjectError::Changed { .. }) && server.seen().len() == 2, "{error}");
    }
}

#[test]
fn another_range_than_asked_for_is_a_lie() {
    let content = bytes(200_000);
    let server = Server::start(move |_, n| match n {
        0 => part(&content, 0, 100_000),
        _ => part(&content, 50_000, 150_000),
    });
    let error = get(&ask(&server), &at(OBJECT)).unwrap_err();
    assert!(matches!(error, ObjectError::Cloud(CloudError::Protocol { .. })), "{error}");
}

#[test]
fn lengths_and_sums_are_checked() {
    let server = Server::start(|_, _| Say::ok("x").endless());
    let error = get(&ask(&server), &at(OBJECT)).unwrap_err();
    assert!(error.to_string().contains("does not say how long"), "{error}");
    let server = Server::start(|_, _| Say::ok("123456789").header("x-amz-checksum-crc32c", "4waSgw=="));
    assert_eq!(get(&ask(&server), &at(OBJECT)).unwrap().0, b"123456789");
    let server = Server::start(|_, _| Say::ok("123456780").header("x-amz-checksum-crc32c", "4waSgw=="));
    let error = get(&ask(&server), &at(OBJECT)).unwrap_err();
    assert!(matches!(error, ObjectError::Checksum { algorithm: "CRC-32C", .. }), "{error}");
    let server = Server::start(|_, _| Say::status(206).body("x"));
    assert!(matches!(get(&ask(&server), &at(OBJECT)).unwrap_err(), ObjectError::Cloud(CloudError::Protocol { .. })));
}

#[test]
fn failures_that_pass_are_waited_for() {
    let server = Server::start(|_, n| match n {
        0 => Say::status(503).body("<Error><Code>SlowDown</Code><Message>later</Message></Error>"),
        1 => Say::hang_up_after(0),
        2 => Say::status(429).header("Retry-After", "0"),
        _ => Say::ok("here"),
    });
    assert_eq!(get(&ask(&server), &at(OBJECT)).unwrap().0, b"here");
    let server = Server::start(|_, _| Say::status(503).body("<Error><Code>SlowDown</Code></Error>"));
    let error = get(&ask(&server), &at(OBJECT)).unwrap_err();
    assert!(error.to_string().contains("HTTP 503 SlowDown") && error.hint().is_some(), "{error}");
    assert_eq!(server.seen().len(), 4);
    let server = Server::start(|_, n| if n < 2 { Say::status(500) } else { Say::status(200) });
    put(&ask(&server), &at(OBJECT), b"content").unwrap();
    assert_eq!(server.seen()[2].body, b"content");
}

#[test]
fn refusals_are_cut_and_shown_safely() {
    for say in [
        Say::status(403).body(vec![b'<'; 65_536]).endless(),
        Say::status(403).body("<Error><Code>AccessDenied</Code><Message>a\u{1b}[31mb</Message></Error>"),
        Say::status(403).body("<!DOCTYPE x [<!ENTITY a \"b\">]><Error><Code>&a;</Code></Error>"),
    ] {
        let server = Server::start(move |_, _| say.clone());
        let error = get(&ask(&server), &at(OBJECT)).unwrap_err();
        let text = error.to_string();
        assert!(error.is_denied() && error.hint().is_some() && text.len() < 1000, "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains("hunter2"), "{text}");
    }
}

#[test]
fn who_has_no_credentials_learns_where_they_may_be() {
    let server = Server::start(|seen, _| match seen.header("authorization") {
        None => Say::status(403).body("<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"),
        Some(_) => Say::ok("here"),
    });
    let environment = Environment::empty()
        .with("S3_ENDPOINT", format!("http://{}", server.host))
        .with("AWS_EC2_METADATA_DISABLED", "true");
    let error = get(&client(environment), &at(OBJECT)).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("AccessDenied: Access Denied (no credentials were found in AWS_ACCESS_KEY_ID, "), "{text}");
    assert!(text.contains("~/.aws/credentials") && error.hint().unwrap().contains("AWS_PROFILE"), "{text}");
}

#[test]
fn a_document_without_end_is_cut() {
    let server = Server::start(|_, _| Say::ok(vec![b' '; 65_536]).endless());
    let prefix = at("s3://bucket/p");
    let error = ask(&server).list(&prefix, &mut |_| std::ops::ControlFlow::Continue(())).unwrap_err();
    assert!(error.to_string().contains("longer than"), "{error}");
    let page = "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken></ListBucketResult>";
    let server = Server::start(move |_, _| Say::ok(page));
    let error = ask(&server).list(&prefix, &mut |_| std::ops::ControlFlow::Continue(())).unwrap_err();
    assert!(error.to_string().contains("has no end"), "{error}");
}

#[test]
fn credentials_do_not_follow_a_redirect() {
    let thief = Server::start(|_, _| Say::ok("stolen"));
    for status in [301, 302, 303, 307, 308] {
        let target = format!("http://{}/bucket/key?signature=hunter3", thief.host);
        let server = Server::start(move |_, _| Say::status(status).header("Location", target.clone()));
        let s3 = s3(&server.host, "AKIDTEST", "hunter2");
        let azure = format!("http://{}/account1", server.host);
        for (environment, place) in [
            (s3, OBJECT),
            (Environment::empty().with("STORAGE_EMULATOR_HOST", &*server.host), "gs://bucket/key"),
            (
                Environment::empty().with("AZURE_STORAGE_ENDPOINT", azure).with("AZURE_STORAGE_ACCESS_KEY", "aGk="),
                "https://account1.blob.core.windows.net/ctx/key",
            ),
        ] {
            let client = client(environment);
            for error in [get(&client, &at(place)).unwrap_err(), put(&client, &at(place), b"x").unwrap_err()] {
                let text = error.to_string();
                assert!(matches!(error, ObjectError::Redirect { .. }) && text.contains(&thief.host), "{text}");
                assert!(!text.contains("hunter"), "{text}");
            }
        }
    }
    assert_eq!(thief.lines(), [""; 0]);
}

#[test]
fn a_bucket_is_followed_to_its_region_on_the_same_server() {
    let thief = Server::start(|_, _| Say::ok("stolen"));
    let target = format!("http://{}/", thief.host);
    let server = Server::start(move |seen, _| {
        if seen.header("authorization").is_some_and(|a| a.contains("/eu-north-1/s3/")) {
            return Say::ok("here");
        }
        Say::status(307).header("Location", target.clone()).header("x-amz-bucket-region", "eu-north-1")
    });
    let client = ask(&server);
    assert_eq!(get(&client, &at(OBJECT)).unwrap().0, b"here");
    assert_eq!(get(&client, &at(OBJECT)).unwrap().0, b"here");
    assert_eq!((server.seen().len(), thief.lines().len()), (3, 0), "the region is remembered");
    let body =
        "<Error><Code>AuthorizationHeaderMalformed</Code><Message>m</Message><Region>eu-north-1</Region></Error>";
    let server = Server::start(move |seen, _| match seen.header("authorization") {
        Some(text) if text.contains("/eu-north-1/s3/") => Say::ok("here"),
        _ => Say::status(400).body(body),
    });
    assert_eq!(get(&ask(&server), &at(OBJECT)).unwrap().0, b"here");
    for region in ["evil.example/x", "a@b", ""] {
        let server = Server::start(move |_, _| Say::status(301).header("x-amz-bucket-region", region));
        assert!(matches!(get(&ask(&server), &at(OBJECT)).unwrap_err(), ObjectError::Redirect { .. }));
        assert_eq!(server.seen().len(), 1);
    }
    let server = Server::start(|_, n| Say::status(301).header("x-amz-bucket-region", format!("r-{n}")));
    assert!(matches!(get(&ask(&server), &at(OBJECT)).unwrap_err(), ObjectError::Redirect { .. }));
    assert_eq!(server.seen().len(), 3, "but not for ever");
}

#[test]
fn an_upload_that_fails_is_given_up() {
    let opened = "<InitiateMultipartUploadResult><UploadId>u/1</UploadId></InitiateMultipartUploadResult>";
    let server = Server::start(move |seen, _| match (&*seen.method, seen.path.contains("partNumber")) {
        ("POST", _) if seen.path.contains("uploads=") => Say::ok(opened),
        ("PUT", _) if seen.path.contains("partNumber=2") => Say::status(403),
        ("PUT", true) => Say::status(200).header("ETag", "\"p\""),
        _ => Say::status(204),
    });
    let environment = s3(&server.host, "AKIDTEST", "hunter2");
    let client = Client::new(Config { multipart_above: 1, ..config(environment) }).unwrap();
    let error = put(&client, &at(OBJECT), &bytes(20 << 20)).unwrap_err();
    assert!(error.is_denied(), "{error}");
    assert_eq!(server.lines().last().unwrap(), "DELETE /bucket/key?uploadId=u%2F1");
}

#[test]
fn success_that_holds_an_error_is_none() {
    let opened = "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>";
    let server = Server::start(move |seen, _| match &*seen.method {
        "POST" if seen.path.contains("uploads=") => Say::ok(opened),
        "POST" => Say::ok("<Error><Code>InvalidPart</Code><Message>no</Message></Error>"),
        _ => Say::status(200).header("ETag", "\"p\""),
    });
    let environment = s3(&server.host, "AKIDTEST", "hunter2");
    let client = Client::new(Config { multipart_above: 1, ..config(environment) }).unwrap();
    let error = put(&client, &at(OBJECT), &bytes(100)).unwrap_err();
    assert!(error.to_string().contains("InvalidPart"), "{error}");
}

#[test]
fn a_resumable_upload_goes_on_where_the_service_says() {
    let chunk = 256 << 10;
    let content = bytes(chunk * 2 + 10);
    let total = content.len();
    let server = Server::start(move |seen, n| match (n, seen.header("content-range")) {
        (0, None) => Say::status(200).header("Location", "/upload/storage/v1/b/bucket/o?upload_id=a%2Bb"),
        (1, _) => Say::status(503),
        // After the failure: half of the first chunk had arrived.
        (2, Some(range)) if range == format!("bytes */{total}") => Say::status(308).header("Range", "bytes=0-131071"),
        (3, Some(range)) if range == format!("bytes 131072-393215/{total}") => {
            Say::status(308).header("Range", "bytes=0-393215")
        }
        (4, Some(range)) if range == format!("bytes 393216-{}/{total}", total - 1) => Say::ok("{}"),
        (_, range) => Say::status(400).body(format!("{{\"error\":\"{n} {range:?}\"}}")),
    });
    let environment = Environment::empty().with("STORAGE_EMULATOR_HOST", &*server.host);
    let small = Config { multipart_above: 1, part_size: chunk as u64, ..config(environment) };
    put(&Client::new(small).unwrap(), &at("gs://bucket/key"), &content).unwrap();
    let seen = server.seen();
    assert!(seen[1..].iter().all(|s| s.path.ends_with("upload_id=a%2Bb")), "{:?}", server.lines());
    assert!(seen[3].body == content[131_072..393_216]);
}

#[test]
fn an_upload_does_not_move_to_another_host() {
    let thief = Server::start(|_, _| Say::ok("{}"));
    let target = format!("http://{}/upload?upload_id=1", thief.host);
    let server = Server::start(move |_, _| Say::status(200).header("Location", target.clone()));
    let environment = Environment::empty().with("STORAGE_EMULATOR_HOST", &*server.host);
    let client = Client::new(Config { multipart_above: 1, ..config(environment) }).unwrap();
    let error = put(&client, &at("gs://bucket/key"), b"content").unwrap_err();
    assert!(error.to_string().contains("another host"), "{error}");
    assert_eq!(thief.lines(), [""; 0]);
}

#[test]
fn slow_servers_are_given_up_and_callers_can_stop() {
    let content = bytes(5000);
    let served = content.clone();
    let server =
        Server::start(move |_, _| Say::ok(&*served).header("ETag", "\"e\"").dripping(Duration::from_millis(5)));
    let environment = s3(&server.host, "AKIDTEST", "hunter2");
    let impatient = Config { idle_timeout: Duration::from_millis(60), retries: 1, ..config(environment.clone()) };
    let error = get(&Client::new(impatient).unwrap(), &at(OBJECT)).unwrap_err();
    assert!(matches!(error, ObjectError::Cloud(CloudError::Stalled { .. })), "{error}");
    let server = Server::start(|_, _| Say::silence());
    let waiting = config(s3(&server.host, "AKIDTEST", "hunter2"));
    let cancel = waiting.cancel.clone();
    let stop = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        cancel.store(true, Ordering::Relaxed);
    });
    assert!(get(&Client::new(waiting).unwrap(), &at(OBJECT)).unwrap_err().is_cancelled());
    stop.join().unwrap();
}

/// A sink that is full.
struct Full;

impl io::Write for Full {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_sink_is_told_and_not_tried_again() {
    let server = Server::start(|_, _| Say::ok("content").header("ETag", "\"e\""));
    let error = ask(&server).get(&at(OBJECT), &mut Full, &|_| {}).unwrap_err();
    assert!(matches!(error, ObjectError::Sink { .. }) && server.seen().len() == 1, "{error}");
}
