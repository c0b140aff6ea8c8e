//! Logins to registries of clouds. Amazon's is sold by PyPI's moto, which verifies signatures with Amazon's own code; what
//! Google's and Azure's services say is written here, after their documentation, and so are the registries: they are
//! reached at their own names, through a proxy that plays them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_clouds::Environment;
use kiln_registry::{Client, Config, CredentialError, Credentials, Helper, Proxies, RegistryError};
use kiln_testkit::{Emulator, Store};

use crate::server::{Say, Seen, Server};
use crate::{config, reference};

const MANIFEST: &str = r#"{"schemaVersion":2,"config":{},"layers":[]}"#;
const ECR: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";

/// A client that reaches `host` through a proxy, and has what the environment has.
fn client(host: &str, proxy: &Server, environment: Environment, helpers: &[Helper]) -> Client {
    client_with(host, proxy, Credentials::none().with_helpers(environment, helpers))
}

fn client_with(host: &str, proxy: &Server, credentials: Credentials) -> Client {
    let proxies = Proxies { http: Some(format!("http://{}", proxy.host)), ..Proxies::default() };
    Client::new(Config { credentials, proxies, ..config(&[host]) }).unwrap()
}

fn ask(client: &Client, host: &str) -> Result<(), RegistryError> {
    client.manifest(&reference(host, "a/b")).map(drop)
}

/// The part of a proxied request's address after the host, if it is for `host`.
fn path_at<'a>(seen: &'a Seen, host: &str) -> Option<&'a str> {
    seen.path.strip_prefix("http://")?.strip_prefix(host)
}

/// A registry that wants a user and a password, and says yes to what `good` takes.
fn basic(host: &'static str, good: impl Fn(&str, usize) -> bool + Send + 'static) -> Server {
    let admitted = AtomicUsize::new(0);
    Server::start(move |seen, _| {
        assert!(path_at(seen, host).is_some(), "{seen:?}");
        match seen.header("authorization") {
            Some(login) if good(login, admitted.load(Ordering::Relaxed)) => {
                admitted.fetch_add(1, Ordering::Relaxed);
                Say::ok(MANIFEST)
            }
            _ => Say::error(401, "UNAUTHORIZED", "no").header("WWW-Authenticate", "Basic realm=\"x\",service=\"ecr\""),
        }
    })
}

