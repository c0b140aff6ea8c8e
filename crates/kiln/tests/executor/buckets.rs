//! Layers of steps in buckets of object stores. The emulators are PyPI's moto and gcp-storage-emulator and npm's azurite;
//! stores that lie are servers whose answers are written here.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use kiln_oci::Digest;
use kiln_testkit::server::{Say, Server};
use kiln_testkit::{Emulator, Output, Store, TestContext};

use crate::Pod;

/// A command whose result differs each time it runs, and a stage that is not in the result.
const TEXT: &str =
    "RUN head -c 90000 /dev/urandom > /random && printf 'it %s' ran\nFROM scratch\nCOPY --from=0 /random /r";
const BUCKET: &str = "steps";

fn machine(pod: &Pod) -> TestContext {
    let t = Pod::machine();
    pod.write(&t, TEXT);
    t
}

pub fn build(t: &TestContext, flags: &[&str]) -> Output {
    let context = t.context();
    t.kiln(&[&["build", "--progress=plain"], flags, &[context.to_str().unwrap()]].concat())
}

/// One request without credentials: status and body.
pub fn request(address: &str, line: &str, headers: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(stream, "{line} HTTP/1.0\r\nHost: {address}\r\n{headers}Content-Length: {length}\r\n\r\n").unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let status = String::from_utf8_lossy(&answer[9..12]).parse().unwrap();
    (status, answer[end + 4..].to_vec())
}

/// moto, with a bucket.
fn moto() -> Emulator {
    let server = Emulator::start(Store::Moto);
    assert_eq!(request(server.address(), &format!("PUT /{BUCKET}"), "", b"").0, 200);
    server
}

/// A bucket of moto as an option has it.
fn s3(server: &Emulator, more: &str) -> String {
    format!(
        "type=s3,bucket={BUCKET},region=us-east-1,endpoint_url=http://{},use_path_style=true,\
         access_key_id=AKIDTEST,secret_access_key=hunter2{more}",
        server.address()
    )
}

/// The keys of moto's objects.
fn keys(server: &Emulator) -> Vec<String> {
    let (status, body) = request(server.address(), &format!("GET /{BUCKET}?max-keys=1000"), "", b"");
    assert_eq!(status, 200);
    let text = String::from_utf8(body).unwrap();
    text.split("<Key>").skip(1).map(|rest| rest.split("</Key>").next().unwrap().to_owned()).collect()
}

/// moto looks at who asks, and not at the signature.
const SOMEBODY: &str = "Authorization: AWS4-HMAC-SHA256 Credential=AKIDTEST/20260101/us-east-1/s3/aws4_request, \
                        SignedHeaders=host, Signature=none\r\n";

fn object(server: &Emulator, key: &str) -> Vec<u8> {
    let (status, body) = request(server.address(), &format!("GET /{BUCKET}/{key}"), SOMEBODY, b"");
    assert_eq!(status, 200, "{key}");
    body
}

fn overwrite(server: &Emulator, key: &str, body: &[u8]) {
    assert_eq!(request(server.address(), &format!("PUT /{BUCKET}/{key}"), SOMEBODY, body).0, 200);
}

/// How many layers a store holds.
fn layers_of(t: &TestContext) -> usize {
    let blobs = fs::read_dir(t.store().join("blobs/sha256")).unwrap().flatten();
    blobs.filter(|e| fs::read(e.path()).unwrap().starts_with(&[0x1f, 0x8b])).count()
}

#[test]
fn what_one_machine_made_another_takes_from_s3() {
    let (pod, server) = (Pod::start(), moto());
    let (to, from) = (s3(&server, ",prefix=app,mode=max"), s3(&server, ",prefix=app"));
    let made = build(&machine(&pod), &["--cache-to", &to]).ok();
    assert!(made.stderr.contains("it ran") && !made.stderr.contains("warning"), "{made}");
    let all = keys(&server);
    let of = |part: &str| all.iter().filter(|key| key.starts_with(part)).count();
    assert_eq!((of("app/manifests/kiln/"), of("app/blobs/sha256:"), all.len()), (2, 2, 4), "{all:?}");
    let second = machine(&pod);
    let taken = build(&second, &["--cache-from", &from]).ok();
    assert!(!taken.stderr.contains("it ran") && !taken.stderr.contains("warning"), "{taken}");
    assert_eq!(layers_of(&second), 1, "the image's, which is kept here; nothing reads the other one");
    let third = machine(&pod);
    let tar = format!("type=oci,dest={}", third.out("app.tar").display());
    let _ = build(&third, &["--cache-from", &from, "-o", &tar]).ok();
    assert_eq!(layers_of(&third), 1, "the result's alone");
    // Who has built it already uploads no blob again.
    let again = build(&third, &["--cache-from", &from, "--cache-to", &to]).ok();
    assert!(!again.stderr.contains("it ran"), "{again}");
    let puts = server.log().matches("PUT /steps/app/blobs/").count();
    assert_eq!(puts, 2, "{}", server.log());
    for text in [&made, &taken, &again] {
        assert!(!format!("{text}").contains("hunter2") && !format!("{text}").contains("AKIDTEST"), "{text}");
    }
    // kaniko's own option takes a bucket, too, by its address.
    let t = machine(&pod)
        .env("S3_ENDPOINT", &format!("http://{}", server.address()))
        .env("AWS_ACCESS_KEY_ID", "AKIDTEST")
        .env("AWS_SECRET_ACCESS_KEY", "hunter2");
    let kaniko = crate::run(&t, &["--no-push", "--cache", "--cache-repo=s3://steps/app"]).ok();
    assert!(!kaniko.stdout.contains("it ran"), "{kaniko}");
}

