//! Where credentials are found, and that they are shown to nobody else.

use std::fs;
use std::path::Path;

use kiln_objects::{Client, CloudError, Environment, ObjectError};
use kiln_testkit::server::{Say, Seen, Server};
use tempfile::TempDir;

use crate::{at, client, config, get};

const OBJECT: &str = "s3://bucket/key";
const KEYS: &str =
    r#"{"AccessKeyId":"AKIDAGENT","SecretAccessKey":"hunter2","Token":"session","Expiration":"2099-01-01T00:00:00Z"}"#;

/// A store that says who asked.
fn echo() -> Server {
    Server::start(|seen, _| Say::ok(seen.header("authorization").unwrap_or("nobody")))
}

fn who(environment: Environment, url: &str) -> Result<String, ObjectError> {
    get(&client(environment), &at(url)).map(|(content, _)| String::from_utf8(content).unwrap())
}

fn to(store: &Server) -> Environment {
    Environment::empty().with("S3_ENDPOINT", format!("http://{}", store.host)).with("AWS_EC2_METADATA_DISABLED", "true")
}

fn home(files: &[(&str, &str)]) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = home.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    home
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn profiles_of_both_files() {
    let store = echo();
    let home = home(&[
        (
            ".aws/credentials",
            "[default]\naws_access_key_id=AKIDDEFAULT\naws_secret_access_key=s\n[two]\naws_access_key_id=AKIDTWO\naws_secret_access_key=s\n[half]\naws_access_key_id=A\n",
        ),
        (
            ".aws/config",
            "[default]\nregion=eu-x-1\n[profile two]\nregion=eu-x-2\n[profile sso]\nsso_session=x\n[profile role]\nsource_profile=two\n",
        ),
    ]);
    let environment = to(&store).with("HOME", text(home.path()));
    assert!(who(environment.clone(), OBJECT).unwrap().contains("AKIDDEFAULT/"));
    let two = who(environment.clone().with("AWS_PROFILE", "two"), OBJECT).unwrap();
    assert!(two.contains("AKIDTWO/") && two.contains("/eu-x-2/s3/"), "{two}");
    let over = environment.clone().with("AWS_ACCESS_KEY_ID", "AKIDENV").with("AWS_SECRET_ACCESS_KEY", "s");
    let over = who(over.with("AWS_REGION", "eu-y-1"), OBJECT).unwrap();
    assert!(over.contains("AKIDENV/") && over.contains("/eu-y-1/s3/"), "{over}");
    for (profile, want) in [
        ("none", "no such section"),
        ("sso", "sso_session"),
        ("role", "source_profile"),
        ("half", "aws_secret_access_key"),
    ] {
        let error = who(environment.clone().with("AWS_PROFILE", profile), OBJECT).unwrap_err();
        assert!(error.to_string().contains(want) && error.hint().is_some(), "{error}");
    }
    let half = to(&store).with("AWS_ACCESS_KEY_ID", "A");
    assert!(who(half, OBJECT).unwrap_err().to_string().contains("AWS_SECRET_ACCESS_KEY is not set"));
    assert_eq!(who(to(&store), OBJECT).unwrap(), "nobody");
}

#[test]
fn a_broken_file_is_an_error_that_quotes_nothing() {
    let store = echo();
    for content in ["hunter2".to_owned(), "x".repeat((1 << 20) + 1), "[a\nhunter2".to_owned()] {
        let home = home(&[(".aws/credentials", &content)]);
        let error = who(to(&store).with("HOME", text(home.path())), OBJECT).unwrap_err();
        let shown = error.to_string();
        assert!(shown.contains(".aws/credentials") && !shown.contains("hunter2") && shown.len() < 500, "{shown}");
    }
    assert!(store.seen().is_empty());
}

