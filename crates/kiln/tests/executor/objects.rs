//! Contexts in object stores: handed over with `kiln context push`, built from there. The emulators are npm's s3rver and
//! PyPI's gcp-storage-emulator.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use kiln_testkit::emulator::BUCKET;
use kiln_testkit::{Auth, Emulator, Registry, Store, TestContext};

use crate::Pod;

/// A machine with the credentials that s3rver knows, where the example's Job has them.
fn with_s3(t: TestContext, server: &Emulator) -> TestContext {
    let dir = t.home().join(".aws");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("credentials"), "[default]\naws_access_key_id=S3RVER\naws_secret_access_key=S3RVER\n").unwrap();
    t.env("S3_ENDPOINT", &format!("http://{}", server.address()))
        .env("S3_FORCE_PATH_STYLE", "true")
        .env("AWS_REGION", "us-east-2")
}

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/kaniko-job").join(name);
    fs::read_to_string(path).unwrap()
}

#[test]
fn the_job_of_the_example_builds_and_pushes() {
    let (pod, mirror, server) = (Pod::start(), Registry::start(Auth::None), Emulator::start(Store::S3rver));
    pod.dockerfile("COPY app /app\nRUN test ! -e /secret && echo built > /built");
    for (path, content) in [("app", "app"), ("secret", "hunter2"), (".dockerignore", "secret\nDockerfile\n")] {
        pod.t.write(path, 0o644, content);
    }
    let builder = with_s3(Pod::machine(), &server);
    let address = format!("s3://{BUCKET}/context.tar.gz");
    let pushed = builder.kiln(&["context", "push", pod.t.context().to_str().unwrap(), &address]).ok();
    assert!(pushed.stdout.starts_with(&format!("{address}: 3 files, ")), "{pushed}");
    let digest = builder.root().join("digest");
    let args: Vec<String> = example("job.yaml")
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- --"))
        .map(|flag| {
            format!("--{flag}")
                .replace("imagetestbucket", BUCKET)
                .replace("registry.example", pod.registry.address())
                .replace("mirror.example", mirror.address())
                .replace("/dev/termination-log", digest.to_str().unwrap())
        })
        .collect();
    assert_eq!(args.len(), 7, "the Job's arguments: {args:?}");
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = builder.kiln(&[&["executor"], &args[..]].concat()).ok();
    let made = pod.registry.digest("team/httpserver:1.0");
    assert_eq!((fs::read_to_string(&digest).unwrap(), mirror.digest("team/httpserver:1.0")), (made.clone(), made));
    let said = String::from_utf8_lossy(&done.raw_stderr).into_owned();
    for text in ["INFO", "Pushing image to", "RUN test ! -e /secret"] {
        assert!(said.contains(text), "{text}: {said}");
    }
    assert!(!said.contains("S3RVER") && !said.contains("hunter2"), "{said}");
}

#[test]
fn what_is_wrong_with_an_object_is_said() {
    let server = Emulator::start(Store::S3rver);
    let t = with_s3(Pod::machine(), &server).file("Dockerfile", 0o644, "FROM scratch\nENV a=b\n");
    let build = |address: &str| {
        let context = format!("--context={address}");
        t.kiln(&["executor", "--log-format=text", "--no-push", &context])
    };
    let missing = build(&format!("s3://{BUCKET}/none.tar")).exits(1);
    assert!(missing.stderr.contains("none.tar") && missing.stderr.contains("hint: "), "{missing}");
    for (address, text) in
        [("s3://", "bucket"), ("s3:///key", "bucket"), ("s3://a/../b", "hint: "), ("gs://B C/x", "bucket")]
    {
        let bad = build(address).exits(1);
        assert!(bad.stderr.contains(text), "{address}: {bad}");
    }
    let context = t.context();
    let push = |args: &[&str]| t.kiln(&[&["context", "push"], args].concat());
    let here = context.to_str().unwrap();
    let nowhere = push(&[here, "ftp://x/y"]).exits(2);
    assert!(nowhere.stderr.contains("is not an address in an object store"), "{nowhere}");
    let none = push(&["-f", "Other", here, &format!("s3://{BUCKET}/x.tar")]).exits(1);
    assert!(none.stderr.contains("there is no Other"), "{none}");
    let absolute = push(&["-f", "/etc/hostname", here, &format!("s3://{BUCKET}/x.tar")]).exits(1);
    assert!(absolute.stderr.contains("there is no /etc/hostname"), "{absolute}");
    let _ = push(&["-f", "./Dockerfile", here, &format!("s3://{BUCKET}/x.tar")]).ok();
    for name in ["x.tar", "x.tar.zst", "x"] {
        let address = format!("s3://{BUCKET}/{name}");
        let _ = push(&[here, &address]).ok();
        let _ = build(&address).ok();
    }
}

/// One request, and the answer's first line.
fn request(address: &str, line: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(stream, "{line} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n")
        .and_then(|()| write!(stream, "Content-Length: {length}\r\n\r\n{body}"))
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn googles_store_holds_contexts_too() {
    let server = Emulator::start(Store::Gcs);
    let made = request(server.address(), "POST /storage/v1/b?project=p", r#"{"name":"contexts"}"#);
    assert!(made.contains(" 200 "), "{made}");
    let t = Pod::machine()
        .env("STORAGE_EMULATOR_HOST", server.address())
        .file("Dockerfile", 0o644, "FROM scratch\nCOPY big /big\n")
        .file("big", 0o644, vec![b'x'; 3 << 20]);
    let address = "gs://contexts/app/1.tar.gz";
    let _ = t.kiln(&["context", "push", t.context().to_str().unwrap(), address]).ok();
    let _ = t.kiln(&["build", "-t", "app", address]).ok();
    assert!(t.kiln(&["ls", "app"]).ok().stdout.contains("/big f 0644 0:0 3145728"));
    let bucket = t.kiln(&["executor", "--no-push", "--bucket=contexts/app/1.tar.gz", "--verbosity=error"]);
    let _ = bucket.ok();
}