#[test]
fn damaged_entries_are_passed_over_and_mended() {
    let (pod, server) = (Pod::start(), moto());
    let (to, from) = (s3(&server, ""), s3(&server, ""));
    let _ = build(&machine(&pod), &["--cache-to", &s3(&server, ",mode=max")]).ok();
    let all = keys(&server);
    let (entries, blobs): (Vec<_>, Vec<_>) = all.iter().partition(|key| key.contains("manifests/"));
    let output = |t: &TestContext| format!("type=oci,dest={}", t.out("app.tar").display());
    let use_it = |flags: &[&str]| {
        let t = machine(&pod);
        build(&t, &[&["--cache-from", &from, "-o", &output(&t)], flags].concat()).ok()
    };
    let good: Vec<Vec<u8>> = blobs.iter().map(|key| object(&server, key)).collect();
    for damage in
        [|b: &[u8]| b[..b.len() / 2].to_vec(), |b: &[u8]| [b, b].concat(), |b: &[u8]| b.iter().map(|x| x ^ 1).collect()]
    {
        for (key, good) in blobs.iter().zip(&good) {
            overwrite(&server, key, &damage(good));
        }
        let anew = use_it(&[]);
        assert!(anew.stderr.contains("it ran") && anew.stderr.contains("so it is made anew"), "{anew}");
    }
    // What is made instead is put into its place.
    let _ = use_it(&["--cache-to", &s3(&server, ",mode=max")]);
    let mended = use_it(&[]);
    assert!(!mended.stderr.contains("it ran") && !mended.stderr.contains("warning"), "{mended}");
    for key in keys(&server).iter().filter(|key| key.contains("blobs/")) {
        assert_eq!(request(server.address(), &format!("DELETE /{BUCKET}/{key}"), SOMEBODY, b"").0, 204);
    }
    assert!(use_it(&[]).stderr.contains("so it is made anew"));
    let good: Vec<Vec<u8>> = entries.iter().map(|key| object(&server, key)).collect();
    for (damage, why) in
        [(&b"{"[..], "cannot be read"), (&good[0][..90], "cannot be read"), (&[b' '; 2 << 20], "longer")]
    {
        for key in &entries {
            overwrite(&server, key, damage);
        }
        let passed = use_it(&[]);
        let told = passed.stderr.contains("is passed over") && passed.stderr.contains(why);
        assert!(passed.stderr.contains("it ran") && told, "{passed}");
    }
    // An entry that was copied to the name of another one.
    overwrite(&server, entries[0], &good[1]);
    overwrite(&server, entries[1], &good[0]);
    let passed = use_it(&["--cache-to", &to]);
    assert!(passed.stderr.contains("it is the entry of another step"), "{passed}");
}

