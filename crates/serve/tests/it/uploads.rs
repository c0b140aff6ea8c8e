//! Blobs in chunks: resumed, interrupted, sent twice at once, taken over from other repositories.

use std::io::Write;
use std::net::TcpStream;

use kiln_oci::Digest;
use kiln_oci::Hasher;

use crate::support::Server;

fn begin(server: &Server, name: &str) -> String {
    let answer = server.ask("POST", &format!("/v2/{name}/blobs/uploads/"));
    assert_eq!((answer.status, answer.header("range")), (202, Some("0-0")));
    answer.location().to_owned()
}

#[test]
fn chunks_follow_each_other() {
    let server = Server::start();
    let place = begin(&server, "a");
    let patch = |range: &str, bytes: &[u8]| server.send("PATCH", &place, &[("Content-Range", range)], bytes);
    let first = patch("0-4", b"hello");
    assert_eq!((first.status, first.header("range")), (202, Some("0-4")));
    for (range, bytes) in
        [("0-4", &b"hello"[..]), ("6-10", b"world"), ("18446744073709551615-18446744073709551615", b"x")]
    {
        let refused = patch(range, bytes);
        assert_eq!((refused.status, refused.header("range")), (416, Some("0-4")), "{range}");
    }
    assert_eq!(patch("5-6", b"world").verdict(), "400 SIZE_INVALID");
    assert_eq!(patch("five-six", b"world").verdict(), "400 BLOB_UPLOAD_INVALID");
    // A length that no number has: nothing of it may overflow.
    let headers = [("Content-Range", "5-18446744073709551615"), ("Transfer-Encoding", "chunked")];
    assert_eq!(server.send("PATCH", &place, &headers, b"0\r\n\r\n").verdict(), "400 SIZE_INVALID");
    let status = server.ask("GET", &place);
    assert_eq!((status.status, status.header("range")), (204, Some("0-4")));
    assert_eq!(patch("5-5", b" ").header("range"), Some("0-5"));
    let digest = Digest::of(b"hello world");
    let done = server.send("PUT", &format!("{place}?digest={digest}"), &[("Content-Range", "6-10")], b"world");
    assert_eq!((done.status, done.location()), (201, format!("/v2/a/blobs/{digest}").as_str()));
    assert_eq!(server.ask("GET", done.location()).body, b"hello world");
    assert_eq!(server.ask("GET", &place).verdict(), "404 BLOB_UPLOAD_UNKNOWN");
}

#[test]
fn an_upload_belongs_to_its_repository() {
    let server = Server::start();
    let place = begin(&server, "a");
    let other = place.replace("/v2/a/", "/v2/b/");
    for method in ["GET", "PATCH", "DELETE"] {
        assert_eq!(server.ask(method, &other).verdict(), "404 BLOB_UPLOAD_UNKNOWN", "{method}");
    }
    assert_eq!(server.ask("DELETE", &place).status, 204);
    assert_eq!(server.ask("GET", &place).verdict(), "404 BLOB_UPLOAD_UNKNOWN");
}

#[test]
fn what_has_another_digest_is_no_blob() {
    let server = Server::start();
    let wrong = Digest::of(b"right");
    let refused = server.send("POST", &format!("/v2/a/blobs/uploads/?digest={wrong}"), &[], b"wrong");
    assert_eq!(refused.verdict(), "400 DIGEST_INVALID");
    let place = begin(&server, "a");
    server.send("PATCH", &place, &[], b"wrong");
    assert_eq!(server.ask("PUT", &place).verdict(), "400 DIGEST_INVALID");
    assert_eq!(server.ask("PUT", &format!("{place}?digest={wrong}")).verdict(), "400 DIGEST_INVALID");
    assert_eq!(server.ask("HEAD", &format!("/v2/a/blobs/{wrong}")).status, 404);
    let left = std::fs::read_dir(server.store().dir().join("kiln/partial")).unwrap().count();
    assert_eq!(left, 0, "nothing of it stays");
}

#[test]
fn sha512_is_as_good() {
    let server = Server::start();
    let mut hasher = Hasher::Sha512(Box::default());
    hasher.update(b"hello");
    let digest = hasher.finish();
    let place = begin(&server, "a");
    assert_eq!(server.send("PATCH", &place, &[], b"hel").status, 202);
    assert_eq!(server.send("PUT", &format!("{place}?digest={digest}"), &[], b"lo").status, 201);
    assert_eq!(server.ask("GET", &format!("/v2/a/blobs/{digest}")).body, b"hello");
}

