//! Servers that are slow on purpose, or speak something that is hardly HTTP.

use std::time::Duration;

use kiln_registry::{Client, Config, RegistryError};

use crate::server::{Say, Server};
use crate::{blob, config, layer, pull, reference};

/// A client that waits hardly at all.
fn impatient(host: &str) -> Client {
    Client::new(Config { idle_timeout: Duration::from_millis(60), retries: 1, ..config(&[host]) }).unwrap()
}

#[test]
fn single_bytes_do_not_hold_a_transfer() {
    let bytes = blob(5000);
    let served = bytes.clone();
    let server = Server::start(move |_, _| Say::ok(&*served).dripping(Duration::from_millis(5)));
    let client = impatient(&server.host);
    let error = pull(&client, &server.host, &layer(&bytes)).unwrap_err();
    assert!(matches!(error, RegistryError::Stalled { .. }) && error.hint().is_some(), "{error}");
    assert_eq!(server.seen().len(), 2, "tried again once");
    let error = client.manifest(&reference(&server.host, "a")).unwrap_err();
    assert!(matches!(error, RegistryError::Stalled { .. }), "{error}");
    let error = client.fetch_url(&format!("http://{}/x", server.host), None, 1 << 20, &mut Vec::new(), &|_| {});
    assert!(matches!(error, Err(RegistryError::Stalled { .. })), "{error:?}");
}

#[test]
fn a_body_that_stops_is_given_up() {
    let bytes = blob(5000);
    let served = bytes.clone();
    let server = Server::start(move |_, _| Say::ok(&served[..2000]).announcing(5000).holding());
    let error = pull(&impatient(&server.host), &server.host, &layer(&bytes)).unwrap_err();
    assert!(matches!(error, RegistryError::Stalled { .. }), "{error}");
}

/// The one test here that waits: for the time a refusal may take.
#[test]
fn a_refusal_that_never_ends_is_a_refusal() {
    let server = Server::start(|_, _| Say::status(403).body("{").announcing(5000).holding());
    let error = impatient(&server.host).manifest(&reference(&server.host, "a")).unwrap_err();
    assert!(error.to_string().contains("HTTP 403: Forbidden"), "{error}");
}

#[test]
fn a_refusal_of_any_length_is_cut() {
    let server = Server::start(|_, _| Say::status(404).body(vec![b'['; 65536]).endless());
    let error = impatient(&server.host).manifest(&reference(&server.host, "a")).unwrap_err();
    assert!(error.is_not_found() && error.to_string().len() < 1000, "{error}");
}

#[test]
fn what_is_no_http_is_told_in_words() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    for raw in [
        "SSH-2.0-OpenSSH_9.2\r\n".to_owned(),
        String::new(),
        "HTTP/1.1 200 OK\r\n".to_owned(),
        "HTTP/9.9 200 OK\r\n\r\n".to_owned(),
        "HTTP/1.1 0x200 OK\r\n\r\n".to_owned(),
        format!("{head}Content-Length: -1\r\n\r\nx"),
        format!("{head}Content-Length: 99999999999999999999999\r\n\r\nx"),
        format!("{head}Content-Length: 1\r\nContent-Length: 2\r\n\r\nxy"),
        format!("{head}Content-Length: 1, 2\r\n\r\nxy"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\nZZZ\r\n"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nx"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\nab"),
        format!("{head}X-Bad: a\0b\r\nContent-Length: 0\r\n\r\n"),
        format!("{head}Content-Length: 2\r\n\r\n{{}}"),
    ] {
        let answer = raw.clone();
        let server = Server::start(move |_, _| Say::raw(answer.clone()));
        let error = impatient(&server.host).manifest(&reference(&server.host, "a")).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&server.host) && error.hint().is_some(), "{raw:?}: {text}");
        assert!(!text.contains('\0') && text.len() < 500, "{raw:?}: {text}");
        assert!(server.seen().len() <= 4, "{raw:?}: tried {} times", server.seen().len());
    }
}

#[test]
fn heads_without_end_are_cut() {
    for line in ["X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", "aaaaaaaaaaaaaaaaaaaaaaaa"] {
        let raw = format!("HTTP/1.1 200 OK\r\n{}", line.repeat(20_000));
        let server = Server::start(move |_, _| Say::raw(raw.clone()).endless());
        let error = impatient(&server.host).manifest(&reference(&server.host, "a")).unwrap_err();
        assert!(matches!(error, RegistryError::Connect { .. }), "{error}");
    }
    // Answers that announce another one are no answer.
    let server = Server::start(|_, _| Say::raw("HTTP/1.1 103 Early Hints\r\n\r\n".repeat(1000)).endless());
    let error = impatient(&server.host).manifest(&reference(&server.host, "a")).unwrap_err();
    assert!(matches!(error, RegistryError::Stalled { .. } | RegistryError::Connect { .. }), "{error}");
}

#[test]
fn an_encoded_body_is_not_what_was_asked_for() {
    let bytes = blob(1000);
    let server = Server::start(|_, _| Say::ok(vec![0x1f; 1000]).header("Content-Encoding", "gzip"));
    let error = pull(&impatient(&server.host), &server.host, &layer(&bytes)).unwrap_err();
    assert!(matches!(error, RegistryError::DigestMismatch { .. }), "{error}");
    assert_eq!(server.seen()[0].header("accept-encoding"), Some("identity"));
}

#[test]
fn a_pause_that_is_asked_for_is_made() {
    let bytes = blob(10);
    let served = bytes.clone();
    let server = Server::start(move |_, n| match n {
        0 => Say::error(429, "TOOMANYREQUESTS", "slow down").header("Retry-After", "1"),
        _ => Say::ok(&*served),
    });
    let started = std::time::Instant::now();
    pull(&impatient(&server.host), &server.host, &layer(&bytes)).unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1), "the pause is at least what was asked for");
    for nonsense in ["-5", "soon", "99999999999999999999", ""] {
        let server = Server::start(move |_, _| Say::status(503).header("Retry-After", nonsense));
        let error = impatient(&server.host).manifest(&reference(&server.host, "a")).unwrap_err();
        assert!(error.hint().unwrap().contains("try again later"), "{nonsense}: {error}");
    }
}
