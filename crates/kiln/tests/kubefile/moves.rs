//! Cluster images from place to place: registries, files, pieces; interrupted, and on full disks.

use std::process::Stdio;
use std::time::Duration;

use crate::KUBEFILE;
use crate::site::Site;

fn built() -> Site {
    let site = Site::new().with_kubernetes();
    let _ = site.build(KUBEFILE, "a:1", &[]).ok();
    site
}

/// The digest of an image in a store.
fn digest(site: &Site, store: &str, name: &str) -> String {
    let out = site.kiln(&["--store", store, "cluster", "inspect", name, "--json"]).ok();
    out.json()["digest"].as_str().unwrap().to_owned()
}

#[test]
fn what_is_pushed_is_pulled_whole_and_skopeo_reads_what_is_contained() {
    let site = built();
    let reference = site.target.reference("site/cluster:1");
    let _ = site.kiln(&["push", "a:1", &reference]).ok();
    let other = site.t.out("other");
    let other = other.to_str().unwrap();
    let _ = site.kiln(&["--store", other, "pull", &reference]).ok();
    let own = site.t.store().display().to_string();
    assert_eq!(digest(&site, other, &reference), digest(&site, &own, "a:1"));
    let listed = site.kiln(&["--store", other, "cluster", "images", &reference, "--why", "mysql"]).ok().stdout;
    assert!(listed.contains("manifests/imageList:2"), "{listed}");
    let _ = site.kiln(&["--store", other, "prune", "-f", "-a"]);
    let _ = site.kiln(&["--store", other, "fsck"]).ok();
    assert_eq!(digest(&site, other, &reference), digest(&site, &own, "a:1"), "pruning keeps all of it");
    let nginx = site.field("a:1", "docker.io/library/nginx:latest", "digest");
    assert_eq!(nginx, site.registry.digest("library/nginx:latest"), "nothing is repacked");
    let dir = site.t.out("nginx");
    site.target.pull(&format!("site/cluster@{nginx}"), &format!("oci:{}:x", dir.display()));
    assert!(dir.join("index.json").exists());
}

#[test]
fn what_is_saved_is_loaded_whole_or_in_pieces() {
    let site = built();
    let own = site.t.store().display().to_string();
    let (file, store) = (site.t.out("a.tar.zst"), site.t.out("one"));
    let (file, store) = (file.to_str().unwrap(), store.to_str().unwrap());
    let _ = site.kiln(&["cluster", "save", "a:1", "-o", file]).ok();
    let said = site.kiln(&["--store", store, "cluster", "load", "-i", file]).ok();
    assert!(said.stdout.starts_with("a:1 ("), "{said}");
    assert_eq!(digest(&site, store, "a:1"), digest(&site, &own, "a:1"));
    let (pieces, store) = (site.t.out("p/a.tar"), site.t.out("two"));
    std::fs::create_dir_all(pieces.parent().unwrap()).unwrap();
    let (path, store) = (pieces.to_str().unwrap(), store.to_str().unwrap());
    let _ = site.kiln(&["cluster", "save", "a:1", "-o", path, "--split", "256KiB"]).ok();
    let document = format!("{path}.parts");
    let count = std::fs::read_dir(pieces.parent().unwrap()).unwrap().count();
    assert!(count > 3, "{count}");
    let _ = site.kiln(&["--store", store, "cluster", "load", "-i", &document]).ok();
    assert_eq!(digest(&site, store, "a:1"), digest(&site, &own, "a:1"));
    let alone = site.kiln(&["cluster", "load", "-i", &format!("{path}.part-0001")]).exits(1);
    assert!(alone.stderr.contains("is one piece of a file") && alone.stderr.contains(".parts"), "{alone}");
    std::fs::write(format!("{path}.part-0002"), "x").unwrap();
    std::fs::remove_file(format!("{path}.part-0003")).unwrap();
    let bad = site.kiln(&["--store", store, "cluster", "load", "-i", &document]).exits(1);
    assert!(bad.stderr.contains("part-0002 is cut off, a.tar.part-0003 is missing"), "{bad}");
}

