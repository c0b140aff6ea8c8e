//! What each user may do, certificates that change, and addresses with too many connections.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kiln_serve::auth::Auth;
use kiln_serve::auth::access::Access;
use kiln_serve::auth::htpasswd::{Htpasswd, line};
use kiln_serve::auth::token::Issuer;
use kiln_serve::log::{Form, Log};
use kiln_serve::tls::Certificate;
use kiln_testkit::tools::tool;

use crate::support::{Answer, Server};

fn basic(user: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:secret")))
}

/// A server with the users `ci`, `dev` and `admin`, and these rights.
fn with_rights(dir: &std::path::Path, rights: &str, token: bool) -> Server {
    let (users, access) = (dir.join("users"), dir.join("rights"));
    let lines: Vec<String> = ["ci", "dev", "admin"].iter().map(|user| line(user, "secret").unwrap()).collect();
    std::fs::write(&users, lines.join("\n")).unwrap();
    std::fs::write(&access, rights).unwrap();
    Server::with(|mut s| {
        let users = Htpasswd::open(&users, "here", true).unwrap();
        s.auth = match token {
            true => Auth::Own(Issuer::new(users, "kiln").unwrap()),
            false => Auth::Basic(users),
        };
        s.policy.access = Some(Arc::new(Access::open(&access).unwrap()));
        s
    })
}

const RIGHTS: &str =
    "ci team/** pull,push\ndev team/app pull\ndev docker.io/** pull\nanonymous public/* pull\nadmin ** all\n";

/// The same store, filled by a server that asks nobody.
fn fill(server: &Server) -> kiln_oci::Digest {
    let open = kiln_serve::Running::start(crate::support::settings(&server.dir.path().join("store"))).unwrap();
    let filler = |name: &str, layer: &[u8]| {
        let digest = kiln_oci::Digest::of(layer);
        let path = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        let sent = crate::support::request(open.address(), "POST", &path, &[], layer);
        assert_eq!(sent.status, 201, "{sent:?}");
        let config = serde_json::to_vec(&serde_json::json!({"rootfs": {"type": "layers", "diff_ids": []}})).unwrap();
        let path = format!("/v2/{name}/blobs/uploads/?digest={}", kiln_oci::Digest::of(&config));
        assert_eq!(crate::support::request(open.address(), "POST", &path, &[], &config).status, 201);
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": kiln_oci::media::OCI_MANIFEST,
            "config": kiln_oci::Descriptor::of(kiln_oci::media::OCI_CONFIG, &config),
            "layers": [kiln_oci::Descriptor::of(kiln_oci::media::OCI_LAYER, layer)],
        });
        let kind = [("Content-Type", kiln_oci::media::OCI_MANIFEST)];
        let bytes = serde_json::to_vec(&manifest).unwrap();
        let put = crate::support::request(open.address(), "PUT", &format!("/v2/{name}/manifests/1"), &kind, &bytes);
        assert_eq!(put.status, 201, "{put:?}");
        digest
    };
    let secret = filler("team/app", b"of the team");
    for name in ["team/other", "public/site", "docker.io/library/nginx", "quay.io/library/redis"] {
        filler(name, name.as_bytes());
    }
    open.stop(std::future::ready(()));
    secret
}

