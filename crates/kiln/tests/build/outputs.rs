//! Where results go.

use kiln_testkit::{Auth, Registry};

use crate::{Bench, open};

const TEXT: &str =
    "FROM busybox\nCOPY f /srv/f\nRUN echo hi > /srv/g && chown app /srv/g && chmod 4755 /srv/g\nLABEL a=b";

#[test]
fn archives_and_layouts_are_read_by_others() {
    let b = Bench::new().file("f", 0o644, "F");
    let (oci, docker, layout) = (b.t.out("o.tar"), b.t.out("d.tar"), b.t.out("layout"));
    let out = b.run(
        TEXT,
        &[
            &format!("--output=type=oci,dest={}", oci.display()),
            &format!("--output=type=docker,dest={}", docker.display()),
            &format!("--output=type=oci,tar=false,dest={}", layout.display()),
            "--load",
        ],
    );
    let _ = out.ok();
    let built = open(&b.t.store(), "t");
    let config = built.manifest.config.digest.to_string();
    for from in [
        format!("oci-archive:{}", oci.display()),
        format!("docker-archive:{}", docker.display()),
        format!("oci:{}:latest", layout.display()),
        format!("oci:{}:docker.io/library/t:latest", b.t.store().display()),
    ] {
        let raw = b.t.tool("skopeo", &["inspect", "--config", "--raw", &from]).ok();
        assert_eq!(kiln_oci::Digest::of(&raw.raw_stdout).to_string(), config, "{from}");
    }
    let bundle = b.t.out("bundle");
    let _ =
        b.t.tool("umoci", &["unpack", "--image", &format!("{}:latest", layout.display()), bundle.to_str().unwrap()])
            .ok();
    assert_eq!(std::fs::read_to_string(bundle.join("rootfs/srv/g")).unwrap(), "hi\n");
}

#[test]
fn results_run_elsewhere() {
    let b = Bench::new().file("f", 0o644, "F");
    let layout = b.t.out("layout");
    let text = "FROM busybox\nENV WHO=world\nWORKDIR /srv\nUSER app\nCMD [\"sh\", \"-c\", \"echo hello $WHO from $(id -un) in $PWD\"]";
    let _ = b.run(text, &[&format!("--output=type=oci,tar=false,dest={}", layout.display())]).ok();
    let bundle = b.t.out("bundle");
    let _ =
        b.t.tool("umoci", &["unpack", "--image", &format!("{}:latest", layout.display()), bundle.to_str().unwrap()])
            .ok();
    let path = bundle.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["process"]["terminal"] = false.into();
    // A machine may not let its limits be raised, and cgroups are not the point here.
    config["process"].as_object_mut().unwrap().remove("rlimits");
    config["linux"].as_object_mut().unwrap().remove("resources");
    config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "network" && n["type"] != "cgroup");
    config["mounts"].as_array_mut().unwrap().retain(|m| m["type"] != "cgroup" && m["type"] != "sysfs");
    std::fs::write(&path, serde_json::to_vec(&config).unwrap()).unwrap();
    let id = format!("kiln-test-{}", std::process::id());
    let out = b.t.tool("runc", &["run", "--bundle", bundle.to_str().unwrap(), &id]).ok();
    assert_eq!(out.text(), "hello world from app in /srv");
}

#[test]
fn file_systems() {
    let b = Bench::new().file("f", 0o644, "F");
    let (dir, tar) = (b.t.out("dir"), b.t.out("fs.tar"));
    let _ = b.run(TEXT, &[&format!("-o={}", dir.display()), &format!("-o=type=tar,dest={}", tar.display())]).ok();
    assert_eq!(std::fs::read_to_string(dir.join("srv/g")).unwrap(), "hi\n");
    let listing = b.t.tool("tar", &["-tvf", "fs.tar", "srv/g", "srv/f"]).ok();
    assert!(
        listing.stdout.contains("-rwsr-xr-x 1000/0") || listing.stdout.contains("-rwsr-xr-x app/root"),
        "{}",
        listing.stdout
    );
    let piped = b.run(TEXT, &["-o=-"]).ok();
    assert_eq!(piped.raw_stdout, std::fs::read(&tar).unwrap());
}

#[test]
fn pushes_and_pulls_through_a_registry() {
    let registry = Registry::start(Auth::None);
    let b = Bench::new().file("f", 0o644, "F");
    let name = registry.reference("team/app:1");
    let out = b.t.kiln(&["build", "--progress=plain", "-t", &name, "--push", "-f", "-", "."]);
    assert_ne!(out.code, 0, "an empty Dockerfile is an error");
    b.t.write("Dockerfile", 0o644, TEXT);
    let base = format!("--build-context=busybox=oci-layout://{}:busybox:latest", b.t.out("busybox").display());
    let meta = b.t.out("meta.json");
    let _ = b.t.kiln(&["build", &base, "-t", &name, "--push", "--metadata-file", meta.to_str().unwrap(), "."]).ok();
    let meta: serde_json::Value = serde_json::from_slice(&std::fs::read(meta).unwrap()).unwrap();
    assert_eq!(meta["containerimage.digest"].as_str().unwrap(), registry.digest("team/app:1"));
    // What was pushed is a base for the next build, in another store; its layers need not come here to go on.
    let other = Bench::new();
    other.t.write("Dockerfile", 0o644, format!("FROM {name}\nLABEL x=y\n"));
    let next = registry.reference("other/app:2");
    let _ = other.t.kiln(&["build", "-t", &next, "--push", "."]).ok();
    let blobs = std::fs::read_dir(other.t.store().join("blobs/sha256")).unwrap().count();
    assert_eq!(blobs, 4, "only manifests and configurations were moved");
    let _ = other.t.tool("skopeo", &["copy", "--src-tls-verify=false", &format!("docker://{next}"), "oci:back:x"]).ok();
}

