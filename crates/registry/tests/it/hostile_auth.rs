//! Servers that ask for credentials: who sees what, and who must not.

use kiln_registry::{Client, Config, Credential, Credentials, Mirror, RegistryError, Secret};

use crate::server::{Say, Seen, Server};
use crate::{blob, config, layer, pull, reference};

const MANIFEST: &str = r#"{"schemaVersion":2,"config":{},"layers":[]}"#;
const BASIC: &str = "Basic dXNlcjpodW50ZXIy";

fn with(host: &str, credential: Option<Credential>) -> Client {
    let credentials = credential.map_or_else(Credentials::none, |c| Credentials::none().with(host, c));
    Client::new(Config { credentials, ..config(&[host]) }).unwrap()
}

fn login() -> Option<Credential> {
    Some(Credential::basic("user", "hunter2"))
}

/// A token server that hands out tokens named after what was asked.
fn tokens() -> Server {
    Server::start(|seen, n| {
        let who = seen.header("authorization").map_or("nobody", |_| "user");
        Say::ok(format!(r#"{{"token":"t{n}-{who}","expires_in":300}}"#))
    })
}

/// A registry that lets in what `allowed` says and sends others to the token server.
fn registry(realm: String, allowed: impl Fn(&Seen, &str) -> bool + Send + 'static) -> Server {
    Server::start(move |seen, _| match seen.header("authorization").and_then(|a| a.strip_prefix("Bearer ")) {
        Some(token) if allowed(seen, token) => Say::ok(MANIFEST),
        _ => {
            let challenge = format!(r#"Bearer realm="{realm}",service="reg",scope="repository:a/b:pull""#);
            Say::error(401, "UNAUTHORIZED", "authentication required").header("WWW-Authenticate", challenge)
        }
    })
}

#[test]
fn tokens_are_fetched_once_and_used_again() {
    let realm = tokens();
    let server = registry(format!("http://{}/token?x=1", realm.host), |_, _| true);
    let client = with(&server.host, login());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| client.manifest(&reference(&server.host, "a/b")).unwrap());
        }
    });
    let asked = realm.seen();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0].header("authorization"), Some(BASIC));
    let want = "GET /token?x=1&service=reg&scope=repository%3Aa%2Fb%3Apull&client_id=kiln&account=user";
    assert_eq!(asked[0].line(), want);
    assert!(server.seen().iter().all(|s| s.header("authorization").is_none_or(|a| a.starts_with("Bearer "))));
}

#[test]
fn a_known_challenge_saves_the_401_for_other_repositories() {
    let realm = tokens();
    let server = registry(format!("http://{}/token", realm.host), |_, _| true);
    let client = with(&server.host, None);
    client.manifest(&reference(&server.host, "a/b")).unwrap();
    client.manifest(&reference(&server.host, "c")).unwrap();
    assert_eq!(server.seen().len(), 3);
    assert!(realm.lines()[1].contains("scope=repository%3Ac%3Apull"));
    assert!(realm.seen().iter().all(|s| s.header("authorization").is_none()));
}

#[test]
fn a_revoked_token_is_replaced() {
    let realm = tokens();
    let server = registry(format!("http://{}/token", realm.host), |seen, token| {
        !(seen.path.ends_with("second") && token.starts_with("t0"))
    });
    let client = with(&server.host, None);
    client.manifest(&reference(&server.host, "a/b:first")).unwrap();
    client.manifest(&reference(&server.host, "a/b:second")).unwrap();
    assert_eq!(realm.seen().len(), 2);
}

#[test]
fn a_401_for_ever_ends() {
    let realm = tokens();
    let server = registry(format!("http://{}/token", realm.host), |_, _| false);
    let error = with(&server.host, login()).manifest(&reference(&server.host, "a/b")).unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { logged_in: true, .. }), "{error}");
    assert!(server.seen().len() <= 3, "{:?}", server.lines());
    let error = with(&server.host, None).manifest(&reference(&server.host, "a/b")).unwrap_err();
    assert!(error.to_string().ends_with("(no credentials were found for it)"), "{error}");
    assert!(error.hint().unwrap().contains("kiln login"));
}

