//! One contract, kept with every emulator: what is put comes back, whatever its name and size.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::ControlFlow;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_objects::{Client, CloudError, Config, Environment, Location, ObjectError};
use kiln_testkit::emulator::BUCKET;
use kiln_testkit::{Emulator, Store};

use crate::{at, bytes, client, config, get, put, s3};

/// The account of every azurite, as its documentation has it.
const ACCOUNT: &str = "devstoreaccount1";
const ACCOUNT_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Keys that careless encoders break.
const ODD: [&str; 6] =
    ["plain.txt", "a b/c d", "ü/日本 語.tar.gz", "q?x=1&y=2#z", "100%25 +plus", "~!$'()*,;:@=[]{}^|"];

/// Sends a request by hand, for what the client does not do: making buckets and users. Returns status line and all.
fn request(address: &str, head: &str, body: &str) -> String {
    request_as(address, head, body, "")
}

fn request_as(address: &str, head: &str, body: &str, authorization: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let kind = if body.starts_with('{') { "json" } else { "x-www-form-urlencoded" };
    let text = format!(
        "{head} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\nContent-Type: application/{kind}\r\nConnection: close\r\n{authorization}\r\n{body}"
    );
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn keys(client: &Client, prefix: &Location) -> Vec<String> {
    let mut keys = Vec::new();
    client
        .list(prefix, &mut |entry| {
            keys.push(entry.key);
            ControlFlow::Continue(())
        })
        .unwrap();
    keys.sort();
    keys
}

/// `part` is so small that the large object needs three; `missing` is in no bucket; `least` is the shortest content.
fn keeps_the_contract(environment: &Environment, bucket: &str, part: u64, missing: &str, least: &[u8]) {
    let parts = Config { multipart_above: part, part_size: part, ..config(environment.clone()) };
    let (client, in_parts) = (client(environment.clone()), Client::new(parts).unwrap());
    let place = |key: &str| at(&format!("{bucket}/x")).with_key(key).unwrap();
    for key in ODD {
        put(&client, &place(key), key.as_bytes()).unwrap();
        let (got, head) = get(&client, &place(key)).unwrap();
        assert_eq!(String::from_utf8(got).unwrap(), key);
        let asked = client.head(&place(key)).unwrap();
        assert_eq!((asked.size, asked.size), (head.size, key.len() as u64));
        assert!(asked.etag.is_some() && asked.modified.is_some(), "{asked:?}");
    }
    put(&client, &place("empty"), least).unwrap();
    assert_eq!(get(&client, &place("empty")).unwrap().0, least);
    large(&client, &in_parts, &place("large"), part);
    lists(&client, bucket, &place);
    client.delete(&place("plain.txt")).unwrap();
    client.delete(&place("plain.txt")).unwrap();
    for error in [
        get(&client, &place("plain.txt")).unwrap_err(),
        client.head(&place("plain.txt")).unwrap_err(),
        get(&client, &at(missing)).unwrap_err(),
    ] {
        assert!(error.is_not_found() && error.hint().is_some(), "{error}");
    }
    let error = client.list(&at(missing), &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(error.hint().unwrap().contains("bucket"), "{error}: {:?}", error.hint());
    assert!(put(&in_parts, &at(missing), &bytes(100)).is_err());
}

fn large(client: &Client, in_parts: &Client, location: &Location, part: u64) {
    let content = bytes(usize::try_from(part).unwrap() * 5 / 2);
    put(in_parts, location, &content).unwrap();
    assert!(get(client, location).unwrap().0 == content, "in parts");
    put(client, location, &content[1..]).unwrap();
    assert!(get(in_parts, location).unwrap().0 == content[1..], "in one, replacing the other");
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().write_all(&content).unwrap();
    let size = content.len() as u64;
    in_parts.put(location, &File::open(file.path()).unwrap(), size, &|_| {}).unwrap();
    assert!(get(client, location).unwrap().0 == content, "from a file");
    let error = in_parts.put(location, &content[..100].to_vec(), size, &|_| {}).unwrap_err();
    assert!(matches!(error, ObjectError::Cloud(CloudError::Source { .. })), "{error}");
    assert!(get(client, location).unwrap().0 == content, "what failed has changed nothing");
}

fn lists(client: &Client, bucket: &str, place: &dyn Fn(&str) -> Location) {
    let all = Location::parse_prefix(bucket).unwrap().unwrap();
    let mut want: Vec<String> = ODD.iter().map(|key| (*key).to_owned()).collect();
    want.extend(["empty".to_owned(), "large".to_owned()]);
    want.sort();
    assert_eq!(keys(client, &all), want);
    assert_eq!(keys(client, &place("a b/")), ["a b/c d"]);
    assert_eq!(keys(client, &place("ü")), ["ü/日本 語.tar.gz"]);
    assert_eq!(keys(client, &place("none")), [""; 0]);
    let mut seen = 0;
    client
        .list(&all, &mut |entry| {
            seen += 1;
            assert!(entry.modified.is_some() && entry.etag.is_some(), "{entry:?}");
            ControlFlow::Break(())
        })
        .unwrap();
    assert_eq!(seen, 1, "until the visitor has enough");
}

#[test]
fn moto_keeps_it() {
    let server = Emulator::start(Store::Moto);
    let answer = request(server.address(), "PUT /bucket", "");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let environment = s3(server.address(), "key", "secret");
    keeps_the_contract(&environment, "s3://bucket", 5 << 20, "s3://missing-bucket/key", b"");
    let client = client(environment.with("AWS_SESSION_TOKEN", "token"));
    for number in 0..12 {
        put(&client, &at(&format!("s3://bucket/many/{number:04}")), b"x").unwrap();
    }
    let many = keys(&client, &at("s3://bucket/many/"));
    assert_eq!((many.len(), &*many[11]), (12, "many/0011"), "more than a page of five");
    web_identity(server.address());
}

/// A token exchanged at moto's token service opens moto's bucket.
fn web_identity(address: &str) {
    let token = tempfile::NamedTempFile::new().unwrap();
    token.as_file().write_all(b"header.payload.signature\n").unwrap();
    let environment = Environment::empty()
        .with("AWS_ENDPOINT_URL", format!("http://{address}"))
        .with("AWS_WEB_IDENTITY_TOKEN_FILE", token.path().to_str().unwrap())
        .with("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/builder");
    assert_eq!(get(&client(environment), &at("s3://bucket/empty")).unwrap().0, b"");
}

/// Makes a user who may do everything with S3; key and secret. Only the service is read of such a header, as moto does not
/// verify the first requests.
fn make_user(address: &str) -> (String, String) {
    let iam = |form: &str| {
        let authorization = "Authorization: AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=0\r\n";
        let answer = request_as(address, "POST /", &format!("Version=2010-05-08&{form}"), authorization);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer
    };
    iam("Action=CreateUser&UserName=builder");
    let policy = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%22s3%3A%2A%22%2C%22Resource%22%3A%22%2A%22%7D%5D%7D";
    iam(&format!("Action=PutUserPolicy&UserName=builder&PolicyName=p&PolicyDocument={policy}"));
    let answer = iam("Action=CreateAccessKey&UserName=builder");
    let text = |name: &str| {
        let (_, rest) = answer.split_once(&format!("<{name}>")).unwrap();
        rest.split_once('<').unwrap().0.to_owned()
    };
    (text("AccessKeyId"), text("SecretAccessKey"))
}

#[test]
fn moto_verifies_signatures_with_amazons_own_code() {
    let server = Emulator::start(Store::MotoVerifying);
    let (id, secret) = make_user(server.address());
    let answer = request(server.address(), "PUT /bucket", "");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let environment = s3(server.address(), &id, &secret);
    let good = client(environment.clone());
    for key in ["plain.txt", "a b/c d", "ü/日本 語.tar.gz", "~!$'()*,;:@=[]{}^|"] {
        let location = at("s3://bucket/x").with_key(key).unwrap();
        put(&good, &location, key.as_bytes()).unwrap();
        assert_eq!(get(&good, &location).unwrap().0, key.as_bytes());
        assert_eq!(good.head(&location).unwrap().size, key.len() as u64);
    }
    assert_eq!(keys(&good, &at("s3://bucket/a b")), ["a b/c d"]);
    let content = bytes(6 << 20);
    let in_parts = Client::new(Config { multipart_above: 1 << 20, ..config(environment) }).unwrap();
    put(&in_parts, &at("s3://bucket/large"), &content).unwrap();
    assert!(get(&good, &at("s3://bucket/large")).unwrap().0 == content);
    good.delete(&at("s3://bucket/plain.txt")).unwrap();
    for (wrong, word) in
        [(s3(server.address(), &id, "other"), "secret"), (s3(server.address(), "AKIDOTHER", &secret), "key")]
    {
        let error = get(&client(wrong), &at("s3://bucket/large")).unwrap_err();
        assert!(error.is_denied() && error.hint().unwrap().contains(word), "{error}: {:?}", error.hint());
    }
}

#[test]
fn s3rver_keeps_it() {
    let server = Emulator::start(Store::S3rver);
    let environment = s3(server.address(), "S3RVER", "S3RVER");
    keeps_the_contract(&environment, &format!("s3://{BUCKET}"), 5 << 20, "s3://missing-bucket/key", b"");
    let unknown = client(s3(server.address(), "other", "S3RVER"));
    let error = get(&unknown, &at(&format!("s3://{BUCKET}/empty"))).unwrap_err();
    assert!(error.hint().unwrap().contains("does not know this key"), "{error}");
}

#[test]
fn gcs_emulator_keeps_it() {
    let server = Emulator::start(Store::Gcs);
    let answer = request(server.address(), "POST /storage/v1/b?project=p", r#"{"name":"bucket"}"#);
    assert!(answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.0 200"), "{answer}");
    let environment = Environment::empty().with("STORAGE_EMULATOR_HOST", server.address());
    // This emulator dies of an upload without bytes.
    keeps_the_contract(&environment, "gs://bucket", 1 << 20, "gs://missing-bucket/key", b"1");
}

/// A signature of the whole account that azurite's own code checks.
fn account_sas(permissions: &str) -> String {
    let until = "2099-01-01T00:00:00Z";
    let text = format!("{ACCOUNT}\n{permissions}\nb\nsco\n\n{until}\n\n\n2018-11-09\n");
    let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(ACCOUNT_KEY).unwrap());
    let signature = STANDARD.encode(hmac::sign(&key, text.as_bytes()));
    let signature = signature.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    format!("sv=2018-11-09&ss=b&srt=sco&sp={permissions}&se={}&sig={signature}", until.replace(':', "%3A"))
}

#[test]
fn azurite_keeps_it() {
    let server = Emulator::start(Store::Azurite);
    let head = format!("PUT /{ACCOUNT}/ctx?restype=container&{}", account_sas("rwdlac"));
    let answer = request(server.address(), &head, "");
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let there = Environment::empty().with("AZURE_STORAGE_ENDPOINT", format!("http://{}/{ACCOUNT}", server.address()));
    let host = format!("https://{ACCOUNT}.blob.core.windows.net");
    let missing = format!("{host}/missing-container/key");
    let environment = there.clone().with("AZURE_STORAGE_ACCESS_KEY", ACCOUNT_KEY);
    keeps_the_contract(&environment, &format!("{host}/ctx"), 1 << 20, &missing, b"");
    let signed = at(&format!("{host}/ctx/empty?{}", account_sas("rl")));
    let by_sas = client(there.clone());
    assert_eq!(get(&by_sas, &signed).unwrap().0, b"");
    assert!(keys(&by_sas, &signed.with_key("a").unwrap()).contains(&"a b/c d".to_owned()));
    let error = put(&by_sas, &signed, b"x").unwrap_err();
    assert!(error.is_denied() && !error.to_string().contains("sig="), "{error}");
    let error = get(&by_sas, &at(&format!("{host}/ctx/empty"))).unwrap_err();
    assert!(error.is_denied() && error.hint().unwrap().contains("AZURE_STORAGE_ACCESS_KEY"), "{error}");
    let wrong = there.with("AZURE_STORAGE_ACCESS_KEY", STANDARD.encode("other"));
    let error = get(&client(wrong), &at(&format!("{host}/ctx/empty"))).unwrap_err();
    assert!(error.is_denied() && error.hint().is_some(), "{error}");
    let other = at("https://otheraccount.blob.core.windows.net/ctx/empty");
    assert!(get(&by_sas, &other).unwrap_err().to_string().contains("AZURE_STORAGE_ENDPOINT"));
}
