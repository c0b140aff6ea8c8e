//! Kiln's own image: built by Kiln, from nothing, and run.

use std::fs;
use std::path::Path;

use kiln_testkit::tools;

use crate::Pod;

#[test]
fn the_image_holds_all_that_jobs_look_for() {
    let t = Pod::machine();
    let layout = t.out("layout");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/image.sh");
    let mut command = std::process::Command::new(script);
    command.env_clear().env("KILN", env!("CARGO_BIN_EXE_kiln"));
    command.envs(t.command(&[]).get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))));
    let made = command
        .args(["-q", "-t", "kiln", "-o", &format!("type=oci,tar=false,dest={}", layout.display())])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let bundle = t.out("bundle");
    let image = format!("{}:latest", layout.display());
    let _ = t.tool("umoci", &["unpack", "--image", &image, bundle.to_str().unwrap()]).ok();
    let root = bundle.join("rootfs");
    for (link, target) in [("kaniko/warmer", "executor"), ("usr/local/bin/kiln", "/kaniko/executor")] {
        assert_eq!(fs::read_link(root.join(link)).unwrap(), Path::new(target));
    }
    assert!(root.join("workspace").is_dir() && root.join("kaniko/.docker").is_dir());
    assert!(fs::read_to_string(root.join("kaniko/ssl/certs/ca-certificates.crt")).unwrap().contains("BEGIN CERT"));
    let config = t.tool("skopeo", &["inspect", "--config", "--raw", &format!("oci:{image}")]).ok().json();
    assert_eq!(config["config"]["Entrypoint"][0], "/kaniko/executor");
    assert_eq!(config["config"]["WorkingDir"], "/workspace");
    let env = config["config"]["Env"].to_string();
    assert!(env.contains("DOCKER_CONFIG=/kaniko/.docker") && env.contains("SSL_CERT_DIR=/kaniko/ssl/certs"), "{env}");
    // It needs nothing but itself: a root with no other program in it.
    let run = |program: &str, args: &[&str]| {
        let mut command = std::process::Command::new(tools::tool("chroot"));
        let out = command.arg(&root).arg(program).args(args).env_clear().output().unwrap();
        assert!(out.status.success(), "{program}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    assert!(run("/kaniko/executor", &["version"]).starts_with("kiln "));
    assert!(run("/kaniko/warmer", &["--help"]).contains("--cache-dir"));
    fs::write(root.join("workspace/Dockerfile"), "FROM scratch\nCOPY Dockerfile /\n").unwrap();
    run("/kaniko/executor", &["--context=/workspace", "--no-push", "--tar-path=/tmp/app.tar"]);
    assert!(root.join("tmp/app.tar").exists());
}