#[test]
fn files_about_the_result() {
    let b = Bench::new().file("f", 0o644, "F");
    let iid = b.t.out("iid");
    let out = b.run(TEXT, &["--iidfile", iid.to_str().unwrap(), "-q"]).ok();
    let built = open(&b.t.store(), "t");
    assert_eq!(std::fs::read_to_string(iid).unwrap(), built.manifest.config.digest.to_string());
    assert!(out.text().starts_with("sha256:") && out.stderr.is_empty(), "{out}");
}

#[test]
fn several_platforms_make_an_index() {
    let b = Bench::new().file("f", 0o644, "F");
    let text = "FROM scratch\nARG TARGETARCH\nCOPY f /f-$TARGETARCH\n";
    let layout = b.t.out("multi");
    let _ = b
        .run(text, &["--platform=linux/amd64,linux/arm64", &format!("-o=type=oci,tar=false,dest={}", layout.display())])
        .ok();
    let raw = b.t.tool("skopeo", &["inspect", "--raw", &format!("oci:{}:latest", layout.display())]).ok();
    let index: kiln_oci::Index = serde_json::from_slice(&raw.raw_stdout).unwrap();
    let platforms: Vec<String> =
        index.manifests.iter().filter_map(|d| d.platform.as_ref()).map(ToString::to_string).collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
}

#[test]
fn compressions() {
    for (how, media) in [("zstd", "+zstd"), ("none", ".tar"), ("gzip", "+gzip")] {
        let b = Bench::new().file("f", 0o644, "F");
        let _ = b.run(TEXT, &["--compression", how]).ok();
        let built = open(&b.t.store(), "t");
        assert!(built.manifest.layers[1].media_type.ends_with(media), "{}", built.manifest.layers[1].media_type);
        assert_eq!(built.read("srv/f"), "F");
    }
}

#[test]
fn the_compression_asked_for_is_the_one_that_goes_out() {
    let b = Bench::new().file("f", 0o644, "F");
    let mut diff_ids = Vec::new();
    for (how, media) in [("gzip", "+gzip"), ("zstd", "+zstd"), ("gzip", "+gzip"), ("none", ".tar")] {
        let _ = b.run(TEXT, &["--compression", how]).ok();
        let built = open(&b.t.store(), "t");
        assert!(built.manifest.layers[1..].iter().all(|l| l.media_type.ends_with(media)), "{how}");
        diff_ids.push(built.config.rootfs.diff_ids);
    }
    diff_ids.dedup();
    assert_eq!(diff_ids.len(), 1, "the steps ran once: only their blobs differ");
}

#[test]
fn annotations_and_labels() {
    let b = Bench::new().file("f", 0o644, "F");
    let _ = b.run(TEXT, &["--annotation=k=v", "--label=l=m", "--label=a=c"]).ok();
    let built = open(&b.t.store(), "t");
    assert_eq!(built.manifest.annotations["k"], "v");
    assert_eq!((&*built.config.config.labels["l"], &*built.config.config.labels["a"]), ("m", "c"));
}

#[test]
fn contexts_from_elsewhere() {
    let b = Bench::new().file("f", 0o644, "F");
    b.t.write("Dockerfile", 0o644, "FROM scratch\nCOPY f /f\n");
    let dir = b.t.context();
    let tar = b.t.tool("tar", &["-cz", "-C", dir.to_str().unwrap(), "."]).ok().raw_stdout;
    let _ = b.t.kiln_with_input(&["build", "-t", "t", "-"], &tar).ok();
    assert_eq!(open(&b.t.store(), "t").read("f"), "F");
    let _ = b.t.kiln_with_input(&["build", "-t", "t", "-"], b"FROM scratch\nLABEL from=stdin\n").ok();
    assert_eq!(open(&b.t.store(), "t").config.config.labels["from"], "stdin");
    let _ = b.t.kiln_with_input(&["build", "-t", "t", "-f", "-", "."], b"FROM scratch\nCOPY f /g\n").ok();
    assert_eq!(open(&b.t.store(), "t").read("g"), "F");
    let said = b.t.kiln_with_input(&["build", "-"], b"FROM scratch\nCOPY f /g\n").exits(1).stderr;
    assert!(said.contains("context"), "{said}");
}
