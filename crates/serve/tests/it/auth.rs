//! Who may do what: passwords, and tokens of this server.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kiln_serve::auth::Auth;
use kiln_serve::auth::htpasswd::{Htpasswd, line};
use kiln_serve::auth::token::Issuer;

use crate::support::{Answer, Server};

const PASSWORD: &str = "p:a ss/+w%rd";

fn users(dir: &std::path::Path, anonymous_pull: bool) -> Htpasswd {
    let path = dir.join("users");
    std::fs::write(&path, line("me", PASSWORD).unwrap() + "\n").unwrap();
    Htpasswd::open(&path, "here", anonymous_pull).unwrap()
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

fn get(server: &Server, path: &str, authorization: &str) -> Answer {
    server.send("GET", path, &[("Authorization", authorization)], b"")
}

#[test]
fn a_password_opens_the_registry() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with(|mut s| {
        s.auth = Auth::Basic(users(dir.path(), false));
        s
    });
    let refused = server.ask("GET", "/v2/");
    assert_eq!(
        (refused.verdict().as_str(), refused.header("www-authenticate")),
        ("401 UNAUTHORIZED", Some("Basic realm=\"here\""))
    );
    for wrong in [basic("me", "wrong"), basic("you", PASSWORD), "Basic".to_owned(), "Bearer x".to_owned()] {
        assert_eq!(get(&server, "/v2/", &wrong).status, 401, "{wrong}");
        assert_eq!(get(&server, "/v2/_catalog", &wrong).status, 401, "{wrong}");
    }
    assert_eq!(get(&server, "/v2/", &basic("me", PASSWORD)).status, 200);
    assert_eq!(get(&server, "/v2/", &basic("me", PASSWORD)).status, 200);
    assert_eq!(server.ask("POST", "/v2/a/blobs/uploads/").status, 401);
    // Health is nobody's secret.
    assert_eq!(server.ask("GET", "/healthz").status, 200);
    // A user who is taken away is gone.
    std::fs::write(dir.path().join("users"), line("other", "x").unwrap()).unwrap();
    assert_eq!(get(&server, "/v2/", &basic("me", PASSWORD)).status, 401);
    assert_eq!(get(&server, "/v2/", &basic("other", "x")).status, 200);
}

#[test]
fn everyone_may_pull_where_that_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let open = Server::start();
    open.image("a", "1", b"layer");
    let server = Server::with(|mut s| {
        s.auth = Auth::Basic(users(dir.path(), true));
        s.store = open.store();
        s
    });
    assert_eq!(server.ask("GET", "/v2/a/manifests/1").status, 200);
    assert_eq!(server.ask("POST", "/v2/a/blobs/uploads/").status, 401);
    assert_eq!(server.ask("DELETE", "/v2/a/manifests/1").status, 401);
    assert_eq!(server.ask("GET", "/v2/_catalog").status, 401);
    // Neither a name nor a password is nobody.
    assert_eq!(get(&server, "/v2/a/manifests/1", &basic("", "")).status, 200);
    assert_eq!(get(&server, "/v2/_catalog", &basic("", "")).status, 401);
    assert_eq!(get(&server, "/v2/a/manifests/1", &basic("", "x")).status, 401);
    // With a wrong password, nobody is let in as nobody.
    assert_eq!(get(&server, "/v2/a/manifests/1", &basic("me", "wrong")).status, 401);
}

#[test]
fn tokens_are_for_one_thing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with(|mut s| {
        s.auth = Auth::Own(Issuer::new(users(dir.path(), false), "kiln").unwrap());
        s
    });
    let refused = server.ask("POST", "/v2/team/app/blobs/uploads/");
    let challenge = refused.header("www-authenticate").unwrap().to_owned();
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"kiln\"", server.address());
    assert_eq!(challenge, format!("{realm},scope=\"repository:team/app:pull,push\""));
    let path = "/token?service=kiln&scope=repository%3Ateam%2Fapp%3Apull%2Cpush";
    assert_eq!(server.ask("GET", path).status, 401);
    let answer = get(&server, path, &basic("me", PASSWORD));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let token = format!("Bearer {}", answer.json()["token"].as_str().unwrap());
    let ask = |method: &str, path: &str| server.send(method, path, &[("Authorization", &token)], b"");
    assert_eq!(ask("GET", "/v2/").status, 200);
    assert_eq!(ask("POST", "/v2/team/app/blobs/uploads/").status, 202);
    for (method, path) in [
        ("POST", "/v2/team/other/blobs/uploads/"),
        ("DELETE", "/v2/team/app/manifests/1"),
        ("GET", "/v2/_catalog"),
        (
            "POST",
            "/v2/team/app/blobs/uploads/?mount=sha256:0000000000000000000000000000000000000000000000000000000000000000&from=secret",
        ),
        // `ns` is another registry's repository.
        ("GET", "/v2/team/app/tags/list?ns=quay.io"),
    ] {
        let refused = ask(method, path);
        assert_eq!(refused.status, 401, "{method} {path}");
        assert!(refused.header("www-authenticate").unwrap().contains("insufficient_scope"));
    }
    let form =
        "grant_type=password&service=kiln&username=me&password=p%3Aa+ss%2F%2Bw%25rd&scope=repository:team/app:pull";
    let kind = [("Content-Type", "application/x-www-form-urlencoded")];
    assert!(server.send("POST", "/token", &kind, form.as_bytes()).json()["access_token"].is_string());
    assert_eq!(server.send("POST", "/token", &kind, form.replace("=me&", "=you&").as_bytes()).status, 401);
    assert_eq!(server.send("POST", "/token", &kind, b"grant_type=refresh_token").status, 405);
    assert_eq!(get(&server, "/v2/", "Bearer x.y.z").status, 401);
}
