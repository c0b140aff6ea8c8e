//! A command in a pod that looks for credentials finds none: not Kiln's, not the pod's service account's.
//!
//! The hunter is that of the builds on machines (`tests/build/secrets/hunter.c`), which says where it looks.

use std::fs;
use std::process::Command;

use kiln_testkit::{Layout, tools};

use crate::pod::{Pod, TOKEN};
use crate::spec::{DEFAULT, OWN_USERS, RESTRICTED, Settings};

/// The places of secrets in the pod, besides the token.
const PLACES: [&str; 2] = ["/kiln/home/.docker/config.json", "/kiln/home/token"];

/// A pod with secrets in its environment, files and descriptors, and the hunter in the context.
fn careless(settings: Settings) -> Pod {
    let pod = Pod::new(settings)
        .env("MARKED", "MARK_environment")
        .env("VARIABLE", "MARK_variable")
        .env("DOCKER_CONFIG", "/kiln/home/.docker")
        .env("DOCKER_AUTH_CONFIG", r#"{"auths":{"x.example":{"identitytoken":"MARK_config"}}}"#);
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/build/secrets/hunter.c");
    let program = pod.t.context().join("hunter");
    let built =
        Command::new(tools::tool("gcc")).args(["-static", "-O1", "-o"]).arg(&program).arg(source).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let home = pod.dir().join("volume/home");
    fs::create_dir_all(home.join(".docker")).unwrap();
    let auth =
        r#"{"auths":{"reg.example":{"auth":"dXNlcnM6TUFSS19hdXRo"},"o.example":{"identitytoken":"MARK_token"}}}"#;
    fs::write(home.join(".docker/config.json"), auth).unwrap();
    fs::write(home.join("token"), "MARK_file").unwrap();
    pod.give(&home, settings.uid);
    Layout::busybox(pod.dir().join("volume/busybox"));
    pod.give(&pod.dir().join("volume/busybox"), settings.uid);
    pod
}

/// What hunters said but for what is the image's own, without what the progress display puts in front.
fn hunt(pod: &Pod, rung: &str, mounts: &str) -> Vec<String> {
    let places: Vec<String> = PLACES.iter().chain([&TOKEN]).map(|place| format!("{place:?}")).collect();
    let text = format!(
        "FROM busybox\nENV CONTROL=MARK_control\nCOPY hunter /\nRUN {mounts} [\"/hunter\", {}]\n",
        places.join(", ")
    );
    pod.t.write("Dockerfile", 0o644, text);
    let base = "--build-context=busybox=oci-layout:///kiln/busybox:busybox:latest";
    let build = ["/bin/kiln", "build", "-t", "t", base, "--no-cache", "--progress=plain"];
    let secrets = ["--secret=id=file,src=/kiln/home/token", "--secret=id=variable,env=VARIABLE", "/context"];
    let out = pod.run(&[&["/context/hunter", "plant"], &build[..], &secrets[..]].concat()).ok();
    assert!(out.stderr.contains(&format!("[internal] isolation {rung}: ")), "{out}");
    let said: Vec<&str> =
        out.stderr.lines().filter_map(|line| line.split_once("hunter: ")).map(|(_, said)| said).collect();
    // What is in the image's own environment it finds, or it would not be worth much.
    assert!(said.contains(&"found MARK_control in the environment"), "{out}");
    said.into_iter().filter(|found| !found.starts_with("found MARK_control in ")).map(str::to_owned).collect()
}

#[track_caller]
fn finds_nothing(settings: Settings, rung: &str) {
    let pod = careless(settings);
    assert_eq!(hunt(&pod, rung, ""), ["done"]);
    let mounts = "--mount=type=cache,target=/cache --mount=type=bind,target=/ctx --mount=type=tmpfs,target=/t";
    assert_eq!(hunt(&pod, rung, mounts), ["done"]);
    // What it is given it finds there, and nowhere else.
    assert_eq!(hunt(&pod, rung, "--mount=type=secret,id=file"), ["found MARK_file in /run/secrets/file", "done"]);
}

#[test]
fn in_a_default_pod() {
    finds_nothing(DEFAULT, "chroot");
}

#[test]
fn in_a_default_pod_with_the_profile() {
    finds_nothing(Settings { localhost: true, ..DEFAULT }, "userns");
}

#[test]
fn in_a_restricted_pod() {
    finds_nothing(RESTRICTED, "emulated");
}

#[test]
fn in_a_restricted_pod_with_the_profile() {
    finds_nothing(Settings { localhost: true, ..RESTRICTED }, "userns1");
}

#[test]
fn in_a_pod_with_its_own_users_and_rights_among_them() {
    finds_nothing(Settings { sys_admin: true, ..OWN_USERS }, "userns");
}
