//! `kiln registry serve --image`: every image of a cluster image, pulled back by the clients that people have.

use kiln_testkit::{Containerd, Serving};

use crate::KUBEFILE;
use crate::site::Site;

#[test]
fn skopeo_podman_and_containerd_pull_every_image_back() {
    let site = Site::new().with_kubernetes();
    let _ = site.build(KUBEFILE, "a:1", &[]).ok();
    let serving = Serving::start(&site.t, &["--image", "a:1"]);
    let dir = tempfile::tempdir().unwrap();
    let containerd = Containerd::start(dir.path());
    let hosts = containerd.mirror(&format!("http://{}", serving.address), &["docker.io", "quay.example"]);
    let (root, run) = (dir.path().join("pods").display().to_string(), dir.path().join("run").display().to_string());
    let podman = |args: &[&str]| {
        site.t.tool("podman", &[&["--root", &root, "--runroot", &run, "--storage-driver", "vfs"], args].concat())
    };
    let names = site.names("a:1");
    assert_eq!(names.len(), 5, "{names:?}");
    for (number, name) in names.iter().enumerate() {
        let digest = site.field("a:1", name, "digest");
        let there = format!("{}/{name}", serving.address);
        let out = format!("dir:{}", dir.path().join(number.to_string()).display());
        let from = format!("docker://{there}");
        let _ = site.t.tool("skopeo", &["--insecure-policy", "copy", "--src-tls-verify=false", &from, &out]).ok();
        let seen = ["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &from];
        assert_eq!(site.t.tool("skopeo", &seen).ok().text().trim(), digest, "{name}");
        let _ = containerd.ctr(&["content", "fetch", &hosts, name]).ok();
        assert!(containerd.has(name, &digest), "{name}");
        let _ = podman(&["pull", "-q", "--tls-verify=false", &there]).ok();
        let pulled = podman(&["image", "inspect", "--format", "{{.Digest}}", &there]).ok();
        assert_eq!(pulled.text().trim(), digest, "{name}");
    }
    // And nothing can be pushed to it.
    let to = format!("docker://{}/new:1", serving.address);
    let from = format!("dir:{}", dir.path().join("0").display());
    let refused = site.t.tool("skopeo", &["--insecure-policy", "copy", "--dest-tls-verify=false", &from, &to]);
    assert!(refused.code != 0 && refused.stderr.contains("can only be read"), "{refused}");
}
