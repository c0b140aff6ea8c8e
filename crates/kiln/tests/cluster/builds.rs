//! What comes of a build in a cluster is what comes of it here.

use kiln_testkit::registry::{PASSWORD, USER};
use kiln_testkit::{Auth, Emulator, Output, Store};

use crate::Bench;

/// What was printed, as it was.
fn printed(out: &Output) -> String {
    String::from_utf8_lossy(&out.raw_stdout).trim().to_owned()
}

const TEXT: &str = "COPY a /srv/\nENV A=b\nCOPY --chown=5:6 . /all/\n";

#[test]
fn the_image_is_the_one_that_is_built_here() {
    let b = Bench::anywhere();
    b.dockerfile(TEXT);
    let (id, metadata) = (b.t.out("id"), b.t.out("metadata"));
    let files = [format!("--iidfile={}", id.display()), format!("--metadata-file={}", metadata.display())];
    let out = b.build("app:1", &[&files[0], &files[1]]).ok();
    assert!(out.stderr.contains("COPY a /srv/") && out.stderr.contains("pushed "), "{out}");
    let here = b.t.kiln(&["build", "-q", "-t", "here", "."]).ok();
    assert_eq!(b.registry.digest("app:1"), printed(&here));
    let metadata: serde_json::Value = serde_json::from_slice(&std::fs::read(metadata).unwrap()).unwrap();
    assert_eq!(metadata["containerimage.digest"], printed(&here));
    assert_eq!(metadata["containerimage.config.digest"], std::fs::read_to_string(id).unwrap());
    b.is_clean();
}

#[test]
fn quiet_is_the_digest_alone() {
    let b = Bench::anywhere();
    b.dockerfile(TEXT);
    let out = b.build("app:1", &["-q"]).ok();
    assert_eq!((&*out.stderr, &*printed(&out)), ("", &*b.registry.digest("app:1")));
}

#[test]
fn platforms_are_joined() {
    let b = Bench::anywhere();
    b.dockerfile(TEXT);
    let both = ["--platform=linux/amd64,linux/arm64", "--annotation=index:a=b"];
    // The nodes that there are.
    let nodes = if b.double.is_none() { &["--node-selector=kubernetes.io/arch=amd64"][..] } else { &[] };
    let second = b.registry.reference("other:2");
    let out = b.build("app:1", &[&both[..], nodes, &["-t", &second]].concat()).ok();
    assert!(out.stderr.contains("[linux/arm64 2/3] COPY a /srv/"), "{out}");
    let here = b.t.kiln(&[&["build", "-q"], &both[..], &["-t", "here", "."]].concat()).ok();
    assert_eq!(b.registry.digest("app:1"), printed(&here));
    assert_eq!(b.registry.digest("other:2"), printed(&here));
    b.is_clean();
    if let Some(double) = &b.double {
        let archs: Vec<String> = double
            .made()
            .iter()
            .map(|job| {
                job["spec"]["template"]["spec"]["nodeSelector"]["kubernetes.io/arch"].as_str().unwrap().to_owned()
            })
            .collect();
        assert!(archs.contains(&"amd64".to_owned()) && archs.contains(&"arm64".to_owned()), "{archs:?}");
    }
}

#[test]
fn a_platform_that_fails_leaves_no_tag() {
    let b = Bench::anywhere();
    b.dockerfile("ARG TARGETARCH\nRUN test $TARGETARCH = amd64 || { echo not here; exit 9; }\n");
    let nodes = if b.double.is_none() { &["--node-selector=kubernetes.io/arch=amd64"][..] } else { &[] };
    let more = [&["--platform=linux/amd64,linux/arm64", "--pod-profile=baseline"], nodes].concat();
    let out = b.build("app:1", &more).exits(9);
    assert!(out.stderr.contains("linux/arm64:\n") && out.stderr.contains("exit code 9"), "{out}");
    let tag = b.t.tool(
        "skopeo",
        &["inspect", "--raw", "--tls-verify=false", &format!("docker://{}", b.registry.reference("app:1"))],
    );
    assert_ne!(tag.code, 0, "{tag}");
    b.is_clean();
}