#[test]
fn a_push_that_is_killed_is_completed_by_the_next() {
    let site = built();
    for (round, wait) in [5, 40, 120].into_iter().enumerate() {
        let reference = site.target.reference(&format!("killed/{round}:1"));
        let mut command = site.t.command(&["push", "a:1", &reference]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        let _ = child.kill();
        let _ = child.wait();
        let _ = site.kiln(&["push", "a:1", &reference]).ok();
        let store = site.t.out(&format!("killed{round}"));
        let store = store.to_str().unwrap();
        let _ = site.kiln(&["--store", store, "pull", &reference]).ok();
        assert_eq!(digest(&site, store, &reference), digest(&site, &site.t.store().display().to_string(), "a:1"));
    }
}

#[test]
fn a_full_disk_leaves_no_half_of_a_file() {
    let site = built();
    let small = site.t.out("small");
    std::fs::create_dir_all(&small).unwrap();
    // A file system of its own, in a mount namespace of its own.
    let kiln = env!("CARGO_BIN_EXE_kiln");
    let store = site.t.store().display().to_string();
    // Files that would be taken for whole ones; of a directory, what names images.
    let dir = small.display();
    for (verb, look) in [
        (format!("cluster save a:1 -o '{dir}/a.tar'"), "-mindepth 1"),
        (format!("cluster save a:1 -o '{dir}/a.tar' --split 128KiB"), "-mindepth 1"),
        (format!("registry export '{dir}/r' a:1"), "-name 'link' -o -name '.*' -type f"),
    ] {
        let script = format!(
            "mount -t tmpfs -o size=512k kiln-test '{dir}' || exit 99\n\
             '{kiln}' --store '{store}' --progress plain {verb}; echo \"code $?\"\nfind '{dir}' {look}"
        );
        let mut command = std::process::Command::new(kiln_testkit::tools::tool("unshare"));
        command.args(["--mount", "--propagation", "private", "--", "sh", "-c", &script]);
        let said = command.output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        // What the command prints of images comes after all are there.
        assert_eq!(out.trim(), "code 3", "{verb}: {out}{err}");
        assert!(err.contains("o space left on device"), "{verb}: {err}");
    }
}

#[test]
fn images_are_merged_and_tagged_as_any() {
    let site = built();
    let text = "FROM scratch\nCOPY imageList manifests\nCMD kubectl get nodes\n";
    site.write("imageList", "nginx:latest\nexample/dash:v2.4.0\n");
    let _ = site.build(text, "app:1", &[]).ok();
    let _ = site.kiln(&["cluster", "merge", "-t", "all:1", "kubernetes:v1.19.8", "app:1"]).ok();
    let merged = site.kiln(&["cluster", "inspect", "all:1", "--json"]).ok().json();
    assert_eq!((&merged["type"], &merged["kubernetes"]), (&"rootfs".into(), &"v1.19.8".into()));
    assert_eq!(merged["launch"], serde_json::json!([{ "run": "kubectl get nodes" }]));
    assert_eq!(site.names("all:1"), ["docker.io/example/dash:v2.4.0", "docker.io/library/nginx:latest"]);
    let files = site.kiln(&["ls", "all:1"]).ok().stdout;
    assert!(files.contains("bin/kubeadm") && files.contains("manifests/imageList"), "{files}");
    let two = site.kiln(&["cluster", "merge", "-t", "x:1", "kubernetes:v1.19.8", "a:1"]).exits(1);
    assert!(two.stderr.contains("both bring Kubernetes"), "{two}");
    let _ = site.kiln(&["tag", "all:1", "again:1"]).ok();
    let _ = site.kiln(&["rmi", "all:1"]).ok();
    let _ = site.kiln(&["prune", "-f"]).ok();
    assert_eq!(site.names("again:1").len(), 2);
    let plain = site.kiln(&["cluster", "inspect", "nothing:1"]).exits(1);
    assert!(plain.stderr.contains("hint:"), "{plain}");
}

/// What a launch of images says that ends where no host answers, at the latest.
fn launch(site: &Site, words: &[&str]) -> kiln_testkit::Output {
    let to = ["--masters", "127.0.0.1:1", "--plan", "-u", "root"];
    site.kiln(&[&["cluster", "run"], words, &to].concat())
}

#[test]
fn images_of_a_launch_become_one_that_is_found_again() {
    let site = Site::new().with_kubernetes();
    for (name, file) in [("helm:3", "helm"), ("calico:3", "recommended.yaml")] {
        let _ = site.build(&format!("FROM scratch\nCOPY {file} opt/\nCMD cat opt/{file}\n"), name, &[]).ok();
    }
    let said = launch(&site, &["kubernetes:v1.19.8", "helm:3", "calico:3"]).exits(3);
    assert!(said.stderr.contains("launching kubernetes:v1.19.8 with helm:3, calico:3"), "{said}");
    let made = || -> Vec<String> {
        let all = site.kiln(&["images"]).ok().stdout;
        let lines = all.lines().filter(|line| line.contains("launch/kubernetes"));
        lines.map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(":")).collect()
    };
    let [name] = made().try_into().unwrap();
    let json = site.kiln(&["cluster", "inspect", &name, "--json"]).ok().json();
    assert_eq!((&json["type"], &json["kubernetes"]), (&"rootfs".into(), &"v1.19.8".into()));
    assert_eq!(json["launch"], serde_json::json!([{ "run": "cat opt/helm" }, { "run": "cat opt/recommended.yaml" }]));
    let files = site.kiln(&["ls", &name]).ok().stdout;
    assert!(["bin/kubeadm", "opt/helm", "opt/recommended.yaml"].iter().all(|path| files.contains(path)), "{files}");
    let stored = || std::fs::read_dir(site.t.store().join("blobs/sha256")).unwrap().count();
    let before = stored();
    let _ = launch(&site, &["kubernetes:v1.19.8", "helm:3", "calico:3"]).exits(3);
    assert_eq!((made(), stored()), (vec![name.clone()], before), "the same images are the same one");
    // In another order they are another one, and so says a Clusterfile of sealos.
    site.write(
        "Clusterfile",
        "apiVersion: apps.sealos.io/v1beta1\nkind: Cluster\nmetadata: {name: default}\nspec:\n  hosts:\n  - {ips: ['127.0.0.1:1'], \
         roles: [master, amd64]}\n  image: [kubernetes:v1.19.8, calico:3, helm:3]\n",
    );
    let said = site.kiln(&["cluster", "apply", "-f", "Clusterfile", "--plan", "-u", "root"]).exits(3);
    assert!(said.stderr.contains("launching kubernetes:v1.19.8 with calico:3, helm:3"), "{said}");
    assert_eq!(made().len(), 2);
    // What the command line names is in place of all that the file names.
    let said =
        site.kiln(&["cluster", "run", "kubernetes:v1.19.8", "-f", "Clusterfile", "--plan", "-u", "root"]).exits(3);
    assert!(!said.stderr.contains("launching"), "{said}");
}

