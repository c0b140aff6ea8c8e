//! Root file systems of Kubernetes' own binaries: from a directory, and fetched with checksums.

use kiln_oci::Digest;
use kiln_testkit::Rootfs;
use kiln_testkit::server::{Say, Server};

use crate::site::Site;

#[test]
fn a_directory_of_binaries_becomes_a_root_file_system() {
    let site = Site::new().with_kubernetes();
    let files = site.kiln(&["ls", "kubernetes:v1.19.8"]).ok().stdout;
    for path in ["bin/kubeadm", "bin/kubelet", "bin/kubectl", "bin/runc", "etc/kubeadm.yml", "Metadata"] {
        assert!(files.contains(path), "{path}: {files}");
    }
    let config = site.kiln(&["cat", "kubernetes:v1.19.8", "/etc/kubeadm.yml"]).ok().stdout;
    assert!(config.contains("kubernetesVersion: v1.19.8") && config.contains("v1beta2"), "{config}");
    site.write("binaries/notes.txt", "x");
    let args = ["cluster", "base", "--kubernetes", "v1.19.8", "--from", "binaries", "--no-images", "-t", "x"];
    let strange = site.kiln(&args).exits(1);
    assert!(strange.stderr.contains("`notes.txt` has no place") && strange.stderr.contains("hint:"), "{strange}");
    std::fs::remove_file(site.t.context().join("binaries/notes.txt")).unwrap();
    std::fs::remove_file(site.t.context().join("binaries/kubelet")).unwrap();
    let lacking = site.kiln(&args).exits(1);
    assert!(lacking.stderr.contains("the directory has no kubelet"), "{lacking}");
}

/// Images that kubeadm of 1.19.8 runs.
const OF_KUBEADM: [&str; 7] = [
    "kube-apiserver:v1.19.8",
    "kube-controller-manager:v1.19.8",
    "kube-scheduler:v1.19.8",
    "kube-proxy:v1.19.8",
    "coredns:1.7.0",
    "pause:3.2",
    "etcd:3.4.13-0",
];

#[test]
fn what_kubeadm_runs_is_contained_under_the_names_it_asks_for() {
    let site = Site::new();
    for name in ["kubeadm", "kubelet", "kubectl"] {
        site.write(&format!("root/bin/{name}"), "#!/bin/sh\n");
    }
    let config = "apiVersion: kubeadm.k8s.io/v1beta2\nkind: ClusterConfiguration\nkubernetesVersion: v1.19.8\n";
    site.write("root/etc/kubeadm.yml", &format!("{config}imageRepository: sea.hub:5000/library\n"));
    site.write("root/Metadata", "{\"version\":\"v1.19.8\"}");
    let text = "# kiln:dialect=sealos\nFROM scratch\nCOPY root /\n";
    let missing = site.build(text, "k:1", &[]).exits(3);
    assert!(
        missing.stderr.contains("the image `sea.hub:5000/library/") && missing.stderr.contains("registry.k8s.io"),
        "{missing}"
    );
    // The cluster's registry is not there yet: Kubernetes' own has the images.
    OF_KUBEADM.iter().for_each(|name| site.image(name, name));
    let _ = site.build(text, "k:1", &[]).ok();
    let mut wanted: Vec<String> = OF_KUBEADM.iter().map(|name| format!("sea.hub:5000/library/{name}")).collect();
    wanted.sort();
    assert_eq!(site.names("k:1"), wanted);
    let digest = site.field("k:1", "sea.hub:5000/library/pause:3.2", "digest");
    assert_eq!(digest, site.registry.digest("pause:3.2"));
    // One that has its own registry, where the images are, gets them from there.
    site.image("mirror/k8s/pause:3.2", "another pause");
    let own = site.registry.reference("mirror/k8s");
    site.write("root/etc/kubeadm.yml", &format!("{config}imageRepository: {own}\n"));
    let said = site.build(text, "k:2", &[]).ok();
    let digest = site.field("k:2", &format!("{own}/pause:3.2"), "digest");
    assert_eq!(digest, site.registry.digest("mirror/k8s/pause:3.2"));
    assert!(
        said.stderr.contains("mirror/k8s/etcd:3.4.13-0 cannot be had; registry.k8s.io/etcd:3.4.13-0 stands"),
        "{said}"
    );
    // And who brings them in another way says so.
    let _ = site.build(text, "k:3", &["--no-kubernetes-images"]).ok();
    assert!(site.names("k:3").is_empty());
    let label = "LABEL dev.kiln.cluster.kubernetes-images=given\n";
    let _ = site.build(&format!("{text}{label}"), "k:4", &[]).ok();
    assert!(site.names("k:4").is_empty());
}

/// What a mirror of dl.k8s.io and GitHub answers; with `broken`, kubelet is not what its checksum says.
fn mirror(broken: bool) -> Server {
    Server::start(move |seen, _| {
        let path = seen.path.split('?').next().unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default();
        let plain = name.trim_end_matches(".sha256sum").trim_end_matches(".sha256");
        let body = |name: &str| match name {
            name if name.ends_with(".gz") || name.ends_with(".tgz") => {
                let file = name.split('-').next().unwrap_or_default().to_owned();
                let dir = if file == "containerd" { "bin/" } else { "" };
                kiln_testkit::layout::gzip(&Rootfs::new().file(&format!("{dir}{file}"), 0o755, name).tar())
            }
            name => name.as_bytes().to_vec(),
        };
        let sum = |name: &str| Digest::of(&body(name)).hex();
        match name {
            "runc.sha256sum" => {
                Say::ok(format!("{}  runc.amd64\n{}  runc.arm64\n", sum("runc.amd64"), sum("runc.arm64")))
            }
            _ if name != plain => Say::ok(format!("{}\n", sum(plain))),
            "kubelet" if broken => Say::ok("something else"),
            _ => Say::ok(body(name)),
        }
    })
}

fn download(site: &Site, mirror: &Server, more: &[&str]) -> kiln_testkit::Output {
    let (dl, github) = (format!("http://{}/k8s", mirror.host), format!("http://{}/gh", mirror.host));
    let mut args = vec!["cluster", "base", "--kubernetes", "v1.30.2", "--download", "--no-images", "-t", "k:1"];
    args.extend(["--kubernetes-url", &dl, "--github-url", &github, "--platform", "linux/amd64", "--retries=0"]);
    args.extend(more);
    site.kiln(&args)
}

#[test]
fn downloads_are_compared_with_their_checksums() {
    let site = Site::new();
    let good = mirror(false);
    let _ = download(&site, &good, &[]).ok();
    let files = site.kiln(&["ls", "k:1"]).ok().stdout;
    for path in ["bin/kubeadm", "bin/runc", "bin/containerd", "bin/crictl", "opt/cni/bin/cni"] {
        assert!(files.contains(path), "{path}: {files}");
    }
    let lines = good.lines();
    assert!(lines.iter().any(|line| line.contains("/k8s/v1.30.2/bin/linux/amd64/kubeadm.sha256")), "{lines:?}");
    let bad = mirror(true);
    let refused = download(&site, &bad, &[]);
    assert!(refused.code != 0 && refused.stderr.contains("kubelet"), "{refused}");
}
