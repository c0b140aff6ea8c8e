//! The clients that people use: skopeo, podman, containerd, curl.

use std::process::Command;
use std::time::Duration;

use kiln_oci::Digest;
use kiln_serve::auth::Auth;
use kiln_serve::auth::htpasswd::{Htpasswd, line};
use kiln_serve::auth::token::Issuer;
use kiln_serve::tls::Certificate;
use kiln_testkit::command::run;
use kiln_testkit::tools::tool;
use kiln_testkit::{Containerd, Filters, Layout, Output};

use crate::support::Server;

fn call(name: &str, args: &[&str]) -> Output {
    let mut command = Command::new(tool(name));
    command.args(args);
    run(command, b"", Duration::from_secs(120), &Filters::standard())
}

#[test]
fn skopeo_pushes_and_pulls() {
    let server = Server::start();
    let layout = Layout::busybox(server.dir.path().join("layout"));
    let to = format!("docker://{}", server.reference("team/app:1"));
    let (plain_to, plain_from) = ("--dest-tls-verify=false", "--src-tls-verify=false");
    let _ = call("skopeo", &["--insecure-policy", "copy", plain_to, &layout.skopeo("busybox:latest"), &to]).ok();
    // The second time everything is there; under another name it is taken over.
    let again = format!("docker://{}", server.reference("team/other:1"));
    let _ = call("skopeo", &["--insecure-policy", "copy", plain_from, plain_to, &to, &again]).ok();
    let back = format!("oci:{}:1", server.dir.path().join("back").display());
    let _ = call("skopeo", &["--insecure-policy", "copy", plain_from, &again, &back]).ok();
    let digest = |from: &str, option: &str| {
        call("skopeo", &["inspect", option, "--format", "{{.Digest}}", from]).ok().text().to_owned()
    };
    assert_eq!(digest(&to, "--tls-verify=false"), digest(&back, "--tls-verify=false"));
    let tags =
        call("skopeo", &["list-tags", "--tls-verify=false", &format!("docker://{}", server.reference("team/app"))]);
    assert_eq!(tags.ok().json()["Tags"], serde_json::json!(["1"]));
    let _ = call("skopeo", &["delete", "--tls-verify=false", &again]).ok();
    assert!(server.store().get_ref("localhost/team/other:1").unwrap().is_none());
    assert!(server.store().fsck(false).unwrap().problems.is_empty());
}

#[test]
fn skopeo_without_a_login_pulls_what_everyone_may_pull() {
    let dir = tempfile::tempdir().unwrap();
    let users = dir.path().join("users");
    std::fs::write(&users, line("me", "secret").unwrap()).unwrap();
    let open = Server::start();
    open.image("team/app", "1", b"layer");
    for tokens in [false, true] {
        let server = Server::with(|mut s| {
            let users = Htpasswd::open(&users, "r", true).unwrap();
            s.auth = if tokens { Auth::Own(Issuer::new(users, "kiln").unwrap()) } else { Auth::Basic(users) };
            s.store = open.store();
            s
        });
        let name = format!("docker://{}", server.reference("team/app:1"));
        let _ =
            call("skopeo", &[&["inspect", "--raw", "--tls-verify=false", "--no-creds"][..], &[&name]].concat()).ok();
        let _ = call("skopeo", &["inspect", "--raw", "--tls-verify=false", "--creds", "me:secret", &name]).ok();
        let wrong = call("skopeo", &["inspect", "--raw", "--tls-verify=false", "--creds", "me:wrong", &name]);
        assert_ne!(wrong.code, 0, "{wrong}");
        let to = format!("docker://{}", server.reference("team/new:1"));
        let options = ["--insecure-policy", "copy", "--src-tls-verify=false", "--dest-tls-verify=false"];
        let push = call("skopeo", &[&options[..], &["--src-no-creds", "--dest-no-creds", &name, &to]].concat());
        assert_ne!(push.code, 0, "{push}");
    }
}

