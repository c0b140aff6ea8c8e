//! What is pushed, written and said, and how it ends.

use std::fs;

use kiln_testkit::registry::{PASSWORD, USER};
use kiln_testkit::server::{Say, Server};
use kiln_testkit::{Auth, Registry, TestContext};

use crate::{Pod, run};

#[test]
fn a_job_pushes_to_every_destination_and_writes_digests() {
    let pod = Pod::start();
    pod.t.write("app", 0o755, "#!/bin/sh\n");
    pod.dockerfile("COPY app /app\nRUN echo hello; echo built > /built\nUSER app");
    let out = pod.t.root().join("made/by");
    let file = |name: &str| out.join(name).display().to_string();
    fs::create_dir(pod.t.root().join("builder")).unwrap();
    let t = TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln"))
        .env("BUILDER_OUTPUT", pod.t.root().join("builder").to_str().unwrap());
    let context = format!("--context={}", pod.t.context().display());
    let flags = [
        "executor",
        "--log-format=text",
        &context,
        &pod.to("team/app:1"),
        &pod.to("other/app"),
        &format!("--digest-file={}", file("digest")),
        &format!("--image-name-with-digest-file={}", file("names")),
        &format!("--image-name-tag-with-digest-file={}", file("tags")),
        "--label=a=b",
        "--annotation=c=d",
    ];
    let done = t.kiln(&flags).ok();
    let digest = pod.registry.digest("team/app:1");
    assert_eq!(pod.registry.digest("other/app:latest"), digest);
    assert_eq!(fs::read_to_string(out.join("digest")).unwrap(), digest);
    let [first, second] = ["team/app", "other/app"].map(|name| pod.registry.reference(name));
    let lines = format!("{first}:1@{digest}\n{second}:latest@{digest}\n");
    assert_eq!(fs::read_to_string(out.join("tags")).unwrap(), lines);
    assert_eq!(fs::read_to_string(out.join("names")).unwrap(), lines, "both have tags if one has");
    let images = fs::read_to_string(pod.t.root().join("builder/images")).unwrap();
    assert_eq!(images.lines().next().unwrap(), format!("{{\"name\":\"{first}:1\",\"digest\":\"{digest}\"}}"));
    assert_eq!(done.stdout.trim(), "hello", "what commands write goes where they write it");
    let said = String::from_utf8_lossy(&done.raw_stderr).into_owned();
    for text in [
        "level=info msg=\"RUN echo hello; echo built > /built\"",
        "pushed blob sha256:",
        &format!("Pushed {first}@{digest}"),
        &format!("{first}:1: digest: {digest} size: "),
    ] {
        assert!(said.contains(text), "{text}\n{done}");
    }
    pod.registry.pull("team/app:1", &format!("oci:{}:x", pod.t.out("back").display()));
    let raw = pod.t.tool("skopeo", &["inspect", "--raw", &format!("oci:{}:x", pod.t.out("back").display())]).ok();
    assert_eq!(raw.json()["annotations"]["c"], "d");
}

#[test]
fn the_program_is_called_executor_and_warmer() {
    let pod = Pod::start();
    let link = pod.t.root().join("executor");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_kiln"), &link).unwrap();
    let t = TestContext::with_kiln(&link);
    pod.write(&t, "ENV a=b");
    let context = format!("--context={}", t.context().display());
    let _ = t.kiln(&[&context, &pod.to("app:1"), "--verbosity=error"]).ok();
    assert!(pod.registry.digest("app:1").starts_with("sha256:"));
    assert!(t.kiln(&["version"]).ok().stdout.starts_with("kiln "));
    let help = t.kiln(&["--help"]).ok();
    assert!(help.stdout.contains("--image-name-tag-with-digest-file"), "{help}");
}

#[test]
fn archives_and_layouts_need_no_registry() {
    let pod = Pod::start();
    pod.dockerfile("RUN echo 1 > /one");
    let (tar, layout) = (pod.t.out("app.tar"), pod.t.out("layout"));
    let flags = [
        "--no-push",
        "--destination=reg.example/app:7",
        &format!("--tar-path={}", tar.display()),
        &format!("--oci-layout-path={}", layout.display()),
    ];
    let _ = pod.run(&flags).ok();
    let list = pod.t.tool("tar", &["-xOf", "app.tar", "manifest.json"]).ok();
    assert_eq!(list.json()[0]["RepoTags"][0], "reg.example/app:7");
    pod.dockerfile("RUN echo 2 > /one");
    let _ = pod.run(&flags).ok();
    let index: serde_json::Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 1, "a layout holds the last image alone");
    let pushed = pod.t.kiln(&["executor", "push", layout.to_str().unwrap(), &pod.to("pushed:1")]).ok();
    assert_eq!(index["manifests"][0]["digest"], pod.registry.digest("pushed:1"), "{pushed}");
    let _ = pod.t.kiln(&["executor", "push", tar.to_str().unwrap(), &pod.to("pushed:2")]).ok();
    let unnamed = pod.t.out("unnamed.tar");
    let _ = pod.run(&["--no-push", &format!("--tar-path={}", unnamed.display())]).ok();
    let list = pod.t.tool("tar", &["-xOf", "unnamed.tar", "manifest.json"]).ok();
    assert_eq!(list.json()[0]["RepoTags"][0], "unset-repo/unset-image-name:latest");
}