#[test]
fn a_containers_agent() {
    let store = echo();
    let agent = Server::start(|seen, _| match (seen.path.as_str(), seen.header("authorization")) {
        ("/v1/credentials", Some("token one")) => Say::ok(KEYS),
        _ => Say::status(403).body(r#"{"code":"AccessDenied","message":"no"}"#),
    });
    let home = home(&[("token", "token one\n"), ("bad", "a\nb")]);
    let environment =
        to(&store).with("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("http://{}/v1/credentials", agent.host));
    let with =
        |file: &str| environment.clone().with("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", text(&home.path().join(file)));
    assert!(who(with("token"), OBJECT).unwrap().contains("AKIDAGENT/"));
    assert_eq!(store.seen()[0].header("x-amz-security-token"), Some("session"));
    let inline = environment.clone().with("AWS_CONTAINER_AUTHORIZATION_TOKEN", "token one");
    assert!(who(inline, OBJECT).is_ok());
    let error = who(environment.clone(), OBJECT).unwrap_err();
    assert!(error.to_string().contains("AccessDenied"), "{error}");
    assert!(who(with("bad"), OBJECT).unwrap_err().to_string().contains("not one line"));
    assert!(who(with("none"), OBJECT).unwrap_err().to_string().contains("No such file"));
    for far in ["http://192.0.2.1/x", "http://localhost.example/x", "ftp://127.0.0.1/", "x"] {
        let error = who(to(&store).with("AWS_CONTAINER_CREDENTIALS_FULL_URI", far), OBJECT).unwrap_err();
        assert!(matches!(error, ObjectError::Cloud(CloudError::Credentials { .. })), "{error}");
    }
}

/// The metadata service of a machine, with its session token.
fn metadata(seen: &Seen) -> Say {
    let token = seen.header("x-aws-ec2-metadata-token");
    match (&*seen.line(), token) {
        ("PUT /latest/api/token", None) if seen.header("x-aws-ec2-metadata-token-ttl-seconds").is_some() => {
            Say::ok("tok")
        }
        ("GET /latest/meta-data/iam/security-credentials/", Some("tok")) => Say::ok("the-role\n"),
        ("GET /latest/meta-data/iam/security-credentials/the-role", Some("tok")) => Say::ok(KEYS),
        _ => Say::status(401),
    }
}

#[test]
fn a_machines_role() {
    let store = echo();
    let machine = Server::start(|seen, _| metadata(seen));
    let base = Environment::empty().with("S3_ENDPOINT", format!("http://{}", store.host));
    let at_machine = |host: &str| base.clone().with("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{host}"));
    let client = client(at_machine(&machine.host));
    for _ in 0..2 {
        let said = String::from_utf8(get(&client, &at(OBJECT)).unwrap().0).unwrap();
        assert!(said.contains("AKIDAGENT/"), "{said}");
    }
    assert_eq!(machine.seen().len(), 3, "asked once");
    // Another cloud's service, one without a role, and none at all.
    for other in [
        Server::start(|_, _| Say::status(404)),
        Server::start(|s, _| if s.method == "PUT" { Say::ok("t") } else { Say::status(404) }),
    ] {
        assert_eq!(who(at_machine(&other.host), OBJECT).unwrap(), "nobody");
    }
    assert_eq!(who(at_machine("127.0.0.1:1"), OBJECT).unwrap(), "nobody");
}

#[test]
fn keys_that_ended_are_renewed_once() {
    let store = Server::start(|_, n| match n {
        0 => Say::status(400).body("<Error><Code>ExpiredToken</Code><Message>old</Message></Error>"),
        1 => Say::ok("renewed"),
        _ => Say::status(400).body("<Error><Code>ExpiredToken</Code><Message>old</Message></Error>"),
    });
    let machine = Server::start(|seen, _| metadata(seen));
    let environment = Environment::empty()
        .with("S3_ENDPOINT", format!("http://{}", store.host))
        .with("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{}", machine.host));
    let client = Client::new(config(environment)).unwrap();
    assert_eq!(get(&client, &at(OBJECT)).unwrap().0, b"renewed");
    assert_eq!(machine.seen().len(), 6);
    let error = get(&client, &at(OBJECT)).unwrap_err();
    assert!(error.hint().unwrap().contains("expired"), "{error}");
    assert_eq!(store.seen().len(), 4);
}