#[test]
fn a_bucket_is_looked_into_and_emptied() {
    let (pod, server) = (Pod::start(), moto());
    let t = machine(&pod);
    let _ = build(&t, &["--cache-to", &s3(&server, ",mode=max")]).ok();
    // The same layers under another name: another document names them.
    let _ = build(&t, &["--cache-to", &s3(&server, ",mode=min,name=main")]).ok();
    overwrite(&server, "manifests/buildkit", b"{}");
    overwrite(&server, "manifests/kiln/readme", b"hi");
    let cache = s3(&server, "");
    let list = t.kiln(&["cache", "ls", &cache]).ok();
    assert!(list.stdout.contains("2 layers, ") && list.stdout.contains("RUN head -c 9"), "{list}");
    assert!(list.stdout.contains("1 documents of something else"), "{list}");
    assert_eq!(t.kiln(&["cache", "ls", "--json", &cache]).ok().json().as_array().unwrap().len(), 2);
    let dry = t.kiln(&["cache", "prune", "--max-used-space=10", "--dry-run", &cache]).ok();
    assert!(dry.stdout.starts_with("Would remove 2 layers"), "{dry}");
    let none = t.kiln(&["cache", "prune", "--keep-duration=24h", &cache]).ok();
    assert!(none.stdout.starts_with("Removed 0 layers") && none.stdout.contains("; 2 stay"), "{none}");
    let gone = t.kiln(&["cache", "prune", "--keep-count=0", "--json", &cache]).ok().json();
    assert_eq!((gone["removed"].as_array().unwrap().len(), &gone["kept"]), (2, &0.into()));
    let left = keys(&server);
    let blobs: Vec<_> = left.iter().filter(|key| key.starts_with("blobs/")).collect();
    assert_eq!(blobs.len(), 1, "the one that the other name has: {left:?}");
    assert!(
        left.iter().any(|key| key == "manifests/buildkit") && left.iter().any(|key| key == "manifests/kiln/readme")
    );
    let taken = build(&machine(&pod), &["--cache-from", &s3(&server, ",name=main")]).ok();
    assert!(!taken.stderr.contains("it ran"), "{taken}");
    let _ = t.kiln(&["cache", "prune", &cache]).exits(2);
    let wrong = t.kiln(&["cache", "ls", &s3(&server, ",mode=max")]).exits(2);
    assert!(wrong.stderr.contains("mode is min or max") && !wrong.stderr.contains("hunter2"), "{wrong}");
    let _ = t.kiln(&["cache", "ls", "type=local,src=x"]).exits(2);
}

#[test]
fn two_builds_write_at_once() {
    let (pod, server) = (Pod::start(), moto());
    let to = s3(&server, ",mode=max");
    let machines = [machine(&pod), machine(&pod), machine(&pod)];
    std::thread::scope(|scope| {
        for t in &machines {
            let to = &to;
            scope.spawn(move || {
                let done = build(t, &["--cache-to", to]).ok();
                assert!(!done.stderr.contains("warning"), "{done}");
            });
        }
    });
    let t = machine(&pod);
    let tar = format!("type=oci,dest={}", t.out("app.tar").display());
    let taken = build(&t, &["--cache-from", &to.replace(",mode=max", ""), "-o", &tar]).ok();
    assert!(!taken.stderr.contains("it ran") && !taken.stderr.contains("warning"), "{taken}");
}

#[test]
fn azure_and_google_hold_layers_too() {
    let pod = Pod::start();
    let (azure, google) = (Emulator::start(Store::Azurite), Emulator::start(Store::Gcs));
    // azurite's well-known key, and a signature made with it, which azurite checks.
    let sas = "sv=2018-11-09&ss=b&srt=sco&sp=rwdlac&se=2099-01-01T00%3A00%3A00Z&sig=CPoOux8rQhR0b5pwICKRhVPCypVOv2XSgLfWcXpc32c%3D";
    let made = format!("PUT /devstoreaccount1/steps?restype=container&{sas}");
    assert_eq!(request(azure.address(), &made, "", b"").0, 201);
    let key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
    let made = request(
        google.address(),
        "POST /storage/v1/b?project=p",
        "Content-Type: application/json\r\n",
        br#"{"name":"steps"}"#,
    );
    assert_eq!(made.0, 200);
    let azblob = format!(
        "type=azblob,account_url=http://{}/devstoreaccount1,container=steps,prefix=p,secret_access_key={key}",
        azure.address()
    );
    let gs = format!("type=gs,bucket=steps,prefix=p,endpoint_url=http://{},without_auth=true", google.address());
    for cache in [azblob, gs] {
        let made = build(&machine(&pod), &["--cache-to", &format!("{cache},mode=max")]).ok();
        assert!(made.stderr.contains("it ran") && !made.stderr.contains("warning"), "{made}");
        let t = machine(&pod);
        let tar = format!("type=oci,dest={}", t.out("app.tar").display());
        let taken = build(&t, &["--cache-from", &cache, "-o", &tar]).ok();
        assert!(!taken.stderr.contains("it ran") && !taken.stderr.contains("warning"), "{taken}");
        let gone = t.kiln(&["cache", "prune", "--keep-count=0", &cache]).ok();
        assert!(gone.stdout.starts_with("Removed 2 layers"), "{gone}");
        assert!(t.kiln(&["cache", "ls", &cache]).ok().stdout.contains("0 layers"), "{cache}");
        let anew = build(&machine(&pod), &["--cache-from", &cache]).ok();
        assert!(anew.stderr.contains("it ran") && !anew.stderr.contains("warning"), "{anew}");
        assert!(!format!("{made}{taken}{gone}{anew}").contains(key));
    }
}

