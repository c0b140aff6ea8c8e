//! The three dialects, beyond what their parser's own tests say.

use crate::site::Site;

#[test]
fn applications_of_sealers_second_dialect() {
    let site = Site::new();
    site.write("calico.sh", "#!/bin/sh\n");
    let text = "FROM scratch\nKUBEVERSION v1.22.15\nCNI calico local://calico.sh\nAPP apollo local://apollo\n\
                APPENV apollo MODE=prod\nLAUNCH [\"calico\", \"apollo\"]\n";
    let built = site.build(text, "a:1", &["--type", "app-installer"]).ok();
    assert!(built.stderr.contains("was read as sealer-v2, for it uses KUBEVERSION in line 2"), "{built}");
    let inspected = site.kiln(&["cluster", "inspect", "a:1", "--json"]).ok().json();
    assert_eq!((&inspected["type"], &inspected["kubernetes"]), (&"application".into(), &"v1.22.15".into()));
    assert_eq!(inspected["launch"], serde_json::json!([{ "app": "calico" }, { "app": "apollo" }]));
    let apps = inspected["apps"].as_array().unwrap();
    assert_eq!((&apps[0]["kind"], &apps[0]["role"]), (&"shell".into(), &"cni".into()));
    assert_eq!((&apps[1]["kind"], &apps[1]["env"]["MODE"]), (&"helm".into(), &"prod".into()));
    let labels = site.kiln(&["inspect", "a:1"]).ok().json();
    assert_eq!(labels[0]["Config"]["Labels"]["cluster.alpha.sealer.io/kube-cni-calico"], "true");
}

#[test]
fn labels_of_sealos() {
    let site = Site::new();
    let text = "FROM scratch\nLABEL sealos.io.type=rootfs version=v1.30.1\nCOPY imageList manifests/\n\
                ENTRYPOINT [\"kubectl\", \"apply\"]\nCMD [\"-f\", \"manifests\"]\n";
    let _ = site.build(text, "a:1", &[]).ok();
    let inspected = site.kiln(&["cluster", "inspect", "a:1", "--json"]).ok().json();
    assert_eq!((&inspected["dialect"], &inspected["type"]), (&"sealos".into(), &"rootfs".into()));
    assert_eq!(inspected["kubernetes"], "v1.30.1");
    assert_eq!(inspected["launch"], serde_json::json!([{ "run": "kubectl apply -f manifests" }]));
    assert_eq!(site.names("a:1"), ["docker.io/library/mysql:5.6", "docker.io/library/nginx:latest"]);
}

#[test]
fn commands_of_the_base_come_first_and_arguments_have_values() {
    let site = Site::new().with_kubernetes();
    let _ = site.build("FROM kubernetes:v1.19.8\nCMD one\n", "base:1", &["--no-images"]).ok();
    let text = "FROM base:1\nARG A=1,B=2\nCMD two $A $B\n";
    let _ = site.build(text, "next:1", &["--no-images", "--build-arg", "B=3"]).ok();
    let inspected = site.kiln(&["cluster", "inspect", "next:1", "--json"]).ok().json();
    assert_eq!(inspected["launch"], serde_json::json!([{ "run": "one" }, { "run": "two $A $B" }]));
    assert_eq!((&inspected["inherited"], &inspected["args"]["B"]), (&1.into(), &"3".into()));
    let text = site.kiln(&["cluster", "inspect", "next:1"]).ok().stdout;
    assert!(text.contains("launch      one (of its base)\n"), "{text}");
}

#[test]
fn a_command_runs_in_the_root_file_system() {
    let site = Site::new();
    site.busybox("library/busybox:latest");
    let text =
        "# kiln:dialect=sealer-v1\nFROM busybox\nRUN pwd > etc/where && ls > etc/there\nCOPY imageList manifests\n";
    let _ = site.build(text, "a:1", &["--no-images"]).ok();
    let where_ = site.kiln(&["cat", "a:1", "/etc/where"]).ok();
    assert_eq!(where_.stdout.trim(), "/");
}

#[test]
fn two_platforms_are_two_root_file_systems_and_indexes() {
    let site = Site::new();
    site.many("example/all:1", &["amd64", "arm64", "s390x"]);
    site.write("list", "example/all:1\n");
    let text = "FROM scratch\nCOPY recommended.yaml etc\n";
    let more = ["--platform", "linux/amd64,linux/arm64", "--image-list", "list", "--type", "application"];
    let _ = site.build(text, "two:1", &more).ok();
    let inspected = site.kiln(&["cluster", "inspect", "two:1", "--json"]).ok().json();
    let platforms: Vec<&str> =
        inspected["rootfs"].as_array().unwrap().iter().map(|r| r["platform"].as_str().unwrap()).collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
    let reference = site.target.reference("two:1");
    let _ = site.kiln(&["push", "two:1", &reference]).ok();
    let digest = site.field("two:1", "docker.io/example/all:1", "digest");
    let out = site.t.out("two");
    site.target.pull(&format!("two@{digest}"), &format!("dir:{}", out.display()));
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(out.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["manifests"].as_array().map(Vec::len), Some(2), "{manifest}");
}