/// Tokens for Google are bought from the service in the key file; the store itself is Google's and is not asked here.
fn google(file: &str, service: &Server) -> ObjectError {
    let home = home(&[("key.json", &file.replace("SERVICE", &service.host))]);
    let environment = Environment::empty().with("GOOGLE_APPLICATION_CREDENTIALS", text(&home.path().join("key.json")));
    get(&client(environment), &at("gs://bucket/key")).unwrap_err()
}

#[test]
fn googles_key_files() {
    let service =
        Server::start(|_, _| Say::status(400).body(r#"{"error":"invalid_grant","error_description":"revoked"}"#));
    let login = r#"{"type":"authorized_user","client_id":"c","client_secret":"hunter2","refresh_token":"r/1","token_uri":"http://SERVICE/token"}"#;
    let error = google(login, &service);
    assert!(error.to_string().contains("invalid_grant: revoked") && error.hint().is_some(), "{error}");
    let sent = String::from_utf8(service.seen()[0].body.clone()).unwrap();
    assert_eq!(sent, "client_id=c&client_secret=hunter2&grant_type=refresh_token&refresh_token=r%2F1");
    for (file, want) in [
        ("hunter2", "it is not the JSON"),
        (r#"{"type":"external_account","client_secret":"hunter2"}"#, "only keys of the types"),
        (r#"{"type":"service_account","client_email":"a","private_key":"hunter2"}"#, "not a PEM key"),
        (
            r#"{"type":"authorized_user","client_id":"c","client_secret":"hunter2","refresh_token":"r","token_uri":"http://192.0.2.1/"}"#,
            "not https",
        ),
        ("", "it is empty"),
    ] {
        let shown = google(file, &service).to_string();
        assert!(shown.contains(want) && shown.contains("key.json") && !shown.contains("hunter2"), "{shown}");
    }
    assert_eq!(service.seen().len(), 1);
}

#[test]
fn azures_workload_identity() {
    let store = echo();
    let entra = Server::start(|seen, _| match &*seen.path {
        "/tenant-1/oauth2/v2.0/token" => Say::ok(r#"{"access_token":"tok","expires_in":"3599","token_type":"Bearer"}"#),
        _ => Say::status(404),
    });
    let home = home(&[("token", "federated\n")]);
    let url = "https://account1.blob.core.windows.net/ctx/key";
    let environment = Environment::empty()
        .with("AZURE_STORAGE_ENDPOINT", format!("http://{}", store.host))
        .with("AZURE_FEDERATED_TOKEN_FILE", text(&home.path().join("token")))
        .with("AZURE_CLIENT_ID", "client")
        .with("AZURE_AUTHORITY_HOST", format!("http://{}/", entra.host));
    assert_eq!(who(environment.clone().with("AZURE_TENANT_ID", "tenant-1"), url).unwrap(), "Bearer tok");
    let form = String::from_utf8(entra.seen()[0].body.clone()).unwrap();
    assert!(form.contains("client_assertion=federated&") && form.contains("client_id=client"), "{form}");
    assert!(who(environment.clone(), url).unwrap_err().to_string().contains("AZURE_TENANT_ID is not set"));
    let error = who(environment.with("AZURE_TENANT_ID", "../x"), url).unwrap_err();
    assert!(error.to_string().contains("AZURE_TENANT_ID"), "{error}");
    let bad = Environment::empty().with("AZURE_STORAGE_ACCESS_KEY", "hunter2!");
    let error = who(bad, url).unwrap_err().to_string();
    assert!(error.contains("not base64") && !error.contains("hunter2"), "{error}");
}