#[test]
fn podman_pushes_and_pulls_with_a_password_over_tls() {
    let dir = tempfile::tempdir().unwrap();
    let users = dir.path().join("users");
    std::fs::write(&users, line("me", "secret").unwrap()).unwrap();
    let trust = dir.path().join("tls");
    let certificate =
        Certificate::Own { dir: trust.clone(), names: vec!["127.0.0.1".to_owned(), "localhost".to_owned()] };
    let server = Server::with(|mut s| {
        s.auth = Auth::Own(Issuer::new(Htpasswd::open(&users, "r", false).unwrap(), "kiln").unwrap());
        s.certificate = Some(certificate);
        s
    });
    // podman takes every *.crt here as an authority.
    let certs = dir.path().join("certs");
    std::fs::create_dir(&certs).unwrap();
    std::fs::copy(trust.join("ca.crt"), certs.join("ca.crt")).unwrap();
    let layout = Layout::busybox(dir.path().join("layout"));
    let (root, run, certs) = (dir.path().join("root"), dir.path().join("run"), certs.display().to_string());
    let podman = |args: &[&str]| {
        let (root, run) = (root.display().to_string(), run.display().to_string());
        let base = ["--root", &root, "--runroot", &run, "--storage-driver", "vfs"];
        call("podman", &[&base[..], args].concat())
    };
    let name = server.reference("team/app:1");
    let to = format!("docker://{name}");
    let from = layout.skopeo("busybox:latest");
    let login = ["--dest-creds", "me:secret", "--dest-cert-dir", &certs];
    let _ = call("skopeo", &[&["--insecure-policy", "copy"][..], &login, &[&from, &to]].concat()).ok();
    let wrong = podman(&["pull", "-q", "--creds", "me:wrong", "--cert-dir", &certs, &name]);
    assert_ne!(wrong.code, 0, "{wrong}");
    let login = ["--creds", "me:secret", "--cert-dir", &certs];
    let _ = podman(&[&["pull", "-q"][..], &login, &[&name]].concat()).ok();
    let pushed = server.reference("team/pushed:1");
    let _ = podman(&[&["push", "-q"][..], &login, &[&name, &pushed]].concat()).ok();
    let _ = podman(&["rmi", "-fa"]).ok();
    let _ = podman(&[&["pull", "-q"][..], &login, &[&pushed]].concat()).ok();
    assert!(podman(&["images"]).ok().text().contains("team/pushed"));
    // The same certificate is used again, and the key is the owner's alone.
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(trust.join("server.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn containerd_finds_images_of_two_registries_at_one_mirror() {
    let server = Server::start();
    let docker = server.image("docker.io/library/nginx", "1", b"docker's");
    let quay = server.image("quay.io/library/nginx", "1", b"quay's");
    let dir = tempfile::tempdir().unwrap();
    let containerd = Containerd::start(dir.path());
    let hosts = containerd.mirror(&format!("http://{}", server.address()), &["docker.io", "quay.io"]);
    for (name, image) in [("docker.io/library/nginx:1", docker), ("quay.io/library/nginx:1", quay)] {
        let _ = containerd.ctr(&["content", "fetch", &hosts, name]).ok();
        assert!(containerd.has(name, &image.digest.to_string()), "{name}");
    }
}

#[test]
fn curl_speaks_both_versions_of_http() {
    let dir = tempfile::tempdir().unwrap();
    let certificate = Certificate::Own { dir: dir.path().join("tls"), names: vec!["127.0.0.1".to_owned()] };
    let (plain, tls) = (
        Server::start(),
        Server::with(|mut s| {
            s.certificate = Some(certificate);
            s
        }),
    );
    let bytes: Vec<u8> =
        (0..5_000_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).take(9_999_999).collect();
    let digest = plain.blob("a", &bytes);
    let file = dir.path().join("bytes");
    std::fs::write(&file, &bytes).unwrap();
    let ca = dir.path().join("tls/ca.crt").display().to_string();
    let out = dir.path().join("out").display().to_string();
    let upload = format!("https://{}/v2/a/blobs/uploads/?digest={digest}", tls.address());
    let sent = call(
        "curl",
        &[
            "-sS",
            "--cacert",
            &ca,
            "-X",
            "POST",
            "--data-binary",
            &format!("@{}", file.display()),
            "-o",
            &out,
            "-w",
            "%{http_code} %{http_version}",
            &upload,
        ],
    );
    assert_eq!(sent.ok().text(), "201 2");
    let (plain_url, tls_url) = (format!("http://{}", plain.address()), format!("https://{}", tls.address()));
    for (base, options, version) in [
        (&plain_url, vec!["--http1.1"], "1.1"),
        (&plain_url, vec!["--http2-prior-knowledge"], "2"),
        (&tls_url, vec!["--http1.1", "--cacert", ca.as_str()], "1.1"),
        (&tls_url, vec!["--http2", "--cacert", ca.as_str()], "2"),
    ] {
        let url = format!("{base}/v2/a/blobs/{digest}");
        let common = ["-sS", "-o", &out, "-w", "%{http_code} %{http_version}"];
        let got = call("curl", &[&common[..], &options, &[&url]].concat()).ok();
        assert_eq!(got.text(), format!("200 {version}"), "{options:?}");
        assert_eq!(Digest::of(&std::fs::read(&out).unwrap()), digest, "{options:?}");
        let part = call("curl", &[&common[..], &options, &["-r", "1000000-8999998", &url]].concat()).ok();
        assert_eq!(part.text(), format!("206 {version}"), "{options:?}");
        assert!(std::fs::read(&out).unwrap() == bytes[1_000_000..8_999_999], "{options:?}");
    }
    // Many on one connection, some of them cut short: each file is sent whole, and in its place.
    let url = format!("{plain_url}/v2/a/blobs/{digest}");
    let ranges = ["-r", "0-9", &url, "-o", "-", "-r", "5000000-5000009", &url, "-o", "-"];
    let two = call("curl", &[&["-sS"][..], &ranges[..]].concat());
    assert_eq!(two.code, 0, "{two}");
}
