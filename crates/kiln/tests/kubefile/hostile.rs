//! What strangers may send: Kubefiles, lists, directories of registries, documents.
//!
//! ```text
//! input                               what it tries
//! Kubefile                            wrong names, places outside of the context, unknown dialects
//! imageList                           lines that name nothing
//! registry directory                  links that lead out, links that are no digest, blobs of other bytes, huge documents
//! base image                          a label that is no spec
//! ```

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use crate::site::Site;

#[test]
fn kubefiles_are_refused_with_place_and_hint() {
    let site = Site::new();
    for (text, parts) in [
        ("FROM scratch\nAPP ../../etc local://x\n", &["Kubefile:2:5", "cannot name an application", "hint:"][..]),
        ("FROM scratch\nAPP a local://../../../etc/passwd\n", &["Kubefile:2:", "/etc/passwd"]),
        ("FROM scratch\nCOPY missing charts\n", &["Kubefile:2:", "missing"]),
        ("FROM scratch\nLAUNCH [\"a\"]\n", &["Kubefile:2:9", "there is no application `a`", "hint:"]),
        ("# kiln:dialect=docker\nFROM scratch\n", &["Kubefile:1:16", "there is no dialect `docker`"]),
        ("FROM scratch\nINSTALL x\n", &["Kubefile:2:1", "unknown instruction `INSTALL`"]),
        ("", &["the Kubefile has no instructions"]),
    ] {
        let said = site.build(text, "a:1", &[]).exits(1);
        assert!(parts.iter().all(|part| said.stderr.contains(part)), "{text}\n{said}");
    }
    let wrong = site.build("FROM scratch\nCOPY helm bin\n", "a:1", &["--dialect", "sealer"]).exits(2);
    assert!(wrong.stderr.contains("sealer-v1"), "{wrong}");
    let wrong = site.build("FROM scratch\nCOPY helm bin\n", "a:1", &["--type", "cluster"]).exits(2);
    assert!(wrong.stderr.contains("app-installer"), "{wrong}");
}

#[test]
fn sources_do_not_leave_the_context_by_links() {
    let site = Site::new();
    symlink("/etc", site.t.context().join("out")).unwrap();
    let said = site.build("FROM scratch\nCOPY out/hostname etc\n", "a:1", &[]);
    assert!(said.code != 0, "{said}");
}

#[test]
fn lists_are_refused_with_the_line() {
    let site = Site::new();
    site.write("imageList", "nginx:latest\nNot An Image\n");
    let text = "FROM scratch\nCOPY imageList manifests\n";
    let said = site.build(text, "a:1", &[]).exits(1);
    assert!(said.stderr.contains("manifests/imageList:2:1") && said.stderr.contains("hint:"), "{said}");
    site.write("imageList", "nginx:latest\nmissing.example/none:1\n");
    let said = site.build(text, "a:1", &[]).exits(3);
    for part in
        ["missing.example/none:1`, which manifests/imageList:2 (images.list-file) names, cannot be had", "hint:"]
    {
        assert!(said.stderr.contains(part), "{part}: {said}");
    }
}

/// A directory of a registry with the link of one tag.
fn registry(site: &Site, link: &str) -> PathBuf {
    let root = site.t.context().join("r");
    let _ = std::fs::remove_dir_all(&root);
    let tag = root.join("docker/registry/v2/repositories/app/_manifests/tags/1/current");
    std::fs::create_dir_all(&tag).unwrap();
    std::fs::write(tag.join("link"), link).unwrap();
    root
}

fn blob(root: &std::path::Path, digest: &str, bytes: &[u8]) -> PathBuf {
    let hex = digest.trim_start_matches("sha256:");
    let dir = root.join("docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex);
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("data"), bytes).unwrap();
    dir.join("data")
}

#[test]
fn directories_of_registries_are_refused() {
    let site = Site::new();
    site.write("list", "gone.example/app:1\n");
    let text = "FROM scratch\nCOPY helm bin\n";
    let build =
        |root: &PathBuf| site.build(text, "a:1", &["--image-list", "list", "--registry-dir", root.to_str().unwrap()]);
    let refused = |root: &PathBuf, parts: &[&str]| {
        let said = build(root).exits(1);
        assert!(parts.iter().all(|part| said.stderr.contains(part)), "{parts:?}: {said}");
    };
    let manifest = br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}"#;
    let digest = kiln_oci::Digest::of(manifest).to_string();
    let config = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    refused(&registry(&site, "../../../../etc/passwd"), &["holds no digest"]);
    let root = registry(&site, &digest);
    refused(&root, &["is missing"]);
    let data = blob(&root, &digest, b"{}");
    refused(&root, &["is not what its name says"]);
    // A link out of the directory: inside of it there is no such file.
    std::fs::remove_file(&data).unwrap();
    let outside = site.t.context().join("outside.json");
    std::fs::write(&outside, manifest).unwrap();
    symlink(&outside, &data).unwrap();
    refused(&root, &["is missing"]);
    std::fs::remove_file(&data).unwrap();
    std::fs::File::create(&data).unwrap().set_len(64 << 20).unwrap();
    refused(&root, &["larger than", "no manifest"]);
    std::fs::write(&data, manifest).unwrap();
    let wrong = blob(&root, config, b"no");
    refused(&root, &["is not what its name says"]);
    std::fs::write(&wrong, b"far too long for its size").unwrap();
    refused(&root, &["data"]);
    std::fs::write(&wrong, b"{}").unwrap();
    let _ = build(&root).ok();
    refused(&site.t.context().join("apollo"), &["there is no docker/registry/v2/repositories in it"]);
}

#[test]
fn a_base_whose_label_is_no_spec_is_refused() {
    let site = Site::new();
    site.write("Dockerfile", "FROM scratch\nLABEL dev.kiln.cluster.spec=nonsense\nCOPY helm /bin/helm\n");
    let _ = site.kiln(&["build", "-t", "bad:1", "."]).ok();
    let said = site.build("FROM bad:1\nCMD x\n", "a:1", &[]).exits(1);
    assert!(said.stderr.contains("its label dev.kiln.cluster.spec cannot be read"), "{said}");
}