#[test]
fn dockers_media_types_are_there_for_who_needs_them() {
    let pod = Pod::start();
    pod.dockerfile("RUN echo 1 > /one");
    let _ = pod.run(&[&pod.to("app:1"), "--image-format=docker"]).ok();
    let name = format!("docker://{}", pod.registry.reference("app:1"));
    let raw = pod.t.tool("skopeo", &["inspect", "--raw", "--tls-verify=false", &name]).ok().json();
    assert_eq!(raw["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
    assert_eq!(raw["config"]["mediaType"], "application/vnd.docker.container.image.v1+json");
    assert_eq!(raw["layers"][1]["mediaType"], "application/vnd.docker.image.rootfs.diff.tar.gzip");
}

#[test]
fn codes_are_kanikos() {
    let pod = Pod::start();
    pod.dockerfile("RUN exit 7");
    let failed = pod.run(&["--no-push"]).exits(7);
    assert!(failed.stderr.contains("exit code 7"), "{failed}");
    let json = pod.t.kiln(&["executor", "--log-format=json", "--no-push", "--context=/nowhere"]).exits(1);
    let last: serde_json::Value = serde_json::from_str(json.stderr.lines().last().unwrap()).unwrap();
    assert_eq!(last["level"], "error");
    let _ = pod.run(&["--no-such-flag"]).exits(1);
    let _ = pod.run(&[]).exits(1);
    let _ = pod.run(&["--no-push", "--dockerfile=missing"]).exits(1);
}

#[test]
fn a_push_that_would_be_refused_is_found_before_the_build() {
    let pod = Pod::start();
    let private = Registry::start(Auth::Basic);
    pod.dockerfile("RUN touch /ran && echo it ran");
    let to = format!("--destination={}", private.reference("app:1"));
    let refused = pod.run(&[&to]).exits(1);
    assert!(refused.stderr.contains("checking push permission for"), "{refused}");
    assert!(!refused.stdout.contains("it ran"), "{refused}");
    let login = ["executor", "login", "-u", USER, "--password-stdin", private.address()];
    let _ = pod.t.kiln_with_input(&login, PASSWORD.as_bytes()).ok();
    let _ = pod.run(&[&to]).ok();
}

#[test]
fn a_tag_that_may_not_move_is_a_failure_or_not() {
    let server = Server::start(|seen, _| match &*seen.method {
        "HEAD" => Say::status(404),
        "POST" => Say::status(202).header("Location", "/v2/app/blobs/uploads/1"),
        "PUT" if seen.path.contains("/manifests/") => {
            Say::error(400, "TAG_INVALID", "The image tag '1' cannot be overwritten because the tag is immutable.")
        }
        _ => Say::status(201),
    });
    let t = Pod::machine().file("Dockerfile", 0o644, "FROM scratch\nENV a=b");
    let to = format!("--destination={}/app:1", server.host);
    let refused = run(&t, &[&to]).exits(1);
    assert!(refused.stderr.contains("immutable"), "{refused}");
    let fine = run(&t, &[&to, "--push-ignore-immutable-tag-errors"]).ok();
    assert!(fine.stderr.contains("Immutable tag error ignored for"), "{fine}");
}

#[test]
fn a_dry_run_prints_the_plan() {
    let pod = Pod::start();
    pod.dockerfile("RUN echo it ran");
    let plan = pod.run(&["--no-push", "--dryrun", "--use-new-run"]).ok();
    assert!(plan.stdout.contains("RUN echo it ran") && plan.stderr.contains("--use-new-run has no effect"), "{plan}");
}

#[test]
fn a_mounted_file_is_written_in_place() {
    let pod = Pod::start();
    pod.dockerfile("ENV a=b");
    let (mounted, below) = (pod.t.root().join("termination-log"), pod.t.root().join("below"));
    fs::write(&mounted, "a longer text that was there before").unwrap();
    fs::write(&below, "a longer text that was there before, and that is longer than any digest could ever be").unwrap();
    let kiln = env!("CARGO_BIN_EXE_kiln");
    let script = format!(
        "mount --bind {} {} && exec {kiln} executor --no-push --context={} --digest-file={}",
        below.display(),
        mounted.display(),
        pod.t.context().display(),
        mounted.display()
    );
    let mut command = std::process::Command::new("unshare");
    command.envs(pod.t.command(&[]).get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))));
    let done = command.args(["-m", "sh", "-c", &script]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let digest = fs::read_to_string(&below).unwrap();
    assert!(digest.starts_with("sha256:") && digest.len() == 71, "{digest}");
}

#[test]
fn everything_is_kept_where_kaniko_keeps_it() {
    let pod = Pod::start();
    pod.dockerfile("RUN echo 1 > /one");
    let dir = pod.t.root().join("volume");
    let context = format!("--context={}", pod.t.context().display());
    let at = |args: &[&str], env: Option<&str>| {
        let mut command = pod.t.command(&[&["executor", "--no-push", &context], args].concat());
        command.envs(env.map(|dir| ("KANIKO_DIR", dir)));
        assert!(command.status().unwrap().success());
    };
    at(&[&format!("--kaniko-dir={}", dir.display())], Some("/not/this"));
    assert!(dir.join("store/index.json").exists());
    let other = pod.t.root().join("other");
    at(&[], other.to_str());
    assert!(other.join("store/index.json").exists());
}