fn request(address: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let kind = "Content-Type: application/x-www-form-urlencoded";
    let iam = "Authorization: AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/iam/aws4_request, SignedHeaders=a, Signature=b";
    write!(
        stream,
        "POST / HTTP/1.0\r\nHost: {address}\r\n{kind}\r\n{iam}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(" 200 "), "{answer}");
    answer
}

/// A user of moto's who may do anything, and its key.
fn user(address: &str) -> (String, String) {
    let call = |rest: &str| request(address, &format!("Version=2010-05-08&UserName=kiln&Action={rest}"));
    call("CreateUser");
    let policy = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%22%2A%22%2C%22Resource%22%3A%22%2A%22%7D%7D";
    call(&format!("PutUserPolicy&PolicyName=all&PolicyDocument={policy}"));
    // The last of the requests that need no signature.
    call("GetUser");
    let key = call("CreateAccessKey");
    let text = |name: &str| {
        let rest = key.split(&format!("<{name}>")).nth(1).unwrap();
        rest.split('<').next().unwrap().to_owned()
    };
    (text("AccessKeyId"), text("SecretAccessKey"))
}

/// What moto sells, as a header: `AWS:` and a token.
fn is_motos(login: &str) -> bool {
    use base64::Engine as _;
    let bytes = login.strip_prefix("Basic ").map(|b| base64::engine::general_purpose::STANDARD.decode(b).unwrap());
    bytes.is_some_and(|b| b.starts_with(b"AWS:") && b.len() > 10)
}

fn keys(moto: &Emulator, id: &str, secret: &str) -> Environment {
    Environment::empty()
        .with("AWS_ENDPOINT_URL_ECR", format!("http://{}", moto.address()))
        .with("AWS_ACCESS_KEY_ID", id)
        .with("AWS_SECRET_ACCESS_KEY", secret)
}

#[test]
fn amazon_sells_a_login_for_a_signature() {
    let moto = Emulator::start(Store::MotoVerifying);
    let (id, secret) = user(moto.address());
    let registry = basic(ECR, |login, _| is_motos(login));
    ask(&client(ECR, &registry, keys(&moto, &id, &secret), &Helper::ALL), ECR).unwrap();
    let wrong = client(ECR, &registry, keys(&moto, &id, "hunter2"), &Helper::ALL);
    let error = ask(&wrong, ECR).unwrap_err();
    let RegistryError::Credentials { source: CredentialError::Cloud { why, .. }, .. } = &error else {
        panic!("{error}")
    };
    assert!(why.contains("ECR") && !error.to_string().contains("hunter2"), "{error}");
    // Who has no keys, and who wants no such login, is a stranger.
    let none = Environment::empty().with("AWS_EC2_METADATA_DISABLED", "true");
    let without = [client(ECR, &registry, none, &Helper::ALL), client(ECR, &registry, keys(&moto, &id, &secret), &[])];
    for stranger in without {
        let error = ask(&stranger, ECR).unwrap_err();
        assert!(matches!(error, RegistryError::Unauthorized { logged_in: false, .. }), "{error}");
    }
}

#[test]
fn a_login_by_hand_and_programs_come_first() {
    let registry = basic(ECR, |login, _| login == "Basic aGFuZDpodW50ZXIy");
    let environment = Environment::empty()
        .with("AWS_ENDPOINT_URL_ECR", "http://127.0.0.1:1")
        .with("AWS_ACCESS_KEY_ID", "A")
        .with("AWS_SECRET_ACCESS_KEY", "s");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    std::fs::write(&path, format!(r#"{{"auths":{{"{ECR}":{{"auth":"aGFuZDpodW50ZXIy"}}}}}}"#)).unwrap();
    let by_hand = Credentials::none().with_file(&path).with_helpers(environment, &Helper::ALL);
    ask(&client_with(ECR, &registry, by_hand), ECR).unwrap();
    // A configuration that names a program that is not here: what is built in does instead.
    let moto = Emulator::start(Store::Moto);
    std::fs::write(&path, format!(r#"{{"credHelpers":{{"{ECR}":"kiln-not-there"}}}}"#)).unwrap();
    let registry = basic(ECR, |login, _| is_motos(login));
    let named = Credentials::none().with_file(&path);
    let built_in = named.clone().with_helpers(keys(&moto, "A", "s"), &[Helper::Ecr]);
    ask(&client_with(ECR, &registry, built_in), ECR).unwrap();
    let keyless = Environment::empty().with("AWS_EC2_METADATA_DISABLED", "true");
    for none in [named.clone(), named.with_helpers(keyless, &Helper::ALL)] {
        let error = ask(&client_with(ECR, &registry, none), ECR).unwrap_err();
        assert!(error.to_string().contains("docker-credential-kiln-not-there"), "{error}");
    }
}

/// A service that sells numbered logins as ECR words them.
fn numbered() -> Server {
    use base64::Engine as _;
    Server::start(|seen, n| {
        assert!(seen.header("x-amz-target").unwrap().ends_with(".GetAuthorizationToken"), "{seen:?}");
        let token = base64::engine::general_purpose::STANDARD.encode(format!("AWS:t{n}"));
        let until = "99999999999.0";
        Say::ok(format!(r#"{{"authorizationData":[{{"authorizationToken":"{token}","expiresAt":{until}}}]}}"#))
    })
}

#[test]
fn a_login_that_ends_is_bought_again_once() {
    let service = numbered();
    // The first login is good for two requests, the second for any number; `AWS:t0` and `AWS:t1`.
    let registry = basic(ECR, |login, admitted| match login {
        "Basic QVdTOnQw" => admitted < 2,
        "Basic QVdTOnQx" => admitted < 4,
        _ => false,
    });
    let environment = Environment::empty()
        .with("AWS_ENDPOINT_URL_ECR", format!("http://{}", service.host))
        .with("AWS_ACCESS_KEY_ID", "A")
        .with("AWS_SECRET_ACCESS_KEY", "s");
    let client = client(ECR, &registry, environment, &Helper::ALL);
    for _ in 0..4 {
        ask(&client, ECR).unwrap();
    }
    assert_eq!(service.seen().len(), 2, "kept in memory meanwhile");
    let error = ask(&client, ECR).unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { logged_in: true, .. }), "{error}");
    assert_eq!(service.seen().len(), 3, "and asked for once more, not for ever");
}

/// A registry whose token server is at `/token` of the same name.
fn bearer(
    host: &'static str,
    token: impl Fn(&Seen) -> Say + Send + 'static,
    more: impl Fn(&Seen) -> Say + Send + 'static,
) -> Server {
    Server::start(move |seen, _| match path_at(seen, host) {
        Some(path) if path.starts_with("/token") => token(seen),
        Some(path) if path.starts_with("/v2/") => match seen.header("authorization") {
            Some("Bearer good") => Say::ok(MANIFEST),
            _ => Say::error(401, "UNAUTHORIZED", "no")
                .header("WWW-Authenticate", format!("Bearer realm=\"http://{host}/token\",service=\"{host}\"")),
        },
        _ => more(seen),
    })
}

/// The forms that were posted to a path; bodies are known once a request is over.
fn forms(server: &Server, path: &str) -> Vec<String> {
    let seen = server.seen();
    let posted = seen.iter().filter(|seen| seen.method == "POST" && seen.path.ends_with(path));
    posted.map(|seen| String::from_utf8(seen.body.clone()).unwrap()).collect()
}

#[test]
fn google_takes_an_access_token() {
    const HOST: &str = "europe-west1-docker.pkg.dev";
    let sold = Arc::new(AtomicUsize::new(0));
    let counter = sold.clone();
    let metadata = Server::start(move |seen, _| {
        assert_eq!(seen.header("metadata-flavor"), Some("Google"));
        counter.fetch_add(1, Ordering::Relaxed);
        Say::ok(r#"{"access_token":"ya29","expires_in":3600}"#).header("Metadata-Flavor", "Google")
    });
    // `oauth2accesstoken:ya29`
    let login = "Basic b2F1dGgyYWNjZXNzdG9rZW46eWEyOQ==";
    let token = move |seen: &Seen| match seen.header("authorization") {
        Some(given) if given == login => Say::ok(r#"{"token":"good","expires_in":300}"#),
        _ => Say::ok(r#"{"token":"stranger","expires_in":300}"#),
    };
    let registry = bearer(HOST, token, |_| Say::status(404));
    let environment = Environment::empty().with("GCE_METADATA_HOST", &*metadata.host);
    let known = client(HOST, &registry, environment.clone(), &[Helper::Google]);
    ask(&known, HOST).unwrap();
    ask(&known, HOST).unwrap();
    assert_eq!(sold.load(Ordering::Relaxed), 1);
    // A key file that cannot be used does not keep anybody from what strangers may read, and is told where they may not.
    let broken = environment.with("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json");
    let error = ask(&client(HOST, &registry, broken, &Helper::ALL), HOST).unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { logged_in: false, .. }), "{error}");
    assert!(error.to_string().contains("/nowhere/key.json"), "{error}");
    assert_eq!(registry.seen().iter().filter(|s| s.header("authorization") == Some("Bearer stranger")).count(), 1);
}

/// A registry of Azure's, which takes any token that is exchanged and refreshed.
fn azures(host: &'static str) -> Server {
    let token = |seen: &Seen| match seen.method.as_str() {
        "POST" => Say::ok(r#"{"access_token":"good","expires_in":300}"#),
        _ => Say::ok(r#"{"token":"stranger","expires_in":300}"#),
    };
    bearer(host, token, move |seen| {
        assert_eq!(path_at(seen, host), Some("/oauth2/exchange"), "{seen:?}");
        Say::ok(r#"{"refresh_token":"acr"}"#)
    })
}

#[test]
fn azure_exchanges_an_access_token_at_the_registry() {
    const HOST: &str = "team.azurecr.io";
    let registry = azures(HOST);
    let entra = Server::start(|_, _| Say::ok(r#"{"access_token":"aad","expires_in":3599}"#));
    // The registry is spoken to in plain http here, and so is its /oauth2/exchange, through the same proxy.
    let environment = Environment::empty()
        .with("HTTP_PROXY", format!("http://{}", registry.host))
        .with("AZURE_TENANT_ID", "tenant")
        .with("AZURE_CLIENT_ID", "client")
        .with("AZURE_CLIENT_SECRET", "hunter2");
    let at = |entra: &Server| environment.clone().with("AZURE_AUTHORITY_HOST", format!("http://{}", entra.host));
    let known = client(HOST, &registry, at(&entra), &Helper::ALL);
    ask(&known, HOST).unwrap();
    ask(&known, HOST).unwrap();
    let [form] = &forms(&entra, "/tenant/oauth2/v2.0/token")[..] else { panic!("{:?}", entra.seen()) };
    for part in
        ["client_id=client", "client_secret=hunter2", "scope=https%3A%2F%2Fcontainerregistry.azure.net%2F.default"]
    {
        assert!(form.contains(part), "{part}: {form}");
    }
    let [form] = &forms(&registry, "/oauth2/exchange")[..] else { panic!("{:?}", registry.seen()) };
    assert_eq!(form, "access_token=aad&grant_type=access_token&service=team.azurecr.io&tenant=tenant");
    let refreshed = forms(&registry, "/token");
    assert!(refreshed[0].contains("grant_type=refresh_token&refresh_token=acr"), "{refreshed:?}");
    // Who is not known there is a stranger, and is told why.
    let refusing = Server::start(|_, _| {
        Say::status(401).body(r#"{"error":"invalid_client","error_description":"AADSTS7000215: no"}"#)
    });
    let error = ask(&client(HOST, &registry, at(&refusing), &Helper::ALL), HOST).unwrap_err().to_string();
    assert!(error.contains("invalid_client: AADSTS7000215") && !error.contains("hunter2"), "{error}");
}

#[test]
fn machines_of_azure_have_an_identity() {
    const HOST: &str = "team.azurecr.io";
    let metadata = Server::start(|seen, _| {
        assert_eq!(seen.header("metadata"), Some("true"));
        assert!(seen.path.contains("resource=https%3A%2F%2Fcontainerregistry.azure.net"), "{}", seen.path);
        assert!(seen.path.contains("client_id=mine"), "{}", seen.path);
        Say::ok(r#"{"access_token":"aad","expires_in":"3599"}"#)
    });
    let registry = azures(HOST);
    let environment = Environment::empty()
        .with("AZURE_POD_IDENTITY_AUTHORITY_HOST", format!("http://{}", metadata.host))
        .with("AZURE_CLIENT_ID", "mine")
        .with("HTTP_PROXY", format!("http://{}", registry.host));
    ask(&client(HOST, &registry, environment, &Helper::ALL), HOST).unwrap();
    assert_eq!((metadata.seen().len(), forms(&registry, "/oauth2/exchange").len()), (1, 1));
}

#[test]
fn services_that_lie_are_found_out() {
    let cases: [(Say, &str); 6] = [
        (Say::ok("{}"), "holds no login"),
        (Say::ok(r#"{"authorizationData":[{"authorizationToken":"hunter2","expiresAt":1}]}"#), "not base64"),
        (Say::ok("x").endless(), "longer than"),
        (Say::status(302).header("Location", "http://127.0.0.1:1/"), "302"),
        (Say::status(400).body(r#"{"__type":"UnrecognizedClientException","message":"bad \u001b[31m token"}"#), "400"),
        (Say::status(503), "503"),
    ];
    for (say, why) in cases {
        let service = Server::start(move |_, _| say.clone());
        let registry = basic(ECR, |_, _| false);
        let environment = Environment::empty()
            .with("AWS_ENDPOINT_URL_ECR", format!("http://{}", service.host))
            .with("AWS_ACCESS_KEY_ID", "A")
            .with("AWS_SECRET_ACCESS_KEY", "s");
        let client = client(ECR, &registry, environment, &Helper::ALL);
        let text = ask(&client, ECR).unwrap_err().to_string();
        assert!(text.contains(why) && !text.contains("hunter2") && !text.contains('\u{1b}'), "{why}: {text}");
        let asked = service.seen().len();
        assert_eq!(ask(&client, ECR).unwrap_err().to_string(), text);
        assert_eq!(service.seen().len(), asked, "what failed a moment ago is not tried again");
    }
}