#[test]
fn stores_that_fail_cost_a_warning_and_little_time() {
    let pod = Pod::start();
    let cache = |host: &str| {
        format!(
            "type=s3,bucket=bkt,endpoint_url=http://{host},use_path_style=true,access_key_id=A,secret_access_key=hunter2"
        )
    };
    let xml = |code: &str| format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>no</Message></Error>");
    type Script = Box<dyn Fn(&str) -> Say + Send>;
    let liars: [(Script, &str); 5] = [
        (Box::new(move |_| Say::status(403).body(xml("AccessDenied"))), "it may not list the bucket"),
        (Box::new(move |_| Say::status(404).body(xml("NoSuchBucket"))), "does not exist"),
        (Box::new(|_| Say::status(302).header("Location", "http://127.0.0.1:1/")), "is not followed"),
        (Box::new(|_| Say::ok(vec![b'x'; 3 << 20]).announcing(1 << 40).holding()), "longer than"),
        (Box::new(|_| Say::ok("<html>hi</html>")), "cannot be read"),
    ];
    for (script, why) in liars {
        let server = Server::start(move |seen, _| script(&seen.path));
        let t = machine(&pod);
        let started = Instant::now();
        let done = build(&t, &["--cache-from", &cache(&server.host), "--cache-to", &cache(&server.host)]).ok();
        assert!(done.stderr.contains("it ran") && done.stderr.contains(why), "{why}: {done}");
        assert!(done.stderr.contains("passed over") && !done.stderr.contains("hunter2"), "{done}");
        assert!(started.elapsed() < Duration::from_secs(60), "{why}");
    }
    let t = machine(&pod);
    let nobody = build(&t, &["--cache-from", &cache("127.0.0.1:1")]).ok();
    assert_eq!(nobody.stderr.matches("is passed over").count(), 1, "{nobody}");
    assert!(nobody.stderr.contains("cannot reach"), "{nobody}");
}

#[test]
fn a_layer_that_never_ends_or_is_another_is_not_taken() {
    let pod = Pod::start();
    let server = moto();
    let _ = build(&machine(&pod), &["--cache-to", &s3(&server, ",mode=max")]).ok();
    let documents: Vec<(String, Vec<u8>)> = keys(&server)
        .into_iter()
        .filter(|k| k.contains("manifests/"))
        .map(|k| (k.clone(), object(&server, &k)))
        .collect();
    for endless in [true, false] {
        let documents = documents.clone();
        let liar = Server::start(move |seen, _| match documents.iter().find(|(key, _)| seen.path.ends_with(&**key)) {
            Some((_, body)) => Say::ok(body.clone()),
            None if seen.path.contains("blobs/") && endless => Say::ok(vec![0; 4 << 20]).announcing(1 << 40).holding(),
            None if seen.path.contains("blobs/") => Say::ok(vec![0; 10]),
            None => Say::status(404),
        });
        let from = format!(
            "type=s3,bucket={BUCKET},endpoint_url=http://{},use_path_style=true,access_key_id=A,secret_access_key=hunter2",
            liar.host
        );
        let t = machine(&pod);
        let tar = format!("type=oci,dest={}", t.out("app.tar").display());
        let done = build(&t, &["--cache-from", &from, "-o", &tar]).ok();
        assert!(done.stderr.contains("it ran") && done.stderr.contains("so it is made anew"), "{done}");
        let zeros = Digest::of(&[0; 10]);
        assert!(!t.store().join("blobs/sha256").join(zeros.hex()).exists());
    }
}

#[test]
fn credentials_are_not_for_who_lists_processes() {
    let pod = Pod::start();
    let server = Server::start(|_, _| Say::silence());
    let t = machine(&pod);
    let cache = format!(
        "type=s3,bucket=bkt,endpoint_url=http://{},secret_access_key=hunter2,access_key_id=AKIDTEST,session_token=tok-hunter2",
        server.host
    );
    let mut child = t
        .command(&["build", "--cache-from", &cache, t.context().to_str().unwrap()])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while server.seen().is_empty() && started.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let line = fs::read(format!("/proc/{}/cmdline", child.id())).unwrap();
    let line = String::from_utf8_lossy(&line).into_owned();
    child.kill().unwrap();
    let _ = child.wait().unwrap();
    assert!(!server.seen().is_empty(), "it asks the cache");
    assert!(line.contains("bucket=bkt") && line.contains("secret_access_key=*******,"), "{line}");
    assert!(!line.contains("hunter2") && !line.contains("AKIDTEST"), "{line}");
}