#[test]
fn users_may_do_what_they_have_a_right_to() {
    let dir = tempfile::tempdir().unwrap();
    let server = with_rights(dir.path(), RIGHTS, false);
    let secret = fill(&server);
    let ask = |user: &str, method: &str, path: &str| -> Answer {
        match user {
            "" => server.ask(method, path),
            user => server.send(method, path, &[("Authorization", &basic(user))], b""),
        }
    };
    for (user, method, path, verdict) in [
        ("ci", "GET", "/v2/team/app/manifests/1".to_owned(), "200"),
        ("ci", "POST", "/v2/team/new/blobs/uploads/".to_owned(), "202"),
        ("ci", "POST", "/v2/other/new/blobs/uploads/".to_owned(), "403 DENIED"),
        ("ci", "DELETE", "/v2/team/app/manifests/1".to_owned(), "403 DENIED"),
        ("ci", "GET", "/v2/library/nginx/manifests/1".to_owned(), "403 DENIED"),
        ("dev", "GET", "/v2/team/app/tags/list".to_owned(), "200"),
        ("dev", "GET", "/v2/team/other/tags/list".to_owned(), "403 DENIED"),
        ("dev", "POST", "/v2/team/app/blobs/uploads/".to_owned(), "403 DENIED"),
        // By its whole name, its short one, and as a mirror's.
        ("dev", "GET", "/v2/docker.io/library/nginx/manifests/1".to_owned(), "200"),
        ("dev", "GET", "/v2/library/nginx/manifests/1".to_owned(), "200"),
        ("dev", "GET", "/v2/library/nginx/manifests/1?ns=docker.io".to_owned(), "200"),
        ("dev", "GET", "/v2/library/redis/manifests/1".to_owned(), "403 DENIED"),
        ("dev", "GET", "/v2/library/redis/manifests/1?ns=quay.io".to_owned(), "403 DENIED"),
        ("dev", "GET", format!("/v2/team/other/blobs/{secret}"), "403 DENIED"),
        ("dev", "GET", format!("/v2/docker.io/library/nginx/blobs/{secret}"), "404 BLOB_UNKNOWN"),
        // A blob is not to be had by mounting it.
        (
            "ci",
            "POST",
            format!("/v2/team/new/blobs/uploads/?mount={secret}&from=docker.io/library/nginx"),
            "403 DENIED",
        ),
        ("", "GET", "/v2/public/site/manifests/1".to_owned(), "200"),
        ("", "GET", "/v2/team/app/manifests/1".to_owned(), "401 UNAUTHORIZED"),
        ("", "POST", "/v2/public/site/blobs/uploads/".to_owned(), "401 UNAUTHORIZED"),
        ("admin", "DELETE", "/v2/team/other/manifests/1".to_owned(), "202"),
    ] {
        let answer = ask(user, method, &path);
        assert_eq!(answer.verdict(), verdict, "{user} {method} {path}");
        if answer.status == 401 {
            assert!(answer.header("www-authenticate").is_some(), "{path}: clients are told to say who they are");
        }
    }
    let listed = |user: &str| ask(user, "GET", "/v2/_catalog").json()["repositories"].to_string();
    assert_eq!(listed("dev"), r#"["docker.io/library/nginx","public/site","team/app"]"#);
    assert!(listed("admin").contains("quay.io/library/redis"));
    // What is changed counts at once.
    std::fs::write(dir.path().join("rights"), "dev public/* pull\n").unwrap();
    assert_eq!(ask("dev", "GET", "/v2/team/app/manifests/1").status, 403);
}

#[test]
fn tokens_give_no_more_than_the_rights() {
    let dir = tempfile::tempdir().unwrap();
    let server = with_rights(dir.path(), RIGHTS, true);
    let _ = fill(&server);
    let token = |user: &str, scope: &str| {
        let path = format!("/token?service=kiln&scope={scope}");
        let answer = match user {
            "" => server.ask("GET", &path),
            user => server.send("GET", &path, &[("Authorization", &basic(user))], b""),
        };
        format!("Bearer {}", answer.json()["token"].as_str().unwrap())
    };
    let get = |path: &str, bearer: &str| server.send("GET", path, &[("Authorization", bearer)], b"").verdict();
    let other = token("dev", "repository:team/other:pull");
    assert_eq!(get("/v2/team/other/manifests/1", &other), "403 DENIED");
    let own = token("dev", "repository:team/app:pull");
    assert_eq!(get("/v2/team/app/manifests/1", &own), "200");
    let nobody = token("", "repository:team/app:pull");
    let refused = server.send("GET", "/v2/team/app/manifests/1", &[("Authorization", &nobody)], b"");
    assert_eq!(refused.verdict(), "401 UNAUTHORIZED");
    assert!(refused.header("www-authenticate").unwrap().contains("scope=\"repository:team/app:pull\""), "{refused:?}");
}

#[test]
fn a_certificate_that_is_renewed_is_used_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let log = Arc::new(Log::start(Form::Plain, false, Box::new(std::io::sink())).unwrap());
    let made = |name: &str| {
        let own = path(name);
        let _ = Certificate::Own { dir: own.clone(), names: vec!["127.0.0.1".to_owned()] }.server(&log).unwrap();
        own
    };
    let (first, second) = (made("first"), made("second"));
    let take = |from: &std::path::Path, part: &str, to: &str| {
        std::fs::copy(from.join(part), path(to)).unwrap();
    };
    take(&first, "server.crt", "certificate");
    take(&first, "server.key", "key");
    let certificate = Certificate::Files { certificate: path("certificate"), key: path("key") };
    let server = Server::with(|mut s| {
        s.certificate = Some(certificate);
        s
    });
    let trusted = |made: &std::path::Path| {
        let mut command = Command::new(tool("curl"));
        command.args(["-sS", "-o", "/dev/null", "--cacert"]).arg(made.join("ca.crt"));
        command.arg(format!("https://{}/v2/", server.address())).output().unwrap().status.success()
    };
    assert!(trusted(&first) && !trusted(&second));
    // One of the two files, in the midst of a change: what was there before is used.
    take(&second, "server.crt", "certificate");
    assert!(trusted(&first));
    take(&second, "server.key", "key");
    assert!(trusted(&second) && !trusted(&first));
    std::fs::write(path("certificate"), "nonsense").unwrap();
    std::fs::remove_file(path("key")).unwrap();
    assert!(trusted(&second), "what is no certificate changes nothing");
}

#[test]
fn one_address_cannot_have_all_connections() {
    let server = Server::with(|mut s| {
        s.connections_per_address = 3;
        s
    });
    let mut open: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    // Each was taken: it answers.
    for stream in &mut open {
        stream.write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        stream.read_exact(&mut [0; 8]).unwrap();
    }
    let mut more = TcpStream::connect(server.address()).unwrap();
    more.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let got = more.read(&mut [0; 8]);
    assert!(
        matches!(got, Ok(0)) || got.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset),
        "it is closed"
    );
    let numbers = crate::support::request(server.running.debug_address().unwrap(), "GET", "/metrics", &[], b"");
    let text = String::from_utf8(numbers.body).unwrap();
    assert!(text.contains("kiln_registry_connections_refused_total 1\n"), "{text}");
    drop(open.pop());
    // A place that is free is free as soon as the server has seen it.
    let again = (0..600).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        let mut stream = TcpStream::connect(server.address()).unwrap();
        let _ = stream.write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let mut text = String::new();
        stream.read_to_string(&mut text).is_ok() && text.contains("200 OK")
    });
    assert!(again);
}
