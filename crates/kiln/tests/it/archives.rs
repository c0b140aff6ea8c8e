//! Archives: what Kiln writes is read by others, what others write is read by Kiln, and what nobody should write is
//! refused.

use std::fs;

use kiln_oci::{Descriptor, Digest, Index, Platform, media};
use kiln_testkit::layout::{busybox_config, gzip};
use kiln_testkit::{Layout, Rootfs, TestContext};

use crate::images::{context, digest, files, with_app};

fn path(t: &TestContext, name: &str) -> String {
    t.out(name).display().to_string()
}

/// Loads bytes from standard input, which must fail, and leave no name behind; the message.
fn refused(t: &TestContext, bytes: &[u8]) -> String {
    let out = t.kiln_with_input(&["load"], bytes).exits(1);
    assert_eq!(t.kiln(&["images", "-q"]).ok().stdout, "", "nothing half done is visible");
    out.stderr
}

#[test]
fn others_read_what_is_saved() {
    let t = with_app();
    let _ = t.kiln(&["tag", "app:1", "registry.example/b:2"]).ok();
    let _ = t.kiln(&["save", "-o", &path(&t, "d.tar"), "app:1", "registry.example/b:2"]).ok();
    let _ = t.kiln(&["save", "--format", "oci", "-o", &path(&t, "o.tar"), "app:1"]).ok();
    let oci = t.tool("skopeo", &["inspect", "--format", "{{.Digest}}", "oci-archive:o.tar"]).ok();
    assert_eq!(oci.text(), digest(&t, "app:1"));
    let tags = t.tool("skopeo", &["list-tags", "docker-archive:d.tar"]).ok().json();
    assert_eq!(tags["Tags"], serde_json::json!(["app:1", "registry.example/b:2"]));
    let _ = t.tool("mkdir", &["o"]).ok();
    let _ = t.tool("tar", &["-xf", "o.tar", "-C", "o"]).ok();
    let _ = t.tool("umoci", &["unpack", "--rootless", "--image", "o:1", "bundle"]).ok();
    assert_eq!(fs::read_to_string(t.out("bundle/rootfs/etc/motd")).unwrap(), "hello\n");
    let nowhere = t.kiln(&["save", "-o", "none/app.tar", "app:1"]).exits(3);
    assert!(nowhere.stderr.contains("cannot write none/app.tar"), "{nowhere}");
    assert!(nowhere.stderr.contains("hint: make the directory first: mkdir -p none"), "{nowhere}");
    let full = t.kiln(&["save", "-o", "/dev/full", "app:1"]).exits(3);
    assert!(full.stderr.contains("cannot write the archive: No space left"), "{full}");
    let again = t.kiln(&["save", "app:1"]).ok().raw_stdout;
    assert_eq!(again, t.kiln(&["save", "app:1"]).ok().raw_stdout, "the same bytes each time");
}

#[test]
fn archives_of_others_are_loaded_whatever_compresses_them() {
    let t = with_app();
    let _ = t.kiln(&["save", "--format", "oci", "-o", &path(&t, "o.tar"), "app:1"]).ok();
    let copy = |to: &str| t.tool("skopeo", &["--insecure-policy", "copy", "-q", "oci-archive:o.tar", to]).ok();
    let _ = copy("docker-archive:d.tar:legacy.example/app:7");
    let _ = copy("oci-archive:o2.tar:oci.example/app:8");
    for (tool, args) in
        [("gzip", ["-k", "d.tar"]), ("zstd", ["-qk", "d.tar"]), ("xz", ["-k", "d.tar"]), ("bzip2", ["-k", "d.tar"])]
    {
        let _ = t.tool(tool, &args).ok();
    }
    let fresh = context();
    for name in ["d.tar", "d.tar.gz", "d.tar.zst", "d.tar.xz", "d.tar.bz2"] {
        assert_eq!(fresh.kiln(&["load", "-i", &path(&t, name)]).ok().stdout, "Loaded image: legacy.example/app:7\n");
        let piped = fresh.kiln_with_input(&["load"], &fs::read(t.out(name)).unwrap()).ok();
        assert_eq!(piped.stdout, "Loaded image: legacy.example/app:7\n", "{name}");
    }
    assert_eq!(fresh.kiln(&["load", "-i", &path(&t, "o2.tar")]).ok().stdout, "Loaded image: oci.example/app:8\n");
    assert_eq!(digest(&fresh, "oci.example/app:8"), digest(&t, "app:1"), "an OCI archive keeps the digest");
    let _ = fresh.kiln(&["diff", "oci.example/app:8", "legacy.example/app:7"]).ok();
    let own = t.kiln(&["save", "app:1"]).ok().raw_stdout;
    assert_eq!(fresh.kiln_with_input(&["load"], &own).ok().stdout, "Loaded image: app:1\n");
    assert_eq!(digest(&fresh, "app:1"), digest(&t, "app:1"), "Kiln's docker archives keep it, too");
}