#[test]
fn a_failing_command_gives_its_code_and_its_place() {
    let b = Bench::anywhere();
    b.dockerfile("COPY a /a\nRUN echo said; exit 7\n");
    let out = b.build("app:1", &["--pod-profile=baseline"]).exits(7);
    for part in ["said", "--> Dockerfile:4:1", "exit code 7", "this command failed"] {
        assert!(out.stderr.contains(part), "{part}: {out}");
    }
    b.is_clean();
}

#[test]
fn two_builds_at_once_do_not_meet() {
    let b = Bench::anywhere();
    b.dockerfile(TEXT);
    std::thread::scope(|scope| {
        let b = &b;
        for name in ["one:1", "two:1", "three:1"] {
            scope.spawn(move || drop(b.build(name, &[]).ok()));
        }
    });
    assert_eq!(b.registry.digest("one:1"), b.registry.digest("three:1"));
    b.is_clean();
}

#[test]
fn dockerfiles_come_from_anywhere() {
    let b = Bench::anywhere();
    b.dockerfile(TEXT);
    let text = std::fs::read(b.t.context().join("Dockerfile")).unwrap();
    std::fs::write(b.t.root().join("Elsewhere"), &text).unwrap();
    let elsewhere = b.t.root().join("Elsewhere").display().to_string();
    let _ = b.build("path:1", &["-f", &elsewhere]).ok();
    let name = b.registry.reference("stdin:1");
    let line = b.line(&["--push", "-t", &name, "-f", "-", "."]);
    let _ = b.t.kiln_with_input(&line.iter().map(|a| &**a).collect::<Vec<_>>(), &text).ok();
    assert_eq!(b.registry.digest("path:1"), b.registry.digest("stdin:1"));
    // Without a context, and as an archive.
    let name = b.registry.reference("alone:1");
    let line = b.line(&["--push", "-t", &name, "-"]);
    let _ = b.t.kiln_with_input(&line.iter().map(|a| &**a).collect::<Vec<_>>(), b"FROM scratch\nENV A=b\n").ok();
    let tar = b.t.tool("tar", &["-C", b.t.context().to_str().unwrap(), "-czf", "-", "."]).ok().raw_stdout;
    let name = b.registry.reference("archive:1");
    let line = b.line(&["--push", "-t", &name, "-"]);
    let _ = b.t.kiln_with_input(&line.iter().map(|a| &**a).collect::<Vec<_>>(), &tar).ok();
    let archive = b.t.out("context.tar.gz");
    std::fs::write(&archive, &tar).unwrap();
    let name = b.registry.reference("file:1");
    let _ = b.kiln(&["--push", "-t", &name, archive.to_str().unwrap()]).ok();
    assert_eq!(b.registry.digest("archive:1"), b.registry.digest("file:1"));
    b.is_clean();
}

#[test]
fn what_is_excluded_stays_here() {
    let b = Bench::double();
    b.dockerfile("COPY a /srv/\n");
    let _ = b.build("app:1", &["--keep"]).ok();
    assert!(!b.cluster().log().contains("left-out"));
    let job = b.cluster().objects("jobs");
    assert_eq!(job.len(), 1, "--keep keeps it");
}