#[test]
fn images_that_the_store_does_not_have_are_pulled_for_a_launch() {
    let site = Site::new().with_kubernetes();
    let _ = site.build("FROM scratch\nCOPY helm opt/\nCMD cat opt/helm\n", "helm:3", &[]).ok();
    let [kubernetes, helm] = ["site/kubernetes:v1.19.8", "site/helm:3"].map(|name| site.target.reference(name));
    for (own, name) in [("kubernetes:v1.19.8", &kubernetes), ("helm:3", &helm)] {
        let _ = site.kiln(&["push", own, name]).ok();
    }
    let other = site.t.out("other").display().to_string();
    let launch = |images: &[&str]| {
        let to = ["--masters", "127.0.0.1:1", "--plan", "-u", "root"];
        site.kiln(&[&["--store", &other, "cluster", "run"], images, &to].concat()).exits(3)
    };
    let said = launch(&[&kubernetes, &helm]);
    // Ports are random, and masked.
    for name in ["site/kubernetes:v1.19.8", "site/helm:3"] {
        assert!(said.stderr.contains(&format!("{name}, which the store does not have")), "{said}");
    }
    assert!(said.stderr.contains("note: launching 127.0.0.1:"), "{said}");
    let own = site.t.store().display().to_string();
    assert_eq!(digest(&site, &other, &kubernetes), digest(&site, &own, "kubernetes:v1.19.8"));
    let said = launch(&[&kubernetes]);
    assert!(!said.stderr.contains("pulling"), "it is there now: {said}");
    // What no registry has is told as by any pull.
    let nothing = site.target.reference("site/nothing:1");
    let said =
        site.kiln(&["--store", &other, "cluster", "run", &nothing, "--masters", "127.0.0.1:1", "--plan"]).exits(3);
    assert!(said.stderr.contains("site/nothing"), "{said}");
}