#[test]
fn identity_tokens_are_exchanged_by_post() {
    let realm = Server::start(|_, _| Say::ok(r#"{"access_token":"fresh"}"#));
    let server = registry(format!("http://{}/token", realm.host), |_, token| token == "fresh");
    let identity = Credential::IdentityToken { token: Secret::new("refresh&me") };
    with(&server.host, Some(identity)).manifest(&reference(&server.host, "a/b")).unwrap();
    let asked = &realm.seen()[0];
    assert_eq!((&*asked.method, asked.header("authorization")), ("POST", None));
    let form = String::from_utf8(asked.body.clone()).unwrap();
    let want = "grant_type=refresh_token&refresh_token=refresh%26me&client_id=kiln&service=reg&scope=repository%3Aa%2Fb%3Apull";
    assert_eq!(form, want);
}

#[test]
fn a_token_server_may_not_pass_a_refresh_token_on() {
    let thief = Server::start(|_, _| Say::ok(r#"{"token":"x"}"#));
    let location = format!("http://{}/steal", thief.host);
    let realm = Server::start(move |_, _| Say::status(307).header("Location", location.clone()));
    let server = registry(format!("http://{}/token", realm.host), |_, _| true);
    let identity = Credential::IdentityToken { token: Secret::new("refresh") };
    let error = with(&server.host, Some(identity)).manifest(&reference(&server.host, "a/b")).unwrap_err();
    assert!(matches!(error, RegistryError::Redirect { .. }), "{error}");
    assert!(thief.seen().is_empty());
    with(&server.host, login()).manifest(&reference(&server.host, "a/b")).unwrap();
    assert!(thief.seen().iter().all(|s| s.header("authorization").is_none()));
}

#[test]
fn registry_tokens_are_sent_as_they_are() {
    let server = registry("http://127.0.0.1:1/never".to_owned(), |_, token| token == "mine");
    let credential = Credential::RegistryToken(Secret::new("mine"));
    with(&server.host, Some(credential)).manifest(&reference(&server.host, "a/b")).unwrap();
}

#[test]
fn other_hosts_get_no_authorization() {
    let bytes = blob(1000);
    let served = bytes.clone();
    let cdn = Server::start(move |_, _| Say::ok(&*served));
    let location = format!("http://{}/signed?X-Sig=s3cret", cdn.host);
    let server = Server::start(move |seen, _| match seen.header("authorization") {
        Some(BASIC) => Say::status(307).header("Location", location.clone()),
        _ => Say::status(401).header("WWW-Authenticate", "Basic realm=x"),
    });
    assert_eq!(pull(&with(&server.host, login()), &server.host, &layer(&bytes)).unwrap(), bytes);
    assert_eq!(cdn.seen()[0].header("authorization"), None);
}

#[test]
fn a_401_from_a_redirects_target_is_not_answered() {
    let cdn = Server::start(|_, _| Say::status(401).header("WWW-Authenticate", "Basic realm=x"));
    let location = format!("http://{}/signed?X-Sig=s3cret", cdn.host);
    let server = Server::start(move |_, _| Say::status(307).header("Location", location.clone()));
    let error = pull(&with(&server.host, login()), &server.host, &layer(b"x")).unwrap_err();
    assert!(error.is_unauthorized() && !error.to_string().contains("s3cret"), "{error}");
    assert!(cdn.seen().iter().all(|s| s.header("authorization").is_none()));
}

#[test]
fn a_wrong_password_is_told_once_and_not_shown() {
    let server =
        Server::start(|_, _| Say::error(401, "UNAUTHORIZED", "no").header("WWW-Authenticate", "Basic realm=x"));
    let client = with(&server.host, login());
    let error = client.manifest(&reference(&server.host, "a")).unwrap_err();
    assert_eq!(server.seen().len(), 2);
    for text in [error.to_string(), format!("{error:?}"), error.hint().unwrap(), format!("{client:?}")] {
        assert!(!text.contains("hunter2") && !text.contains("dXNlcjpodW50ZXIy"), "{text}");
    }
    let realm = Server::start(|_, _| Say::status(401).body(r#"{"details":"incorrect username or password"}"#));
    let server = registry(format!("http://{}/token", realm.host), |_, _| true);
    let error = with(&server.host, login()).manifest(&reference(&server.host, "a/b")).unwrap_err();
    assert!(matches!(error, RegistryError::TokenRefused { .. }), "{error}");
    assert!(error.to_string().contains("incorrect username or password"), "{error}");
}

#[test]
fn challenges_that_cannot_be_followed_are_named() {
    for (challenge, want) in [
        ("Negotiate", "neither Basic nor Bearer"),
        ("Bearer service=\"x\"", "no token server"),
        ("Bearer realm=\"file:///etc/passwd\"", "not a plain address"),
        ("Bearer realm=\"ftp://h/\"", "not an http address"),
        ("Bearer realm=\"not a url\"", "not a URL"),
        ("Bearer realm=\"http://u:p@h/\"", "not a plain address"),
    ] {
        let server = Server::start(move |_, _| Say::status(401).header("WWW-Authenticate", challenge));
        let error = with(&server.host, login()).manifest(&reference(&server.host, "a")).unwrap_err();
        assert!(error.to_string().contains(want), "{challenge}: {error}");
    }
    for body in ["", "[]", "{}", r#"{"token":""}"#, r#"{"token":"a\nb"}"#, r#"{"token":7}"#] {
        let realm = Server::start(move |_, _| Say::ok(body));
        let server = registry(format!("http://{}/token", realm.host), |_, _| true);
        assert!(with(&server.host, login()).manifest(&reference(&server.host, "a/b")).is_err(), "{body}");
    }
}

#[test]
fn a_login_is_checked_with_what_is_given() {
    let server = Server::start(|seen, _| match (&*seen.path, seen.header("authorization")) {
        ("/v2/", Some(BASIC)) => Say::ok("{}"),
        _ => Say::status(401).header("WWW-Authenticate", "Basic realm=x"),
    });
    let client = with(&server.host, None);
    client.check_login(&server.host, &Credential::basic("user", "hunter2")).unwrap();
    let error = client.check_login(&server.host, &Credential::basic("user", "wrong")).unwrap_err();
    assert!(error.is_unauthorized(), "{error}");
}

#[test]
fn mounts_ask_for_both_repositories() {
    let realm = tokens();
    let challenge = format!(r#"Bearer realm="http://{}/token",service="reg""#, realm.host);
    let server = Server::start(move |seen, _| match seen.header("authorization") {
        None => Say::status(401).header("WWW-Authenticate", challenge.clone()),
        Some(_) => Say::status(201),
    });
    let client = with(&server.host, login());
    client.mount_blob(&reference(&server.host, "to"), "from", &layer(b"x").digest).unwrap();
    let asked = realm.lines();
    assert!(asked[0].contains("scope=repository%3Ato%3Apull%2Cpush&scope=repository%3Afrom%3Apull"), "{asked:?}");
}

#[test]
fn a_mirror_gets_nothing_of_the_registrys() {
    let mirror = Server::start(|_, _| Say::status(401).header("WWW-Authenticate", "Basic realm=x"));
    let origin = Server::start(|seen, _| match seen.header("authorization") {
        Some(BASIC) => Say::ok(MANIFEST),
        _ => Say::status(401).header("WWW-Authenticate", "Basic realm=x"),
    });
    let mirrors = vec![Mirror { registry: origin.host.clone(), endpoint: format!("http://{}", mirror.host) }];
    let credentials = Credentials::none().with(&origin.host, Credential::basic("user", "hunter2"));
    let client = Client::new(Config { mirrors, credentials, ..config(&[&origin.host]) }).unwrap();
    client.manifest(&reference(&origin.host, "a")).unwrap();
    assert_eq!(mirror.seen().len(), 1);
    assert_eq!(mirror.seen()[0].header("authorization"), None);
}