#[test]
fn logins_and_secrets_are_in_the_secret_only() {
    let b = Bench::with(Auth::Basic);
    let login = ["login", "--plain-http", b.registry.address(), b.registry.address(), "-u", USER, "--password-stdin"];
    let _ = b.t.kiln_with_input(&login, PASSWORD.as_bytes()).ok();
    b.t.write("token", 0o600, "MARK_secret");
    b.t.write(".dockerignore", 0o644, "token\n");
    b.dockerfile(
        "RUN --mount=type=secret,id=t --mount=type=secret,id=e cat /run/secrets/t /run/secrets/e | wc -c > /count\n",
    );
    let t = &b.t;
    let name = b.registry.reference("app:1");
    let line = b.line(&["--push", "-t", &name, "--secret=id=t,src=token", "--secret=id=e,env=KILN_TEST_SECRET", "."]);
    let mut command = t.command(&line.iter().map(|a| &**a).collect::<Vec<_>>());
    let out = command.env("KILN_TEST_SECRET", "MARK_variable").output().unwrap();
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{text}");
    let made = b.cluster().made();
    let (jobs, secrets): (Vec<_>, Vec<_>) = made.iter().partition(|object| object["kind"] == "Job");
    let encoded = |text: &str| base64_of(text.as_bytes());
    for mark in ["MARK_secret", "MARK_variable", PASSWORD, &encoded("MARK_secret"), &encoded("MARK_variable")] {
        assert!(
            !jobs[0].to_string().contains(mark) && !text.contains(mark) && !b.cluster().log().contains(mark),
            "{mark}"
        );
    }
    let data = secrets[0]["data"].as_object().unwrap();
    assert_eq!(data.keys().map(|k| &**k).collect::<Vec<_>>(), ["config.json", "secret-0", "secret-1"]);
    assert_eq!(secrets[0]["metadata"]["ownerReferences"][0]["kind"], "Job");
    b.is_clean();
    // A Secret that is there is used instead.
    let auth = encoded(&format!("{USER}:{PASSWORD}"));
    let config = format!("{{\"auths\":{{\"{}\":{{\"auth\":\"{auth}\"}}}}}}", b.registry.address());
    b.cluster().put_secret("team", &[(".dockerconfigjson", &config)]);
    b.dockerfile("COPY a /\n");
    let _ = b.build("app:2", &["--registry-secret=team"]).ok();
    assert_eq!(b.cluster().made().len(), 3, "no other Secret was made");
}

fn base64_of(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let n = chunk.iter().fold(0_u32, |n, byte| n << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let c = if digit <= chunk.len() { char::from(DIGITS[(n >> (18 - 6 * digit) & 63) as usize]) } else { '=' };
            let _ = write!(out, "{c}");
        }
    }
    out
}

#[test]
fn an_object_store_hands_the_context_over() {
    let store = Emulator::start(Store::S3rver);
    let mut b = Bench::double();
    let endpoint = format!("http://{}", store.address());
    let credentials = [("AWS_ACCESS_KEY_ID", "S3RVER"), ("AWS_SECRET_ACCESS_KEY", "S3RVER")];
    b.t = b.t.env("S3_ENDPOINT", &endpoint).env("S3_FORCE_PATH_STYLE", "true").env("AWS_REGION", "us-east-1");
    for (name, value) in credentials {
        b.t = b.t.env(name, value);
    }
    b.cluster().put_secret("cloud", &credentials);
    b.dockerfile(TEXT);
    let prefix = format!("--context-store=s3://{}/contexts", kiln_testkit::emulator::BUCKET);
    let out = b.build("app:1", &[&prefix, "--context-secret=cloud"]).ok();
    let here = b.t.kiln(&["build", "-q", "-t", "here", "."]).ok();
    assert_eq!(b.registry.digest("app:1"), printed(&here), "{out}");
    let job = &b.cluster().made()[0];
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    assert!(container["stdin"].is_null() && !job.to_string().contains("SECRET_ACCESS_KEY"), "{job:#}");
    let argument = container["args"].as_array().unwrap().last().unwrap().as_str().unwrap();
    assert!(argument.starts_with("s3://ready-made/contexts/kiln-") && argument.ends_with(".tar.zst"), "{argument}");
    let gone = b.t.kiln(&["build", "-q", argument]);
    assert!(gone.code != 0 && gone.stderr.contains("does not exist"), "the context is removed: {gone}");
}