#[test]
fn a_layout_without_names_gets_one() {
    let t = context();
    let mut layout = Layout::new(t.out("l"));
    let _ = layout.image("only-a-tag", busybox_config(), &[files()]);
    let unnamed = t.kiln(&["load", "-i", &path(&t, "l")]).ok();
    assert!(unnamed.stdout.starts_with("Loaded image ID: sha256:") && unnamed.stderr.contains("kiln tag"), "{unnamed}");
    assert_eq!(t.kiln(&["load", "-q", "-i", &path(&t, "l"), "-t", "x:1"]).ok().stdout, "Loaded image: x:1\n");
    assert_eq!(t.kiln(&["cat", "x:1", "/etc/motd"]).ok().text(), "hello");
    let _ = layout.image("second:1", busybox_config(), &[Rootfs::new().file("b", 0o644, "b").tar()]);
    let two = t.kiln(&["load", "-i", &path(&t, "l"), "-t", "y"]).exits(1);
    assert!(two.stderr.contains("it has 2 images"), "{two}");
}

/// A docker archive from before `manifest.json`: two layers, one a link to the other's bytes in the same archive.
#[test]
fn legacy_archives_are_loaded() {
    let t = context();
    let lower = Rootfs::new().file("a", 0o644, "a").tar();
    let json = |id: &str, parent: &str| {
        format!(
            r#"{{"id":"{id}","parent":"{parent}","created":"1970-01-01T00:00:00Z","os":"linux","config":{{"Cmd":["top"]}}}}"#
        )
    };
    let archive = Rootfs::new()
        .file("repositories", 0o644, r#"{"old":{"1":"top"}}"#)
        .file("base/json", 0o644, json("base", ""))
        .file("base/layer.tar", 0o644, &lower)
        .file("mid/json", 0o644, json("mid", "base"))
        .symlink("mid/layer.tar", "../base/layer.tar")
        .file("top/json", 0o644, json("top", "mid"))
        .file("top/layer.tar", 0o644, gzip(&Rootfs::new().file("b", 0o644, "b").whiteout("a").tar()))
        .tar();
    assert_eq!(t.kiln_with_input(&["load"], &archive).ok().stdout, "Loaded image: old:1\n");
    assert_eq!(t.kiln(&["ls", "old:1"]).ok().stdout, "/b f 0644 0:0 1\n");
    assert_eq!(t.kiln(&["inspect", "old:1"]).ok().json()[0]["Config"]["Cmd"], serde_json::json!(["top"]));
}

/// A docker archive of one image, each part of which a test may spoil.
fn docker_archive(manifest: &str, config: Option<&str>, layer: Option<&[u8]>) -> Vec<u8> {
    let mut archive = Rootfs::new().file("manifest.json", 0o644, manifest);
    if let Some(config) = config {
        archive = archive.file("c.json", 0o644, config);
    }
    if let Some(layer) = layer {
        archive = archive.file("l.tar", 0o644, layer);
    }
    archive.tar()
}

#[test]
fn damaged_and_hostile_archives_are_refused() {
    let t = context();
    let manifest = r#"[{"Config":"c.json","RepoTags":["x:1"],"Layers":["l.tar"]}]"#;
    let layer = files();
    let config = |id: &Digest| {
        let architecture = Platform::host().architecture;
        format!(r#"{{"architecture":"{architecture}","os":"linux","rootfs":{{"type":"layers","diff_ids":["{id}"]}}}}"#)
    };
    let (good, other) = (config(&Digest::of(&layer)), config(&Digest::of(b"other")));
    let pinned = format!("debian@{}", Digest::of(b"debian"));
    for (archive, message) in [
        (b"nonsense".to_vec(), "it is not a tar"),
        (Vec::new(), "it is empty"),
        (files(), "it is not an archive of images"),
        (docker_archive(manifest, None, Some(&layer)), "`c.json` is missing from the archive"),
        (docker_archive(manifest, Some(&good), None), "`l.tar` is missing from the archive"),
        (docker_archive(manifest, Some(&other), Some(&layer)), "but the image says sha256:"),
        (docker_archive(manifest, Some(&other), Some(&gzip(&layer))), "but the image says sha256:"),
        (docker_archive(manifest, Some(&good), Some(&gzip(&layer)[..200])), "cannot be decompressed"),
        (docker_archive("[]", Some(&good), Some(&layer)), "lists 0 images"),
        (docker_archive("{", Some(&good), Some(&layer)), "`manifest.json` in the archive is not valid"),
        (docker_archive(manifest, Some("[]"), Some(&layer)), "`c.json` cannot be read"),
        (docker_archive(&manifest.replace("x:1", &pinned), Some(&good), Some(&layer)), "but has another digest"),
        (docker_archive(&manifest.replace("x:1", "Not A Name"), Some(&good), Some(&layer)), "Not A Name"),
        (docker_archive(&manifest.replace("[\"l.tar\"]", "[]"), Some(&good), Some(&layer)), "lists 0 layers"),
        (docker_archive(&manifest.replace("c.json", "../../etc/passwd"), Some(&good), Some(&layer)), "is missing"),
    ] {
        let said = refused(&t, &archive);
        assert!(said.contains(message), "wanted `{message}` in: {said}");
    }
    let escape = refused(&t, &docker_archive(&manifest.replace("l.tar", "\\u001b[2J"), Some(&good), Some(&layer)));
    assert!(escape.contains("\u{fffd}[2J") && !escape.contains('\u{1b}'), "{escape}");
    let cut = docker_archive(manifest, Some(&good), Some(&layer));
    let _ = refused(&t, &cut[..cut.len() - 2048]);
    let loop_of_links = Rootfs::new()
        .file("manifest.json", 0o644, manifest)
        .file("c.json", 0o644, &good)
        .symlink("l.tar", "m.tar")
        .symlink("m.tar", "l.tar")
        .tar();
    assert!(refused(&t, &loop_of_links).contains("`l.tar` is missing"));
    let whole = docker_archive(manifest, Some(&good), Some(&layer));
    assert_eq!(t.kiln_with_input(&["load"], &whole).ok().stdout, "Loaded image: x:1\n");
}

#[test]
fn oci_archives_must_keep_their_word() {
    let t = context();
    let index = r#"{"schemaVersion":2,"manifests":[]}"#;
    let version = r#"{"imageLayoutVersion":"1.0.0"}"#;
    let archive =
        |version: &str, index: &str| Rootfs::new().file("oci-layout", 0o644, version).file("index.json", 0o644, index);
    assert!(refused(&t, &archive(version, index).tar()).contains("there is no image in it"));
    assert!(refused(&t, &archive(r#"{"imageLayoutVersion":"9"}"#, index).tar()).contains("version `9`"));
    assert!(refused(&t, &archive(version, "{").tar()).contains("`index.json` cannot be read"));
    let gone = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{}","size":2}}]}}"#,
        Digest::of(b"gone")
    );
    assert!(refused(&t, &archive(version, &gone).tar()).contains("is not in the"), "a manifest that is missing");
    let name = format!("blobs/sha256/{}", Digest::of(b"one").hex());
    let wrong = archive(version, index).file(&name, 0o644, "two").tar();
    let said = refused(&t, &wrong);
    assert!(said.contains("is not what its name says"), "{said}");
}

/// What `docker save` writes of an image with several platforms of which it has one.
#[test]
fn an_index_of_which_one_platform_is_there_is_loaded_as_that() {
    let t = context();
    let mut layout = Layout::new(t.out("l"));
    let mut config = busybox_config();
    config.architecture = "arm64".to_owned();
    let here = layout.image("arm64", config, &[files()]);
    let entry = |digest: &Digest, architecture: &str| {
        let size = fs::metadata(t.out("l/blobs/sha256").join(digest.hex())).map_or(7, |m| m.len());
        let mut child = Descriptor::new(media::OCI_MANIFEST, digest.clone(), size);
        child.platform = Some(Platform::linux(architecture));
        child
    };
    let index = Index::new(vec![entry(&Digest::of(b"gone"), "amd64"), entry(&here, "arm64")]);
    let index = layout.blob(media::OCI_INDEX, &serde_json::to_vec(&index).unwrap());
    fs::write(t.out("l/index.json"), serde_json::to_vec(&Index::new(vec![index])).unwrap()).unwrap();
    let loaded = t.kiln(&["load", "-i", &path(&t, "l"), "-t", "x:1"]).ok();
    assert!(loaded.stderr.contains("for linux/arm64 only"), "{loaded}");
    assert_eq!(t.kiln(&["cat", "x:1", "etc/motd"]).ok().text(), "hello");
}