#[test]
fn an_upload_survives_the_server() {
    let server = Server::start();
    let place = begin(&server, "a");
    assert_eq!(server.send("PATCH", &place, &[], b"hello ").status, 202);
    let server = server.again();
    let status = server.ask("GET", &place);
    assert_eq!((status.status, status.header("range")), (204, Some("0-5")));
    assert_eq!(server.send("PATCH", &place, &[("Content-Range", "0-4")], b"world").status, 416);
    assert_eq!(server.send("PATCH", &place, &[("Content-Range", "6-10")], b"world").status, 202);
    let digest = Digest::of(b"hello world");
    assert_eq!(server.ask("PUT", &format!("{place}?digest={digest}")).status, 201);
    assert_eq!(server.ask("GET", &format!("/v2/a/blobs/{digest}")).body, b"hello world");
    assert!(server.store().fsck(false).unwrap().problems.is_empty());
}

#[test]
fn a_connection_that_breaks_leaves_what_has_come() {
    let server = Server::start();
    let place = begin(&server, "a");
    let mut stream = TcpStream::connect(server.address()).unwrap();
    write!(stream, "PATCH {place} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhello ").unwrap();
    drop(stream);
    let range = || server.ask("GET", &place).header("range").map(str::to_owned);
    while range().as_deref() != Some("0-5") {
        std::thread::yield_now();
    }
    let digest = Digest::of(b"hello world");
    // Until the server has seen the end, the upload is busy.
    let done = || server.send("PUT", &format!("{place}?digest={digest}"), &[], b"world").status;
    loop {
        match done() {
            409 => std::thread::yield_now(),
            status => break assert_eq!(status, 201),
        }
    }
}

#[test]
fn the_same_blob_may_come_many_times_at_once() {
    let server = Server::start();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[usize::from(n.is_multiple_of(3))]).collect();
    std::thread::scope(|scope| {
        for n in 0..8 {
            let (server, bytes) = (&server, &bytes);
            scope.spawn(move || server.blob(&format!("r{}", n % 2), bytes));
        }
    });
    assert_eq!(server.ask("GET", &format!("/v2/r1/blobs/{}", Digest::of(&bytes))).body, bytes);
    assert!(server.store().fsck(false).unwrap().problems.is_empty());
}

#[test]
fn blobs_are_taken_over_from_other_repositories() {
    let server = Server::start();
    let digest = server.blob("a", b"layer");
    let mount =
        |to: &str, from: &str| server.ask("POST", &format!("/v2/{to}/blobs/uploads/?mount={digest}&from={from}"));
    let done = mount("b", "a");
    assert_eq!((done.status, done.location()), (201, format!("/v2/b/blobs/{digest}").as_str()));
    assert_eq!(server.ask("HEAD", done.location()).status, 200);
    // Who does not have it, gets an upload instead.
    assert_eq!(mount("c", "none").status, 202);
    assert_eq!(mount("c", "../a").status, 202);
    assert_eq!(server.ask("POST", &format!("/v2/c/blobs/uploads/?mount={digest}")).status, 202);
    assert_eq!(server.ask("HEAD", &format!("/v2/c/blobs/{digest}")).status, 404);
}

#[test]
fn too_long_blobs_are_refused() {
    let server = Server::with(|mut s| {
        s.max_upload = 1000;
        s
    });
    let place = begin(&server, "a");
    assert_eq!(server.send("PATCH", &place, &[], &[0; 1001]).verdict(), "413 SIZE_INVALID");
    // Without a length, it is noticed when they come.
    let mut chunked = Vec::new();
    for _ in 0..300 {
        chunked.extend_from_slice(b"400\r\n");
        chunked.extend_from_slice(&[1; 1024]);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    let refused = server.send("PATCH", &place, &[("Transfer-Encoding", "chunked")], &chunked);
    assert_eq!(refused.verdict(), "413 SIZE_INVALID");
    assert_eq!(server.send("PATCH", &place, &[], &[0; 1000]).status, 202);
}