#[test]
fn images_that_cannot_be_launched_together_are_told_apart() {
    let site = Site::new().with_kubernetes();
    let other = ["cluster", "base", "--kubernetes", "v1.20.2", "--from", "binaries", "--no-images"];
    let _ = site.kiln(&[&other[..], &["-t", "kubernetes:v1.20.2", "--quiet"]].concat()).ok();
    let _ = site.build("FROM kubernetes:v1.19.8\nCOPY helm bin\n", "own:1", &[]).ok();
    let _ = site.build("FROM scratch\nCOPY helm opt\n", "a:1", &[]).ok();
    site.write("helm", "#!/bin/sh\necho another\n");
    site.write("README.md", "another\n");
    let _ = site.build("FROM scratch\nCOPY helm opt\nCOPY README.md .\n", "b:1", &[]).ok();
    let _ = site.build("FROM scratch\nCOPY helm opt\n", "p:1", &["--type", "patch"]).ok();
    let _ = site.build("FROM scratch\nCOPY helm opt\n", "arm:1", &["--platform", "linux/arm64"]).ok();
    let _ = site.kiln(&["tag", "a:1", "again:1"]).ok();
    for (images, what, hint) in [
        (
            "kubernetes:v1.19.8 kubernetes:v1.20.2",
            "brings Kubernetes v1.19.8, and `kubernetes:v1.20.2` v1.20.2",
            "upgrade",
        ),
        ("kubernetes:v1.19.8 own:1", "`kubernetes:v1.19.8` and `own:1` both bring Kubernetes v1.19.8", "built from"),
        (
            "a:1 kubernetes:v1.19.8",
            "`a:1` is the first image, and brings no Kubernetes",
            "name `kubernetes:v1.19.8` first",
        ),
        ("a:1 b:1", "none of the images brings Kubernetes: a:1, b:1", "kiln cluster base"),
        ("kubernetes:v1.19.8 a:1 a:1", "`a:1` is named twice", "once"),
        ("kubernetes:v1.19.8 a:1 again:1", "`a:1` and `again:1` are one image", "once"),
        ("kubernetes:v1.19.8 arm:1", "for linux/arm64", ""),
        ("kubernetes:v1.19.8 a:1 b:1", "`b:1` has other files than `a:1` at the same places", "kiln cluster merge"),
    ] {
        let said = launch(&site, &images.split(' ').collect::<Vec<_>>()).exits(1);
        assert!(said.stderr.contains(what) && said.stderr.contains(hint), "{images}: {said}");
        assert!(!said.stderr.contains("README"), "what nobody reads is in nobody's way: {said}");
    }
    // A patch is made to replace files.
    let _ = launch(&site, &["kubernetes:v1.19.8", "a:1", "p:1"]).exits(3);
}
