//! Peers that mean no good, or do nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use kiln_oci::Digest;

use crate::support::{Server, parse, raw};

/// The status of what is answered to these bytes; `None` if the connection is closed without a word.
fn status(to: SocketAddr, bytes: &[u8]) -> Option<u16> {
    let answer = raw(to, bytes);
    (!answer.is_empty()).then(|| parse(&answer, false).status)
}

#[test]
fn requests_that_mean_two_things_are_refused() {
    let server = Server::start();
    let place = server.ask("POST", "/v2/a/blobs/uploads/").location().to_owned();
    let to = server.address();
    for bad in [
        format!("PATCH {place} HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
        format!("PATCH {place} HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"),
        format!("PATCH {place} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n"),
        format!("PATCH {place} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity, chunked, gzip\r\n\r\n"),
        "GET /v2/ HTTP/1.1\r\nHost : x\r\n\r\n".to_owned(),
        "GET /v2/ HTTP/1.1\r\n Host: x\r\n\r\n".to_owned(),
        "GET /v2/\u{0} HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "GET  /v2/ HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "GET /v2/ HTTP/9.9\r\nHost: x\r\n\r\n".to_owned(),
        "\r\n\r\n\u{16}\u{3}\u{1}".to_owned(),
        format!("GET /v2/ HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(500)),
        format!("GET /v2/ HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "b".repeat(400_000)),
        format!("GET /v2/{} HTTP/1.1\r\nHost: x\r\n\r\n", "a/".repeat(100_000)),
    ] {
        let got = status(to, bad.as_bytes());
        assert!(got.is_none_or(|status| (400..500).contains(&status)), "{got:?} to {:.80?}", bad);
    }
    // Both headers: the length counts for nothing, and what follows is no second request.
    let both = format!(
        "PATCH {place} HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
         0\r\n\r\nGET /v2/_catalog HTTP/1.1\r\nHost: x\r\n\r\n"
    );
    let answer = String::from_utf8_lossy(&raw(to, both.as_bytes())).into_owned();
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert_eq!(server.ask("GET", "/v2/").status, 200);
}

#[test]
fn bodies_have_an_end() {
    let server = Server::start();
    let to = server.address();
    let long = format!("PUT /v2/a/manifests/1 HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", 5 << 20);
    assert_eq!(status(to, long.as_bytes()), Some(413));
    let mut endless =
        b"PUT /v2/a/manifests/1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
            .to_vec();
    for _ in 0..100 {
        endless.extend_from_slice(b"10000\r\n");
        endless.extend_from_slice(&[b'x'; 0x10000]);
        endless.extend_from_slice(b"\r\n");
    }
    assert_eq!(status(to, &endless), Some(413));
    assert_eq!(
        status(
            to,
            b"PUT /v2/a/manifests/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nConnection: close\r\n\r\n{\"a\": 1}\n"
        ),
        Some(400)
    );
}

#[test]
fn who_does_nothing_is_left() {
    let server = Server::with(|mut s| {
        s.patience = Duration::from_millis(300);
        s
    });
    let place = server.ask("POST", "/v2/a/blobs/uploads/").location().to_owned();
    let bytes = vec![7; 32 << 20];
    let digest = server.blob("a", &bytes);
    let connect = |begin: &str| {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(begin.as_bytes()).unwrap();
        stream
    };
    // Asks for much, and takes only the first byte of it.
    let mut greedy = connect(&format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n"));
    greedy.read_exact(&mut [0]).unwrap();
    for begin in [
        String::new(),
        "GET /v2/ HT".to_owned(),
        "GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        format!("PATCH {place} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc"),
        "PUT /v2/a/manifests/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
    ] {
        let ended = connect(&begin).read_to_end(&mut Vec::new());
        let waited = ended.is_err_and(|e| matches!(e.kind(), std::io::ErrorKind::WouldBlock));
        assert!(!waited, "still open: {begin:?}");
    }
    let mut rest = Vec::new();
    let _ = greedy.read_to_end(&mut rest);
    assert!(rest.len() < bytes.len(), "the rest of the blob was not waited for");
}

/// Memory of this process that is not shared, in bytes.
fn memory() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
fn five_hundred_connections_take_little_memory() {
    let server = Server::start();
    let (soft, hard) = {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        (limit.current.unwrap_or(u64::MAX), limit.maximum)
    };
    if soft < 2000 {
        let limit = rustix::process::Rlimit { current: hard, maximum: hard };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
    }
    let bytes = vec![7; 48 << 20];
    let digest = server.blob("a", &bytes);
    let before = memory();
    let request = format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut streams = Vec::new();
    for _ in 0..500 {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut first = [0; 1024];
        stream.read_exact(&mut first).unwrap();
        streams.push(stream);
    }
    // Each has got its headers and some of the blob, and takes no more: the blob is not in memory once for each.
    let grown = memory().saturating_sub(before);
    assert!(grown < 128 << 20, "{} MiB for 500 connections", grown >> 20);
    assert_eq!(server.ask("GET", "/v2/").status, 200, "and there is room for others");
    drop(streams);
    assert_eq!(Digest::of(&server.ask("GET", &format!("/v2/a/blobs/{digest}")).body), digest);
}

#[test]
fn pipelined_requests_get_their_own_bytes() {
    let server = Server::start();
    let blobs: Vec<Vec<u8>> = (1..=6_u8).map(|n| vec![n; 100_000 * usize::from(n)]).collect();
    let digests: Vec<Digest> = blobs.iter().map(|b| server.blob("a", b)).collect();
    let mut requests = String::new();
    for (n, digest) in digests.iter().enumerate() {
        let close = if n == 5 { "Connection: close\r\n" } else { "" };
        requests += &format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\n{close}\r\n");
    }
    let mut answer = raw(server.address(), requests.as_bytes());
    for blob in &blobs {
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        assert!(answer[end..end + blob.len()] == blob[..]);
        answer.drain(..end + blob.len());
    }
    assert!(answer.is_empty());
}
